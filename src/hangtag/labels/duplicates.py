"""Find all pairs of fingerprints that are a few bits apart, without comparing all with all."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.fft import dct
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from hangtag.catalog.images import Pixels, limit_part
from hangtag.console import show_progress
from hangtag.labels.image_hashes import PhotographHashes

# Find photographs that are the same, to the pixel or to the eye, without comparing all with all.

ROW_CHUNK = 1024
HASH_SIDE, SAMPLE_SIDE = 8, 32
Hashes = npt.NDArray[np.uint64]
Indices = npt.NDArray[np.int64]


def compute_fingerprints(images: Pixels, rows: Indices | None = None) -> tuple[list[str], Hashes]:
    """Return each photograph's pixel hash and perceptual hash, reading the memory map once.

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
    size = limit_part(images.shape[1:], ROW_CHUNK)
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
    """Return pHash: the signs of an image's 8 x 8 lowest frequencies against their median.

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
    """Return the (8, side) matrix that averages a side down to 32 samples and takes 8 cosine frequencies."""
    edges = np.linspace(0, side, SAMPLE_SIDE + 1)
    low, high = edges[:-1, None], edges[1:, None]
    pixels = np.arange(side)
    overlap = np.clip(np.minimum(high, pixels + 1) - np.maximum(low, pixels), 0, None)
    averaging = overlap / overlap.sum(axis=1, keepdims=True)
    return np.asarray(dct(averaging, axis=0)[:HASH_SIDE], np.float32)


def group_duplicates(pixel_hashes: Sequence[str], hashes: Hashes, max_distance: int) -> Indices:
    """Return each photograph the number of its group of duplicates; a lone one is a group of its own.

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
    """Return pairs of positions in sorted distinct hashes that differ in at most `max_distance` bits, up to 2.

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


BITS = 64
# Pairs that are compared at once; of 8 bytes each, a few arrays of it.
PAIR_CHUNK = 2_000_000


def find_near_pairs(hashes: Hashes, distance: int, groups: Indices | None = None) -> tuple[Indices, Indices]:
    """Return every pair of fingerprints that differ in at most `distance` bits, each once, int64 (pairs,) twice.

    Multi-index hashing: the bits are cut into so many bands that two near fingerprints differ in one bit at most in
    one of them at least; so those are compared alone that share a band, but for one bit. Source: Norouzi, Punjani
    and Fleet, *Fast Search in Hamming Space with Multi-Index Hashing*, 2012.

    Args:
        hashes: uint64 (n,).
        distance: 0 to 64; beyond 6 the bands are short, and many fingerprints share them.
        groups: A number for each, 0 to n - 1; pairs of one number are left out, and take no time.

    Returns:
        Positions of the left and the right one, left below right.
    """
    found = [np.empty(0, np.int64)]
    for keys, width in _cut_bands(hashes, distance):
        for left, right in _pair_bands(keys, groups, width if distance else 0):
            found.append(_choose_near(hashes, left, right, distance))
    return _split_bits(found, len(hashes))


def sample_near_pairs(hashes: Hashes, distance: int, count: int, seed: int = 0) -> tuple[Indices, Indices]:
    """Sample those pairs: each fingerprint is compared with about `2 * count` random ones that share a band.

    In a crowd of near fingerprints these hang nearly all of them together, at a cost that grows with n.

    Args:
        hashes: uint64 (n,).
        distance: As for `find_near_pairs`.
        count: How many.
        seed: Of the draw.
    """
    found = [np.empty(0, np.int64)]
    random = np.random.default_rng(seed)
    for keys, _ in _cut_bands(hashes, distance):
        order = np.lexsort((random.random(len(keys)), keys))
        ordered = keys[order]
        for step in range(1, min(count + 1, len(order))):
            same = np.flatnonzero(ordered[step:] == ordered[:-step])
            found.append(_choose_near(hashes, order[same], order[same + step], distance))
    return _split_bits(found, len(hashes))


def _cut_bands(hashes: Hashes, distance: int) -> Iterator[tuple[npt.NDArray[np.uint64], int]]:
    """Return the bits of each band, and how many they are."""
    # The bands share the bits: of 64 in 3 bands, 22, 21 and 21.
    edges = np.linspace(0, BITS, min(distance // 2 + 1, BITS) + 1).round().astype(int).tolist()
    for low, high in pairwise(edges):
        yield (hashes >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1), high - low


def _choose_near(hashes: Hashes, left: Indices, right: Indices, distance: int) -> Indices:
    """Return the near ones of some pairs, each as one number."""
    near = np.bitwise_count(hashes[left] ^ hashes[right]) <= distance
    return np.unique(np.minimum(left[near], right[near]) * len(hashes) + np.maximum(left[near], right[near]))


def _split_bits(found: list[Indices], count: int) -> tuple[Indices, Indices]:
    pairs = np.unique(np.concatenate(found))
    return pairs // max(count, 1), pairs % max(count, 1)


def _pair_bands(keys: npt.NDArray[np.uint64], groups: Indices | None, width: int) -> Iterator[tuple[Indices, Indices]]:
    """Return the pairs of positions whose keys are equal, or differ in one of the lowest `width` bits, in chunks."""
    count = len(keys)
    order = np.argsort(keys, kind="stable") if groups is None else np.lexsort((groups, keys))
    values, starts, counts = np.unique(keys[order], return_index=True, return_counts=True)
    ends = starts + counts
    indices = np.arange(count)
    # Without groups each is its own. What has one code is not paired.
    own_groups = indices if groups is None else groups[order]
    codes = np.repeat(np.arange(len(values)) * count, counts) + own_groups
    behind = indices + 1 if groups is None else np.searchsorted(codes, codes, side="right")
    # Every position with those behind it that have the same key.
    for left, right in _expand_pairs(indices, behind, np.repeat(ends, counts)):
        yield order[left], order[right]
    for bit in range(width):
        partners = values ^ np.uint64(1 << bit)
        found = np.minimum(np.searchsorted(values, partners), len(values) - 1)
        hit = np.flatnonzero((values[found] == partners) & (values < partners))
        own = counts[hit]
        members = np.repeat(starts[hit], own) + _count_up(own)
        firsts, lasts = np.repeat(starts[found[hit]], own), np.repeat(ends[found[hit]], own)
        spans = [(firsts, lasts)]
        if groups is not None:
            wanted = np.repeat(found[hit] * count, own) + own_groups[members]
            spans = [
                (firsts, np.searchsorted(codes, wanted, side="left")),
                (np.searchsorted(codes, wanted, side="right"), lasts),
            ]
        for first, last in spans:
            for left, right in _expand_pairs(members, first, last):
                yield order[left], order[right]


def _expand_pairs(indices: Indices, firsts: Indices, ends: Indices) -> Iterator[tuple[Indices, Indices]]:
    """Pair every row with all rows from its first up to its end, in chunks of about `CHUNK` pairs."""
    lengths = np.maximum(ends - firsts, 0)
    kept = np.flatnonzero(lengths)
    indices, firsts, lengths = indices[kept], firsts[kept], lengths[kept]
    totals = np.cumsum(lengths)
    start = 0
    while start < len(indices):
        before = int(totals[start - 1]) if start else 0
        stop = max(int(np.searchsorted(totals, before + PAIR_CHUNK, side="right")), start + 1)
        own = lengths[start:stop]
        yield np.repeat(indices[start:stop], own), np.repeat(firsts[start:stop], own) + _count_up(own)
        start = stop


def _count_up(lengths: Indices) -> Indices:
    """Return 0, 1, … for each length in turn."""
    total = int(lengths.sum())
    return np.arange(total) - np.repeat(np.cumsum(lengths) - lengths, lengths)


# Group photographs that are identical, or so nearly that they show the same thing.

# Of photographs with one perceptual hash so many are compared with each other; in a larger crowd, as of blank ones,
# each with so many of the next in order of brightness.
WINDOW = 32
# Photographs with near hashes that each is compared with, to begin with.
SAMPLE = 16
COMPARE_CHUNK = 100_000


@dataclass(frozen=True)
class Duplicates:
    """The groups of n photographs.

    Attributes:
        pixels: A number for each photograph, the same where all pixels are, int64 (n,).
        groups: A number for each, the same where they are identical or nearly so, int64 (n,).
    """

    pixels: Indices
    groups: Indices


def group_photographs(
    pixel_hashes: Sequence[str], hashes: Hashes, small: Pixels, distance: int, difference: float
) -> Duplicates:
    """Group photographs by their fingerprints, and look at what the fingerprints find alike.

    A perceptual hash does not see colours, and says the same of two plain shirts. So two photographs count as nearly
    identical only where their hashes are near, and no part of their small copies differs by more than `difference`
    in any colour: copies that were compressed or brightened a little pass, another shade of lipstick does not.
    Duplicates of duplicates are in one group.

    Args:
        pixel_hashes: Equal where all pixels are.
        hashes: Perceptual hashes, uint64 (n,).
        small: Small copies of the photographs, uint8 (n, H, W, 3).
        distance: The bits by which perceptual hashes may differ.
        difference: 0 to 255.
    """
    _, firsts, pixels = np.unique(np.asarray(pixel_hashes), return_index=True, return_inverse=True)
    groups = _group_distinct(hashes[firsts], small[firsts], distance, difference)
    return Duplicates(pixels.astype(np.int64), groups[pixels])


def _group_distinct(hashes: Hashes, small: Pixels, distance: int, difference: float) -> Indices:
    """Return the groups of photographs no two of which have the same pixels, int64 (n,).

    Pairs of one group are not looked at again: first pairs of one hash, then some of the near ones, then all others.
    So of thousands of copies of one placeholder, each compressed anew, not each is compared with each.
    """
    left, right, standing = _pair_same(hashes, small)
    groups = np.arange(len(hashes))
    groups = _join_groups(groups, small, left, right, difference)
    left, right = sample_near_pairs(hashes[standing], distance, SAMPLE)
    groups = _join_groups(groups, small, standing[left], standing[right], difference)
    left, right = find_near_pairs(hashes[standing], distance, groups[standing])
    return _join_groups(groups, small, standing[left], standing[right], difference)


def _join_groups(groups: Indices, small: Pixels, left: Indices, right: Indices, difference: float) -> Indices:
    """Return the groups once those pairs that look alike are in one."""
    apart = groups[left] != groups[right]
    left, right = left[apart], right[apart]
    kept = _look_alike(small, left, right, difference)
    edges = (groups[left[kept]], groups[right[kept]])
    graph = coo_array((np.ones(int(kept.sum()), np.int8), edges), shape=(len(groups), len(groups)))
    return np.asarray(connected_components(graph, directed=False)[1][groups], np.int64)


def _pair_same(hashes: Hashes, small: Pixels) -> tuple[Indices, Indices, Indices]:
    """Return pairs of photographs with one hash (of many, those of similar brightness), and their representatives."""
    brightness = small.reshape(len(small), -1).mean(axis=1, dtype=np.float32)
    order = np.lexsort((brightness, hashes))
    ordered = hashes[order]
    indices = np.arange(len(ordered))
    starts = np.searchsorted(ordered, ordered, side="left")
    left, right = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for step in range(1, min(WINDOW, max(len(ordered), 1))):
        same = np.flatnonzero(ordered[step:] == ordered[:-step])
        left.append(order[same])
        right.append(order[same + step])
    # The first of every crowd stand for it where it is compared with others.
    standing = order[indices - starts < WINDOW]
    return np.concatenate(left), np.concatenate(right), standing


def _look_alike(small: Pixels, left: Indices, right: Indices, difference: float) -> np.ndarray:
    found = np.zeros(len(left), bool)
    for start in range(0, len(left), COMPARE_CHUNK):
        chunk = slice(start, start + COMPARE_CHUNK)
        one, other = small[left[chunk]].astype(np.int16), small[right[chunk]].astype(np.int16)
        found[chunk] = np.abs(one - other).max(axis=(1, 2, 3), initial=0) <= difference
    return found
