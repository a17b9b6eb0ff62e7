"""Measure whether a confidence of 0.8 is right 8 times in 10."""

import numpy as np
import numpy.typing as npt

NUM_BINS = 15


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
    bins = np.minimum((confidence * num_bins).astype(int), num_bins - 1)
    gaps = np.bincount(bins, weights=correct - confidence, minlength=num_bins)
    return float(np.abs(gaps).sum() / len(classes))
