"""Test the augmentation of training photographs."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from hangtag.presets import PRESETS
from hangtag.settings import resolve
from hangtag.train_config import TrainConfig
from hangtag.training.data import Augmentation

IMAGES = np.random.default_rng(0).integers(0, 256, (60, 7, 6, 3), dtype=np.uint8)
NOTHING = Augmentation(flip=False)
MUCH = Augmentation(flip=True, shift=3, zoom=0.3, brightness=0.4)
ANY = st.builds(
    Augmentation,
    flip=st.booleans(),
    shift=st.integers(0, 20),
    zoom=st.floats(0, 0.99),
    brightness=st.floats(0, 0.99),
)
PHOTOGRAPHS = npst.arrays(np.uint8, st.tuples(st.integers(0, 4), st.integers(1, 9), st.integers(1, 9), st.just(3)))


def vary(augmentation: Augmentation, images: Any = IMAGES, seed: int = 1) -> Any:
    return augmentation.vary(images, np.random.default_rng(seed))


def test_the_settings_of_a_training_are_used() -> None:
    assert Augmentation.of(TrainConfig(flip=False, max_shift=2, zoom=0.1, brightness=0.2)) == Augmentation(
        flip=False, shift=2, zoom=0.1, brightness=0.2
    )
    assert Augmentation.of(resolve(TrainConfig, PRESETS["capstone"])) == Augmentation(flip=True)


def test_without_settings_photographs_are_unchanged() -> None:
    varied = vary(NOTHING)
    np.testing.assert_array_equal(varied, IMAGES)
    assert not np.shares_memory(varied, IMAGES)


@given(PHOTOGRAPHS, ANY, st.integers(0, 999))
def test_shape_and_type_are_kept_for_all_settings(images: Any, augmentation: Augmentation, seed: int) -> None:
    varied = vary(augmentation, images, seed)
    assert (varied.shape, varied.dtype) == (images.shape, np.uint8)


@given(PHOTOGRAPHS, ANY, st.integers(0, 999))
def test_moved_pixels_come_from_the_photograph(images: Any, augmentation: Augmentation, seed: int) -> None:
    moved = vary(Augmentation(augmentation.flip, augmentation.shift, augmentation.zoom), images, seed)
    for before, after in zip(images, moved, strict=True):
        assert set(map(tuple, after.reshape(-1, 3))) <= set(map(tuple, before.reshape(-1, 3)))


def test_the_seed_determines_the_result_and_the_input_is_unchanged() -> None:
    before = IMAGES.copy()
    np.testing.assert_array_equal(vary(MUCH), vary(MUCH))
    assert (vary(MUCH) != vary(MUCH, seed=2)).any()
    np.testing.assert_array_equal(IMAGES, before)


@pytest.mark.parametrize("width", [6, 5])
def test_a_flip_mirrors_horizontally_only(width: int) -> None:
    images = IMAGES[:, :, :width]
    flipped = vary(Augmentation(flip=True), images)
    is_same = (flipped == images).all(axis=(1, 2, 3))
    is_mirrored = (flipped == images[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (is_same ^ is_mirrored).all()
    assert 15 < is_mirrored.sum() < 45


def test_a_shift_repeats_the_edge() -> None:
    shifted = vary(Augmentation(flip=False, shift=2))
    padded = np.pad(IMAGES, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="edge")
    seen = set()
    for number, image in enumerate(shifted):
        fitting = [
            (down, right)
            for down in range(5)
            for right in range(5)
            if (image == padded[number, down : down + 7, right : right + 6]).all()
        ]
        assert len(fitting) == 1
        seen.update(fitting)
    # All the way in every direction, and not at all.
    assert {down for down, _ in seen} == {right for _, right in seen} == set(range(5))


def test_a_shift_beyond_the_photograph_shows_its_edge() -> None:
    image = np.zeros((1, 4, 4, 3), np.uint8)
    image[:, :, 0], image[:, :, -1] = 10, 20
    for seed in range(20):
        assert set(vary(Augmentation(flip=False, shift=200), image, seed).ravel().tolist()) <= {0, 10, 20}


def test_a_zoom_keeps_the_centre_and_stays_within_its_limit() -> None:
    # In the place of colours: where each pixel of a large photograph comes from.
    side = 101
    places = np.broadcast_to(np.arange(side, dtype=np.uint8)[:, None, None], (40, side, side, 3))
    rows = vary(Augmentation(flip=False, zoom=0.2), places)[:, :, 0, 0].astype(int)
    assert (rows[:, side // 2] == side // 2).all()
    spread = (rows[:, side // 2 + 20] - rows[:, side // 2 - 20]) / 40
    assert (np.abs(spread - 1) <= 0.2 + 0.03).all()
    assert spread.min() < 0.9
    assert spread.max() > 1.1
    assert (np.diff(rows, axis=1) >= 0).all()


def test_white_stays_white_and_darkness_changes_within_the_limit() -> None:
    images = np.full((80, 2, 2, 3), 255, np.uint8)
    images[:, 0] = 155
    images[:, 1, 1] = (255, 205, 0)
    varied = vary(Augmentation(flip=False, brightness=0.3), images).astype(int)
    np.testing.assert_array_equal(varied[:, 1, 0], 255)
    np.testing.assert_array_equal(varied[:, 1, 1, 0], 255)
    darkness = 255 - varied[:, 0, 0, 0]
    assert darkness.min() in range(70, 80)
    assert darkness.max() in range(121, 131)
    # One factor a photograph: the darkness of its colours keeps their proportion.
    np.testing.assert_allclose((255 - varied[:, 1, 1, 1]) * 2, darkness, atol=2)
    assert (varied[:, 1, 1, 2] >= 0).all()


def test_dark_pixels_do_not_overflow() -> None:
    black = np.zeros((50, 1, 1, 3), np.uint8)
    varied = vary(Augmentation(flip=False, brightness=0.9), black)
    assert (varied == 0).any()
    assert varied.max() <= 255 * 0.9 + 1
