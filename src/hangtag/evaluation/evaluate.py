"""Stage `evaluate`: report, confusion matrix and misclassified items of every trained model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from hangtag.artifacts import hash_file, write_csv, write_json, write_parquet, write_text
from hangtag.config import EvaluateConfig
from hangtag.errors import WorkspaceError
from hangtag.evaluation.confusion import (
    find_most_confused,
    plot_confusion,
    plot_interactive_confusion,
    tabulate_confusion,
)
from hangtag.evaluation.intervals import compute_intervals
from hangtag.evaluation.leaks import check_splits
from hangtag.evaluation.metrics import compute_figures, tabulate_classes
from hangtag.evaluation.pictures import draw_class, draw_misclassified, plot_history
from hangtag.evaluation.summary import write_summary
from hangtag.exploration.plots import save_figure, slug
from hangtag.inference.classifier import Classifier
from hangtag.inference.runs import load_classifier, select_runs
from hangtag.labels.labelled import Labelled, read_labelled
from hangtag.manifest import StageRecord, StageResult
from hangtag.progress import track
from hangtag.workspace import Workspace


def evaluate(
    workspace: str | Path | Workspace,
    config: EvaluateConfig = EvaluateConfig(),  # noqa: B008  (frozen)
    *,
    run_ids: Sequence[str] | None = None,
) -> list[StageResult]:
    """Judge trained models on the splits asked for.

    Writes `report.json`, `report.md`, the classification report, the confusion matrix, the misclassified
    items and their pictures to `runs/<run_id>/evaluation/`.

    Args:
        workspace: A workspace with finished runs.
        config: Settings.
        run_ids: The runs; all finished ones by default.

    Raises:
        LeakError: The splits share items, pixels or duplicates.
        WorkspaceError: There is no such run, it was trained on other labels, or a split is empty.
    """
    place = Workspace.at(workspace)
    labelled = read_labelled(place)
    check_splits(labelled.table)
    results = []
    for run_id in select_runs(place, run_ids):
        inputs = {"labels": labelled.digest, "model": hash_file(place.run(run_id) / "model.json")}
        record = StageRecord("evaluate", place.evaluation(run_id), inputs, config)
        results.append(record.find_current() or _evaluate_run(place, run_id, labelled, config, record))
    return results


def _evaluate_run(
    place: Workspace, run_id: str, labelled: Labelled, config: EvaluateConfig, record: StageRecord
) -> StageResult:
    classifier = load_classifier(place, run_id, labelled)
    report: dict[str, Any] = {
        "run_id": run_id,
        "label_name": labelled.schema.label_name,
        "class_names": list(classifier.class_names),
        "splits": {},
    }
    tables = []
    for split in config.splits:
        table, figures = _judge_split(labelled, classifier, split, config, f"{run_id}, {split}")
        tables.append(table)
        report["splits"][split] = figures
    predictions = pl.concat(tables)
    history = pl.read_csv(place.run(run_id) / "history.csv")
    paths = _write_tables(record.folder, report, predictions, labelled)
    paths += _draw(record.folder, report, predictions, labelled, history)
    counts = {
        f"{split}_{key}": round(figures[key], 4)
        for split, figures in report["splits"].items()
        for key in ("accuracy", "macro_f1")
    }
    return record.finish(counts, paths)


def _judge_split(
    labelled: Labelled, classifier: Classifier, split: str, config: EvaluateConfig, title: str
) -> tuple[pl.DataFrame, dict[str, Any]]:
    items = labelled.of_split(split)
    if items.is_empty():
        raise WorkspaceError(f"There are no items in the split {split}.", hint="Leave it out of --splits.")
    class_names = classifier.class_names
    index = {name: position for position, name in enumerate(class_names)}
    classes = np.array([index[label] for label in items["label"]], np.int64)
    rows = items["image_index"].to_numpy().astype(np.int64)
    probs = classifier.predict_rows(labelled.images, rows, f"Judging {title}")
    predicted = probs.argmax(axis=1)
    figures = compute_figures(probs, classes, class_names)
    figures["confidence_interval"] = compute_intervals(
        classes,
        predicted,
        items["group_id"].to_list(),
        len(class_names),
        samples=config.bootstrap_samples,
        seed=config.bootstrap_seed,
    )
    table = items.select("item_id", "image_index", "split", "group_id", "label").with_columns(
        predicted_label=pl.Series([class_names[place] for place in predicted], dtype=pl.String),
        confidence=pl.Series(probs.max(axis=1)).cast(pl.Float64).round(4),
        pred_probs=pl.Series(probs.tolist(), dtype=pl.List(pl.Float32)),
    )
    return table, figures


def _find_wrong(predictions: pl.DataFrame) -> pl.DataFrame:
    wrong = predictions.filter(pl.col("label") != pl.col("predicted_label"))
    return wrong.sort("confidence", "item_id", descending=[True, False])


def _write_tables(folder: Path, report: dict[str, Any], predictions: pl.DataFrame, labelled: Labelled) -> list[Path]:
    confusion = tabulate_confusion(predictions)
    confused = find_most_confused(confusion)
    name = labelled.schema.name
    wrong = _find_wrong(predictions).select("split", "item_id", "label", "predicted_label", "confidence")
    if name:
        wrong = wrong.join(labelled.table.select("item_id", name), on="item_id", how="left", maintain_order="left")
    classes = pl.concat([tabulate_classes(figures, split) for split, figures in report["splits"].items()])
    files = {
        "classification_report.csv": classes,
        "confusion_matrix.csv": confusion,
        "most_confused.csv": confused,
        "misclassified.csv": wrong,
    }
    for file, table in files.items():
        write_csv(folder / file, table)
    write_parquet(folder / "predictions.parquet", predictions.drop("image_index"))
    write_json(folder / "report.json", report)
    write_text(folder / "report.md", write_summary(report, confused))
    return [folder / file for file in (*files, "predictions.parquet", "report.json", "report.md")]


def _draw(
    folder: Path, report: dict[str, Any], predictions: pl.DataFrame, labelled: Labelled, history: pl.DataFrame
) -> list[Path]:
    """Draw the figures of one split: `val` where it was judged, as in the capstone's report."""
    split = "val" if "val" in report["splits"] else list(report["splits"])[-1]
    run_id, class_names = report["run_id"], report["class_names"]
    shown = predictions.filter(pl.col("split") == split)
    confusion = tabulate_confusion(shown)
    title = f"{run_id}, {split}"
    figures = {
        "confusion_matrix.png": plot_confusion(confusion, class_names, title),
        "confusion_matrix.html": plot_interactive_confusion(confusion, class_names, title),
        "misclassified.png": draw_misclassified(_find_wrong(shown), labelled.images, f"Misclassified by {title}"),
        "training_curves.png": plot_history(history, run_id),
    }
    paths = [path for file, figure in figures.items() for path in save_figure(figure, folder / file)]
    by_class = shown.partition_by("label", as_dict=True)
    for (label,), items in track(by_class.items(), f"Drawing the classes of {run_id}", len(by_class), "sheets"):
        sheet = draw_class(items, labelled.images, f"{label} as {title} sees it")
        paths += save_figure(sheet, folder / "class_sheets" / f"{slug(str(label))}.png")
    return paths
