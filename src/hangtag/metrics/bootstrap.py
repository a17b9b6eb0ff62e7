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
    """One figure of m runs, with its values in draws of items that are the same for all of the runs.

    Attributes:
        values: float64 (m,), between 0 and 1.
        draws: float64 (samples, m).
    """

    values: Values
    draws: Values

    def find_interval(self, run: int) -> tuple[float, float]:
        """Return the 95 % interval of one run's value."""
        return _find_interval(self.draws[:, run])

    def average(self, runs: Sequence[int]) -> tuple[float, float, float]:
        """Return the mean over runs and its 95 % interval over the draws, lower and upper end.

        The interval is over other items for these very runs, as a single run's is; it says nothing of other seeds.
        """
        chosen = list(runs)
        return float(self.values[chosen].mean()), *_find_interval(self.draws[:, chosen].mean(axis=1))

    def compare(self, run: int, baseline: int) -> tuple[float, float, float]:
        """Return the difference run - baseline, and its 95 % interval over the draws, lower and upper end.

        Both runs are measured in each draw, so items that are hard for both do not make it wider. Source: the
        percentile bootstrap of Efron and Tibshirani, *An Introduction to the Bootstrap*, 1993, on pairs.
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
    """Return the 95 % intervals of accuracy and macro-F1 over other items of the same catalogue.

    Each draw counts hits, items and predictions a class and no whole confusion matrix, so that many classes cost
    little. Items are drawn with replacement in whole groups, because duplicates are right or wrong together: an item
    alone in its group counts as one draw. A class that a draw misses is left out of that draw's macro-F1. Where
    no item is wrong, the interval is the point [1, 1]; it does not mean that no item ever will be.

    Args:
        classes: int64 (n,), n above 0.
        predicted: int64 (n,); -1 where no class was named.
        group_ids: The group of each item.
        num_classes: C.
        samples: Draws.
        seed: Of the draws; the same seed gives the same interval.

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
    """Draw whole groups of duplicates with replacement; return how often every item counts in each draw."""
    _, groups = np.unique(np.asarray(group_ids), return_inverse=True)
    count = int(groups.max()) + 1
    random = np.random.default_rng(seed)
    for _ in range(samples):
        yield np.bincount(random.integers(0, count, count), minlength=count)[groups]


def _find_interval(values: Values | Sequence[float]) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
