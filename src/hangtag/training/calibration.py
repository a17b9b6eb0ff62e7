"""Rescale the label head, fit temperatures, and choose the confidence thresholds that reach a target precision."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.stats import beta

from hangtag.config import TARGET_PRECISIONS
from hangtag.io import JsonObject
from hangtag.labels.dataset import LabeledItems
from hangtag.models.batch_predict import ProbsByHead, apply_temperature
from hangtag.models.checkpoint import Weights
from hangtag.models.label_space import CATEGORY_PATH, NO_VALUE, Indices, LabelSpace, Probs
from hangtag.training.losses import LEAST_PROBABILITY

if TYPE_CHECKING:
    from hangtag.training.trainer import Trainer

# The probability that a threshold misses its target precision on new items.
RISK = 0.05
STEPS = 200
# The number of test sequences, each with its own first candidate.
STARTS = 4


def normalize_label_head(weights: Weights, tau: float) -> Weights:
    """Divide the weights of each category path by a power of their norm, so that frequent ones have no larger weights.

    The mean norm is kept as the scale. Source: Kang et al., *Decoupling Representation and Classifier for Long-Tailed
    Recognition*, 2020 (tau-normalization).

    Args:
        weights: The weights of a network by their paths.
        tau: The power, from 0 (the weights stay as they are) to 1 (all norms become equal).

    Returns:
        The weights, of which the kernels of the head `category_path`, (width, paths), are rescaled.
    """
    kernels = [path for path in weights if path.startswith(CATEGORY_PATH) and path.endswith("/kernel")] if tau else []
    scaled = {}
    for path in kernels:
        norms = np.linalg.norm(weights[path], axis=0)
        norms[norms == 0] = 1
        scaled[path] = weights[path] * (norms.mean() / norms) ** np.float32(tau)
    return {**weights, **scaled}


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
    confidence: npt.NDArray[np.floating],
    correct: npt.NDArray[np.bool_],
    precision: float,
    groups: npt.ArrayLike | None = None,
) -> float | None:
    """Return the lowest confidence threshold whose precision on new items is at least `precision`.

    Candidate thresholds are tested from high to low until the first whose Clopper-Pearson lower bound of the precision
    is too low. One early mistake would end a single sequence, so there are several, which start with increasing numbers
    of items, and the risk is divided among them. The guarantee holds with 95 % confidence for any number of
    candidates. Source: Angelopoulos et al., *Learn then Test*, 2021 (fixed sequence testing with several starts).

    Photographs of one product, and duplicates, are right or wrong together. So each group has one vote: the share of
    its predictions above the candidate that are right.

    Args:
        confidence: (n,), 0 to 1.
        correct: Whether each prediction is right, (n,).
        precision: The target precision, above 0 and below 1.
        groups: The group of each item, (n,); None if each is alone.

    Returns:
        The threshold, or None if no threshold reaches the target precision.
    """
    order = np.argsort(-confidence, kind="stable")
    sorted_confidence = confidence[order]
    members = np.arange(len(order)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1][order]
    votes, hits = _count_votes(members, correct[order])
    risk = RISK / STARTS
    # With fewer votes the lower bound is below the target precision even if all predictions are right.
    fewest = int(np.ceil(np.log(risk) / np.log(precision)))
    if not len(order) or fewest > votes[-1]:
        return None
    first = int(np.searchsorted(votes, fewest)) + 1
    # Items of equal confidence are on the same side of a threshold.
    indices = np.unique(np.linspace(first, len(order), STEPS).astype(int))
    counts = np.searchsorted(-sorted_confidence, -sorted_confidence[indices - 1], side="right")
    right = hits[counts - 1]
    is_reached = beta.ppf(risk, np.maximum(right, 1e-9), votes[counts - 1] - right + 1) >= precision
    is_reached &= right > 0
    starts = np.searchsorted(indices, np.geomspace(first, len(order), STARTS, endpoint=False).astype(int))
    ends = [start + int(np.append(~is_reached[start:], True).argmax()) for start in starts]
    found = max((end for start, end in zip(starts, ends, strict=True) if end > start), default=0)
    return float(sorted_confidence[counts[found - 1] - 1]) if found else None


def _count_votes(
    members: npt.NDArray[np.integer], correct: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return for each item the number of groups up to it, and the sum of the shares of each that are right.

    Args:
        members: The group of each item, from 0, (n,), by descending confidence.
        correct: Whether each prediction is right, (n,).
    """
    # Item by item: the place of each in its group, and how many before it in its group are right.
    by_group = np.argsort(members, kind="stable")
    starts = np.r_[True, np.diff(members[by_group]) > 0]
    begin = np.maximum.accumulate(np.where(starts, np.arange(len(members)), 0))
    right = np.cumsum(correct[by_group])
    size, own = np.empty(len(members)), np.empty(len(members))
    size[by_group] = np.arange(len(members)) - begin + 1
    own[by_group] = right - np.where(begin > 0, right[begin - 1], 0)
    before = np.where(size > 1, (own - correct) / np.maximum(size - 1, 1), 0)
    return np.cumsum(size == 1), np.cumsum(own / size - before)


def find_thresholds(
    probs: Probs,
    classes: Indices,
    precisions: Sequence[float] = TARGET_PRECISIONS,
    groups: npt.ArrayLike | None = None,
) -> dict[str, float | None]:
    """Return the threshold for each target precision, by the precision as text; see `find_threshold`."""
    confidence, correct = probs.max(axis=1), probs.argmax(axis=1) == classes
    return {f"{precision:g}": find_threshold(confidence, correct, precision, groups) for precision in precisions}


def calibrate_model(trainer: "Trainer", labelled: LabeledItems) -> JsonObject:
    """Fit temperatures and thresholds on val: for photographs alone, and with product names if the model reads them."""
    val, label_space = trainer.data["val"], trainer.label_space
    group_ids = dict(labelled.table.select("image_index", "group_id").iter_rows())
    groups = np.array([group_ids[row] for row in val.rows.tolist()])
    classes = trainer.find_primary_classes(val)
    calibration = {}
    for key, words in (("photograph", False), ("photograph_and_name", True)):
        if words and trainer.vocabulary is None:
            continue
        by_head = trainer.predict_heads(val, f"{trainer.title}Calibrating", words=words)
        temperatures = fit_temperatures(by_head, val.classes, label_space)
        probs = label_space.sum_level(
            apply_temperature(by_head[CATEGORY_PATH], temperatures[CATEGORY_PATH]), label_space.primary
        )
        known = classes != NO_VALUE
        thresholds = find_thresholds(probs[known], classes[known], groups=groups[known])
        calibration[key] = {"temperatures": temperatures, "thresholds": thresholds}
    return calibration
