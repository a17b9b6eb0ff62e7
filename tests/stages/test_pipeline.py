"""The pipeline: the stages it calls, their order and arguments, and how it resumes after a stop."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hangtag.config import CleanConfig, EvaluateConfig, PredictConfig, PrepareConfig
from hangtag.errors import LeakError, SettingsError, WorkspaceError
from hangtag.presets import DEMO_SETTINGS, PRESETS
from hangtag.results import StageResult
from hangtag.settings import resolve
from hangtag.stages import pipeline, train
from hangtag.stages.train import name_run
from hangtag.train_config import TrainConfig
from hangtag.workspace import Workspace

STAGES = ("prepare", "clean", "explore", "train", "evaluate", "predict", "report")
FRESH: dict[str, Any] = {"run_id": None, "replace": False}
RESUMED = FRESH | {"resume": True}
Call = tuple[str, tuple[Any, ...], dict[str, Any]]


class Stages:
    """Stubs of the stages, and their calls."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.errors: dict[str, list[Exception | None]] = {}

    def stub(self, name: str) -> Callable[..., Any]:
        def stage(*given: Any, **named: Any) -> Any:
            self.calls.append((name, given, named))
            if self.errors.get(name) and (error := self.errors[name].pop(0)):
                raise error
            results = [StageResult(name, Path(name) / run_id, {}, 0.0) for run_id in named.get("run_ids", [""])]
            return results if "run_ids" in named else results[0]

        return stage

    @property
    def names(self) -> list[str]:
        return [name for name, _, _ in self.calls]

    def of(self, name: str) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
        return [(given, named) for each, given, named in self.calls if each == name]

    @property
    def trainings(self) -> list[tuple[str, int]]:
        return [(given[1].color_mode, given[1].seed) for given, _ in self.of("train")]


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> Stages:
    stages = Stages()
    for name in STAGES:
        monkeypatch.setattr(train if name == "train" else pipeline, name, stages.stub(name))
    return stages


def leave_checkpoint(workspace: Path, run_id: str) -> None:
    folder = workspace / "runs" / run_id / "checkpoint"
    folder.mkdir(parents=True)
    (folder / "state.safetensors").write_bytes(b"")


def test_the_stages_run_in_order_and_each_result_is_reported(stages: Stages, tmp_path: Path) -> None:
    reported: list[StageResult] = []
    results = pipeline.run("shop", tmp_path, on_stage=reported.append)
    assert stages.names == list(STAGES)
    assert [result.stage for result in results] == list(STAGES)
    assert reported == results
    workspace = Workspace.at(tmp_path)
    (given, named) = stages.of("prepare")[0]
    assert (given, named) == (("shop", workspace, PrepareConfig()), {"schema": None, "overrides": None})
    assert stages.of("report") == [((workspace,), {})]


def test_each_result_is_reported_before_the_next_stage_starts(stages: Stages, tmp_path: Path) -> None:
    stages.errors["explore"] = [LeakError("stop")]
    reported: list[str] = []
    with pytest.raises(LeakError):
        pipeline.run("shop", tmp_path, on_stage=lambda result: reported.append(result.stage))
    assert reported == ["prepare", "clean"]


def test_settings_override_the_preset_and_reach_their_stage(stages: Stages, tmp_path: Path) -> None:
    settings = {"epochs": 2, "sample": 500, "image_size": "40x30", "splits": ["val"], "items": "all"}
    pipeline.run("shop", tmp_path, preset="capstone", settings=settings, schema="s.toml", overrides={"id": "sku"})
    (prepared, named) = stages.of("prepare")[0]
    assert (prepared[2], named) == (
        PrepareConfig(image_size=(40, 30)),
        {"schema": "s.toml", "overrides": {"id": "sku"}},
    )
    assert stages.of("clean")[0][0][1] == CleanConfig(matcher="class-words", sample=500)
    trained = stages.of("train")[0][0][1]
    assert trained == resolve(TrainConfig, PRESETS["capstone"], {"epochs": 2})
    assert (trained.architecture, trained.epochs) == ("capstone", 2)
    assert stages.of("evaluate")[0][0][1] == EvaluateConfig(splits=("val",))
    assert stages.of("predict")[0][0][1] == PredictConfig(items="all")


