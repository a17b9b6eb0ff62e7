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

ALL = "all"
LABEL = "label"


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
    return np.array([rows.get(tuple(path), NO_VALUE) for path in item_paths.tolist()], np.int64)


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
