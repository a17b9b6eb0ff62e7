"""A training ends the same whether it is stopped or not, keeps its best epoch, and says what a user did wrong."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from hangtag.catalog.images import shrink
from hangtag.catalog.prepared_items import read_prepared
from hangtag.catalog.schema import CatalogSchema
from hangtag.errors import HangtagError, ModelError, SettingsError, WorkspaceError
from hangtag.inference.classifier import Classifier
from hangtag.inference.runs import EvaluatedItems, load_classifier, predict_items, select_items
from hangtag.io import read_json, write_parquet, write_whole
from hangtag.labels.dataset import read_labeled_items
from hangtag.manifest import StageRecord, require_manifest
from hangtag.models.checkpoint import load_saved, read_weights
from hangtag.models.label_space import CATEGORY_PATH
from hangtag.presets import PRESETS
from hangtag.settings import read_settings, resolve
from hangtag.stages import train as stage
from hangtag.stages.export import export
from hangtag.stages.train import build_trainer, name_run, train
from hangtag.train_config import AS_BEFORE, TrainConfig
from hangtag.training import targets
from hangtag.training.checkpoint import FILE
from hangtag.training.epochs import EpochTime
from hangtag.training.trainer import Trainer
from hangtag.workspace import Workspace

# The network that is quickest to build, with all that a stopped training has to take up again: the optimizer's
# variables, the step size, dropout, the order and the augmentation, and an average of the weights.
CONFIG = resolve(
    TrainConfig,
    PRESETS["capstone"],
    {"epochs": 3, "batch_size": 4, "precision": "float32", "seed": 1, "optimizer": "muon", "lr_schedule": "cosine"},
    {
        "weight_decay": 0.01,
        "label_smoothing": 0.05,
        "class_balance": 0.5,
        "max_shift": 2,
        "brightness": 0.1,
        "ema_decay": 0.9,
    },
)
NAME_WEIGHT = "category_path_with_name/name_weight"
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
            "group_id": [f"g{number}" for number in numbers],
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


def name_items(place: Workspace) -> None:
    """Return the items of a workspace names that tell their label."""
    path = place.labels / "labels.parquet"
    table = pl.read_parquet(path)
    names = [f"a {'night' if number % 2 == 0 else 'noon'} thing" for number in range(len(table))]
    write_parquet(path, table.with_columns(title=pl.Series(names)))
    items = place.prepared / "items.parquet"
    record = StageRecord("prepare", place.prepared, {}, {})
    schema = dataclasses.replace(CatalogSchema(), name="title")
    record.finish({}, [items, place.prepared / "images.npy"], schema=schema.to_json(), taxonomy_text="")
    StageRecord("clean", place.labels, {"prepared": read_prepared(place).digest}, {}).finish({}, [path])


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


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a training of `CONFIG`, named `run`, stopped in its second epoch; tests read it only."""
    place = make_workspace(tmp_path_factory.mktemp("stopped"))
    interrupt(place, "run")
    return place.root


@pytest.fixture
def unfinished(stopped: Path, tmp_path: Path) -> Workspace:
    """The same, for a test's own."""
    return Workspace.at(shutil.copytree(stopped, tmp_path / "w"))


def interrupt(place: Workspace, run_id: str, epochs: int = 1, config: TrainConfig = CONFIG) -> None:
    """Train until Ctrl-C comes in the middle of the epoch after `epochs`."""
    run_steps = Trainer._run_steps

    def run(self: Trainer, epoch: int, *more: Any) -> Any:
        figures = run_steps(self, epoch, *more)
        if epoch > epochs:
            raise KeyboardInterrupt
        return figures

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(Trainer, "_run_steps", run)
        with pytest.raises(KeyboardInterrupt):
            train(place, config, run_id=run_id)


def read_history(place: Workspace, run_id: str) -> pl.DataFrame:
    return pl.read_csv(place.run(run_id) / "history.csv")


def test_the_label_head_is_rescaled_in_the_saved_model_alone(workspace: Workspace) -> None:
    config = dataclasses.replace(CONFIG, epochs=1, tau_norm=1.0)
    train(workspace, dataclasses.replace(config, tau_norm=0.0), run_id="plain")
    train(workspace, config, run_id="scaled")
    plain, scaled = (load_file(workspace.run(each) / "model.safetensors") for each in ("plain", "scaled"))
    norms = [np.linalg.norm(each["category_path/kernel"], axis=0) for each in (plain, scaled)]
    assert norms[0].std() > 1e-4
    np.testing.assert_allclose(norms[1], norms[0].mean(), rtol=1e-5)
    for path in plain.keys() - {"category_path/kernel"}:
        np.testing.assert_array_equal(plain[path], scaled[path])


