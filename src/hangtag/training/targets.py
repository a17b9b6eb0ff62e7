"""Training targets: the category path and the attributes of each item, and their encoding as probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from hangtag.catalog.prepared_items import hide_missing
from hangtag.errors import SettingsError
from hangtag.labels.dataset import LabeledItems
from hangtag.models.label_space import NO_VALUE, Indices, LabelSpace
from hangtag.models.text import Words

ALL = "all"
LABEL = "label"
# The head of the words of the names, which exists in training alone.
NAME_WORDS = "name_words"
# A word is a target if so many names of the training items have it; the most frequent ones if there are more.
LEAST_NAMES, MOST_WORDS = 20, 1500


@dataclass(frozen=True)
class Targets:
    """The classes of all items for every head.

    Attributes:
        label_space: The label space of the network.
        classes: For each head the class index of each row of the table of items, int64 (n,), or `NO_VALUE` if the
            item has no value.
    """

    label_space: LabelSpace
    classes: dict[str, Indices]


def build_targets(labelled: LabeledItems, target: str = ALL) -> Targets:
    """Build the label space of a cleaned catalogue, and find the classes of its items.

    Args:
        labelled: The cleaned catalogue.
        target: `all` for every level, the label and every attribute, or the name of a single one: `label`, or the
            column of a level or an attribute.

    Raises:
        SettingsError: The catalogue has no such column.
    """
    schema, table = labelled.schema, hide_missing(labelled.table, labelled.schema)
    split_items = table.filter(pl.col("split").is_not_null())
    levels = [level for level in schema.levels if level in table.columns and _list_names(split_items[level])]
    attributes = [name for name in schema.attributes if _is_categorical(split_items[name])]
    if target not in (ALL, LABEL, *levels, *attributes):
        allowed = f"Allowed: {', '.join([ALL, LABEL, *levels, *attributes])}."
        raise SettingsError("The catalogue has no such target.", allowed=allowed, received=target)
    if target != ALL:
        levels, attributes = [target], []
    else:
        levels = [*levels, LABEL]
    names = {column: _list_names(split_items[column]) for column in [*levels, *attributes]}
    if LABEL in names:
        names[LABEL] = labelled.class_names
    indices = {column: _find_indices(table[column], names[column]) for column in names}
    item_paths = np.stack([indices[level] for level in levels], axis=1)
    in_split = table["split"].is_not_null().to_numpy()
    has_value = (item_paths != NO_VALUE).any(axis=1)
    category_paths = np.unique(item_paths[in_split & has_value], axis=0)
    label_space = LabelSpace(
        {level: names[level] for level in levels},
        tuple(tuple(int(index) for index in path) for path in category_paths),
        {attribute: names[attribute] for attribute in attributes},
        LABEL if LABEL in levels else target,
    )
    by_head = [_find_category_paths(item_paths, category_paths), *(indices[attribute] for attribute in attributes)]
    return Targets(label_space, dict(zip(label_space.heads, by_head, strict=True)))


def _is_categorical(values: pl.Series) -> bool:
    """Return whether an attribute has at least two different values, and not only numbers, such as years."""
    names = _list_names(values)
    return len(names) > 1 and not all(name.replace(".", "", 1).isdecimal() for name in names)


def _list_names(values: pl.Series) -> tuple[str, ...]:
    return tuple(values.cast(pl.String).drop_nulls().unique().sort().to_list())


def _find_indices(values: pl.Series, names: Sequence[str]) -> Indices:
    """Return the index of each value in `names`, or `NO_VALUE` if it is missing there."""
    indices = {name: index for index, name in enumerate(names)}
    return np.array([indices.get(value, NO_VALUE) for value in values.cast(pl.String)], np.int64)


def _find_category_paths(item_paths: npt.NDArray[np.int64], category_paths: npt.NDArray[np.int64]) -> Indices:
    """Return the row of `category_paths` that equals each row of `item_paths`, or `NO_VALUE` if there is none."""
    rows = {tuple(path): row for row, path in enumerate(category_paths.tolist())}
    # Each distinct path once: lists of all items' paths would fill the memory.
    distinct, positions = np.unique(item_paths, axis=0, return_inverse=True)
    found = np.array([rows.get(tuple(path), NO_VALUE) for path in distinct.tolist()], np.int64)
    return np.asarray(found[positions.ravel()], np.int64)


def encode_targets(
    classes: dict[str, Indices], heads: dict[str, int], smoothing: float
) -> dict[str, npt.NDArray[np.float32]]:
    """Return the one-hot targets of each head with label smoothing, float32 (n, classes).

    The row of an item without a value is zero, so that it adds nothing to the cross-entropy.

    Args:
        classes: The class indices of each head, int64 (n,).
        heads: The number of classes of each head.
        smoothing: The share of label smoothing, which is distributed evenly over all classes. Source: Szegedy et al.,
            *Rethinking the Inception Architecture for Computer Vision*, 2016.
    """
    targets = {}
    for head, indices in classes.items():
        rows = np.flatnonzero(indices != NO_VALUE)
        probs = np.zeros((len(indices), heads[head]), np.float32)
        probs[rows] = smoothing / heads[head]
        probs[rows, indices[rows]] += 1 - smoothing
        targets[head] = probs
    return targets


@dataclass(frozen=True)
class WordTargets:
    """The words of product names as further targets: a photograph is to predict the words of its product's name.

    They say more of a photograph than its category does: patterns, collars, brands, colours. Source: Joulin et al.,
    *Learning Visual Features from Large Weakly Supervised Data*, 2016.

    Attributes:
        columns: The target of each word of the vocabulary, int64 (words + 1,); -1 for a word that is none.
    """

    columns: Indices

    @classmethod
    def choose(cls, words: Words | None) -> "WordTargets":
        """Choose the words of encoded training names, (n, MAX_WORDS); None has none."""
        counts = np.bincount(words[words > 0] if words is not None else [], minlength=1)
        frequent = np.argsort(-counts, kind="stable")[:MOST_WORDS]
        chosen = np.sort(frequent[counts[frequent] >= LEAST_NAMES])
        columns = np.full(len(counts), -1, np.int64)
        columns[chosen] = np.arange(len(chosen))
        return cls(columns)

    def __len__(self) -> int:
        """Return the number of words that are targets."""
        return int(self.columns.max(initial=-1)) + 1

    def encode(self, words: Words) -> npt.NDArray[np.float32]:
        """Return the targets of encoded names, float32 (n, targets).

        The words of a name have equal shares of 1; a name without such a word has a row of zeros, which adds no loss.
        """
        rows, places = np.nonzero(words)
        indices = words[rows, places]
        # A word of val alone is not in the counts of the training names.
        columns = np.where(indices < len(self.columns), self.columns[np.minimum(indices, len(self.columns) - 1)], -1)
        targets = np.zeros((len(words), len(self)), np.float32)
        targets[rows[columns >= 0], columns[columns >= 0]] = 1
        return np.asarray(targets / np.maximum(targets.sum(axis=1, keepdims=True), 1), np.float32)
