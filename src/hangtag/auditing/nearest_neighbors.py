"""Find the photographs that look most like others by their pixels, shrunk to 20 x 15, without a network.

The features are shape, position and colour of the product: products of one kind on a plain ground are found well, the
same product in another pose is not. The audit compares many photographs with `find_neighbors`; the review asks for one
at a time with `LookAlikes`, over features that principal components reduce to 256 bytes a photograph.
"""

from contextlib import suppress
from functools import reduce
from operator import mul
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hangtag.catalog.images import Pixels, build_averaging_matrix, limit_part, release_pages, shrink
from hangtag.console import show_progress
from hangtag.io import require_file, write_whole
from hangtag.models.label_space import Indices

# The neighbors whose labels count for a score and that a reason speaks of, and the weight of the prior, in neighbors.
NUM_NEIGHBORS, PRIOR = 5, 10
CHUNK = 1024
BLOCK = 256
# The sides of blocks whose means float32 holds exactly, whatever the order of the sums.
BLOCK_SIDES = {1, 2, 4, 8}
# (height, width) that photographs are averaged down to.
SHRUNK_SIZE = (20, 15)
COMPONENTS = 64
# The principal components are computed from about so many photographs.
SAMPLE = 2048
Features = npt.NDArray[np.float32]


def shrink_photographs(images: Pixels) -> Pixels:
    """Average each photograph down to 20 x 15, uint8 (n, 20, 15, 3), reading the memory map once.

    Unlike `shrink` it computes exact means, also of photographs whose sides are no multiples of 20 and 15: what counts
    as a near-duplicate depends on single grey levels.

    Args:
        images: uint8 (n, H, W, 3).
    """
    rows, columns = (
        build_averaging_matrix(side, samples).astype(np.float32)
        for side, samples in zip(images.shape[1:3], SHRUNK_SIZE, strict=True)
    )
    steps = [side // samples for side, samples in zip(images.shape[1:3], SHRUNK_SIZE, strict=True)]
    is_in_blocks = images.shape[1:3] == tuple(map(mul, steps, SHRUNK_SIZE)) and set(steps) <= BLOCK_SIDES
    small = np.empty((len(images), *SHRUNK_SIZE, 3), np.uint8)
    size = limit_part(images.shape[1:], CHUNK)
    for start in range(0, len(images), size):
        chunk = images[start : start + size]
        if is_in_blocks:
            means = _average_blocks(chunk, *steps)
        else:
            means = np.einsum("ih,nhwc,jw->nijc", rows, chunk.astype(np.float32), columns, optimize=True)
        small[start : start + size] = means.round().clip(0, 255)
        release_pages(images)
    return small


def _average_blocks(images: Pixels, height: int, width: int) -> Features:
    """Return the means of blocks of pixels as the matrices compute them, to the last bit, in a tenth of the time."""
    down = reduce(np.add, [images[:, row::height].astype(np.uint16) for row in range(height)])
    sums = reduce(np.add, [down[:, :, column::width] for column in range(width)])
    return np.asarray(sums / np.float32(height * width), np.float32)


def compute_features(small: Pixels) -> Features:
    """Return small photographs as vectors of length 1, float32 (n, features).

    White, the usual background, becomes zero: what counts is the product, not how much white is around it.
    """
    features = small.reshape(len(small), -1).astype(np.float32)
    np.subtract(255, features, out=features)
    length = np.sqrt(np.einsum("nf,nf->n", features, features))
    features /= np.maximum(length, 1e-6)[:, None]
    return features


def find_neighbors(features: Features, rows: Indices, count: int = NUM_NEIGHBORS) -> Indices:
    """Find the nearest other photographs of some, by cosine similarity.

    Args:
        features: Of all n photographs, float32 (n, features), of length 1.
        rows: The photographs whose neighbors are wanted, int64 (k,).
        count: How many neighbors; fewer where there are not so many others.

    Returns:
        The rows of the neighbors, int64 (k, count), the nearest first.
    """
    count = min(count, len(features) - 1)
    found = np.empty((len(rows), count), np.int64)
    for start in range(0, len(rows), BLOCK):
        chunk = rows[start : start + BLOCK]
        similarity = features[chunk] @ features.T
        similarity[np.arange(len(chunk)), chunk] = -np.inf
        best = np.argpartition(-similarity, count - 1, axis=1)[:, :count] if count else np.empty((len(chunk), 0), int)
        order = np.argsort(-np.take_along_axis(similarity, best, axis=1), axis=1, kind="stable")
        found[start : start + BLOCK] = np.take_along_axis(best, order, axis=1)
    return found


def weigh_neighbors(classes: Indices, num_classes: int) -> npt.NDArray[np.float32]:
    """Return a factor for the probability of each class from the labels of the neighbors, float32 (k, classes).

    The factor is the square root of the class's share among the nearest `NUM_NEIGHBORS` neighbors, with `PRIOR` more
    spread evenly over all classes: neighbors are weak evidence and not independent of the network. Planted errors are
    ranked slightly better than by the network alone (docs/experiments.md).

    Args:
        classes: The given classes of the nearest neighbors, int64 (k, any), below 0 where there is none.
        num_classes: How many classes there are.
    """
    votes = classes[:, :NUM_NEIGHBORS]
    counts = np.zeros((len(votes), num_classes), np.float32)
    rows, columns = np.nonzero(votes >= 0)
    np.add.at(counts, (rows, votes[rows, columns]), 1)
    return np.asarray(np.sqrt((counts + PRIOR / num_classes) / (NUM_NEIGHBORS + PRIOR)), np.float32)


class LookAlikes:
    """Search for the photographs that look most like one, over reduced features.

    Args:
        features: float32 (n, components), a memory map or an array.
    """

    def __init__(self, features: Features) -> None:
        self._features = features
        self._squares = np.einsum("ij,ij->i", features, features)

    def find(self, index: int, count: int, without: frozenset[int] = frozenset()) -> list[int]:
        """Return the indices of the nearest items, nearest first.

        Args:
            index: The item to compare with; it is not among its own look-alikes.
            count: How many, fewer where there are no more.
            without: Indices to leave out.
        """
        distances = self._squares - 2 * (self._features @ self._features[index])
        hidden = without | {index}
        distances[list(hidden)] = np.inf
        near = min(count, len(distances) - len(hidden))
        if near <= 0:
            return []
        found = np.argpartition(distances, near - 1)[:near]
        return [int(each) for each in found[np.argsort(distances[found], kind="stable")]]


def open_look_alikes(path: Path, images: Pixels) -> LookAlikes:
    """Load the reduced features from a file, or compute and write them if it is missing or damaged.

    Args:
        path: An .npy file of 256 bytes a photograph; its name should change when the photographs do.
        images: uint8 (n, H, W, 3).
    """
    features = _read_features(path, len(images))
    if features is None:
        features = _compute_reduced_features(images)
        # Where the file cannot be written, the features are computed again the next time.
        with suppress(OSError), write_whole(path) as temporary, temporary.open("wb") as file:
            np.save(file, features)
    return LookAlikes(features)


def _read_features(path: Path, count: int) -> Features | None:
    """Read the reduced features of `count` photographs; None where the file is missing or damaged."""
    with suppress(OSError, ValueError, EOFError, SyntaxError):
        require_file(path)
        found = np.load(path, mmap_mode="r", allow_pickle=False)
        if found.ndim == 2 and found.dtype == np.float32 and len(found) == count:
            features: Features = found
            return features
    return None


def _compute_reduced_features(images: Pixels) -> Features:
    """Return the features along their principal components, float32 (n, components)."""
    step = max(1, len(images) // SAMPLE)
    mean, components = _find_components(compute_features(shrink(images[::step], SHRUNK_SIZE)))
    reduced = np.empty((len(images), components.shape[1]), np.float32)
    size = limit_part(images.shape[1:], CHUNK)
    with show_progress("Shrinking photographs", len(images), "photographs") as bar:
        for start in range(0, len(images), size):
            features = compute_features(shrink(images[start : start + size], SHRUNK_SIZE))
            reduced[start : start + size] = (features - mean) @ components
            bar.advance(len(features))
    return reduced


def _find_components(sample: Features) -> tuple[Features, Features]:
    """Return the mean of a sample and its strongest principal components, float32 (features, components)."""
    mean = sample.mean(axis=0)
    _, vectors = np.linalg.eigh(np.cov(sample - mean, rowvar=False, ddof=0))
    return mean, vectors[:, ::-1][:, :COMPONENTS].astype(np.float32)
