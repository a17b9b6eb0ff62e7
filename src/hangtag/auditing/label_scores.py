"""Combine photograph and name together on one level, and find the given labels that they speak against."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hangtag.auditing.confident_learning import find_off_diagonal, prune_by_noise_rate
from hangtag.auditing.evidence import MIN_CLASS_ITEMS
from hangtag.auditing.issues import NAME_AGAINST_LABEL, PHOTOGRAPH_AND_NAME, WRONG_LABEL
from hangtag.models.label_space import NO_VALUE, Indices, Probs

# What is spread over all classes before two witnesses are multiplied: neither is ever quite sure.
DOUBT = 1e-3
# So much less a doubt counts on a level where witnesses err more: .87 right makes .66, .99 right .97.
STRICTNESS = 3
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ModalityProbs:
    """What the witnesses say of n items on one level, or of their products.

    Attributes:
        photograph: float32 (n, classes).
        has_photograph: Whether a network was asked about the item, bool (n,).
        name: float32 (n, classes).
        has_name: Whether the item's name was heard, bool (n,).
        names_in_photograph: Whether the network has read the names already, so that they are not to count twice.
    """

    photograph: Probs
    has_photograph: Mask
    name: Probs
    has_name: Mask
    names_in_photograph: bool = False

    def of(self, places: Indices) -> "ModalityProbs":
        """Return what is said of some of the items."""
        return ModalityProbs(
            self.photograph[places],
            self.has_photograph[places],
            self.name[places],
            self.has_name[places],
            self.names_in_photograph,
        )

    def join(self) -> Probs:
        """Return one set of probabilities, float32 (n, classes): the product of both witnesses where there are two.

        They are taken as independent once the class is known, and classes as equally likely before: held against
        the classes' shares, equal ones rank planted errors better (docs/experiments.md).
        """
        doubt = DOUBT / self.photograph.shape[1]
        product = (self.photograph + doubt) * (self.name + doubt)
        product /= product.sum(axis=1, keepdims=True)
        counts_twice = self.has_photograph & self.has_name & (not self.names_in_photograph)
        single = np.where(self.has_photograph[:, None], self.photograph, self.name)
        return np.asarray(np.where(counts_twice[:, None], product, single), np.float32)


@dataclass(frozen=True)
class SuspectLabels:
    """The given labels of one level that the witnesses speak against, k of them.

    Attributes:
        level: The level or attribute.
        places: Which of the n items, int64 (k,).
        suggested: The class index that they speak for, int64 (k,).
        scores: How likely the given label is wrong, float64 (k,), 0 to 1.
        confident: Whether confident learning doubts it, bool (k,), or another class is merely likelier.
        codes: What speaks, a code of `issues` each.
    """

    level: str
    places: Indices
    suggested: Indices
    scores: npt.NDArray[np.float64]
    confident: Mask
    codes: npt.NDArray[np.str_]


def hear(
    level: str,
    given: Indices,
    modality_probs: ModalityProbs,
    min_class_items: int = MIN_CLASS_ITEMS,
    *,
    primary_from: float | None = None,
) -> SuspectLabels:
    """Find the given labels of one level that the witnesses doubt, once all of them are heard.

    A witness doubts a label where `prune_by_noise_rate` or the confident joint finds it among all items that the
    witness spoke of. A doubt that the other witness dispels (together they find the given label likeliest) is
    dropped. On the primary level all labels are told whose score is high enough, and which of them are so doubted.

    The score is 1 - p(given), by both witnesses where there are two. On other levels than the primary one it is that
    times the share of given labels that the witnesses agree with, to the power of `STRICTNESS`: where they often err,
    or categories are a matter of taste, a doubt counts less.

    Args:
        level: The level.
        given: The given class index of each item, int64 (n,), `NO_VALUE` where there is none.
        modality_probs: What the witnesses say of the same items.
        min_class_items: Given classes that fewer items have are not judged.
        primary_from: The least score of the primary level; None for any other level.
    """
    counts = np.bincount(given[given != NO_VALUE], minlength=modality_probs.photograph.shape[1])
    judged = (given != NO_VALUE) & (counts[given] >= min_class_items)
    told = judged & (modality_probs.has_photograph | modality_probs.has_name)
    by_photograph = _doubt(given, modality_probs.photograph, judged & modality_probs.has_photograph)
    by_name = _doubt(given, modality_probs.name, judged & modality_probs.has_name)
    together = modality_probs.join()
    likeliest = together.argmax(axis=1)
    doubted = (by_photograph | by_name) & (likeliest != given)
    against = 1 - together[np.arange(len(given)), given].astype(np.float64)
    if primary_from is None:
        places = np.flatnonzero(doubted)
        against *= float((likeliest == given)[told].mean() if told.any() else 0) ** STRICTNESS
    else:
        places = np.flatnonzero(told & (against >= primary_from))
    others = together[places]
    others[np.arange(len(places)), given[places]] = -1
    suggested = others.argmax(axis=1).astype(np.int64)
    codes = _name_codes(modality_probs, places, suggested, by_photograph)
    return SuspectLabels(level, places, suggested, against[places], doubted[places], codes)


def _doubt(given: Indices, probs: Probs, asked: Mask) -> Mask:
    """Find the items that confident learning doubts, bool (n,), by the probabilities of those that were asked about."""
    found = np.zeros(len(given), bool)
    rows = np.flatnonzero(asked)
    if len(rows):
        own, said = given[rows], probs[rows]
        found[rows] = prune_by_noise_rate(own, said) | find_off_diagonal(own, said)
    return found


def _name_codes(
    modality_probs: ModalityProbs, places: Indices, suggested: Indices, by_photograph: Mask
) -> npt.NDArray[np.str_]:
    sees = modality_probs.has_photograph[places] & (modality_probs.photograph[places].argmax(axis=1) == suggested)
    reads = modality_probs.has_name[places] & (modality_probs.name[places].argmax(axis=1) == suggested)
    says_more = by_photograph[places] | sees | (modality_probs.has_photograph[places] & ~reads)
    alone = np.where(says_more, WRONG_LABEL, NAME_AGAINST_LABEL)
    return np.asarray(np.where(sees & reads, PHOTOGRAPH_AND_NAME, alone))
