"""Stage `predict`: labels of the Unknown items, or of all, from every trained model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import polars.selectors as cs
from PIL import Image

from hangtag.config import PredictConfig
from hangtag.figures.counts import draw_contact_sheet, save_figure
from hangtag.inference.prediction import format_prediction
from hangtag.inference.runs import (
    adjust,
    can_read_names,
    load_classifier,
    name_other_values,
    predict_photographs,
    select_runs,
)
from hangtag.io import write_csv, write_parquet
from hangtag.labels.dataset import UNKNOWN, LabeledItems, read_labeled_items
from hangtag.lock import hold, sweep
from hangtag.manifest import StageRecord
from hangtag.models.checkpoint import hash_run
from hangtag.models.label_space import Probs
from hangtag.results import PredictResult, StageResult
from hangtag.training.targets import LABEL
from hangtag.workspace import Workspace

SHEET_ITEMS = 100
DIFFERENCES = {
    "item_id": pl.String,
    "predicted_label": pl.String,
    "confidence": pl.Float64,
    "other_run_id": pl.String,
    "other_predicted_label": pl.String,
    "other_confidence": pl.Float64,
}


@dataclass(frozen=True)
class Predicted:
    """The predictions of one run.

    Attributes:
        table: A row an item; see `describe_predictions`, with `is_sure` and `predicted_<column>` behind.
        target: The level or attribute that `predicted_label` is of.
    """

    table: pl.DataFrame
    target: str


def predict(
    workspace: str | Path | Workspace,
    config: PredictConfig = PredictConfig(),  # noqa: B008  (frozen)
    *,
    run_ids: Sequence[str] | None = None,
) -> list[PredictResult]:
    """Predict items with each trained model, and list where the models differ.

    Items that are `unknown` are those without a label, and those with a label that lack a level: what the models say of
    it stands in the level's own column.

    Writes `predictions.csv`, `predictions.parquet` (all probabilities), `differences.csv` and
    `contact_sheet.png` to `runs/<run_id>/predictions/`. A model that reads names is given them.

    An item with several photographs is predicted by all of them: its probabilities are the means of theirs.

    An answer is sure where its confidence is at or above the threshold that the model has for the wanted precision;
    without such a threshold none is. The thresholds were chosen on val without a logit adjustment: with one,
    confidences are other than those, and `is_sure` promises nothing.

    Args:
        workspace: A workspace with finished runs.
        config: Settings.
        run_ids: The runs; all finished ones by default.

    Raises:
        WorkspaceError: There is no such run, or it was trained on other labels.
        ModelError: A model cannot be loaded, gives no numbers, or cannot be adjusted.
    """
    workspace = Workspace.at(workspace)
    sweep(workspace)
    chosen = select_runs(workspace, run_ids)
    reads = [workspace.prepared, workspace.labels, *map(workspace.run, chosen)]
    with hold("predict", workspace, reads=reads, writes=[workspace.predictions(run_id) for run_id in chosen]):
        return [PredictResult.of(result) for result in _predict_runs(workspace, config, chosen)]


def _predict_runs(workspace: Workspace, config: PredictConfig, chosen: Sequence[str]) -> list[StageResult]:
    labelled = read_labeled_items(workspace)
    # All of them, because each run's differences tell of the others.
    models = {f"runs/{run_id}": hash_run(workspace, run_id) for run_id in chosen}
    records = {
        run_id: StageRecord("predict", workspace.predictions(run_id), {"labels": labelled.digest, **models}, config)
        for run_id in chosen
    }
    current = [record.load_if_unchanged() for record in records.values()]
    if all(current):
        return [result for result in current if result]
    items = _choose_unknown(labelled) if config.items == "unknown" else labelled.table
    found = {run_id: _predict_items(workspace, run_id, labelled, items, config) for run_id in chosen}
    return [_write_predictions(records[run_id], run_id, labelled, items, found) for run_id in chosen]


def _choose_unknown(labelled: LabeledItems) -> pl.DataFrame:
    """Return the items without a label, or without a value on one of the levels."""
    levels = [level for level in labelled.schema.levels if level in labelled.table.columns]
    lacks = [pl.col(level).is_null() for level in levels]
    return labelled.table.filter(pl.any_horizontal(pl.col("label") == UNKNOWN, *lacks))


def _predict_items(
    workspace: Workspace, run_id: str, labelled: LabeledItems, items: pl.DataFrame, config: PredictConfig
) -> Predicted:
    classifier = load_classifier(workspace, run_id, labelled)
    with_names = can_read_names(classifier, labelled)
    given, _ = predict_photographs(classifier, labelled, items, f"Predicting with {run_id}", with_names=with_names)
    predictions = adjust(given, classifier, config.logit_adjustment)
    table = describe_predictions(items["item_id"], predictions.probs, classifier.class_names)
    threshold = classifier.find_threshold(config.target_precision, with_names=with_names)
    is_sure = table["confidence"] >= (np.inf if threshold is None else threshold)
    others = name_other_values(predictions)
    return Predicted(table.with_columns(is_sure=is_sure).hstack(others), classifier.label_space.primary)


def describe_predictions(item_ids: pl.Series, probs: Probs, class_names: Sequence[str]) -> pl.DataFrame:
    """Return each item's two likeliest labels with their probabilities, and all probabilities.

    Args:
        item_ids: Text (n,).
        probs: float32 (n, num_classes).
        class_names: What the columns stand for.
    """
    order = np.argsort(-probs, axis=1, kind="stable")[:, :2]
    sorted_probs = np.take_along_axis(probs, order, axis=1)
    names = np.asarray(class_names, dtype=object)

    def column(values: Any, kind: Any) -> pl.Series:
        return pl.Series(values=list(values), dtype=kind)

    return pl.DataFrame(
        {
            "item_id": item_ids,
            "predicted_label": column(names[order[:, 0]], pl.String),
            "confidence": column(sorted_probs[:, 0], pl.Float64),
            "second_label": column(names[order[:, 1]], pl.String),
            "second_confidence": column(sorted_probs[:, 1], pl.Float64),
            "pred_probs": pl.Series(probs, dtype=pl.Array(pl.Float32, probs.shape[1])).cast(pl.List(pl.Float32)),
        }
    )


def find_differences(run_id: str, found: Mapping[str, Predicted]) -> pl.DataFrame:
    """List the items that another run with the same target labels otherwise, a line for each such run.

    Args:
        run_id: The run to hold against the others.
        found: What each run says, all of the same items in the same order.
    """
    own = found[run_id].table.select("item_id", "predicted_label", "confidence")
    parts = [pl.DataFrame(schema=DIFFERENCES)]
    for other_run_id, predicted in found.items():
        if predicted.target != found[run_id].target:
            continue
        other = predicted.table.select(
            pl.lit(other_run_id).alias("other_run_id"),
            pl.col("predicted_label").alias("other_predicted_label"),
            pl.col("confidence").alias("other_confidence"),
        )
        both = own.hstack(other)
        parts.append(both.filter(pl.col("predicted_label") != pl.col("other_predicted_label")))
    return pl.concat(parts)


def _write_predictions(
    record: StageRecord, run_id: str, labelled: LabeledItems, items: pl.DataFrame, found: Mapping[str, Predicted]
) -> StageResult:
    schema, folder = labelled.schema, record.begin()
    table, target = found[run_id].table, found[run_id].target
    names = ("predictions.csv", "predictions.parquet", "differences.csv", "contact_sheet.png")
    paths = [folder / name for name in names]
    given = {schema.name: items[schema.name]} if schema.name else {}
    given["given_label"] = items[schema.levels[-1] if target == LABEL else target]
    readable = table.drop("pred_probs").with_columns(**given)
    differences = find_differences(run_id, found)
    write_csv(paths[0], _round_confidences(readable.select("item_id", *given, pl.exclude("item_id", *given))))
    write_parquet(paths[1], table.select("item_id", "predicted_label", "confidence", "pred_probs"))
    write_csv(paths[2], _round_confidences(differences))
    save_figure(_draw_sheet(run_id, labelled, items, table), paths[3])
    sure, differing = int(table["is_sure"].sum()), differences["item_id"].n_unique()
    counts = {"items": len(items), "sure": sure, "differing": differing}
    return record.finish(counts, paths)


def _round_confidences(table: pl.DataFrame) -> pl.DataFrame:
    """Round the confidences for the CSV file; the Parquet file keeps all digits."""
    return table.with_columns(cs.float().round(4))


def _draw_sheet(run_id: str, labelled: LabeledItems, items: pl.DataFrame, table: pl.DataFrame) -> Image.Image:
    """Show the first items with their predicted labels."""
    shown = table.head(SHEET_ITEMS).select("predicted_label", "confidence", "is_sure", "item_id")
    captions = [
        f"{label}\n{format_prediction(confidence, is_sure)}\n{item_id}"
        for label, confidence, is_sure, item_id in shown.iter_rows()
    ]
    pictures = [labelled.images[row] for row in items["image_index"].head(SHEET_ITEMS)]
    title = f"{len(table):,} items as {run_id} labels them"
    if not len(table):
        title = f"There is no {UNKNOWN} item for {run_id} to label"
    elif len(table) > SHEET_ITEMS:
        title += f", the first {SHEET_ITEMS}"
    return draw_contact_sheet(pictures, captions, columns=6, title=title)
