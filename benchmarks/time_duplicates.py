"""Time the search for near duplicates on synthetic fingerprints, and check what it finds.

Usage: python benchmarks/time_duplicates.py [--count 1000000] [--distance 4] [--crowded]

Fingerprints are drawn at random with half of their bits set, as a perceptual hash has them; a thousandth of them are
copies of others with two bits set and two cleared. With --crowded half of all lie within a few bits of a thousand
centres, as the photographs of a catalogue do that has a thousand kinds of plain shirts.
"""

import argparse
import platform
import resource
import time
from typing import Any

import numpy as np

from hangtag.labels.duplicates import find_near_pairs

BITS = 64


def main() -> None:
    """Print seconds, pairs, and whether all planted ones are among them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--distance", type=int, default=4)
    parser.add_argument("--crowded", action="store_true")
    arguments = parser.parse_args()
    random = np.random.default_rng(0)
    hashes = _draw(random, arguments.count)
    if arguments.crowded:
        half = arguments.count // 2
        hashes[:half] = _vary(random, hashes[random.integers(half, half + 1000, half)], changes=6)
    planted = max(arguments.count // 1000, 1)
    hashes[-planted:] = _vary(random, hashes[-2 * planted : -planted], changes=2)
    started = time.perf_counter()
    left, right = find_near_pairs(hashes, arguments.distance)
    seconds = time.perf_counter() - started
    found = set(zip(left.tolist(), right.tolist(), strict=True))
    last = arguments.count - planted
    hits = sum((place - planted, place) in found for place in range(last, arguments.count))
    gigabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{platform.machine()}, Python {platform.python_version()}, {arguments.count:,} fingerprints")
    print(f"{seconds:.1f} s, {len(left):,} pairs, {hits:,} of {planted:,} planted ones, {gigabytes:.1f} GB at most")


def _draw(random: Any, count: int) -> Any:
    """Draw fingerprints with half of their bits set."""
    bits = np.zeros((count, BITS), np.uint8)
    for start in range(0, count, 100_000):
        order = random.random((len(bits[start : start + 100_000]), BITS)).argsort(axis=1)
        bits[start : start + 100_000] = order < BITS // 2
    return np.packbits(bits, axis=1).view(">u8").ravel().astype(np.uint64)


def _vary(random: Any, hashes: Any, changes: int) -> Any:
    """Set and clear so many bits of each, up to `changes` of either."""
    varied = hashes.copy()
    for _ in range(changes):
        varied |= np.uint64(1) << random.integers(0, BITS, len(hashes), dtype=np.uint64)
        varied &= ~(np.uint64(1) << random.integers(0, BITS, len(hashes), dtype=np.uint64))
    return varied


if __name__ == "__main__":
    main()
