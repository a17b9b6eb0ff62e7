"""A training ends the same whether it is stopped or not, keeps its best epoch, and says what a user did wrong."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

from hangtag.artifacts import read_json, write_parquet, write_whole
from hangtag.catalog.prepared import read_prepared
from hangtag.catalog.schema import CatalogSchema
from hangtag.config import TrainConfig, read_settings, resolve
from hangtag.errors import HangtagError, ModelError, SettingsError, WorkspaceError
from hangtag.manifest import StageRecord, read_manifest
from hangtag.models.storage import load_saved
from hangtag.training import train as stage
from hangtag.training.checkpoint import FILE
from hangtag.training.train import name_run, train
from hangtag.workspace import Workspace

CONFIG = TrainConfig(epochs=3, batch_size=8, precision="float32", seed=1)
SPLITS = ("train", "train", "train", "train", "val", "val", "test", None)


def make_workspace(
    root: Path, labels: tuple[str, ...] = ("dark", "light"), splits: tuple[str | None, ...] = SPLITS
) -> Workspace:
    """Write 40 small photographs, dark and light by turns, as `prepare` and `clean` leave them."""
    place, numbers = Workspace.at(root), np.arange(40)
    split = [splits[number // 2 % len(splits)] for number in numbers]
    table = pl.DataFrame(
        {
            "item_id": [str(number) for number in numbers],
            "image_index": numbers,
            "label": [labels[number % len(labels)] if split[number] else "Unknown" for number in numbers],
            "split": pl.Series(split, dtype=pl.String),
        }
    )
    shades = np.where(numbers % 2, 180, 60)[:, None, None, None]
    noise = np.random.default_rng(0).integers(-60, 60, (40, 16, 12, 3))
    write_prepared(place, table.select("item_id"), (shades + noise).astype(np.uint8))
    write_parquet(place.labels / "labels.parquet", table)
    StageRecord("clean", place.labels, {"prepared": read_prepared(place).digest}, {}).finish(
        {}, [place.labels / "labels.parquet"]
    )
    return place


def write_prepared(place: Workspace, items: pl.DataFrame, images: NDArray[np.uint8]) -> None:
    paths = [place.prepared / "items.parquet", place.prepared / "images.npy"]
    write_parquet(paths[0], items)
    with write_whole(paths[1]) as temporary:
        np.save(temporary, images)
    record = StageRecord("prepare", place.prepared, {}, {})
    record.finish({}, paths, schema=CatalogSchema().to_json(), taxonomy_text="")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return make_workspace(tmp_path / "w")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with one finished run, named `whole`; tests read it only."""
    place = make_workspace(tmp_path_factory.mktemp("finished"))
    train(place, CONFIG, run_id="whole")
    return place