def test_a_run_leaves_the_files_of_the_design(finished: Workspace) -> None:
    folder = finished.run("whole")
    names = {path.name for path in folder.iterdir()}
    files = {"model.safetensors", "model.json", "seen.safetensors", "config.toml", "history.csv", "manifest.json"}
    assert names == files
    assert resolve(TrainConfig, read_settings(folder / "config.toml")) == CONFIG
    history = read_history(finished, "whole")
    assert history.columns == [
        *("epoch", "image_size", "loss", "accuracy", "val_loss", "val_accuracy"),
        *("learning_rate", "seconds", "images_per_second"),
    ]
    assert history["epoch"].to_list() == [1, 2, 3]
    assert set(history["image_size"]) == {"16x12"}
    assert finished.run_ids() == ["whole"]


def test_the_saved_model_is_the_best_epoch(finished: Workspace) -> None:
    saved = load_saved(finished.run("whole"))
    history = read_history(finished, "whole")
    best = history.row(int(history["val_accuracy"].arg_max() or 0), named=True)
    assert saved.description["metrics"] == {key: best[key] for key in ("epoch", "val_accuracy", "val_loss")}
    assert (saved.label_space.class_names, saved.image_size) == (("dark", "light"), (16, 12))
    labels = pl.read_parquet(finished.labels / "labels.parquet").filter(pl.col("split") == "val")
    images = read_prepared(finished).images[labels["image_index"].to_numpy()]
    probs = np.asarray(saved.model.predict_on_batch({"pixels": images})[CATEGORY_PATH])
    wanted = (labels["label"] == "light").to_numpy().astype(int)
    assert (probs.argmax(axis=1) == wanted).mean() == pytest.approx(best["val_accuracy"])
    assert -np.log(probs[np.arange(len(wanted)), wanted]).mean() == pytest.approx(best["val_loss"], rel=1e-4)


def test_the_description_says_what_was_learnt_from(finished: Workspace) -> None:
    description = load_saved(finished.run("whole")).description
    labelled = read_labeled_items(finished)
    counts = labelled.of_split("train")["label"].value_counts().sort("label")["count"].to_list()
    assert description["train_counts"] == {CATEGORY_PATH: counts}
    assert description["labels_digest"] == labelled.digest
    assert (description["run_id"], description["label_name"]) == ("whole", labelled.schema.label_name)
    assert description["tta_flip"] is CONFIG.tta_flip
    # Too few items to promise a precision, but a temperature there is.
    assert list(description["calibration"]) == ["photograph"]
    assert description["calibration"]["photograph"]["temperatures"][CATEGORY_PATH] > 0
    assert set(description["calibration"]["photograph"]["thresholds"].values()) == {None}


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_stopped_training_ends_as_if_nothing_had_happened(finished: Workspace, epochs: int) -> None:
    run_id = f"stopped-{epochs}"
    interrupt(finished, run_id, epochs)
    assert (finished.run(run_id) / "checkpoint" / FILE).is_file()
    assert run_id not in finished.run_ids()
    train(finished, CONFIG, run_id=run_id, resume=True)
    timings = ["seconds", "images_per_second"]
    assert read_history(finished, run_id).drop(timings).equals(read_history(finished, "whole").drop(timings))
    assert not (finished.run(run_id) / "checkpoint").exists()
    whole, resumed = (load_file(finished.run(name) / "model.safetensors") for name in ("whole", run_id))
    for name, weight in whole.items():
        np.testing.assert_array_equal(resumed[name], weight, err_msg=name)


def test_a_seed_changes_the_weights(workspace: Workspace) -> None:
    def start(seed: int) -> Any:
        config = dataclasses.replace(CONFIG, seed=seed)
        trainer = build_trainer(workspace, read_labeled_items(workspace), workspace.run("run") / "checkpoint", config)
        return read_weights(trainer.model)["dense/kernel"]

    second = start(2)
    np.testing.assert_array_equal(start(2), second)
    assert not np.allclose(start(3), second)


