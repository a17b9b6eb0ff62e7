"""Gather the figures of a run as `report.json` holds them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from hangtag.config import EvaluateConfig
from hangtag.evaluation.answered import Answered
from hangtag.evaluation.coverage import measure_thresholds
from hangtag.evaluation.intervals import compute_intervals
from hangtag.evaluation.levels import judge_levels
from hangtag.evaluation.metrics import compute_figures
from hangtag.inference.classifier import PHOTOGRAPH, PHOTOGRAPH_AND_NAME, Classifier
from hangtag.labels.labelled import Labelled
from hangtag.models.outputs import PRODUCT
from hangtag.training.targets import LABEL

INPUTS = {False: "photograph", True: "photograph and name"}
Parts = Mapping[str, Answered]


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
        return cls(found.get("temperatures", {}).get(PRODUCT), dict(found.get("thresholds", {})))


def build_report(
    run_id: str,
    labelled: Labelled,
    parts: Parts,
    config: EvaluateConfig,
    calibration: Calibration,
    *,
    alone: Parts | None = None,
    adjustments: pl.DataFrame | None = None,
) -> dict[str, Any]:
    """Give what `report.json` holds.

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
        `photograph_alone` with the same but for the classes; `levels` (see `judge_levels`), `thresholds` (see
        `measure_thresholds`) and, where it was tried, `adjustments`, the rows of `adjustment.csv`.
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
        "splits": {split: judge(part, config) for split, part in parts.items()},
    }
    if alone is not None:
        figures = {split: judge(part, config) for split, part in alone.items()}
        for each in figures.values():
            del each["classes"]
        report["photograph_alone"] = {"splits": figures}
    report["levels"] = judge_levels(parts, labelled, **draws)
    report["thresholds"] = measure_thresholds(parts, calibration.thresholds)
    if adjustments is not None:
        report["adjustments"] = adjustments.to_dicts()
    return report


def judge(part: Answered, config: EvaluateConfig) -> dict[str, Any]:
    """Give the figures of one split on the primary level, with their intervals."""
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
    """Give the figures that a manifest and the command line tell: accuracy and macro-F1 of each split."""
    return {
        f"{split}_{key}": round(figures[key], 4)
        for split, figures in report["splits"].items()
        for key in ("accuracy", "macro_f1")
    }
