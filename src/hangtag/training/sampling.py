"""Show rare classes more often: how many copies of each item an epoch has, and in which order."""

import numpy as np
import numpy.typing as npt

from hangtag.models.outputs import Indices


def compute_copies(classes: Indices, balance: float) -> npt.NDArray[np.float64]:
    """Give the expected number of copies of each item in an epoch, (n,), with a mean of 1.

    Source: tempered class-balanced sampling as in Mahajan et al., *Exploring the Limits of Weakly Supervised
    Pretraining*, 2018.

    Args:
        classes: The class of each item, int64 (n,).
        balance: 0 leaves the classes as they are, 1 shows all of them equally often, 0.5 takes the square root.
    """
    counts = np.bincount(classes)[classes].astype(np.float64)
    weights = counts**-balance
    return np.asarray(weights * (len(classes) / weights.sum()))


def draw_order(copies: npt.NDArray[np.float64], random: np.random.Generator) -> Indices:
    """Draw an epoch of as many places as there are items, each item its expected number of times, give or take one.

    Where every item has one copy, each comes exactly once.
    """
    count = len(copies)
    shuffled = random.permutation(count)
    # Evenly spaced points on the line of all copies: every item gets its share, rounded up or down.
    ends = np.cumsum(copies[shuffled]) * (count / copies.sum())
    points = np.arange(count) + random.random()
    chosen = shuffled[np.minimum(np.searchsorted(ends, points, side="right"), count - 1)]
    return np.asarray(random.permutation(chosen), np.int64)
