"""Show the photographs behind the figures: what was misclassified, and how one class fared."""

import polars as pl
from PIL import Image

from hangtag.catalog.images import Pixels
from hangtag.exploration.plots import draw_contact_sheet
from hangtag.inference.captions import describe_confidence

MISCLASSIFIED_SHOWN = 40
CLASS_SHOWN = 40
COLUMNS = 8


def draw_misclassified(wrong: pl.DataFrame, images: Pixels, title: str) -> Image.Image:
    """Show the most confident mistakes: given label, predicted label, confidence.

    Args:
        wrong: `image_index`, `label`, `predicted_label` and `confidence`, in the order to show.
        images: All pixels.
        title: Who misclassified where, as `capstone-color-0, val`.
    """
    shown = wrong.head(MISCLASSIFIED_SHOWN)
    captions = [
        f"{label}\n→ {predicted}, {describe_confidence(confidence)}"
        for label, predicted, confidence in shown.select("label", "predicted_label", "confidence").iter_rows()
    ]
    heading = f"{title}: {_count(len(wrong))} misclassified"
    if len(wrong) > len(shown):
        heading += f", the {len(shown)} most confident"
    return draw_contact_sheet([images[row] for row in shown["image_index"]], captions, columns=COLUMNS, title=heading)


def draw_class(items: pl.DataFrame, images: Pixels, label: str, title: str) -> Image.Image:
    """Show what the items of one class were taken for, the mistakes first and marked.

    Args:
        items: `image_index`, `label`, `predicted_label` and `confidence` of one class; may be empty.
        images: All pixels.
        label: The class.
        title: Who saw it where, as `capstone-color-0, val`.
    """
    wrong = pl.col("label") != pl.col("predicted_label")
    ordered = items.with_columns(wrong=wrong).sort("wrong", "confidence", "image_index", descending=[True, True, False])
    shown = ordered.head(CLASS_SHOWN)
    captions = [
        f"{predicted}, {describe_confidence(confidence)}"
        for predicted, confidence in shown.select("predicted_label", "confidence").iter_rows()
    ]
    heading = f"{label} by {title}: {_count(len(items))}, {ordered['wrong'].sum():,} mistaken"
    if len(items) > len(shown):
        heading += f", {len(shown)} shown"
    pictures = [images[row] for row in shown["image_index"]]
    return draw_contact_sheet(pictures, captions, columns=COLUMNS, title=heading, marked=shown["wrong"].to_list())


def _count(number: int) -> str:
    return "no items" if number == 0 else f"{number:,} item{'s' if number != 1 else ''}"
