"""Confident learning: estimate which given labels are wrong from out-of-sample probabilities.

Source: Northcutt, Jiang and Chuang, *Confident Learning: Estimating Uncertainty in Dataset Labels*, JAIR 70, 2021.
"""

import numpy as np
import numpy.typing as npt

from hangtag.models.label_space import Indices

Probs = npt.NDArray[np.floating]
Joint = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
# Probabilities that equal a threshold but for rounding reach it.
TINY = 1e-6


def compute_thresholds(given: Indices, probs: Probs) -> npt.NDArray[np.float64]:
    """Return each class's threshold, float64 (classes,): the mean probability of the class among items given it.

    A class without items gets infinity, which nothing reaches. Equation 2 of the source.

    Args:
        given: The class index of each item, int64 (n,).
        probs: Out-of-sample probabilities (n, classes).
    """
    counts = np.bincount(given, minlength=probs.shape[1])
    sums = np.bincount(given, weights=_read_own(given, probs), minlength=probs.shape[1])
    means = sums / np.maximum(counts, 1)
    return np.asarray(np.where(counts > 0, means, np.inf), np.float64)


def guess_classes(given: Indices, probs: Probs) -> Indices:
    """Return the class that each item is confidently counted as, int64 (n,); -1 where it is none.

    It is the likeliest of the classes whose threshold the item's probability reaches. Equation 1 of the source.
    """
    reached = probs >= compute_thresholds(given, probs) - TINY
    guesses = np.where(reached, probs, -1.0).argmax(axis=1)
    return np.asarray(np.where(reached.any(axis=1), guesses, -1), np.int64)


def count_confident_joint(given: Indices, probs: Probs) -> Joint:
    """Count items by given class (rows) and confident guess (columns), float64 (classes, classes).

    The diagonal is 1 at least, as in the authors' own program: no class is without a right item.
    """
    classes = probs.shape[1]
    guesses = guess_classes(given, probs)
    sure = guesses >= 0
    counts = np.bincount(given[sure] * classes + guesses[sure], minlength=classes * classes)
    joint = counts.reshape(classes, classes).astype(np.float64)
    np.fill_diagonal(joint, joint.diagonal().clip(min=1))
    return joint


def calibrate_joint(joint: Joint, given: Indices) -> Joint:
    """Scale each row to the number of items given its class: the estimated counts of given and true class.

    Equation 3 of the source, with counts instead of shares.
    """
    counts = np.bincount(given, minlength=len(joint))
    scaled = joint / joint.sum(axis=1, keepdims=True) * counts[:, None]
    return np.asarray(scaled, np.float64)


def find_off_diagonal(given: Indices, probs: Probs) -> Mask:
    """Find the items that are confidently counted as another class, bool (n,); *confident joint* in the source."""
    guesses = guess_classes(given, probs)
    return np.asarray((guesses >= 0) & (guesses != given))


def prune_by_noise_rate(given: Indices, probs: Probs) -> Mask:
    """Find for every pair of given and true class as many items as the joint counts there, bool (n,).

    They are those with the largest margin p(true) - p(given). Items whose given class is their likeliest one are
    never among them. Section 4 of the source.
    """
    joint = calibrate_joint(count_confident_joint(given, probs), given)
    own = _read_own(given, probs)
    found = np.zeros(len(given), bool)
    order = np.argsort(given, kind="stable")
    ends = np.searchsorted(given[order], np.arange(len(joint) + 1))
    for row in range(len(joint)):
        members = order[ends[row] : ends[row + 1]]
        for column in np.flatnonzero(joint[row].round()):
            number = min(int(joint[row, column].round()), len(members))
            if column != row and number:
                margin = probs[members, column] - own[members]
                found[members[np.argpartition(-margin, number - 1)[:number]]] = True
    return np.asarray(found & (probs.argmax(axis=1) != given))


def score_self_confidence(given: Indices, probs: Probs) -> npt.NDArray[np.float64]:
    """Return the probability of each item's given class, float64 (n,): the smaller, the likelier it is wrong."""
    return np.asarray(_read_own(given, probs), np.float64)


def score_normalized_margin(given: Indices, probs: Probs) -> npt.NDArray[np.float64]:
    """Compute (p(given) - p(most likely other) + 1) / 2, float64 (n,), 0 to 1; low where the label is likely wrong."""
    others = probs.astype(np.float64)
    others[np.arange(len(given)), given] = -np.inf
    best = others.max(axis=1, initial=-np.inf) if probs.shape[1] > 1 else np.zeros(len(given))
    return np.asarray((_read_own(given, probs) - best + 1) / 2, np.float64)


def _read_own(given: Indices, probs: Probs) -> npt.NDArray[np.float64]:
    return probs[np.arange(len(given)), given].astype(np.float64)
