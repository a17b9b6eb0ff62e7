"""How fast a reviewer works: issues an hour, without the pauses."""

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise

# Longer gaps are pauses and count as this many seconds.
LONGEST_GAP = 120.0
# Older decisions say little of the pace now.
LOOKED_AT = 100


def compute_pace(decided: Sequence[tuple[str, int]]) -> float | None:
    """Give issues an hour, or None where there is too little to tell.

    Args:
        decided: When a reviewer pressed a key (ISO 8601), and how many issues that decided, in order of time.
    """
    latest = decided[-LOOKED_AT:]
    times = [datetime.fromisoformat(time) for time, _ in latest]
    gaps = [(later - earlier).total_seconds() for earlier, later in pairwise(times)]
    seconds = sum(min(max(gap, 0.0), LONGEST_GAP) for gap in gaps)
    # The first key marks the beginning: what it decided took time before it.
    issues = sum(count for _, count in latest[1:])
    return issues / seconds * 3600 if seconds > 0 else None
