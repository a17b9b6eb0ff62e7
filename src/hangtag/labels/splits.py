"""Split items into train, val and test: by seed, by label or by a rule, and with duplicates on one side."""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from hangtag.catalog.prepared_items import find_missing
from hangtag.catalog.schema import CatalogSchema
from hangtag.config import TEST_RULE
from hangtag.errors import SettingsError
from hangtag.io import expand_home
from hangtag.labels.dataset import read_labeled_items
from hangtag.train_config import SPLITS
from hangtag.workspace import Workspace

# Find the items that a rule on a column puts into the test split, as `year=odd`.

SHOWN_VALUES = 8
LAST_DIGITS = {"odd": "13579", "even": "02468"}


def find_test_items(rule: str, items: pl.DataFrame, schema: CatalogSchema) -> frozenset[str]:
    """Return the item_ids for which a rule holds.

    It never holds for a missing cell, nor, where it asks for numbers, for a cell that is none. Parity is asked of
    whole numbers alone (`2011`, `2011.0`). Values are compared as text, without the spaces around them.

    Args:
        rule: In a form that `CleanConfig.test_where` allows; an empty one holds for no item.
        items: `item_id`, `given_split` and the catalogue's own columns, as text.
        schema: What they mean; the rule names a column as hangtag does or as the table heads it.

    Raises:
        SettingsError: The catalogue came with splits or lacks the column, or the rule holds for no item or every one.
    """
    if not rule:
        return frozenset()
    if items["given_split"].is_not_null().any():
        raise SettingsError(
            "The catalogue came with splits of its own; these and a rule for the test split exclude each other.",
            received=rule,
            hint="Leave out --test-where, or prepare the catalogue without its splits.",
        )
    parts = TEST_RULE.fullmatch(rule)
    assert parts is not None  # CleanConfig lets no other rule through
    column = _find_column(parts["column"], schema)
    cell = pl.col(column).str.strip_chars()
    known = pl.lit(~find_missing(items[column], schema.missing))
    # Never null: a cell that cannot be asked does not fulfil the rule.
    holds = (known & _build_condition(parts, cell)).fill_null(value=False)
    found = frozenset(items.filter(holds)["item_id"])
    if not found:
        values = _list_common_values(items.filter(known)[column])
        allowed = f"The commonest values of {parts['column']}: {', '.join(values) or 'none'}."
        raise SettingsError("The rule for the test split holds for no item.", allowed=allowed, received=rule)
    if len(found) == len(items):
        what = "The rule for the test split holds for every item, so that none is left to learn from."
        raise SettingsError(what, received=rule)
    return found


def check_divided(splits: Collection[str | None], rule: str) -> None:
    """Make sure that the rule left items for every split.

    Raises:
        SettingsError: A split is empty, now that dropped and Unknown items and duplicates are out.
    """
    empty = [split for split in SPLITS if split not in splits]
    if empty:
        raise SettingsError(
            f"The rule for the test split leaves no item for {' and '.join(empty)}; dropped and Unknown items, and "
            "duplicates of test items, are in no split.",
            received=rule,
        )


def _find_column(name: str, schema: CatalogSchema) -> str:
    by_name = schema.by_heading
    if name not in by_name:
        raise SettingsError(
            "The rule for the test split names a column that the catalogue lacks.",
            allowed=f"Its columns: {', '.join(schema.headings)}.",
            received=name,
        )
    return by_name[name]


def _build_condition(parts: re.Match[str], cell: pl.Expr) -> pl.Expr:
    if parts["parity"]:
        # By the last digit: a number of any length, and none that is not whole.
        return cell.str.contains(rf"^[-+]?[0-9]*[{LAST_DIGITS[parts['parity']]}](?:\.0*)?$")
    if parts["bound"]:
        number, bound = cell.cast(pl.Float64, strict=False), float(parts["number"])
        return number.is_finite() & (number >= bound if parts["bound"] == ">=" else number <= bound)
    is_listed = cell.is_in([value.strip() for value in parts["values"].split("|")])
    return is_listed if parts["sign"] == "=" else ~is_listed


def _list_common_values(values: pl.Series) -> list[str]:
    counts = values.alias("value").value_counts(name="count")
    return counts.sort(["count", "value"], descending=[True, False])["value"].head(SHOWN_VALUES).to_list()


def order_by_seed(keys: Iterable[str], seed: int) -> list[str]:
    """Put keys into an order that depends on the seed and on each key alone, not on the order they came in."""
    return sorted(keys, key=lambda key: hashlib.blake2b(f"{seed}\0{key}".encode(), digest_size=8).digest())


