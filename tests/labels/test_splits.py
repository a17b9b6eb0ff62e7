"""Splits: disjoint, grouped, near their shares, and indifferent to the order of the rows."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hangtag.labels import splits as splitting
from hangtag.labels.splits import assign_splits, divide_by_rule, keep_given_splits
from hangtag.train_config import SPLITS

FRACTIONS = (0.72, 0.18, 0.10)
items = st.lists(st.tuples(st.sampled_from("ABC"), st.integers(0, 60)), min_size=1, max_size=200)
ruled = st.lists(st.tuples(st.sampled_from("ABC"), st.integers(0, 40), st.booleans()), min_size=1, max_size=100)


@given(items, st.integers(0, 3))
def test_every_group_has_one_split_whatever_the_order(drawn: list[tuple[str, int]], seed: int) -> None:
    pairs = [(label, f"g{group}") for label, group in drawn]
    splits = assign_splits([label for label, _ in pairs], [group for _, group in pairs], FRACTIONS, seed)
    assert set(splits) == {group for _, group in pairs}
    assert set(splits.values()) <= set(SPLITS)
    random.Random(0).shuffle(pairs)
    again = assign_splits([label for label, _ in pairs], [group for _, group in pairs], FRACTIONS, seed)
    assert again == splits


@given(st.integers(3, 60))
def test_three_groups_are_enough_for_every_split(count: int) -> None:
    splits = assign_splits(["A"] * count, [str(number) for number in range(count)], FRACTIONS, 0)
    assert set(splits.values()) == set(SPLITS)


def test_shares_are_met_label_by_label_with_groups_of_all_sizes() -> None:
    labels, groups = [], []
    for label in "AB":
        for group in range(1000):
            size = 1 + (group % 10 == 0) * 3
            labels += [label] * size
            groups += [f"{label}{group}"] * size
    splits = assign_splits(labels, groups, FRACTIONS, 0)
    for label in "AB":
        counts = Counter(splits[group] for name, group in zip(labels, groups, strict=True) if name == label)
        for split, share in zip(SPLITS, FRACTIONS, strict=True):
            assert abs(counts[split] / 1300 - share) < 0.01


def test_seeds_differ_and_duplicates_reach_every_split() -> None:
    groups = [str(number // 2) for number in range(400)]
    one, other = (assign_splits(["A"] * 400, groups, FRACTIONS, seed) for seed in (0, 1))
    assert one != other
    assert set(one.values()) == set(SPLITS)


def test_given_splits_are_kept_but_for_duplicates_across_them() -> None:
    given_splits = ["train", "train", "val", "test", None, "train"]
    groups = ["a", "b", "b", "c", "c", "c"]
    assert keep_given_splits(given_splits, groups) == ["train", None, "val", "test", None, None]


@given(ruled, st.integers(0, 3), st.randoms(use_true_random=False))
def test_a_rule_decides_test_and_what_it_leaves_is_drawn(
    drawn: list[tuple[str, int, bool]], seed: int, order: random.Random
) -> None:
    def divide(numbers: list[int]) -> dict[int, str | None]:
        labels, groups, in_test = zip(*(drawn[number] for number in numbers), strict=True)
        splits = divide_by_rule(in_test, labels, [f"g{group}" for group in groups], FRACTIONS[:2], seed)
        return dict(zip(numbers, splits, strict=True))

    numbers = list(range(len(drawn)))
    splits = divide(numbers)
    test_groups = {group for _, group, in_test in drawn if in_test}
    sides: dict[int, set[str]] = {}
    for number, (_, group, in_test) in enumerate(drawn):
        assert (splits[number] == "test") == in_test
        assert (splits[number] is None) == (group in test_groups and not in_test)
        if split := splits[number]:
            sides.setdefault(group, set()).add(split)
    assert all(len(found) == 1 for found in sides.values())
    order.shuffle(numbers)
    assert divide(numbers) == splits


def test_what_a_rule_leaves_keeps_the_shares_of_train_and_val() -> None:
    labels = ["A"] * 500 + ["B"] * 500 + ["C"] * 2 + ["D"]
    in_test = [number % 2 == 0 for number in range(1000)] + [False] * 3
    groups = [str(number) for number in range(1003)]
    splits = divide_by_rule(in_test, labels, groups, FRACTIONS[:2], 0)
    counts = Counter(zip(labels, splits, strict=True))
    assert [counts[label, "train"] for label in "ABCD"] == [200, 200, 1, 1]
    assert [counts[label, "val"] for label in "ABCD"] == [50, 50, 1, 0]


class Unindexed(list[str]):
    """A list in which nobody may search."""

    def index(self, *_: object) -> int:
        raise AssertionError("a search through all groups for each of them")


@given(st.dictionaries(st.text(max_size=3), st.integers(1, 4), max_size=40), st.integers(0, 3))
def test_the_smallest_groups_are_the_first_of_their_size_in_the_order(sizes: dict[str, int], seed: int) -> None:
    order = splitting.order_by_seed(sizes, seed)
    wanted = sorted(order, key=lambda group_id: (sizes[group_id], order.index(group_id)))[:3]
    shares = dict(zip(SPLITS, FRACTIONS, strict=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(splitting, "order_by_seed", lambda *_: Unindexed(order))
        found = splitting._split_label(sizes, shares, seed)
    if len(order) >= 3:
        assert [found[group_id] for group_id in wanted] == ["test", "val", "train"]


@pytest.mark.parametrize("seed", range(6))
def test_of_few_groups_the_smallest_are_evaluated_on(seed: int) -> None:
    sizes = {"large": 80, "small": 2, "smallest": 1}
    groups = [group for group, size in sizes.items() for _ in range(size)]
    splits = assign_splits(["A"] * len(groups), groups, FRACTIONS, seed)
    assert splits == {"large": "train", "small": "val", "smallest": "test"}


def test_a_mixed_group_is_split_with_the_label_of_most_of_its_items(monkeypatch: pytest.MonkeyPatch) -> None:
    split: list[dict[str, int]] = []

    def note(sizes: dict[str, int], *_: object) -> dict[str, str]:
        split.append(dict(sizes))
        return {}

    monkeypatch.setattr(splitting, "_split_label", note)
    assign_splits(["A", "B", "B", "B", "A", "A"], ["mixed"] * 3 + ["even"] * 2 + ["own"], FRACTIONS, 0)
    assert split == [{"even": 2, "own": 1}, {"mixed": 3}]
