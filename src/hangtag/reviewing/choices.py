"""What a reviewer can choose for an item: values that the catalogue has, so that levels never contradict each other."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from hangtag.reviewing.items import Items


@dataclass(frozen=True)
class Choice:
    """Values that go together.

    Attributes:
        values: A value for every level, or one for an attribute, by column.
        count: How many items of the catalogue have them.
    """

    values: dict[str, str]
    count: int


class Choices:
    """The values of a catalogue's columns, the commonest first.

    Args:
        items: The catalogue.
    """

    def __init__(self, items: Items) -> None:
        self._items = items
        self.list = lru_cache(maxsize=None)(self._count)
        self._known = lru_cache(maxsize=None)(self._list_known)

    def has(self, column: str, values: Mapping[str, str]) -> bool:
        """Return whether values are one of the choices for a column."""
        return frozenset(values.items()) in self._known(column)

    def find_columns(self, column: str) -> tuple[str, ...]:
        """Give the columns that are chosen together: all levels, or one attribute; all levels for no column."""
        schema = self._items.schema
        return (column,) if column in schema.attributes else schema.levels

    def _list_known(self, column: str) -> set[frozenset[tuple[str, str]]]:
        return {frozenset(choice.values.items()) for choice in self.list(column)}

    def _count(self, column: str) -> list[Choice]:
        columns = self.find_columns(column)
        rows = zip(*(self._items.columns[name] for name in columns), strict=True)
        counted = Counter(row for row in rows if not any(map(self._items.schema.is_missing, row)))
        return [Choice(dict(zip(columns, row, strict=True)), count) for row, count in counted.most_common()]
