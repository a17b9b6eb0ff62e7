"""Find duplicates: exact and near ones, products sold under several ids, and duplicates whose labels disagree.

All of them start from the groups of `AuditContext.duplicates`. Items of a group share one `group_id`.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import merge
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from hangtag.auditing.context import AuditContext
from hangtag.auditing.evidence import OutOfSampleProbs
from hangtag.auditing.issues import (
    ERROR,
    EXACT_DUPLICATE,
    INFO,
    LABEL_CONFLICT,
    NEAR_DUPLICATE,
    SAME_PRODUCT,
    WARNING,
    build_issues,
)
from hangtag.labels.duplicates import Indices
from hangtag.models.label_space import NO_VALUE

# Lower than the score of any suspected label, since nothing need be wrong with a duplicate.
SAME_PRODUCT_SCORE = 0.4
DUPLICATE_SCORES = {EXACT_DUPLICATE: 0.3, NEAR_DUPLICATE: 0.2}
REASONS = {
    EXACT_DUPLICATE: "The photograph is the same, pixel for pixel, as that of {others}.",
    NEAR_DUPLICATE: "The photograph is nearly the same as that of {others}.",
}
DEFENDED = ", as its name says too, so the photograph may be the wrong one"
SEPARATORS = re.compile(r"[\W_]+")
# Values of an item, coarse to fine where they are levels; None where one is missing.
Values = tuple[str | None, ...]
# The indices of the columns in which a value is not missing.
Filled = tuple[int, ...]


def find_same_products(context: AuditContext) -> pl.DataFrame:
    """Return the issues of the code `same_product`: one photograph, name and category under several ids.

    There is an issue for every id of such a product.
    """
    numbers = number_same_products(context)
    lines = []
    for members in list_groups(numbers):
        ids = [context.item_ids[row] for row in members]
        for row in members:
            others = name_others(ids, context.item_ids[row])
            lines.append(
                {
                    "item_id": context.item_ids[row],
                    "score": SAME_PRODUCT_SCORE,
                    "reason": f"The same photograph, name and category as {others}.",
                    "group_id": context.group_ids[row],
                }
            )
    return build_issues(lines, SAME_PRODUCT, INFO)


def number_same_products(context: AuditContext) -> Indices:
    """Return the number of each item's product, int64 (n,); -1 for items that are sold under one id alone."""
    names = context.read_names()
    count = len(context.items)
    if names is None:
        return np.full(count, -1, np.int64)
    keys = pl.DataFrame(
        {
            "group": context.duplicates.groups,
            "name": pl.Series([SEPARATORS.sub(" ", name or "").casefold().strip() for name in names], dtype=pl.String),
            **{f"level_{index}": context.read(level) for index, level in enumerate(context.levels)},
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
    """Return the rows of every group of two items or more, the groups in the order of their first rows."""
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


def find_duplicates(context: AuditContext) -> pl.DataFrame:
    """Return the issues of the codes `exact_duplicate` and `near_duplicate`.

    An item has one of them at most, and none where it is the same product under several ids. Exact duplicates are found
    among all photographs of items, near ones among the first of each.
    """
    listed = set((number_same_products(context) >= 0).nonzero()[0].tolist())
    tables = []
    for code, numbers in (
        (EXACT_DUPLICATE, context.duplicates.pixels),
        (NEAR_DUPLICATE, context.duplicates.groups),
    ):
        lines: list[dict[str, object]] = []
        for members in list_groups(numbers):
            ids = [context.item_ids[row] for row in members]
            lines += [
                {
                    "item_id": context.item_ids[row],
                    "score": DUPLICATE_SCORES[code],
                    "reason": REASONS[code].format(others=name_others(ids, context.item_ids[row])),
                    "group_id": context.group_ids[row],
                }
                for row in members
                if row not in listed
            ]
            listed.update(members)
        tables.append(build_issues(lines, code, INFO))
        if code == EXACT_DUPLICATE:
            tables.append(build_issues(list(_describe_other_duplicates(context, listed)), code, INFO))
    return pl.concat(tables)


def _describe_other_duplicates(context: AuditContext, listed: set[int]) -> Iterator[dict[str, object]]:
    """Yield the exact duplicates that are no first photographs of both items, and add their items to those listed."""
    if not len(context.others):
        return
    hashes = context.fingerprints.pixels
    _, numbers = np.unique(np.array(hashes), return_inverse=True)
    for photographs in list_groups(numbers):
        # An item may have the same photograph twice.
        by_item = {int(context.owners[each]): each for each in reversed(photographs)}
        ids = sorted(context.item_ids[row] for row in by_item)
        if len(ids) == 1:
            continue
        for row, photograph in sorted(by_item.items()):
            if row in listed:
                continue
            listed.add(row)
            own, path = context.item_ids[row], context.paths[photograph]
            yield {
                "item_id": own,
                "score": DUPLICATE_SCORES[EXACT_DUPLICATE],
                "reason": REASONS[EXACT_DUPLICATE]
                .format(others=name_others(ids, own))
                .replace("photograph", f"photograph {path}".rstrip(), 1),
                "group_id": f"photographs-{ids[0]}",
            }


def find_label_conflicts(context: AuditContext) -> pl.DataFrame:
    """Return the issues of the code `duplicate_label_conflict`.

    All levels are compared together, so that suggestions never contradict each other; each attribute by itself. Every
    item of a group has one vote, and each model votes with its probabilities; the value with the most votes is
    suggested to the others. On a tie, all items are listed without a suggestion. The score is the share of votes
    against the item's own value. A missing value contradicts nothing, is not suggested, and is not filled in along
    with another level. Where an item's own name agrees with its label, the photograph is more likely wrong, and nothing
    is suggested.
    """
    values = {column: context.read(column).to_list() for column in (*context.levels, *context.attributes)}
    votes = _Votes(context)
    column_sets = [context.levels, *((column,) for column in context.attributes)]
    lines: list[dict[str, Any]] = []
    for members in list_groups(context.duplicates.groups):
        for columns in column_sets:
            own = {row: tuple(values[column][row] for column in columns) for row in members}
            if _values_disagree(list(own.values())):
                lines += _describe_conflicts(context, columns, own, votes)
    return build_issues(lines, LABEL_CONFLICT, WARNING)


def _values_disagree(found: Sequence[Values]) -> bool:
    """Return whether some column has different values; missing ones do not count."""
    return any(len(set(column) - {None}) > 1 for column in zip(*found, strict=True))


@dataclass(frozen=True)
class _Contradiction:
    """What contradicts one value of a group.

    Attributes:
        items: The items that contradict it, the first ones by their ids.
        column: The finest column that they contradict it in.
        values: Their values by column; only of columns in which the contradicted value is not missing.
    """

    items: str
    column: str
    values: dict[str, str]


class _Group:
    """The values of a group's items, compared value by value, since a placeholder photograph has thousands of items.

    Two values agree if they are equal in every column that both have. So the items that agree with a value are counted
    with one look-up for each pattern of missing columns, not by comparing it with every other value.

    Args:
        columns: The columns of the values.
        own: The values by row, in ascending order of rows.
        item_ids: The ids of all rows.
    """

    def __init__(self, columns: tuple[str, ...], own: Mapping[int, Values], item_ids: Sequence[str]) -> None:
        self._columns, self._item_ids, self._count = columns, item_ids, len(own)
        # In the order of their first rows.
        self._rows: dict[Values, list[int]] = defaultdict(list)
        for row, value in own.items():
            self._rows[value].append(row)
        self._patterns = {_list_filled(value) for value in self._rows}
        self._others = [sorted({value[index] or "" for value in self._rows} - {""}) for index in range(len(columns))]
        self._counts: dict[tuple[Filled, Filled], Counter[Values]] = {}
        self._known: dict[Values, _Contradiction | None] = {}

    def find_contradiction(self, found: Values) -> _Contradiction | None:
        """Return what contradicts a value; None where nothing does."""
        if found not in self._known:
            count = self._count - self._count_agreeing(found)
            self._known[found] = self._describe(found, count) if count else None
        return self._known[found]

    def _count_agreeing(self, found: Values) -> int:
        filled = _list_filled(found)
        total = 0
        for pattern in self._patterns:
            both = tuple(index for index in filled if index in pattern)
            if (pattern, both) not in self._counts:
                self._counts[pattern, both] = self._count_values(pattern, both)
            total += self._counts[pattern, both][tuple(found[index] for index in both)]
        return total

    def _count_values(self, pattern: Filled, both: Filled) -> Counter[Values]:
        counts: Counter[Values] = Counter()
        for value, rows in self._rows.items():
            if _list_filled(value) == pattern:
                counts[tuple(value[index] for index in both)] += len(rows)
        return counts

    def _describe(self, found: Values, count: int) -> _Contradiction:
        # The first three items have the three contradicting values whose first rows come first.
        contradicting = islice((value for value in self._rows if _values_disagree([value, found])), 3)
        first = [self._item_ids[row] for row in islice(merge(*(self._rows[value][:3] for value in contradicting)), 3)]
        values = {
            index: _join_values(others, value)
            for index, (value, others) in enumerate(zip(found, self._others, strict=True))
            if value is not None and others != [value]
        }
        return _Contradiction(
            join_items(first, count),
            self._columns[max(values)],
            {self._columns[index]: theirs for index, theirs in values.items()},
        )


def _list_filled(value: Values) -> Filled:
    return tuple(index for index, part in enumerate(value) if part is not None)


def _join_values(values: Sequence[str], own: str, most: int = 5) -> str:
    """Return the other values than an item's own, which is among them; of many, the first ones and their number."""
    first = [value for value in values[: most + 1] if value != own][:most]
    left = len(values) - 1 - len(first)
    return " or ".join([*first, f"{left:,} other{'s' if left > 1 else ''}"] if left else first)


def _describe_conflicts(
    context: AuditContext, columns: tuple[str, ...], own: Mapping[int, Values], votes: "_Votes"
) -> Iterator[dict[str, Any]]:
    counts = votes.count(columns, own)
    total = sum(counts.values())
    ranked = sorted(counts, key=lambda each: (-counts[each], [part or "" for part in each]))
    winner = ranked[0] if counts[ranked[0]] - counts[ranked[1]] > 1e-9 else None
    pixels, group = context.duplicates.pixels, _Group(columns, own, context.item_ids)
    is_same = len({int(pixels[each]) for each in own}) == 1
    how = "The same photograph as" if is_same else "Nearly the same photograph as"
    for row, found in own.items():
        contradiction = group.find_contradiction(found)
        if found == winner or contradiction is None:
            continue
        if winner is not None and not _values_disagree([found, winner]):
            continue
        changes = _list_changes(columns, found, winner)
        is_defended = votes.defends(columns, row, found)
        changes = {} if is_defended else changes
        column = list(changes)[-1] if changes else contradiction.column
        yield {
            "item_id": context.item_ids[row],
            "severity": ERROR if columns == context.levels else WARNING,
            "given_label": found[columns.index(column)] or "",
            "suggested_label": changes.get(column, ""),
            "score": 1 - counts[found] / total,
            "reason": f"{how} {contradiction.items}, where {column} is {contradiction.values[column]}; "
            f"given {found[columns.index(column)] or 'nothing'}{DEFENDED if is_defended else ''}.",
            "column": column,
            "changes": changes,
            "group_id": context.group_ids[row],
        }


def _list_changes(columns: Sequence[str], found: Values, winner: Values | None) -> dict[str, str]:
    if winner is None:
        return {}
    pairs = [pair for pair in zip(columns, found, winner, strict=True) if pair[1] is not None]
    if any(new is None for _, _, new in pairs):
        # Some values of another category beside the item's own would contradict each other.
        return {}
    return {column: new for column, old, new in pairs if new is not None and new != old}


class _Votes:
    """Count the votes of items and models for the values of a group."""

    def __init__(self, context: AuditContext) -> None:
        self._names = context.name_probs
        self._sources = [each for each in (context.image_probs, context.name_probs) if each is not None]
        self._entries = []
        for out_of_sample in self._sources:
            indices = np.full(len(context.items), NO_VALUE, np.int64)
            indices[out_of_sample.rows] = np.arange(len(out_of_sample.rows))
            self._entries.append(indices)

    def count(self, columns: tuple[str, ...], own: Mapping[int, Values]) -> dict[Values, float]:
        """Return each value's votes: one for each item that has it, and the probabilities that the models give it."""
        counts: dict[Values, float] = defaultdict(float, Counter(own.values()))
        for out_of_sample, indices in zip(self._sources, self._entries, strict=True):
            rows = indices[list(own)]
            known_rows = rows[rows != NO_VALUE]
            if len(known_rows):
                means = _average_probs(out_of_sample, columns, known_rows)
                for value in list(counts):
                    counts[value] += _sum_value(out_of_sample, columns, value, means)
        return counts

    def defends(self, columns: tuple[str, ...], row: int, found: Values) -> bool:
        """Return whether an item's own name finds its own value likelier than not."""
        if self._names is None or columns[0] in self._names.label_space.attributes:
            return False
        index = self._entries[-1][row]
        if index == NO_VALUE:
            return False
        return _sum_value(self._names, columns, found, _average_probs(self._names, columns, np.array([index]))) > 0.5


def _average_probs(
    out_of_sample: OutOfSampleProbs, columns: tuple[str, ...], rows: Indices
) -> npt.NDArray[np.float64] | None:
    """Return the mean probabilities of some items over the category paths, or over the values of an attribute."""
    is_attribute = columns[0] in out_of_sample.label_space.attributes
    probs = out_of_sample.attributes.get(columns[0]) if is_attribute else out_of_sample.pred_probs
    return None if probs is None else probs[rows].mean(axis=0, dtype=np.float64)


def _sum_value(
    out_of_sample: OutOfSampleProbs, columns: tuple[str, ...], value: Values, means: npt.NDArray[np.float64] | None
) -> float:
    """Return the probability of a value, from the means over the category paths or over the values of an attribute."""
    label_space = out_of_sample.label_space
    if means is None:
        return 0.0
    if columns[0] in label_space.attributes:
        names = label_space.attributes[columns[0]]
        return float(means[names.index(value[0])]) if value[0] in names else 0.0
    fits = np.ones(len(label_space.category_paths), bool)
    for column, wanted in zip(columns, value, strict=True):
        if column not in label_space.levels:
            return 0.0
        names = label_space.levels[column]
        fits &= label_space.list_classes(column) == (
            NO_VALUE if wanted is None else names.index(wanted) if wanted in names else -2
        )
    return float(means[fits].sum())
