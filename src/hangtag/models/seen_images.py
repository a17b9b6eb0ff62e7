"""The record of the photographs that a model has seen: its training photographs, and those used to choose settings.

The photographs are recorded as hashes in `seen.safetensors`, so that predictions for them are not taken for
out-of-sample predictions.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save_file

from hangtag.errors import ModelError
from hangtag.io import JsonObject, hash_file, write_whole
from hangtag.labels.image_hashes import Keys, PhotographSet

FILE = "seen.safetensors"
# The entry of `model.json` that names the file.
ENTRY = "seen"
ARRAYS = ("trained_on_perceptual", "trained_on_pixels", "chosen_on_perceptual", "chosen_on_pixels")
AGAIN = "Train, export or copy the model again."


@dataclass(frozen=True)
class SeenPhotographs:
    """The photographs that a model has seen. Its predictions for all others are out-of-sample.

    Attributes:
        trained_on: The photographs that the model or its pretrained weights were trained on.
        chosen_on: Further photographs, on which its epoch, temperatures or thresholds were chosen.
        is_complete: Whether all photographs are known. False if the training started from weights without this record.
    """

    trained_on: PhotographSet = field(default_factory=PhotographSet)
    chosen_on: PhotographSet = field(default_factory=PhotographSet)
    is_complete: bool = True

    def __or__(self, other: "SeenPhotographs") -> "SeenPhotographs":
        """Return the union: a photograph that either was trained on counts as trained on."""
        trained_on = self.trained_on | other.trained_on
        chosen_on = (self.chosen_on | other.chosen_on) - trained_on
        return SeenPhotographs(trained_on, chosen_on, self.is_complete and other.is_complete)


def write_seen(folder: Path, seen: SeenPhotographs) -> tuple[Path, JsonObject]:
    """Write `seen.safetensors`, four arrays of sorted uint64 hashes.

    Returns:
        The path, and the entry `seen` for `model.json`: the file's name and SHA-256, the numbers of different
        perceptual hashes, and whether the record is complete.
    """
    chosen_on = seen.chosen_on - seen.trained_on
    arrays = (seen.trained_on.perceptual, seen.trained_on.pixels, chosen_on.perceptual, chosen_on.pixels)
    path = folder / FILE
    with write_whole(path) as temporary:
        save_file(dict(zip(ARRAYS, arrays, strict=True)), temporary)
    counts = {"trained_on": len(seen.trained_on.perceptual), "chosen_on": len(chosen_on.perceptual)}
    return path, {"file": FILE, "sha256": hash_file(path), **counts, "is_complete": seen.is_complete}


def read_seen(folder: Path, description: Mapping[str, Any]) -> SeenPhotographs | None:
    """Read the record of the photographs that a model has seen; return None if it has none.

    Args:
        folder: The model's folder.
        description: The content of its `model.json`.

    Raises:
        ModelError: The file is missing or damaged, or has another hash than the description names.
    """
    entry = description.get(ENTRY)
    if entry is None:
        return None
    if not isinstance(entry, dict) or entry.get("file") != FILE or not isinstance(entry.get("is_complete"), bool):
        message = f"The entry {ENTRY} of model.json, the record of the training photographs, is damaged."
        raise ModelError(message, hint=AGAIN, received=str(folder))
    path = folder / FILE
    if not path.is_file():
        raise ModelError("The model lacks the list of its training photographs.", hint=AGAIN, received=str(path))
    if hash_file(path) != entry.get("sha256"):
        raise ModelError(
            f"{FILE} does not match its SHA-256 in model.json: it was changed, or not written completely.",
            hint=AGAIN,
            received=str(path),
        )
    arrays = _read_arrays(path)
    trained_on, chosen_on = PhotographSet(*arrays[:2]), PhotographSet(*arrays[2:])
    return SeenPhotographs(trained_on, chosen_on, entry["is_complete"])


def _read_arrays(path: Path) -> list[Keys]:
    try:
        arrays = load(path.read_bytes())
    except (SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
        message = f"The list of the model's training photographs cannot be read: {error}."
        raise ModelError(message, hint=AGAIN, received=str(path)) from error
    hashes = [arrays.get(name) for name in ARRAYS]
    if len(arrays) != len(ARRAYS) or not all(_is_sorted(keys) for keys in hashes):
        raise ModelError(
            "The list of the model's training photographs has other arrays.",
            allowed=f"Allowed: sorted uint64 hashes, {', '.join(ARRAYS)}.",
            received=str(path),
        )
    return [np.asarray(keys, np.uint64) for keys in hashes]


def _is_sorted(keys: Any) -> bool:
    return keys is not None and keys.dtype == np.uint64 and keys.ndim == 1 and bool((keys[1:] > keys[:-1]).all())
