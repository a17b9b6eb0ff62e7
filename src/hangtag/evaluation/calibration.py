"""Measure whether a confidence of 0.8 is right 8 times in 10."""

import numpy as np
import numpy.typing as npt
import polars as pl

NUM_BINS = 15
Confidence = npt.NDArray[np.floating]
Correct = npt.NDArray[np.bool_]


def compute_calibration_error(
    probs: npt.NDArray[np.float32], classes: npt.NDArray[np.int64], num_bins: int = NUM_BINS
) -> float:
    """Give the expected calibration error: the mean gap between confidence and accuracy, bin by bin.

    Args:
        probs: float32 (n, C), n above 0.
        classes: The true class indices, int64 (n,).
        num_bins: Bins of equal width over the confidence, the largest probability of a row.

    Returns:
        0 (confidence means what it says) to 1. Source: Guo et al., *On Calibration of Modern Neural
        Networks*, 2017.
    """
    confidence = probs.max(axis=1).astype(np.float64)
    correct = probs.argmax(axis=1) == classes
    gaps = np.bincount(_find_bins(confidence, num_bins), weights=correct - confidence, minlength=num_bins)
    return float(np.abs(gaps).sum() / len(classes))


def tabulate_reliability(confidence: Confidence, correct: Correct, num_bins: int = NUM_BINS) -> pl.DataFrame:
    """Give the bins behind the calibration error, those that have items.

    Args:
        confidence: (n,), 0 to 1.
        correct: Whether each answer is right, (n,).
        num_bins: Bins of equal width over the confidence.

    Returns:
        low and high (the bin's ends), n, confidence and accuracy (the means of its items), the least confident
        first. The sum over rows of n times the gap between the last two, by all items, is the calibration error.
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
