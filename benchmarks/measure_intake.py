"""Measure the reading of large catalogues: the memory of a table, and the speed of photographs at full size.

Usage: python benchmarks/measure_intake.py table [--rows 1000000]
       python benchmarks/measure_intake.py photographs [--count 2000]

`table` writes a table of so many rows without photographs, lists its rows in a process of its own as `prepare`
does, and prints that process's peak memory. `photographs` draws JPEGs of 1,800 x 2,400 and prepares them twice in turn,
as hangtag decodes them and whole, and prints photographs a second and the ratio.
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from hangtag.catalog import images
from hangtag.catalog.reader import read_catalog
from hangtag.catalog.rejections import check_rows
from hangtag.config import PrepareConfig
from hangtag.stages.prepare import prepare

SIZE = (1800, 2400)


def write_table(path: Path, rows: int) -> None:
    """Write a table with ids, names, three levels, a price and the path of a photograph."""
    with path.open("w", encoding="utf-8") as file:
        file.write("id,name,department,group,kind,price,image\n")
        for row in range(rows):
            kind = row % 120
            levels = f"Department {kind // 40},Group {kind // 8},Kind {kind}"
            file.write(
                f"A{row:07},Product number {row} in size {row % 9},{levels},{row % 200}.90,photos/A{row:07}.jpg\n"
            )


def read_rows(path: Path) -> None:
    """List a catalogue's rows, and print the time and the process's peak memory."""
    start = time.perf_counter()
    described = {"id": "id", "name": "name", "levels": ["department", "group", "kind"], "image_column": "image"}
    candidates, rejected = check_rows(read_catalog(path, overrides=described))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    seconds = time.perf_counter() - start
    print(f"{len(candidates):,} rows, {len(rejected)} rejected: {seconds:.1f} s, peak {peak:,.0f} MB")


def measure_table(rows: int) -> None:
    """Measure the memory of a table's rows in a new process."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "products.csv"
        write_table(path, rows)
        print(f"{path.stat().st_size / 1e6:,.0f} MB of table")
        process = multiprocessing.get_context("spawn").Process(target=read_rows, args=(path,))
        process.start()
        process.join()


def draw_photographs(folder: Path, count: int) -> None:
    """Draw so many JPEGs of full size in two categories, from twenty pictures of smooth noise."""
    random = np.random.default_rng(0)
    drawn = []
    for _ in range(min(20, count)):
        coarse = random.integers(0, 256, (60, 45, 3), np.uint8)
        drawn.append(Image.fromarray(coarse).resize(SIZE, Image.Resampling.BICUBIC))
    for number in range(count):
        path = folder / f"kind_{number % 2}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        drawn[number % len(drawn)].save(path, quality=90)


def measure_photographs(count: int) -> None:
    """Prepare the photographs as they are decoded and whole, in turn, twice, on all processors."""
    with tempfile.TemporaryDirectory() as folder:
        draw_photographs(Path(folder) / "tree", count)
        speeds: dict[str, list[float]] = {"reduced": [], "whole": []}
        for turn in range(2):
            for name, gap in (("reduced", images.REDUCING_GAP), ("whole", 10_000)):
                start = time.perf_counter()
                with _Gap(gap):
                    prepare(Path(folder) / "tree", Path(folder) / f"{name}{turn}", PrepareConfig(workers=1))
                speeds[name].append(count / (time.perf_counter() - start))
        best = {name: max(values) for name, values in speeds.items()}
        print(f"photographs a second on one core: {best['reduced']:.0f} reduced, {best['whole']:.0f} whole")
        print(f"ratio {best['reduced'] / best['whole']:.1f}")


class _Gap:
    """Set how much larger than wanted a JPEG is decoded, in this process alone: so photographs are decoded in it."""

    def __init__(self, gap: float) -> None:
        self._gap, self._old = gap, images.REDUCING_GAP

    def __enter__(self) -> None:
        images.REDUCING_GAP = self._gap

    def __exit__(self, *_: object) -> None:
        images.REDUCING_GAP = self._old


def main() -> None:
    """Run one of the measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("table", "photographs"))
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--count", type=int, default=2000)
    arguments = parser.parse_args()
    if arguments.what == "table":
        measure_table(arguments.rows)
    else:
        measure_photographs(arguments.count)


if __name__ == "__main__":
    main()
