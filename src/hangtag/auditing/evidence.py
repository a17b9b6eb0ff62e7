"""Out-of-sample probabilities, from which label issues are found, and their computation from product names."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from hangtag.auditing.issues import NotApplicableError
from hangtag.catalog.prepared_items import read_categories
from hangtag.console import show_progress
from hangtag.inference.classifier import Classifier
from hangtag.inference.runs import KnownProbs
from hangtag.labels.dataset import LabeledItems
from hangtag.labels.image_hashes import Keys, Mask, PhotographHashes
from hangtag.labels.name_classifier import NameClassifier
from hangtag.labels.splits import assign_folds
from hangtag.models.label_space import NO_VALUE, Indices, LabelSpace, Probs

# A class with fewer items is hardly in any fold's training data, so its labels are not checked.
MIN_CLASS_ITEMS = 10
FOLDS = 5
MIN_ITEMS = 50
# Epochs over the names: four reach nearly the accuracy of two dozen (.990 against .992).
PASSES = 4
# More names than this share of all, predicted since the last cross-validation, need another one.
MOST_LATE = 0.05
# More words improve the accuracy little.
MAX_WORDS = 50_000
# Why the category of an item cannot be judged, the first reason that holds.
NOT_JUDGED = NO_CATEGORY, UNKNOWN_CATEGORY, UNLIKE, TRAINED_ON, FEW_PRODUCTS, NOT_COMPARED = (
    "no_category",
    "category_unknown",
    "photograph_unlike",
    "trained_on",
    "few_products",
    "not_compared",
)
# How it is known which items a model was trained on.
PHOTOGRAPHS, PHOTOGRAPHS_IN_PART, SPLITS, UNKNOWN = "photographs", "photographs, not all", "splits", "unknown"


@dataclass(frozen=True)
class OutOfSampleProbs:
    """Out-of-sample probabilities of some of a catalogue's items.

    Attributes:
        rows: Which items, as rows of the table of items, int64 (n,).
        label_space: The classes of the columns, by the catalogue's own names.
        given: The category path that each item's labels make, int64 (n,); `NO_VALUE` where it is none of them.
        pred_probs: Probabilities of the category paths, float32 (n, paths).
        attributes: Probabilities of each attribute's classes, float32 (n, classes).
        source: The model they come from, for messages.
        reads_names: Whether the model reads names besides photographs.
        ood_scores: The out-of-distribution score of every photograph of the catalogue, in the order of
            `AuditContext.owners`; above 1 is out of distribution. float32 (photographs,), or None.
        min_class_items: Labels of classes with fewer items are not checked.
        summary: More entries for the summary, JSON values.
        tables: Tables to be written beside the issues, by the names of their files.
        other_rows: Items without a category path, or of one that is not among the classes, likewise, int64 (m,).
        other_probs: Their probabilities of the category paths, float32 (m, paths).
        known_probs: What was predicted of all photographs or names, for the next audit; or None.
        left_out: Why items have no probabilities, of `NOT_JUDGED`: which items of the catalogue, bool (items,).
    """

    rows: Indices
    label_space: LabelSpace
    given: Indices
    pred_probs: Probs
    attributes: Mapping[str, Probs] = field(default_factory=dict)
    source: str = ""
    reads_names: bool = False
    ood_scores: npt.NDArray[np.float32] | None = None
    min_class_items: int = MIN_CLASS_ITEMS
    summary: Mapping[str, object] = field(default_factory=dict)
    tables: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    other_rows: Indices = field(default_factory=lambda: np.empty(0, np.int64))
    other_probs: Probs = field(default_factory=lambda: np.empty((0, 0), np.float32))
    known_probs: KnownProbs | None = None
    left_out: Mapping[str, Mask] = field(default_factory=dict)

    def list_given(self, level: str) -> Indices:
        """Return each item's given class on a level, int64 (n,), `NO_VALUE` where it has none."""
        classes = np.append(self.label_space.list_classes(level), NO_VALUE)
        return np.asarray(classes[self.given], np.int64)

    def read_level(self, level: str) -> Probs:
        """Return the probabilities of a level's classes, float32 (n, classes)."""
        return self.label_space.sum_level(self.pred_probs, level)