def test_a_resume_with_other_settings_names_them(unfinished: Workspace) -> None:
    with pytest.raises(WorkspaceError, match=r"batch_size.*epochs"):
        train(unfinished, dataclasses.replace(CONFIG, batch_size=8, epochs=4), run_id="run", resume=True)


def forget_settings(folder: Path, names: set[str]) -> None:
    """Write a checkpoint as a version would have that did not have some settings yet."""
    with safe_open(folder / FILE, framework="numpy") as file:
        described = json.loads(file.metadata()["state"])
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    described["identity"] = {name: value for name, value in described["identity"].items() if name not in names}
    save_file(tensors, folder / FILE, metadata={"state": json.dumps(described)})


def test_a_training_of_an_earlier_version_is_resumed_unless_a_new_setting_changes_it(unfinished: Workspace) -> None:
    forget_settings(unfinished.run("run") / "checkpoint", set(AS_BEFORE))
    changed = dataclasses.replace(CONFIG, word_weight=0.1, minutes=3.0)
    with pytest.raises(WorkspaceError, match=r"Received: \['minutes', 'word_weight'\]"):
        train(unfinished, changed, run_id="run", resume=True)
    assert train(unfinished, CONFIG, run_id="run", resume=True).metrics["epochs"] == CONFIG.epochs


def test_a_setting_that_changes_trainings_cannot_be_missing_in_a_checkpoint(unfinished: Workspace) -> None:
    forget_settings(unfinished.run("run") / "checkpoint", {"layer_decay"})
    with pytest.raises(WorkspaceError, match=r"Received: \['layer_decay'\]"):
        train(unfinished, CONFIG, run_id="run", resume=True)


def test_a_resume_with_other_labels_is_refused(unfinished: Workspace) -> None:
    make_workspace(unfinished.root, labels=("night", "day"))
    with pytest.raises(WorkspaceError, match=r"labels.*without --resume"):
        train(unfinished, CONFIG, run_id="run", resume=True)


def test_a_resume_of_nothing_is_refused(workspace: Workspace) -> None:
    with pytest.raises(WorkspaceError, match="no unfinished training"):
        train(workspace, CONFIG, resume=True)


def test_a_cut_checkpoint_is_refused(unfinished: Workspace) -> None:
    path = unfinished.run("run") / "checkpoint" / FILE
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(WorkspaceError, match="checkpoint cannot be read"):
        train(unfinished, CONFIG, run_id="run", resume=True)


def test_a_finished_run_is_not_trained_again(finished: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "build_trainer", None)
    again = train(finished, CONFIG, run_id="whole")
    assert again.skipped
    assert again.metrics["kept_epoch"] == load_saved(again.folder).description["metrics"]["epoch"]


