"""Draw contact sheets of misclassified items, of one class, and of Grad-CAM and attention heatmaps."""

from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

from hangtag.catalog.images import Pixels, shrink
from hangtag.explain.attention_rollout import Shares, has_attention, read_attention
from hangtag.explain.grad_cam import Maps
from hangtag.explain.heatmap import lay_over
from hangtag.figures.counts import draw_contact_sheet, save_figure
from hangtag.inference.classifier import Classifier
from hangtag.inference.prediction import describe_confidence
from hangtag.io import write_csv

MISCLASSIFIED_SHOWN = 40
CLASS_SHOWN = 40
SHEET_COLUMNS = 8
GRAD_CAM_COLUMNS = 5
# White pixels between a photograph and its copy with the heatmap.
GAP = 3
SCHEMA = {
    "item_id": pl.String,
    "predicted_label": pl.String,
    "row": pl.Int64,
    "column": pl.Int64,
    "value": pl.Float64,
}
SHOWN = 12
ATTENTION_COLUMNS = 4


def draw_misclassified(wrong: pl.DataFrame, images: Pixels, title: str) -> Image.Image:
    """Draw the most confident errors with given label, predicted label and confidence.

    Args:
        wrong: `image_index`, `label`, `predicted_label` and `confidence`, in the order to show.
        images: All pixels.
        title: The run and the split, as `capstone-color-0, val`.
    """
    shown = wrong.head(MISCLASSIFIED_SHOWN)
    captions = [
        f"{label}\n→ {predicted}, {describe_confidence(confidence)}"
        for label, predicted, confidence in shown.select("label", "predicted_label", "confidence").iter_rows()
    ]
    heading = f"{title}: {_format_count(len(wrong))} misclassified"
    if len(wrong) > len(shown):
        heading += f", the {len(shown)} most confident"
    return draw_contact_sheet(
        [images[row] for row in shown["image_index"]], captions, columns=SHEET_COLUMNS, title=heading
    )


def draw_class(items: pl.DataFrame, images: Pixels, label: str, title: str) -> Image.Image:
    """Draw the items of one class with their predicted labels, the errors first and marked.

    Args:
        items: `image_index`, `label`, `predicted_label` and `confidence` of one class; may be empty.
        images: All pixels.
        label: The class.
        title: The run and the split, as `capstone-color-0, val`.
    """
    wrong = pl.col("label") != pl.col("predicted_label")
    ordered = items.with_columns(wrong=wrong).sort("wrong", "confidence", "image_index", descending=[True, True, False])
    shown = ordered.head(CLASS_SHOWN)
    captions = [
        f"{predicted}, {describe_confidence(confidence)}"
        for predicted, confidence in shown.select("predicted_label", "confidence").iter_rows()
    ]
    heading = f"{label} by {title}: {_format_count(len(items))}, {ordered['wrong'].sum():,} mistaken"
    if len(items) > len(shown):
        heading += f", {len(shown)} shown"
    pictures = [images[row] for row in shown["image_index"]]
    return draw_contact_sheet(pictures, captions, columns=SHEET_COLUMNS, title=heading, marked=shown["wrong"].to_list())


def _format_count(number: int) -> str:
    return "no items" if number == 0 else f"{number:,} item{'s' if number != 1 else ''}"


def tabulate_gradcam(
    wrong: pl.DataFrame, images: Pixels, classifier: Classifier, names: pl.DataFrame | None = None
) -> pl.DataFrame:
    """Tabulate the evidence for the predicted label in each region of the most confident errors' photographs.

    Args:
        wrong: `item_id`, `image_index` and `predicted_label`, in the order to show.
        images: All pixels.
        classifier: The model; its `can_explain` must be true.
        names: `item_id` and, as the last column, the names that the model read; None if it read none.

    Returns:
        A row for each region: item_id, predicted_label, row and column from 1 at the top left, and value, 0 to 1.
    """
    shown = wrong.head(MISCLASSIFIED_SHOWN)
    if shown.is_empty():
        return pl.DataFrame(schema=SCHEMA)
    read_names = None
    if names is not None:
        read_names = shown.join(names, on="item_id", how="left", maintain_order="left")[names.columns[-1]].to_list()
    maps = classifier.compute_heatmaps(
        images[shown["image_index"].to_numpy()],
        shown["predicted_label"].to_list(),
        names=read_names,
    )
    count, rows, columns = maps.shape
    indices = np.indices((rows, columns)).reshape(2, -1)
    return pl.DataFrame(
        {
            "item_id": np.repeat(shown["item_id"].to_numpy(), rows * columns),
            "predicted_label": np.repeat(shown["predicted_label"].to_numpy(), rows * columns),
            "row": np.tile(indices[0] + 1, count),
            "column": np.tile(indices[1] + 1, count),
            "value": maps.astype(np.float64).round(4).ravel(),
        },
        schema=SCHEMA,
    )


