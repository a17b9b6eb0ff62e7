"""Training data: augmentation, batches, prefetching and progressive resizing.

It also collects the photographs that a run sees, and checks that pretrained weights were not trained on those that
it is validated on.
"""

import queue
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from hangtag.catalog.images import Pixels
from hangtag.errors import LeakError
from hangtag.io import expand_home, hash_file
from hangtag.labels.duplicates import hash_photographs
from hangtag.labels.image_hashes import PhotographHashes, PhotographSet
from hangtag.models.checkpoint import WEIGHTS
from hangtag.models.description import DESCRIPTION, read_description
from hangtag.models.label_space import Indices
from hangtag.models.registry import SMALLEST_SIDE, find_architecture
from hangtag.models.seen_images import SeenPhotographs, read_seen
from hangtag.models.text import Words
from hangtag.train_config import IMAGENET, MAX_SCALE, START, TrainConfig
from hangtag.training.parallel import Cluster
from hangtag.training.sampling import draw_order, group_by_blocks
from hangtag.workspace import Workspace

Random = np.random.Generator
Item = TypeVar("Item")
# The number of items that are prefetched.
AHEAD = 2
ALL = slice(None)
WITHOUT = "Train without --weights, or with weights that were trained on other photographs."


@dataclass(frozen=True)
class Augmentation:
    """Random augmentation of training photographs.

    Attributes:
        flip: Whether to flip half of the photographs horizontally.
        shift: The largest horizontal and vertical shift in pixels. Pixels at the edge are repeated.
        zoom: The largest relative change of the scale.
        brightness: The largest relative change of the distance of colours to white; white remains white.
    """

    flip: bool = True
    shift: int = 0
    zoom: float = 0.0
    brightness: float = 0.0

    @classmethod
    def of(cls, config: TrainConfig) -> "Augmentation":
        """Build the augmentation of a training's settings."""
        return cls(config.flip, config.max_shift, config.zoom, config.brightness)

    def vary(self, images: Pixels, random: Random, *, count: int = 0, share: slice = ALL) -> Pixels:
        """Return augmented copies of photographs, uint8 (n, H, W, 3).

        Args:
            images: The photographs.
            random: The random generator.
            count: The number of photographs in the batch, if these are only a share of it.
            share: Their positions in the batch: they are varied as they would be among all.
        """
        count = count or len(images)
        return self._vary_brightness(self._move(images, random, count, share), random, count, share)

    def _move(self, images: Pixels, random: Random, count: int, share: slice) -> Pixels:
        """Flip, zoom and shift by indexing the nearest pixels once."""
        height, width = images.shape[1:3]
        direction = np.where(random.random((count, 1)) < 0.5, -1.0, 1.0) if self.flip else np.ones((count, 1))
        zoom = 1 + self.zoom * random.uniform(-1, 1, (count, 1)) if self.zoom else np.ones((count, 1))
        shifts = random.integers(-self.shift, self.shift + 1, (2, count, 1))
        rows = _find_source_pixels(height, zoom[share], shifts[0, share])
        columns = _find_source_pixels(width, (direction * zoom)[share], shifts[1, share])
        return images[np.arange(len(images))[:, None, None], rows[:, :, None], columns[:, None, :]]

    def _vary_brightness(self, images: Pixels, random: Random, count: int, share: slice) -> Pixels:
        if not self.brightness:
            return images
        factors = 1 + self.brightness * random.uniform(-1, 1, (count, 1, 1, 1)).astype(np.float32)
        darkness = np.minimum((255 - images) * factors[share], 255)
        return np.asarray(np.rint(255 - darkness), np.uint8)


def _find_source_pixels(
    side: int, scale: npt.NDArray[np.float64], shift: npt.NDArray[np.int64]
) -> npt.NDArray[np.intp]:
    """Return the index of the source pixel of each output pixel along a side, (n, side); a negative scale flips."""
    middle = (side - 1) / 2
    indices = np.rint((np.arange(side) - middle) * scale + middle + shift)
    return indices.clip(0, side - 1).astype(np.intp)


@dataclass(frozen=True)
class Batch:
    """A batch of items.

    Attributes:
        images: Their pixels, uint8 (n, H, W, 3).
        classes: The class index of each head, int64 (n,).
        words: Their encoded names, (n, MAX_WORDS), or None.
    """

    images: Pixels
    classes: dict[str, Indices]
    words: Words | None = None

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.images)


