"""Find duplicates and near-duplicates by pixel and perceptual hashes, without comparing all pairs.

A photograph's fingerprints are a hash of its pixels and a perceptual hash. `find_near_pairs` finds perceptual hashes a
few bits apart by multi-index hashing. `group_duplicates` groups photographs by both hashes alone, to keep duplicates on
one side of a split; `group_photographs` compares the pixels of near pairs too, to report near-duplicates to people.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.fft import dct
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from hangtag.catalog.images import Pixels, build_averaging_matrix, limit_part, release_pages
from hangtag.console import show_progress
from hangtag.labels.dataset import LabeledItems
from hangtag.labels.image_hashes import PhotographHashes

ROW_CHUNK = 1024
HASH_SIDE, SAMPLE_SIDE = 8, 32
BITS = 64
# Pairs that are compared at once; of 8 bytes each, a few arrays of it.
PAIR_CHUNK = 2_000_000
# With so many random others of its band each hash is compared first, before all pairs that are still apart are.
SAMPLE = 16
# Up to so many photographs with one perceptual hash are all compared with each other; of more, as of blank ones, each
# with so many of the next in order of brightness.
WINDOW = 32
COMPARE_CHUNK = 10_000
NOTHING: Mapping[str, int] = {}
Hashes = npt.NDArray[np.uint64]
Indices = npt.NDArray[np.int64]


def compute_fingerprints(
    images: Pixels, rows: Indices | None = None, known: Mapping[str, int] = NOTHING
) -> tuple[list[str], Hashes]:
    """Return each photograph's pixel hash and perceptual hash, reading the memory map once.

    Args:
        images: uint8 (n, H, W, 3).
        rows: Which of them; None takes all.
        known: Perceptual hashes that need not be computed again, by the pixel hash.

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
            keys = [hashlib.blake2b(image.data, digest_size=16).hexdigest() for image in chunk]
            new = [index for index, key in enumerate(keys) if key not in known]
            found = np.array([known.get(key, 0) for key in keys], np.uint64)
            if new:
                found[new] = compute_perceptual_hashes(chunk[new] if len(new) < len(chunk) else chunk)
            pixel_hashes += keys
            hashes[start : start + size] = found
            release_pages(images)
            bar.advance(len(chunk))
    return pixel_hashes, hashes


def hash_photographs(images: Pixels, rows: Indices | None = None) -> PhotographHashes:
    """Compute both hashes of photographs, to look them up in a set; see `compute_fingerprints`."""
    return PhotographHashes.of(*compute_fingerprints(images, rows))


def hash_items(labelled: LabeledItems, items: pl.DataFrame) -> tuple[PhotographHashes, Indices]:
    """Compute the hashes of all photographs of some items.

    Args:
        labelled: The catalogue.
        items: Rows of its table: `item_id` and `image_index`.

    Returns:
        The hashes of k photographs, and the index in `items` of each one's item, int64 (k,).
    """
    hashes = hash_photographs(labelled.images, items["image_index"].to_numpy().astype(np.int64))
    rows, owners = labelled.others.find(items["item_id"])
    if len(rows):
        hashes = hashes.join(hash_photographs(labelled.others.images, rows))
    return hashes, np.concatenate([np.arange(len(items)), owners])


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
    return np.asarray(dct(build_averaging_matrix(side, SAMPLE_SIDE), axis=0)[:HASH_SIDE], np.float32)


def find_near_pairs(hashes: Hashes, distance: int, groups: Indices | None = None) -> tuple[Indices, Indices]:
    """Find every pair of hashes that differ in at most `distance` bits, by multi-index hashing.

    The bits are cut into so many bands that two near hashes differ in at most one bit of some band; only hashes that
    share a band but for one bit are compared. Source: Norouzi, Punjani and Fleet, *Fast Search in Hamming Space with
    Multi-Index Hashing*, 2012.

    Args:
        hashes: uint64 (n,).
        distance: 0 to 64; beyond 6 the bands are short, and many hashes share them.
        groups: The group of each hash, int64 (n,), 0 to n - 1; pairs within a group are left out at no cost.

    Returns:
        The indices of the left and the right hash of each pair, int64 (pairs,) twice; left below right, each pair once.
    """
    found = [np.empty(0, np.int64)]
    for keys, width in _cut_bands(hashes, distance):
        for left, right in _pair_bands(keys, groups, width if distance else 0):
            found.append(_choose_near(hashes, left, right, distance))
    return _unpack_pairs(found, len(hashes))