def draw_gradcam(gradcam: pl.DataFrame, wrong: pl.DataFrame, images: Pixels, title: str) -> Image.Image:
    """Draw the most confident errors, each photograph beside a copy with the heatmap over it.

    Args:
        gradcam: The table of `tabulate_gradcam`.
        wrong: The same items, with `label` and `confidence`.
        images: All pixels.
        title: The run and the split, as `residual-color-0, val`.
    """
    maps = _read_maps(gradcam)
    shown = wrong.filter(pl.col("item_id").is_in(list(maps)))
    pairs, captions = [], []
    for item_id, row, label, predicted, confidence in shown.select(
        "item_id", "image_index", "label", "predicted_label", "confidence"
    ).iter_rows():
        pairs.append(_pair_with_heatmap(images[row], maps[item_id]))
        captions.append(f"{label}\n→ {predicted}, {describe_confidence(confidence)}")
    heading = f"{title}: evidence for the predicted label (Grad-CAM), darker is more"
    return draw_contact_sheet(pairs, captions, columns=GRAD_CAM_COLUMNS, title=heading)


def _pair_with_heatmap(photograph: Pixels, heatmap: Maps) -> Pixels:
    gap = np.full((photograph.shape[0], GAP, 3), 255, np.uint8)
    return np.concatenate([photograph, gap, lay_over(photograph, heatmap)], axis=1)


def _read_maps(gradcam: pl.DataFrame) -> dict[str, Maps]:
    """Return the map of each item, float32 (rows, columns)."""
    maps = {}
    for (item_id,), part in gradcam.group_by("item_id", maintain_order=True):
        heatmap = np.zeros((int(part["row"].max()), int(part["column"].max())), np.float32)  # type: ignore[arg-type]
        heatmap[part["row"].to_numpy() - 1, part["column"].to_numpy() - 1] = part["value"].to_numpy()
        maps[str(item_id)] = heatmap
    return maps


def choose_items(predictions: pl.DataFrame, count: int = SHOWN) -> pl.DataFrame:
    """Return the first item of each of the most frequent classes, or several of each if there are few classes.

    Args:
        predictions: `item_id`, `image_index`, `label`, `predicted_label` and `confidence` of one split.
        count: The number of items.
    """
    ranked = predictions.sort("image_index").with_columns(
        rank=pl.int_range(pl.len()).over("label"), size=pl.len().over("label")
    )
    return ranked.sort("rank", "size", "label", descending=[False, True, False]).head(count).drop("rank", "size")


def measure_attention(classifier: Classifier, items: pl.DataFrame, images: Pixels) -> Shares | None:
    """Return the attention rollout of each item, (n, rows, columns), or None if the network has no attention."""
    if not has_attention(classifier.model) or items.is_empty():
        return None
    rows = items["image_index"].to_numpy()
    pixels = shrink(images[rows], classifier.network_size or classifier.image_size)
    return read_attention(classifier.model, pixels)


def tabulate_attention(items: pl.DataFrame, shares: Shares) -> pl.DataFrame:
    """Return one row per patch: `item_id`, `label`, `predicted_label`, `row` and `column` from 1, top left, `share`."""
    indices = np.indices(shares.shape).reshape(3, -1)
    patches: pl.DataFrame = items.select("item_id", "label", "predicted_label")[indices[0]]
    return patches.with_columns(
        row=pl.Series(indices[1] + 1), column=pl.Series(indices[2] + 1), share=pl.Series(shares.ravel()).round(6)
    )


def draw_attention(items: pl.DataFrame, shares: Shares, images: Pixels, title: str) -> Image.Image:
    """Draw each photograph beside a copy with its attention over it; darker is more.

    Args:
        items: `image_index`, `label`, `predicted_label` and `confidence`.
        shares: The result of `measure_attention` for them.
        images: All pixels.
        title: The run and the split, as `vit-color-0, val`.
    """
    pictures, captions, wrong = [], [], []
    for (row, label, predicted, confidence), patches in zip(
        items.select("image_index", "label", "predicted_label", "confidence").iter_rows(), shares, strict=True
    ):
        pictures.append(np.concatenate([images[row], lay_over(images[row], _scale_attention(patches))], axis=1))
        captions.append(f"{label}\n→ {predicted}, {describe_confidence(confidence)}")
        wrong.append(label != predicted)
    # Small photographs are enlarged, large ones are not.
    scale = 2 if images.shape[1] <= 120 else 1
    heading = f"{title}: attention rollout, the darker the more"
    return draw_contact_sheet(pictures, captions, columns=ATTENTION_COLUMNS, scale=scale, title=heading, marked=wrong)


def _scale_attention(patches: Shares) -> Maps:
    """Scale the shares of a photograph to 0 (the lowest) to 1 (the highest); all 0 if they are equal."""
    span = np.ptp(patches)
    return ((patches - patches.min()) / span if span > 0 else np.zeros_like(patches)).astype(np.float32)


def save_attention(
    folder: Path, classifier: Classifier, predictions: pl.DataFrame, images: Pixels, title: str
) -> list[Path]:
    """Write `attention.png` and its table `attention.csv` if the network has attention; remove old ones if not.

    Args:
        folder: The folder to write to.
        classifier: The evaluated model.
        predictions: See `choose_items`.
        images: All pixels.
        title: See `draw_attention`.
    """
    picture, table = folder / "attention.png", folder / "attention.csv"
    items = choose_items(predictions)
    shares = measure_attention(classifier, items, images)
    if shares is None:
        # An earlier run of this name may have written them.
        for path in (picture, table):
            path.unlink(missing_ok=True)
        return []
    write_csv(table, tabulate_attention(items, shares))
    return [*save_figure(draw_attention(items, shares, images, title), picture), table]
