"""Train only the heads (linear probe), on backbone features that are computed once and cached in a file."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hangtag.catalog.images import Pixels, shrink
from hangtag.console import show_progress
from hangtag.io import hash_json, name_refusals, read_json, require_file, write_json
from hangtag.models.batch_predict import ProbsByHead
from hangtag.models.checkpoint import read_weights
from hangtag.models.label_space import Indices
from hangtag.models.layers import cut_backbone, cut_heads
from hangtag.models.pretrained import hash_weights
from hangtag.training.data import ItemDataset
from hangtag.training.sampling import draw_order
from hangtag.training.trainer import Trainer, TrainingBatch

if TYPE_CHECKING:
    from keras import Model

FEATURES, PROGRESS = "features.npy", "features.json"
BATCH = 128
# The number of batches between two writes to the disk.
STRIDE = 8
Features = npt.NDArray[np.float32]


def compute_features(
    folder: Path,
    backbone: "Model",
    images: Pixels,
    rows: Indices,
    is_mirrored: npt.NDArray[np.bool_],
    *,
    image_size: tuple[int, int],
    title: str,
) -> Features:
    """Compute the backbone's features of photographs, float32 (n, width), those of all ensemble members concatenated.

    Writes `features.npy`, a memory map, and `features.json`, the number of rows that are computed. Rows that are
    already in a file of the same network and photographs are not computed again.

    Args:
        folder: The folder to write to.
        backbone: A network of `cut_backbone`.
        images: uint8 (N, H, W, 3).
        rows: The rows of `images` to use, int64 (n,).
        is_mirrored: Whether to flip each photograph horizontally, (n,).
        image_size: (height, width) that photographs are resized to.
        title: The title of the progress bar.
    """
    width = sum(int(end.shape[-1]) for end in backbone.output.values())
    identity = _hash_inputs(backbone, rows, is_mirrored, image_size)
    features, done = _open_features(folder, (len(rows), width), identity)
    with show_progress(title, len(rows), "photographs") as bar:
        bar.advance(done)
        for index, start in enumerate(range(done, len(rows), BATCH), start=1):
            chosen = slice(start, start + BATCH)
            pixels = shrink(images[rows[chosen]], image_size)
            pixels[is_mirrored[chosen]] = pixels[is_mirrored[chosen]][:, :, ::-1]
            found = backbone.predict_on_batch({"pixels": pixels})
            features[chosen] = np.concatenate([found[name] for name in sorted(found)], axis=1)
            bar.advance(len(pixels))
            if index % STRIDE == 0 or start + BATCH >= len(rows):
                features.flush()
                write_json(folder / PROGRESS, {"identity": identity, "done": min(start + BATCH, len(rows))})
    return np.asarray(features, np.float32)


def _hash_inputs(
    backbone: "Model", rows: Indices, is_mirrored: npt.NDArray[np.bool_], image_size: tuple[int, int]
) -> str:
    chosen = hashlib.sha256(rows.tobytes() + is_mirrored.tobytes()).hexdigest()
    return hash_json([hash_weights(read_weights(backbone)), chosen, list(image_size)])


def _open_features(
    folder: Path, shape: tuple[int, int], identity: str
) -> tuple[np.memmap[Any, np.dtype[np.float32]], int]:
    """Return the memory map and the number of its rows that are computed."""
    path, progress = folder / FEATURES, folder / PROGRESS
    # Features in a damaged file are computed again.
    with suppress(OSError, ValueError, KeyError, TypeError, EOFError, SyntaxError):
        found = read_json(progress)
        require_file(path)
        features, done = np.lib.format.open_memmap(path, mode="r+"), int(found["done"])
        is_valid = features.shape == shape and features.dtype == np.float32 and 0 <= done <= shape[0]
        if is_valid and found["identity"] == identity:
            return features, done
    folder.mkdir(parents=True, exist_ok=True)
    for each in (progress, path):
        each.unlink(missing_ok=True)
    features = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    _allocate_disk_space(path)
    return features, 0


def _allocate_disk_space(path: Path) -> None:
    """Allocate the disk space of a file, because writing to a memory map on a full disk ends the process.

    Raises:
        OSError: The disk has too little space.
    """
    if hasattr(os, "posix_fallocate"):
        with name_refusals(path), path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


class LinearProbeTrainer(Trainer):
    """A trainer that trains only the heads. The only augmentation is the horizontal flip."""

    features: Features | None = None

    def _select_trainable_model(self) -> "Model":
        self.backbone = cut_backbone(self.model)
        return cut_heads(self.model)

    def _on_train_begin(self) -> None:
        """Compute the features of training and validation items, and those of flipped training photographs."""
        if self.features is not None:
            return
        train, val = self.data["train"].rows, self.data["val"].rows
        mirrored = train if self.config.flip else train[:0]
        self.features = compute_features(
            self.checkpoint,
            self.backbone,
            self.data["train"].images,
            np.concatenate([train, val, mirrored]),
            np.repeat([False, False, True], [len(train), len(val), len(mirrored)]),
            image_size=self.network_size,
            title=f"{self.title}Features",
        )

    def _make_inputs(self, indices: Indices) -> dict[str, Features]:
        """Return the heads' inputs for rows of the cached features."""
        assert self.features is not None
        widths = [int(end.shape[-1]) for end in self.backbone.output.values()]
        parts = np.split(np.asarray(self.features[indices]), np.cumsum(widths)[:-1], axis=1)
        return dict(zip(self.trained.input, parts, strict=True))

    def _iterate_batches(self, epoch: int, image_size: tuple[int, int]) -> Iterator[TrainingBatch]:  # noqa: ARG002
        data, config = self.data["train"], self.config
        random = np.random.default_rng((config.seed, epoch))
        order = draw_order(self.copies, random)
        for start in range(0, len(order), config.batch_size):
            indices = order[start : start + config.batch_size]
            chosen = data.take(indices)
            is_mirrored = (random.random(len(indices)) < 0.5) & config.flip
            mirrored = len(data) + len(self.data["val"]) + indices
            inputs = self._make_inputs(np.where(is_mirrored, mirrored, indices))
            yield inputs, self._encode_targets(chosen.classes)

    def _iterate_head_probs(self, data: ItemDataset, image_size: tuple[int, int]) -> Iterator[ProbsByHead]:  # noqa: ARG002
        first = len(self.data["train"])
        for start in range(0, len(data), self.config.batch_size):
            indices = np.arange(start, min(start + self.config.batch_size, len(data)))
            found = self.trained.predict_on_batch(self._make_inputs(first + indices))
            yield {head: np.asarray(probs, np.float32) for head, probs in found.items()}