def test_a_kill_while_a_run_is_replaced_leaves_no_run_that_is_half_old(
    finished: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Workspace.at(shutil.copytree(finished.root, tmp_path / "w"))
    other = dataclasses.replace(CONFIG, epochs=1, seed=5)

    def kill(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(stage, "write_text", kill)
        with pytest.raises(KeyboardInterrupt):
            train(place, other, run_id="whole", replace=True)
    assert require_manifest(place.run("whole"), "")["settings"]["seed"] == CONFIG.seed
    assert load_classifier(place, "whole", read_labeled_items(place)).class_names
    train(place, other, run_id="whole", resume=True, replace=True)
    assert read_json(place.run("whole") / "manifest.json")["settings"]["seed"] == 5


def fix_figures(
    monkeypatch: pytest.MonkeyPatch, accuracies: list[float], loss: float = 1.0, small_epochs: int = 0
) -> None:
    """Take these validation accuracies in the place of a real epoch's, which leaves its number in a weight."""

    def run_epoch(self: Trainer, epoch: int) -> dict[str, Any]:
        self.model.get_layer(CATEGORY_PATH).bias.assign([epoch, epoch])
        figures = {"loss": loss, "accuracy": 0.5, "val_loss": 1.0, "val_accuracy": accuracies[epoch - 1]}
        size = "8x6" if epoch <= small_epochs else "16x12"
        return {
            "epoch": epoch,
            "image_size": size,
            **figures,
            "learning_rate": 0.01,
            "seconds": 1.0,
            "images_per_second": 20.0,
        }

    monkeypatch.setattr(Trainer, "_run_epoch", run_epoch)


@pytest.mark.parametrize(
    ("keep", "accuracies", "kept"),
    [("best", [0.5, 0.75, 0.75], 2), ("best", [0.0] * 3, 1), ("last", [0.9, 0.5, 0.1], 3)],
)
def test_of_equal_epochs_the_earliest_is_kept_or_the_last_where_that_is_asked_for(
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    keep: Literal["best", "last"],
    accuracies: list[float],
    kept: int,
) -> None:
    fix_figures(monkeypatch, accuracies)
    result = train(workspace, dataclasses.replace(CONFIG, checkpoint=keep))
    kept_accuracy = load_saved(result.folder).description["metrics"]["val_accuracy"]
    assert (result.metrics["kept_epoch"], kept_accuracy) == (kept, accuracies[kept - 1])
    assert load_file(result.folder / "model.safetensors")[f"{CATEGORY_PATH}/bias"].tolist() == [kept, kept]


def test_the_best_epoch_is_one_on_whole_photographs(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    fix_figures(monkeypatch, [0.9, 0.5, 0.4], small_epochs=1)
    result = train(workspace, dataclasses.replace(CONFIG, checkpoint="best"))
    assert result.metrics["kept_epoch"] == 2
    assert load_saved(result.folder).description["metrics"]["val_accuracy"] == 0.5


def test_without_a_terminal_a_line_is_printed_after_every_epoch_and_nothing_else(
    workspace: Workspace, capfd: pytest.CaptureFixture[str]
) -> None:
    result = train(workspace, CONFIG)
    printed = capfd.readouterr()
    lines = printed.err.splitlines()
    assert printed.out == ""
    (last,) = result.history[-1].to_dicts()
    assert [line.split(":")[0] for line in lines] == ["Epoch 1/3", "Epoch 2/3", "Epoch 3/3"]
    assert f"on val {last['val_loss']:.3f} and {last['val_accuracy']:.3f}, " in lines[-1]


def test_a_time_budget_chooses_the_epochs_once(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    timed = []

    def time_epoch(self: Trainer, size: tuple[int, int]) -> EpochTime:
        timed.append(size)
        estimated = real(self, size)
        assert 0 < estimated.training < 60
        assert 0 < estimated.validation < 60
        return EpochTime(0.0, 100.0, 0.0)

    real = Trainer.time_epoch
    monkeypatch.setattr(Trainer, "time_epoch", time_epoch)
    config = dataclasses.replace(CONFIG, minutes=5.0, epochs=0)
    interrupt(workspace, "run", config=config)
    monkeypatch.undo()
    monkeypatch.setattr(Trainer, "time_epoch", None)
    resumed = train(workspace, config, run_id="run", resume=True)
    # Two epochs of 100 seconds fit into 300, with the margin and the time for timing.
    assert (resumed.metrics["epochs"], timed) == (2, [(16, 12)])
    assert train(workspace, config, run_id="run").skipped
    monkeypatch.undo()
    monkeypatch.setattr(Trainer, "time_epoch", lambda *_: EpochTime(0.0, 1000.0, 0.0))
    with pytest.raises(SettingsError, match=r"too short: one epoch over 24 items takes some 1[89]\.\d minutes"):
        train(workspace, config, run_id="other")


@pytest.mark.parametrize("with_names", [False, True])
def test_train_says_the_accuracy_that_evaluate_says(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, with_names: bool
) -> None:
    name_items(workspace)
    # The accuracy after an epoch is without names and mirror images: it is another number, and here a wrong one.
    monkeypatch.setattr(Trainer, "_validate", lambda *_: (0.5, 0.123))
    labelled = read_labeled_items(workspace)
    trained = train(workspace, dataclasses.replace(CONFIG, with_names=with_names, tta_flip=True), run_id="run")
    classifier = load_classifier(workspace, "run", labelled)
    items = select_items(labelled, classifier.label_space, ["val"])
    predictions = predict_items(classifier, labelled, items, "", with_names=with_names)
    measured = float(EvaluatedItems(items, predictions).correct.mean())
    assert trained.metrics["val_accuracy"] == pytest.approx(measured, abs=1e-4)
    assert read_history(workspace, "run")["val_accuracy"].to_list() == [0.123] * 3


def test_a_training_begins_on_small_photographs_and_gives_a_model_for_whole_ones(workspace: Workspace) -> None:
    config = dataclasses.replace(CONFIG, architecture="residual-small", initial_scale=0.5)
    train(workspace, config, run_id="growing")
    assert read_history(workspace, "growing")["image_size"].to_list() == ["8x8", "16x12", "16x12"]
    assert load_saved(workspace.run("growing")).image_size == (16, 12)


@pytest.mark.parametrize("architecture", ["residual-tiny", "capstone"])
def test_a_quick_network_reads_smaller_photographs_and_is_asked_about_whole_ones(
    workspace: Workspace, architecture: str
) -> None:
    config = dataclasses.replace(CONFIG, architecture=architecture, initial_scale=0.5, final_scale=0.7)
    train(workspace, config, run_id="shrinking")
    assert read_history(workspace, "shrinking")["image_size"].to_list()[-1] == "12x8"
    classifier = Classifier.load(workspace.run("shrinking"))
    assert (classifier.image_size, classifier.network_size) == ((16, 12), (12, 8))
    assert classifier.model.input["pixels"].shape[1:3] == (12, 8)
    photographs = np.random.default_rng(0).integers(0, 256, (3, 16, 12, 3), dtype=np.uint8)
    wanted = classifier.model.predict_on_batch({"pixels": shrink(photographs, (12, 8))})
    plain = dataclasses.replace(classifier, description={})
    found = plain.predict_heads(photographs).by_head[CATEGORY_PATH]
    np.testing.assert_allclose(found, wanted[CATEGORY_PATH], atol=1e-6)


def test_a_network_reads_enlarged_photographs_from_training_to_the_exported_model(workspace: Workspace) -> None:
    config = dataclasses.replace(CONFIG, architecture="residual-tiny", initial_scale=1.5, final_scale=2.0)
    train(workspace, config, run_id="enlarged")
    assert read_history(workspace, "enlarged")["image_size"].to_list() == ["24x18", "32x24", "32x24"]
    export(workspace, "enlarged", workspace.root / "model")
    run, exported = (Classifier.load(folder) for folder in (workspace.run("enlarged"), workspace.root / "model"))
    photographs = np.random.default_rng(0).integers(0, 256, (3, 16, 12, 3), dtype=np.uint8)
    enlarged = [Image.fromarray(each).resize((24, 32), Image.Resampling.BILINEAR) for each in photographs]
    larger = np.stack([np.asarray(each) for each in enlarged])
    wanted = run.model.predict_on_batch({"pixels": larger})[CATEGORY_PATH]
    for classifier in (run, exported):
        assert (classifier.image_size, classifier.network_size) == ((16, 12), (32, 24))
        plain = dataclasses.replace(classifier, description={})
        np.testing.assert_allclose(plain.predict_heads(photographs).by_head[CATEGORY_PATH], wanted, atol=0.01)


def test_the_capstone_has_whole_photographs_alone(workspace: Workspace) -> None:
    train(workspace, dataclasses.replace(CONFIG, epochs=2, initial_scale=0.5), run_id="whole")
    assert read_history(workspace, "whole")["image_size"].to_list() == ["16x12", "16x12"]


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
    assert result.metrics["classes"] == 4
    assert result.folder.name == name_run(CONFIG) == "capstone-color-1"


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (TrainConfig(architecture="residual"), "residual-color-0"),
        (TrainConfig(architecture="residual", target="label", color_mode="gray", seed=7), "residual-label-gray-7"),
        (TrainConfig(architecture="capstone", target="all"), "capstone-all-color-0"),
        (TrainConfig(architecture="capstone", target="label", with_names=True), "capstone-names-color-0"),
        (TrainConfig(architecture="residual", train_fraction=0.1), "residual-share0.1-color-0"),
        (TrainConfig(architecture="residual", target="../Base colour"), "residual-.._Base_colour-color-0"),
    ],
)
def test_a_run_is_named_after_what_is_unusual_in_its_settings(config: TrainConfig, name: str) -> None:
    assert name_run(config) == name


def test_a_share_of_the_training_items_is_trained_on_and_recorded(tmp_path: Path) -> None:
    place = make_workspace(tmp_path, labels=("a", "b", "c", "d"))
    config = dataclasses.replace(CONFIG, epochs=2, train_fraction=0.4)
    interrupt(place, "stopped", config=config)
    stopped = train(place, config, run_id="stopped", resume=True)
    shared = train(place, config)
    assert shared.folder.name == "capstone-share0.4-color-1"
    described = read_json(shared.folder / "model.json")
    trained_on = sum(described["train_counts"][CATEGORY_PATH])
    assert trained_on == shared.metrics["train"] < len(read_labeled_items(place).of_split("train"))
    assert shared.metrics["val"] == len(read_labeled_items(place).of_split("val"))
    assert (described["train_fraction"], described["seen"]["trained_on"]) == (0.4, trained_on)
    assert resolve(TrainConfig, read_settings(shared.folder / "config.toml")).train_fraction == 0.4
    assert shared.metrics["classes"] == 4
    assert read_json(stopped.folder / "model.json")["weights"] == described["weights"]


def test_a_share_without_an_item_is_an_error(workspace: Workspace) -> None:
    config = dataclasses.replace(CONFIG, train_fraction=1e-6)
    with pytest.raises(WorkspaceError, match=r"no items in the split train[\s\S]*--train-fraction"):
        train(workspace, config)


def test_bfloat16_keeps_float32_weights_and_gray_learns_too(workspace: Workspace) -> None:
    config = dataclasses.replace(CONFIG, epochs=1, precision="bfloat16", color_mode="gray")
    train(workspace, config, run_id="gray")
    weights = load_file(workspace.run("gray") / "model.safetensors")
    assert {str(weight.dtype) for weight in weights.values()} == {"float32"}
    assert weights["conv1_1/kernel"].shape == (3, 3, 1, 32)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_cannot_be_used_is_refused(seed: int) -> None:
    with pytest.raises(SettingsError, match="seed"):
        TrainConfig(seed=seed)


def test_a_model_to_be_shipped_learns_from_val_too_and_takes_anothers_calibration(finished: Workspace) -> None:
    config = dataclasses.replace(
        CONFIG, epochs=1, checkpoint="last", train_splits=("train", "val"), calibration_run="whole"
    )
    result = train(finished, config, run_id="shipped")
    whole, shipped = (read_json(finished.run(name) / "model.json") for name in ("whole", "shipped"))
    assert shipped["calibration"] == whole["calibration"]
    assert (whole["train_splits"], shipped["train_splits"]) == (["train"], ["train", "val"])
    counts = [sum(each["train_counts"][CATEGORY_PATH]) for each in (whole, shipped)]
    assert counts[1] == result.metrics["train"] == counts[0] + result.metrics["val"]
    shutil.rmtree(result.folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"train_splits": ("train", "val")},
        {"train_splits": ("train", "val"), "calibration_run": "whole", "checkpoint": "best"},
        {"train_splits": ()},
        {"train_splits": ("train", "unknown")},
    ],
)
def test_nothing_is_chosen_by_what_was_learnt(changes: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        resolve(TrainConfig, changes)


@pytest.mark.parametrize("name", ["gone", "../whole"])
def test_a_calibration_that_is_not_there_is_told_before_the_training(finished: Workspace, name: str) -> None:
    config = dataclasses.replace(CONFIG, checkpoint="last", train_splits=("train", "val"), calibration_run=name)
    with pytest.raises(WorkspaceError):
        train(finished, config, run_id="other")
    assert not finished.run("other").exists()


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with names, an image run and a run that adds names to it; tests only read it."""
    place = make_workspace(tmp_path_factory.mktemp("named"))
    name_items(place)
    train(place, dataclasses.replace(CONFIG, epochs=1), run_id="pixels")
    train(place, TrainConfig(with_names=True, image_run="pixels"), run_id="both")
    return place


def test_names_are_learnt_beside_a_run_whose_network_stays_as_it_is(named: Workspace) -> None:
    pixels, both = (load_file(named.run(run_id) / "model.safetensors") for run_id in ("pixels", "both"))
    assert set(both) - set(pixels) == {
        f"category_path_with_name/{part}" for part in ("words", "idf", "bias", "name_weight")
    }
    for path, value in pixels.items():
        np.testing.assert_array_equal(both[path], value)
    # All but the two settings that say so are those of the other run.
    config = resolve(TrainConfig, read_settings(named.run("both") / "config.toml"))
    assert config == dataclasses.replace(CONFIG, epochs=1, with_names=True, image_run="pixels")
    assert read_history(named, "both").equals(read_history(named, "pixels"))


def test_words_of_names_are_targets_in_training_alone(named: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "LEAST_NAMES", 2)
    with_words = dataclasses.replace(CONFIG, epochs=1, word_weight=1.0)
    train(named, with_words, run_id="words")
    train(named, dataclasses.replace(with_words, with_names=True), run_id="both-words")
    pixels, words, both = (load_file(named.run(each) / "model.safetensors") for each in ("pixels", "words", "both"))
    assert words.keys() == pixels.keys()
    assert load_file(named.run("both-words") / "model.safetensors").keys() == both.keys()
    assert not all(np.array_equal(words[path], value) for path, value in pixels.items())
    monkeypatch.setattr(targets, "LEAST_NAMES", 1_000)
    train(named, with_words, run_id="no-frequent-word")
    found = load_file(named.run("no-frequent-word") / "model.safetensors")
    for path, value in pixels.items():
        np.testing.assert_array_equal(found[path], value)
    for run_id in ("words", "both-words", "no-frequent-word"):
        shutil.rmtree(named.run(run_id))


def test_a_catalogue_without_names_has_no_words_as_targets(tmp_path: Path) -> None:
    place = make_workspace(tmp_path / "w")
    train(place, dataclasses.replace(CONFIG, epochs=1, word_weight=1.0), run_id="run")
    assert not [path for path in load_file(place.run("run") / "model.safetensors") if "name" in path]


def test_a_name_settles_what_a_photograph_does_not_and_without_one_nothing_changes(named: Workspace) -> None:
    pixels, both = (Classifier.load(named.run(run_id)) for run_id in ("pixels", "both"))
    images = read_prepared(named).images[:8]
    alone = pixels.predict_proba(images)
    # The temperature is found anew, to three digits or so.
    np.testing.assert_allclose(both.predict_proba(images), alone, atol=1e-3)
    found = both.predict_proba(images, ["a night thing", "a noon thing"] * 4)
    assert [both.class_names[place] for place in found.argmax(axis=1)] == ["dark", "light"] * 4
    name_weight = both.description["calibration"]["name_weight"]
    assert name_weight == {
        "category_path": pytest.approx(float(load_file(named.run("both") / "model.safetensors")[NAME_WEIGHT][0]))
    }
    assert name_weight["category_path"] > 0


def test_a_training_with_names_ends_as_one_beside_a_run_of_photographs(named: Workspace) -> None:
    train(named, dataclasses.replace(CONFIG, epochs=1, with_names=True), run_id="at-once")
    both, at_once = (load_file(named.run(run_id) / "model.safetensors") for run_id in ("both", "at-once"))
    assert set(both) == set(at_once)
    for path, value in both.items():
        np.testing.assert_array_equal(at_once[path], value)


def test_the_run_to_take_the_network_from_has_to_fit(named: Workspace, tmp_path: Path) -> None:
    beside = TrainConfig(with_names=True, image_run="both")
    with pytest.raises(WorkspaceError, match="already reads names"):
        train(named, beside)
    with pytest.raises(WorkspaceError, match="no such finished run"):
        train(named, dataclasses.replace(beside, image_run="nowhere"))
    with pytest.raises(SettingsError, match="image_run needs with_names"):
        TrainConfig(image_run="pixels")
    copy = Workspace.at(shutil.copytree(named.root, tmp_path / "w"))
    table = pl.read_parquet(copy.labels / "labels.parquet")
    write_parquet(copy.labels / "labels.parquet", table.with_columns(label=pl.col("label").reverse()))
    record = StageRecord("clean", copy.labels, {"prepared": read_prepared(copy).digest}, {})
    record.finish({}, [copy.labels / "labels.parquet"])
    with pytest.raises(WorkspaceError, match="trained on other labels"):
        train(copy, dataclasses.replace(beside, image_run="pixels"))


def test_names_are_learnt_anew_once_the_run_beside_them_is_another(named: Workspace, tmp_path: Path) -> None:
    copy = Workspace.at(shutil.copytree(named.root, tmp_path / "w"))
    beside = TrainConfig(with_names=True, image_run="pixels")
    before = load_file(copy.run("both") / "model.safetensors")
    assert train(copy, beside, run_id="both").skipped
    train(copy, dataclasses.replace(CONFIG, epochs=1, seed=2), run_id="pixels", replace=True)
    assert not train(copy, beside, run_id="both").skipped
    after = load_file(copy.run("both") / "model.safetensors")
    assert any((after[path] != value).any() for path, value in before.items() if "_with_name/" not in path)
