"""The label space: category paths over all label levels, attributes, and the heads that predict them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from hangtag.errors import ModelError

CATEGORY_PATH = "category_path"
# The class index of an item that has no value.
NO_VALUE = -1
Probs = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class LabelSpace:
    """The classes of a network's heads.

    The classes of the head `category_path` are the combinations of level values that occur in the catalogue, such as
    Apparel > Topwear > Shirts. The probability of a level's class is the sum over the category paths that contain it,
    so the levels cannot contradict each other.

    Attributes:
        levels: The class names of each level by its column, from the most general level to the label.
        category_paths: For each category path the class index on each level, or `NO_VALUE` if it has no value there.
        attributes: The class names of each attribute by its column.
        primary: The level that metrics are reported for: `label`, unless the model was trained on one other column.
    """

    levels: Mapping[str, tuple[str, ...]]
    category_paths: tuple[tuple[int, ...], ...]
    attributes: Mapping[str, tuple[str, ...]]
    primary: str

    @classmethod
    def of_classes(cls, class_names: tuple[str, ...], level: str = "label") -> "LabelSpace":
        """Return the label space of the classes of one level."""
        return cls({level: class_names}, tuple((index,) for index in range(len(class_names))), {}, level)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes of the primary level."""
        return self.levels[self.primary]

    @property
    def heads(self) -> dict[str, int]:
        """The number of classes of each head: `category_path`, then `attribute_0`, `attribute_1` and so on."""
        sizes = [len(names) for names in self.attributes.values()]
        return {CATEGORY_PATH: len(self.category_paths)} | {
            f"attribute_{index}": size for index, size in enumerate(sizes)
        }

    def list_classes(self, level: str) -> Indices:
        """Return the class index of each category path on a level, int64 (paths,), or `NO_VALUE` if it has none."""
        return self._classes[level]

    @cached_property
    def _classes(self) -> dict[str, Indices]:
        table = np.array(self.category_paths, np.int64).reshape(-1, len(self.levels))
        return dict(zip(self.levels, table.T, strict=True))

    @cached_property
    def _members(self) -> dict[str, tuple[Indices, Indices, Indices]]:
        """For each level: the category paths sorted by class, the start of each class in them, and its index."""
        members = {}
        for level, classes in self._classes.items():
            order = np.argsort(classes, kind="stable")
            order = order[classes[order] != NO_VALUE].astype(np.int64)
            present, starts = np.unique(classes[order], return_index=True)
            members[level] = (order, starts.astype(np.int64), present)
        return members

    def sum_level(self, path_probs: Probs, level: str) -> Probs:
        """Compute the probabilities of a level's classes, float32 (n, classes).

        A row may add up to less than 1 if some category paths have no value on the level.

        Args:
            path_probs: The probabilities of the category paths, (n, paths).
            level: The level.
        """
        order, starts, present = self._members[level]
        sums = np.zeros((len(path_probs), len(self.levels[level])), np.float32)
        if len(order):
            # No matrix product, because its threads would compete with those of the inference engine.
            sums[:, present] = np.add.reduceat(path_probs[:, order], starts, axis=1)
        return sums

    def find_head(self, column: str) -> str:
        """Return the head that predicts a level or an attribute."""
        return CATEGORY_PATH if column in self.levels else list(self.heads)[1 + list(self.attributes).index(column)]

    def find_members(self, column: str, names: Sequence[str | None]) -> npt.NDArray[np.bool_]:
        """Return which classes of the head belong to each class of a level or an attribute, bool (n, classes).

        Args:
            column: The level or the attribute.
            names: The class names, (n,). A row for None is False everywhere.

        Raises:
            ModelError: There is no such class.
        """
        known = self.levels.get(column) or self.attributes[column]
        if unknown := set(names).difference((*known, None)):
            raise ModelError(
                f"The model knows no such class of {column}.", allowed=f"Allowed: {', '.join(known)}.", received=unknown
            )
        indices = np.array([NO_VALUE - 1 if name is None else known.index(name) for name in names], np.int64)
        classes = self.list_classes(column) if column in self.levels else np.arange(len(known))
        return np.asarray(indices[:, None] == classes)

    def choose_category_paths(self, path_probs: Probs) -> Indices:
        """Choose the predicted category path of each item, int64 (n,).

        The class of the primary level is the one with the highest probability. Among the category paths of this class,
        the one with the highest sum of its levels' class probabilities is chosen. This sum is the expected number of
        correct levels.

        Args:
            path_probs: The probabilities of the category paths, (n, paths).
        """
        expected = np.zeros_like(path_probs)
        for level in self.levels:
            classes = self.list_classes(level)
            probs = self.sum_level(path_probs, level)
            has_value = classes != NO_VALUE
            expected[:, has_value] += probs[:, classes[has_value]]
        primary = self.list_classes(self.primary)
        chosen = self.sum_level(path_probs, self.primary).argmax(axis=1)
        return np.asarray(np.where(primary == chosen[:, None], expected, -1).argmax(axis=1), np.int64)

    def to_json(self) -> dict[str, Any]:
        """Return the label space as JSON values, for `from_json`."""
        return {
            "levels": {level: list(names) for level, names in self.levels.items()},
            "category_paths": [list(path) for path in self.category_paths],
            "attributes": {attribute: list(names) for attribute, names in self.attributes.items()},
            "primary": self.primary,
        }

    @classmethod
    def from_json(cls, described: Mapping[str, Any]) -> "LabelSpace":
        """Build a label space from the values that `to_json` returns.

        Raises:
            KeyError, TypeError, ValueError: An entry is missing, of the wrong type, or does not fit the others.
        """
        levels = {level: _read_names(names) for level, names in described["levels"].items()}
        attributes = {attribute: _read_names(names) for attribute, names in described["attributes"].items()}
        sizes = [len(names) for names in levels.values()]
        category_paths = tuple(tuple(path) for path in described["category_paths"])
        for path in category_paths:
            is_known = len(path) == len(sizes) and all(
                type(index) is int and NO_VALUE <= index < size for index, size in zip(path, sizes, strict=True)
            )
            if not is_known:
                raise ValueError(f"no such category path: {path}")
        if described["primary"] not in levels or not category_paths:
            raise ValueError(f"no such level: {described['primary']}")
        return cls(levels, category_paths, attributes, described["primary"])


def _read_names(names: Any) -> tuple[str, ...]:
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"no class names: {names}")
    return tuple(names)
