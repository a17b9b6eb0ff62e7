"""Combine image and name probabilities at one label level and flag given labels that contradict them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hangtag.auditing.confident_learning import find_off_diagonal, prune_by_noise_rate
from hangtag.auditing.evidence import MIN_CLASS_ITEMS
from hangtag.auditing.issues import IMAGE, IMAGE_AND_NAME, NAME
from hangtag.models.label_space import NO_VALUE, Indices, Probs

# Spread over all classes before image and name probabilities are multiplied, so that neither rules a class out.
SMOOTHING = 1e-3
# Scores count less on a level where the models err more: an agreement of .87 makes .66, one of .99 makes .97.
STRICTNESS = 3
Mask = npt.NDArray[np.bool_]


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
        scores: The probability that the given label is wrong, float64 (k,), 0 to 1.
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
