"""The order of the photographs and their flips are decided by the seed and the epoch, by nothing else."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hangtag.catalog.schema import CatalogSchema
from hangtag.labels.labelled import Labelled
from hangtag.training.augment import flip_at_random
from hangtag.training.dataset import ItemDataset, build_dataset

# Photograph i is filled with i, but for its left column, which is 255: so a flip can be seen.
IMAGES = np.broadcast_to(np.arange(20, dtype=np.uint8)[:, None, None, None], (20, 8, 8, 3)).copy()
IMAGES[:, :, 0] = 255


def build(items: int = 10) -> ItemDataset:
    rows = np.arange(items, dtype=np.int64)[::-1] * 2
    return ItemDataset(IMAGES, rows, rows % 3)


def collect(dataset: ItemDataset, *, seed: int = 0, epoch: int = 1, flip: bool = True) -> tuple[list[int], list[bool]]:
    """Give the rows in the order that they came, and whether each was flipped."""
    batches = [images for images, _ in dataset.iterate_shuffled(4, seed=seed, epoch=epoch, flip=flip)]
    images = np.concatenate(batches)
    return images[:, 0, 4, 0].tolist(), (images[:, 0, -1, 0] == 255).tolist()


@given(
    items=st.integers(1, 10), batch_size=st.integers(1, 12), seed=st.integers(0, 2**32 - 1), epoch=st.integers(1, 99)
)
def test_every_item_comes_once_an_epoch_with_its_own_class(items: int, batch_size: int, seed: int, epoch: int) -> None:
    dataset = build(items)
    batches = list(dataset.iterate_shuffled(batch_size, seed=seed, epoch=epoch, flip=True))
    rows = np.concatenate([images[:, 0, 4, 0] for images, _ in batches])
    assert sorted(rows) == sorted(dataset.rows)
    np.testing.assert_array_equal(np.concatenate([classes for _, classes in batches]), rows % 3)
    assert [len(classes) for _, classes in batches][:-1] == [batch_size] * (len(batches) - 1)


def test_a_seed_and_an_epoch_decide_order_and_flips() -> None:
    assert collect(build(), seed=3, epoch=2) == collect(build(), seed=3, epoch=2)


@pytest.mark.parametrize(("seed", "epoch"), [(3, 3), (4, 2), (2, 3)])
def test_another_seed_or_epoch_gives_another_order(seed: int, epoch: int) -> None:
    assert collect(build(), seed=seed, epoch=epoch)[0] != collect(build(), seed=3, epoch=2)[0]


def test_flips_are_neither_all_nor_none_and_can_be_left_out() -> None:
    assert set(collect(build())[1]) == {True, False}
    assert set(collect(build(), flip=False)[1]) == {False}


def test_the_packed_pixels_stay_as_they_are() -> None:
    before = IMAGES.copy()
    collect(build())
    np.testing.assert_array_equal(IMAGES, before)


def test_a_flip_swaps_left_and_right_alone() -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 5, 4, 3), dtype=np.uint8)
    flipped = flip_at_random(images.copy(), np.random.default_rng(1))
    is_same = (flipped == images).all(axis=(1, 2, 3))
    is_mirrored = (flipped == images[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (is_same ^ is_mirrored).all()
    assert 10 < is_mirrored.sum() < 30


def test_validation_keeps_the_order_of_the_split() -> None:
    dataset = build()
    rows = np.concatenate([images[:, 0, 4, 0] for images, _ in dataset.iterate(4)])
    np.testing.assert_array_equal(rows, dataset.rows)


def test_a_split_gives_its_own_rows_and_class_indices() -> None:
    table = pl.DataFrame(
        {
            "item_id": ["a", "b", "c", "d"],
            "image_index": [7, 5, 3, 1],
            "label": ["Shoes", "Bags", "Unknown", "Bags"],
            "split": ["train", "train", None, "val"],
        }
    )
    labelled = Labelled(table, IMAGES, ("Bags", "Shoes"), CatalogSchema(), "digest")
    dataset = build_dataset(labelled, "train")
    assert (dataset.rows.tolist(), dataset.classes.tolist(), len(dataset)) == ([7, 5], [1, 0], 2)
    assert len(build_dataset(labelled, "test")) == 0
