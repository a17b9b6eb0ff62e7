"""Measure how many items are answered, and how many of the answers are right, where only sure ones count."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.stats import beta

from hangtag.evaluation.answered import Answered

STEPS = 100
# One-sided: the share of right answers lies below the bound with this chance.
RISK = 0.05
THRESHOLDS = {
    "wanted_precision": pl.Float64,
    "threshold": pl.Float64,
    "split": pl.String,
    "coverage": pl.Float64,
    "precision": pl.Float64,
}


def tabulate_coverage(confidence: npt.NDArray[np.floating], correct: npt.NDArray[np.bool_]) -> pl.DataFrame:
    """Give coverage and precision at about 100 thresholds that are spread evenly over the items.

    Args:
        confidence: (n,), 0 to 1, n above 0.
        correct: Whether each answer is right, (n,).

    Returns:
        threshold (ascending, each an item's confidence), coverage (the share of items at or above it), precision
        (the share of these that are right) and precision_low, the one-sided 95 % lower bound of the precision on
        new items. Source of the bound: Clopper and Pearson, 1934. A bound holds for a threshold that was chosen
        without looking at these items.
    """
    order = np.argsort(-confidence, kind="stable")
    surest = confidence[order].astype(np.float64)
    counts = np.ceil(len(surest) * np.arange(1, STEPS + 1) / STEPS).astype(int)
    thresholds = np.unique(surest[counts - 1])
    # All items of equal confidence are answered or none.
    answered = np.searchsorted(-surest, -thresholds, side="right")
    right = np.cumsum(correct[order])[answered - 1]
    low = np.where(right > 0, beta.ppf(RISK, np.maximum(right, 1), answered - right + 1), 0.0)
    columns = {"coverage": answered / len(confidence), "precision": right / answered, "precision_low": low}
    return pl.DataFrame({"threshold": thresholds, **columns})


def measure_threshold(
    confidence: npt.NDArray[np.floating], correct: npt.NDArray[np.bool_], threshold: float | None
) -> dict[str, float | None]:
    """Give coverage and precision at one threshold; without one nothing is sure, and no precision is defined."""
    if threshold is None:
        return {"coverage": 0.0, "precision": None}
    is_sure = confidence >= threshold
    return {
        "coverage": float(is_sure.mean()),
        "precision": float(correct[is_sure].mean()) if is_sure.any() else None,
    }


def measure_thresholds(
    parts: Mapping[str, Answered], thresholds: Mapping[str, float | None]
) -> dict[str, dict[str, Any]]:
    """Give what becomes of a model's own thresholds, which were chosen on val, in every split.

    Args:
        parts: The answered items by split.
        thresholds: The threshold by the wanted precision as text; None where val did not bear the promise out.

    Returns:
        By wanted precision `threshold`, and `splits` from the split to `coverage` and `precision`, both shares.
    """
    return {
        wanted: {
            "threshold": threshold,
            "splits": {
                split: measure_threshold(part.confidence, part.correct, threshold) for split, part in parts.items()
            },
        }
        for wanted, threshold in thresholds.items()
    }


def tabulate_thresholds(measured: Mapping[str, Mapping[str, Any]]) -> pl.DataFrame:
    """Give what `measure_thresholds` found as a table: wanted_precision, threshold, split, coverage, precision."""
    rows = [
        {"wanted_precision": float(wanted), "threshold": found["threshold"], "split": split, **figures}
        for wanted, found in measured.items()
        for split, figures in found["splits"].items()
    ]
    return pl.DataFrame(rows, schema=THRESHOLDS)
