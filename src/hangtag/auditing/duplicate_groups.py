"""Group photographs that are identical, or so nearly that they show the same thing."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from hangtag.auditing.near_pairs import find_near_pairs, sample_near_pairs
from hangtag.catalog.images import Pixels
from hangtag.labels.duplicates import Hashes, Indices

# Of photographs with one perceptual hash so many are compared with each other; in a larger crowd, as of blank ones,
# each with so many of the next in order of brightness.
WINDOW = 32
# Photographs with near hashes that each is compared with, to begin with.
SAMPLE = 16
CHUNK = 100_000


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
    """Give the groups of photographs no two of which have the same pixels, int64 (n,).

    Pairs of one group are not looked at again: first pairs of one hash, then some of the near ones, then all others.
    So of thousands of copies of one placeholder, each compressed anew, not each is compared with each.
    """
    left, right, standing = _pair_same(hashes, small)
    groups = np.arange(len(hashes))
    groups = _join(groups, small, left, right, difference)
    left, right = sample_near_pairs(hashes[standing], distance, SAMPLE)
    groups = _join(groups, small, standing[left], standing[right], difference)
    left, right = find_near_pairs(hashes[standing], distance, groups[standing])
    return _join(groups, small, standing[left], standing[right], difference)


def _join(groups: Indices, small: Pixels, left: Indices, right: Indices, difference: float) -> Indices:
    """Give the groups once those pairs that look alike are in one."""
    apart = groups[left] != groups[right]
    left, right = left[apart], right[apart]
    kept = _look_alike(small, left, right, difference)
    edges = (groups[left[kept]], groups[right[kept]])
    graph = coo_array((np.ones(int(kept.sum()), np.int8), edges), shape=(len(groups), len(groups)))
    return np.asarray(connected_components(graph, directed=False)[1][groups], np.int64)


def _pair_same(hashes: Hashes, small: Pixels) -> tuple[Indices, Indices, Indices]:
    """Give pairs of photographs with one hash, in a crowd those of like brightness, and the ones that stand for all."""
    brightness = small.reshape(len(small), -1).mean(axis=1, dtype=np.float32)
    order = np.lexsort((brightness, hashes))
    ordered = hashes[order]
    places = np.arange(len(ordered))
    starts = np.searchsorted(ordered, ordered, side="left")
    left, right = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for step in range(1, min(WINDOW, max(len(ordered), 1))):
        same = np.flatnonzero(ordered[step:] == ordered[:-step])
        left.append(order[same])
        right.append(order[same + step])
    # The first of every crowd stand for it where it is compared with others.
    standing = order[places - starts < WINDOW]
    return np.concatenate(left), np.concatenate(right), standing


def _look_alike(small: Pixels, left: Indices, right: Indices, difference: float) -> np.ndarray:
    found = np.zeros(len(left), bool)
    for start in range(0, len(left), CHUNK):
        chunk = slice(start, start + CHUNK)
        one, other = small[left[chunk]].astype(np.int16), small[right[chunk]].astype(np.int16)
        found[chunk] = np.abs(one - other).max(axis=(1, 2, 3), initial=0) <= difference
    return found
