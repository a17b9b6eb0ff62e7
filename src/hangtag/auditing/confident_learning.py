"""Confident learning: flag and score given labels that out-of-sample probabilities contradict.

Image and name probabilities are combined first.
Source: Northcutt, Jiang and Chuang, *Confident Learning: Estimating Uncertainty in Dataset Labels*, JAIR 70, 2021.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hangtag.auditing.evidence import MIN_CLASS_ITEMS
from hangtag.auditing.issues import IMAGE, IMAGE_AND_NAME, NAME
from hangtag.models.label_space import NO_VALUE, Indices, Probs

FloatProbs = npt.NDArray[np.floating]
Joint = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
# Probabilities that equal a threshold but for rounding reach it.
TINY = 1e-6
# Spread over all classes before image and name probabilities are multiplied, so that neither rules a class out.
SMOOTHING = 1e-3
# Scores count less on a level where the models err more: an agreement of .87 makes .66, one of .99 makes .97.
STRICTNESS = 3


def compute_thresholds(given: Indices, probs: FloatProbs) -> npt.NDArray[np.float64]:
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


def guess_classes(given: Indices, probs: FloatProbs) -> Indices:
    """Return the class that each item is confidently counted as, int64 (n,); -1 where it is none.

    It is the likeliest of the classes whose threshold the item's probability reaches. Equation 1 of the source.
    """
    reached = probs >= compute_thresholds(given, probs) - TINY
    guesses = np.where(reached, probs, -1.0).argmax(axis=1)
    return np.asarray(np.where(reached.any(axis=1), guesses, -1), np.int64)


def count_confident_joint(given: Indices, probs: FloatProbs) -> Joint:
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


def find_off_diagonal(given: Indices, probs: FloatProbs) -> Mask:
    """Find the items that are confidently counted as another class, bool (n,); *confident joint* in the source."""
    guesses = guess_classes(given, probs)
    return np.asarray((guesses >= 0) & (guesses != given))


def prune_by_noise_rate(given: Indices, probs: FloatProbs) -> Mask:
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


def score_self_confidence(given: Indices, probs: FloatProbs) -> npt.NDArray[np.float64]:
    """Return the probability of each item's given class, float64 (n,): the smaller, the likelier it is wrong."""
    return np.asarray(_read_own(given, probs), np.float64)


def score_normalized_margin(given: Indices, probs: FloatProbs) -> npt.NDArray[np.float64]:
    """Compute (p(given) - p(most likely other) + 1) / 2, float64 (n,), 0 to 1; low where the label is likely wrong."""
    others = probs.astype(np.float64)
    others[np.arange(len(given)), given] = -np.inf
    best = others.max(axis=1, initial=-np.inf) if probs.shape[1] > 1 else np.zeros(len(given))
    return np.asarray((_read_own(given, probs) - best + 1) / 2, np.float64)


def _read_own(given: Indices, probs: FloatProbs) -> npt.NDArray[np.float64]:
    return probs[np.arange(len(given)), given].astype(np.float64)


@dataclass(frozen=True)
class ModalityProbs:
    """Out-of-sample probabilities of n items by modality, on one level or over the category paths.

    Attributes:
        image: float32 (n, classes).
        has_image: Whether the item has image probabilities, bool (n,).
        name: float32 (n, classes).
        has_name: Whether the item has name probabilities, bool (n,).
        names_in_image: Whether the network reads names too, so that the name probabilities must not count again.
    """

    image: Probs
    has_image: Mask
    name: Probs
    has_name: Mask
    names_in_image: bool = False

    def of(self, items: Indices) -> "ModalityProbs":
        """Return the probabilities of some of the items."""
        return ModalityProbs(
            self.image[items], self.has_image[items], self.name[items], self.has_name[items], self.names_in_image
        )

    def join(self) -> Probs:
        """Combine both modalities to one set of probabilities, float32 (n, classes); their product where there are two.

        Image and name are assumed independent given the class, with equal prior probabilities: planted errors are
        ranked better with these than with the class frequencies (docs/experiments.md).
        """
        smoothing = SMOOTHING / self.image.shape[1]
        product = (self.image + smoothing) * (self.name + smoothing)
        product /= product.sum(axis=1, keepdims=True)
        has_both = self.has_image & self.has_name & (not self.names_in_image)
        single = np.where(self.has_image[:, None], self.image, self.name)
        return np.asarray(np.where(has_both[:, None], product, single), np.float32)