def stop_after(epochs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Ctrl-C come in the middle of the epoch after `epochs`."""
    run_steps: Callable[..., Any] = stage._Training._run_steps

    def run(self: Any, epoch: int, bar: Any, title: str) -> Any:
        figures = run_steps(self, epoch, bar, title)
        if epoch > epochs:
            raise KeyboardInterrupt
        return figures

    monkeypatch.setattr(stage._Training, "_run_steps", run)


def interrupt(place: Workspace, config: TrainConfig, run_id: str, epochs: int = 1) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        stop_after(epochs, monkeypatch)
        with pytest.raises(KeyboardInterrupt):
            train(place, config, run_id=run_id)


def read_history(place: Workspace, run_id: str) -> pl.DataFrame:
    return pl.read_csv(place.run(run_id) / "history.csv")


def test_a_run_leaves_the_files_of_the_design(finished: Workspace) -> None:
    folder = finished.run("whole")
    names = {path.name for path in folder.iterdir()}
    assert names == {"model.safetensors", "model.json", "config.toml", "history.csv", "manifest.json"}
    assert resolve(TrainConfig, read_settings(folder / "config.toml")) == CONFIG
    history = read_history(finished, "whole")
    assert history.columns == [
        *("epoch", "loss", "accuracy", "val_loss", "val_accuracy"),
        *("learning_rate", "seconds", "images_per_second"),
    ]
    assert history["epoch"].to_list() == [1, 2, 3]
    assert finished.run_ids() == ["whole"]


def test_the_saved_model_is_the_best_epoch(finished: Workspace) -> None:
    saved = load_saved(finished.run("whole"))
    history = read_history(finished, "whole")
    best = history.row(int(history["val_accuracy"].arg_max() or 0), named=True)
    assert saved.description["metrics"] == {key: best[key] for key in ("epoch", "val_accuracy", "val_loss")}
    assert (saved.class_names, saved.image_size) == (("dark", "light"), (16, 12))
    labels = pl.read_parquet(finished.labels / "labels.parquet").filter(pl.col("split") == "val")
    images = read_prepared(finished).images[labels["image_index"].to_numpy()]
    chosen = np.asarray(saved.model.predict_on_batch(images)).argmax(axis=1)
    wanted = (labels["label"] == "light").to_numpy()
    assert (chosen == wanted).mean() == pytest.approx(best["val_accuracy"])


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_stopped_training_ends_as_if_nothing_had_happened(finished: Workspace, epochs: int) -> None:
    run_id = f"stopped-{epochs}"
    interrupt(finished, CONFIG, run_id, epochs)
    assert (finished.run(run_id) / "checkpoint" / FILE).is_file()
    assert run_id not in finished.run_ids()
    train(finished, CONFIG, run_id=run_id, resume=True)
    timings = ["seconds", "images_per_second"]
    assert read_history(finished, run_id).drop(timings).equals(read_history(finished, "whole").drop(timings))
    assert not (finished.run(run_id) / "checkpoint").exists()
    whole, resumed = (load_file(finished.run(name) / "model.safetensors") for name in ("whole", run_id))
    for name, weight in whole.items():
        np.testing.assert_array_equal(resumed[name], weight, err_msg=name)


def test_a_seed_changes_the_weights(finished: Workspace) -> None:
    train(finished, dataclasses.replace(CONFIG, seed=2, epochs=1), run_id="seed-2")
    train(finished, dataclasses.replace(CONFIG, seed=3, epochs=1), run_id="seed-3")
    second, third = (
        load_file(finished.run(name) / "model.safetensors")["dense/kernel"] for name in ("seed-2", "seed-3")
    )
    assert not np.allclose(second, third)


def test_a_resume_with_other_settings_names_them(workspace: Workspace) -> None:
    interrupt(workspace, CONFIG, "run")
    with pytest.raises(WorkspaceError, match=r"batch_size.*epochs"):
        train(workspace, dataclasses.replace(CONFIG, batch_size=4, epochs=4), run_id="run", resume=True)


def test_a_resume_with_other_labels_is_refused(tmp_path: Path) -> None:
    interrupt(make_workspace(tmp_path), CONFIG, "run")
    place = make_workspace(tmp_path, labels=("night", "day"))
    with pytest.raises(WorkspaceError, match=r"labels.*without --resume"):
        train(place, CONFIG, run_id="run", resume=True)


def test_a_resume_of_nothing_is_refused(workspace: Workspace) -> None:
    with pytest.raises(WorkspaceError, match="no unfinished training"):
        train(workspace, CONFIG, resume=True)


def test_a_cut_checkpoint_is_refused(workspace: Workspace) -> None:
    interrupt(workspace, CONFIG, "run")
    path = workspace.run("run") / "checkpoint" / FILE
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(WorkspaceError, match="checkpoint cannot be read"):
        train(workspace, CONFIG, run_id="run", resume=True)


def test_a_finished_run_is_not_trained_again(finished: Workspace) -> None:
    again = train(finished, CONFIG, run_id="whole")
    assert again.skipped
    assert again.counts["best_epoch"] in {1, 2, 3}


def test_a_kill_while_a_run_is_replaced_leaves_no_run_that_is_half_old(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(CONFIG, epochs=1)
    train(workspace, config, run_id="run")

    def kill(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(stage, "write_text", kill)
    with pytest.raises(KeyboardInterrupt):
        train(workspace, dataclasses.replace(config, seed=5), run_id="run")
    assert read_manifest(workspace.run("run")) is None
    monkeypatch.undo()
    train(workspace, dataclasses.replace(config, seed=5), run_id="run", resume=True)
    assert read_json(workspace.run("run") / "manifest.json")["settings"]["seed"] == 5


def fix_figures(monkeypatch: pytest.MonkeyPatch, accuracies: list[float], loss: float = 1.0) -> None:
    """Take these validation accuracies in the place of a real epoch's."""

    def run_epoch(_: object, epoch: int) -> dict[str, Any]:
        figures = {"loss": loss, "accuracy": 0.5, "val_loss": 1.0, "val_accuracy": accuracies[epoch - 1]}
        return {"epoch": epoch, **figures, "learning_rate": 0.01, "seconds": 1.0, "images_per_second": 20.0}

    monkeypatch.setattr(stage._Training, "_run_epoch", run_epoch)


def test_of_equal_epochs_the_earliest_is_kept(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    fix_figures(monkeypatch, [0.5, 0.75, 0.75])
    result = train(workspace, CONFIG)
    assert (result.counts["best_epoch"], result.counts["val_accuracy"]) == (2, 0.75)


def test_a_training_that_diverges_says_so(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    fix_figures(monkeypatch, [0.5, 0.5, 0.5], loss=float("nan"))
    with pytest.raises(SettingsError, match=r"epoch 1 .*smaller --learning-rate"):
        train(workspace, CONFIG)


@pytest.mark.parametrize(
    ("labels", "splits", "error"),
    [
        (("dark",), SPLITS, ModelError),
        (("dark", "light"), ("val",), WorkspaceError),
        (("dark", "light"), ("train",), WorkspaceError),
        (("dark", "light"), (None,), WorkspaceError),
    ],
)
def test_too_little_to_learn_from_is_an_error(
    tmp_path: Path, labels: tuple[str, ...], splits: tuple[str | None, ...], error: type[HangtagError]
) -> None:
    with pytest.raises(error):
        train(make_workspace(tmp_path, labels, splits), CONFIG)


def test_a_class_without_training_items_is_no_error(tmp_path: Path) -> None:
    place = make_workspace(tmp_path, labels=("a", "b", "c", "d"), splits=("train", "val"))
    result = train(place, dataclasses.replace(CONFIG, epochs=1))
    assert result.counts["classes"] == 4
    assert result.folder.name == name_run(CONFIG) == "capstone-color-1"


def test_bfloat16_keeps_float32_weights_and_gray_learns_too(workspace: Workspace) -> None:
    config = dataclasses.replace(CONFIG, epochs=1, precision="bfloat16", color_mode="gray")
    train(workspace, config, run_id="gray")
    weights = load_file(workspace.run("gray") / "model.safetensors")
    assert {str(weight.dtype) for weight in weights.values()} == {"float32"}
    assert weights["conv1_1/kernel"].shape == (3, 3, 1, 32)


def test_nothing_is_printed_where_there_is_no_terminal(workspace: Workspace, capfd: pytest.CaptureFixture[str]) -> None:
    train(workspace, dataclasses.replace(CONFIG, epochs=1))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_cannot_be_used_is_refused(seed: int) -> None:
    with pytest.raises(SettingsError, match="seed"):
        TrainConfig(seed=seed)
