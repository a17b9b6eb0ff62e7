"""Near fingerprints, against comparing all with all."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hangtag.labels import duplicates
from hangtag.labels.duplicates import find_near_pairs


def compare_all(hashes: Any, distance: int) -> set[tuple[int, int]]:
    left, right = np.triu_indices(len(hashes), 1)
    near = np.bitwise_count(hashes[left] ^ hashes[right]) <= distance
    return set(zip(left[near].tolist(), right[near].tolist(), strict=True))


def draw_hashes(seed: int, count: int) -> Any:
    """Draw fingerprints of which many are a few bits from others, and some are the same."""
    random = np.random.default_rng(seed)
    centers = random.integers(0, 2**64, 5, dtype=np.uint64)
    hashes = centers[random.integers(0, 5, count)]
    for _ in range(6):
        flip = np.uint64(1) << random.integers(0, 64, count, dtype=np.uint64)
        hashes = np.where(random.random(count) < 0.5, hashes ^ flip, hashes)
    return hashes


@pytest.mark.parametrize("distance", range(7))
@given(seed=st.integers(0, 1000), count=st.integers(0, 60))
def test_all_near_pairs_are_found_once_and_no_other(distance: int, seed: int, count: int) -> None:
    hashes = draw_hashes(seed, count)
    left, right = find_near_pairs(hashes, distance)
    found = list(zip(left.tolist(), right.tolist(), strict=True))
    assert len(found) == len(set(found))
    assert set(found) == compare_all(hashes, distance)


def test_chunks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = draw_hashes(3, 80)
    whole = find_near_pairs(hashes, 4)
    monkeypatch.setattr(duplicates, "PAIR_CHUNK", 7)
    for one, other in zip(whole, find_near_pairs(hashes, 4), strict=True):
        assert one.tolist() == other.tolist()
