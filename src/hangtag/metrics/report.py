"""Gather the figures of a run as `report.json` holds them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
import polars.selectors as cs

from hangtag.config import EvaluateConfig
from hangtag.inference.classifier import PHOTOGRAPH, PHOTOGRAPH_AND_NAME, Classifier
from hangtag.labels.dataset import LabeledItems
from hangtag.metrics.bootstrap import compute_intervals
from hangtag.metrics.calibration import measure_thresholds, tabulate_coverage, tabulate_reliability, tabulate_thresholds
from hangtag.metrics.classification import (
    average_f1,
    compute_figures,
    count_outcomes,
    find_most_confused,
    tabulate_classes,
    tabulate_confusion,
)
from hangtag.metrics.leakage import EvaluatedItems
from hangtag.metrics.levels import evaluate_levels, tabulate_levels
from hangtag.models.label_space import CATEGORY_PATH
from hangtag.training.targets import LABEL

INPUTS = {False: "photograph", True: "photograph and name"}
Parts = Mapping[str, EvaluatedItems]


@dataclass(frozen=True)
class Calibration:
    """What a model's confidence was made to mean, on val.

    Attributes:
        temperature: Of its products; None where the model was not calibrated.
        thresholds: The lowest sure confidence by the wanted precision as text; None where none keeps the promise.
    """

    temperature: float | None
    thresholds: dict[str, float | None]

    @classmethod
    def of(cls, classifier: Classifier, *, with_names: bool) -> "Calibration":
        """Read it from `model.json`, which may lack it."""
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
) -> dict[str, Any]:
    """Return what `report.json` holds.

    Args:
        run_id: The run's name.
        labelled: The cleaned catalogue.
        parts: The answered items by split, one split or more, the adjustment that was asked for applied.
        config: Settings.
        calibration: Of what the answers were made from.
        alone: Where names were read, the same items answered from their photographs alone.
        adjustments: What `try_adjustments` gave, if it was tried.

    Returns:
        `run_id`, `target` (the primary level's column), `label_name` (its heading), `class_names`, `input`,
        `temperature`, `logit_adjustment`; `splits` with all figures of each split; with names read,
        `photograph_alone` with the same but for the classes; `levels` (see `evaluate_levels`), `thresholds` (see
        `measure_thresholds`) and, where it was tried, `adjustments`, the rows of `logit_adjustment.csv`.
    """
    outputs = next(iter(parts.values())).outputs
    draws = {"samples": config.bootstrap_samples, "seed": config.bootstrap_seed}
    report: dict[str, Any] = {
        "run_id": run_id,
        "target": outputs.primary,
        "label_name": labelled.schema.label_name if outputs.primary == LABEL else outputs.primary,
        "class_names": list(outputs.class_names),
        "input": INPUTS[alone is not None],
        "temperature": calibration.temperature,
        "logit_adjustment": config.logit_adjustment,
        "splits": {split: compute_interval_metrics(part, config) for split, part in parts.items()},
    }
    if alone is not None:
        figures = {split: compute_interval_metrics(part, config) for split, part in alone.items()}
        for each in figures.values():
            del each["classes"]
        report["photograph_alone"] = {"splits": figures}
    report["levels"] = evaluate_levels(parts, labelled, **draws)
    report["thresholds"] = measure_thresholds(parts, calibration.thresholds)
    if adjustments is not None:
        report["adjustments"] = adjustments.to_dicts()
    return report


def compute_interval_metrics(part: EvaluatedItems, config: EvaluateConfig) -> dict[str, Any]:
    """Return the figures of one split on the primary level, with their intervals."""
    figures = compute_figures(part.probs, part.classes, part.class_names)
    figures["confidence_interval"] = compute_intervals(
        part.classes,
        part.probs.argmax(axis=1),
        part.items["group_id"].to_list(),
        len(part.class_names),
        samples=config.bootstrap_samples,
        seed=config.bootstrap_seed,
    )
    return figures


def count_figures(report: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics for the manifest and the command line: accuracy and macro-F1 of each split."""
    return {
        f"{split}_{key}": round(figures[key], 4)
        for split, figures in report["splits"].items()
        for key in ("accuracy", "macro_f1")
    }


# Tell an evaluation in tables, one a file.

# Made only for a model that says how often each class was in training.
ADJUSTMENT = "logit_adjustment.csv"


def build_tables(
    report: Mapping[str, Any], parts: Mapping[str, EvaluatedItems], predictions: pl.DataFrame, labelled: LabeledItems
) -> dict[str, pl.DataFrame]:
    """Return every table of an evaluation by its file's name.

    Args:
        report: What `build_report` gave.
        parts: The answered items by split.
        predictions: The same items as `EvaluatedItems.tabulate` gives them.
        labelled: The cleaned catalogue, for the names of misclassified items.
    """
    confusion = tabulate_confusion(predictions)
    classes = [tabulate_classes(figures, split) for split, figures in report["splits"].items()]
    reliability = {split: tabulate_reliability(part.confidence, part.correct) for split, part in parts.items()}
    coverage = {split: tabulate_coverage(part.confidence, part.correct) for split, part in parts.items()}
    tables = {
        "classification_report.csv": pl.concat(classes),
        "confusion_matrix.csv": confusion,
        "most_confused.csv": find_most_confused(confusion),
        "misclassified.csv": _tabulate_wrong(predictions, labelled),
        "levels.csv": tabulate_levels(report["levels"]),
        "reliability.csv": _join_splits(reliability),
        "coverage.csv": _join_splits(coverage),
        "thresholds.csv": tabulate_thresholds(report["thresholds"]),
    }
    if "adjustments" in report:
        tables[ADJUSTMENT] = pl.DataFrame(report["adjustments"])
    return tables


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
    """Put the tables of the splits one below the other, with the split before their columns."""
    return pl.concat([table.select(pl.lit(split).alias("split"), pl.all()) for split, table in tables.items()])


# Try how favouring rare classes trades accuracy for macro-F1, before anyone chooses.

STRENGTHS = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
# Not train: a network knows its own items too well to choose by them.
SPLITS = ("val", "test")


def try_adjustments(parts: Mapping[str, EvaluatedItems], train_counts: Mapping[str, Sequence[int]]) -> pl.DataFrame:
    """Compute accuracy and macro-F1 on the primary level at each strength, for val and test if they are evaluated.

    A strength is to be chosen by val. Source: see `HeadProbs.adjust`.

    Args:
        parts: The answered items by split, as the model gave them, without an adjustment.
        train_counts: How often each class of each head was in training.

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
