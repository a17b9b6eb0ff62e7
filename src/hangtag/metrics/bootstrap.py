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
from hangtag.metrics.confusion import Counts, Outcomes, average_f1, compute_f1, count_outcomes, find_occurring
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
    low, high = find_intervals(draws[:, None], np.array([value]), np.array([unseen_variance]))
    return float(low[0]), float(high[0])


def find_intervals(draws: Values, values: Values, unseen_variances: Values) -> tuple[Values, Values]:
    """Return the lower and upper ends, float64 (m,), of the intervals of m metrics; see `find_interval`.

    Args:
        draws: The metrics on each bootstrap sample, float64 (samples, m); NaN where a sample has no value. Such samples
            are left out.
        values: The metrics on all items, float64 (m,), 0 to 1; not NaN. Their interval contains them.
        unseen_variances: The variances that the samples lack, float64 (m,).
    """
    # A metric without a value in any sample varies in none.
    draws = np.where(np.isnan(draws).all(axis=0), values, draws)
    low, high = np.nanquantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    deviations = np.minimum(np.sqrt(np.nanvar(draws, axis=0) + unseen_variances), 0.5)
    # A metric of 0 or 1 has no log-odds.
    centers = np.clip(values, deviations, 1 - deviations)
    with np.errstate(divide="ignore", invalid="ignore"):
        widths = DEVIATIONS * deviations / (centers * (1 - centers))
        ends = special.expit(special.logit(centers) + np.array([[-1.0], [1.0]]) * widths)
    # Without any variance both ends are the value.
    ends = np.where(deviations > 0, ends, values)
    return np.minimum.reduce([low, ends[0], values]), np.maximum.reduce([high, ends[1], values])


