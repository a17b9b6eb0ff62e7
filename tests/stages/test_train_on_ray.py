"""Trainings on a Ray cluster make the runs of this machine, go on after a kill, and keep the rules of `train`."""

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from ray_cluster import list_processes
from test_stages_on_ray import hash_files
from test_train import CONFIG, interrupt, make_workspace

from hangtag.errors import SettingsError, WorkspaceError
from hangtag.io import read_json
from hangtag.labels.dataset import read_labeled_items
from hangtag.runner_config import RunnerConfig
from hangtag.settings import to_toml
from hangtag.shards import Slot
from hangtag.stages import train as stage
from hangtag.stages.learning_curve import learning_curve
from hangtag.stages.train import train
from hangtag.train_config import TrainConfig
from hangtag.training.checkpoint import read_progress
from hangtag.workspace import Workspace

ray = pytest.importorskip("ray")
# Columns of `history.csv` that differ between any two trainings, and the files that have such figures.
TIMED = ("seconds", "images_per_second")
TIMED_FILES = ("history.csv", "manifest.json")
QUICK = dataclasses.replace(CONFIG, epochs=1)


@pytest.fixture(scope="module")
def runner(cluster: Any) -> Iterator[RunnerConfig]:
    """A connection that all tests share, since each new one has to start TensorFlow."""
    ray.init(cluster.address, log_to_driver=False)
    yield RunnerConfig("ray", cluster.address)
    ray.shutdown()


def read_untimed(folder: Path) -> pl.DataFrame:
    return pl.read_csv(folder / "history.csv").drop(TIMED)


def read_recorded(folder: Path) -> dict[str, Any]:
    manifest = read_json(folder / "manifest.json")
    counts = {key: value for key, value in manifest["counts"].items() if key not in TIMED}
    return {"counts": counts} | {key: manifest[key] for key in ("stage", "settings", "inputs", "precision")}


def train_with_one_thread(place: Workspace, config: TrainConfig, run_id: str) -> Path:
    """Train on this machine with as many threads as a node has processors, on which the last digits depend."""
    file = place.root / "settings.toml"
    file.write_text(to_toml(config), encoding="utf-8")
    threads = dict.fromkeys(("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"), "1")
    arguments = ["train", "--workspace", str(place.root), "--config", str(file), "--run-id", run_id]
    subprocess.run([sys.executable, "-m", "hangtag", *arguments], check=True, env=os.environ | threads)
    return place.run(run_id)


def kill_in_epoch(checkpoint: Path, epoch: int, seen: list[dict[str, Any]]) -> None:
    """Kill the process that trains as soon as an epoch has ended, and keep what it had done."""
    while len(history := read_progress(checkpoint)[0]) < epoch:
        time.sleep(0.01)
    [process] = [process for process, _, title in list_processes() if title.startswith("ray::train 1/1")]
    os.kill(process, signal.SIGKILL)
    seen.extend(history)


def test_a_killed_training_goes_on_and_has_the_bytes_of_this_machine(
    runner: RunnerConfig, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    place, config, seen = make_workspace(tmp_path / "w"), dataclasses.replace(CONFIG, epochs=40), list[dict[str, Any]]()
    expected = train_with_one_thread(place, config, "same")
    hashes, history = hash_files(expected, TIMED_FILES), read_untimed(expected)
    recorded = read_recorded(expected)
    shutil.rmtree(expected)
    capfd.readouterr()
    killer = threading.Thread(target=kill_in_epoch, args=(expected / "checkpoint", 3, seen))
    killer.start()
    result = train(place, config, run_id="same", runner=runner)
    killer.join()
    assert len(seen) < 40
    assert result.history.head(len(seen)).to_dicts() == seen
    assert hash_files(expected, TIMED_FILES) == hashes
    assert read_recorded(expected) == recorded
    assert read_untimed(expected).equals(history)
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("Epoch ")]
    assert [line.partition(":")[0] for line in lines] == [f"Epoch {epoch}/40" for epoch in range(1, 41)]
    assert sorted(path.name for path in place.runs.iterdir()) == ["same"]
    assert train(place, config, run_id="same", runner=RunnerConfig("ray", "127.0.0.1:1")).skipped


def test_a_learning_curve_trains_side_by_side(
    runner: RunnerConfig, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    place = make_workspace(tmp_path / "w")
    points = learning_curve(place, QUICK, fractions=(1, 0.5), runner=runner).points
    assert points["train_fraction"].to_list() == [0.5, 1]
    half, whole = (stage.name_run(dataclasses.replace(QUICK, train_fraction=share)) for share in (0.5, 1.0))
    assert place.run_ids() == sorted([half, whole])
    printed = capfd.readouterr().err
    assert all(f"{run_id} · Epoch 1/1: " in printed for run_id in (half, whole))
    assert learning_curve(place, QUICK, fractions=(1, 0.5)).skipped


def test_a_mistake_is_told_before_a_cluster_is_needed(tmp_path: Path) -> None:
    place, nowhere = make_workspace(tmp_path / "w"), RunnerConfig("ray", "127.0.0.1:1")
    interrupt(place, "run")
    with pytest.raises(SettingsError, match="unfinished training of the name run"):
        train(place, dataclasses.replace(CONFIG, seed=7), run_id="run", runner=nowhere)


def start_shard(place: Workspace, config: TrainConfig = CONFIG, **more: Any) -> pl.DataFrame:
    """Do what a task does, and return the history of the run."""
    labels = read_labeled_items(place).digest
    work = stage.Trainings(place, replace=False, started_in=place.root, labels=labels)
    return pl.read_csv(work.run(stage.Training("run", config, **more), Slot(1)).folder / "history.csv")


def test_only_what_this_command_began_is_resumed_unless_a_user_asks(tmp_path: Path) -> None:
    begun = make_workspace(tmp_path / "begun")
    interrupt(begun, "run")
    left, _ = read_progress(begun.run("run") / "checkpoint")
    assert len(left) == 1
    cases: list[tuple[dict[str, Any], bool]] = [
        ({"left": left}, False),
        ({"left": [left[0] | {"seconds": -1.0}]}, True),
        ({}, True),
        ({"must_resume": True, "left": left}, True),
    ]
    for number, (more, is_resumed) in enumerate(cases):
        place = Workspace.at(shutil.copytree(begun.root, tmp_path / str(number)))
        first = start_shard(place, **more).row(0, named=True)
        assert (first["seconds"] == left[0]["seconds"]) == is_resumed, more
        assert not (place.run("run") / "checkpoint").exists()
    with pytest.raises(WorkspaceError, match="other settings or labels"):
        start_shard(begun, dataclasses.replace(CONFIG, seed=7), must_resume=True)
