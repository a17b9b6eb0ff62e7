"""Find values that look wrong beside the others: spelling variants, and combinations that hardly ever occur."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl

from hangtag.auditing.context import AuditContext
from hangtag.auditing.issues import INFO, SPELLING_VARIANT, UNLIKELY_COMBINATION, WARNING, build_issues
from hangtag.catalog.missing_values import strip_blank
from hangtag.labels.relabel import split_words

SEPARATORS = re.compile(r"[\W_]+")
# A value one letter from another is a typing error only if it is this long and this many times rarer; Shirts and Skirts
# are two values.
MIN_LENGTH = 6
MIN_RATIO = 50
SAME_SCORE, TYPO_SCORE = 0.9, 0.6
# A category predicts an attribute if it has this many items, and this share of them has the same value.
MIN_ITEMS = 30
MIN_SHARE = 0.97
# A combination is unlikely if at most this share of these items has it.
MAX_SHARE = 0.01
# The score of a combination that a single item has: that it is unique is the only evidence.
LONE_SCORE = 0.1


def find_spelling_variants(context: AuditContext) -> pl.DataFrame:
    """Return the issues of the code `spelling_variant`, one for every item with the rarer spelling of a value.

    Two values of a column are variants if they differ in capitals, signs, spaces or grammatical endings only, or in one
    letter and one of them is rare. Items with the same spelling share a `group_id`. A value with white space at its
    ends is never the usual one, however many items have it.
    """
    lines = []
    for column in (*context.levels, *context.attributes):
        values = context.read_delivered(column)
        rows: dict[str, list[int]] = defaultdict(list)
        for row, value in enumerate(values):
            if value is not None:
                rows[value].append(row)
        for rare, usual, score in find_variants({value: len(found) for value, found in rows.items()}):
            sizes = (len(rows[rare]), len(rows.get(usual, ())))
            lines += [
                _describe_variant(context.item_ids[row], column, (rare, usual), sizes, score) for row in rows[rare]
            ]
    return build_issues(lines, SPELLING_VARIANT, WARNING)


def _describe_variant(
    item_id: str, column: str, spellings: tuple[str, str], sizes: tuple[int, int], score: float
) -> dict[str, Any]:
    rare, usual = spellings
    counted = (f"{_quote_value(value)} ({size:,})" for value, size in zip(spellings, sizes, strict=True))
    return {
        "item_id": item_id,
        "given_label": rare,
        "suggested_label": usual,
        "score": score,
        "reason": f"{column} {' looks like another spelling of '.join(counted)}.",
        "column": column,
        "changes": {column: usual},
        "group_id": f"spelling-{column}-{rare}",
    }


def _quote_value(value: str) -> str:
    """Quote a value where only its spaces distinguish it from another."""
    return value if value == " ".join(value.split()) else f'"{value}"'


def find_variants(counts: dict[str, int]) -> Iterator[tuple[str, str, float]]:
    """Return each rarer spelling with the usual one, and how sure it is that they are one."""
    by_key: dict[str, list[str]] = defaultdict(list)
    for value in counts:
        by_key[fold(value)].append(value)
    usual = {key: _choose_usual(values, counts) for key, values in by_key.items()}
    for key, values in by_key.items():
        # A value that is delivered in one way alone is no variant, whatever is at its ends.
        yield from ((value, usual[key], SAME_SCORE) for value in values if len(values) > 1 and value != usual[key])
    totals = {key: sum(counts[value] for value in values) for key, values in by_key.items()}
    common = _CommonKeys([key for key, total in totals.items() if total >= MIN_RATIO and len(key) >= MIN_LENGTH])
    for rare, values in by_key.items():
        near = [
            key for key in common.find_near(rare) if totals[key] >= MIN_RATIO * totals[rare] and _is_typo(key, rare)
        ]
        if near:
            best = max(near, key=lambda key: totals[key])
            yield from ((value, usual[best], TYPO_SCORE) for value in values)


def _choose_usual(values: Sequence[str], counts: dict[str, int]) -> str:
    """Return the most frequent of some spellings, those that differ in white space at their ends counted together."""
    totals: dict[str, int] = defaultdict(int)
    for value in values:
        totals[strip_blank(value)] += counts[value]
    return max(totals, key=lambda each: (totals[each], each))


class _CommonKeys:
    """Find the common keys that may be one letter from another without comparing each with each.

    Two texts that are one letter apart, or two swapped ones, are the same once a letter is left out of one of them or
    of both. Source: W. Garbe, *1000x Faster Spelling Correction* (symmetric delete), 2012.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys, self._places = keys, defaultdict[int, list[int]](list)
        for index, key in enumerate(keys):
            for shortened in _leave_out(key):
                self._places[shortened].append(index)

    def find_near(self, rare: str) -> list[str]:
        """Return the keys that may be one letter from `rare`, in the order in which they were given."""
        if not self._keys or len(rare) < MIN_LENGTH:
            return []
        indices = {index for shortened in _leave_out(rare) for index in self._places.get(shortened, ())}
        return [self._keys[index] for index in sorted(indices)]


def _leave_out(key: str) -> set[int]:
    """Return hashes of a text and of all texts that are left where one letter of it is left out."""
    return {hash(key), *(hash(key[:index] + key[index + 1 :]) for index in range(len(key)))}


