"""Stage `evaluate`: metrics, confusion matrix and misclassified items of every trained model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from hangtag.config import EvaluateConfig
from hangtag.console import track
from hangtag.errors import WorkspaceError
from hangtag.figures.confusion_matrix import plot_confusion, plot_interactive_confusion
from hangtag.figures.counts import save_figure, slug
from hangtag.figures.errors import draw_class, draw_gradcam, draw_misclassified, save_attention, tabulate_gradcam
from hangtag.figures.reliability import plot_coverage, plot_history, plot_reliability
from hangtag.inference.classifier import Classifier
from hangtag.inference.runs import (
    EvaluatedItems,
    adjust,
    can_read_names,
    load_classifier,
    predict_items,
    select_items,
    select_runs,
)
from hangtag.io import JsonObject, read_csv, write_csv, write_json, write_parquet, write_text
from hangtag.labels.dataset import LabeledItems, read_hash_distance, read_labeled_items
from hangtag.lock import hold, sweep
from hangtag.manifest import StageRecord
from hangtag.metrics.confusion import tabulate_confusion
from hangtag.metrics.leakage import check_splits, check_unseen
from hangtag.metrics.markdown import write_summary
from hangtag.metrics.report import Calibration, build_report, build_tables, count_figures, find_wrong, try_adjustments
from hangtag.models.checkpoint import hash_run
from hangtag.results import EvaluateResult, StageResult
from hangtag.training.targets import LABEL
from hangtag.workspace import Workspace

LOOKED = "misclassified_gradcam"


def evaluate(
    workspace: str | Path | Workspace,
    config: EvaluateConfig = EvaluateConfig(),  # noqa: B008  (frozen)
    *,
    run_ids: Sequence[str] | None = None,
) -> list[EvaluateResult]:
    """Evaluate trained models on the given splits.

    Writes to `runs/<run_id>/evaluation/`: `report.json`, `report.md`, `predictions.parquet`, the tables of
    `build_tables` and their figures, Grad-CAM heatmaps of the most confident errors, and for a transformer its
    attention. Figures of a single split show `val` if it is evaluated, else the last split. A split without items, as
    in a catalogue without a test folder, is skipped.

    A run is evaluated on its primary level: the label, or the column that it was trained for. Items without a value
    there are left out. A model that reads names is evaluated with them, and also from the photographs alone.
    Temperatures and thresholds were chosen without logit adjustment, and stay the same with it.

    Args:
        workspace: A workspace with finished runs.
        config: The settings of the evaluation.
        run_ids: The runs; all finished ones by default.

    Raises:
        LeakError: The splits share items, pixels or duplicates, or a model was trained on items to be evaluated.
        WorkspaceError: There is no such run, it was trained on other labels, or no split has items.
        ModelError: A model cannot be loaded, its probabilities are not finite, or it has no training counts for the
            logit adjustment.
    """
    workspace = Workspace.at(workspace)
    sweep(workspace)
    chosen = select_runs(workspace, run_ids)
    reads = [workspace.prepared, workspace.labels, *map(workspace.run, chosen)]
    with hold("evaluate", workspace, reads=reads, writes=[workspace.evaluation(run_id) for run_id in chosen]):
        return [EvaluateResult.of(result) for result in _evaluate_runs(workspace, config, chosen)]


def _evaluate_runs(workspace: Workspace, config: EvaluateConfig, run_ids: Sequence[str]) -> list[StageResult]:
    labelled = read_labeled_items(workspace)
    check_splits(labelled.table)
    results = []
    for run_id in run_ids:
        inputs = {"labels": labelled.digest, "model": hash_run(workspace, run_id)}
        record = StageRecord("evaluate", workspace.evaluation(run_id), inputs, config)
        results.append(record.load_if_unchanged() or _evaluate_run(workspace, run_id, labelled, config, record))
    return results


def _evaluate_run(
    workspace: Workspace, run_id: str, labelled: LabeledItems, config: EvaluateConfig, record: StageRecord
) -> StageResult:
    classifier = load_classifier(workspace, run_id, labelled)
    items = _select_items(labelled, classifier, config.splits)
    check_unseen(classifier, labelled, items, read_hash_distance(workspace))
    with_names, title = can_read_names(classifier, labelled), f"Evaluating {run_id}"
    given = predict_items(classifier, labelled, items, title, with_names=with_names)
    answered = EvaluatedItems(items, adjust(given, classifier, config.logit_adjustment))
    alone = None
    if with_names:
        photographs = predict_items(classifier, labelled, items, f"{title}, photographs alone", with_names=False)
        alone = EvaluatedItems(items, adjust(photographs, classifier, config.logit_adjustment)).by_split()
    train_counts = classifier.description.get("train_counts")
    adjustments = try_adjustments(EvaluatedItems(items, given).by_split(), train_counts) if train_counts else None
    calibration = Calibration.of(classifier, with_names=with_names)
    parts = answered.by_split()
    report = build_report(run_id, labelled, parts, config, calibration, alone=alone, adjustments=adjustments)
    predictions = answered.tabulate()
    tables = build_tables(report, parts, predictions, labelled)
    empty_splits = [split for split in dict.fromkeys(config.splits) if split not in parts]
    folder = record.begin()
    paths = _write_evaluation(folder, report, tables, predictions, empty_splits)
    kept_epoch = classifier.description.get("metrics", {}).get("epoch")
    history = read_csv(workspace.run(run_id) / "history.csv")
    paths += save_figure(plot_history(history, run_id, kept_epoch), folder / "training_curves.png")
    split = _choose_split(report)
    paths += _draw_figures(folder, report, tables, predictions, labelled)
    shown = predictions.filter(pl.col("split") == split)
    title = f"{run_id}, {split}"
    paths += save_attention(folder, classifier, shown, labelled.images, title)
    paths += _write_gradcam(folder, title, shown, labelled, classifier, with_names=with_names)
    return record.finish(count_figures(report) | {f"{split}_items": 0 for split in empty_splits}, paths)


def _select_items(labelled: LabeledItems, classifier: Classifier, splits: Sequence[str]) -> pl.DataFrame:
    """Return the items of all splits at once, in the order of the splits."""
    asked, primary = list(dict.fromkeys(splits)), classifier.label_space.primary
    items = select_items(labelled, classifier.label_space, asked)
    if items.is_empty():
        what = "items" if primary == LABEL else f"items with a value of {primary}"
        hint = "Evaluate another split with --splits, or clean a larger catalogue."
        raise WorkspaceError(f"There are no {what} in the split {', '.join(asked)}.", hint=hint)
    return items


def _write_evaluation(
    folder: Path,
    report: JsonObject,
    tables: Mapping[str, pl.DataFrame],
    predictions: pl.DataFrame,
    empty_splits: Sequence[str],
) -> list[Path]:
    for file, table in tables.items():
        write_csv(folder / file, table)
    whole = predictions.drop("image_index").with_columns(pl.col("pred_probs").cast(pl.List(pl.Float32)))
    write_parquet(folder / "predictions.parquet", whole)
    write_json(folder / "report.json", report)
    write_text(folder / "report.md", write_summary(report, tables["most_confused.csv"], empty_splits))
    return [folder / file for file in (*tables, "predictions.parquet", "report.json", "report.md")]


def _choose_split(report: Mapping[str, Any]) -> str:
    """Return the split of the figures: `val` if it was evaluated, as in the capstone's report."""
    return "val" if "val" in report["splits"] else list(report["splits"])[-1]


