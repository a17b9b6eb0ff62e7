"""Features of photographs, computed once and kept in a file, so that a stopped computation goes on."""

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hangtag.artifacts import hash_json, name_refusals, read_json, require_file, write_json
from hangtag.catalog.images import Pixels, shrink
from hangtag.models.outputs import Indices
from hangtag.models.pretrained import hash_weights
from hangtag.models.storage import read_weights
from hangtag.progress import show_progress

FEATURES, PROGRESS = "features.npy", "features.json"
BATCH = 128
# Batches after which what is done is put on the disk.
STRIDE = 8
Features = npt.NDArray[np.float32]


def compute_features(
    folder: Path,
    backbone: Any,
    images: Pixels,
    rows: Indices,
    is_mirrored: npt.NDArray[np.bool_],
    *,
    image_size: tuple[int, int],
    title: str,
) -> Features:
    """Give the features of photographs, float32 (n, width), those of all members one behind the other.

    Writes `features.npy`, a memory map, and `features.json`, how far it is; what is there of the same is not computed
    again.

    Args:
        folder: Where to.
        backbone: A network of `cut_backbone`.
        images: uint8 (N, H, W, 3).
        rows: Which of them, int64 (n,).
        is_mirrored: Whether each is to be mirrored.
        image_size: (height, width) that they are shrunk or enlarged to.
        title: What the progress bar says.
    """
    width = sum(int(end.shape[-1]) for end in backbone.output.values())
    identity = _identify(backbone, rows, is_mirrored, image_size)
    features, done = _open(folder, (len(rows), width), identity)
    with show_progress(title, len(rows), "photographs") as bar:
        bar.advance(done)
        for place, start in enumerate(range(done, len(rows), BATCH), start=1):
            chosen = slice(start, start + BATCH)
            pixels = shrink(images[rows[chosen]], image_size)
            pixels[is_mirrored[chosen]] = pixels[is_mirrored[chosen]][:, :, ::-1]
            found = backbone.predict_on_batch({"pixels": pixels})
            features[chosen] = np.concatenate([found[name] for name in sorted(found)], axis=1)
            bar.advance(len(pixels))
            if place % STRIDE == 0 or start + BATCH >= len(rows):
                features.flush()
                write_json(folder / PROGRESS, {"identity": identity, "done": min(start + BATCH, len(rows))})
    return np.asarray(features, np.float32)


def _identify(backbone: Any, rows: Indices, is_mirrored: npt.NDArray[np.bool_], image_size: tuple[int, int]) -> str:
    chosen = hashlib.sha256(rows.tobytes() + is_mirrored.tobytes()).hexdigest()
    return hash_json([hash_weights(read_weights(backbone)), chosen, list(image_size)])


def _open(folder: Path, shape: tuple[int, int], identity: str) -> tuple[Any, int]:
    """Give the memory map and how many rows of it are done already."""
    path, progress = folder / FEATURES, folder / PROGRESS
    # Features that are damaged are computed anew.
    with suppress(OSError, ValueError, KeyError, TypeError, EOFError, SyntaxError):
        found = read_json(progress)
        require_file(path)
        features, done = np.lib.format.open_memmap(path, mode="r+"), int(found["done"])
        is_sound = features.shape == shape and features.dtype == np.float32 and 0 <= done <= shape[0]
        if is_sound and found["identity"] == identity:
            return features, done
    folder.mkdir(parents=True, exist_ok=True)
    for each in (progress, path):
        each.unlink(missing_ok=True)
    features = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    _take_space(path)
    return features, 0


def _take_space(path: Path) -> None:
    """Have the disk put by the space of a file: writing to a memory map when it is full ends the process.

    Raises:
        OSError: It has not so much.
    """
    if hasattr(os, "posix_fallocate"):
        with name_refusals(path), path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
