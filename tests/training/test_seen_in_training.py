"""Test that a run records the photographs that it and its pretrained weights have seen."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from test_train import CONFIG, make_workspace, name_items

from hangtag.catalog.prepared_items import read_prepared
from hangtag.errors import LeakError, ModelError
from hangtag.inference.classifier import Classifier
from hangtag.io import read_json, write_json, write_parquet
from hangtag.labels.dataset import read_hash_distance, read_labeled_items
from hangtag.labels.duplicates import hash_photographs
from hangtag.labels.image_hashes import PhotographSet
from hangtag.manifest import StageRecord
from hangtag.metrics.leakage import check_unseen
from hangtag.models.seen_images import FILE, SeenPhotographs
from hangtag.stages.cross_validate import cross_validate
from hangtag.stages.evaluate import evaluate
from hangtag.stages.train import train
from hangtag.train_config import TrainConfig
from hangtag.training.data import read_pretrained_seen
from hangtag.workspace import Workspace

SHORT = dataclasses.replace(CONFIG, epochs=1, checkpoint="last")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with names and one finished run, named `first`; tests read it only."""
    place = make_workspace(tmp_path_factory.mktemp("finished"))
    name_items(place)
    train(place, SHORT, run_id="first")
    return place


@pytest.fixture
def workspace(finished: Workspace, tmp_path: Path) -> Workspace:
    return Workspace.at(shutil.copytree(finished.root, tmp_path / "w"))


def draw_other_splits(place: Workspace, **settings: object) -> None:
    """Let train and test change places: half of train becomes test, and test becomes train."""
    path = place.labels / "labels.parquet"
    table = pl.read_parquet(path)
    others = {"train": "test", "val": "val", "test": "train"}
    split = [others.get(each) if each else None for each in table["split"]]
    write_labels(place, table.with_columns(split=pl.Series(split, dtype=pl.String)), **settings)


def write_labels(place: Workspace, table: pl.DataFrame, **settings: object) -> None:
    path = place.labels / "labels.parquet"
    columns = {"group_id": pl.col("item_id"), "pixel_hash": pl.col("item_id")}
    write_parquet(path, table.with_columns(**columns))
    record = StageRecord("clean", place.labels, {"prepared": read_prepared(place).digest}, settings)
    record.finish({}, [path])


def read_run(place: Workspace, run_id: str) -> SeenPhotographs:
    seen = Classifier.load(place.run(run_id)).seen
    assert seen is not None
    return seen


def list_split(place: Workspace, *splits: str) -> PhotographSet:
    labelled = read_labeled_items(place)
    rows = labelled.table.filter(pl.col("split").is_in(splits))["image_index"].to_numpy().astype(np.int64)
    return PhotographSet.of(hash_photographs(labelled.images, rows))


def assert_same(found: PhotographSet, wanted: PhotographSet) -> None:
    np.testing.assert_array_equal(found.perceptual, wanted.perceptual)
    np.testing.assert_array_equal(found.pixels, wanted.pixels)


def test_a_run_records_its_training_and_validation_photographs(finished: Workspace) -> None:
    seen = read_run(finished, "first")
    assert_same(seen.trained_on, list_split(finished, "train"))
    assert_same(seen.chosen_on, list_split(finished, "val"))
    assert seen.is_complete
    manifest = read_json(finished.run("first") / "manifest.json")
    assert manifest["outputs"][FILE]["sha256"] == read_json(finished.run("first") / "model.json")["seen"]["sha256"]


def test_a_run_without_its_record_is_trained_again(workspace: Workspace) -> None:
    assert train(workspace, SHORT, run_id="first").skipped
    (workspace.run("first") / FILE).unlink()
    with pytest.raises(ModelError, match="lacks the list"):
        Classifier.load(workspace.run("first"))
    assert not train(workspace, SHORT, run_id="first").skipped
    assert read_run(workspace, "first").is_complete


def test_a_calibration_run_adds_its_validation_photographs(workspace: Workspace) -> None:
    config = dataclasses.replace(SHORT, train_splits=("train", "val"), calibration_run="first")
    train(workspace, config, run_id="both")
    seen = read_run(workspace, "both")
    assert_same(seen.trained_on, list_split(workspace, "train", "val"))
    assert not len(seen.chosen_on.perceptual)
    # Under other splits the other run's val stays one that this run was chosen on.
    val = list_split(workspace, "val")
    table = pl.read_parquet(workspace.labels / "labels.parquet")
    others = {"val": "test", "test": "val"}
    split = [others.get(each, each) for each in table["split"]]
    write_labels(workspace, table.with_columns(split=pl.Series(split, dtype=pl.String)))
    train(workspace, dataclasses.replace(SHORT, calibration_run="first"), run_id="calibrated")
    assert_same(read_run(workspace, "calibrated").chosen_on, val | list_split(workspace, "val"))


