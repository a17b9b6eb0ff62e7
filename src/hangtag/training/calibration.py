"""Fit temperatures, and choose the confidence thresholds that reach a target precision."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.stats import beta

from hangtag.config import TARGET_PRECISIONS
from hangtag.models.batch_predict import ProbsByHead, apply_temperature
from hangtag.models.label_space import CATEGORY_PATH, NO_VALUE, Indices, LabelSpace, Probs
from hangtag.training.losses import LEAST_PROBABILITY

# The probability that a threshold misses its target precision on new items.
RISK = 0.05
STEPS = 200
# The number of test sequences, each with its own first candidate.
STARTS = 4


def fit_temperatures(
    probs_by_head: ProbsByHead, classes: dict[str, Indices], label_space: LabelSpace
) -> dict[str, float]:
    """Compute the temperature of each head that minimises the cross-entropy on val.

    The head `category_path` is evaluated on the primary level. Source: Guo et al., *On Calibration of Modern Neural
    Networks*, 2017.

    Args:
        probs_by_head: Each head's probabilities on val.
        classes: Each head's class indices; `NO_VALUE` where an item has none.
        label_space: The classes of the heads.
    """
    primary = np.append(label_space.list_classes(label_space.primary), NO_VALUE)
    temperatures = {}
    for head, probs in probs_by_head.items():
        wanted = primary[classes[head]] if head == CATEGORY_PATH else classes[head]
        known = np.flatnonzero(wanted != NO_VALUE)

        def measure(log_temperature: float, head: str = head, probs: Probs = probs[known]) -> float:
            scaled = apply_temperature(probs, float(np.exp(log_temperature)))
            if head == CATEGORY_PATH:
                scaled = label_space.sum_level(scaled, label_space.primary)
            own = scaled[np.arange(len(known)), wanted[known]]  # noqa: B023  (called before the next head)
            return float(-np.log(own.clip(LEAST_PROBABILITY, 1)).mean())

        found = minimize_scalar(measure, bounds=(-2.0, 2.0), method="bounded") if len(known) else None
        temperatures[head] = round(float(np.exp(found.x)), 4) if found else 1.0
    return temperatures


def find_threshold(
    confidence: npt.NDArray[np.floating], correct: npt.NDArray[np.bool_], precision: float
) -> float | None:
    """Return the lowest confidence threshold whose precision on new items is at least `precision`.

    Candidate thresholds are tested from high to low until the first whose Clopper-Pearson lower bound of the precision
    is too low. One early mistake would end a single sequence, so there are several, which start with increasing numbers
    of items, and the risk is divided among them. The guarantee holds with 95 % confidence for any number of
    candidates. Source: Angelopoulos et al., *Learn then Test*, 2021 (fixed sequence testing with several starts).

    Args:
        confidence: (n,), 0 to 1.
        correct: Whether each prediction is right, (n,).
        precision: The target precision, above 0 and below 1.

    Returns:
        The threshold, or None if no threshold reaches the target precision.
    """
    order = np.argsort(-confidence, kind="stable")
    sorted_confidence, hits = confidence[order], np.cumsum(correct[order])
    risk = RISK / STARTS
    # With fewer items the lower bound is below the target precision even if all predictions are right.
    fewest = int(np.ceil(np.log(risk) / np.log(precision)))
    if fewest > len(order):
        return None
    # Items of equal confidence are on the same side of a threshold.
    indices = np.unique(np.linspace(fewest, len(order), STEPS).astype(int))
    counts = np.searchsorted(-sorted_confidence, -sorted_confidence[indices - 1], side="right")
    is_reached = beta.ppf(risk, np.maximum(hits[counts - 1], 1), counts - hits[counts - 1] + 1) >= precision
    is_reached &= hits[counts - 1] > 0
    starts = np.searchsorted(indices, np.geomspace(fewest, len(order), STARTS, endpoint=False).astype(int))
    ends = [start + int(np.append(~is_reached[start:], True).argmax()) for start in starts]
    found = max((end for start, end in zip(starts, ends, strict=True) if end > start), default=0)
    return float(sorted_confidence[counts[found - 1] - 1]) if found else None


def find_thresholds(
    probs: Probs, classes: Indices, precisions: Sequence[float] = TARGET_PRECISIONS
) -> dict[str, float | None]:
    """Return the threshold for each target precision, by the precision as text; see `find_threshold`."""
    correct = probs.argmax(axis=1) == classes
    return {f"{precision:g}": find_threshold(probs.max(axis=1), correct, precision) for precision in precisions}
