"""Find the items of a catalogue that a model learnt from: its probabilities for all others are out-of-sample."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from hangtag.inference.classifier import Classifier
from hangtag.labels.labelled import Labelled
from hangtag.labels.photograph_hashes import Mask, PhotographHashes

# How it is known what a model learnt from.
PHOTOGRAPHS, PHOTOGRAPHS_IN_PART, SPLITS, UNKNOWN = "photographs", "photographs, not all", "splits", "unknown"


@dataclass(frozen=True)
class LearntItems:
    """What a model has seen of a catalogue.

    Attributes:
        mask: Which items it learnt from, bool (items,).
        known_by: How that is known: by the hashes of all photographs that it learnt from, by those of some (it began
            from weights that do not say what they learnt from), by the splits of the labels that it learnt, or not.
    """

    mask: Mask
    known_by: str

    def describe(self, usable: Mask) -> dict[str, Any]:
        """Return what the audit's summary says of it: how many items were left out that could be judged otherwise."""
        return {"items_learnt": int((self.mask & usable).sum()), "learnt_items_known_by": self.known_by}


def find_learnt(
    classifier: Classifier, labelled: Labelled, items: pl.DataFrame, hashes: PhotographHashes
) -> LearntItems:
    """Find what a model learnt from: by the photographs' hashes where it carries them, whatever the labels are now.

    The splits count too where the labels are those that it learnt.

    Args:
        classifier: The model.
        labelled: The catalogue.
        items: The table of all its items, with `split`.
        hashes: Of their photographs.
    """
    mask, known_by = np.zeros(len(items), np.bool_), UNKNOWN
    if classifier.description.get("labels_digest") == labelled.digest:
        learn_from = classifier.description.get("learn_from", ["train"])
        mask, known_by = items["split"].is_in(learn_from).fill_null(value=False).to_numpy(), SPLITS
    if classifier.seen is not None:
        known_by = PHOTOGRAPHS if classifier.seen.is_complete else PHOTOGRAPHS_IN_PART
        mask = mask | classifier.seen.learnt.find(hashes)
    return LearntItems(mask, known_by)
