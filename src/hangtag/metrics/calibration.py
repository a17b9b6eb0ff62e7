"""Measure calibration: reliability by confidence bin, and coverage and precision of selective prediction."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.stats import beta

from hangtag.inference.runs import EvaluatedItems
from hangtag.io import JsonObject

NUM_BINS = 15
STEPS = 100
# The one-sided error probability of a lower confidence bound on precision.
RISK = 0.05
THRESHOLDS = {
    "target_precision": pl.Float64,
    "threshold": pl.Float64,
    "split": pl.String,
    "coverage": pl.Float64,
    "precision": pl.Float64,
}
Confidence = npt.NDArray[np.floating]
Correct = npt.NDArray[np.bool_]


def compute_calibration_error(
    probs: npt.NDArray[np.float32], classes: npt.NDArray[np.int64], num_bins: int = NUM_BINS
) -> float:
    """Return the expected calibration error: the mean gap between confidence and accuracy, bin by bin.

    Args:
        probs: float32 (n, C), n above 0.
        classes: The true class indices, int64 (n,).
        num_bins: Bins of equal width over the confidence, the largest probability of a row.

    Returns:
        A value from 0 (perfectly calibrated) to 1. Source: Guo et al., *On Calibration of Modern Neural
        Networks*, 2017.
    """
    confidence = probs.max(axis=1).astype(np.float64)
    correct = probs.argmax(axis=1) == classes
    gaps = np.bincount(_find_bins(confidence, num_bins), weights=correct - confidence, minlength=num_bins)
    return float(np.abs(gaps).sum() / len(classes))


def tabulate_reliability(confidence: Confidence, correct: Correct, num_bins: int = NUM_BINS) -> pl.DataFrame:
    """Return the bins of the calibration error that have items.

    Args:
        confidence: (n,), 0 to 1.
        correct: Whether each prediction is right, (n,).
        num_bins: Bins of equal width over the confidence.

    Returns:
        low and high (the bin's edges), n, confidence and accuracy (means over its items), in ascending order. The
        mean of |confidence - accuracy|, weighted by n, is the calibration error.
    """
    bins = _find_bins(confidence, num_bins)
    table = pl.DataFrame({"bin": bins, "confidence": confidence.astype(np.float64), "correct": correct})
    grouped = table.group_by("bin").agg(
        n=pl.len().cast(pl.Int64), confidence=pl.col("confidence").mean(), accuracy=pl.col("correct").mean()
    )
    ends = {"low": pl.col("bin") / num_bins, "high": (pl.col("bin") + 1) / num_bins}
    return grouped.sort("bin").select(**ends, n="n", confidence="confidence", accuracy="accuracy")


def _find_bins(confidence: Confidence, num_bins: int) -> npt.NDArray[np.int64]:
    return np.minimum((confidence * num_bins).astype(np.int64), num_bins - 1)


def tabulate_coverage(confidence: npt.NDArray[np.floating], correct: npt.NDArray[np.bool_]) -> pl.DataFrame:
    """Return coverage and precision at up to 100 thresholds, at even quantiles of the confidence.

    Args:
        confidence: (n,), 0 to 1, n above 0.
        correct: Whether each prediction is right, (n,).

    Returns:
        threshold (ascending, each an item's confidence), coverage (the share of items at or above it), precision
        (the share of these that are right) and precision_low, the one-sided 95 % lower bound of the precision on
        new items. Source of the bound: Clopper and Pearson, 1934. The bound is valid for a threshold that was
        chosen without these items.
    """
    order = np.argsort(-confidence, kind="stable")
    surest = confidence[order].astype(np.float64)
    counts = np.ceil(len(surest) * np.arange(1, STEPS + 1) / STEPS).astype(int)
    thresholds = np.unique(surest[counts - 1])
    # Items of equal confidence are on the same side of a threshold.
    covered = np.searchsorted(-surest, -thresholds, side="right")
    right = np.cumsum(correct[order])[covered - 1]
    low = np.where(right > 0, beta.ppf(RISK, np.maximum(right, 1), covered - right + 1), 0.0)
    columns = {"coverage": covered / len(confidence), "precision": right / covered, "precision_low": low}
    return pl.DataFrame({"threshold": thresholds, **columns})


def measure_threshold(
    confidence: npt.NDArray[np.floating], correct: npt.NDArray[np.bool_], threshold: float | None
) -> dict[str, float | None]:
    """Return coverage and precision at one threshold; with None coverage is 0 and precision undefined (None)."""
    if threshold is None:
        return {"coverage": 0.0, "precision": None}
    is_sure = confidence >= threshold
    return {
        "coverage": float(is_sure.mean()),
        "precision": float(correct[is_sure].mean()) if is_sure.any() else None,
    }


def measure_thresholds(
    parts: Mapping[str, EvaluatedItems], thresholds: Mapping[str, float | None]
) -> dict[str, JsonObject]:
    """Measure coverage and precision of a model's own thresholds, which were chosen on val, in each split.

    Args:
        parts: The predicted items by split.
        thresholds: The threshold by target precision as text; None if no threshold reached it on val.

    Returns:
        By target precision: `threshold`, and `splits` with `coverage` and `precision` of each split, 0 to 1.
    """
    return {
        target: {
            "threshold": threshold,
            "splits": {
                split: measure_threshold(part.confidence, part.correct, threshold) for split, part in parts.items()
            },
        }
        for target, threshold in thresholds.items()
    }


def tabulate_thresholds(measured: Mapping[str, Mapping[str, Any]]) -> pl.DataFrame:
    """Return the result of `measure_thresholds` as a table: target_precision, threshold, split, coverage, precision."""
    rows = [
        {"target_precision": float(target), "threshold": found["threshold"], "split": split, **figures}
        for target, found in measured.items()
        for split, figures in found["splits"].items()
    ]
    return pl.DataFrame(rows, schema=THRESHOLDS)