@dataclass(frozen=True)
class Samples:
    """The outcomes of each class, of m runs on the same items, also on bootstrap samples of the items.

    Attributes:
        whole: Those of all items, three arrays (m, C); see `count_outcomes`.
        drawn: Those of each sample, three arrays (samples, m, C).
        votes: Those of all items where each group of duplicates has one vote, three arrays (m, C).
    """

    whole: Outcomes
    drawn: Outcomes
    votes: Outcomes

    @classmethod
    def draw(
        cls,
        classes: Indices,
        predicted: npt.NDArray[np.int64],
        group_ids: Sequence[str],
        num_classes: int,
        *,
        samples: int,
        seed: int,
    ) -> "Samples":
        """Count the outcomes on bootstrap samples; see `estimate_metrics` for the arguments.

        For each sample only the counts of each class are computed, not a confusion matrix, so the method is fast with
        many classes.
        """
        _, groups, sizes = np.unique(np.asarray(group_ids), return_inverse=True, return_counts=True)

        def count(weights: Counts) -> Outcomes:
            hits, support, chosen = zip(
                *(count_outcomes(classes, row, num_classes, weights) for row in predicted), strict=True
            )
            return np.array(hits), np.array(support), np.array(chosen)

        hits, support, chosen = (np.empty((samples, len(predicted), num_classes), np.int32) for _ in range(3))
        for sample, weights in enumerate(draw_weights(group_ids, samples, seed)):
            hits[sample], support[sample], chosen[sample] = count(weights)
        return cls(count(np.ones_like(classes)), (hits, support, chosen), count(1 / sizes[groups]))

    def estimate_accuracy(self, chosen_classes: npt.NDArray[np.bool_]) -> BootstrapEstimate:
        """Compute the accuracy on the items of the chosen classes."""

        def measure(outcomes: Outcomes) -> Values:
            hits, support = (counts[..., chosen_classes].sum(axis=-1) for counts in outcomes[:2])
            # A bootstrap sample of a small catalogue may have no item of the chosen classes.
            return np.asarray(hits / np.maximum(support, 1))

        occurs = find_occurring(self.votes, chosen_classes)
        hits, support = ((counts * occurs).sum(axis=-1) for counts in self.votes[:2])
        return BootstrapEstimate(measure(self.whole), measure(self.drawn), _compute_unseen_variances(hits, support))

    def estimate_macro_f1(self, chosen_classes: npt.NDArray[np.bool_]) -> BootstrapEstimate:
        """Compute the mean F1 of the chosen classes that occur as true or predicted class."""
        occurs = find_occurring(self.votes, chosen_classes)
        variances = np.where(occurs, self._find_unseen_f1_variances(), 0.0).sum(axis=-1)
        unseen = variances / np.maximum(occurs.sum(axis=-1), 1) ** 2
        values, draws = (average_f1(outcomes, chosen_classes) for outcomes in (self.whole, self.drawn))
        return BootstrapEstimate(values, draws, unseen)

    def find_class_intervals(self, run: int) -> list[tuple[float, float] | None]:
        """Return the 95 % interval of the F1 of each class, for one run.

        Samples in which a class is neither the true nor the predicted class of an item are left out for this class. A
        class that is neither of these among all items has no F1, and None here.
        """
        occurs = find_occurring(self.whole, None)[run]
        hits, support, chosen = (counts[:, run, occurs] for counts in self.drawn)
        draws = np.where(support + chosen > 0, compute_f1(hits, support, chosen), np.nan)
        values = compute_f1(*(counts[run, occurs] for counts in self.whole))
        low, high = find_intervals(draws, values, self._find_unseen_f1_variances()[run, occurs])
        ends = iter(zip(low.tolist(), high.tolist(), strict=True))
        return [next(ends) if is_there else None for is_there in occurs.tolist()]

    def _find_unseen_f1_variances(self) -> Values:
        """Compute the variance of the F1 of each class that bootstrap samples lack, float64 (m, C).

        An F1 is 2J / (1 + J), where J is the share of true positives among the items that have the class or are
        predicted to; so the variance of J counts by the square of this slope.
        """
        hits, support, predicted = self.votes
        votes = support + predicted - hits
        slopes = 2 / (1 + (hits + 0.5) / (votes + 1)) ** 2
        return np.asarray(_compute_unseen_variances(hits, votes) * slopes**2)


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
    A class without items in a sample is left out of that sample's macro-F1.

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
    drawn = Samples.draw(classes, predicted, group_ids, num_classes, samples=samples, seed=seed)
    chosen = np.ones(num_classes, np.bool_) if chosen_classes is None else chosen_classes
    return {"accuracy": drawn.estimate_accuracy(chosen), "macro_f1": drawn.estimate_macro_f1(chosen)}


def compute_intervals(
    classes: Indices, predicted: Indices, group_ids: Sequence[str], num_classes: int, *, samples: int, seed: int
) -> JsonObject:
    """Compute the 95 % intervals of one run's accuracy, macro-F1 and F1 of each class; see `estimate_metrics`.

    Returns:
        `level`, `method`, `samples`, `accuracy` and `macro_f1` as [low, high], and `class_f1`, a list of the same for
        each class; see `Samples.find_class_intervals`.
    """
    drawn = Samples.draw(classes, predicted[None], group_ids, num_classes, samples=samples, seed=seed)
    chosen = np.ones(num_classes, np.bool_)
    return {
        "level": LEVEL,
        "method": METHOD,
        "samples": samples,
        "accuracy": list(drawn.estimate_accuracy(chosen).find_interval(0)),
        "macro_f1": list(drawn.estimate_macro_f1(chosen).find_interval(0)),
        "class_f1": [None if ends is None else list(ends) for ends in drawn.find_class_intervals(0)],
    }


def _compute_unseen_variances(hits: Counts, votes: Counts) -> Values:
    """Compute the variance of shares with half a right and half a wrong vote more, less that without; at least 0.

    A share of no votes has none.
    """
    share, smoothed = hits / np.maximum(votes, 1e-9), (hits + 0.5) / (votes + 1)
    lacking = smoothed * (1 - smoothed) / (votes + 2) - share * (1 - share) / np.maximum(votes, 1e-9)
    return np.asarray(np.where(votes > 0, np.maximum(lacking, 0.0), 0.0))
