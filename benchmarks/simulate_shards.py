"""Measure the memory and the time of the process that hands out shards, with ten million entries and work that is none.

Usage: python benchmarks/simulate_shards.py [--entries 10000000] [--ray] [--nodes 2]

Three parts of the process are driven as the stages do it, and their memory is printed as they go on:

- `listing`: the list of files of `classify --output`, from names that no disk has, and the parts that it is cut into;
- `classifying`: the loop over these parts;
- `decoding`: the loop over the chunks of `prepare`, which holds the path, the stamp and the item of every photograph.

`--ray` runs the loops as tasks of a cluster on this machine. `busy` is the time that this process computed, in
seconds, and `an entry` that time in microseconds: the work of an entry takes some hundreds of them or more.
"""

import argparse
import json
import os
import resource
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hangtag.catalog.image_files import CHUNK, Chunk
from hangtag.ray_tasks import TaskPlan
from hangtag.runner_config import RunnerConfig
from hangtag.serving import predicted_files
from hangtag.shards import ShardWork, Slot, run_shards

REPORT_SECONDS = 10


@dataclass
class Nothing(ShardWork[object, int]):
    """Do nothing with a shard."""

    def run(self, shard: object, slot: Slot) -> int:  # noqa: ARG002
        """Return a number."""
        return 1


def main() -> None:
    """Print the memory of each part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=10_000_000)
    parser.add_argument("--ray", action="store_true")
    arguments = parser.parse_args()
    runner = RunnerConfig("ray") if arguments.ray else RunnerConfig()
    print(f"{arguments.entries:,} entries; {'ray' if arguments.ray else 'local'}\n")
    with tempfile.TemporaryDirectory() as folder:
        with watch("listing", arguments.entries):
            listed = write_list(Path(folder, "files.jsonl"), arguments.entries)
            parts = predicted_files._cut_list(listed)
        with watch("classifying", arguments.entries):
            loop(parts, len(parts), runner, Path(folder))
        with watch("decoding", arguments.entries):
            chunks = list_chunks(arguments.entries)
            loop(chunks, -(-arguments.entries // CHUNK), runner, Path(folder))


def write_list(path: Path, entries: int) -> Path:
    """Write the list of files as `classify` does."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{json.dumps(f'/shop/images/{number:09}.jpg')}\n" for number in range(entries))
    return path


def list_chunks(entries: int) -> Iterator[Chunk]:
    """Yield the chunks of `prepare`, from lists of all photographs as it holds them."""
    names = [f"images/{number:09}.jpg" for number in range(entries)]
    stamps = [f"{number}-1700000000-1700000000" for number in range(entries)]
    for start in range(0, entries, CHUNK):
        part = slice(start, start + CHUNK)
        yield Chunk(names[part], names[part], stamps[part])


def loop(shards: object, total: int, runner: RunnerConfig, folder: Path) -> None:
    """Run the loop over shards of no work."""
    with run_shards(Nothing(), iter(shards), TaskPlan("nothing", total, folder), runner) as results:  # type: ignore[call-overload]
        for _ in results:
            pass


@contextmanager
def watch(name: str, entries: int) -> Iterator[None]:
    """Print the memory of this process while the block runs, and its time at the end."""
    stop, started, busy = threading.Event(), time.perf_counter(), time.process_time()

    def report() -> None:
        while not stop.wait(REPORT_SECONDS):
            print(f"{name:12} {time.perf_counter() - started:6.0f} s {read_memory():8.0f} MB", flush=True)

    thread = threading.Thread(target=report, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    seconds, busy = time.perf_counter() - started, time.process_time() - busy
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    print(
        f"{name:12} {seconds:6.0f} s {read_memory():8.0f} MB, at most {most:.0f} MB; busy {busy:.0f} s, "
        f"{busy / entries * 1e6:.1f} µs an entry",
        flush=True,
    )


def read_memory() -> float:
    """Return the memory of this process in MB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    main()
