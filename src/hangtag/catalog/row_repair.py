"""Repair rows with too many or too few cells where there is one way to, judged by the values of the other rows."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise

from hangtag.catalog.csv_records import count_filled
from hangtag.catalog.missing_values import is_missing

# A column with so few different values for its rows holds categories: another value is not believed.
MAX_DISTINCT_SHARE = 0.5
# A column whose values have so few forms holds codes, as ids, sizes or addresses.
MAX_FORMS = 3
# Rows with more surplus cells are not repaired: there are too many ways.
MAX_SURPLUS, MAX_WORK = 30, 3_000
# Each column is a call in the search.
MAX_COLUMNS = 400
_DIGITS, _LETTERS = re.compile(r"\d+"), re.compile(r"[^\W\d_]+")


def find_form(value: str) -> str:
    """Return the form of a value: each run of digits as `9`, each run of letters as `a`, all else as it is."""
    return _LETTERS.sub("a", _DIGITS.sub("9", value.strip()))


class ColumnValues:
    """The values that a column has in rows that are not in doubt.

    A column of categories has many rows for each value, and takes these values and missing ones alone. A column of
    codes has values of a few forms, and takes these forms. Any other column takes every value, but none that begins
    with a space where no value does: what follows a comma inside a text does. A column without values takes everything.

    Args:
        values: The column.
    """

    def __init__(self, values: Sequence[str]) -> None:
        distinct = set(values)
        self._categories: set[str] | None = None
        self._forms: set[str] | None = None
        self._may_begin_with_space = not values or any(value[:1].isspace() for value in distinct)
        if not values:
            return
        if len(distinct) <= len(values) * MAX_DISTINCT_SHARE:
            self._categories = distinct
            return
        forms: set[str] = set()
        for value in distinct:
            forms.add(find_form(value))
            if len(forms) > MAX_FORMS:
                return
        # What has spaces is text, however few forms a small table has of it.
        if not any(" " in form for form in forms):
            self._forms = forms

    @property
    def is_strict(self) -> bool:
        """Whether the column takes some values, or values of some forms, alone."""
        return self._categories is not None or self._forms is not None

    def find_strangers(self) -> set[str]:
        """Return values of a column of categories that begin with a space, as what follows a separator in a text.

        Values that are another one but for the space are left out.
        """
        if self._categories is None:
            return set()
        spaced = {value for value in self._categories if value[:1].isspace()}
        return {value for value in spaced if value.strip() not in self._categories}

    def fits(self, value: str) -> bool:
        """Return whether a value may be the column's."""
        if self._categories is not None:
            return value in self._categories or is_missing(value)
        if self._forms is not None:
            return find_form(value) in self._forms
        return self._may_begin_with_space or not value[:1].isspace()


def align_cells(cells: Sequence[str], columns: Sequence[ColumnValues], separator: str) -> list[int] | None:
    """Find the one way to spread a row's surplus cells over the columns; None where there is none, or several.

    A column takes one cell or several, whose separators nobody quoted. Surplus cells at the end that are empty belong
    to no column.

    Args:
        cells: More cells than columns.
        columns: The values of each column.
        separator: What stands between the cells.

    Returns:
        How many cells each column takes.
    """
    num_filled = count_filled(cells)
    if num_filled <= len(columns) and all(column.fits(cell) for column, cell in zip(columns, cells, strict=False)):
        return [1] * len(columns)
    surplus = len(cells) - len(columns)
    if surplus > MAX_SURPLUS or surplus * len(columns) > MAX_WORK or len(columns) > MAX_COLUMNS:
        return None

    @cache
    def find_ways(column: int, first: int) -> tuple[tuple[int, ...], ...]:
        """Return up to two ways to spread the cells from `first` over the columns from `column`."""
        if column == len(columns):
            return ((),) if first >= num_filled else ()
        ways: list[tuple[int, ...]] = []
        most = len(cells) - first - (len(columns) - column - 1)
        for taken in range(1, most + 1):
            if taken > 1 and first + taken > num_filled:
                break
            if columns[column].fits(separator.join(cells[first : first + taken])):
                ways += [(taken, *rest) for rest in find_ways(column + 1, first + taken)]
                if len(ways) > 1:
                    return tuple(ways[:2])
        return tuple(ways)

    ways = find_ways(0, 0)
    return list(ways[0]) if len(ways) == 1 else None


def find_shifted(columns: Sequence[Sequence[str]]) -> Iterator[tuple[int, int]]:
    """Yield cells of categories that look as if a separator that nobody quoted came before them: (row, column).

    No other row has the value, while the next cell has a category of this column that its own column has nowhere else.
    The row has as many cells as the others, as where an empty cell at its end is missing.
    """
    for index, (values, others) in enumerate(pairwise(columns)):
        counts = Counter(values)
        if len(counts) > len(values) * MAX_DISTINCT_SHARE or 1 not in counts.values():
            continue
        of_next = Counter(others)
        for row, (value, following) in enumerate(zip(values, others, strict=True)):
            is_alone = counts[value] == 1 and counts[following] > 1 and of_next[following] == 1
            if is_alone and not is_missing(value) and not is_missing(following) and _LETTERS.search(following):
                yield row, index
