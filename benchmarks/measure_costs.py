"""Measure what each stage costs a product, and estimate catalogues of other sizes from that.

Usage: python benchmarks/measure_costs.py CATALOG.zip [--share 4] [--sizes 100000 10000000 1000000000]
                                          [--cores 16] [--price 0.05]

Runs every stage as a command on a part of the catalogue (one product in `--share`) and on all of it. Of both, processor
seconds, seconds, peak memory and bytes on disk are taken to be a constant and an amount for each product. The estimates
are straight lines through these two points: they say what a size costs if nothing else gets in the way.

--price is what a processor costs for an hour, in any currency; --cores is how many a cluster has.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

TABLE, PHOTOGRAPHS = "styles.csv", ".jpg"
# Stages whose work is cut into shards, which the processors of a cluster share.
SHARDED = ("prepare", "predict", "classify")


@dataclass(frozen=True)
class Cost:
    """What a command took: processor seconds, seconds, and bytes of memory and of files."""

    cpu: float
    seconds: float
    memory: float
    disk: float


@dataclass(frozen=True)
class Line:
    """A constant, and an amount for each product."""

    constant: float
    each: float

    @classmethod
    def through(cls, counts: Sequence[int], values: Sequence[float]) -> "Line":
        """Return the line through two points, with neither part below zero."""
        each = max((values[1] - values[0]) / (counts[1] - counts[0]), 0)
        return cls(max(values[1] - each * counts[1], 0), each)

    def at(self, count: int) -> float:
        """Return the value for a number of products."""
        return self.constant + self.each * count


def main() -> None:
    """Measure, and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("catalog", type=Path)
    parser.add_argument("--share", type=int, default=4, help="one product in so many is in the smaller catalogue")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10**5, 10**7, 10**9])
    parser.add_argument("--cores", type=int, default=16)
    parser.add_argument("--price", type=float, default=0.05)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder, "small.zip")
        _write_part(arguments.catalog, small, arguments.share)
        measured = [measure_stages(each, Path(folder, each.stem)) for each in (small, arguments.catalog)]
    counts = [count for count, _ in measured]
    print(f"{platform.machine()}, Python {platform.python_version()}, {os.cpu_count()} processors")
    print(f"catalogues of {counts[0]:,} and {counts[1]:,} products")
    lines = {
        stage: {
            name: Line.through(counts, [getattr(costs[stage], name) for _, costs in measured])
            for name in ("cpu", "seconds", "memory", "disk")
        }
        for stage in measured[0][1]
    }
    print("\n| stage | processor, ms a product | seconds | memory at most, MB | memory, bytes a product | on disk |")
    print("| --- | --- | --- | --- | --- | --- |")
    for stage, line in lines.items():
        whole = measured[1][1][stage]
        print(
            f"| {stage} | {1000 * line['cpu'].each:.2f} | {whole.seconds:.1f} | {whole.memory / 1e6:,.0f} "
            f"| {line['memory'].each:,.0f} | {line['disk'].each:,.0f} |"
        )
    print(f"\n| products | stage | processor hours | hours on {arguments.cores} cores | memory, GB | disk, GB | cost |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for size in arguments.sizes:
        for stage, line in lines.items():
            hours = line["cpu"].at(size) / 3600
            wall = hours / arguments.cores if stage in SHARDED else line["seconds"].at(size) / 3600
            memory, disk = (line[name].at(size) / 1e9 for name in ("memory", "disk"))
            print(
                f"| {size:,} | {stage} | {hours:,.2f} | {wall:,.2f} | {memory:,.1f} | {disk:,.1f} "
                f"| {hours * arguments.price:,.2f} |"
            )


def _write_part(catalog: Path, part: Path, share: int) -> None:
    """Write an archive with one product in `share`."""
    with zipfile.ZipFile(catalog) as whole, zipfile.ZipFile(part, "w") as written:
        table = next(name for name in whole.namelist() if name.endswith(TABLE))
        header, *rows = whole.read(table).splitlines(keepends=True)
        kept = rows[::share]
        written.writestr(table, b"".join([header, *kept]))
        stems = {row.split(b",", 1)[0].decode() for row in kept}
        for name in whole.namelist():
            if name.endswith(PHOTOGRAPHS) and Path(name).stem in stems:
                written.writestr(name, whole.read(name))


def measure_stages(catalog: Path, folder: Path) -> tuple[int, dict[str, Cost]]:
    """Run every stage on a catalogue; return the number of its photographs, and what each stage took."""
    workspace, photographs = folder / "workspace", folder / "photographs"
    photographs.mkdir(parents=True)
    with zipfile.ZipFile(catalog) as archive:
        names = {Path(name).name: name for name in archive.namelist() if name.endswith(PHOTOGRAPHS)}
        for short, name in names.items():
            (photographs / short).write_bytes(archive.read(name))
    commands: dict[str, list[str | Path]] = {
        "prepare": ["prepare", catalog],
        "clean": ["clean"],
        "train": ["train", "--preset", "quick"],
        "evaluate": ["evaluate"],
        "predict": ["predict", "--items", "all"],
        "audit": ["audit"],
    }
    costs = {stage: _run([*command, "--workspace", workspace], workspace) for stage, command in commands.items()}
    output = folder / "predictions.parquet"
    costs["classify"] = _run(["classify", photographs, "--output", output], output)
    return len(names), costs


def _run(command: Sequence[str | Path], written: Path) -> Cost:
    before, started = _weigh(written), time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "hangtag", *map(str, command)], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"hangtag {command[0]} failed.")
    seconds = time.perf_counter() - started
    return Cost(
        usage.ru_utime + usage.ru_stime, seconds, 1024 * usage.ru_maxrss, max(float(_weigh(written) - before), 0)
    )


def _weigh(path: Path) -> int:
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    return sum(file.stat().st_size for file in files)


if __name__ == "__main__":
    main()