def _is_typo(key: str, rare: str) -> bool:
    # The first letter is hardly ever the mistyped one: a Wallet is no Ballet.
    return min(len(key), len(rare)) >= MIN_LENGTH and key[0] == rare[0] and is_one_letter_apart(key, rare)


def fold(value: str) -> str:
    """Normalize a value: remove capitals, signs, spaces and grammatical endings."""
    joined = SEPARATORS.sub("", value).casefold()
    # A value without letters would become empty.
    return "".join(split_words(joined)) or value


def is_one_letter_apart(one: str, other: str) -> bool:
    """Return whether one letter is put in, left out, changed, or swapped with the next between two texts."""
    if len(one) > len(other):
        one, other = other, one
    if len(other) - len(one) > 1 or one == other:
        return False
    start = next((index for index, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), len(one))
    if len(one) < len(other):
        return one[start:] == other[start + 1 :]
    swapped = one[start + 1 : start + 2] + one[start : start + 1] + one[start + 2 :]
    return one[start + 1 :] == other[start + 1 :] or swapped == other[start:]


def find_unlikely_combinations(context: AuditContext) -> pl.DataFrame:
    """Return the issues of the code `unlikely_combination`.

    - Levels: a category stands under a parent under which it hardly ever stands. The parent that most items of the
      category have is suggested. A missing parent is no mistake: it is suggested for information, to fill it in; that
      other items lack it too is no evidence.
    - Levels with attributes: nearly all items of a category have one value, and this one has another.
    - A combination of levels that a single item has, without a more likely one, is listed for information.

    The score is the share of the category's items that have the usual value, with one more item as smoothing; for
    attributes half of that, and the less the more items have the odd value: a dozen formal sandals may well be formal.
    """
    lines = [*_find_unlikely_parents(context), *_find_odd_attributes(context)]
    listed = {line["item_id"] for line in lines}
    found = build_issues(lines, UNLIKELY_COMBINATION, WARNING)
    lone = [line for line in _find_lone_combinations(context) if line["item_id"] not in listed]
    return pl.concat([found, build_issues(lone, UNLIKELY_COMBINATION, INFO)])


def _find_unlikely_parents(context: AuditContext) -> Iterator[dict[str, Any]]:
    """Return the items whose finest known category mostly has other coarser levels."""
    levels = context.levels
    table = pl.DataFrame({level: context.read(level) for level in levels}).with_row_index("row")
    for index in range(len(levels) - 1, 0, -1):
        child, parents = levels[index], list(levels[:index])
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
                    "item_id": context.item_ids[row],
                    "severity": WARNING if wrong else INFO,
                    "given_label": line[column] or "",
                    "suggested_label": changes[column],
                    "score": line["usual_count"] / (line["total"] + 1),
                    "reason": f"Of {line['total']:,} products with {child} {line[child]}, {line['usual_count']:,} have "
                    f"{column} {changes[column]} and {line['count']:,} {line[column] or 'none'}.",
                    "column": column,
                    "changes": changes,
                }


def _find_odd(shares: pl.DataFrame, child: str, parents: list[str], min_items: int) -> pl.DataFrame:
    """Return the rare combinations of a value, with the usual one beside each as `usual_<column>`."""
    usual = shares.drop_nulls(parents).sort("count", descending=True).unique(child, keep="first")
    joined = shares.join(
        usual.drop("row", "total").rename(lambda name: name if name == child else f"usual_{name}"), on=child
    )
    # A combination seen once is rare whatever the share, where three items or more agree on another.
    rare = (pl.col("count") <= MAX_SHARE * pl.col("total")) | ((pl.col("count") == 1) & (pl.col("usual_count") >= 3))
    agreed = pl.col("usual_count") >= pl.max_horizontal(0.5 * pl.col("total"), min_items)
    return joined.filter(rare & agreed).sort("row")


def _find_odd_attributes(context: AuditContext) -> Iterator[dict[str, Any]]:
    """Return the items with a value that hardly any item of their category has."""
    for column in context.attributes:
        for level in context.levels:
            table = pl.DataFrame({"level": context.read(level), "value": context.read(column)}).with_row_index("row")
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
                        "item_id": context.item_ids[row],
                        "given_label": line["value"],
                        "suggested_label": line["usual"],
                        "score": line["usual_count"] / (line["total"] + 1) * _score_rarity(line["count"]),
                        "reason": f"Of {line['total']:,} products with {level} {line['level']}, "
                        f"{line['usual_count']:,} have {column} {line['usual']} and {line['count']:,} {line['value']}.",
                        "column": column,
                        "changes": {column: line["usual"]},
                    }


def _score_rarity(count: int) -> float:
    return 0.45 * (1 + 1 / count)


def _find_lone_combinations(context: AuditContext) -> Iterator[dict[str, Any]]:
    levels = list(context.levels)
    table = pl.DataFrame({level: context.read(level) for level in levels}).with_row_index("row")
    lone = table.drop_nulls(levels).filter(pl.len().over(levels) == 1)
    for line in lone.iter_rows(named=True):
        named = " / ".join(line[level] for level in levels)
        yield {
            "item_id": context.item_ids[line["row"]],
            "given_label": line[levels[-1]],
            "score": LONE_SCORE,
            "reason": f"No other product is {named}.",
            "column": levels[-1],
        }
