"""Test the size, the metrics and the limits of the shipped model."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from hangtag.inference.classifier import Classifier
from hangtag.io import hash_file
from hangtag.labels.dataset import read_labeled_items
from hangtag.labels.duplicates import hash_photographs
from hangtag.models.shipped import SHIPPED
from hangtag.stages.clean import clean
from hangtag.stages.prepare import prepare
from hangtag.workspace import Workspace


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier.load()


def test_the_shipped_model_is_small_and_has_no_paths_of_a_machine() -> None:
    files = [path for path in SHIPPED.iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 8_000_000
    names = {"__init__.py", "README.md", "model.json", "network.bin", "network.xml", "seen.safetensors"}
    assert {path.name for path in files} == names
    for path in files:
        assert not any(place in path.read_bytes() for place in (b"/root", b"/home", b"/tmp", b"/Users"))


def test_the_model_card_has_its_metrics(classifier: Classifier) -> None:
    test = classifier.description["figures"]["test"]
    assert test["accuracy"] >= 0.935
    assert "val" not in classifier.description["figures"]
    assert f"{test['accuracy']:.4f}" in (SHIPPED / "README.md").read_text(encoding="utf-8")
    assert classifier.description["train_splits"] == ["train", "val"]
    network = classifier.description["network"]
    for name, digest in (("network.xml", network["sha256"]), ("network.bin", network["weights_sha256"])):
        assert digest == hash_file(SHIPPED / name)
        assert f"`{name}`: `{digest}`" in (SHIPPED / "README.md").read_text(encoding="utf-8")


def test_there_is_a_threshold_for_every_target_precision(classifier: Classifier) -> None:
    found = [classifier.find_threshold(precision) for precision in (0.9, 0.95, 0.97, 0.98, 0.99)]
    assert None not in found
    assert found == sorted(found, key=lambda value: value or 0)


def test_out_of_distribution_images_are_not_sure(classifier: Classifier) -> None:
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (30, 80, 60, 3), dtype=np.uint8)
    colors = np.broadcast_to(random.integers(0, 200, (30, 1, 1, 3), dtype=np.uint8), noise.shape)
    for strangers in (noise, np.ascontiguousarray(colors)):
        assert not any(answer.is_sure for answer in classifier.classify(strangers))


@pytest.mark.archive
def test_the_recorded_accuracy_holds_on_unseen_photographs(
    classifier: Classifier, archive: Path, tmp_path: Path
) -> None:
    prepare(archive, tmp_path)
    clean(tmp_path)
    labelled = read_labeled_items(Workspace.at(tmp_path))
    assert labelled.digest == classifier.description["labels_digest"]
    assert classifier.seen is not None
    for split, is_trained_on in (("train", True), ("val", True), ("test", False)):
        rows = labelled.of_split(split)["image_index"].to_numpy().astype(np.int64)
        assert (classifier.seen.trained_on.find(hash_photographs(labelled.images, rows)) == is_trained_on).all()
    items = labelled.table.filter(pl.col("split") == "test", pl.col("label") != "Unknown")
    found = classifier.predict_rows(labelled.images, items["image_index"].to_numpy().astype(np.int64))
    accuracy = np.mean(
        [own == label for own, label in zip(found.choose_labels()["label"], items["label"], strict=True)]
    )
    # The engine computes otherwise on another processor, by some items.
    assert accuracy == pytest.approx(classifier.description["figures"]["test"]["accuracy"], abs=0.003)
