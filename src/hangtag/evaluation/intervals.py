"""Give figures their 95 % interval, by drawing groups of duplicates again and again."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hangtag.evaluation.metrics import average_f1, count_outcomes

LEVEL = 0.95
METHOD = "percentile bootstrap over groups of duplicates"


def compute_intervals(
    classes: npt.NDArray[np.int64],
    predicted: npt.NDArray[np.int64],
    group_ids: Sequence[str],
    num_classes: int,
    *,
    samples: int,
    seed: int,
) -> dict[str, Any]:
    """Give the 95 % intervals of accuracy and macro-F1 over other items of the same catalogue.

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
    _, groups = np.unique(np.asarray(group_ids), return_inverse=True)
    count = int(groups.max()) + 1
    random = np.random.default_rng(seed)
    accuracy, macro_f1 = [], []
    for _ in range(samples):
        weights = np.bincount(random.integers(0, count, count), minlength=count)[groups]
        outcomes = count_outcomes(classes, predicted, num_classes, weights)
        accuracy.append(float(outcomes[0].sum() / weights.sum()))
        macro_f1.append(float(average_f1(outcomes)))
    return {
        "level": LEVEL,
        "method": METHOD,
        "samples": samples,
        "accuracy": _find_middle(accuracy),
        "macro_f1": _find_middle(macro_f1),
    }


def _find_middle(values: Sequence[float]) -> list[float]:
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return [float(low), float(high)]
