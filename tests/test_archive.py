"""Test that the stages give the capstone's exact results on the real catalogue."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from hangtag.catalog.prepared_items import read_prepared
from hangtag.config import CleanConfig
from hangtag.io import read_json
from hangtag.labels.dataset import read_labeled_items
from hangtag.presets import PRESETS
from hangtag.settings import resolve
from hangtag.stages.clean import clean
from hangtag.stages.prepare import prepare
from hangtag.stages.train import train
from hangtag.train_config import TrainConfig
from hangtag.workspace import Workspace

REFERENCE = Path(__file__).resolve().parents[2] / "shared" / "reference"
pytestmark = pytest.mark.archive


@pytest.fixture(scope="module")
def workspace(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("archive") / "w"
    prepare(archive, place)
    clean(place, resolve(CleanConfig, PRESETS["capstone"]))
    return place


def test_every_row_is_read_and_five_lack_a_photograph(workspace: Path) -> None:
    manifest = read_json(workspace / "prepared" / "manifest.json")
    assert manifest["counts"] == {"rows": 44_446, "items": 44_441, "rejected": 5, "repaired_rows": 22}
    assert {"23124", "23127"} <= set(manifest["repaired_item_ids"])
    rejected = pl.read_csv(workspace / "prepared" / "rejected.csv", infer_schema=False)
    assert sorted(rejected["item_id"]) == ["12347", "39401", "39403", "39410", "39425"]
    assert set(rejected["code"]) == {"missing_photograph"}


def test_unusual_values_are_kept(workspace: Path) -> None:
    prepared = read_prepared(Workspace.at(workspace))
    items = prepared.items
    assert prepared.images.shape == (44_441, 80, 60, 3)
    assert dict(items["image_mode"].value_counts().iter_rows()) == {"RGB": 44_010, "L": 431}
    assert items.filter((pl.col("image_width") != 60) | (pl.col("image_height") != 80)).height == 23
    names = items.filter(pl.col("item_id").is_in(["7491", "7497"]))["productDisplayName"]
    assert all(name.count('"') == 1 for name in names)
    assert (items["usage"] == "NA").sum() == 316
    white = items.with_row_index().filter(pl.col("item_id") == "44998")["index"][0]
    assert (prepared.images[white] == 255).all()


def test_the_class_counts_equal_the_capstones(workspace: Path) -> None:
    counts = pl.read_csv(workspace / "labels" / "class_counts.csv").sort("label")
    wanted = pl.read_csv(REFERENCE / "capstone_class_counts.csv").sort("label")
    assert counts.rows() == wanted.rows()
    table = pl.read_csv(workspace / "labels" / "styles_cleaned.csv", infer_schema=False)
    assert table.shape == (44_440, 11)
    changes = pl.read_csv(workspace / "labels" / "label_changes.csv", infer_schema=False)
    assert dict(changes["rule"].value_counts().iter_rows()) == {"relabel": 105, "drop_rare": 1}
    assert (changes["new"] == "Unknown").sum() == 26


def test_the_balance_equals_the_capstones(workspace: Path) -> None:
    balance = read_json(workspace / "labels" / "balance.json")
    levels = ("masterCategory", "subCategory", "articleType")
    raw, cleaned = (balance[rows]["columns"] for rows in ("raw", "cleaned"))
    assert [round(raw[level]["balance"], 3) for level in levels] == [0.618, 0.640, 0.730]
    assert [raw[level]["num_values"] for level in levels] == [7, 45, 142]
    assert [round(cleaned[level]["balance"], 3) for level in (*levels, "Class")] == [0.671, 0.644, 0.731, 0.815]
    assert (balance["raw"]["n"], balance["cleaned"]["n"]) == (44_441, 44_440)


def test_splits_are_stratified_and_keep_duplicates_together(workspace: Path) -> None:
    table = read_labeled_items(Workspace.at(workspace)).table
    shares = dict(table["split"].drop_nulls().value_counts(normalize=True).iter_rows())
    assert [shares[split] for split in ("train", "val", "test")] == pytest.approx([0.72, 0.18, 0.10], abs=0.002)
    for key in ("group_id", "pixel_hash"):
        assert table.drop_nulls("split").group_by(key).agg(pl.col("split").n_unique())["split"].max() == 1
    known = table.filter(pl.col("label") != "Unknown")
    assert set(known.group_by("label").agg(pl.col("split").n_unique())["split"]) == {3}


def test_pixel_identical_photographs_and_their_conflicts(workspace: Path) -> None:
    table = pl.read_parquet(workspace / "labels" / "labels.parquet")
    columns = ["baseColour", "articleType", "masterCategory"]
    groups = table.group_by("pixel_hash").agg(pl.len(), *[pl.col(column).n_unique() for column in columns])
    groups = groups.filter(pl.col("len") > 1)
    assert (len(groups), groups["len"].sum(), groups["len"].max()) == (653, 1433, 4)
    assert [int((groups[column] > 1).sum()) for column in columns] == [53, 7, 4]


def test_the_names_matcher_resolves_most_free_items(workspace: Path, tmp_path: Path) -> None:
    (tmp_path / "prepared").symlink_to(workspace / "prepared")
    result = clean(tmp_path, CleanConfig())
    assert result.metrics["relabelled"] + result.metrics["unknown"] == 105
    assert result.metrics["relabelled"] >= 95
    figures = read_json(tmp_path / "labels" / "manifest.json")["names_matcher"]
    assert figures["accuracy"] > 0.97
    assert figures["precision"] > 0.99
    changes = pl.read_csv(tmp_path / "labels" / "label_changes.csv", infer_schema=False)
    new = dict(changes.select("item_id", "new").iter_rows())
    assert new["28347"] == "Eyewear"
    assert new["37701"] == "Bags"
    assert new["49696"] == "Ties"


def test_a_short_training_is_much_better_than_chance(workspace: Path, tmp_path: Path) -> None:
    (tmp_path / "prepared").symlink_to(workspace / "prepared")
    clean(tmp_path, resolve(CleanConfig, PRESETS["capstone"], {"sample": 2500}))
    result = train(tmp_path, resolve(TrainConfig, PRESETS["quick"], {"epochs": 2, "batch_size": 32}))
    labels = read_labeled_items(Workspace.at(tmp_path)).of_split("val")["label"]
    commonest = float(np.max(labels.value_counts()["count"].to_numpy()) / len(labels))
    assert result.metrics["val_accuracy"] > 2 * commonest
