"""Several tasks of Ray train the network of one process, also when one of them dies, and refuse what they cannot do."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from plain_worker import PlainWorker
from safetensors.numpy import load_file
from shard_work import describe_member
from test_train import make_workspace

from hangtag.cli import main
from hangtag.errors import RunnerError
from hangtag.ray_group import run_group
from hangtag.ray_tasks import TaskPlan, explain_waiting
from hangtag.runner_config import RunnerConfig
from hangtag.settings import to_toml
from hangtag.stages import parallel_training as stage
from hangtag.stages.parallel_training import parallel_training
from hangtag.train_config import TrainConfig

pytest.importorskip("ray")
ALONE = "import sys; from plain_worker import train_alone; train_alone(*sys.argv[1:])"
CONFIG = TrainConfig(
    architecture="residual-tiny",
    weights="none",
    epochs=2,
    batch_size=8,
    initial_scale=1.0,
    final_scale=1.0,
    max_shift=2,
    class_balance=0.0,
    tta_flip=False,
)


def test_two_tasks_train_the_network_of_one_process_and_start_again_when_one_dies(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stage, "Worker", PlainWorker)
    place = make_workspace(tmp_path / "two")
    alone = shutil.copytree(place.root, tmp_path / "one")
    result = parallel_training(
        place, CONFIG, training_workers=2, run_id="run", runner=RunnerConfig("ray", cluster.address)
    )
    printed = capfd.readouterr().err
    assert (place.root / "died").exists()
    assert "All are started again" in printed
    assert [line[:9] for line in printed.splitlines() if line.startswith("Epoch")] == ["Epoch 1/2", "Epoch 2/2"]
    assert [path.name for path in place.runs.iterdir()] == ["run"]
    names = {"model.safetensors", "model.json", "seen.safetensors", "config.toml", "history.csv", "manifest.json"}
    assert {path.name for path in result.folder.iterdir()} == names
    (tmp_path / "settings.toml").write_text(to_toml(CONFIG), encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", ALONE, alone, tmp_path / "settings.toml"], check=True, env=environment)
    wanted = pl.read_csv(alone / "runs" / "run" / "history.csv")
    for name in ("loss", "val_loss", "accuracy", "val_accuracy"):
        np.testing.assert_allclose(result.history[name], wanted[name], rtol=1e-5)
    weights, expected = (load_file(each / "runs" / "run" / "model.safetensors") for each in (place.root, alone))
    for path, value in expected.items():
        np.testing.assert_allclose(weights[path], value, rtol=1e-3, atol=1e-4, err_msg=path)


def test_the_tasks_of_a_group_run_together_and_know_each_other(cluster: Any, tmp_path: Path) -> None:
    with pytest.raises(RunnerError, match="This machine does not have what 2 tasks ask for: 64 processors each"):
        explain_waiting(64, 0, tasks=2, can_grow=False)
    runner = RunnerConfig("ray", cluster.address)
    found = run_group(describe_member, lambda: "told", TaskPlan("group", 2, tmp_path), runner)
    assert [(index, told) for index, told, _ in found] == [(0, "told"), (1, "told")]
    assert found[0][2] == found[1][2]
    assert len(set(found[0][2])) == 2


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--training-workers", "2"], "--training-workers is for --runner ray"),
        (["--training-workers", "1", "--runner", "ray"], "--training-workers must be 2 or more"),
        (["--training-workers", "2", "--runner", "ray", "--minutes", "3"], "Go without --minutes"),
        (["--training-workers", "2", "--runner", "ray", "--gpus-per-task", "2"], "--gpus-per-task must be 0 to 1"),
        (["--training-workers", "2", "--runner", "ray", "--search", "x"], "--training-workers cannot be used with"),
    ],
)
def test_what_several_tasks_cannot_do_is_refused(
    flags: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["train", "-w", str(tmp_path), *flags])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
