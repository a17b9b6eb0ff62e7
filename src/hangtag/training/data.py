"""Training data: augmentation, class balance, batches, prefetching, progressive resizing, and the photographs seen."""

import queue
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from hangtag.catalog.images import Pixels, shrink
from hangtag.config import TrainConfig
from hangtag.errors import LeakError
from hangtag.io import hash_file
from hangtag.labels.duplicates import hash_photographs
from hangtag.labels.image_hashes import PhotographHashes, PhotographSet
from hangtag.models.checkpoint import WEIGHTS
from hangtag.models.description import DESCRIPTION, read_description
from hangtag.models.label_space import Indices
from hangtag.models.registry import SMALLEST_SIDE
from hangtag.models.seen_images import SeenPhotographs, read_seen
from hangtag.models.text import Words
from hangtag.workspace import Workspace

# Vary training photographs, by a random generator that the caller seeds.

Random = np.random.Generator


@dataclass(frozen=True)
class Augmentation:
    """How far photographs are varied.

    Attributes:
        flip: Whether half of them are mirrored.
        shift: Pixels that they move at most, up, down or sideways; what comes in repeats the edge.
        zoom: By which share they grow or shrink at most.
        brightness: By which share the darkness of their colours changes at most; white stays white.
    """

    flip: bool = True
    shift: int = 0
    zoom: float = 0.0
    brightness: float = 0.0

    @classmethod
    def of(cls, config: TrainConfig) -> "Augmentation":
        """Take the settings of a training."""
        return cls(config.flip, config.max_shift, config.zoom, config.brightness)

    def vary(self, images: Pixels, random: Random) -> Pixels:
        """Return varied copies of photographs, uint8 (n, H, W, 3)."""
        return self._vary_brightness(self._move(images, random), random)

    def _move(self, images: Pixels, random: Random) -> Pixels:
        """Flip, zoom and shift in one gather of the nearest pixels."""
        count, height, width, _ = images.shape
        direction = np.where(random.random((count, 1)) < 0.5, -1.0, 1.0) if self.flip else np.ones((count, 1))
        zoom = 1 + self.zoom * random.uniform(-1, 1, (count, 1)) if self.zoom else np.ones((count, 1))
        shifts = random.integers(-self.shift, self.shift + 1, (2, count, 1))
        rows = _gather_pixels(height, zoom, shifts[0])
        columns = _gather_pixels(width, direction * zoom, shifts[1])
        return images[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]

    def _vary_brightness(self, images: Pixels, random: Random) -> Pixels:
        if not self.brightness:
            return images
        factors = 1 + self.brightness * random.uniform(-1, 1, (len(images), 1, 1, 1)).astype(np.float32)
        darkness = np.minimum((255 - images) * factors, 255)
        return np.asarray(np.rint(255 - darkness), np.uint8)


def _gather_pixels(side: int, scale: npt.NDArray[np.float64], shift: npt.NDArray[np.int64]) -> npt.NDArray[np.intp]:
    """Return which of `side` pixels each output pixel takes its value from, (n, side); a negative scale mirrors."""
    middle = (side - 1) / 2
    indices = np.rint((np.arange(side) - middle) * scale + middle + shift)
    return indices.clip(0, side - 1).astype(np.intp)


