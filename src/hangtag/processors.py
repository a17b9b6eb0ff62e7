"""Count the processors that this process may use, within a container too."""

import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def count_processors() -> int:
    """Return the number of processors that this process may use, at least 1.

    `os.cpu_count` is that of the machine. A container or `taskset` may allow fewer, and as many threads as the machine
    has processors would then slow each other down.
    """
    has_affinity = hasattr(os, "sched_getaffinity")
    allowed = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    return max(math.ceil(min(allowed, _read_quota())), 1)


def _read_quota() -> float:
    """Return the processors that the container may use on average (cgroup v2, then v1); infinity without a limit."""
    for quota_file, period_file in (("cpu.max", "cpu.max"), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            quota = (CGROUP / quota_file).read_text(encoding="ascii").split()[0]
            period = (CGROUP / period_file).read_text(encoding="ascii").split()[-1]
            return int(quota) / int(period) if int(quota) > 0 else math.inf
        except (OSError, ValueError, IndexError, ZeroDivisionError):
            # There is no such file, or the limit is the word `max`.
            continue
    return math.inf
