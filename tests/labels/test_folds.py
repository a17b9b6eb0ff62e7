"""Folds are even in every label, keep duplicates together, and do not hang on the order of the rows."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hangtag.labels.splits import assign_folds

ITEMS = st.lists(
    st.tuples(st.sampled_from("ab"), st.integers(0, 30)).map(lambda pair: (pair[0], f"g{pair[1]}")), min_size=1
)


@given(ITEMS, st.integers(2, 5), st.integers(0, 3))
def test_duplicates_share_a_fold_and_the_order_of_rows_does_not_matter(
    items: list[tuple[str, str]], folds: int, seed: int
) -> None:
    labels, groups = [label for label, _ in items], [group for _, group in items]
    assigned = assign_folds(labels, groups, folds, seed)
    assert set(assigned) <= set(range(folds))
    by_group = dict(zip(groups, assigned, strict=True))
    assert [by_group[group] for group in groups] == assigned
    backwards = assign_folds(labels[::-1], groups[::-1], folds, seed)
    assert dict(zip(groups[::-1], backwards, strict=True)) == by_group


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=60), st.integers(2, 5))
def test_items_without_duplicates_are_spread_evenly_label_by_label_and_in_all(labels: list[str], folds: int) -> None:
    assigned = assign_folds(labels, [str(place) for place in range(len(labels))], folds, 0)
    for label in set(labels):
        counts = Counter(fold for fold, each in zip(assigned, labels, strict=True) if each == label)
        sizes = [counts[fold] for fold in range(folds)]
        assert max(sizes) - min(sizes) <= 1
    whole = Counter(assigned)
    assert max(whole.values()) - min(whole[fold] for fold in range(folds)) <= len(set(labels))


def test_another_seed_draws_other_folds() -> None:
    labels, groups = ["a"] * 40, [str(place) for place in range(40)]
    assert assign_folds(labels, groups, 4, 0) != assign_folds(labels, groups, 4, 1)


def test_labels_of_one_group_each_are_spread_over_the_folds() -> None:
    names = [str(number) for number in range(10)]
    assert Counter(assign_folds(names, names, 2, 0)) == {0: 5, 1: 5}


@pytest.mark.parametrize("seed", range(3))
def test_a_mixed_group_goes_by_the_label_of_most_of_its_items(seed: int) -> None:
    """The groups of B, 40 of them mixed with one item of A, are spread alike; each has three items."""
    labels = ["A", "B", "B"] * 40 + ["B"] * 3 * 41 + ["A"] * 3 * 41
    groups = [str(number // 3) for number in range(len(labels))]
    folds = assign_folds(labels, groups, 2, seed)
    in_first = sum(fold == 0 for fold in folds[: 3 * 81 : 3])
    assert in_first in (40, 41)
