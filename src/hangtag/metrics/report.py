"""Build `report.json` and the tables of an evaluation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
import polars.selectors as cs

from hangtag.config import EvaluateConfig
from hangtag.inference.classifier import PHOTOGRAPH, PHOTOGRAPH_AND_NAME, Classifier
from hangtag.inference.runs import EvaluatedItems
from hangtag.io import JsonObject
from hangtag.labels.dataset import LabeledItems
from hangtag.metrics.bootstrap import compute_intervals
from hangtag.metrics.calibration import measure_thresholds, tabulate_coverage, tabulate_reliability, tabulate_thresholds
from hangtag.metrics.classification import compute_figures, evaluate_levels, tabulate_classes, tabulate_levels
from hangtag.metrics.confusion import (
    OUT_OF_FOLD,
    average_f1,
    count_outcomes,
    find_most_confused,
    tabulate_confusion,
)
from hangtag.models.label_space import CATEGORY_PATH
from hangtag.training.targets import LABEL

# Written only for a model that records the training counts of its classes.
ADJUSTMENT = "logit_adjustment.csv"
STRENGTHS = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
# Without train: metrics on training items are too optimistic to choose a strength by.
SPLITS = ("val", "test")
INPUTS = {False: "photograph", True: "photograph and name"}
Parts = Mapping[str, EvaluatedItems]


@dataclass(frozen=True)
class Calibration:
    """The temperature and thresholds of a model, fitted on val.

    Attributes:
        temperature: The temperature of the category path head; None if the model is not calibrated.
        thresholds: The confidence threshold by target precision as text; None if no threshold reaches it.
    """

    temperature: float | None
    thresholds: dict[str, float | None]

    @classmethod
    def of(cls, classifier: Classifier, *, with_names: bool) -> "Calibration":
        """Read the calibration from `model.json`, where it may be missing."""
        calibrations = classifier.description.get("calibration", {})
        found = calibrations.get(PHOTOGRAPH_AND_NAME if with_names else PHOTOGRAPH, {})
        return cls(found.get("temperatures", {}).get(CATEGORY_PATH), dict(found.get("thresholds", {})))


def build_report(
    run_id: str,
    labelled: LabeledItems,
    parts: Parts,
    config: EvaluateConfig,
    calibration: Calibration,
    *,
    alone: Parts | None = None,
    adjustments: pl.DataFrame | None = None,
) -> JsonObject:
    """Build the content of `report.json`.

    Args:
        run_id: The run's name.
        labelled: The cleaned catalogue.
        parts: The predicted items by split, at least one split, after logit adjustment.
        config: The settings of the evaluation.
        calibration: The calibration for the inputs that were used.
        alone: If names were read, the same items predicted from their photographs alone.
        adjustments: The table of `try_adjustments`, if it was computed.

    Returns:
        `run_id`, `target` (the primary level's column), `label_name` (its heading), `class_names`, `input`,
        `temperature`, `logit_adjustment`; `splits` with all metrics of each split; if names were read,
        `photograph_alone` with the same except the classes; `levels` (see `evaluate_levels`), `thresholds` (see
        `measure_thresholds`) and, if computed, `adjustments`, the rows of `logit_adjustment.csv`.
    """
    report = _describe_target(run_id, labelled, parts, with_names=alone is not None) | {
        "temperature": calibration.temperature,
        "logit_adjustment": config.logit_adjustment,
        "splits": {split: compute_interval_metrics(part, config) for split, part in parts.items()},
    }
    if alone is not None:
        figures = {split: compute_interval_metrics(part, config) for split, part in alone.items()}
        for each in figures.values():
            del each["classes"]
        report["photograph_alone"] = {"splits": figures}
    report["levels"] = _evaluate_levels(parts, labelled, config)
    report["thresholds"] = measure_thresholds(parts, calibration.thresholds)
    if adjustments is not None:
        report["adjustments"] = adjustments.to_dicts()
    return report


def build_folds_report(
    run_id: str, labelled: LabeledItems, part: EvaluatedItems, config: EvaluateConfig, *, folds: int, with_names: bool
) -> JsonObject:
    """Build the content of the `report.json` of a cross-validation.

    Args:
        run_id: The name of the cross-validation.
        labelled: The cleaned catalogue.
        part: The items of all folds, each predicted by the model of the fold that excluded it.
        config: The settings of the intervals.
        folds: The number of folds.
        with_names: Whether the models read names.

    Returns:
        As `build_report`, with `folds`, and with the one split `out_of_fold`. There are no temperatures, thresholds and
        logit adjustments: each of the models would need its own.
    """
    parts = {OUT_OF_FOLD: part}
    return _describe_target(run_id, labelled, parts, with_names=with_names) | {
        "folds": folds,
        "splits": {OUT_OF_FOLD: compute_interval_metrics(part, config)},
        "levels": _evaluate_levels(parts, labelled, config),
    }


def _describe_target(run_id: str, labelled: LabeledItems, parts: Parts, *, with_names: bool) -> JsonObject:
    """Return the first entries of a report: what was predicted, and from what."""
    label_space = next(iter(parts.values())).label_space
    return {
        "run_id": run_id,
        "target": label_space.primary,
        "label_name": labelled.schema.label_name if label_space.primary == LABEL else label_space.primary,
        "class_names": list(label_space.class_names),
        "input": INPUTS[with_names],
    }


def _evaluate_levels(parts: Parts, labelled: LabeledItems, config: EvaluateConfig) -> JsonObject:
    return evaluate_levels(parts, labelled, samples=config.bootstrap_samples, seed=config.bootstrap_seed)


def compute_interval_metrics(part: EvaluatedItems, config: EvaluateConfig) -> JsonObject:
    """Compute the metrics of one split on the primary level, with their 95 % intervals.

    Returns:
        The metrics of `compute_figures`, `confidence_interval` (see `compute_intervals`), and in `classes` also the
        ends of the interval of each F1, `f1_low` and `f1_high`, None for a class that no item has or is predicted to
        have.
    """
    figures = compute_figures(part.probs, part.classes, part.class_names)
    intervals = compute_intervals(
        part.classes,
        part.probs.argmax(axis=1),
        part.items["group_id"].to_list(),
        len(part.class_names),
        samples=config.bootstrap_samples,
        seed=config.bootstrap_seed,
    )
    for scores, ends in zip(figures["classes"].values(), intervals.pop("class_f1"), strict=True):
        scores["f1_low"], scores["f1_high"] = ends or (None, None)
    return figures | {"confidence_interval": intervals}


def count_figures(report: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics for the manifest and the command line: accuracy and macro-F1 of each split."""
    return {
        f"{split}_{key}": round(figures[key], 4)
        for split, figures in report["splits"].items()
        for key in ("accuracy", "macro_f1")
    }


def build_tables(
    report: Mapping[str, Any], parts: Mapping[str, EvaluatedItems], predictions: pl.DataFrame, labelled: LabeledItems
) -> dict[str, pl.DataFrame]:
    """Build all tables of an evaluation, by file name.

    Args:
        report: The result of `build_report`.
        parts: The predicted items by split.
        predictions: The same items as a table; see `EvaluatedItems.tabulate`.
        labelled: The cleaned catalogue, for the names of misclassified items.
    """
    reliability = {split: tabulate_reliability(part.confidence, part.correct) for split, part in parts.items()}
    coverage = {split: tabulate_coverage(part.confidence, part.correct) for split, part in parts.items()}
    tables = build_class_tables(report, predictions) | {
        "misclassified.csv": _tabulate_wrong(predictions, labelled),
        "reliability.csv": _join_splits(reliability),
        "coverage.csv": _join_splits(coverage),
        "thresholds.csv": tabulate_thresholds(report["thresholds"]),
    }
    if "adjustments" in report:
        tables[ADJUSTMENT] = pl.DataFrame(report["adjustments"])
    return tables


def build_class_tables(report: Mapping[str, Any], predictions: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Build the tables of classes, levels and confusions, by file name; see `build_tables` for the arguments."""
    confusion = tabulate_confusion(predictions)
    classes = [tabulate_classes(figures, split) for split, figures in report["splits"].items()]
    return {
        "classification_report.csv": pl.concat(classes),
        "confusion_matrix.csv": confusion,
        "most_confused.csv": find_most_confused(confusion),
        "levels.csv": tabulate_levels(report["levels"]),
    }


def find_wrong(predictions: pl.DataFrame) -> pl.DataFrame:
    """Return the misclassified items, the most confident first."""
    wrong = predictions.filter(pl.col("label") != pl.col("predicted_label"))
    return wrong.sort("confidence", "item_id", descending=[True, False])


def _tabulate_wrong(predictions: pl.DataFrame, labelled: LabeledItems) -> pl.DataFrame:
    wrong = find_wrong(predictions).select("split", "item_id", "label", "predicted_label", "confidence")
    if name := labelled.schema.name:
        names = labelled.table.select("item_id", name)
        wrong = wrong.join(names, on="item_id", how="left", maintain_order="left")
    return wrong.with_columns(cs.float().round(4))


def _join_splits(tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Concatenate the tables of the splits, with `split` as the first column."""
    return pl.concat([table.select(pl.lit(split).alias("split"), pl.all()) for split, table in tables.items()])


def try_adjustments(parts: Mapping[str, EvaluatedItems], train_counts: Mapping[str, Sequence[int]]) -> pl.DataFrame:
    """Compute accuracy and macro-F1 on the primary level at each strength, for val and test if they are evaluated.

    Choose a strength by val. Source: see `HeadProbs.adjust`.

    Args:
        parts: The predicted items by split, without logit adjustment.
        train_counts: The number of training items of each class, by head.

    Returns:
        split, strength, accuracy, macro_f1.
    """
    rows = [
        {"split": split, "strength": strength, **_measure_adjusted(parts[split], dict(train_counts), strength)}
        for split in SPLITS
        if split in parts
        for strength in STRENGTHS
    ]
    return pl.DataFrame(
        rows, schema={"split": pl.String} | dict.fromkeys(("strength", "accuracy", "macro_f1"), pl.Float64)
    )


def _measure_adjusted(
    part: EvaluatedItems, train_counts: dict[str, Sequence[int]], strength: float
) -> dict[str, float]:
    predicted = part.predictions.adjust(train_counts, strength).probs.argmax(axis=1)
    outcomes = count_outcomes(part.classes, predicted, len(part.class_names))
    return {"accuracy": float((predicted == part.classes).mean()), "macro_f1": float(average_f1(outcomes))}
