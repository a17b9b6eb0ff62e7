"""Batches of pixels and classes from the packed memory map, in an order that a seed and the epoch decide."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hangtag.catalog.images import Pixels
from hangtag.labels.labelled import Labelled
from hangtag.training.augment import flip_at_random

Classes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ItemDataset:
    """The items of one split.

    Attributes:
        images: All pixels, uint8 (N, H, W, 3), a memory map.
        rows: The split's rows in `images`, int64 (n,).
        classes: Their class indices, int64 (n,).
    """

    images: Pixels
    rows: npt.NDArray[np.int64]
    classes: Classes

    def __len__(self) -> int:
        """Give the number of items."""
        return len(self.rows)

    def iterate(self, batch_size: int) -> Iterator[tuple[Pixels, Classes]]:
        """Give batches in the split's own order."""
        for start in range(0, len(self.rows), batch_size):
            rows = self.rows[start : start + batch_size]
            yield self.images[rows], self.classes[start : start + batch_size]

    def iterate_shuffled(
        self, batch_size: int, *, seed: int, epoch: int, flip: bool
    ) -> Iterator[tuple[Pixels, Classes]]:
        """Give batches in an order, and with flips, that `seed` and `epoch` alone decide.

        So a resumed training sees what an uninterrupted one would have seen. The last batch may be smaller.
        """
        random = np.random.default_rng((seed, epoch))
        order = random.permutation(len(self.rows))
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            images = self.images[self.rows[chosen]]
            yield (flip_at_random(images, random) if flip else images), self.classes[chosen]


def build_dataset(labelled: Labelled, split: str) -> ItemDataset:
    """Give the items of a split."""
    table = labelled.of_split(split)
    index = {name: position for position, name in enumerate(labelled.class_names)}
    classes = np.array([index[label] for label in table["label"]], np.int64)
    return ItemDataset(labelled.images, table["image_index"].to_numpy().astype(np.int64), classes)
