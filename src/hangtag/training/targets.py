"""Training targets: the category path and attributes of each item."""

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
    """The classes to learn, item by item.

    Attributes:
        outputs: What the heads of the network stand for.
        classes: For each head the class index of each row of the table of items, int64 (n,); `NO_VALUE` where
            the item has none.
    """

    outputs: LabelSpace
    classes: dict[str, Indices]


def build_targets(labelled: LabeledItems, target: str = ALL) -> Targets:
    """Return the classes of all items of a cleaned catalogue.

    Args:
        labelled: The cleaned catalogue.
        target: `all` learns every level, the label and every attribute; `label`, a level's or an attribute's
            column learns that alone.

    Raises:
        SettingsError: The catalogue has no such column.
    """
    schema, table = labelled.schema, hide_missing(labelled.table, labelled.schema)
    known = table.filter(pl.col("split").is_not_null())
    levels = [level for level in schema.levels if level in table.columns and _list_names(known[level])]
    attributes = [name for name in schema.attributes if _is_named(known[name])]
    if target not in (ALL, LABEL, *levels, *attributes):
        allowed = f"Allowed: {', '.join([ALL, LABEL, *levels, *attributes])}."
        raise SettingsError("The catalogue has no such target.", allowed=allowed, received=target)
    if target != ALL:
        levels, attributes = [target], []
    else:
        levels = [*levels, LABEL]
    names = {column: _list_names(known[column]) for column in [*levels, *attributes]}
    if LABEL in names:
        names[LABEL] = labelled.class_names
    indices = {column: _index(table[column], names[column]) for column in names}
    positions = np.stack([indices[level] for level in levels], axis=1)
    in_split = table["split"].is_not_null().to_numpy()
    has_value = (positions != NO_VALUE).any(axis=1)
    products = np.unique(positions[in_split & has_value], axis=0)
    outputs = LabelSpace(
        {level: names[level] for level in levels},
        tuple(tuple(int(index) for index in product) for product in products),
        {attribute: names[attribute] for attribute in attributes},
        LABEL if LABEL in levels else target,
    )
    by_head = [_find_products(positions, products), *(indices[attribute] for attribute in attributes)]
    return Targets(outputs, dict(zip(outputs.heads, by_head, strict=True)))


def _is_named(values: pl.Series) -> bool:
    """Return whether an attribute has names to learn: two or more of them, and not mere numbers, as a year has."""
    named = _list_names(values)
    return len(named) > 1 and not all(value.replace(".", "", 1).isdecimal() for value in named)


def _list_names(values: pl.Series) -> tuple[str, ...]:
    return tuple(values.cast(pl.String).drop_nulls().unique().sort().to_list())


def _index(values: pl.Series, names: Sequence[str]) -> Indices:
    indices = {name: index for index, name in enumerate(names)}
    return np.array([indices.get(value, NO_VALUE) for value in values.cast(pl.String)], np.int64)


def _find_products(indices: npt.NDArray[np.int64], products: npt.NDArray[np.int64]) -> Indices:
    """Return the row of `products` that equals each row of `indices`."""
    known = {tuple(product): row for row, product in enumerate(products.tolist())}
    return np.array([known.get(tuple(each), NO_VALUE) for each in indices.tolist()], np.int64)


def encode_targets(
    classes: dict[str, Indices], heads: dict[str, int], smoothing: float
) -> dict[str, npt.NDArray[np.float32]]:
    """Return each head's wanted probabilities, float32 (n, classes); a row of zeros, which costs nothing, for no value.

    Args:
        classes: The class indices of each head, int64 (n,).
        heads: The number of classes of each.
        smoothing: The share that is spread evenly over all classes. Source: Szegedy et al., *Rethinking the
            Inception Architecture for Computer Vision*, 2016.
    """
    wanted = {}
    for head, indices in classes.items():
        rows = np.flatnonzero(indices != NO_VALUE)
        probs = np.zeros((len(indices), heads[head]), np.float32)
        probs[rows] = smoothing / heads[head]
        probs[rows, indices[rows]] += 1 - smoothing
        wanted[head] = probs
    return wanted