def assign_splits(
    labels: Sequence[str], group_ids: Sequence[str], fractions: Sequence[float], seed: int
) -> dict[str, str]:
    """Return each group of duplicates its split.

    A group goes by the label that most of its items have. The groups of a label are taken in an order drawn
    by the seed, each to the split that is furthest behind its share, so that every label is split alike;
    with as many groups as splits, or more, each split gets at least one. The order of the rows does not matter.

    Args:
        labels: The label of each item.
        group_ids: The group of each item.
        fractions: The shares of train, val and test, or of train and val alone; only their ratio counts.
        seed: Draws the order.

    Returns:
        From group_id to its split.
    """
    shares = dict(zip(SPLITS[: len(fractions)], fractions, strict=True))
    splits: dict[str, str] = {}
    for _, sizes in sorted(_measure_groups(labels, group_ids).items()):
        splits |= _split_label(sizes, shares, seed)
    return splits


def _measure_groups(labels: Sequence[str], group_ids: Sequence[str]) -> dict[str, dict[str, int]]:
    """Return the number of items of each group, by the label that most of its items have."""
    members: dict[str, Counter[str]] = defaultdict(Counter)
    for label, group_id in zip(labels, group_ids, strict=True):
        members[group_id][label] += 1
    by_label: dict[str, dict[str, int]] = defaultdict(dict)
    for group_id, counts in members.items():
        label = min(counts, key=lambda each: (-counts[each], each))
        by_label[label][group_id] = counts.total()
    return by_label


def _split_label(sizes: Mapping[str, int], shares: Mapping[str, float], seed: int) -> dict[str, str]:
    order = order_by_seed(sizes, seed)
    splits: dict[str, str] = {}
    filled = dict.fromkeys(shares, 0)
    if len(order) >= len(shares):
        # The smallest groups go where there is least room, so that none begins with a large one.
        # Of groups of one size the first in the order: sorting keeps it.
        smallest = sorted(order, key=sizes.__getitem__)[: len(shares)]
        splits = dict(zip(smallest, reversed(list(shares)), strict=True))
        for group_id, split in splits.items():
            filled[split] += sizes[group_id]
    for group_id in order:
        if group_id not in splits:
            splits[group_id] = min(shares, key=lambda split: filled[split] / shares[split])
            filled[splits[group_id]] += sizes[group_id]
    return splits


def take_share(
    table: pl.DataFrame, is_chosen: npt.NDArray[np.bool_], fraction: float, seed: int
) -> npt.NDArray[np.bool_]:
    """Return which of the chosen items are in a share of them, bool (n,), for a training on fewer items.

    The groups of duplicates of each label are put into an order drawn by the seed, and as many from its start are in
    the share as make this fraction of the label's items; so a smaller share is part of a larger one. Which labels are
    rounded up is drawn too (systematic sampling): of many labels with three items, a tenth of the items are in a share
    of a tenth, where rounding would take none or all labels. A rare label may have no item in it.

    Args:
        table: n items with `label` and `group_id`.
        is_chosen: The items to take the share of, (n,).
        fraction: Above 0; 1 takes all of them.
        seed: Draws the order.
    """
    if fraction >= 1:
        return is_chosen
    chosen = table.filter(pl.Series(is_chosen)).select("label", "group_id")
    taken = set()
    for label, sizes in _measure_groups(chosen["label"].to_list(), chosen["group_id"].to_list()).items():
        before, wanted, start = 0, fraction * sum(sizes.values()), _draw_start(label, seed)
        for group_id in order_by_seed(sizes, seed):
            if before + start * sizes[group_id] >= wanted:
                break
            taken.add(group_id)
            before += sizes[group_id]
    return np.asarray(is_chosen & table["group_id"].is_in(taken).to_numpy(), np.bool_)


def _draw_start(label: str, seed: int) -> float:
    """Draw a number from 0 to 1 for a label, which depends on the label and the seed alone."""
    drawn = hashlib.blake2b(f"{seed}\0start\0{label}".encode(), digest_size=8).digest()
    return int.from_bytes(drawn) / 2**64


