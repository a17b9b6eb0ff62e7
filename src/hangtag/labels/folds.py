"""Divide items into folds for cross-validation: by seed, by label, and with duplicates in one fold."""

from collections import Counter, defaultdict
from collections.abc import Sequence

from hangtag.labels.split import order_by_seed


def assign_folds(labels: Sequence[str], group_ids: Sequence[str], folds: int, seed: int) -> list[int]:
    """Give each item its fold, 0 to `folds` - 1.

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
