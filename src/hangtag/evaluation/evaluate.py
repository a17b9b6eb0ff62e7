"""Stage `evaluate`: report, confusion matrix and misclassified items of every trained model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import polars.selectors as cs

from hangtag.artifacts import hash_file, write_csv, write_json, write_parquet, write_text
from hangtag.config import EvaluateConfig
from hangtag.errors import WorkspaceError
from hangtag.evaluation.confusion import find_most_confused, tabulate_confusion
from hangtag.evaluation.curves import plot_history
from hangtag.evaluation.heatmap import plot_confusion, plot_interactive_confusion
from hangtag.evaluation.intervals import compute_intervals
from hangtag.evaluation.leaks import check_splits
from hangtag.evaluation.metrics import compute_figures, tabulate_classes
from hangtag.evaluation.pictures import draw_class, draw_misclassified
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
    items and their pictures to `runs/<run_id>/evaluation/`. Figures show `val` where it was judged, else the
    last split. A split without items, as in a catalogue that came without a test folder, is passed over.

    Args:
        workspace: A workspace with finished runs.
        config: Settings.
        run_ids: The runs; all finished ones by default.

    Raises:
        LeakError: The splits share items, pixels or duplicates.
        WorkspaceError: There is no such run, it was trained on other labels, or no split has items.
        ModelError: A model cannot be loaded, or gives no numbers.
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
    asked = list(dict.fromkeys(config.splits))
    predictions = _predict_splits(labelled, classifier, asked, f"Judging {run_id}")
    found = predictions.partition_by("split", as_dict=True)
    splits = [split for split in asked if (split,) in found]
    report = {
        "run_id": run_id,
        "label_name": labelled.schema.label_name,
        "class_names": list(classifier.class_names),
        "splits": {split: _judge(found[split,], classifier.class_names, config) for split in splits},
    }
    empty_splits = [split for split in asked if split not in splits]
    kept_epoch = classifier.description.get("metrics", {}).get("epoch")
    history = pl.read_csv(place.run(run_id) / "history.csv")
    paths = _write_tables(record.folder, report, predictions, labelled, empty_splits)
    paths += save_figure(plot_history(history, run_id, kept_epoch), record.folder / "training_curves.png")
    paths += _draw(record.folder, report, predictions, labelled)
    return record.finish(_count(report, empty_splits), paths)


def _count(report: dict[str, Any], empty_splits: Sequence[str]) -> dict[str, Any]:
    counts = {
        f"{split}_{key}": round(figures[key], 4)
        for split, figures in report["splits"].items()
        for key in ("accuracy", "macro_f1")
    }
    return counts | {f"{split}_items": 0 for split in empty_splits}


def _predict_splits(labelled: Labelled, classifier: Classifier, splits: Sequence[str], title: str) -> pl.DataFrame:
    """Predict the items of all splits at once, in the order of the splits."""
    items = pl.concat([labelled.of_split(split) for split in splits])
    if items.is_empty():
        hint = "Judge another one with --splits, or clean a larger catalogue."
        raise WorkspaceError(f"There are no items in the split {', '.join(splits)}.", hint=hint)
    rows = items["image_index"].to_numpy().astype(np.int64)
    probs = classifier.predict_rows(labelled.images, rows, title).probs
    names = classifier.class_names
    return items.select("item_id", "image_index", "split", "group_id", "label").with_columns(
        predicted_label=pl.Series([names[place] for place in probs.argmax(axis=1)], dtype=pl.String),
        confidence=pl.Series(probs.max(axis=1)).cast(pl.Float64),
        pred_probs=pl.Series(probs, dtype=pl.Array(pl.Float32, len(names))),
    )


def _judge(predictions: pl.DataFrame, class_names: Sequence[str], config: EvaluateConfig) -> dict[str, Any]:
    """Give the figures of one split with their intervals."""
    index = {name: position for position, name in enumerate(class_names)}
    classes = np.array([index[label] for label in predictions["label"]], np.int64)
    probs = predictions["pred_probs"].to_numpy()
    figures = compute_figures(probs, classes, class_names)
    figures["confidence_interval"] = compute_intervals(
        classes,
        probs.argmax(axis=1),
        predictions["group_id"].to_list(),
        len(class_names),
        samples=config.bootstrap_samples,
        seed=config.bootstrap_seed,
    )
    return figures


def _find_wrong(predictions: pl.DataFrame) -> pl.DataFrame:
    wrong = predictions.filter(pl.col("label") != pl.col("predicted_label"))
    return wrong.sort("confidence", "item_id", descending=[True, False])


def _write_tables(
    folder: Path, report: dict[str, Any], predictions: pl.DataFrame, labelled: Labelled, empty_splits: Sequence[str]
) -> list[Path]:
    confusion = tabulate_confusion(predictions)
    confused = find_most_confused(confusion)
    wrong = _find_wrong(predictions).select("split", "item_id", "label", "predicted_label", "confidence")
    if name := labelled.schema.name:
        names = labelled.table.select("item_id", name)
        wrong = wrong.join(names, on="item_id", how="left", maintain_order="left")
    classes = pl.concat([tabulate_classes(figures, split) for split, figures in report["splits"].items()])
    files = {
        "classification_report.csv": classes,
        "confusion_matrix.csv": confusion,
        "most_confused.csv": confused,
        "misclassified.csv": wrong.with_columns(cs.float().round(4)),
    }
    for file, table in files.items():
        write_csv(folder / file, table)
    whole = predictions.drop("image_index").with_columns(pl.col("pred_probs").cast(pl.List(pl.Float32)))
    write_parquet(folder / "predictions.parquet", whole)
    write_json(folder / "report.json", report)
    write_text(folder / "report.md", write_summary(report, confused, empty_splits))
    return [folder / file for file in (*files, "predictions.parquet", "report.json", "report.md")]


def _draw(folder: Path, report: dict[str, Any], predictions: pl.DataFrame, labelled: Labelled) -> list[Path]:
    """Draw the figures of one split: `val` where it was judged, as in the capstone's report."""
    split = "val" if "val" in report["splits"] else list(report["splits"])[-1]
    shown = predictions.filter(pl.col("split") == split)
    confusion, class_names = tabulate_confusion(shown), report["class_names"]
    title = f"{report['run_id']}, {split}"
    figures = {
        "confusion_matrix.png": plot_confusion(confusion, class_names, title),
        "confusion_matrix.html": plot_interactive_confusion(confusion, class_names, title),
        "misclassified.png": draw_misclassified(_find_wrong(shown), labelled.images, title),
    }
    paths = [path for file, figure in figures.items() for path in save_figure(figure, folder / file)]
    return paths + _draw_classes(folder / "class_sheets", shown, labelled, title)


def _draw_classes(folder: Path, predictions: pl.DataFrame, labelled: Labelled, title: str) -> list[Path]:
    """Draw a sheet for every class, and take away those of classes that are no more."""
    paths = []
    for label in track(labelled.class_names, "Drawing class sheets", len(labelled.class_names), "sheets"):
        items = predictions.filter(pl.col("label") == label)
        sheet = draw_class(items, labelled.images, label, title)
        paths += save_figure(sheet, folder / f"{slug(label)}.png")
    for path in set(folder.glob("*.png")).difference(paths):
        path.unlink()
    return paths