def _draw_figures(
    folder: Path,
    report: JsonObject,
    tables: Mapping[str, pl.DataFrame],
    predictions: pl.DataFrame,
    labelled: LabeledItems,
) -> list[Path]:
    """Draw the figures of all splits together, and those of a single split."""
    split = _choose_split(report)
    shown = predictions.filter(pl.col("split") == split)
    confusion, class_names = tabulate_confusion(shown), report["class_names"]
    run_id, temperature = report["run_id"], report["temperature"]
    title = f"{run_id}, {split}"
    heading = f"{run_id}, {'not calibrated' if temperature is None else f'temperature {temperature:.3g}'}"
    errors = {each: figures["ece"] for each, figures in report["splits"].items()}
    figures = {
        "reliability.png": plot_reliability(tables["reliability.csv"], errors, heading),
        "coverage.png": plot_coverage(tables["coverage.csv"], tables["thresholds.csv"], run_id),
        "confusion_matrix.png": plot_confusion(confusion, class_names, title),
        "confusion_matrix.html": plot_interactive_confusion(confusion, class_names, title),
        "misclassified.png": draw_misclassified(find_wrong(shown), labelled.images, title),
    }
    paths = [path for file, figure in figures.items() for path in save_figure(figure, folder / file)]
    return paths + _draw_classes(folder / "class_sheets", shown, labelled, class_names, title)


def _write_gradcam(
    folder: Path,
    title: str,
    shown: pl.DataFrame,
    labelled: LabeledItems,
    classifier: Classifier,
    *,
    with_names: bool,
) -> list[Path]:
    """Write Grad-CAM heatmaps of the errors as a table and a picture, if the network supports heatmaps."""
    table_path, picture_path = folder / f"{LOOKED}.csv", folder / f"{LOOKED}.png"
    if not classifier.can_explain:
        return []
    wrong = find_wrong(shown)
    names = labelled.table.select("item_id", str(labelled.schema.name)) if with_names else None
    looked = tabulate_gradcam(wrong, labelled.images, classifier, names)
    write_csv(table_path, looked)
    picture = draw_gradcam(looked, wrong, labelled.images, title)
    return [table_path, *save_figure(picture, picture_path)]


def _draw_classes(
    folder: Path, predictions: pl.DataFrame, labelled: LabeledItems, class_names: Sequence[str], title: str
) -> list[Path]:
    """Draw a contact sheet for every class."""
    paths = []
    for label in track(class_names, "Drawing class sheets", len(class_names), "sheets"):
        items = predictions.filter(pl.col("label") == label)
        sheet = draw_class(items, labelled.images, label, title)
        paths += save_figure(sheet, folder / f"{slug(label)}.png")
    return paths
