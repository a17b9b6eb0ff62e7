"""Estimate 95 % intervals of metrics by the bootstrap, drawing whole groups of duplicates."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hangtag.metrics.classification import average_f1, count_outcomes

LEVEL = 0.95
METHOD = "percentile bootstrap over groups of duplicates"
Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Figure:
    """A metric of m runs, with its values on bootstrap samples of the items, the same samples for all runs.

    Attributes:
        values: The metric on all items, float64 (m,), between 0 and 1.
        draws: The metric on each bootstrap sample, float64 (samples, m).
    """

    values: Values
    draws: Values

    def find_interval(self, run: int) -> tuple[float, float]:
        """Return the 95 % interval of one run's value."""
        return _find_interval(self.draws[:, run])

    def average(self, runs: Sequence[int]) -> tuple[float, float, float]:
        """Return the mean over runs, and the lower and upper end of its 95 % interval.

        The interval covers the variation between items with these runs fixed, not the variation between seeds.
        """
        chosen = list(runs)
        return float(self.values[chosen].mean()), *_find_interval(self.draws[:, chosen].mean(axis=1))

    def compare(self, run: int, baseline: int) -> tuple[float, float, float]:
        """Return the difference run - baseline, and the lower and upper end of its 95 % interval.

        Both runs are evaluated on each sample, so items that are hard for both do not widen the interval. Source: the
        paired percentile bootstrap in Efron and Tibshirani, *An Introduction to the Bootstrap*, 1993.
        """
        low, high = _find_interval(self.draws[:, run] - self.draws[:, baseline])
        return float(self.values[run] - self.values[baseline]), low, high


def compute_intervals(
    classes: npt.NDArray[np.int64],
    predicted: npt.NDArray[np.int64],
    group_ids: Sequence[str],
    num_classes: int,
    *,
    samples: int,
    seed: int,
) -> dict[str, Any]:
    """Compute the 95 % intervals of accuracy and macro-F1.

    Whole groups of duplicates are drawn with replacement, because the predictions for duplicates are not independent.
    A class without items in a sample is left out of that sample's macro-F1. If all predictions are correct, the
    interval is [1, 1], which does not rule out errors on other items. For each sample only the counts of each class
    are computed, not a confusion matrix, so the method is fast with many classes.

    Args:
        classes: The true class indices, int64 (n,), n above 0.
        predicted: The predicted ones, int64 (n,); -1 for no predicted class.
        group_ids: The group of duplicates of each item.
        num_classes: C.
        samples: The number of bootstrap samples.
        seed: The seed of the bootstrap.

    Returns:
        `level`, `method`, `samples`, and `accuracy` and `macro_f1` as [low, high].
    """
    accuracy, macro_f1 = [], []
    for weights in draw_weights(group_ids, samples, seed):
        outcomes = count_outcomes(classes, predicted, num_classes, weights)
        accuracy.append(float(outcomes[0].sum() / weights.sum()))
        macro_f1.append(float(average_f1(outcomes)))
    return {
        "level": LEVEL,
        "method": METHOD,
        "samples": samples,
        "accuracy": list(_find_interval(accuracy)),
        "macro_f1": list(_find_interval(macro_f1)),
    }


def draw_weights(group_ids: Sequence[str], samples: int, seed: int) -> Iterator[npt.NDArray[np.int64]]:
    """Yield bootstrap samples, which draw whole groups of duplicates: the count of each item, int64 (n,)."""
    _, groups = np.unique(np.asarray(group_ids), return_inverse=True)
    count = int(groups.max()) + 1
    random = np.random.default_rng(seed)
    for _ in range(samples):
        yield np.bincount(random.integers(0, count, count), minlength=count)[groups]


def _find_interval(values: Values | Sequence[float]) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