@dataclass(frozen=True)
class ItemDataset:
    """A selection of a catalogue's items with their pixels and classes.

    Attributes:
        images: The pixels of the whole catalogue, uint8 (N, H, W, 3), a memory map.
        rows: The items' rows in `images`, int64 (n,).
        classes: The class index of each head, int64 (n,).
        words: The items' encoded names, (n, MAX_WORDS), or None.
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
        cluster: Cluster = Cluster(),  # noqa: B008  (frozen)
    ) -> Iterator[Batch]:
        """Yield the augmented batches of an epoch in random order, of pixels larger than memory block by block.

        See `group_by_blocks`. The order and the augmentation depend only on `seed` and `epoch`, so a resumed training
        gets the same batches as an uninterrupted one. The last batch may be smaller.

        Args:
            batch_size: The number of items in a batch.
            seed: The seed of the training.
            epoch: The epoch, from 1.
            augmentation: The augmentation of photographs.
            copies: The expected number of copies of each item, (n,), with a mean of 1.
            cluster: The workers of the training; of each batch only the share of this one is read.
        """
        random = np.random.default_rng((seed, epoch))
        row_bytes = int(np.prod(self.images.shape[1:]))
        order = group_by_blocks(draw_order(copies, random), self.rows, row_bytes, random)
        for start in range(0, len(order), batch_size):
            positions = order[start : start + batch_size]
            share = cluster.find_share(len(positions))
            chosen = self.take(positions[share])
            if len(chosen):
                images = augmentation.vary(chosen.images[chosen.rows], random, count=len(positions), share=share)
                yield Batch(images, chosen.classes, chosen.words)


def prefetch(items: Iterable[Item], ahead: int = AHEAD) -> Iterator[Item]:
    """Yield the same items in the same order, computed by another thread up to `ahead` items in advance.

    An exception in that thread is raised in place of the item. If the caller stops early, the thread ends after its
    next item.
    """
    results: queue.Queue[tuple[bool, Item | BaseException | None]] = queue.Queue(ahead)
    is_stopped = threading.Event()

    def put(is_item: bool, value: Item | BaseException | None) -> None:
        while not is_stopped.is_set():
            try:
                results.put((is_item, value), timeout=0.1)
            except queue.Full:
                continue
            return

    def compute_items() -> None:
        try:
            for item in items:
                put(True, item)
                if is_stopped.is_set():
                    return
        except BaseException as error:
            put(False, error)
        else:
            put(False, None)

    threading.Thread(target=compute_items, daemon=True).start()
    try:
        while True:
            is_item, value = results.get()
            if is_item:
                yield value  # type: ignore[misc]
            elif isinstance(value, BaseException):
                raise value
            else:
                return
    finally:
        is_stopped.set()


def choose_size(
    image_size: tuple[int, int],
    epoch: int,
    epochs: int,
    *,
    initial_scale: float,
    final_scale: float = 1.0,
    final_fraction: float,
) -> tuple[int, int]:
    """Return the (height, width) that photographs are resized to in an epoch.

    A training has three sizes one after another: the initial one, a medium one and the final one. Source: progressive
    resizing as in Tan and Le, *EfficientNetV2: Smaller Models and Faster Training*, 2021.

    Args:
        image_size: (height, width) of the photographs.
        epoch: The epoch, from 1.
        epochs: The number of epochs.
        initial_scale: The scale of the height and width in the first epochs, above 0; at most `final_scale` is used.
        final_scale: The scale in the last epochs; above 1 enlarges photographs.
        final_fraction: The share of the epochs with the final scale. The epochs before are divided equally between the
            initial and the medium scale.
    """
    initial_scale = min(initial_scale, final_scale)
    if epochs - epoch < final_fraction * epochs:
        scale = final_scale
    else:
        is_early = epoch - 1 < (1 - final_fraction) / 2 * epochs
        scale = initial_scale if is_early else (initial_scale * final_scale) ** 0.5
    return scale_size(image_size, scale)


# Networks with ImageNet weights expect larger photographs than a shop's thumbnails. At this height they are accurate,
# and not slow yet (docs/experiments.md).
ENLARGED_HEIGHT = 160
INITIAL_SHARE = 0.6


def choose_scales(config: TrainConfig, image_size: tuple[int, int]) -> TrainConfig:
    """Return settings with an initial and a final scale; see the settings of these names.

    Args:
        config: The settings of the training.
        image_size: (height, width) of the photographs.
    """
    is_enlarged = config.pretrained and find_architecture(config.architecture).takes_any_size
    enlarged = min(max(1.0, ENLARGED_HEIGHT / image_size[0]), MAX_SCALE)
    final_scale = config.final_scale or (enlarged if is_enlarged else 1.0)
    return replace(config, final_scale=final_scale, initial_scale=config.initial_scale or INITIAL_SHARE * final_scale)


def scale_size(image_size: tuple[int, int], scale: float) -> tuple[int, int]:
    """Scale a (height, width), round both to even numbers, and enlarge them to at least `SMALLEST_SIDE`.

    A scale of 1 returns the size unchanged.
    """
    height, width = (max(round(side * scale / 2) * 2, SMALLEST_SIDE) if scale != 1 else side for side in image_size)
    return height, width


def collect_seen(
    workspace: Workspace,
    config: TrainConfig,
    data: Mapping[str, ItemDataset],
    max_distance: int | None,
    others: PhotographHashes | None = None,
) -> SeenPhotographs:
    """Return the photographs that a run sees: its own, and those of its pretrained weights and of the runs it uses.

    Args:
        workspace: The workspace.
        config: The settings of the training.
        data: The datasets `train` and `val`.
        max_distance: The largest distance between the perceptual hashes of duplicates; see `read_hash_distance`.
        others: The other photographs of the items of `val`, which the run does not see, but its weights must not have.

    Raises:
        LeakError: The pretrained weights were trained on photographs of `val`, on which the run's epoch, temperatures
            and thresholds would be chosen.
    """
    val = hash_photographs(data["val"].images, data["val"].rows)
    pretrained_seen = read_pretrained_seen(config.pretrained)
    for run_id in config.teacher:
        pretrained_seen |= _read_seen_of_run(workspace, run_id)
    if not config.calibration_run:
        checked = val if others is None else val.join(others)
        check_pretrained_unseen(pretrained_seen, checked, max_distance, "val, on which confidence is calibrated")
    train = hash_photographs(data["train"].images, data["train"].rows)
    seen = SeenPhotographs(PhotographSet.of(train), PhotographSet.of(val)) | pretrained_seen
    if config.image_run:
        seen |= _read_seen_of_run(workspace, config.image_run)
    if config.calibration_run:
        # This run uses only the calibration of the other one, which was fitted on its validation photographs.
        seen |= SeenPhotographs(chosen_on=_read_seen_of_run(workspace, config.calibration_run).chosen_on)
    return seen


def check_pretrained_unseen(
    pretrained_seen: SeenPhotographs, hashes: PhotographHashes, max_distance: int | None, what: str
) -> None:
    """Check that pretrained weights and teachers were not trained on photographs that this training is validated on.

    Args:
        pretrained_seen: The photographs that the pretrained weights and the teachers have seen.
        hashes: The hashes of the photographs to validate on.
        max_distance: The largest distance between the perceptual hashes of duplicates.
        what: The name of these photographs in the message.

    Raises:
        LeakError: The weights were trained on some of them.
    """
    count = int(pretrained_seen.trained_on.find(hashes, max_distance).sum())
    if count:
        raise LeakError(
            f"The pretrained weights (or the --teacher) were trained on {count:,} of the {len(hashes):,} photographs "
            f"of {what}.",
            hint=WITHOUT,
        )


def read_pretrained_seen(source: str) -> SeenPhotographs:
    """Return the photographs that the pretrained weights of a training have seen.

    Published weights that are given by name have seen none of a catalogue's photographs. The weights of a run are
    recorded beside them; for every other file the result is marked as incomplete.

    Args:
        source: The value of `--weights`.

    Raises:
        ModelError: The record of a run's photographs is damaged.
    """
    path = expand_home(source)
    if source in ("", START, IMAGENET) or not path.exists():
        return SeenPhotographs()
    folder = path.parent
    if path.name == WEIGHTS and (folder / DESCRIPTION).is_file():
        content = read_description(folder).content
        if content.get("weights", {}).get("sha256") == hash_file(path):
            return read_seen(folder, content) or SeenPhotographs(is_complete=False)
    return SeenPhotographs(is_complete=False)


def _read_seen_of_run(workspace: Workspace, run_id: str) -> SeenPhotographs:
    """Return the photographs that a run of the workspace has seen; an empty record if it has none."""
    folder = workspace.run(run_id)
    return read_seen(folder, read_description(folder).content) or SeenPhotographs()
