"""Refuse splits that share items, pixels or duplicates, and models that were trained on the items of an evaluation."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import polars as pl

from hangtag.errors import LeakError
from hangtag.inference.classifier import Classifier
from hangtag.inference.prediction import HeadProbs
from hangtag.inference.runs import name_other_values
from hangtag.labels.dataset import LabeledItems
from hangtag.labels.duplicates import hash_photographs
from hangtag.models.label_space import NO_VALUE, Indices, LabelSpace, Probs

# Refuse splits that share items, pixels or duplicates, and models that learnt from what they are evaluated on.

# From the column to the leak's code and what it is.
KEYS = {
    "item_id": ("leak-item", "the same item"),
    "pixel_hash": ("leak-pixels", "photographs with the same pixels"),
    "group_id": ("leak-group", "duplicates of one photograph"),
}
SHOWN = 5


def check_splits(table: pl.DataFrame) -> None:
    """Check that no item, pixels or group of duplicates is in two splits.

    All splits are looked at, those that are not evaluated too.

    Args:
        table: `item_id`, `pixel_hash`, `group_id` and `split`; rows without a split do not count.

    Raises:
        LeakError: An item, its pixels or its group of duplicates is on two sides.
    """
    used = table.filter(pl.col("split").is_not_null())
    for key, (code, what) in KEYS.items():
        sides = used.group_by(key).agg(pl.col("split").n_unique().alias("sides"))
        leaking = sides.filter(pl.col("sides") > 1)[key].sort()
        if len(leaking):
            raise LeakError(
                f"The splits leak ({code}): {what} on two sides of them, in {len(leaking):,} "
                f"{'case' if len(leaking) == 1 else 'cases'}, so no figure of this evaluation could be trusted.",
                received={key: leaking.head(SHOWN).to_list()},
                hint="Run `hangtag clean` again, which keeps duplicates on one side, then `hangtag train`.",
            )


def check_unseen(classifier: Classifier, labelled: LabeledItems, items: pl.DataFrame, max_distance: int | None) -> None:
    """Check by the hashes of photographs that a model was not trained on the items that it is evaluated on.

    Items of the splits that it learnt from by name do not count: their figures are told as such. Nothing is checked
    where the model does not say what it has seen.

    Args:
        classifier: The model.
        labelled: The catalogue.
        items: Rows of its table: `item_id`, `image_index` and `split`.
        max_distance: How far apart perceptual hashes of one photograph may be; see `read_hash_distance`.

    Raises:
        LeakError: It learnt from one of them.
    """
    train_splits = classifier.description.get("train_splits", ["train"])
    evaluated = items.filter(pl.col("split").is_not_null() & ~pl.col("split").is_in(train_splits))
    if classifier.seen is None or evaluated.is_empty():
        return
    hashes = hash_photographs(labelled.images, evaluated["image_index"].to_numpy().astype(np.int64))
    learnt = classifier.seen.learnt.find(hashes, max_distance)
    if learnt.any():
        leaking = evaluated.filter(pl.Series(learnt))["item_id"].sort()
        raise LeakError(
            f"The model leaks (leak-seen): it, or the weights that it began from, learnt from {len(leaking):,} of the "
            f"{len(evaluated):,} photographs that it is to be evaluated on, so no figure of it could be trusted.",
            received={"item_id": leaking.head(SHOWN).to_list()},
            hint="Train it again, without --weights that have seen them.",
        )


@dataclass(frozen=True)
class EvaluatedItems:
    """Items of one split or of several whose true value on the run's primary level is known.

    Attributes:
        items: Their rows of the catalogue's table, n of them.
        predictions: What the run answers for them.
    """

    items: pl.DataFrame
    predictions: HeadProbs

    @property
    def outputs(self) -> LabelSpace:
        """What the run predicts."""
        return self.predictions.outputs

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes of the primary level."""
        return self.outputs.class_names

    @cached_property
    def classes(self) -> Indices:
        """The true class indices on the primary level, int64 (n,)."""
        return find_classes(self.items[self.outputs.primary], self.class_names)

    @cached_property
    def probs(self) -> Probs:
        """The probabilities on the primary level, float32 (n, classes)."""
        return self.predictions.probs

    @property
    def confidence(self) -> npt.NDArray[np.float64]:
        """The probability of the predicted class on the primary level, float64 (n,)."""
        return np.asarray(self.probs.max(axis=1), np.float64)

    @property
    def correct(self) -> npt.NDArray[np.bool_]:
        """Whether the predicted class on the primary level is the true one, (n,)."""
        return np.asarray(self.probs.argmax(axis=1) == self.classes)

    def by_split(self) -> "dict[str, EvaluatedItems]":
        """Return the items of each split that has some, the splits in the order of the items."""
        splits = self.items["split"]
        parts = {}
        for split in splits.unique(maintain_order=True).to_list():
            rows = np.flatnonzero((splits == split).to_numpy())
            answers = {head: probs[rows] for head, probs in self.predictions.answers.items()}
            parts[split] = EvaluatedItems(self.items[rows], HeadProbs(self.outputs, answers))
        return parts

    def tabulate(self) -> pl.DataFrame:
        """Return a row an item, for the files and the pictures.

        Returns:
            item_id, image_index, split, group_id, label (the true value on the primary level), predicted_label,
            confidence, pred_probs, and predicted_<column> of every other level and attribute.
        """
        names = np.asarray(self.class_names, dtype=object)
        table = self.items.select(
            "item_id", "image_index", "split", "group_id", pl.col(self.outputs.primary).cast(pl.String).alias("label")
        ).with_columns(
            predicted_label=pl.Series(names[self.probs.argmax(axis=1)].tolist(), dtype=pl.String),
            confidence=pl.Series(self.confidence),
            pred_probs=pl.Series(self.probs, dtype=pl.Array(pl.Float32, len(names))),
        )
        return table.hstack(name_other_values(self.predictions))


def find_classes(values: pl.Series, class_names: Sequence[str]) -> Indices:
    """Return the class index of each value, int64 (n,); `NO_VALUE` where it is missing or no class."""
    indices = {name: index for index, name in enumerate(class_names)}
    return np.array([indices.get(value, NO_VALUE) for value in values.cast(pl.String)], np.int64)


def select_items(labelled: LabeledItems, outputs: LabelSpace, splits: Sequence[str]) -> pl.DataFrame:
    """Return the items of the splits, one split after the other, whose value on the primary level is known."""
    items = pl.concat([labelled.of_split(split) for split in splits])
    return items.filter(pl.Series(find_classes(items[outputs.primary], outputs.class_names) != NO_VALUE))
