"""Missing cells of a whole table: find, hide and count them. What a catalogue delivered stays as it is on disk."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from hangtag.catalog.schema import CatalogSchema

# What counts as a missing cell: one rule that every stage, from the reader to the report, goes by.

# The label of an item that has none. As a cell it says no more than an empty one.
UNKNOWN = "Unknown"
# Missing whatever a catalogue's description says.
ALWAYS = ("", UNKNOWN)
# What else is, unless the description says otherwise: what spreadsheets and programs write. No word that people use
# for a thing is among them: `None`, `Other` and `-` are values until a description calls them missing.
SPELLINGS = ("", "NA", "N/A", "#N/A", "NaN", "null")
# Unicode's white space, and what has no width at all.
BLANK = "".join(filter(str.isspace, map(chr, range(0x3001)))) + "\u200b\u200c\u200d\u2060\ufeff"


def is_missing(value: str | None, spellings: Iterable[str] = SPELLINGS) -> bool:
    """Return whether a cell counts as missing.

    That is a cell that is empty, is `Unknown`, or is one of the spellings, whatever its case and the white space around
    it.

    Args:
        value: The cell's text, or None.
        spellings: Those that the catalogue's description names beside these two.
    """
    return value is None or _fold(value) in _fold_all(tuple(spellings))


@lru_cache(maxsize=64)
def _fold_all(spellings: tuple[str, ...]) -> frozenset[str]:
    return frozenset(map(_fold, (*ALWAYS, *spellings)))


def _fold(value: str) -> str:
    return value.strip(BLANK).casefold()


def find_missing(values: pl.Series, spellings: Iterable[str]) -> pl.Series:
    """Return which cells of a column are missing, boolean (n,), by `is_missing`."""
    wanted = tuple(spellings)
    texts = values.cast(pl.String)
    # Asked once a value: a million cells have a few dozen.
    found = [value for value in texts.drop_nulls().unique() if is_missing(value, wanted)]
    return texts.is_null() | texts.is_in(found).fill_null(value=True)


def hide_missing(items: pl.DataFrame, schema: "CatalogSchema") -> pl.DataFrame:
    """Return a table with null for every missing cell of the columns that describe an item.

    These are the levels, the attributes and the name, as far as the table has them; all others stay as they are.
    """
    columns = [column for column in schema.described_columns if column in items.columns]
    return items.with_columns(hide_values(items[column], schema.missing) for column in columns)


def hide_values(values: pl.Series, spellings: Iterable[str]) -> pl.Series:
    """Return a column with null for every missing cell."""
    return values.set(find_missing(values, spellings), None)


def count_missing(items: pl.DataFrame, schema: "CatalogSchema") -> dict[str, int]:
    """Return the number of missing cells of each level, attribute and name that has some."""
    columns: Sequence[str] = [column for column in schema.described_columns if column in items.columns]
    counts = {column: int(find_missing(items[column], schema.missing).sum()) for column in columns}
    return {column: count for column, count in counts.items() if count}