def test_a_name_classifier_inherits_the_record_of_its_image_run(workspace: Workspace) -> None:
    train(workspace, TrainConfig(with_names=True, image_run="first"), run_id="named")
    assert_same(read_run(workspace, "named").trained_on, read_run(workspace, "first").trained_on)


def test_pretrained_weights_add_their_training_photographs_and_evaluation_refuses_them(workspace: Workspace) -> None:
    weights = str(workspace.run("first") / "model.safetensors")
    before = list_split(workspace, "train")
    draw_other_splits(workspace)
    train(workspace, dataclasses.replace(SHORT, weights=weights), run_id="second")
    seen = read_run(workspace, "second")
    assert_same(seen.trained_on, before | list_split(workspace, "train"))
    assert seen.is_complete
    # The pretrained weights were trained on all items that are test now.
    count = len(read_labeled_items(workspace).of_split("test"))
    with pytest.raises(LeakError, match=rf"leak-seen.* {count:,} of the {count:,} items.*without --weights"):
        check_unseen_of(workspace, "second", "test")
    with pytest.raises(LeakError, match="leak-seen"):
        evaluate(workspace, run_ids=["second"])
    check_unseen_of(workspace, "second", "val")
    train(workspace, SHORT, run_id="anew")
    check_unseen_of(workspace, "anew", "val", "test")


def check_unseen_of(place: Workspace, run_id: str, *splits: str) -> None:
    labelled = read_labeled_items(place)
    items = labelled.table.filter(pl.col("split").is_in(splits))
    check_unseen(Classifier.load(place.run(run_id)), labelled, items, read_hash_distance(place))


def test_weights_trained_on_val_are_refused_before_training(workspace: Workspace) -> None:
    weights = str(workspace.run("first") / "model.safetensors")
    table = pl.read_parquet(workspace.labels / "labels.parquet")
    others = {"train": "val", "val": "train"}
    split = [others.get(each, each) for each in table["split"]]
    write_labels(workspace, table.with_columns(split=pl.Series(split, dtype=pl.String)))
    with pytest.raises(LeakError, match=r"trained on (\d+) of the \1 photographs of val.*--weights"):
        train(workspace, dataclasses.replace(SHORT, weights=weights), run_id="second")
    assert not (workspace.run("second") / "model.json").exists()


def test_cross_validation_refuses_weights_trained_on_its_items(workspace: Workspace) -> None:
    weights = str(workspace.run("first") / "model.safetensors")
    write_labels(workspace, pl.read_parquet(workspace.labels / "labels.parquet"))
    with pytest.raises(LeakError, match="of the folds, which are to be unseen"):
        cross_validate(workspace, dataclasses.replace(SHORT, weights=weights), folds=2)


def test_the_record_of_other_weight_files_is_incomplete(workspace: Workspace, tmp_path: Path) -> None:
    run = workspace.run("first")
    assert read_pretrained_seen("").is_complete
    assert read_pretrained_seen("imagenet").is_complete
    assert len(read_pretrained_seen(str(run / "model.safetensors")).trained_on.perceptual)
    alone = Path(shutil.copy(run / "model.safetensors", tmp_path / "model.safetensors"))
    assert not read_pretrained_seen(str(alone)).is_complete
    # A description beside the file that is of other weights.
    shutil.copy(run / "model.json", tmp_path / "model.json")
    shutil.copy(run / FILE, tmp_path / FILE)
    assert read_pretrained_seen(str(alone)).is_complete
    alone.write_bytes(alone.read_bytes()[:-1] + b"x")
    assert not read_pretrained_seen(str(alone)).is_complete
    # A run of before there was such a list.
    description = read_json(run / "model.json")
    del description["seen"]
    write_json(run / "model.json", description)
    assert not read_pretrained_seen(str(run / "model.safetensors")).is_complete


@pytest.mark.parametrize(
    ("settings", "distance"),
    [
        ({}, None),
        ({"max_hash_distance": 0, "splits_from": ""}, 0),
        ({"max_hash_distance": 1, "splits_from": ""}, 1),
        ({"max_hash_distance": 2, "splits_from": ""}, 1),
        ({"max_hash_distance": 1, "splits_from": "elsewhere"}, None),
    ],
)
def test_the_hash_distance_of_the_splits_is_read_for_leak_checks(
    workspace: Workspace, settings: dict[str, object], distance: int | None
) -> None:
    write_labels(workspace, pl.read_parquet(workspace.labels / "labels.parquet"), **settings)
    assert read_hash_distance(workspace) == distance