def find_category_paths(items: pl.DataFrame, label_space: LabelSpace, missing: Sequence[str]) -> Indices:
    """Return the category path that each item's labels make, int64 (n,); `NO_VALUE` where they make none.

    Args:
        items: The table of items, with a column for every level.
        label_space: The category paths.
        missing: The spellings of a missing value.
    """
    levels = list(label_space.levels)
    names = {level: [*label_space.levels[level], None] for level in levels}
    known = pl.DataFrame(
        {
            level: [names[level][path[index]] for path in label_space.category_paths]
            for index, level in enumerate(levels)
        },
        schema=dict.fromkeys(levels, pl.String),
    ).with_row_index("category_path")
    own = items.select(read_values(level, missing) for level in levels)
    found = own.join(known, on=levels, how="left", nulls_equal=True, maintain_order="left")
    return np.array(found["category_path"].cast(pl.Int64).fill_null(NO_VALUE))


def read_values(column: str, missing: Sequence[str]) -> pl.Expr:
    """Return a column as text without white space at the ends, with null for every spelling of a missing value."""
    spellings = tuple(missing)
    return pl.col(column).cast(pl.String).map_batches(lambda values: read_categories(values, spellings), pl.String)


@dataclass(frozen=True)
class TrainingItems:
    """The items of a catalogue that a model was trained on; its probabilities for all others are out-of-sample.

    Attributes:
        mask: Which items it was trained on, bool (items,).
        known_by: How that is known: by the hashes of all its training photographs, by those of some (its pretrained
            weights do not say what they were trained on), by the splits of the same labels, or not at all.
    """

    mask: Mask
    known_by: str

    def describe(self, usable: Mask) -> dict[str, Any]:
        """Return the entries for the audit's summary: how many usable items were left out, and how they are known."""
        return {"items_trained_on": int((self.mask & usable).sum()), "training_items_known_by": self.known_by}


def find_training_items(
    classifier: Classifier, labelled: LabeledItems, items: pl.DataFrame, hashes: PhotographHashes
) -> TrainingItems:
    """Find the items that a model was trained on, by the hashes of photographs that it carries.

    The training splits count too if the labels are the same as in its training. Of an item's other photographs only
    equal pixels count: with several photographs an item, chance resemblances would leave out many.

    Args:
        classifier: The model.
        labelled: The catalogue.
        items: The table of all its items, with `split`.
        hashes: The hashes of the first photograph of each, then of the others.
    """
    mask, known_by = np.zeros(len(items), np.bool_), UNKNOWN
    if classifier.description.get("labels_digest") == labelled.digest:
        train_splits = classifier.description.get("train_splits", ["train"])
        mask, known_by = items["split"].is_in(train_splits).fill_null(value=False).to_numpy(), SPLITS
    if classifier.seen is not None:
        known_by = PHOTOGRAPHS if classifier.seen.is_complete else PHOTOGRAPHS_IN_PART
        count = len(items)
        first = PhotographHashes(hashes.perceptual[:count], hashes.pixels[:count])
        mask = mask | classifier.seen.trained_on.find(first)
        _, owners = labelled.others.find(items["item_id"])
        mask[owners[classifier.seen.trained_on.find(hashes, None)[count:]]] = True
    return TrainingItems(mask, known_by)


def predict_from_names(
    names: pl.Series,
    given: Indices,
    label_space: LabelSpace,
    labels: Sequence[str],
    group_ids: Sequence[str],
    *,
    with_others: bool = False,
    keys: Keys | None = None,
    known: KnownProbs | None = None,
) -> OutOfSampleProbs:
    """Predict each item's category path from its name, by cross-validation with duplicates in one fold.

    One logistic regression for each category path, on TF-IDF weights of the words. Items without a name, and names
    without a word that other items have, are left out. Those without a category path are predicted by all others.

    Where an earlier audit predicted nearly all of the same names, only the others are predicted, by all items that are
    no duplicates of theirs.

    Args:
        names: The names of all items, null where there is none.
        given: The category path of each item's labels, `NO_VALUE` where there is none; such items are left out.
        label_space: The category paths.
        labels: The labels that the folds are stratified by.
        group_ids: The group of duplicates of each item.
        with_others: Whether to predict the items without a category path too.
        keys: A hash of each item's id, name and category path, uint64 (items,); see `hash_named`.
        known: What an earlier audit predicted, by these hashes.

    Raises:
        NotApplicableError: There are too few names to train on.
    """
    usable = (given != NO_VALUE) & names.is_not_null().to_numpy()
    rows = np.flatnonzero(usable)
    if len(rows) < MIN_ITEMS or len(np.unique(given[rows])) < 2:
        raise NotApplicableError(f"Too few items have a name and a label: {len(rows)}, and {MIN_ITEMS} are needed.")
    texts, classes = names.gather(rows).to_list(), given[rows]
    by_label, by_group = ([values[row] for row in rows.tolist()] for values in (labels, group_ids))
    num_paths = len(label_space.category_paths)
    own_keys = np.empty(0, np.uint64) if keys is None else keys[rows]
    found = _predict_late(texts, classes, by_group, own_keys, known, name_paths(label_space))
    if found is None:
        folds = np.asarray(assign_folds(by_label, by_group, FOLDS, 0), np.int64)
        probs, late = np.zeros((len(rows), num_paths), np.float32), np.zeros(len(rows), np.float32)
        with show_progress("Reading names", FOLDS, "folds") as bar:
            for fold in range(FOLDS):
                probs[folds == fold] = _predict_fold(texts, classes, folds == fold, num_paths)
                bar.advance()
    else:
        probs, late = found
    others, other_probs = np.empty(0, np.int64), np.empty((0, probs.shape[1]), np.float32)
    if with_others:
        others = np.flatnonzero((given == NO_VALUE) & names.is_not_null().to_numpy())
        is_other = np.arange(len(rows) + len(others)) >= len(rows)
        other_probs = _predict_fold(
            [*texts, *names.gather(others)], np.concatenate([classes, given[others]]), is_other, probs.shape[1]
        )
        has_known_words = other_probs.sum(axis=1) > 0
        others, other_probs = others[has_known_words], other_probs[has_known_words]
    has_words = probs.sum(axis=1) > 0
    return OutOfSampleProbs(
        rows[has_words],
        label_space,
        classes[has_words],
        probs[has_words],
        source="names of other items",
        reads_names=True,
        other_rows=others,
        other_probs=other_probs,
        known_probs=KnownProbs(own_keys, probs, late, np.array(name_paths(label_space))) if len(own_keys) else None,
    )


