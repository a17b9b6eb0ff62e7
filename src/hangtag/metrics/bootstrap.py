"""Estimate 95 % intervals of metrics by the bootstrap, drawing whole groups of duplicates.

The percentile interval alone is too narrow where little varies between samples: a class with three items that are all
right is right in every sample, and so is a split without an error. It is therefore widened to a second interval, which
adds the variance of an unseen half right and half wrong item (Jeffreys's prior) and is symmetric in log-odds, so that
it stays between 0 and 1. `benchmarks/simulate_guarantees.py intervals` measures how often each covers the true value.
Sources: Efron and Tibshirani, *An Introduction to the Bootstrap*, 1993; Brown, Cai and DasGupta, *Interval Estimation
for a Binomial Proportion*, 2001.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from hangtag.io import JsonObject
from hangtag.metrics.confusion import Counts, Outcomes, average_f1, count_outcomes, find_occurring
from hangtag.models.label_space import Indices

LEVEL = 0.95
METHOD = "percentile bootstrap over groups of duplicates, widened for classes with few items"
# The ends of the interval in standard deviations of a normal distribution.
DEVIATIONS = float(special.ndtri((1 + LEVEL) / 2))
Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class BootstrapEstimate:
    """A metric of m runs, with its values on bootstrap samples of the items, the same samples for all runs.

    Attributes:
        values: The metric on all items, float64 (m,), between 0 and 1.
        draws: The metric on each bootstrap sample, float64 (samples, m).
        unseen_variances: The variance that the samples lack, float64 (m,).
    """

    values: Values
    draws: Values
    unseen_variances: Values

    def find_interval(self, run: int) -> tuple[float, float]:
        """Return the 95 % interval of one run's value."""
        return find_interval(self.draws[:, run], self.values[run], self.unseen_variances[run])

    def average(self, runs: Sequence[int]) -> tuple[float, float, float]:
        """Return the mean over runs, and the lower and upper end of its 95 % interval.

        The interval covers the variation between items with these runs fixed, not the variation between seeds.
        """
        chosen = list(runs)
        value, variance = float(self.values[chosen].mean()), float(self.unseen_variances[chosen].mean())
        return value, *find_interval(self.draws[:, chosen].mean(axis=1), value, variance)

    def compare(self, run: int, baseline: int) -> tuple[float, float, float]:
        """Return the difference run - baseline, and the lower and upper end of its 95 % interval.

        Both runs are evaluated on each sample, so items that are hard for both do not widen the interval. Source: the
        paired percentile bootstrap in Efron and Tibshirani, *An Introduction to the Bootstrap*, 1993.
        """
        low, high = find_percentiles(self.draws[:, run] - self.draws[:, baseline])
        return float(self.values[run] - self.values[baseline]), low, high


def draw_weights(group_ids: Sequence[str], samples: int, seed: int) -> Iterator[npt.NDArray[np.int64]]:
    """Yield bootstrap samples, which draw whole groups of duplicates: the count of each item, int64 (n,)."""
    _, groups = np.unique(np.asarray(group_ids), return_inverse=True)
    count = int(groups.max()) + 1
    random = np.random.default_rng(seed)
    for _ in range(samples):
        yield np.bincount(random.integers(0, count, count), minlength=count)[groups]


def find_percentiles(draws: Values) -> tuple[float, float]:
    """Return the lower and upper end of the 95 % percentile interval of a metric's values on bootstrap samples."""
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def find_interval(draws: Values, value: float, unseen_variance: float) -> tuple[float, float]:
    """Return the 95 % interval of a metric: the percentile interval, widened to the one that is symmetric in log-odds.

    Args:
        draws: The metric on each bootstrap sample, float64 (samples,).
        value: The metric on all items, 0 to 1.
        unseen_variance: The variance that the samples lack.
    """
    low, high = find_percentiles(draws)
    variance = float(draws.var()) + unseen_variance
    deviation = min(float(np.sqrt(variance)), 0.5)
    # A metric of 0 or 1 has no log-odds.
    center = min(max(value, deviation), 1 - deviation)
    width = DEVIATIONS * deviation / (center * (1 - center))
    ends = special.expit(special.logit(center) + np.array([-width, width]))
    return min(low, float(ends[0])), max(high, float(ends[1]))


