"""The order of the training items: class-balanced sampling, and shuffled blocks of pixels larger than memory."""

import numpy as np
import numpy.typing as npt

from hangtag.models.label_space import Indices

# Pixels that are read one after another where the whole set is larger than the buffer: a disk reads some megabytes in a
# row much faster than as many single photographs.
BLOCK_BYTES = 4 << 20
# The blocks among which items are shuffled. Constant, so that the order does not depend on the machine.
BUFFER_BYTES = 4 << 30


def compute_copies(classes: Indices, balance: float) -> npt.NDArray[np.float64]:
    """Return the expected number of copies of each item in an epoch, (n,), with a mean of 1.

    Source: tempered class-balanced sampling as in Mahajan et al., *Exploring the Limits of Weakly Supervised
    Pretraining*, 2018.

    Args:
        classes: The class of each item, int64 (n,).
        balance: 0 keeps the class frequencies, 1 samples all classes equally often, and 0.5 samples each class in
            proportion to the square root of its frequency.
    """
    counts = np.bincount(classes)[classes].astype(np.float64)
    weights = counts**-balance
    return np.asarray(weights * (len(classes) / weights.sum()))


def draw_order(copies: npt.NDArray[np.float64], random: np.random.Generator) -> Indices:
    """Draw the random order of an epoch, which has as many items as the dataset, int64 (n,).

    Each item occurs its expected number of times, rounded up or down. If all items have one copy, each occurs exactly
    once.

    Args:
        copies: The expected number of copies of each item, (n,).
        random: The random generator.
    """
    count = len(copies)
    shuffled = random.permutation(count)
    # Systematic sampling: evenly spaced points on the cumulative sum of the copies.
    ends = np.cumsum(copies[shuffled]) * (count / copies.sum())
    points = np.arange(count) + random.random()
    chosen = shuffled[np.minimum(np.searchsorted(ends, points, side="right"), count - 1)]
    return np.asarray(random.permutation(chosen), np.int64)


def group_by_blocks(order: Indices, rows: Indices, row_bytes: int, random: np.random.Generator) -> Indices:
    """Return the order of an epoch in which items of neighbouring rows are near each other, if the set is large.

    In a wholly random order every photograph is a read of its own, and nearly all of them are from the disk where the
    set is larger than memory. So the blocks of BLOCK_BYTES are put into a random order, and the items of as many
    blocks as fill BUFFER_BYTES are read together, in the random order that they have (a shuffle buffer). A set that
    fits into the buffer keeps its order. The blocks of a buffer are spread over the whole set, so that a catalogue
    that is sorted by category is mixed all the same.

    Args:
        order: The order of an epoch; see `draw_order`.
        rows: The row of each item's photograph in the memory map, int64 (n,).
        row_bytes: The size of a photograph.
        random: The random generator; not used for a set that fits into the buffer.
    """
    block_rows = max(1, BLOCK_BYTES // row_bytes)
    count = int(rows.max(initial=0)) // block_rows + 1
    buffers = -(-count * block_rows * row_bytes // BUFFER_BYTES)
    if buffers <= 1:
        return order
    # Buffers of equal size: a last one of a few blocks would end each epoch with items that resemble each other.
    buffer_of_block = random.permutation(count) * buffers // count
    return order[np.argsort(buffer_of_block[rows[order] // block_rows], kind="stable")]