@pytest.mark.parametrize(
    ("options", "trainings"),
    [
        ({}, [("color", 0)]),
        ({"preset": "capstone"}, [("color", 0), ("gray", 0)]),
        ({"preset": "capstone", "color_modes": ["gray"]}, [("gray", 0)]),
        ({"preset": "capstone", "settings": {"color_mode": "gray", "seed": 4}}, [("gray", 4)]),
        ({"color_modes": ["color", "gray"], "settings": {"color_mode": "gray"}}, [("color", 0), ("gray", 0)]),
        ({"seeds": [2, 1, 2]}, [("color", 2), ("color", 1)]),
        (
            {"color_modes": ["color", "gray"], "seeds": [0, 1], "settings": {"seed": 9}},
            [("color", 0), ("gray", 0), ("color", 1), ("gray", 1)],
        ),
    ],
)
def test_every_colour_mode_and_seed_is_trained_once(
    stages: Stages, tmp_path: Path, options: dict[str, Any], trainings: list[tuple[str, int]]
) -> None:
    pipeline.run("shop", tmp_path, **options)
    assert stages.trainings == trainings


def test_only_the_runs_of_this_pipeline_are_evaluated_and_predict(stages: Stages, tmp_path: Path) -> None:
    # An earlier run on other labels could not be evaluated on these.
    (tmp_path / "runs" / "earlier").mkdir(parents=True)
    (tmp_path / "runs" / "earlier" / "manifest.json").write_text("{}", encoding="utf-8")
    results = pipeline.run("shop", tmp_path, preset="capstone", color_modes=["color", "gray"], seeds=[3])
    run_ids = ["capstone-color-3", "capstone-gray-3"]
    assert [named for _, named in stages.of("evaluate")] == [{"run_ids": run_ids}]
    assert [named for _, named in stages.of("predict")] == [{"run_ids": run_ids}]
    assert [result.folder.name for result in results if result.stage == "evaluate"] == run_ids


def test_an_unfinished_training_is_resumed(stages: Stages, tmp_path: Path) -> None:
    leave_checkpoint(tmp_path, "capstone-gray-0")
    pipeline.run("shop", tmp_path, preset="capstone")
    assert [named for _, named in stages.of("train")] == [FRESH, RESUMED]


def test_a_checkpoint_with_other_settings_is_trained_again(stages: Stages, tmp_path: Path) -> None:
    leave_checkpoint(tmp_path, name_run(TrainConfig()))
    stages.errors["train"] = [WorkspaceError("The unfinished training was started with other settings."), None]
    pipeline.run("shop", tmp_path)
    assert [named for _, named in stages.of("train")] == [RESUMED, FRESH]
    assert stages.names[-1] == "report"


def test_an_error_without_a_checkpoint_ends_the_pipeline(stages: Stages, tmp_path: Path) -> None:
    leave_checkpoint(tmp_path, name_run(TrainConfig()))
    stages.errors["train"] = [WorkspaceError("No items in the split."), WorkspaceError("No items in the split.")]
    with pytest.raises(WorkspaceError, match=r"No items in the split\."):
        pipeline.run("shop", tmp_path)
    assert [named for _, named in stages.of("train")] == [RESUMED, FRESH]
    assert "evaluate" not in stages.names


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"settings": {"epoch": 3}}, "There is no such setting"),
        ({"settings": {"epochs": -1}}, "epochs must be 0 to 10000"),
        ({"preset": "best"}, "There is no such preset"),
        ({"color_modes": ["sepia"]}, "color_mode must be one of color, gray"),
        ({"color_modes": []}, "There is nothing to train"),
        ({"seeds": []}, "There is nothing to train"),
        ({"settings": {"bootstrap_samples": 1}}, "bootstrap_samples must be 100 to 100000"),
    ],
)
def test_a_wrong_setting_is_an_error_before_the_first_stage(
    stages: Stages, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        pipeline.run("shop", tmp_path, **options)
    assert stages.names == []


def test_the_demo_draws_a_catalogue_and_runs_every_stage(
    stages: Stages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Path] = []

    def draw(folder: Path) -> Path:
        drawn.append(folder)
        return folder

    monkeypatch.setattr(pipeline, "write_demo_catalog", draw)
    pipeline.demo(tmp_path, settings={"epochs": 1})
    assert drawn == [tmp_path / "demo-catalog"]
    assert stages.of("prepare")[0][0][:2] == (tmp_path / "demo-catalog", Workspace.at(tmp_path))
    assert stages.trainings == [("color", 0), ("gray", 0)]
    config = stages.of("train")[0][0][1]
    assert (config.epochs, config.batch_size) == (1, DEMO_SETTINGS["train"]["batch_size"])


def test_the_demo_takes_colour_modes_and_seeds(stages: Stages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "write_demo_catalog", lambda folder: folder)
    pipeline.demo(tmp_path, color_modes=["gray"], seeds=[5])
    assert stages.trainings == [("gray", 5)]