@dataclass(frozen=True)
class SuspectLabels:
    """The suspected label errors of one level, k of them.

    Attributes:
        level: The level or attribute.
        items: Which of the n items, int64 (k,).
        suggested: The suggested class index, int64 (k,).
        scores: The ranks of the suspects, float64 (k,), 0 to 1; no probabilities of an error.
        confident: Whether confident learning flags it, bool (k,); otherwise another class is merely more likely.
        evidence: Of `issues.EVIDENCE` each: which modalities contradict the label.
    """

    level: str
    items: Indices
    suggested: Indices
    scores: npt.NDArray[np.float64]
    confident: Mask
    evidence: npt.NDArray[np.str_]


def score_labels(
    level: str,
    given: Indices,
    modality_probs: ModalityProbs,
    min_class_items: int = MIN_CLASS_ITEMS,
    *,
    primary_from: float | None = None,
) -> SuspectLabels:
    """Flag the given labels of one level that contradict the combined probabilities.

    Each modality flags labels by itself, with `prune_by_noise_rate` or the confident joint over the items that it has
    probabilities for. A flag is dropped where both modalities together find the given label most likely. On the primary
    level every label with a high enough score is returned, and `confident` says which of them are flagged.

    The score is 1 - p(given) of the combined probabilities. On other levels than the primary one it is multiplied by
    the share of given labels that the combined predictions agree with, to the power of `STRICTNESS`: where models often
    err, or categories are a matter of taste, a flag counts less.

    Args:
        level: The level.
        given: The given class index of each item, int64 (n,), `NO_VALUE` where there is none.
        modality_probs: The probabilities of the same items.
        min_class_items: Labels of classes with fewer items are not flagged.
        primary_from: The minimum score on the primary level; None for any other level.
    """
    counts = np.bincount(given[given != NO_VALUE], minlength=modality_probs.image.shape[1])
    is_checked = (given != NO_VALUE) & (counts[given] >= min_class_items)
    has_probs = is_checked & (modality_probs.has_image | modality_probs.has_name)
    by_image = _flag_labels(given, modality_probs.image, is_checked & modality_probs.has_image)
    by_name = _flag_labels(given, modality_probs.name, is_checked & modality_probs.has_name)
    combined = modality_probs.join()
    predicted = combined.argmax(axis=1)
    flagged = (by_image | by_name) & (predicted != given)
    scores = 1 - combined[np.arange(len(given)), given].astype(np.float64)
    if primary_from is None:
        items = np.flatnonzero(flagged)
        scores *= float((predicted == given)[has_probs].mean() if has_probs.any() else 0) ** STRICTNESS
    else:
        items = np.flatnonzero(has_probs & (scores >= primary_from))
    others = combined[items]
    others[np.arange(len(items)), given[items]] = -1
    suggested = others.argmax(axis=1).astype(np.int64)
    evidence = _choose_evidence(modality_probs.of(items), suggested, by_image[items])
    return SuspectLabels(level, items, suggested, scores[items], flagged[items], evidence)


def _flag_labels(given: Indices, probs: Probs, has_probs: Mask) -> Mask:
    """Flag labels by confident learning, bool (n,), over the items that have probabilities."""
    flagged = np.zeros(len(given), bool)
    rows = np.flatnonzero(has_probs)
    if len(rows):
        own, own_probs = given[rows], probs[rows]
        flagged[rows] = prune_by_noise_rate(own, own_probs) | find_off_diagonal(own, own_probs)
    return flagged


def _choose_evidence(modality_probs: ModalityProbs, suggested: Indices, by_image: Mask) -> npt.NDArray[np.str_]:
    """Return the evidence against each suspected label: image and name, the name alone, or the image."""
    image_agrees = modality_probs.has_image & (modality_probs.image.argmax(axis=1) == suggested)
    name_agrees = modality_probs.has_name & (modality_probs.name.argmax(axis=1) == suggested)
    is_by_image = by_image | image_agrees | (modality_probs.has_image & ~name_agrees)
    single = np.where(is_by_image, IMAGE, NAME)
    return np.asarray(np.where(image_agrees & name_agrees, IMAGE_AND_NAME, single))
