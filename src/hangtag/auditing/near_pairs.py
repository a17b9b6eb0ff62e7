"""Find all pairs of fingerprints that are a few bits apart, without comparing all with all."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from hangtag.labels.duplicates import Hashes, Indices

BITS = 64
# Pairs that are compared at once; of 8 bytes each, a few arrays of it.
CHUNK = 2_000_000


def find_near_pairs(hashes: Hashes, distance: int) -> tuple[Indices, Indices]:
    """Give every pair of fingerprints that differ in at most `distance` bits, each once, int64 (pairs,) twice.

    Multi-index hashing: the bits are cut into so many bands that two near fingerprints differ in one bit at most in
    one of them at least; so those are compared alone that share a band, but for one bit. Source: Norouzi, Punjani
    and Fleet, *Fast Search in Hamming Space with Multi-Index Hashing*, 2012.

    Args:
        hashes: uint64 (n,).
        distance: 0 to 64; beyond 6 the bands are short, and many fingerprints share them.

    Returns:
        Positions of the left and the right one, left below right.
    """
    found = [np.empty(0, np.int64)]
    count = len(hashes)
    # The bands share the bits: of 64 in 3 bands, 22, 21 and 21.
    edges = np.linspace(0, BITS, min(distance // 2 + 1, BITS) + 1).round().astype(int).tolist()
    for low, high in pairwise(edges):
        keys = (hashes >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1)
        for left, right in _pair_bands(keys, high - low if distance else 0):
            near = np.bitwise_count(hashes[left] ^ hashes[right]) <= distance
            pairs = np.minimum(left[near], right[near]) * count + np.maximum(left[near], right[near])
            found.append(np.unique(pairs))
    pairs = np.unique(np.concatenate(found))
    return pairs // max(count, 1), pairs % max(count, 1)


def _pair_bands(keys: npt.NDArray[np.uint64], width: int) -> Iterator[tuple[Indices, Indices]]:
    """Give the pairs of positions whose keys are equal, or differ in one of the lowest `width` bits, in chunks."""
    order = np.argsort(keys, kind="stable")
    values, starts, counts = np.unique(keys[order], return_index=True, return_counts=True)
    ends = starts + counts
    places = np.arange(len(keys))
    # Every position with those behind it that have the same key.
    for left, right in _expand(places, places + 1, np.repeat(ends, counts)):
        yield order[left], order[right]
    for bit in range(width):
        partners = values ^ np.uint64(1 << bit)
        found = np.minimum(np.searchsorted(values, partners), len(values) - 1)
        hit = np.flatnonzero((values[found] == partners) & (values < partners))
        own = counts[hit]
        members = np.repeat(starts[hit], own) + _count_up(own)
        for left, right in _expand(members, np.repeat(starts[found[hit]], own), np.repeat(ends[found[hit]], own)):
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
