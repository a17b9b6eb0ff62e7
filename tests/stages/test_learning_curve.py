"""`learning-curve` trains on growing shares once, measures them on val, and refuses what makes them incomparable."""

import dataclasses
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from test_train import CONFIG, make_workspace

from hangtag.cli import main
from hangtag.errors import SettingsError
from hangtag.io import read_json
from hangtag.stages import train as train_stage
from hangtag.stages.learning_curve import learning_curve
from hangtag.stages.train import name_run, train
from hangtag.train_config import TrainConfig

QUICK = dataclasses.replace(CONFIG, epochs=1)


def test_every_share_is_trained_once_and_measured_on_val(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place, trained = make_workspace(tmp_path / "w"), []

    def count(workspace: Any, config: TrainConfig, **more: Any) -> Any:
        result = train(workspace, config, **more)
        trained.extend([] if result.skipped else [config.train_fraction])
        return result

    monkeypatch.setattr(train_stage, "train", count)
    result = learning_curve(place, QUICK, fractions=(1, 0.5))
    assert trained == [0.5, 1]
    assert place.run_ids() == sorted([name_run(QUICK), name_run(dataclasses.replace(QUICK, train_fraction=0.5))])
    points, runs = result.points, pl.read_csv(result.folder / "runs.csv")
    assert points["train_fraction"].to_list() == [0.5, 1]
    assert points["train_items"].to_list() == [read_items(place.run(run_id)) for run_id in runs["run_id"]]
    for run_id, accuracy in runs.select("run_id", "accuracy").iter_rows():
        counts = read_json(place.run(run_id) / "manifest.json")["counts"]
        assert accuracy == pytest.approx(counts["val_accuracy"], abs=1e-4)
    assert (result.folder / "learning_curve.png").stat().st_size > 10_000
    assert learning_curve(place, QUICK, fractions=(0.5, 1)).skipped
    assert len(trained) == 2
    capsys.readouterr()
    settings = tmp_path / "settings.toml"
    settings.write_text((place.run(name_run(QUICK)) / "config.toml").read_text().replace("train_fraction", "#"))
    with pytest.raises(SystemExit) as ended:
        main(["learning-curve", "-w", str(place.root), "--fractions", "0.5, 1", "--config", str(settings)])
    printed = capsys.readouterr().out
    assert ended.value.code in (0, None)
    assert "unchanged, skipped" in printed
    assert "What more items would bring is not estimated" in printed
    assert max(len(line) for line in printed.splitlines() if str(tmp_path) not in line) <= 80


def read_items(folder: Path) -> int:
    return int(read_json(folder / "manifest.json")["counts"]["train"])


@pytest.mark.parametrize(
    ("changes", "fractions", "message"),
    [
        ({}, (0.5,), "--fractions"),
        ({}, (0.5, 1.5), "above 0"),
        ({"train_fraction": 0.5}, (0.5, 1), "--train-fraction"),
        ({"minutes": 1.0}, (0.5, 1), "--minutes"),
        ({"teacher": ("run",)}, (0.5, 1), "--teacher"),
        ({"train_splits": ("train", "val"), "calibration_run": "run"}, (0.5, 1), "val"),
    ],
)
def test_what_makes_trainings_incomparable_is_refused(
    tmp_path: Path, changes: dict[str, Any], fractions: tuple[float, ...], message: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        learning_curve(tmp_path, dataclasses.replace(TrainConfig(), **changes), fractions=fractions)
    assert message in str(refused.value)


@pytest.mark.parametrize("flags", [["--fractions", "half,1"], ["--seeds", "one"]])
def test_lists_that_are_no_numbers_are_refused(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["learning-curve", *flags])
    assert ended.value.code == 2
    assert flags[0] in capsys.readouterr().err
