"""Test that the seed and the epoch determine the order and the augmentation of training items."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hangtag.train_config import TrainConfig
from hangtag.training.data import Augmentation, ItemDataset, choose_scales
from hangtag.training.sampling import compute_copies

# Photograph i is filled with i, but for its left column, which is 255: so a flip can be seen.
IMAGES = np.broadcast_to(np.arange(20, dtype=np.uint8)[:, None, None, None], (20, 8, 8, 3)).copy()
IMAGES[:, :, 0] = 255
FLIP = Augmentation()
PLAIN = Augmentation(flip=False)


def build(items: int = 10) -> ItemDataset:
    rows = np.arange(items, dtype=np.int64)[::-1] * 2
    return ItemDataset(IMAGES, rows, {"category_path": rows % 3, "attribute_0": rows % 5})


def iterate(dataset: ItemDataset, batch_size: int = 4, **more: Any) -> Any:
    settings: dict[str, Any] = {"seed": 0, "epoch": 1, "augmentation": FLIP, "copies": np.ones(len(dataset))}
    return dataset.iterate_shuffled(batch_size, **(settings | more))


def collect(dataset: ItemDataset, **more: Any) -> tuple[list[int], list[bool]]:
    """Return the rows in the order that they came, and whether each was flipped."""
    images = np.concatenate([batch.images for batch in iterate(dataset, **more)])
    return images[:, 0, 4, 0].tolist(), (images[:, 0, -1, 0] == 255).tolist()


@given(
    items=st.integers(1, 10), batch_size=st.integers(1, 12), seed=st.integers(0, 2**32 - 1), epoch=st.integers(1, 99)
)
def test_every_item_occurs_once_per_epoch_with_its_classes(items: int, batch_size: int, seed: int, epoch: int) -> None:
    dataset = build(items)
    batches = list(iterate(dataset, batch_size, seed=seed, epoch=epoch))
    rows = np.concatenate([batch.images[:, 0, 4, 0] for batch in batches]).astype(np.int64)
    assert sorted(rows) == sorted(dataset.rows)
    for head, divisor in (("category_path", 3), ("attribute_0", 5)):
        np.testing.assert_array_equal(np.concatenate([batch.classes[head] for batch in batches]), rows % divisor)
    assert [len(batch) for batch in batches][:-1] == [batch_size] * (len(batches) - 1)


def test_seed_and_epoch_determine_order_and_flips() -> None:
    assert collect(build(), seed=3, epoch=2) == collect(build(), seed=3, epoch=2)


@pytest.mark.parametrize(("seed", "epoch"), [(3, 3), (4, 2), (2, 3)])
def test_another_seed_or_epoch_gives_another_order(seed: int, epoch: int) -> None:
    assert collect(build(), seed=seed, epoch=epoch)[0] != collect(build(), seed=3, epoch=2)[0]


def test_flips_are_random_and_can_be_disabled() -> None:
    assert set(collect(build())[1]) == {True, False}
    assert set(collect(build(), augmentation=PLAIN)[1]) == {False}


def test_the_source_pixels_are_unchanged() -> None:
    before = IMAGES.copy()
    IMAGES.flags.writeable = False
    try:
        collect(build(), augmentation=Augmentation(shift=2, zoom=0.2, brightness=0.5))
        for batch in iterate(build(), augmentation=PLAIN):
            batch.images[:] = 7
    finally:
        IMAGES.flags.writeable = True
    np.testing.assert_array_equal(IMAGES, before)


def test_copies_determine_how_often_an_item_occurs() -> None:
    dataset = build()
    copies = compute_copies(np.array([0] * 8 + [1] * 2), 1.0)
    rows, _ = collect(dataset, copies=copies)
    assert len(rows) == len(dataset)
    assert sum(row in dataset.rows[8:] for row in rows) == 5


@pytest.mark.parametrize(
    ("settings", "size", "scales"),
    [
        ({}, (80, 60), (1.2, 2.0)),
        ({}, (160, 120), (0.6, 1.0)),
        ({}, (224, 168), (0.6, 1.0)),
        ({}, (16, 12), (2.4, 4.0)),
        ({"initial_scale": 0.5, "final_scale": 2.0}, (80, 60), (0.5, 2.0)),
        ({"weights": "none"}, (80, 60), (0.6, 1.0)),
        ({"architecture": "residual"}, (80, 60), (0.6, 1.0)),
        ({"architecture": "hub", "weights": "preset"}, (80, 60), (0.6, 1.0)),
    ],
)
def test_small_photographs_are_enlarged_for_pretrained_weights(
    settings: dict[str, Any], size: tuple[int, int], scales: tuple[float, float]
) -> None:
    config = choose_scales(TrainConfig(**settings), size)
    assert (config.initial_scale, config.final_scale) == pytest.approx(scales)
