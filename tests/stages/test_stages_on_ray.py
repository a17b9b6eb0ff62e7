"""Every stage of shards writes the same bytes on a Ray cluster as on this machine."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from hangtag.config import CleanConfig, PredictConfig, PrepareConfig
from hangtag.demo_catalog.catalog import write_demo_catalog
from hangtag.inference.classifier import Classifier
from hangtag.io import write_text
from hangtag.runner_config import RunnerConfig
from hangtag.serving import predicted_files
from hangtag.settings import to_toml
from hangtag.stages import predict as predict_stage
from hangtag.stages.classify import write_predictions
from hangtag.stages.clean import clean
from hangtag.stages.cross_validate import cross_validate
from hangtag.stages.predict import predict
from hangtag.stages.prepare import prepare
from hangtag.stages.train import train
from hangtag.train_config import TrainConfig

pytest.importorskip("ray")
# So few photographs a part that every command has several.
PART = 64
LOCAL, SMALL = RunnerConfig(), PrepareConfig(image_size=(32, 24))
TINY = TrainConfig(architecture="residual-tiny", epochs=1, batch_size=32, precision="float32", initial_scale=1.0)
# What differs between any two runs.
TIMES = ("seconds", "finished", "digest", "origin")


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_demo_catalog(tmp_path_factory.mktemp("catalog") / "c", items_per_kind=20)


@pytest.fixture(scope="module")
def workspace(catalog: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a run, made on this machine."""
    folder = tmp_path_factory.mktemp("local") / "w"
    prepare(catalog, folder, SMALL)
    clean(folder, CleanConfig())
    train(folder, TINY, run_id="tiny")
    return folder


@pytest.fixture
def runner(cluster: Any) -> RunnerConfig:
    return RunnerConfig("ray", cluster.address)


def hash_files(folder: Path, without: tuple[str, ...] = ()) -> dict[str, str]:
    """Return the hash of every file of a stage, and of its manifest without times."""
    hashes = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        if path.name == "manifest.json":
            manifest = {key: value for key, value in json.loads(content).items() if key not in TIMES}
            manifest["outputs"] = {key: value for key, value in manifest["outputs"].items() if key not in without}
            content = json.dumps(manifest).encode()
        if path.name not in without:
            hashes[str(path.relative_to(folder))] = hashlib.sha256(content).hexdigest()
    return hashes


def test_prepare(
    catalog: Path, workspace: Path, runner: RunnerConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hangtag.catalog.image_files.CHUNK", 16)
    prepare(catalog, tmp_path / "w", SMALL, runner=runner)
    found = hash_files(tmp_path / "w" / "prepared")
    assert found == hash_files(workspace / "prepared")
    assert {"images.npy", "items.parquet", "rejected.csv"} <= found.keys()


def run_with_one_thread(*arguments: str) -> None:
    """Run a command on this machine with as many threads as a node has processors.

    The last digits of a network depend on their number, which a process chooses once.
    """
    threads = dict.fromkeys(("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"), "1")
    code = f"from hangtag.stages import predict; predict.PART = {PART}; from hangtag.cli import main; main()"
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, env=os.environ | threads, capture_output=True)


def test_cross_validate(workspace: Path, runner: RunnerConfig, tmp_path: Path) -> None:
    on_ray = cross_validate(workspace, TINY, folds=2, run_id="same", runner=runner).folder
    found, history = hash_files(on_ray, ("history.csv",)), pl.read_csv(on_ray / "history.csv")
    on_ray.rename(on_ray.with_name("on-ray"))
    write_text(tmp_path / "tiny.toml", to_toml(TINY))
    place = ["--workspace", str(workspace), "--config", str(tmp_path / "tiny.toml")]
    run_with_one_thread("cross-validate", *place, "--folds", "2", "--run-id", "same")
    assert found == hash_files(on_ray, ("history.csv",))
    timed = ("seconds", "images_per_second")
    assert history.drop(timed, strict=False).equals(pl.read_csv(on_ray / "history.csv").drop(timed, strict=False))


def test_predict(workspace: Path, runner: RunnerConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predict_stage, "PART", PART)
    [on_ray] = predict(workspace, PredictConfig(items="all"), runner=runner)
    found = hash_files(on_ray.folder)
    assert not list(on_ray.folder.glob(".*"))
    (on_ray.folder / "manifest.json").unlink()
    run_with_one_thread("predict", "--workspace", str(workspace), "--items", "all")
    assert found == hash_files(on_ray.folder)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_classify(
    suffix: str, catalog: Path, runner: RunnerConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predicted_files, "PART", PART)
    classifier, outputs = Classifier.load(), [tmp_path / f"{name}{suffix}" for name in ("local", "ray")]
    tallies = [
        write_predictions(output, [catalog], classifier, runner=each)
        for output, each in zip(outputs, (LOCAL, runner), strict=True)
    ]
    assert tallies[0] == tallies[1]
    assert outputs[0].read_bytes() == outputs[1].read_bytes()
    assert sorted(tmp_path.iterdir()) == sorted(outputs)
