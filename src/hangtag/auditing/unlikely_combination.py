"""Find combinations of values that hardly ever occur: a Saree for Men, a category under a foreign parent."""

from collections.abc import Iterator
from typing import Any

import polars as pl

from hangtag.auditing.issues import INFO, UNLIKELY_COMBINATION, WARNING, build_issues
from hangtag.auditing.subject import Subject

# A value speaks of another column where so many items have it, and so large a share of them agree there.
MIN_ITEMS = 30
MIN_SHARE = 0.97
# A combination is unlikely where so small a share of these items has it.
MAX_SHARE = 0.01
# The only item of its kind: nothing speaks against it but that.
LONE_SCORE = 0.1


def find_unlikely_combinations(subject: Subject) -> pl.DataFrame:
    """Give the issues of the code `unlikely_combination`.

    - Levels: a finer category stands under a coarser one under which it hardly ever stands. What most items of the
      category have is suggested. A coarser level that is missing is no mistake: what it would be is told for
      information, to fill it in. That others lack it too is no evidence.
    - Levels with attributes: nearly all items of a category have one value, and this one another.
    - A combination of levels that one item alone has, with nothing to hold it against, is told for information.

    The score is the share of the category's items that speak against the value, one more item counted as doubt; of
    attributes half of it and less, the more items have the odd value: a dozen formal sandals may well be formal.
    """
    lines = [*_find_foreign_parents(subject), *_find_odd_attributes(subject)]
    told = {line["item_id"] for line in lines}
    found = build_issues(lines, UNLIKELY_COMBINATION, WARNING)
    lone = [line for line in _find_lone_combinations(subject) if line["item_id"] not in told]
    return pl.concat([found, build_issues(lone, UNLIKELY_COMBINATION, INFO)])


def _find_foreign_parents(subject: Subject) -> Iterator[dict[str, Any]]:
    """Give the items whose finest known category mostly has other coarser levels."""
    levels = subject.levels
    table = pl.DataFrame({level: subject.read(level) for level in levels}).with_row_index("row")
    for place in range(len(levels) - 1, 0, -1):
        child, parents = levels[place], list(levels[:place])
        known = table.filter(pl.col(child).is_not_null())
        counts = known.group_by([child, *parents]).agg("row", count=pl.len())
        shares = counts.with_columns(total=pl.col("count").sum().over(child))
        odd = _find_odd(shares, child, parents, min_items=2)
        for line in odd.iter_rows(named=True):
            changes = {level: line[f"usual_{level}"] for level in parents if line[f"usual_{level}"] != line[level]}
            wrong = {level: usual for level, usual in changes.items() if line[level] is not None}
            changes = wrong or changes
            column = list(changes)[-1]
            for row in line["row"]:
                yield {
                    "item_id": subject.item_ids[row],
                    "severity": WARNING if wrong else INFO,
                    "given_label": line[column] or "",
                    "suggested_label": changes[column],
                    "score": line["usual_count"] / (line["total"] + 1),
                    "reason": f"Of {line['total']:,} items with {child} {line[child]}, {line['usual_count']:,} have "
                    f"{column} {changes[column]} and {line['count']:,} {line[column] or 'none'}.",
                    "column": column,
                    "changes": changes,
                }


def _find_odd(shares: pl.DataFrame, child: str, parents: list[str], min_items: int) -> pl.DataFrame:
    """Give the rare combinations of a value, with the usual one beside each as `usual_<column>`."""
    usual = shares.drop_nulls(parents).sort("count", descending=True).unique(child, keep="first")
    joined = shares.join(
        usual.drop("row", "total").rename(lambda name: name if name == child else f"usual_{name}"), on=child
    )
    # A combination seen once is rare whatever the share, where three items or more agree on another.
    rare = (pl.col("count") <= MAX_SHARE * pl.col("total")) | ((pl.col("count") == 1) & (pl.col("usual_count") >= 3))
    agreed = pl.col("usual_count") >= pl.max_horizontal(0.5 * pl.col("total"), min_items)
    return joined.filter(rare & agreed).sort("row")


def _find_odd_attributes(subject: Subject) -> Iterator[dict[str, Any]]:
    """Give the items with a value that hardly any item of their category has."""
    for column in subject.attributes:
        for level in subject.levels:
            table = pl.DataFrame({"level": subject.read(level), "value": subject.read(column)}).with_row_index("row")
            counts = table.drop_nulls().group_by("level", "value").agg("row", count=pl.len())
            shares = counts.with_columns(total=pl.col("count").sum().over("level"))
            usual = shares.sort("count", descending=True).unique("level", keep="first")
            named = usual.select("level", usual="value", usual_count="count")
            odd = shares.join(named, on="level").filter(
                (pl.col("total") >= MIN_ITEMS)
                & (pl.col("usual_count") >= MIN_SHARE * pl.col("total"))
                & (pl.col("count") <= (MAX_SHARE * pl.col("total")).ceil())
                & (pl.col("value") != pl.col("usual"))
            )
            for line in odd.sort("row").iter_rows(named=True):
                for row in line["row"]:
                    yield {
                        "item_id": subject.item_ids[row],
                        "given_label": line["value"],
                        "suggested_label": line["usual"],
                        "score": line["usual_count"] / (line["total"] + 1) * _trust(line["count"]),
                        "reason": f"Of {line['total']:,} items with {level} {line['level']}, {line['usual_count']:,} "
                        f"have {column} {line['usual']} and {line['count']:,} {line['value']}.",
                        "column": column,
                        "changes": {column: line["usual"]},
                    }


def _trust(count: int) -> float:
    return 0.45 * (1 + 1 / count)


def _find_lone_combinations(subject: Subject) -> Iterator[dict[str, Any]]:
    levels = list(subject.levels)
    table = pl.DataFrame({level: subject.read(level) for level in levels}).with_row_index("row")
    lone = table.drop_nulls(levels).filter(pl.len().over(levels) == 1)
    for line in lone.iter_rows(named=True):
        named = " / ".join(line[level] for level in levels)
        yield {
            "item_id": subject.item_ids[line["row"]],
            "given_label": line[levels[-1]],
            "score": LONE_SCORE,
            "reason": f"No other item is {named}.",
            "column": levels[-1],
        }
