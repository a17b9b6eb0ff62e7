"""Find the photographs that look most like some: by their pixels, small and centred, without any network."""

import numpy as np
import numpy.typing as npt

from hangtag.catalog.images import Pixels, limit_part
from hangtag.models.label_space import Indices

NUM_LOOKALIKES = 15
# Those that have a voice, and the doubt of what they say, in votes.
NUM_VOTES, PRIOR = 5, 10
CHUNK = 1024
BLOCK = 256
# Height x width that photographs are averaged down to.
SIDES = (20, 15)
Features = npt.NDArray[np.float32]


def shrink_photographs(images: Pixels) -> Pixels:
    """Average each photograph down to 20 x 15, uint8 (n, 20, 15, 3), reading the memory map once.

    Args:
        images: uint8 (n, H, W, 3).
    """
    rows, columns = (_build_means(side, small) for side, small in zip(images.shape[1:3], SIDES, strict=True))
    small = np.empty((len(images), *SIDES, 3), np.uint8)
    size = limit_part(images.shape[1:], CHUNK)
    for start in range(0, len(images), size):
        chunk = images[start : start + size].astype(np.float32)
        means = np.einsum("ih,nhwc,jw->nijc", rows, chunk, columns, optimize=True)
        small[start : start + size] = means.round().clip(0, 255)
    return small


def compute_features(small: Pixels) -> Features:
    """Return small photographs as vectors of length 1, float32 (n, features).

    White, the usual background, becomes zero: what counts is the product, not how much white is around it.
    """
    features = (255 - small.astype(np.float32)).reshape(len(small), -1)
    length = np.sqrt(np.einsum("nf,nf->n", features, features))
    features /= np.maximum(length, 1e-6)[:, None]
    return features


def find_neighbors(features: Features, rows: Indices, count: int = NUM_LOOKALIKES) -> Indices:
    """Return the rows of the nearest other photographs of chosen ones, int64 (k, count), the nearest first.

    Args:
        features: Of all photographs.
        rows: The chosen ones, int64 (k,).
        count: How many; fewer where there are not so many others.
    """
    count = min(count, len(features) - 1)
    found = np.empty((len(rows), count), np.int64)
    for start in range(0, len(rows), BLOCK):
        chunk = rows[start : start + BLOCK]
        nearness = features[chunk] @ features.T
        nearness[np.arange(len(chunk)), chunk] = -np.inf
        best = np.argpartition(-nearness, count - 1, axis=1)[:, :count] if count else np.empty((len(chunk), 0), int)
        order = np.argsort(-np.take_along_axis(nearness, best, axis=1), axis=1, kind="stable")
        found[start : start + BLOCK] = np.take_along_axis(best, order, axis=1)
    return found


def weigh_neighbors(classes: Indices, num_classes: int) -> npt.NDArray[np.float32]:
    """Return a factor for the probability of each class from the labels of the neighbors, float32 (k, classes).

    The factor is the square root of the class's share among the nearest `NUM_VOTES` neighbors, with `PRIOR` more spread
    evenly over all classes: neighbors are weak evidence and not independent of the network. Planted errors are ranked
    slightly better than by the network alone (docs/experiments.md).

    Args:
        classes: The given classes of the nearest look-alikes, int64 (k, any), below 0 where there is none.
        num_classes: How many classes there are.
    """
    votes = classes[:, :NUM_VOTES]
    counts = np.zeros((len(votes), num_classes), np.float32)
    rows, columns = np.nonzero(votes >= 0)
    np.add.at(counts, (rows, votes[rows, columns]), 1)
    return np.asarray(np.sqrt((counts + PRIOR / num_classes) / (NUM_VOTES + PRIOR)), np.float32)


def _build_means(side: int, small: int) -> npt.NDArray[np.float32]:
    """Return the (small, side) matrix that averages a side down."""
    edges = np.linspace(0, side, small + 1)
    low, high = edges[:-1, None], edges[1:, None]
    pixels = np.arange(side)
    overlap = np.clip(np.minimum(high, pixels + 1) - np.maximum(low, pixels), 0, None)
    return np.asarray(overlap / overlap.sum(axis=1, keepdims=True), np.float32)
