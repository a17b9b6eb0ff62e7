"""Split items into train, val and test: by seed, by label or by a rule, and with duplicates on one side."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from hangtag.config import SPLITS


def order_by_seed(keys: Iterable[str], seed: int) -> list[str]:
    """Put keys into an order that depends on the seed and on each key alone, not on the order they came in."""
    return sorted(keys, key=lambda key: hashlib.blake2b(f"{seed}\0{key}".encode(), digest_size=8).digest())


def assign_splits(
    labels: Sequence[str], group_ids: Sequence[str], fractions: Sequence[float], seed: int
) -> dict[str, str]:
    """Give each group of duplicates its split.

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
    members: dict[str, Counter[str]] = defaultdict(Counter)
    for label, group_id in zip(labels, group_ids, strict=True):
        members[group_id][label] += 1
    by_label: dict[str, dict[str, int]] = defaultdict(dict)
    for group_id, counts in members.items():
        label = min(counts, key=lambda each: (-counts[each], each))
        by_label[label][group_id] = counts.total()
    shares = dict(zip(SPLITS[: len(fractions)], fractions, strict=True))
    splits: dict[str, str] = {}
    for label in sorted(by_label):
        splits |= _split_label(by_label[label], shares, seed)
    return splits


def _split_label(sizes: Mapping[str, int], shares: Mapping[str, float], seed: int) -> dict[str, str]:
    order = order_by_seed(sizes, seed)
    splits: dict[str, str] = {}
    filled = dict.fromkeys(shares, 0)
    if len(order) >= len(shares):
        # The smallest groups go where there is least room, so that a large one never fills the test split.
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


def keep_given_splits(given: Sequence[str | None], group_ids: Sequence[str]) -> list[str | None]:
    """Honour splits that came with the catalogue, without letting duplicates lie on two sides.

    Where a group of duplicates lies on several sides, its items stay on the side that is judged last (test,
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
