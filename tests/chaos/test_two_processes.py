"""Two commands at the same time in one workspace: each waits for the other where it has to, and nothing is mixed."""

import itertools
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from kill_points import check_manifests, find_leftovers

from hangtag.demo_catalog.catalog import write_demo_catalog
from hangtag.lock import hold, sweep
from hangtag.manifest import compute_digest, require_manifest
from hangtag.workspace import Workspace

SECONDS = 300
COMMANDS = {
    "prepare A": ["prepare", "A"],
    "prepare B": ["prepare", "B"],
    "clean 0": ["clean"],
    "clean 1": ["clean", "--split-seed", "1"],
    "explore": ["explore"],
    "audit": ["audit"],
    "train": ["train", "--architecture", "residual-tiny", "--epochs", "1", "--run-id", "one"],
    "evaluate": ["evaluate"],
    "predict": ["predict"],
    "report": ["report"],
}
PAIRS = list(itertools.combinations_with_replacement(COMMANDS, 2))


@pytest.fixture(scope="module")
def catalogs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("catalogs")
    for seed, name in enumerate("AB"):
        write_demo_catalog(folder / name, items_per_kind=20, seed=seed)
    return folder


@pytest.fixture(scope="module")
def begun(catalogs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace of catalogue A, cleaned."""
    workspace = tmp_path_factory.mktemp("begun") / "workspace"
    for name in ("prepare A", "clean 0"):
        finish(name, start(name, catalogs, workspace), codes=(0,))
    return workspace


def start(name: str, catalogs: Path, workspace: Path) -> subprocess.Popen[str]:
    arguments = [str(catalogs / each) if each in ("A", "B") else each for each in COMMANDS[name]]
    return subprocess.Popen(
        [sys.executable, "-m", "hangtag", *arguments, "--workspace", str(workspace)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(name: str, process: subprocess.Popen[str], codes: tuple[int, ...] = (0, 2)) -> None:
    _, said = process.communicate(timeout=SECONDS)
    assert process.returncode in codes, (name, said)
    assert "Traceback" not in said, (name, said)


def run_pair(pair: tuple[str, str], catalogs: Path, begun: Path, workspace: Path) -> None:
    """Start both at once and check what they said and left."""
    shutil.copytree(begun, workspace)
    processes = [start(name, catalogs, workspace) for name in pair]
    for name, process in zip(pair, processes, strict=True):
        finish(f"{name} of {pair}", process)
    check(workspace, pair)


def check(workspace: Path, pair: tuple[str, str]) -> None:
    place = Workspace.at(workspace)
    sweep(place)
    assert check_manifests(workspace) == [], pair
    assert find_leftovers(workspace) == [], pair
    prepared = require_manifest(place.prepared, "")
    images = np.load(place.prepared / "images.npy", mmap_mode="r")
    assert len(pl.read_parquet(place.prepared / "items.parquet")) == len(images) == prepared["counts"]["items"]
    labels = require_manifest(place.labels, "")
    if not any(name.startswith("prepare") for name in pair):
        assert labels["inputs"]["prepared"] == compute_digest(prepared), pair


@pytest.mark.parametrize("pair", [("prepare A", "prepare B"), ("prepare B", "clean 1")])
def test_two_processes_mix_nothing(pair: tuple[str, str], catalogs: Path, begun: Path, tmp_path: Path) -> None:
    run_pair(pair, catalogs, begun, tmp_path / "workspace")


@pytest.mark.chaos
def test_a_hundred_pairs_mix_nothing(catalogs: Path, begun: Path, tmp_path: Path) -> None:
    draw = random.Random(0)
    for number in range(100):
        pair = PAIRS[number % len(PAIRS)]
        run_pair(pair if draw.random() < 0.5 else pair[::-1], catalogs, begun, tmp_path / f"{number}")
        shutil.rmtree(tmp_path / f"{number}")


def test_the_second_process_names_the_first(begun: Path, catalogs: Path, tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    shutil.copytree(begun, workspace)
    place = Workspace.at(workspace)
    with hold("prepare", place, writes=[place.prepared]):
        waiting = start("clean 1", catalogs, workspace)
        assert waiting.stderr is not None
        said = " ".join(waiting.stderr.readline() for _ in range(2))
        assert "Waiting for `hangtag prepare`" in said
        assert str(os.getpid()) in said
        assert waiting.poll() is None
    finish("clean 1", waiting, codes=(0,))
