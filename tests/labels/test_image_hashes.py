"""Looking photographs up in a set by hashes finds exactly what comparing all with all would."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from hangtag.labels.duplicates import compute_fingerprints, compute_perceptual_hashes, hash_photographs
from hangtag.labels.image_hashes import PhotographHashes, PhotographSet

# Few bits, so that hashes that are equal, one bit apart and two bits apart all happen often.
KEYS = st.lists(st.sampled_from([0, 1, 3, 7, 1 << 63, 2**64 - 1, 2**64 - 2, 5, 1 << 20, (1 << 20) + 1]), max_size=8)


def make(perceptual: list[int], pixels: list[int] | None = None) -> PhotographHashes:
    count = len(perceptual)
    values = pixels if pixels is not None else [10_000 + number for number in range(count)]
    return PhotographHashes(np.array(perceptual, np.uint64), np.array(values[:count], np.uint64))


@given(KEYS, KEYS, st.lists(st.integers(0, 3), min_size=8, max_size=8), st.sampled_from([None, 0, 1]))
def test_it_finds_what_comparing_all_with_all_finds(
    known: list[int], asked: list[int], pixels: list[int], max_distance: int | None
) -> None:
    found = PhotographSet.of(make(known, [0, 2] * 4)).find(make(asked, pixels), max_distance)
    own = set(([0, 2] * 4)[: len(known)])
    for place, key in enumerate(asked):
        near = max_distance is not None and any((key ^ each).bit_count() <= max_distance for each in known)
        assert bool(found[place]) == (near or pixels[place] in own)


@given(st.lists(st.integers(0, 2**64 - 1), max_size=20), st.lists(st.integers(0, 63), max_size=20))
def test_one_bit_of_any_hash_may_differ_and_no_more(known: list[int], bits: list[int]) -> None:
    photographs = PhotographSet.of(make(known, [99] * 20))
    flipped = [key ^ (1 << bit) for key, bit in zip(known, bits, strict=False)]
    assert photographs.find(make(flipped)).all()
    twice = [key ^ (1 << bit) ^ (1 << (bit + 1) % 64) for key, bit in zip(known, bits, strict=False)]
    wanted = [any((key ^ each).bit_count() <= 1 for each in known) for key in twice]
    assert photographs.find(make(twice)).tolist() == wanted


@given(KEYS, KEYS)
def test_sets_are_joined_and_taken_from_each_other(first: list[int], second: list[int]) -> None:
    left, right = PhotographSet.of(make(first, first)), PhotographSet.of(make(second, second))
    for attribute in ("perceptual", "pixels"):
        assert getattr(left | right, attribute).tolist() == sorted({*first, *second})
        assert getattr(left - right, attribute).tolist() == sorted({*first} - {*second})


def test_nothing_is_in_an_empty_set() -> None:
    assert not PhotographSet().find(make([0, 1, 2**64 - 1])).any()
    assert PhotographSet.of(make([1])).find(make([])).tolist() == []


def draw_photographs() -> NDArray[np.uint8]:
    """Draw shapes with shading on white, 80 x 60, all of them different."""
    random, drawn = np.random.default_rng(3), []
    for _ in range(60):
        image = Image.new("RGB", (60, 80), "white")
        pen = ImageDraw.Draw(image)
        for _ in range(6):
            left, top = random.integers(0, 40), random.integers(0, 55)
            box = (left, top, left + random.integers(8, 30), top + random.integers(8, 30))
            pen.ellipse([float(side) for side in box], fill=tuple(int(each) for each in random.integers(0, 256, 3)))
        drawn.append(np.asarray(image))
    return np.stack(drawn)


def test_most_photographs_that_were_compressed_again_or_darkened_are_found_and_no_others() -> None:
    images = draw_photographs()
    known = PhotographSet.of(hash_photographs(images[:30]))
    compressed = []
    for image in images:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=95)
        compressed.append(np.asarray(Image.open(buffer)))
    darker = np.clip(images.astype(int) * 0.97, 0, 255).astype(np.uint8)
    for changed in (np.stack(compressed), darker):
        hashes = hash_photographs(changed)
        assert known.find(hashes, None).sum() == 0
        assert known.find(hashes)[:30].mean() > 0.7
        assert not known.find(hashes)[30:].any()


def test_blank_photographs_are_known_by_their_pixels() -> None:
    # Their perceptual hash is of rounding alone and may be another on another machine.
    blank = np.full((1, 80, 60, 3), 240, np.uint8)
    hashes = hash_photographs(blank)
    elsewhere = PhotographHashes(~hashes.perceptual, hashes.pixels)
    assert PhotographSet.of(hashes).find(elsewhere).all()


@pytest.mark.parametrize("count", [0, 3, 1500])
def test_chosen_rows_have_the_hashes_that_they_have_among_all(count: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2000, 8, 6, 3), dtype=np.uint8)
    rows = np.random.default_rng(1).permutation(2000)[:count].astype(np.int64)
    pixel_hashes, hashes = compute_fingerprints(images)
    found_pixels, found = compute_fingerprints(images, rows)
    assert found_pixels == [pixel_hashes[row] for row in rows]
    np.testing.assert_array_equal(found, hashes[rows])
    np.testing.assert_array_equal(hash_photographs(images, rows).perceptual, compute_perceptual_hashes(images)[rows])
