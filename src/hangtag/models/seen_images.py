"""Hashes of the photographs that a model was trained on, and of those its epoch and thresholds were chosen on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save_file

from hangtag.errors import ModelError
from hangtag.io import hash_file, write_whole
from hangtag.labels.image_hashes import Keys, PhotographSet

FILE = "seen.safetensors"
# The entry of `model.json` that names the file.
ENTRY = "seen"
ARRAYS = ("learnt_perceptual", "learnt_pixels", "chosen_on_perceptual", "chosen_on_pixels")
AGAIN = "Train, export or copy the model again."


@dataclass(frozen=True)
class SeenPhotographs:
    """The photographs that a model has seen. What it did not learn from is out-of-sample.

    Attributes:
        learnt: Those whose labels it learnt from, or that the weights it began from learnt from.
        chosen_on: Those beside them on which its epoch, temperatures or thresholds were chosen.
        is_complete: Whether nothing is missing: false where it began from weights that do not say what they saw.
    """

    learnt: PhotographSet = field(default_factory=PhotographSet)
    chosen_on: PhotographSet = field(default_factory=PhotographSet)
    is_complete: bool = True

    def __or__(self, other: "SeenPhotographs") -> "SeenPhotographs":
        """Return what both have seen."""
        learnt = self.learnt | other.learnt
        chosen_on = (self.chosen_on | other.chosen_on) - learnt
        return SeenPhotographs(learnt, chosen_on, self.is_complete and other.is_complete)


def write_seen(folder: Path, seen: SeenPhotographs) -> tuple[Path, dict[str, Any]]:
    """Write `seen.safetensors` (four arrays of sorted uint64 hashes).

    Returns:
        Its path, and the entry `seen` for `model.json`: the file's name and SHA-256, how many different perceptual
        hashes it holds, and whether it is complete.
    """
    chosen_on = seen.chosen_on - seen.learnt
    arrays = (seen.learnt.perceptual, seen.learnt.pixels, chosen_on.perceptual, chosen_on.pixels)
    path = folder / FILE
    with write_whole(path) as temporary:
        save_file(dict(zip(ARRAYS, arrays, strict=True)), temporary)
    counts = {"learnt": len(seen.learnt.perceptual), "chosen_on": len(chosen_on.perceptual)}
    return path, {"file": FILE, "sha256": hash_file(path), **counts, "is_complete": seen.is_complete}


def read_seen(folder: Path, description: Mapping[str, Any]) -> SeenPhotographs | None:
    """Read the hashes in a model's folder; None if it has none.

    Args:
        folder: Where `model.json` is.
        description: What it holds.

    Raises:
        ModelError: The file that it names is missing, damaged, or another.
    """
    entry = description.get(ENTRY)
    if entry is None:
        return None
    if not isinstance(entry, dict) or entry.get("file") != FILE or not isinstance(entry.get("is_complete"), bool):
        raise ModelError("The model's description of what it learnt from is damaged.", received=str(folder))
    path = folder / FILE
    if not path.is_file():
        raise ModelError("The model lacks the list of what it learnt from.", hint=AGAIN, received=str(path))
    if hash_file(path) != entry.get("sha256"):
        raise ModelError(
            "The list of what the model learnt from is not the one that its description names: changed, or written "
            "half.",
            hint=AGAIN,
            received=str(path),
        )
    arrays = _read_arrays(path)
    learnt, chosen_on = PhotographSet(*arrays[:2]), PhotographSet(*arrays[2:])
    return SeenPhotographs(learnt, chosen_on, entry["is_complete"])


def _read_arrays(path: Path) -> list[Keys]:
    try:
        arrays = load(path.read_bytes())
    except (SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
        message = f"The list of what the model learnt from cannot be read: {error}."
        raise ModelError(message, hint=AGAIN, received=str(path)) from error
    found = [arrays.get(name) for name in ARRAYS]
    if len(arrays) != len(ARRAYS) or not all(_is_sorted(each) for each in found):
        raise ModelError(
            "The list of what the model learnt from holds something else.",
            allowed=f"Allowed: sorted uint64 hashes, {', '.join(ARRAYS)}.",
            received=str(path),
        )
    return [np.asarray(each, np.uint64) for each in found]


def _is_sorted(keys: Any) -> bool:
    return keys is not None and keys.dtype == np.uint64 and keys.ndim == 1 and bool((keys[1:] > keys[:-1]).all())
