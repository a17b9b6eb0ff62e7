"""Find all pairs of fingerprints that are a few bits apart, without comparing all with all."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from hangtag.labels.duplicates import Hashes, Indices

BITS = 64
# Pairs that are compared at once; of 8 bytes each, a few arrays of it.
CHUNK = 2_000_000


def find_near_pairs(hashes: Hashes, distance: int, groups: Indices | None = None) -> tuple[Indices, Indices]:
    """Give every pair of fingerprints that differ in at most `distance` bits, each once, int64 (pairs,) twice.

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
    for keys, width in _cut(hashes, distance):
        for left, right in _pair_bands(keys, groups, width if distance else 0):
            found.append(_choose_near(hashes, left, right, distance))
    return _part(found, len(hashes))


def sample_near_pairs(hashes: Hashes, distance: int, count: int, seed: int = 0) -> tuple[Indices, Indices]:
    """Give some of those pairs: each fingerprint is compared with about `2 * count` that share a band, drawn at random.

    In a crowd of near fingerprints these hang nearly all of them together, at a cost that grows with n.

    Args:
        hashes: uint64 (n,).
        distance: As for `find_near_pairs`.
        count: How many.
        seed: Of the draw.
    """
    found = [np.empty(0, np.int64)]
    random = np.random.default_rng(seed)
    for keys, _ in _cut(hashes, distance):
        order = np.lexsort((random.random(len(keys)), keys))
        ordered = keys[order]
        for step in range(1, min(count + 1, len(order))):
            same = np.flatnonzero(ordered[step:] == ordered[:-step])
            found.append(_choose_near(hashes, order[same], order[same + step], distance))
    return _part(found, len(hashes))


def _cut(hashes: Hashes, distance: int) -> Iterator[tuple[npt.NDArray[np.uint64], int]]:
    """Give the bits of each band, and how many they are."""
    # The bands share the bits: of 64 in 3 bands, 22, 21 and 21.
    edges = np.linspace(0, BITS, min(distance // 2 + 1, BITS) + 1).round().astype(int).tolist()
    for low, high in pairwise(edges):
        yield (hashes >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1), high - low


def _choose_near(hashes: Hashes, left: Indices, right: Indices, distance: int) -> Indices:
    """Give the near ones of some pairs, each as one number."""
    near = np.bitwise_count(hashes[left] ^ hashes[right]) <= distance
    return np.unique(np.minimum(left[near], right[near]) * len(hashes) + np.maximum(left[near], right[near]))


def _part(found: list[Indices], count: int) -> tuple[Indices, Indices]:
    pairs = np.unique(np.concatenate(found))
    return pairs // max(count, 1), pairs % max(count, 1)


def _pair_bands(keys: npt.NDArray[np.uint64], groups: Indices | None, width: int) -> Iterator[tuple[Indices, Indices]]:
    """Give the pairs of positions whose keys are equal, or differ in one of the lowest `width` bits, in chunks."""
    count = len(keys)
    order = np.argsort(keys, kind="stable") if groups is None else np.lexsort((groups, keys))
    values, starts, counts = np.unique(keys[order], return_index=True, return_counts=True)
    ends = starts + counts
    places = np.arange(count)
    # Without groups each is its own. What has one code is not paired.
    own_groups = places if groups is None else groups[order]
    codes = np.repeat(np.arange(len(values)) * count, counts) + own_groups
    behind = places + 1 if groups is None else np.searchsorted(codes, codes, side="right")
    # Every position with those behind it that have the same key.
    for left, right in _expand(places, behind, np.repeat(ends, counts)):
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
            for left, right in _expand(members, first, last):
                yield order[left], order[right]


def _expand(places: Indices, firsts: Indices, ends: Indices) -> Iterator[tuple[Indices, Indices]]:
    """Pair every place with all from its first up to its end, in chunks of about `CHUNK` pairs."""
    lengths = np.maximum(ends - firsts, 0)
    kept = np.flatnonzero(lengths)
    places, firsts, lengths = places[kept], firsts[kept], lengths[kept]
    totals = np.cumsum(lengths)
    start = 0
    while start < len(places):
        before = int(totals[start - 1]) if start else 0
        stop = max(int(np.searchsorted(totals, before + CHUNK, side="right")), start + 1)
        own = lengths[start:stop]
        yield np.repeat(places[start:stop], own), np.repeat(firsts[start:stop], own) + _count_up(own)
        start = stop


def _count_up(lengths: Indices) -> Indices:
    """Give 0, 1, … for each length in turn."""
    total = int(lengths.sum())
    return np.arange(total) - np.repeat(np.cumsum(lengths) - lengths, lengths)
