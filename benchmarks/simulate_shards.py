"""Measure the memory and the time of the process that hands out shards, with ten million entries and work that is none.

Usage: python benchmarks/simulate_shards.py [--entries 10000000]

Parts of the process are driven as the stages do it, and their memory is printed as they go on:

- `listing`: the list of files of `classify --output`, from names that no disk has, and the parts that it is cut into;
- `classifying`: the loop over these parts;
- `preparing`: all of `prepare` but for the rows of the table, which are made when they are asked for, and the
  photographs, whose pixels are one black dot each;
- `again`: the same with the result of `preparing` in the workspace, where one photograph of a hundred has changed.

Each part is a process of its own. `busy` is the time that it computed, in seconds, and `an entry` that time in
microseconds: the work of an entry takes some hundreds of them or more.
"""

import argparse
import json
import os
import resource
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from hangtag.catalog import decoded_store, image_files
from hangtag.catalog.images import Pixels
from hangtag.catalog.photograph_table import Decoded, Outcome
from hangtag.catalog.reader import RawCatalog
from hangtag.catalog.schema import CatalogSchema
from hangtag.catalog.table import Rows
from hangtag.config import PrepareConfig
from hangtag.manifest import StageRecord
from hangtag.ray_tasks import TaskPlan
from hangtag.runner_config import RunnerConfig
from hangtag.serving import predicted_files
from hangtag.shards import ShardWork, Slot, run_shards
from hangtag.stages import prepare

REPORT_SECONDS = 10
CHANGED = 100


@dataclass
class Nothing(ShardWork[object, int]):
    """Do nothing with a shard."""

    def run(self, shard: object, slot: Slot) -> int:  # noqa: ARG002
        """Return a number."""
        return 1


class Cells(Sequence[str]):
    """A column of a table, whose cells are made when they are asked for."""

    def __init__(self, entries: int, make: Callable[[int], str]) -> None:
        self._entries, self._make = entries, make

    def __len__(self) -> int:
        return self._entries

    def __getitem__(self, index: Any) -> Any:
        return self._make(range(self._entries)[index])


class Photographs:
    """A catalogue's files, which are nowhere; the stamps of some depend on the day."""

    path, identity, notes = Path("/shop"), (), ()

    def __init__(self, entries: int, day: int) -> None:
        self._entries, self._day = entries, day

    def names(self) -> Iterator[str]:
        """Yield the path of every photograph."""
        return (f"images/{number:09}.jpg" for number in range(self._entries))

    def stamp(self, name: str) -> str:
        """Return a text as long as that of a file: its size and two times in nanoseconds."""
        number = int(name[7:16])
        time = 1_700_000_000_000_000_000 + number * 1_000_003 + (self._day if number % CHANGED == 0 else 0)
        return f"{1000 + number % 9000}-{time}-{time + 1_000_000_007}"


class Shards:
    """Files of pixels that nobody writes."""

    folder, key = Path("/shop"), ""

    def save(self, *_: object) -> str:
        """Return a name."""
        return ""

    def read(self, _: str) -> Pixels:
        """Return the pixels of a chunk's photographs, black."""
        return np.zeros((image_files.CHUNK, 1, 1, 3), np.uint8)


def main() -> None:
    """Print the memory of each part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=10_000_000)
    parser.add_argument("--parts", default="classify,prepare", help="the commands to measure")
    arguments = parser.parse_args()
    print(f"{arguments.entries:,} entries\n")
    with tempfile.TemporaryDirectory() as folder:
        if "classify" in arguments.parts:
            in_process(list_and_classify, arguments.entries, Path(folder))
        if "prepare" in arguments.parts:
            in_process(prepare_shop, arguments.entries, Path(folder), 0, "preparing")
            in_process(prepare_shop, arguments.entries, Path(folder), 1, "again")


def in_process(part: Callable[..., None], *arguments: object) -> None:
    """Run a part in a process of its own, whose memory is nobody else's."""
    process = get_context("spawn").Process(target=part, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(process.exitcode)


def list_and_classify(entries: int, folder: Path) -> None:
    """Write the list of files as `classify` does, and run the loop over its parts."""
    with watch("listing", entries):
        path = folder / "files.jsonl"
        with path.open("w", encoding="utf-8") as file:
            file.writelines(f"{json.dumps(f'/shop/images/{number:09}.jpg')}\n" for number in range(entries))
        parts = predicted_files._cut_list(path)
    plan = TaskPlan("nothing", len(parts), folder)
    with watch("classifying", entries), run_shards(Nothing(), iter(parts), plan, RunnerConfig()) as results:
        for _ in results:
            pass


def prepare_shop(entries: int, folder: Path, day: int, name: str) -> None:
    """Prepare a catalogue without rows and pixels."""
    described = {
        "id": "id",
        "levels": ["kind"],
        "image": "images/{id}.jpg",
        "columns": ["id", "kind"],
        "table": "a.csv",
    }
    cells = [Cells(entries, "{:09}".format), Cells(entries, lambda row: f"Kind {row % 100}")]
    rows = Rows(("id", "kind"), cells)
    raw = RawCatalog(Photographs(entries, day), "", CatalogSchema.from_values(described), rows)  # type: ignore[arg-type]
    image_files._decode_chunk = decode_nothing
    decoded_store.DecodedShards = lambda *_: Shards()  # type: ignore[assignment, misc]
    record = StageRecord("prepare", folder / "prepared", {}, {})
    config = PrepareConfig(workers=1)
    # Smaller than allowed: the files of pixels are not what is measured.
    object.__setattr__(config, "image_size", (1, 1))
    with watch(name, entries):
        prepare._prepare_catalog(record, raw, config, RunnerConfig())


def decode_nothing(
    source_path: Path,  # noqa: ARG001
    identity: tuple[int, ...],  # noqa: ARG001
    paths: Sequence[str | Path],
    config: PrepareConfig,  # noqa: ARG001
) -> tuple[list[Outcome], Pixels]:
    """Return as many outcomes as paths, each an object of its own as other processes return them."""
    return [Decoded(int("1200"), int("1600"), "RGB") for _ in paths], np.zeros((len(paths), 1, 1, 3), np.uint8)


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
