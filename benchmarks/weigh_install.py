"""Weigh the light install: megabytes on disk, seconds for one photograph, memory for all of a catalogue's.

Usage: python benchmarks/weigh_install.py CATALOG.zip [--rounds 5]

Builds a wheel, installs it without extras into a virtual environment of its own, and asks the `hangtag` of that about
the catalogue's photographs, unpacked to files. Needs pip and what it can reach.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("catalog", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        hangtag = _install(Path(scratch))
        photographs = _unpack(arguments.catalog, Path(scratch, "photographs"))
        seconds = [_run(hangtag, "classify", photographs[0])[0] for _ in range(arguments.rounds)]
        output = Path(scratch, "all.parquet")
        whole, memory = _run(hangtag, "classify", photographs[0].parent, "--output", output)
        print(f"{platform.machine()}, Python {platform.python_version()}")
        print(f"wheel: {_weigh(Path(scratch, 'wheel')):.1f} MB; installed: {_weigh(hangtag.parents[1]):.0f} MB")
        print(f"one photograph: {statistics.median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f})")
        print(f"{len(photographs):,} photographs: {whole:.0f} s, {len(photographs) / whole:,.0f} a second")
        print(f"memory at most: {memory:.0f} MB")


def _install(scratch: Path) -> Path:
    pip = [sys.executable, "-m", "pip"]
    subprocess.run([*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", scratch / "wheel", ROOT], check=True)
    # Without pip inside: it would be weighed too.
    venv.create(scratch / "light")
    python = scratch / "light" / "bin" / "python"
    [wheel] = (scratch / "wheel").iterdir()
    constraints = ROOT / "constraints.txt"
    subprocess.run([*pip, "--python", python, "install", "--quiet", "-c", constraints, wheel], check=True)
    return python.with_name("hangtag")


def _unpack(catalog: Path, folder: Path) -> list[Path]:
    folder.mkdir()
    with zipfile.ZipFile(catalog) as archive:
        for number, name in enumerate(sorted(name for name in archive.namelist() if name.lower().endswith(".jpg"))):
            (folder / f"{number:06}.jpg").write_bytes(archive.read(name))
    return sorted(folder.iterdir())


def _run(*command: str | Path) -> tuple[float, float]:
    """Return the seconds that a command takes, and the most memory that it had, in MB."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command} failed.")
    return time.perf_counter() - started, usage.ru_maxrss / 1000


def _weigh(folder: Path) -> float:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


if __name__ == "__main__":
    main()
