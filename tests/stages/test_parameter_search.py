"""`train --search` trains each combination once, whatever was there before, and ranks the runs on val."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from test_train import CONFIG, interrupt, make_workspace

from hangtag.cli import main
from hangtag.errors import HangtagError
from hangtag.io import read_json
from hangtag.settings import to_toml
from hangtag.stages import train as train_stage
from hangtag.stages.parameter_search import FIGURES, parameter_search
from hangtag.stages.train import train
from hangtag.train_config import TrainConfig

QUICK = dataclasses.replace(CONFIG, epochs=1)


def test_every_combination_is_trained_once_and_ranked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place, trained = make_workspace(tmp_path / "w"), []

    def count(workspace: Any, config: TrainConfig, **more: Any) -> Any:
        result = train(workspace, config, **more)
        trained.extend([] if result.skipped else [(config.learning_rate, more.get("resume", False))])
        return result

    monkeypatch.setattr(train_stage, "train", count)
    # A run of other settings has the first number, and a training that was stopped has the second.
    train(place, dataclasses.replace(QUICK, epochs=2), run_id="trial-01")
    interrupt(place, "trial-02", config=dataclasses.replace(CONFIG, epochs=2, learning_rate=0.02))
    before = (place.run("trial-01") / "manifest.json").read_bytes()
    two = dataclasses.replace(CONFIG, epochs=2)
    result = parameter_search(place, two, search={"train": {"learning_rate": [0.02, 0.0001]}}, run_id="trial")
    assert trained == [(0.02, True), (0.0001, False)]
    assert place.run_ids() == ["trial-01", "trial-02", "trial-03"]
    assert (place.run("trial-01") / "manifest.json").read_bytes() == before
    trials = result.trials
    assert dict(trials.select("run_id", "learning_rate").iter_rows()) == {"trial-02": 0.02, "trial-03": 0.0001}
    for run_id, accuracy in trials.select("run_id", "val_accuracy").iter_rows():
        counts = read_json(place.run(run_id) / "manifest.json")["counts"]
        assert accuracy == pytest.approx(counts["val_accuracy"], abs=1e-4)
    assert trials["val_accuracy"].to_list() == sorted(trials["val_accuracy"], reverse=True)
    assert read_json(result.folder / "parameter_search.json")["best"] == trials["run_id"][0]

    # The same from a file is not done again; one more candidate is one more training.
    (tmp_path / "two.toml").write_text(to_toml(two), encoding="utf-8")
    grid, capture = tmp_path / "grid.toml", capsys.readouterr
    grid.write_text("[train]\nlearning_rate = [0.0001, 0.02]\n", encoding="utf-8")
    arguments = ["train", "-w", str(place.root), "--config", str(tmp_path / "two.toml"), "--run-id", "trial"]
    capture()
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--search", str(grid)])
    printed = capture().out
    assert ended.value.code in (0, None)
    best = trials["run_id"][0]
    assert f"Next, to evaluate it: hangtag evaluate {best} --workspace" in " ".join(printed.split())
    assert "val chose it among 2 trials" in printed
    assert "test was not looked at" in " ".join(printed.split())
    assert "learning_rate=0.0001" in printed
    assert max(len(line) for line in printed.splitlines() if str(tmp_path) not in line) <= 80
    assert len(trained) == 2
    grid.write_text("[train]\nlearning_rate = [0.0001, 0.02, 0.001]\n", encoding="utf-8")
    with pytest.raises(SystemExit):
        main([*arguments, "--search", str(grid)])
    assert trained[2:] == [(0.001, False)]
    assert place.run_ids()[-1] == "trial-04"


def test_no_setting_has_the_name_of_a_figure() -> None:
    assert not {each.name for each in dataclasses.fields(TrainConfig)} & {"rank", "run_id", *FIGURES}


@pytest.mark.parametrize("run_id", ["**", "/elsewhere/run", "a/b"])
def test_a_name_that_no_run_can_have_is_refused(run_id: str, tmp_path: Path) -> None:
    place = make_workspace(tmp_path / "w")
    with pytest.raises(HangtagError, match="Received"):
        parameter_search(place, QUICK, search={"train": {"seed": [0, 1]}}, run_id=run_id)


@pytest.mark.parametrize("flag", ["--resume", "--replace"])
def test_flags_that_a_search_does_not_need_are_refused(
    flag: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["train", "-w", str(tmp_path), "--search", "grid.toml", flag])
    assert ended.value.code == 2
    assert f"{flag} cannot be used with --search" in capsys.readouterr().err
