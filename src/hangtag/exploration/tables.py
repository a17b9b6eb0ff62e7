"""Count the items behind each figure."""

from collections.abc import Sequence

import polars as pl

from hangtag.catalog.missing_cells import find_missing
from hangtag.config import SPLITS

MISSING = "(missing)"


def count_items(count: int) -> str:
    """Write a number of items for people."""
    return "1 item" if count == 1 else f"{count:,} items"


def fill_missing(items: pl.DataFrame, columns: Sequence[str], spellings: Sequence[str]) -> pl.DataFrame:
    """Return the items with the columns as text and `(missing)` in every missing cell."""
    return items.with_columns(
        items[column].cast(pl.String).set(find_missing(items[column], spellings), MISSING) for column in columns
    )


def count_values(items: pl.DataFrame, column: str) -> pl.DataFrame:
    """Count the items of each value: value, count, share (0 to 1), the most frequent first."""
    counts = items.group_by(pl.col(column).alias("value")).agg(pl.len().cast(pl.Int64).alias("count"))
    return counts.with_columns(share=pl.col("count") / pl.col("count").sum()).sort(
        ["count", "value"], descending=[True, False]
    )


def count_paths(items: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """Count the items of each combination of the columns, the columns in order and then count."""
    counts = items.group_by(list(columns)).agg(pl.len().cast(pl.Int64).alias("count"))
    return counts.sort(["count", *columns], descending=[True, *[False] * len(columns)])


def count_splits(labelled: pl.DataFrame) -> pl.DataFrame:
    """Count the items of each label in each split: label, train, val, test, total.

    Items that are in no split are left out.
    """
    within = labelled.filter(pl.col("split").is_not_null())
    counts = within.group_by("label").agg(
        *((pl.col("split") == split).sum().cast(pl.Int64).alias(split) for split in SPLITS),
        pl.len().cast(pl.Int64).alias("total"),
    )
    return counts.sort(["total", "label"], descending=[True, False])


def count_sizes(items: pl.DataFrame) -> pl.DataFrame:
    """Count the photographs of each width, height and mode, as delivered."""
    return count_paths(items, ["image_width", "image_height", "image_mode"])
