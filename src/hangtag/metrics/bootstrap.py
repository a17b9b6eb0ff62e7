"""Estimate 95 % intervals of metrics by the bootstrap, drawing whole groups of duplicates."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

LEVEL = 0.95
METHOD = "percentile bootstrap over groups of duplicates"
Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class BootstrapEstimate:
    """A metric of m runs, with its values on bootstrap samples of the items, the same samples for all runs.

    Attributes:
        values: The metric on all items, float64 (m,), between 0 and 1.
        draws: The metric on each bootstrap sample, float64 (samples, m).
    """

    values: Values
    draws: Values

    def find_interval(self, run: int) -> tuple[float, float]:
        """Return the 95 % interval of one run's value."""
        return find_interval(self.draws[:, run])

    def average(self, runs: Sequence[int]) -> tuple[float, float, float]:
        """Return the mean over runs, and the lower and upper end of its 95 % interval.

        The interval covers the variation between items with these runs fixed, not the variation between seeds.
        """
        chosen = list(runs)
        return float(self.values[chosen].mean()), *find_interval(self.draws[:, chosen].mean(axis=1))

    def compare(self, run: int, baseline: int) -> tuple[float, float, float]:
        """Return the difference run - baseline, and the lower and upper end of its 95 % interval.

        Both runs are evaluated on each sample, so items that are hard for both do not widen the interval. Source: the
        paired percentile bootstrap in Efron and Tibshirani, *An Introduction to the Bootstrap*, 1993.
        """
        low, high = find_interval(self.draws[:, run] - self.draws[:, baseline])
        return float(self.values[run] - self.values[baseline]), low, high


def draw_weights(group_ids: Sequence[str], samples: int, seed: int) -> Iterator[npt.NDArray[np.int64]]:
    """Yield bootstrap samples, which draw whole groups of duplicates: the count of each item, int64 (n,)."""
    _, groups = np.unique(np.asarray(group_ids), return_inverse=True)
    count = int(groups.max()) + 1
    random = np.random.default_rng(seed)
    for _ in range(samples):
        yield np.bincount(random.integers(0, count, count), minlength=count)[groups]


def find_interval(values: Values | Sequence[float]) -> tuple[float, float]:
    """Return the lower and upper end of the 95 % percentile interval of a metric's values on bootstrap samples."""
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
