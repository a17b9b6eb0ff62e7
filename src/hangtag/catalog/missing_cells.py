"""Missing cells of a whole table: find, hide and count them. What a catalogue delivered stays as it is on disk."""

from collections.abc import Iterable, Sequence

import polars as pl

from hangtag.catalog.missing import is_missing
from hangtag.catalog.schema import CatalogSchema


def find_missing(values: pl.Series, spellings: Iterable[str]) -> pl.Series:
    """Return which cells of a column are missing, boolean (n,), by `is_missing`."""
    wanted = tuple(spellings)
    texts = values.cast(pl.String)
    # Asked once a value: a million cells have a few dozen.
    found = [value for value in texts.drop_nulls().unique() if is_missing(value, wanted)]
    return texts.is_null() | texts.is_in(found).fill_null(value=True)


def hide_missing(items: pl.DataFrame, schema: CatalogSchema) -> pl.DataFrame:
    """Return a table with null for every missing cell of the columns that describe an item.

    These are the levels, the attributes and the name, as far as the table has them; all others stay as they are.
    """
    columns = [column for column in schema.described_columns if column in items.columns]
    return items.with_columns(hide_values(items[column], schema.missing) for column in columns)


def hide_values(values: pl.Series, spellings: Iterable[str]) -> pl.Series:
    """Return a column with null for every missing cell."""
    return values.set(find_missing(values, spellings), None)


def count_missing(items: pl.DataFrame, schema: CatalogSchema) -> dict[str, int]:
    """Return the number of missing cells of each level, attribute and name that has some."""
    columns: Sequence[str] = [column for column in schema.described_columns if column in items.columns]
    counts = {column: int(find_missing(items[column], schema.missing).sum()) for column in columns}
    return {column: count for column, count in counts.items() if count}