def estimate_metrics(
    classes: Indices,
    predicted: npt.NDArray[np.int64],
    group_ids: Sequence[str],
    num_classes: int,
    chosen_classes: npt.NDArray[np.bool_] | None = None,
    *,
    samples: int,
    seed: int,
) -> dict[str, BootstrapEstimate]:
    """Compute accuracy and macro-F1 of m runs on the same items, with bootstrap samples.

    Whole groups of duplicates are drawn with replacement, because the predictions for duplicates are not independent.
    A class without items in a sample is left out of that sample's macro-F1. For each sample only the counts of each
    class are computed, not a confusion matrix, so the method is fast with many classes.

    Args:
        classes: The true class indices, int64 (n,), n above 0.
        predicted: The predicted ones, int64 (m, n); -1 for no predicted class.
        group_ids: The group of duplicates of each item.
        num_classes: C.
        chosen_classes: The classes whose items the accuracy covers, and whose F1 the macro-F1 averages (among all n
            items), bool (C,); all by default.
        samples: The number of bootstrap samples.
        seed: The seed of the bootstrap.

    Returns:
        `accuracy` and `macro_f1`.
    """
    chosen = np.ones(num_classes, np.bool_) if chosen_classes is None else chosen_classes
    _, groups, sizes = np.unique(np.asarray(group_ids), return_inverse=True, return_counts=True)

    def measure(weights: Counts) -> list[list[float]]:
        outcomes = [count_outcomes(classes, row, num_classes, weights) for row in predicted]
        # A bootstrap sample of a small catalogue may have no item of the chosen classes.
        accuracy = [float(hits[chosen].sum() / max(support[chosen].sum(), 1)) for hits, support, _ in outcomes]
        return [accuracy, [float(average_f1(each, chosen)) for each in outcomes]]

    values = measure(np.ones_like(classes))
    draws = np.array([measure(weights) for weights in draw_weights(group_ids, samples, seed)])
    # Each group of duplicates has one vote.
    unseen = np.array(
        [
            _compute_unseen_variances(count_outcomes(classes, row, num_classes, 1 / sizes[groups]), chosen)
            for row in predicted
        ]
    )
    return {
        name: BootstrapEstimate(np.array(values[index]), draws[:, index], unseen[:, index])
        for index, name in enumerate(("accuracy", "macro_f1"))
    }


def compute_intervals(
    classes: Indices, predicted: Indices, group_ids: Sequence[str], num_classes: int, *, samples: int, seed: int
) -> JsonObject:
    """Compute the 95 % intervals of one run's accuracy and macro-F1; see `estimate_metrics`.

    Returns:
        `level`, `method`, `samples`, and `accuracy` and `macro_f1` as [low, high].
    """
    estimates = estimate_metrics(classes, predicted[None], group_ids, num_classes, samples=samples, seed=seed)
    intervals = {name: list(estimate.find_interval(0)) for name, estimate in estimates.items()}
    return {"level": LEVEL, "method": METHOD, "samples": samples, **intervals}


def _compute_unseen_variances(outcomes: Outcomes, chosen_classes: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Compute the variances of accuracy and macro-F1 that bootstrap samples lack, from the votes of each class.

    An F1 is 2J / (1 + J), where J is the share of true positives among the items that have the class or are predicted
    to; so the variance of J counts by the square of this slope.
    """
    occurs = find_occurring(outcomes, chosen_classes)
    if not occurs.any():
        return 0.0, 0.0
    hits, support, predicted = (counts[occurs] for counts in outcomes)
    votes = support + predicted - hits
    slopes = 2 / (1 + (hits + 0.5) / (votes + 1)) ** 2
    of_f1 = (_compute_unseen_variance(hits, votes) * slopes**2).sum() / len(hits) ** 2
    of_accuracy = _compute_unseen_variance(hits.sum(), support.sum()) if support.any() else 0.0
    return float(of_accuracy), float(of_f1)


def _compute_unseen_variance(hits: Counts, votes: Counts) -> Values:
    """Compute the variance of shares with half a right and half a wrong vote more, less that without; at least 0."""
    share, smoothed = hits / votes, (hits + 0.5) / (votes + 1)
    return np.asarray(np.maximum(smoothed * (1 - smoothed) / (votes + 2) - share * (1 - share) / votes, 0.0))
