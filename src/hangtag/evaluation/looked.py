"""Show where a model looked at what it misclassified: a table of numbers, and the photographs with a map each."""

import numpy as np
import polars as pl
from PIL import Image

from hangtag.catalog.images import Pixels
from hangtag.evaluation.pictures import MISCLASSIFIED_SHOWN
from hangtag.exploration.plots import draw_contact_sheet
from hangtag.inference.captions import describe_confidence
from hangtag.inference.classifier import Classifier
from hangtag.inference.heat import lay_over
from hangtag.models.activation_map import Maps

COLUMNS = 5
# White pixels between a photograph and the same with its map.
GAP = 3
SCHEMA = {
    "item_id": pl.String,
    "predicted_label": pl.String,
    "row": pl.Int64,
    "column": pl.Int64,
    "value": pl.Float64,
}


def tabulate_looked(
    wrong: pl.DataFrame, images: Pixels, classifier: Classifier, names: pl.DataFrame | None = None
) -> pl.DataFrame:
    """Give what each part of the most confident mistakes' photographs said for the predicted label.

    Args:
        wrong: `item_id`, `image_index` and `predicted_label`, in the order to show.
        images: All pixels.
        classifier: The model, of a kind that can show it.
        names: `item_id` and, behind it, the names that the model read; None where it read none.

    Returns:
        A row for each part: item_id, predicted_label, row and column from 1 at the top left, and value, 0 to 1.
    """
    shown = wrong.head(MISCLASSIFIED_SHOWN)
    if shown.is_empty():
        return pl.DataFrame(schema=SCHEMA)
    read = None
    if names is not None:
        read = shown.join(names, on="item_id", how="left", maintain_order="left")[names.columns[-1]].to_list()
    maps = classifier.look(
        images[shown["image_index"].to_numpy()],
        shown["predicted_label"].to_list(),
        names=read,
    )
    count, rows, columns = maps.shape
    places = np.indices((rows, columns)).reshape(2, -1)
    return pl.DataFrame(
        {
            "item_id": np.repeat(shown["item_id"].to_numpy(), rows * columns),
            "predicted_label": np.repeat(shown["predicted_label"].to_numpy(), rows * columns),
            "row": np.tile(places[0] + 1, count),
            "column": np.tile(places[1] + 1, count),
            "value": maps.astype(np.float64).round(4).ravel(),
        },
        schema=SCHEMA,
    )


def draw_looked(looked: pl.DataFrame, wrong: pl.DataFrame, images: Pixels, title: str) -> Image.Image:
    """Show the most confident mistakes, each beside itself with the table's values over it.

    Args:
        looked: What `tabulate_looked` gave.
        wrong: As for it, with `label` and `confidence`.
        images: All pixels.
        title: Who misclassified where, as `residual-color-0, val`.
    """
    maps = _read_maps(looked)
    shown = wrong.filter(pl.col("item_id").is_in(list(maps)))
    pairs, captions = [], []
    for item_id, row, label, predicted, confidence in shown.select(
        "item_id", "image_index", "label", "predicted_label", "confidence"
    ).iter_rows():
        pairs.append(_pair(images[row], maps[item_id]))
        captions.append(f"{label}\n→ {predicted}, {describe_confidence(confidence)}")
    heading = f"{title}: what spoke for the predicted label, the darker the more"
    return draw_contact_sheet(pairs, captions, columns=COLUMNS, title=heading)


def _pair(photograph: Pixels, one: Maps) -> Pixels:
    gap = np.full((photograph.shape[0], GAP, 3), 255, np.uint8)
    return np.concatenate([photograph, gap, lay_over(photograph, one)], axis=1)


def _read_maps(looked: pl.DataFrame) -> dict[str, Maps]:
    """Give the map of each item, float32 (rows, columns)."""
    maps = {}
    for (item_id,), part in looked.group_by("item_id", maintain_order=True):
        one = np.zeros((int(part["row"].max()), int(part["column"].max())), np.float32)  # type: ignore[arg-type]
        one[part["row"].to_numpy() - 1, part["column"].to_numpy() - 1] = part["value"].to_numpy()
        maps[str(item_id)] = one
    return maps