def name_paths(label_space: LabelSpace) -> list[str]:
    """Return a text for each category path: its values, with their levels."""
    return [
        json.dumps(
            {level: names[index] for (level, names), index in zip(levels, path, strict=True) if index != NO_VALUE}
        )
        for levels in [list(label_space.levels.items())]
        for path in label_space.category_paths
    ]


def hash_named(item_ids: Sequence[str], names: pl.Series, given: Indices, label_space: LabelSpace) -> Keys:
    """Return a hash of each item's id, name and category path, uint64 (items,)."""
    paths = [*name_paths(label_space), ""]
    texts = ("\0".join(map(str, (*line[:2], paths[line[2]]))) for line in zip(item_ids, names, given, strict=True))
    digests = b"".join(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest() for text in texts)
    return np.frombuffer(digests, np.uint64)


def _predict_late(
    texts: list[str], classes: Indices, groups: Sequence[str], keys: Keys, known: KnownProbs | None, paths: list[str]
) -> tuple[Probs, npt.NDArray[np.float32]] | None:
    """Predict only the names that are not known, if these and those of earlier audits are few; else return None.

    Returns:
        The probabilities, float32 (n, paths), and 1 for each name that was predicted since the last cross-validation,
        else 0, float32 (n,).
    """
    if known is None or len(keys) != len(texts) or known.probs.shape[1:] != known.paths.shape:
        return None
    places = known.find(keys)
    is_new = places == -1
    late = np.where(is_new, np.float32(1), known.scores[places]).astype(np.float32)
    if late.sum() > MOST_LATE * len(texts):
        return None
    columns = {path: column for column, path in enumerate(known.paths.tolist())}
    own = np.array([columns.get(path, -1) for path in paths])
    # A category that is new has no item among the known ones.
    probs = np.where(own >= 0, known.probs[places][:, own], np.float32(0))
    if is_new.any():
        new_groups = {group for group, new in zip(groups, is_new.tolist(), strict=True) if new}
        is_apart = np.array([group not in new_groups for group in groups])
        used = np.flatnonzero(is_apart | is_new)
        with show_progress("Reading new names", None, "names"):
            probs[is_new] = _predict_fold(
                [texts[row] for row in used.tolist()], classes[used], is_new[used], len(paths)
            )
    return probs, late


def _predict_fold(texts: list[str], classes: Indices, left_out: npt.NDArray[np.bool_], num_paths: int) -> Probs:
    """Return the probabilities of the left-out names, float32 (n, paths); zeros where no word is known."""
    train = [text for text, is_out in zip(texts, left_out, strict=True) if not is_out]
    held_out = [text for text, is_out in zip(texts, left_out, strict=True) if is_out]
    probs = np.zeros((len(held_out), num_paths), np.float32)
    present = np.unique(classes[~left_out])
    if not held_out or len(present) < 2:
        return probs
    classifier = NameClassifier(PASSES, max_words=MAX_WORDS).fit(train, classes[~left_out])
    probs[:, classifier.classes_] = classifier.predict_proba(held_out)
    return probs
