"""Test class-balanced sampling, and the order in which pixels larger than memory are read."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hangtag.training import sampling
from hangtag.training.sampling import compute_copies, draw_order, group_by_blocks

CLASSES = st.lists(st.integers(0, 6), min_size=1, max_size=80).map(lambda classes: np.array(classes, np.int64))


@given(CLASSES, st.floats(0, 1))
def test_copies_have_a_mean_of_one_and_are_the_same_within_a_class(classes: np.ndarray, balance: float) -> None:
    copies = compute_copies(classes, balance)
    assert copies.shape == classes.shape
    assert copies.mean() == pytest.approx(1)
    for place in set(classes.tolist()):
        assert np.ptp(copies[classes == place]) == 0


@given(CLASSES, st.floats(0, 1))
def test_a_rarer_class_never_has_fewer_copies(classes: np.ndarray, balance: float) -> None:
    counts, copies = np.bincount(classes)[classes], compute_copies(classes, balance)
    order = np.argsort(counts)
    assert (np.diff(copies[order]) <= 1e-12).all()


def test_copies_are_a_power_of_the_class_count() -> None:
    classes = np.array([0] * 16 + [1] * 4)
    for balance, wanted in ((0.0, 1.0), (0.5, 2.0), (1.0, 4.0)):
        copies = compute_copies(classes, balance)
        assert copies[-1] / copies[0] == pytest.approx(wanted)


@given(CLASSES)
def test_full_balance_samples_all_classes_equally(classes: np.ndarray) -> None:
    copies = compute_copies(classes, 1.0)
    sums = [copies[classes == place].sum() for place in set(classes.tolist())]
    np.testing.assert_allclose(sums, len(classes) / len(sums))


@given(CLASSES, st.integers(0, 999))
def test_without_balance_every_item_occurs_once(classes: np.ndarray, seed: int) -> None:
    copies = compute_copies(classes, 0.0)
    assert (copies == 1).all()
    order = draw_order(copies, np.random.default_rng(seed))
    assert sorted(order.tolist()) == list(range(len(classes)))


@given(CLASSES, st.floats(0, 1), st.integers(0, 999))
def test_every_item_occurs_its_expected_number_of_times_rounded(classes: np.ndarray, balance: float, seed: int) -> None:
    copies = compute_copies(classes, balance)
    order = draw_order(copies, np.random.default_rng(seed))
    assert len(order) == len(classes)
    assert order.dtype == np.int64
    times = np.bincount(order, minlength=len(classes))
    # What is whole but for the last digit may go either way.
    assert (times >= np.floor(copies - 1e-9)).all()
    assert (times <= np.ceil(copies + 1e-9)).all()


def test_items_of_a_class_are_sampled_equally_over_many_epochs() -> None:
    classes = np.array([0] * 27 + [1] * 3)
    copies = compute_copies(classes, 0.35)
    times = sum(
        np.bincount(draw_order(copies, np.random.default_rng((7, epoch))), minlength=30) for epoch in range(2000)
    )
    np.testing.assert_allclose(np.asarray(times) / 2000, copies, atol=0.06)


def test_the_order_depends_on_the_seed_only() -> None:
    copies = compute_copies(np.arange(50) % 3, 0.5)
    first, again, other = (draw_order(copies, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    # Copies of an item do not stand beside one another.
    doubled = draw_order(np.array([25.0] + [25 / 49] * 49), np.random.default_rng(0))
    assert (np.diff(np.flatnonzero(doubled == 0)) > 1).any()


def test_a_set_that_fits_into_the_buffer_keeps_its_order() -> None:
    random = np.random.default_rng(0)
    order = random.permutation(1000)
    state = random.bit_generator.state
    assert group_by_blocks(order, np.arange(1000), 14_400, random) is order
    assert random.bit_generator.state == state


def test_a_larger_set_is_read_in_shuffled_blocks_that_are_spread_over_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # Ten rows a block, eight blocks a buffer; the items are two thirds of the rows.
    monkeypatch.setattr(sampling, "BLOCK_BYTES", 1000)
    monkeypatch.setattr(sampling, "BUFFER_BYTES", 8000)
    rows = np.flatnonzero(np.arange(4000) % 3)
    order = draw_order(np.ones(len(rows)), np.random.default_rng(1))
    grouped = group_by_blocks(order, rows, 100, np.random.default_rng(2))
    assert sorted(grouped) == sorted(order)
    blocks = rows[grouped] // 10
    parts = np.array_split(blocks, 50)
    # Neighbouring parts share the blocks at their border.
    assert max(len(np.unique(part)) for part in parts) <= 16
    assert all(np.ptp(part) > 100 for part in parts)
    # Within a buffer the order stays random: an item's neighbours are of other blocks.
    assert (blocks[1:] == blocks[:-1]).mean() < 0.3
    assert (group_by_blocks(order, rows, 100, np.random.default_rng(3)) != grouped).any()
