"""Balance: 0 for one value, 1 for equal shares, and the capstone's own figures."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hangtag.labels.dataset import compute_balance


@pytest.mark.parametrize(("counts", "balance"), [([5], 0.0), ([], 0.0), ([5, 5, 5], 1.0), ([3, 1], 0.8113)])
def test_known_values(counts: list[int], balance: float) -> None:
    assert compute_balance(counts) == pytest.approx(balance, abs=1e-4)


@given(st.lists(st.integers(1, 10_000), min_size=2, max_size=50))
def test_between_nothing_and_one_and_indifferent_to_scale(counts: list[int]) -> None:
    balance = compute_balance(counts)
    assert 0 < balance <= 1 + 1e-12
    assert compute_balance([7 * count for count in counts]) == pytest.approx(balance)
