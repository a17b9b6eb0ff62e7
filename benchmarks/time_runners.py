"""Time the runner ray against the local one on the same processors, and compare the bytes that they write.

Usage: python benchmarks/time_runners.py CATALOG [--nodes 2] [--rounds 3] [--sample 2000] [--folds 5] [--keep FOLDER]

Starts a Ray cluster of some nodes on this machine, which share its processors, and runs each command in turns, with the
local runner and with ray, each time in a process and a workspace of its own: prepare, classify, and with --folds the
folds of the preset quick. The time of ray includes connecting; the cluster runs already. `--sample` copies so many
photographs of a folder of them, to try the script.
"""

import argparse
import hashlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

# Files and entries of a manifest that say when something was done, and how long it took.
TIMES = ("seconds", "finished", "digest", "origin")
TIMED_FILES = ("history.csv",)


def main() -> None:
    """Print a row for each command; end with 1 where bytes differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("catalog", type=Path)
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sample", type=int, default=0)
    parser.add_argument("--folds", type=int, default=0)
    parser.add_argument("--keep", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="runners-", dir=arguments.keep) as scratch:
        cluster = start_cluster(arguments.nodes)
        try:
            failed = compare(arguments, Path(scratch), cluster.address)
        finally:
            cluster.shutdown()
    sys.exit(1 if failed else 0)


def start_cluster(nodes: int) -> Any:
    """Start a cluster whose nodes share the processors of this machine."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    node: dict[str, Any] = {
        "num_cpus": max(1, (os.cpu_count() or 1) // nodes),
        "object_store_memory": 100 * 1024 * 1024,
    }
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    for _ in range(nodes - 1):
        cluster.add_node(**node)
    return cluster


def compare(arguments: argparse.Namespace, scratch: Path, address: str) -> bool:
    """Run the commands in turns and print the rows; return whether bytes differ."""
    photographs = unpack(arguments.catalog, scratch / "photographs", arguments.sample)
    catalog = photographs if arguments.sample else arguments.catalog
    ray = ["--runner", "ray", "--ray-address", address]
    print(f"{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}")
    print(f"{arguments.nodes} nodes, {arguments.rounds} rounds; seconds are medians\n")
    print(f"{'command':16}{'local':>9}{'ray':>9}{'overhead':>10}  bytes", flush=True)
    failed = False
    for command in ("prepare", "classify", *(["cross-validate"] if arguments.folds else [])):
        seconds: dict[str, list[float]] = {"local": [], "ray": []}
        hashes = set()
        for number in range(arguments.rounds):
            for runner, flags in (("local", []), ("ray", ray)):
                place = scratch / f"{command}-{runner}-{number}"
                place.mkdir()
                if command == "cross-validate":
                    make_labels(catalog, place / "w")
                seconds[runner].append(run(*list_arguments(command, catalog, photographs, place, arguments), *flags))
                hashes.add(hash_results(command, place))
                shutil.rmtree(place)
        local, on_ray = (statistics.median(seconds[runner]) for runner in ("local", "ray"))
        told = "same" if len(hashes) == 1 else f"{len(hashes)} different"
        failed |= len(hashes) > 1
        print(f"{command:16}{local:9.1f}{on_ray:9.1f}{on_ray / local - 1:10.1%}  {told}", flush=True)
    return failed


def list_arguments(
    command: str, catalog: Path, photographs: Path, place: Path, arguments: argparse.Namespace
) -> list[str | Path]:
    """Return the command line of a command."""
    if command == "prepare":
        return ["prepare", catalog, "-w", place / "w"]
    if command == "classify":
        return ["classify", photographs, "--output", place / "out.parquet"]
    return ["cross-validate", "-w", place / "w", "--preset", "quick", "--folds", str(arguments.folds)]


def make_labels(catalog: Path, workspace: Path) -> None:
    """Prepare and clean a catalogue, which is not timed."""
    run("prepare", catalog, "-w", workspace)
    run("clean", "-w", workspace, "--preset", "quick")


def run(*arguments: str | Path) -> float:
    """Return the seconds that a command takes."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "hangtag", *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def hash_results(command: str, place: Path) -> str:
    """Return a hash of the files that a command wrote, without times."""
    folder = {"prepare": place / "w" / "prepared", "classify": place}.get(command, place / "w" / "folds")
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in TIMED_FILES):
        content = path.read_bytes()
        if path.name == "manifest.json":
            manifest = {key: value for key, value in json.loads(content).items() if key not in TIMES}
            outputs = manifest.get("outputs", {})
            manifest["outputs"] = {name: value for name, value in outputs.items() if name not in TIMED_FILES}
            content = json.dumps(manifest, sort_keys=True).encode()
        digest.update(f"{path.relative_to(folder)} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def unpack(catalog: Path, folder: Path, sample: int) -> Path:
    """Return a folder of the catalogue's photographs, in subfolders, unpacked from a .zip if need be."""
    if catalog.is_dir() and not sample:
        return catalog
    with zipfile.ZipFile(catalog) if catalog.is_file() else nullcontext() as archive:
        found = archive.namelist() if archive else map(str, catalog.rglob("*"))
        names = sorted(name for name in found if name.lower().endswith((".jpg", ".jpeg", ".png")))
        for number, name in enumerate(names[: sample or None]):
            place = folder / ("odd" if number % 2 else "even")
            place.mkdir(parents=True, exist_ok=True)
            content = archive.read(name) if archive else Path(name).read_bytes()
            (place / f"{number:06}{Path(name).suffix}").write_bytes(content)
    return folder


if __name__ == "__main__":
    main()
