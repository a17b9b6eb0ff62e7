"""Show the photographs behind the figures: what was misclassified, and how one class fared."""

import polars as pl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from hangtag.catalog.images import Pixels
from hangtag.exploration.palette import ACCENT, HAIRLINE, INK, PAPER, SERIES, SOFT_INK
from hangtag.exploration.plots import draw_contact_sheet

MISCLASSIFIED_SHOWN = 40
CLASS_SHOWN = 40


def draw_misclassified(wrong: pl.DataFrame, images: Pixels, title: str) -> Image.Image:
    """Show the most confident mistakes: given label, predicted label, confidence.

    Args:
        wrong: `image_index`, `label`, `predicted_label` and `confidence`, in the order to show.
        images: All pixels.
        title: The heading.
    """
    shown = wrong.head(MISCLASSIFIED_SHOWN)
    captions = [
        f"{label}\n→ {predicted} {confidence:.0%}"
        for label, predicted, confidence in shown.select("label", "predicted_label", "confidence").iter_rows()
    ]
    return draw_contact_sheet([images[row] for row in shown["image_index"]], captions, columns=8, title=title)


def draw_class(items: pl.DataFrame, images: Pixels, title: str) -> Image.Image:
    """Show what the items of one class were taken for, the mistakes first and marked.

    Args:
        items: `image_index`, `label`, `predicted_label` and `confidence` of one class.
        images: All pixels.
        title: The heading.
    """
    wrong = pl.col("label") != pl.col("predicted_label")
    shown = items.with_columns(wrong=wrong).sort("wrong", "confidence", "image_index", descending=[True, True, False])
    shown = shown.head(CLASS_SHOWN)
    captions = [
        f"{predicted} {confidence:.0%}"
        for predicted, confidence in shown.select("predicted_label", "confidence").iter_rows()
    ]
    pictures = [images[row] for row in shown["image_index"]]
    return draw_contact_sheet(pictures, captions, columns=8, title=title, marked=shown["wrong"].to_list())


def plot_history(history: pl.DataFrame, title: str) -> Figure:
    """Draw loss and accuracy over the epochs, for training and validation."""
    figure = Figure(figsize=(9, 3.6), facecolor=PAPER, layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", color=INK, fontweight="bold", parse_math=False)
    for axes, measure in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for column, color, name in ((measure, ACCENT, "train"), (f"val_{measure}", SERIES[1], "val")):
            axes.plot(history["epoch"], history[column], color=color, marker="o", markersize=4, label=name)
        axes.set_xlabel("Epoch", color=SOFT_INK)
        axes.set_ylabel(measure.capitalize(), color=SOFT_INK)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(color=HAIRLINE, linewidth=0.7)
        axes.spines[:].set_visible(False)
        axes.legend(frameon=False)
    return figure
