"""Tests of knowledge distillation."""

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from test_seen_in_training import SHORT, assert_same, draw_other_splits, list_split, read_run
from test_train import make_workspace, name_items

from hangtag.errors import LeakError, SettingsError, WorkspaceError
from hangtag.inference.classifier import Classifier
from hangtag.io import read_json
from hangtag.labels.dataset import read_labeled_items
from hangtag.stages.cross_validate import cross_validate
from hangtag.stages.train import train
from hangtag.train_config import TrainConfig
from hangtag.training.targets import build_targets, encode_targets
from hangtag.training.teacher import Teacher, load_teacher
from hangtag.training.trainer import Trainer, TrainingBatch
from hangtag.workspace import Workspace

DISTILLED = dataclasses.replace(SHORT, teacher=("first", "second"), teacher_weight=1.0)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with two finished runs, named `first` and `second`; tests read it only."""
    place = make_workspace(tmp_path_factory.mktemp("finished"))
    name_items(place)
    for run_id, seed in (("first", 1), ("second", 2)):
        train(place, dataclasses.replace(SHORT, seed=seed), run_id=run_id)
    return place


@pytest.fixture
def workspace(finished: Workspace, tmp_path: Path) -> Workspace:
    return Workspace.at(shutil.copytree(finished.root, tmp_path / "w"))


def load(place: Workspace, *run_ids: str) -> Teacher:
    labelled = read_labeled_items(place)
    return load_teacher(place, run_ids, labelled.digest, build_targets(labelled, SHORT.target).label_space)


def predict(place: Workspace, run_id: str) -> dict[str, np.ndarray]:
    classifier = Classifier.load(place.run(run_id))
    assert not classifier.description["tta_flip"]
    network = classifier.model
    return {
        head: np.asarray(probs)
        for head, probs in network.predict_on_batch(
            {"pixels": np.asarray(read_labeled_items(place).images[:8])}
        ).items()
    }


def test_a_teacher_predicts_the_mean_of_its_runs(finished: Workspace) -> None:
    images = read_labeled_items(finished).images[:8]
    found = load(finished, "first", "second").predict(images)
    for head, probs in found.items():
        wanted = (predict(finished, "first")[head] + predict(finished, "second")[head]) / 2
        np.testing.assert_allclose(probs, wanted, atol=1e-2)
        np.testing.assert_allclose(probs.sum(axis=1), 1, atol=1e-5)


def test_mixed_targets_are_the_weighted_mean_and_items_without_a_value_keep_none(finished: Workspace) -> None:
    teacher, images = load(finished, "first"), read_labeled_items(finished).images[:3]
    targets = encode_targets({"category_path": np.array([1, -1, 0])}, teacher.heads, 0.0)
    probs = teacher.predict(images)["category_path"]
    mixed = teacher.mix(targets, images, 0.25)["category_path"]
    np.testing.assert_allclose(mixed[[0, 2]], 0.75 * targets["category_path"][[0, 2]] + 0.25 * probs[[0, 2]], atol=1e-6)
    assert not mixed[1].any()
    np.testing.assert_array_equal(teacher.mix(targets, images, 0.0)["category_path"], targets["category_path"])


def test_a_distilled_run_learns_the_teacher_and_records_what_it_saw(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = []
    iterate = Trainer._iterate_batches

    def watch(self: Trainer, epoch: int, image_size: tuple[int, int]) -> Iterator[TrainingBatch]:
        for inputs, targets in iterate(self, epoch, image_size):
            batches.append((inputs["pixels"], targets["category_path"]))
            yield inputs, targets

    monkeypatch.setattr(Trainer, "_iterate_batches", watch)
    result = train(workspace, DISTILLED, run_id="student")
    teacher = load(workspace, "first", "second")
    for pixels, targets in batches:
        np.testing.assert_allclose(targets, teacher.predict(np.asarray(pixels, np.uint8))["category_path"], atol=1e-5)
    assert_same(read_run(workspace, "student").trained_on, list_split(workspace, "train"))
    assert {"runs/first", "runs/second"} <= read_json(result.folder / "manifest.json")["inputs"].keys()
    assert train(workspace, DISTILLED, run_id="student").skipped
    train(workspace, dataclasses.replace(SHORT, seed=5), run_id="first", replace=True)
    assert not train(workspace, DISTILLED, run_id="student").skipped


def test_a_teacher_that_was_trained_on_val_is_refused(workspace: Workspace) -> None:
    config = dataclasses.replace(SHORT, train_splits=("train", "val"), calibration_run="first")
    train(workspace, config, run_id="both")
    with pytest.raises(LeakError, match=r"teacher\) were trained on (\d+) of the \1 photographs of val"):
        train(workspace, dataclasses.replace(SHORT, teacher=("both",)), run_id="student")


def test_unusable_teachers_are_refused(workspace: Workspace) -> None:
    with pytest.raises(WorkspaceError, match=r"no such finished run.*first, second.*'third'"):
        train(workspace, dataclasses.replace(SHORT, teacher=("first", "third")), run_id="student")
    train(workspace, TrainConfig(with_names=True, image_run="first"), run_id="named")
    with pytest.raises(WorkspaceError, match="reads names"):
        load(workspace, "named")
    with pytest.raises(SettingsError, match=r"teacher.*with_names"):
        dataclasses.replace(DISTILLED, with_names=True)
    with pytest.raises(SettingsError, match="trained on the items that they exclude"):
        cross_validate(workspace, DISTILLED, folds=2)
    draw_other_splits(workspace)
    with pytest.raises(WorkspaceError, match="trained on other labels"):
        load(workspace, "first")
