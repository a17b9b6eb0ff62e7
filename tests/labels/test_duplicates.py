"""Duplicates: found when there are any, at every distance asked for, without comparing all with all."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hangtag.catalog.images import Pixels
from hangtag.labels.duplicates import (
    compute_fingerprints,
    compute_perceptual_hashes,
    group_duplicates,
)


def draw(seed: int = 0, brightness: int = 0) -> Pixels:
    """A smooth random picture: coarse noise, enlarged."""
    coarse = np.random.default_rng(seed).integers(0, 230, (10, 8, 3), dtype=np.uint8)
    picture = Image.fromarray(coarse).resize((60, 80), Image.Resampling.BICUBIC)
    return np.asarray(np.asarray(picture, int) + brightness).clip(0, 255).astype(np.uint8)


def test_small_changes_move_few_bits_and_other_pictures_many() -> None:
    file = io.BytesIO()
    Image.fromarray(draw()).save(file, "JPEG", quality=60)
    recoded = np.asarray(Image.open(file).convert("RGB"))
    images = np.stack([draw(), recoded, draw(brightness=3), draw(seed=2)])
    first, *others = compute_perceptual_hashes(images)
    distances = [int(first ^ other).bit_count() for other in others]
    assert distances[0] <= 4
    assert distances[1] <= 4
    assert distances[2] > 12


def test_equal_pixels_are_one_group_and_so_are_duplicates_of_duplicates() -> None:
    hashes = np.array([0, 1, 3, 0xFF00, 0xFF00], np.uint64)
    groups = group_duplicates(["a", "b", "c", "d", "a"], hashes, 1)
    assert len({int(group) for group in groups}) == 1
    apart = group_duplicates(["a", "b", "c", "d", "e"], np.array([0, 7, 0xFF, 0xFF00, 0xF << 60], np.uint64), 1)
    assert len({int(group) for group in apart}) == 5


def test_pixel_hashes_tell_a_single_pixel_apart() -> None:
    images = np.stack([draw(), draw(), draw()])
    images[2, 0, 0, 0] ^= 1
    pixel_hashes, hashes = compute_fingerprints(images)
    assert pixel_hashes[0] == pixel_hashes[1] != pixel_hashes[2]
    assert len(hashes) == 3


@pytest.mark.parametrize("max_distance", [0, 1, 2])
@given(numbers=st.lists(st.integers(0, 255), min_size=1, max_size=40, unique=True))
def test_hashes_that_are_close_are_grouped_and_no_others(max_distance: int, numbers: list[int]) -> None:
    # Spread over the 64 bits, so that high bits count as well.
    unique = np.sort(np.array([(n & 15) | (n >> 4) << 60 for n in numbers], np.uint64))
    groups = group_duplicates([str(number) for number in numbers], unique, max_distance)
    close = {
        frozenset((i, j))
        for i in range(len(unique))
        for j in range(i)
        if int(unique[i] ^ unique[j]).bit_count() <= max_distance
    }
    firsts = [groups.tolist().index(group) for group in groups]
    assert firsts == connect(close, len(unique))


def connect(pairs: set[frozenset[int]], count: int) -> list[int]:
    """Name each index after the smallest index that it is connected with."""
    names = list(range(count))
    for _ in range(count):
        for one, other in map(tuple, pairs):
            names[one] = names[other] = min(names[one], names[other])
    return names