def sample_near_pairs(hashes: Hashes, distance: int, count: int, seed: int = 0) -> tuple[Indices, Indices]:
    """Find some of these pairs: each hash is compared with about `2 * count` random ones that share a band.

    They connect nearly all hashes of a dense cluster, at a cost that grows with n and not with its square.

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
    return _unpack_pairs(found, len(hashes))


def _cut_bands(hashes: Hashes, distance: int) -> Iterator[tuple[npt.NDArray[np.uint64], int]]:
    """Yield each band of the hashes, uint64 (n,), and its width in bits."""
    # The bands share the bits: of 64 in 3 bands, 22, 21 and 21.
    edges = np.linspace(0, BITS, min(distance // 2 + 1, BITS) + 1).round().astype(int).tolist()
    for low, high in pairwise(edges):
        yield (hashes >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1), high - low


def _choose_near(hashes: Hashes, left: Indices, right: Indices, distance: int) -> Indices:
    """Return the near pairs among some pairs, each once, encoded as left * n + right."""
    near = np.bitwise_count(hashes[left] ^ hashes[right]) <= distance
    return np.unique(np.minimum(left[near], right[near]) * len(hashes) + np.maximum(left[near], right[near]))


def _unpack_pairs(found: list[Indices], count: int) -> tuple[Indices, Indices]:
    """Return the left and right indices of encoded pairs."""
    pairs = np.unique(np.concatenate(found))
    return pairs // max(count, 1), pairs % max(count, 1)


def _pair_bands(keys: npt.NDArray[np.uint64], groups: Indices | None, width: int) -> Iterator[tuple[Indices, Indices]]:
    """Yield the pairs of indices whose keys are equal, or differ in one of the lowest `width` bits, in chunks."""
    count = len(keys)
    order = np.argsort(keys, kind="stable") if groups is None else np.lexsort((groups, keys))
    values, starts, counts = np.unique(keys[order], return_index=True, return_counts=True)
    ends = starts + counts
    # From here on positions in sorted order; `order` turns them into indices.
    positions = np.arange(count)
    # A code encodes key and group; hashes with the same code are not paired. Without groups each hash is its own.
    own_groups = positions if groups is None else groups[order]
    codes = np.repeat(np.arange(len(values)) * count, counts) + own_groups
    behind = positions + 1 if groups is None else np.searchsorted(codes, codes, side="right")
    # Every position with those behind it that have the same key.
    for left, right in _expand_pairs(positions, behind, np.repeat(ends, counts)):
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


def _expand_pairs(positions: Indices, firsts: Indices, ends: Indices) -> Iterator[tuple[Indices, Indices]]:
    """Pair every position with all from its first up to its end, in chunks of about `PAIR_CHUNK` pairs."""
    lengths = np.maximum(ends - firsts, 0)
    kept = np.flatnonzero(lengths)
    positions, firsts, lengths = positions[kept], firsts[kept], lengths[kept]
    totals = np.cumsum(lengths)
    start = 0
    while start < len(positions):
        before = int(totals[start - 1]) if start else 0
        stop = max(int(np.searchsorted(totals, before + PAIR_CHUNK, side="right")), start + 1)
        own = lengths[start:stop]
        yield np.repeat(positions[start:stop], own), np.repeat(firsts[start:stop], own) + _count_up(own)
        start = stop


def _count_up(lengths: Indices) -> Indices:
    """Return 0, 1, … for each length in turn."""
    total = int(lengths.sum())
    return np.arange(total) - np.repeat(np.cumsum(lengths) - lengths, lengths)


def join_groups(groups: Sequence[int] | Indices, keys: Sequence[str | None]) -> Indices:
    """Join groups of items that have a key in common, int64 (n,).

    Args:
        groups: The group of each item, 0 to n - 1.
        keys: A text that items of one product share, such as the number of its group; None where an item has none.
    """
    found = np.asarray(groups, np.int64)
    first: dict[str, int] = {}
    pairs = [(row, first.setdefault(key, row)) for row, key in enumerate(keys) if key is not None]
    if not pairs:
        return found
    left, right = found[np.array(pairs, np.int64)].T
    return _find_components(left, right, len(found))[found]


def group_duplicates(pixel_hashes: Sequence[str], hashes: Hashes, max_distance: int) -> Indices:
    """Group photographs with equal pixels or near perceptual hashes, and so duplicates of duplicates.

    Args:
        pixel_hashes: Equal where all pixels are.
        hashes: Perceptual hashes, uint64 (n,).
        max_distance: The bits by which perceptual hashes may differ, 0, 1 or 2.

    Returns:
        The group of each photograph, int64 (n,): equal numbers in a group, without further meaning.
    """
    _, by_pixels = np.unique(np.asarray(pixel_hashes), return_inverse=True)
    unique, by_hash = np.unique(hashes, return_inverse=True)
    by_hash = _group_near(unique, max_distance)[by_hash]
    # The nodes are the photographs, then the pixel hashes, then the groups of perceptual hashes.
    count = len(hashes)
    indices = np.arange(count)
    pixel_nodes = count + by_pixels
    hash_nodes = count + int(by_pixels.max(initial=-1)) + 1 + by_hash
    edges = np.concatenate([indices, indices]), np.concatenate([pixel_nodes, hash_nodes])
    return _find_components(*edges, int(hash_nodes.max(initial=-1)) + 1)[:count]


def _group_near(unique: Hashes, distance: int) -> Indices:
    """Return the groups of distinct hashes that are connected by pairs at most `distance` bits apart, int64 (n,)."""
    left, right = sample_near_pairs(unique, distance, SAMPLE)
    groups = _find_components(left, right, len(unique))
    left, right = find_near_pairs(unique, distance, groups)
    return _find_components(groups[left], groups[right], len(unique))[groups]


def _find_components(left: Indices, right: Indices, count: int) -> Indices:
    """Return the connected component of each of `count` nodes, int64 (count,), numbered by their first nodes."""
    graph = coo_array((np.ones(len(left), np.int8), (left, right)), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)


@dataclass(frozen=True)
class Duplicates:
    """The groups of n photographs.

    Attributes:
        pixels: The group of identical photographs of each, int64 (n,).
        groups: The group of identical or nearly identical photographs of each, int64 (n,).
    """

    pixels: Indices
    groups: Indices


def group_photographs(
    pixel_hashes: Sequence[str], hashes: Hashes, small: Pixels, distance: int, difference: float
) -> Duplicates:
    """Group photographs with equal pixels, or with near perceptual hashes and similar pixels.

    A perceptual hash ignores colour, and is the same for many plain shirts. So two photographs are nearly identical
    only if their hashes are near and no pixel of their small copies differs by more than `difference` in any colour:
    copies that were compressed or brightened a little pass, another shade of lipstick does not. Duplicates of
    duplicates are in one group.

    Args:
        pixel_hashes: Equal where all pixels are.
        hashes: Perceptual hashes, uint64 (n,).
        small: Small copies of the photographs, uint8 (n, H, W, 3).
        distance: The bits by which perceptual hashes may differ.
        difference: The largest difference of two small copies' pixels in any colour, 0 to 255.
    """
    _, firsts, pixels = np.unique(np.asarray(pixel_hashes), return_index=True, return_inverse=True)
    groups = _group_distinct(hashes[firsts], small[firsts], distance, difference)
    return Duplicates(pixels.astype(np.int64), groups[pixels])


def _group_distinct(hashes: Hashes, small: Pixels, distance: int, difference: float) -> Indices:
    """Return the groups of photographs no two of which have the same pixels, int64 (n,).

    Pairs within a group are not compared again: first pairs with the same hash are compared, then a sample of the near
    pairs, then all others. So thousands of recompressed copies of one placeholder are not all compared with each other.
    """
    left, right, chosen = _pair_equal_hashes(hashes, small)
    groups = np.arange(len(hashes))
    groups = _join_groups(groups, small, left, right, difference)
    left, right = sample_near_pairs(hashes[chosen], distance, SAMPLE)
    groups = _join_groups(groups, small, chosen[left], chosen[right], difference)
    left, right = find_near_pairs(hashes[chosen], distance, groups[chosen])
    return _join_groups(groups, small, chosen[left], chosen[right], difference)


def _join_groups(groups: Indices, small: Pixels, left: Indices, right: Indices, difference: float) -> Indices:
    """Return the groups after joining those of every pair with similar pixels."""
    apart = groups[left] != groups[right]
    left, right = left[apart], right[apart]
    kept = _have_similar_pixels(small, left, right, difference)
    return _find_components(groups[left[kept]], groups[right[kept]], len(groups))[groups]


def _pair_equal_hashes(hashes: Hashes, small: Pixels) -> tuple[Indices, Indices, Indices]:
    """Pair photographs with the same perceptual hash; with many of one hash, only those of similar brightness.

    Returns:
        The left and the right photograph of each pair, and up to `WINDOW` photographs of every hash that are compared
        with those of other hashes.
    """
    brightness = small.reshape(len(small), -1).mean(axis=1, dtype=np.float32)
    order = np.lexsort((brightness, hashes))
    ordered = hashes[order]
    positions = np.arange(len(ordered))
    starts = np.searchsorted(ordered, ordered, side="left")
    left, right = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for step in range(1, min(WINDOW, max(len(ordered), 1))):
        same = np.flatnonzero(ordered[step:] == ordered[:-step])
        left.append(order[same])
        right.append(order[same + step])
    chosen = order[positions - starts < WINDOW]
    return np.concatenate(left), np.concatenate(right), chosen


def _have_similar_pixels(small: Pixels, left: Indices, right: Indices, difference: float) -> npt.NDArray[np.bool_]:
    """Return for each pair whether no pixel differs by more than `difference`, bool (pairs,)."""
    found = np.zeros(len(left), bool)
    for start in range(0, len(left), COMPARE_CHUNK):
        chunk = slice(start, start + COMPARE_CHUNK)
        one, other = small[left[chunk]].astype(np.int16), small[right[chunk]].astype(np.int16)
        found[chunk] = np.abs(one - other).max(axis=(1, 2, 3), initial=0) <= difference
    return found
