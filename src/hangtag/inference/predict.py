"""Stage `predict`: labels for the Unknown items, or for all, from every trained model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import polars.selectors as cs
from PIL import Image

from hangtag.artifacts import hash_file, write_csv, write_parquet
from hangtag.config import PredictConfig
from hangtag.exploration.plots import draw_contact_sheet, save_figure
from hangtag.inference.captions import describe_confidence
from hangtag.inference.runs import load_classifier, select_runs
from hangtag.labels.labelled import UNKNOWN, Labelled, read_labelled
from hangtag.manifest import StageRecord, StageResult
from hangtag.models.outputs import Probs
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


def predict(
    workspace: str | Path | Workspace,
    config: PredictConfig = PredictConfig(),  # noqa: B008  (frozen)
    *,
    run_ids: Sequence[str] | None = None,
) -> list[StageResult]:
    """Label items with each trained model, and list where the models differ.

    Writes `predictions.csv`, `predictions.parquet` (all probabilities), `differences.csv` and
    `contact_sheet.png` to `runs/<run_id>/predictions/`.

    Args:
        workspace: A workspace with finished runs.
        config: Settings.
        run_ids: The runs; all finished ones by default.

    Raises:
        WorkspaceError: There is no such run, or it was trained on other labels.
    """
    place = Workspace.at(workspace)
    labelled = read_labelled(place)
    chosen = select_runs(place, run_ids)
    # All of them, because each run's differences tell of the others.
    models = {f"runs/{run_id}": hash_file(place.run(run_id) / "model.json") for run_id in chosen}
    records = {
        run_id: StageRecord("predict", place.predictions(run_id), {"labels": labelled.digest, **models}, config)
        for run_id in chosen
    }
    current = [record.find_current() for record in records.values()]
    if all(current):
        return [result for result in current if result]
    items = labelled.table.filter(pl.col("label") == UNKNOWN) if config.items == "unknown" else labelled.table
    tables = {run_id: _predict_items(place, run_id, labelled, items) for run_id in chosen}
    return [_write(records[run_id], run_id, labelled, items, tables) for run_id in chosen]


def _predict_items(place: Workspace, run_id: str, labelled: Labelled, items: pl.DataFrame) -> pl.DataFrame:
    classifier = load_classifier(place, run_id, labelled)
    rows = items["image_index"].to_numpy().astype(np.int64)
    probs = classifier.predict_rows(labelled.images, rows, f"Predicting with {run_id}").probs
    return describe_predictions(items["item_id"], probs, classifier.class_names)


def describe_predictions(item_ids: pl.Series, probs: Probs, class_names: Sequence[str]) -> pl.DataFrame:
    """Give each item's two likeliest labels with their probabilities, and all probabilities.

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


def find_differences(run_id: str, tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """List the items that another run labels otherwise, a line for each such run.

    Args:
        run_id: The run to hold against the others.
        tables: What `describe_predictions` gave for each run, all of the same items in the same order.
    """
    own = tables[run_id].select("item_id", "predicted_label", "confidence")
    parts = [pl.DataFrame(schema=DIFFERENCES)]
    for other_run_id, table in tables.items():
        other = table.select(
            pl.lit(other_run_id).alias("other_run_id"),
            pl.col("predicted_label").alias("other_predicted_label"),
            pl.col("confidence").alias("other_confidence"),
        )
        both = own.hstack(other)
        parts.append(both.filter(pl.col("predicted_label") != pl.col("other_predicted_label")))
    return pl.concat(parts)


def _write(
    record: StageRecord, run_id: str, labelled: Labelled, items: pl.DataFrame, tables: Mapping[str, pl.DataFrame]
) -> StageResult:
    schema, table, folder = labelled.schema, tables[run_id], record.folder
    names = ("predictions.csv", "predictions.parquet", "differences.csv", "contact_sheet.png")
    paths = [folder / name for name in names]
    given = {schema.name: items[schema.name]} if schema.name else {}
    given["given_label"] = items[schema.levels[-1]]
    readable = table.drop("pred_probs").with_columns(**given)
    differences = find_differences(run_id, tables)
    write_csv(paths[0], _round(readable.select("item_id", *given, pl.exclude("item_id", *given))))
    write_parquet(paths[1], table.select("item_id", "predicted_label", "confidence", "pred_probs"))
    write_csv(paths[2], _round(differences))
    save_figure(_draw_sheet(run_id, labelled, items, table), paths[3])
    counts = {"items": len(items), "differing": differences["item_id"].n_unique()}
    return record.finish(counts, paths)


def _round(table: pl.DataFrame) -> pl.DataFrame:
    """Round the confidences for people; the Parquet file keeps them whole."""
    return table.with_columns(cs.float().round(4))


def _draw_sheet(run_id: str, labelled: Labelled, items: pl.DataFrame, table: pl.DataFrame) -> Image.Image:
    """Show the first items with their predicted labels."""
    shown = table.head(SHEET_ITEMS).select("predicted_label", "confidence", "item_id")
    captions = [
        f"{label}\n{describe_confidence(confidence)}\n{item_id}" for label, confidence, item_id in shown.iter_rows()
    ]
    pictures = [labelled.images[row] for row in items["image_index"].head(SHEET_ITEMS)]
    title = f"{len(table):,} items as {run_id} labels them"
    if not len(table):
        title = f"There is no {UNKNOWN} item for {run_id} to label"
    elif len(table) > SHEET_ITEMS:
        title += f", the first {SHEET_ITEMS}"
    return draw_contact_sheet(pictures, captions, columns=6, title=title)
