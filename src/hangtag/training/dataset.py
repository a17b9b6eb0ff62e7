"""Batches of pixels and classes from the packed memory map, in an order that a seed and the epoch decide."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hangtag.catalog.images import Pixels, shrink
from hangtag.models.outputs import Indices
from hangtag.models.words import Words
from hangtag.training.augment import Augmentation
from hangtag.training.sampling import draw_order


@dataclass(frozen=True)
class Batch:
    """Some items.

    Attributes:
        images: uint8 (n, H, W, 3).
        classes: The class index of each head, int64 (n,).
    """

    images: Pixels
    classes: dict[str, Indices]

    def __len__(self) -> int:
        """Give the number of items."""
        return len(self.images)


@dataclass(frozen=True)
class ItemDataset:
    """Chosen items of a catalogue.

    Attributes:
        images: All pixels, uint8 (N, H, W, 3), a memory map.
        rows: The items' rows in `images`, int64 (n,).
        classes: The class index of each head, int64 (n,).
        words: Their names' words, (n, MAX_WORDS), or None.
    """

    images: Pixels
    rows: Indices
    classes: dict[str, Indices]
    words: Words | None = None

    def __len__(self) -> int:
        """Give the number of items."""
        return len(self.rows)

    def take(self, places: npt.NDArray[np.intp] | Indices) -> "ItemDataset":
        """Give the items at these places."""
        classes = {head: indices[places] for head, indices in self.classes.items()}
        return ItemDataset(self.images, self.rows[places], classes, None if self.words is None else self.words[places])

    def iterate_shuffled(
        self,
        batch_size: int,
        *,
        seed: int,
        epoch: int,
        augmentation: Augmentation,
        copies: npt.NDArray[np.float64],
        image_size: tuple[int, int],
    ) -> Iterator[Batch]:
        """Give batches in an order, and varied in a way, that `seed` and `epoch` alone decide.

        So a resumed training sees what an uninterrupted one would have seen. The last batch may be smaller.

        Args:
            batch_size: Items a batch.
            seed: Of the training.
            epoch: From 1.
            augmentation: How photographs are varied.
            copies: How often each item is wanted, (n,), with a mean of 1.
            image_size: (height, width) that photographs are shrunk to.
        """
        random = np.random.default_rng((seed, epoch))
        order = draw_order(copies, random)
        for start in range(0, len(order), batch_size):
            chosen = self.take(order[start : start + batch_size])
            images = shrink(augmentation.vary(chosen.images[chosen.rows], random), image_size)
            yield Batch(images, chosen.classes)