def keep_given_splits(given: Sequence[str | None], group_ids: Sequence[str]) -> list[str | None]:
    """Keep splits that came with the catalogue, but move duplicates to one side.

    Where a group of duplicates lies on several sides, its items stay on the side that is evaluated last (test,
    then val) and are taken out of the others.

    Returns:
        The split of each item, None where it is taken out or had none.
    """
    side: dict[str, int] = {}
    for split, group_id in zip(given, group_ids, strict=True):
        if split is not None:
            side[group_id] = max(side.get(group_id, 0), SPLITS.index(split))
    return [
        split if split is not None and SPLITS.index(split) == side[group_id] else None
        for split, group_id in zip(given, group_ids, strict=True)
    ]


def divide_by_rule(
    in_test: Sequence[bool], labels: Sequence[str], group_ids: Sequence[str], fractions: Sequence[float], seed: int
) -> list[str | None]:
    """Make the chosen items the test split and draw train and val from the groups that have none of them.

    Args:
        in_test: Whether the rule puts the item into test.
        labels: The label of each item.
        group_ids: The group of duplicates of each item.
        fractions: The shares of train and val; only their ratio counts.
        seed: Draws train and val, as in `assign_splits`.

    Returns:
        The split of each item, None where it is taken out: the rule leaves it, but a duplicate of it is in test.
    """
    test_groups = {group_id for group_id, chosen in zip(group_ids, in_test, strict=True) if chosen}
    rest = [pair for pair in zip(labels, group_ids, strict=True) if pair[1] not in test_groups]
    drawn = assign_splits([label for label, _ in rest], [group_id for _, group_id in rest], fractions, seed)
    return ["test" if chosen else drawn.get(group_id) for group_id, chosen in zip(group_ids, in_test, strict=True)]


# Divide items into folds for cross-validation: by seed, by label, and with duplicates in one fold.


def assign_folds(labels: Sequence[str], group_ids: Sequence[str], folds: int, seed: int) -> list[int]:
    """Return each item its fold, 0 to `folds` - 1.

    The groups of a label, each under the label that most of its items have, are taken in an order drawn by the
    seed, each to the fold that has fewest items of that label. The order of the rows does not matter.

    Args:
        labels: The label of each item.
        group_ids: The group of duplicates of each item.
        folds: Two or more.
        seed: Draws the order.
    """
    members: dict[str, Counter[str]] = defaultdict(Counter)
    for label, group_id in zip(labels, group_ids, strict=True):
        members[group_id][label] += 1
    filled: dict[str, list[int]] = defaultdict(lambda: [0] * folds)
    total = [0] * folds
    fold_of: dict[str, int] = {}
    for group_id in order_by_seed(members, seed):
        counts = members[group_id]
        own = filled[min(counts, key=lambda each: (-counts[each], each))]
        # Of folds that are equally far behind in this label, the one that is furthest behind in all.
        fold = min(range(folds), key=lambda each: (own[each], total[each], each))
        own[fold] += counts.total()
        total[fold] += counts.total()
        fold_of[group_id] = fold
    return [fold_of[group_id] for group_id in group_ids]


# Take splits and groups of duplicates over from another workspace, so that two sizes are evaluated on the same items.

KEPT = ("item_id", "split", "group_id")


def read_splits(folder: str) -> tuple[pl.DataFrame, str] | None:
    """Return another workspace's `item_id`, `split` and `group_id` and their digest; None where none is named.

    Raises:
        WorkspaceError: Nothing is cleaned there.
    """
    if not folder:
        return None
    labelled = read_labeled_items(Workspace.at(expand_home(folder)))
    return labelled.table.select(KEPT), labelled.digest


def reuse_splits(items: pl.DataFrame, splits: pl.DataFrame) -> pl.DataFrame:
    """Return items the splits and groups that they have elsewhere, as `given_split` and `group_id`.

    An item that is not there is in no split, and keeps its own group. Groups of duplicates depend on the size that
    photographs are fitted to; those taken over hold, but photographs that are equal here to the pixel are kept on
    one side all the same.

    Args:
        items: `item_id`, `given_split`, `group_id` and `pixel_hash`.
        splits: What `read_splits` gave.

    Raises:
        SettingsError: No item is in a split there.
    """
    named = splits.rename({"split": "given_split"})
    joined = items.drop("given_split").join(named, on="item_id", how="left", maintain_order="left", suffix="_there")
    sides = keep_given_splits(joined["given_split"].to_list(), joined["pixel_hash"].to_list())
    if not any(sides):
        raise SettingsError(
            "No item of the catalogue is in a split of the other workspace.",
            hint="Name a workspace of the same catalogue.",
        )
    return joined.with_columns(
        given_split=pl.Series(sides, dtype=pl.String), group_id=pl.coalesce("group_id_there", "group_id")
    ).select(items.columns)
