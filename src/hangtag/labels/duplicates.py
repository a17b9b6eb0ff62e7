"""Find photographs that are the same, to the pixel or to the eye, without comparing all with all."""

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.fft import dct
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from hangtag.catalog.images import Pixels, limit_part
from hangtag.labels.photograph_hashes import PhotographHashes
from hangtag.progress import show_progress

CHUNK = 1024
HASH_SIDE, SAMPLE_SIDE = 8, 32
Hashes = npt.NDArray[np.uint64]
Indices = npt.NDArray[np.int64]


def compute_fingerprints(images: Pixels, rows: Indices | None = None) -> tuple[list[str], Hashes]:
    """Give each photograph's pixel hash and perceptual hash, reading the memory map once.

    Args:
        images: uint8 (n, H, W, 3).
        rows: Which of them; None takes all.

    Returns:
        The pixel hashes (BLAKE2b, 128 bits, hexadecimal; equal where all pixels are) and the perceptual
        hashes (64 bits; see `compute_perceptual_hashes`).
    """
    pixel_hashes: list[str] = []
    count = len(images) if rows is None else len(rows)
    hashes = np.empty(count, np.uint64)
    size = limit_part(images.shape[1:], CHUNK)
    with show_progress("Fingerprints", count, "photographs") as bar:
        for start in range(0, count, size):
            part = slice(start, start + size)
            chunk = np.ascontiguousarray(images[part if rows is None else rows[part]])
            pixel_hashes += [hashlib.blake2b(image.data, digest_size=16).hexdigest() for image in chunk]
            hashes[start : start + size] = compute_perceptual_hashes(chunk)
            bar.advance(len(chunk))
    return pixel_hashes, hashes


def hash_photographs(images: Pixels, rows: Indices | None = None) -> PhotographHashes:
    """Compute both hashes of photographs, to look them up in a set; see `compute_fingerprints`."""
    return PhotographHashes.of(*compute_fingerprints(images, rows))


def compute_perceptual_hashes(images: Pixels) -> Hashes:
    """Give pHash: the signs of an image's 8 x 8 lowest frequencies against their median.

    The luminance is averaged down to 32 x 32 and put through a cosine transform; small changes of size,
    compression or brightness move few of the 64 bits. Source: C. Zauner, *Implementation and Benchmarking
    of Perceptual Image Hash Functions*, 2010.
    """
    luminance = images @ np.array([0.299, 0.587, 0.114], np.float32)
    rows, columns = (_build_projection(side) for side in images.shape[1:3])
    frequencies = (rows @ luminance @ columns.T).reshape(len(images), -1)
    bits = frequencies > np.median(frequencies, axis=1, keepdims=True)
    return np.packbits(bits, axis=1).view(">u8").ravel().astype(np.uint64)


def _build_projection(side: int) -> npt.NDArray[np.float32]:
    """Give the (8, side) matrix that averages a side down to 32 samples and takes 8 cosine frequencies."""
    edges = np.linspace(0, side, SAMPLE_SIDE + 1)
    low, high = edges[:-1, None], edges[1:, None]
    pixels = np.arange(side)
    overlap = np.clip(np.minimum(high, pixels + 1) - np.maximum(low, pixels), 0, None)
    averaging = overlap / overlap.sum(axis=1, keepdims=True)
    return np.asarray(dct(averaging, axis=0)[:HASH_SIDE], np.float32)


def group_duplicates(pixel_hashes: Sequence[str], hashes: Hashes, max_distance: int) -> Indices:
    """Give each photograph the number of its group of duplicates; a lone one is a group of its own.

    Two photographs are duplicates when their pixels are equal or their perceptual hashes differ in at most
    `max_distance` bits (0, 1 or 2), and so are duplicates of duplicates. The time grows with n log n.

    Returns:
        int64 (n,), numbers without meaning but equal inside a group.
    """
    _, by_pixels = np.unique(np.asarray(pixel_hashes), return_inverse=True)
    unique, by_hash = np.unique(hashes, return_inverse=True)
    left, right = find_close_pairs(unique, max_distance)
    # A node for every photograph, then one for every pixel hash, then one for every perceptual hash.
    count = len(hashes)
    first_pixel, first_hash = count, count + int(by_pixels.max(initial=-1)) + 1
    items = np.arange(count)
    start = np.concatenate([items, items, first_hash + left])
    end = np.concatenate([first_pixel + by_pixels, first_hash + by_hash, first_hash + right])
    nodes = first_hash + len(unique)
    graph = coo_array((np.ones(len(start), np.int8), (start, end)), shape=(nodes, nodes))
    return np.asarray(connected_components(graph, directed=False)[1][:count], np.int64)


def find_close_pairs(unique: Hashes, max_distance: int) -> tuple[Indices, Indices]:
    """Give pairs of positions in sorted distinct hashes that differ in at most `max_distance` bits, up to 2.

    Of the pairs that are two bits apart, as many are given as make all of them hang together.
    """
    bits = np.uint64(1) << np.arange(64, dtype=np.uint64)
    left, right = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    if max_distance >= 1:
        for bit in bits:
            found = np.searchsorted(unique, unique ^ bit)
            hit = np.flatnonzero(unique[np.minimum(found, len(unique) - 1)] == unique ^ bit)
            left.append(hit)
            right.append(found[hit])
    if max_distance >= 2:
        # Two hashes two bits apart meet in a hash one bit from both.
        flipped = (unique[:, None] ^ bits).ravel()
        order = np.argsort(flipped, kind="stable")
        same = np.flatnonzero(flipped[order][1:] == flipped[order][:-1])
        left.append(order[same] // 64)
        right.append(order[same + 1] // 64)
    return np.concatenate(left), np.concatenate(right)
