"""Show where a transformer looked: its attention over the photographs of a dozen items."""

from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

from hangtag.artifacts import write_csv
from hangtag.catalog.images import Pixels, shrink
from hangtag.exploration.plots import draw_contact_sheet, save_figure
from hangtag.inference.captions import describe_confidence
from hangtag.inference.classifier import Classifier
from hangtag.inference.heat import lay_over
from hangtag.models.activation_map import Maps
from hangtag.models.rollout import Shares, has_attention, read_attention

SHOWN = 12
COLUMNS = 4


def choose_items(predictions: pl.DataFrame, count: int = SHOWN) -> pl.DataFrame:
    """Give the first item of each of the commonest classes, or more of each where there are few classes.

    Args:
        predictions: `item_id`, `image_index`, `label`, `predicted_label` and `confidence` of one split.
        count: How many items.
    """
    ranked = predictions.sort("image_index").with_columns(
        rank=pl.int_range(pl.len()).over("label"), size=pl.len().over("label")
    )
    return ranked.sort("rank", "size", "label", descending=[False, True, False]).head(count).drop("rank", "size")


def measure_attention(classifier: Classifier, items: pl.DataFrame, images: Pixels) -> Shares | None:
    """Give each patch's share for every item, (n, rows, columns); None where the network has no attention."""
    if not has_attention(classifier.model) or items.is_empty():
        return None
    rows = items["image_index"].to_numpy()
    pixels = shrink(images[rows], classifier.network_size or classifier.image_size)
    return read_attention(classifier.model, pixels)


def tabulate_attention(items: pl.DataFrame, shares: Shares) -> pl.DataFrame:
    """Give a row a patch: `item_id`, `label`, `predicted_label`, `row` and `column` from 1 at the top left, `share`."""
    places = np.indices(shares.shape).reshape(3, -1)
    told: pl.DataFrame = items.select("item_id", "label", "predicted_label")[places[0]]
    return told.with_columns(
        row=pl.Series(places[1] + 1), column=pl.Series(places[2] + 1), share=pl.Series(shares.ravel()).round(6)
    )


def draw_attention(items: pl.DataFrame, shares: Shares, images: Pixels, title: str) -> Image.Image:
    """Show each photograph, and beside it the same under its attention: the darker, the more.

    Args:
        items: `image_index`, `label`, `predicted_label` and `confidence`.
        shares: What `measure_attention` gave for them.
        images: All pixels.
        title: Who looked where, as `vit-color-0, val`.
    """
    pictures, captions, wrong = [], [], []
    for (row, label, predicted, confidence), patches in zip(
        items.select("image_index", "label", "predicted_label", "confidence").iter_rows(), shares, strict=True
    ):
        pictures.append(np.concatenate([images[row], lay_over(images[row], _relate(patches))], axis=1))
        captions.append(f"{label}\n→ {predicted}, {describe_confidence(confidence)}")
        wrong.append(label != predicted)
    # Small photographs are enlarged, large ones are not.
    scale = 2 if images.shape[1] <= 120 else 1
    heading = f"{title}: attention rollout, the darker the more"
    return draw_contact_sheet(pictures, captions, columns=COLUMNS, scale=scale, title=heading, marked=wrong)


def _relate(patches: Shares) -> Maps:
    """Give shares from the least of a photograph, 0, to its most, 1; all 0 where none stands out."""
    span = np.ptp(patches)
    return ((patches - patches.min()) / span if span > 0 else np.zeros_like(patches)).astype(np.float32)


def save_attention(
    folder: Path, classifier: Classifier, predictions: pl.DataFrame, images: Pixels, title: str
) -> list[Path]:
    """Write `attention.png`, and `attention.csv` with the numbers behind it, where the network has attention.

    Args:
        folder: Where to.
        classifier: The judged model.
        predictions: See `choose_items`.
        images: All pixels.
        title: See `draw_attention`.
    """
    picture, table = folder / "attention.png", folder / "attention.csv"
    items = choose_items(predictions)
    shares = measure_attention(classifier, items, images)
    if shares is None:
        # An earlier run of this name may have had it.
        for path in (picture, table):
            path.unlink(missing_ok=True)
        return []
    write_csv(table, tabulate_attention(items, shares))
    return [*save_figure(draw_attention(items, shares, images, title), picture), table]