# Batches of pixels and classes from the packed memory map, in an order that a seed and the epoch decide.


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
        """Return the number of items."""
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
        """Return the number of items."""
        return len(self.rows)

    def take(self, positions: npt.NDArray[np.intp] | Indices) -> "ItemDataset":
        """Return the items at these positions."""
        classes = {head: indices[positions] for head, indices in self.classes.items()}
        return ItemDataset(
            self.images, self.rows[positions], classes, None if self.words is None else self.words[positions]
        )

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
        """Return batches in an order, and varied in a way, that `seed` and `epoch` alone decide.

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


# Show rare classes more often: how many copies of each item an epoch has, and in which order.


def compute_copies(classes: Indices, balance: float) -> npt.NDArray[np.float64]:
    """Return the expected number of copies of each item in an epoch, (n,), with a mean of 1.

    Source: tempered class-balanced sampling as in Mahajan et al., *Exploring the Limits of Weakly Supervised
    Pretraining*, 2018.

    Args:
        classes: The class of each item, int64 (n,).
        balance: 0 leaves the classes as they are, 1 shows all of them equally often, 0.5 takes the square root.
    """
    counts = np.bincount(classes)[classes].astype(np.float64)
    weights = counts**-balance
    return np.asarray(weights * (len(classes) / weights.sum()))


def draw_order(copies: npt.NDArray[np.float64], random: np.random.Generator) -> Indices:
    """Draw an epoch of as many items as there are, each item its expected number of times, rounded up or down.

    Where every item has one copy, each comes exactly once.
    """
    count = len(copies)
    shuffled = random.permutation(count)
    # Evenly spaced points on the line of all copies: every item gets its share, rounded up or down.
    ends = np.cumsum(copies[shuffled]) * (count / copies.sum())
    points = np.arange(count) + random.random()
    chosen = shuffled[np.minimum(np.searchsorted(ends, points, side="right"), count - 1)]
    return np.asarray(random.permutation(chosen), np.int64)


# Make the next batches while the network works on this one.

Item = TypeVar("Item")
AHEAD = 2


def prefetch(items: Iterable[Item], ahead: int = AHEAD) -> Iterator[Item]:
    """Yield the same items in the same order, computed by another thread up to `ahead` items in advance.

    An error in their making comes out where the item would have. Left early, the thread stops after its next item.
    """
    made: queue.Queue[tuple[bool, Item | BaseException | None]] = queue.Queue(ahead)
    is_over = threading.Event()

    def offer(is_item: bool, value: Item | BaseException | None) -> None:
        while not is_over.is_set():
            try:
                made.put((is_item, value), timeout=0.1)
            except queue.Full:
                continue
            return

    def make() -> None:
        try:
            for item in items:
                offer(True, item)
                if is_over.is_set():
                    return
        except BaseException as error:
            offer(False, error)
        else:
            offer(False, None)

    threading.Thread(target=make, daemon=True).start()
    try:
        while True:
            is_item, value = made.get()
            if is_item:
                yield value  # type: ignore[misc]
            elif isinstance(value, BaseException):
                raise value
            else:
                return
    finally:
        is_over.set()


# Begin a training on small photographs, which cost less, and end it on those of the size that the network reads.


def choose_size(
    image_size: tuple[int, int],
    epoch: int,
    epochs: int,
    *,
    initial_scale: float,
    final_scale: float = 1.0,
    final_fraction: float,
) -> tuple[int, int]:
    """Return the (height, width) that photographs are shrunk or enlarged to in an epoch: three sizes, each for a while.

    Source: progressive resizing as in Tan and Le, *EfficientNetV2: Smaller Models and Faster Training*, 2021.

    Args:
        image_size: (height, width) of whole photographs.
        epoch: From 1.
        epochs: Of the whole training.
        initial_scale: The share of the sides that the training begins on, above 0; `final_scale` at most.
        final_scale: The share that it ends on; above 1 photographs are enlarged.
        final_fraction: The last share of the epochs, which ends it; those before it are divided evenly.
    """
    initial_scale = min(initial_scale, final_scale)
    if epochs - epoch < final_fraction * epochs:
        scale = final_scale
    else:
        is_early = epoch - 1 < (1 - final_fraction) / 2 * epochs
        scale = initial_scale if is_early else (initial_scale * final_scale) ** 0.5
    return scale_size(image_size, scale)


def scale_size(image_size: tuple[int, int], scale: float) -> tuple[int, int]:
    """Return (height, width) with this share of the sides, even when they are smaller."""
    height, width = (max(round(side * scale / 2) * 2, SMALLEST_SIDE) if scale != 1 else side for side in image_size)
    return height, width


WITHOUT = "Train without --weights, or from weights that learnt from other photographs."


def collect_seen(
    workspace: Workspace, config: TrainConfig, data: Mapping[str, ItemDataset], max_distance: int | None
) -> SeenPhotographs:
    """Return what a run will have seen: its own items, and what the runs have seen that it takes weights from.

    Args:
        workspace: The workspace.
        config: The training's settings.
        data: What it learns from, `train`, and what it is evaluated on after every epoch, `val`.
        max_distance: How far apart perceptual hashes of one photograph may be; see `read_hash_distance`.

    Raises:
        LeakError: The weights to begin from learnt from photographs on which the run's epoch, temperatures and
            thresholds would be chosen.
    """
    val = hash_photographs(data["val"].images, data["val"].rows)
    begun = read_begun(config.weights)
    if not config.calibration_run:
        check_begun(begun, val, max_distance, "val, on which confidence is calibrated")
    train = hash_photographs(data["train"].images, data["train"].rows)
    seen = SeenPhotographs(PhotographSet.of(train), PhotographSet.of(val)) | begun
    if config.image_run:
        seen |= _read_run(workspace, config.image_run)
    if config.calibration_run:
        # Of the other run only val has a part in this one.
        seen |= SeenPhotographs(chosen_on=_read_run(workspace, config.calibration_run).chosen_on)
    return seen


def check_begun(begun: SeenPhotographs, hashes: PhotographHashes, max_distance: int | None, what: str) -> None:
    """Check that the pretrained weights were not trained on photographs that this training is validated on.

    Raises:
        LeakError: They did.
    """
    count = int(begun.learnt.find(hashes, max_distance).sum())
    if count:
        raise LeakError(
            f"The weights to begin from learnt from {count:,} of the {len(hashes):,} photographs of {what}.",
            hint=WITHOUT,
        )


def read_begun(source: str) -> SeenPhotographs:
    """Return what the weights of a `--weights` have seen.

    That is nothing of a catalogue for what a library publishes by name. The weights of a run say so themselves; of
    any other file it is not known.

    Raises:
        ModelError: The list beside a run's weights is damaged.
    """
    path = Path(source).expanduser()
    if not source or not path.exists():
        return SeenPhotographs()
    folder = path.parent
    if path.name == WEIGHTS and (folder / DESCRIPTION).is_file():
        content = read_description(folder).content
        if content.get("weights", {}).get("sha256") == hash_file(path):
            return read_seen(folder, content) or SeenPhotographs(is_complete=False)
    return SeenPhotographs(is_complete=False)


def _read_run(workspace: Workspace, run_id: str) -> SeenPhotographs:
    """Return the photographs that a run of the workspace has seen; None if it does not record them."""
    folder = workspace.run(run_id)
    return read_seen(folder, read_description(folder).content) or SeenPhotographs()
