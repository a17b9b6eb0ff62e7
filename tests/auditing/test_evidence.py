"""Test that an audit evaluates no item that the model was trained on, even if labels, splits or files have changed."""

import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from hangtag.auditing.evidence import OutOfSampleProbs
from hangtag.catalog.images import Pixels
from hangtag.config import CleanConfig
from hangtag.demo_catalog.catalog import write_demo_catalog
from hangtag.io import read_json, write_csv, write_json
from hangtag.labels.dataset import read_labeled_items
from hangtag.labels.duplicates import compute_fingerprints, hash_photographs
from hangtag.models.seen_images import FILE
from hangtag.stages import audit as audit_module
from hangtag.stages.audit import audit
from hangtag.stages.clean import clean
from hangtag.stages.export import export
from hangtag.stages.prepare import prepare
from hangtag.stages.train import train
from hangtag.summary import describe_audit
from hangtag.train_config import TrainConfig
from hangtag.workspace import Workspace

CONFIG = TrainConfig(architecture="residual-tiny", epochs=1, initial_scale=0.5, final_scale=0.5, precision="float32")
LIMIT = 1e12  # Any photograph is familiar: an epoch teaches nothing.


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn catalogue in `catalog`, its workspace `w` with a run, and the export of it; tests read it only."""
    folder = tmp_path_factory.mktemp("shop")
    write_demo_catalog(folder / "catalog", items_per_kind=12)
    prepare(folder / "catalog", folder / "w")
    clean(folder / "w")
    train(folder / "w", CONFIG, run_id="run")
    export(folder / "w", "run", folder / "model")
    description = read_json(folder / "model" / "model.json")
    description["out_of_distribution"] = {"limit": LIMIT}
    write_json(folder / "model" / "model.json", description)
    return folder


@pytest.fixture
def own(shop: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(shop, tmp_path / "shop"))


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The ids of the items that were evaluated by photograph, once an audit has run."""
    found: list[Any] = []
    call = audit_module._collect_probs

    def note(*arguments: Any) -> Any:
        context, absent, tables = call(*arguments)
        out_of_sample: OutOfSampleProbs | None = context.image_probs
        found[:] = [] if out_of_sample is None else context.items["item_id"].gather(out_of_sample.rows).to_list()
        return context, absent, tables

    monkeypatch.setattr(audit_module, "_collect_probs", note)
    return found


def list_training_ids(shop: Path) -> set[str]:
    """Return the items that the run was trained on."""
    return set(read_labeled_items(Workspace.at(shop / "w")).of_split("train")["item_id"])


def read_told(folder: Path) -> tuple[dict[str, Any], str]:
    summary = read_json(folder / "summary.json")
    # The text is folded for the terminal.
    return summary["sources"]["photographs"], " ".join(describe_audit(summary).split())


def test_after_one_applied_cell_no_learnt_item_is_judged(own: Path, evaluated: list[Any]) -> None:
    training_ids, place = list_training_ids(own), Workspace.at(own / "w")
    digest = read_labeled_items(place).digest
    item = read_labeled_items(place).of_split("train").row(0, named=True)
    line = {"item_id": item["item_id"], "column": "gender", "old": item["gender"], "new": "Other", "rule": "reviewed"}
    write_csv(place.review / "label_changes.csv", pl.DataFrame([line]))
    clean(place)
    assert read_labeled_items(place).digest != digest
    out_of_sample, text = read_told(audit(place, model=own / "model").folder)
    assert len(evaluated) == out_of_sample["items"] > 20
    assert not training_ids & set(evaluated)
    assert out_of_sample["items_trained_on"] >= len(training_ids) > 50
    assert out_of_sample["training_items_known_by"] == "photographs"
    assert f"Left out: {out_of_sample['items_trained_on']:,} items whose photographs it was trained on." in text


def test_under_another_split_seed_no_learnt_item_is_judged(own: Path, evaluated: list[Any]) -> None:
    training_ids = list_training_ids(own)
    clean(own / "w", CleanConfig(split_seed=1))
    table = read_labeled_items(Workspace.at(own / "w")).table
    assert training_ids & set(table.filter(pl.col("split") == "test")["item_id"])
    audit(own / "w", model=own / "model")
    assert len(evaluated) > 20
    assert not training_ids & set(evaluated)


