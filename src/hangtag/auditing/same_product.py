"""Find products that are sold under several ids: one photograph, one name, one category."""

import re
from collections.abc import Sequence

import numpy as np
import polars as pl

from hangtag.auditing.issues import INFO, SAME_PRODUCT, build_issues
from hangtag.auditing.subject import Subject
from hangtag.labels.duplicates import Indices

# Nothing need be wrong: below every doubted label.
SCORE = 0.4
SIGN = re.compile(r"[\W_]+")


def find_same_products(subject: Subject) -> pl.DataFrame:
    """Give the issues of the code `same_product`, one for every id of such a product."""
    numbers = number_same_products(subject)
    lines = []
    for members in list_groups(numbers):
        ids = [subject.item_ids[row] for row in members]
        for row in members:
            others = name_others(ids, subject.item_ids[row])
            lines.append(
                {
                    "item_id": subject.item_ids[row],
                    "score": SCORE,
                    "reason": f"The same photograph, name and category as {others}.",
                    "group_id": subject.group_ids[row],
                }
            )
    return build_issues(lines, SAME_PRODUCT, INFO)


def number_same_products(subject: Subject) -> Indices:
    """Give the number of each item's product, int64 (n,); -1 for items that are sold under one id alone."""
    names = subject.read_names()
    count = len(subject.items)
    if names is None:
        return np.full(count, -1, np.int64)
    keys = pl.DataFrame(
        {
            "group": subject.duplicates.groups,
            "name": pl.Series([SIGN.sub(" ", name or "").casefold().strip() for name in names], dtype=pl.String),
            **{f"level_{place}": subject.read(level) for place, level in enumerate(subject.levels)},
        }
    )
    found = keys.select(
        number=pl.struct(pl.all()).rank("dense").cast(pl.Int64),
        count=pl.len().over(keys.columns),
        named=pl.col("name") != "",
    )
    is_several = (found["count"] > 1) & found["named"]
    return np.where(is_several.to_numpy(), found["number"].to_numpy(), -1)


def list_groups(numbers: Indices) -> list[list[int]]:
    """Give the rows of every group of two items or more, the groups in the order of their first rows."""
    table = pl.DataFrame({"number": numbers}).with_row_index("row").filter(pl.col("number") >= 0)
    grouped = table.group_by("number", maintain_order=True).agg("row")
    return [rows for rows in grouped["row"].to_list() if len(rows) > 1]


def name_others(ids: Sequence[str], own: str) -> str:
    """Name up to three items of a group but one, and count the rest, without going through a large group each time."""
    named = [each for each in ids[:4] if each != own][:3]
    return join_items(named, len(ids) - 1)


def join_items(named: Sequence[str], count: int) -> str:
    """Join the names of the first of `count` items."""
    if count > len(named):
        return f"items {', '.join(named)} and {count - len(named):,} more"
    if count == 1:
        return f"item {named[0]}"
    return f"items {', '.join(named[:-1])} and {named[-1]}"
