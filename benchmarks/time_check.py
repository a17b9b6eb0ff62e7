"""Time `hangtag check`: a whole catalogue, and the same when some products are new in it.

Usage: python benchmarks/time_check.py CATALOG.zip [--new 500]

The archive is unpacked to a temporary folder, and the last products of its table are left out, with their photographs.
That catalogue is checked, then the products are put back and it is checked again. Prints seconds and peak memory of
each command.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

TABLE, PHOTOGRAPHS = "styles.csv", "images"


def main() -> None:
    """Check twice and print the times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("catalog", type=Path)
    parser.add_argument("--new", type=int, default=500, help="products that are new the second time")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        unpacked, aside = Path(folder, "catalog"), Path(folder, "aside")
        with zipfile.ZipFile(arguments.catalog) as archive:
            archive.extractall(unpacked)
        table = next(unpacked.rglob(TABLE))
        images = next(path for path in unpacked.rglob(PHOTOGRAPHS) if path.is_dir())
        aside.mkdir()
        whole = table.read_bytes()
        lines = whole.splitlines(keepends=True)
        table.write_bytes(b"".join(lines[: -arguments.new]))
        names = [f"{line.split(b',', 1)[0].decode()}.jpg" for line in lines[-arguments.new :]]
        moved = [name for name in names if (images / name).is_file()]
        for name in moved:
            (images / name).rename(aside / name)
        time_check(table.parent, Path(folder, "workspace"), f"without the last {arguments.new}")
        table.write_bytes(whole)
        for name in moved:
            (aside / name).rename(images / name)
        time_check(table.parent, Path(folder, "workspace"), f"with {arguments.new} new")


def time_check(catalog: Path, workspace: Path, title: str) -> None:
    """Run the command and print its seconds and peak memory."""
    command = [sys.executable, "-m", "hangtag", "check", str(catalog), "--workspace", str(workspace), "--no-open"]
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    printed = process.stdout.read() if process.stdout else ""
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"hangtag check failed:\n{printed}")
    seconds = time.perf_counter() - begun
    print(f"{title}: {seconds:.1f} s, {usage.ru_maxrss / 1024:,.0f} MiB")
    print("\n".join(line for line in printed.splitlines() if line.startswith("Since")))


if __name__ == "__main__":
    main()