def test_a_photograph_that_was_compressed_again_counts_as_learnt(own: Path, evaluated: list[Any]) -> None:
    labelled = read_labeled_items(Workspace.at(own / "w"))
    train = labelled.of_split("train")["image_index"].to_numpy().astype(np.int64)
    known, before = hash_photographs(labelled.images, train), labelled.table.select("item_id", "pixel_hash")
    for path in sorted((own / "catalog" / "images").glob("*.jpg")):
        compress_again(path)
    prepare(own / "catalog", own / "w")
    clean(own / "w", CleanConfig(split_seed=1))
    labelled = read_labeled_items(Workspace.at(own / "w"))
    changed = before.join(labelled.table, on="item_id").select(pl.col("pixel_hash") != pl.col("pixel_hash_right"))
    assert changed.to_series().sum() > 0.9 * len(changed)
    out_of_sample, _ = read_told(audit(own / "w", model=own / "model").folder)
    rows = labelled.table.filter(pl.col("item_id").is_in(evaluated))["image_index"].to_numpy().astype(np.int64)
    nearest = np.bitwise_count(hash_photographs(labelled.images, rows).perceptual[:, None] ^ known.perceptual)
    assert len(rows) > 20
    assert nearest.min() > 1
    assert out_of_sample["items_trained_on"] > 0.6 * len(train)


def compress_again(path: Path) -> None:
    """Compress a photograph anew, if it is one: some of the catalogue's are damaged on purpose."""
    with suppress(OSError, Image.DecompressionBombError), Image.open(path) as image:
        image.convert("RGB").save(path, "JPEG", quality=95)


def test_a_model_that_does_not_say_is_told_as_such(own: Path, evaluated: list[Any]) -> None:
    description = read_json(own / "model" / "model.json")
    del description["seen"]
    write_json(own / "model" / "model.json", description)
    (own / "model" / FILE).unlink()
    training_ids = list_training_ids(own)
    # With the labels of the training, the splits tell which items the run was not trained on.
    out_of_sample, _ = read_told(audit(own / "w", model=own / "model").folder)
    assert out_of_sample["training_items_known_by"] == "splits"
    assert not training_ids & set(evaluated)
    clean(own / "w", CleanConfig(split_seed=1))
    out_of_sample, text = read_told(audit(own / "w", model=own / "model").folder)
    assert out_of_sample["training_items_known_by"] == "unknown"
    assert "It does not say what it was trained on" in text


def test_weights_of_unknown_history_are_told(own: Path) -> None:
    description = read_json(own / "model" / "model.json")
    description["seen"]["is_complete"] = False
    write_json(own / "model" / "model.json", description)
    out_of_sample, text = read_told(audit(own / "w", model=own / "model").folder)
    assert out_of_sample["training_items_known_by"] == "photographs, not all"
    assert "What its pretrained weights were trained on is not known." in text


def test_a_model_that_learnt_from_all_of_it_judges_nothing(own: Path, evaluated: list[Any]) -> None:
    place = Workspace.at(own / "w")
    table = read_labeled_items(place).table
    kept = table.filter(pl.col("split") == "train")["item_id"].to_list()
    path = own / "catalog" / "styles.csv"
    head, *lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join([head, *(line for line in lines if line.split(",")[0] in kept)]), encoding="utf-8")
    prepare(own / "catalog", own / "again")
    clean(own / "again")
    summary = read_json(audit(own / "again", model=own / "model").folder / "summary.json")
    assert (
        summary["not_applicable"]["label_error (image)"] == "The model was trained on every item that it could check."
    )
    assert not evaluated


def test_a_run_is_not_asked_about_what_it_learnt(own: Path, evaluated: list[Any]) -> None:
    training_ids = list_training_ids(own)
    out_of_sample, text = read_told(audit(own / "w", run_id="run").folder)
    assert evaluated
    assert not training_ids & set(evaluated)
    assert out_of_sample["items_trained_on"] == len(training_ids)
    assert "Left out: " in text


def test_the_fingerprints_are_those_that_clean_computed(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[int] = []

    def note(images: Pixels, **more: Any) -> Any:
        lengths.append(len(images))
        return compute_fingerprints(images, **more)

    monkeypatch.setattr("hangtag.labels.fingerprints.compute_fingerprints", note)
    found = audit(own / "w", model=own / "model").folder / "issues.csv"
    issues = found.read_bytes()
    assert not lengths
    # Labels of an earlier version have none.
    found.unlink()
    monkeypatch.setattr("hangtag.stages.audit.read_fingerprints", lambda *_: None)
    audit(own / "w", model=own / "model")
    assert lengths == [len(read_labeled_items(Workspace.at(own / "w")).images)]
    assert found.read_bytes() == issues
