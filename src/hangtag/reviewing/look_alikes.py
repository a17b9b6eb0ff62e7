"""The items whose photographs look most like one item's: cheap descriptors of the pixels, and one matrix product.

The descriptor of a photograph is its 64 principal components at 20 x 15 pixels in three colours: shape, position and
colour of the product. It finds products of one kind on a plain ground, but not the same product in another pose.
"""

from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hangtag.catalog.images import Pixels, limit_part, shrink
from hangtag.console import show_progress
from hangtag.io import require_file, write_whole

SHRUNK = (20, 15)
DIRECTIONS = 64
SAMPLE = 2048
CHUNK = 2048
Floats = npt.NDArray[np.float32]


class LookAlikes:
    """A search for photographs that look alike.

    Args:
        descriptors: float32 (n, directions), a memory map or an array.
    """

    def __init__(self, descriptors: Floats) -> None:
        self._descriptors = descriptors
        self._squares = np.einsum("ij,ij->i", descriptors, descriptors)

    def find(self, index: int, count: int, without: frozenset[int] = frozenset()) -> list[int]:
        """Return the indices of the nearest items, nearest first.

        Args:
            index: The item to compare with; it is not among its own look-alikes.
            count: How many, fewer where there are no more.
            without: Indices to leave out.
        """
        distances = self._squares - 2 * (self._descriptors @ self._descriptors[index])
        hidden = without | {index}
        distances[list(hidden)] = np.inf
        near = min(count, len(distances) - len(hidden))
        if near <= 0:
            return []
        found = np.argpartition(distances, near - 1)[:near]
        return [int(each) for each in found[np.argsort(distances[found], kind="stable")]]


def open_look_alikes(path: Path, images: Pixels) -> LookAlikes:
    """Open the descriptors in a file, or make it where it is not there.

    Args:
        path: An .npy file of 256 bytes a photograph; its name should change when the photographs do.
        images: uint8 (n, H, W, 3).
    """
    found = _read_descriptors(path, len(images))
    if found is None:
        found = _compute_descriptors(images)
        with suppress(OSError), write_whole(path) as temporary, temporary.open("wb") as file:
            # Where it cannot be kept, it is made anew the next time.
            np.save(file, found)
    return LookAlikes(found)


def _read_descriptors(path: Path, count: int) -> Floats | None:
    """Read the descriptors; None where they are not there or damaged."""
    with suppress(OSError, ValueError, EOFError, SyntaxError):
        require_file(path)
        found = np.load(path, mmap_mode="r", allow_pickle=False)
        if found.ndim == 2 and found.dtype == np.float32 and len(found) == count:
            descriptors: Floats = found
            return descriptors
    return None


def _compute_descriptors(images: Pixels) -> Floats:
    """Return the descriptors, float32 (n, directions)."""
    mean, directions = _find_directions(_flatten_pixels(images[:: max(1, len(images) // SAMPLE)]))
    descriptors = np.empty((len(images), directions.shape[1]), np.float32)
    size = limit_part(images.shape[1:], CHUNK)
    with show_progress("Shrinking photographs", len(images), "photographs") as bar:
        for start in range(0, len(images), size):
            part = _flatten_pixels(images[start : start + size])
            descriptors[start : start + size] = (part - mean) @ directions
            bar.advance(len(part))
    return descriptors


def _find_directions(sample: Floats) -> tuple[Floats, Floats]:
    """Return the mean and the strongest principal components, (values, directions)."""
    mean = sample.mean(axis=0)
    _, vectors = np.linalg.eigh(np.cov(sample - mean, rowvar=False, ddof=0))
    return mean, vectors[:, ::-1][:, :DIRECTIONS].astype(np.float32)


def _flatten_pixels(images: Pixels) -> Floats:
    return shrink(images, SHRUNK).reshape(len(images), -1).astype(np.float32)
