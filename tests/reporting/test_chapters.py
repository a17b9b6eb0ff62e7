"""Test the values that the chapters of the report compute."""

from pathlib import Path

import polars as pl
import pytest
from fake_workspace import COLOR, GRAY, HOSTILE, build_workspace
from stub_runs import finish_again

from hangtag.io import write_parquet
from hangtag.reporting.data_chapters import build_labels, build_sources, build_splits
from hangtag.reporting.evaluation_chapter import build_evaluation, choose_split, find_worst_class
from hangtag.reporting.inputs import read_capstone, read_inputs
from hangtag.reporting.model_chapters import align_layers, build_architecture, build_predictions
from hangtag.stages.report import render_page


def test_columns_have_their_roles(tmp_path: Path) -> None:
    chapter = build_sources(read_inputs(build_workspace(tmp_path, ()).workspace))
    roles = {column["name"]: (column["role"], column["values"]) for column in chapter["columns"]}
    assert roles == {
        "id": ("id", 53),
        "group": ("label level 1 of 2", 1),
        "kind": ("label level 2 of 2", 5),
        "title": ("name", 53),
    }
    assert chapter["sizes"] == [{"image_width": 6, "image_height": 8, "image_mode": "RGB", "count": 53}]


def test_changes_are_divided_into_relabelled_and_unknown(tmp_path: Path) -> None:
    chapter = build_labels(read_inputs(build_workspace(tmp_path, ()).workspace))
    assert [(row["item_id"], row["new"], row["score"]) for row in chapter["relabelled"]] == [("7", HOSTILE, 0.75)]
    assert chapter["relabelled"][0]["name"] == f"{HOSTILE} of <b>make</b> 7"
    assert [row["item_id"] for row in chapter["unknown"]] == ["50", "51", "52"]
    assert [rule["rule"] for rule in chapter["rules"]] == ["start", "drop_rare"]


def test_items_without_a_delivered_label_are_counted(tmp_path: Path) -> None:
    workspace = build_workspace(tmp_path, ()).workspace
    path = workspace.labels / "label_changes.csv"
    header, *lines = path.read_text().splitlines()
    own = dict.fromkeys(header.split(","), "") | {
        "item_id": "3",
        "column": "Class",
        "new": "Unknown",
        "rule": "missing",
    }
    path.write_text("\n".join([header, *lines, ",".join(own.values())]))
    finish_again(workspace.labels)
    inputs = read_inputs(workspace)
    assert (build_labels(inputs)["num_missing"], build_labels(inputs)["num_unknown"]) == (1, 3)
    assert "1 item has no kind in the catalogue, and no other level" in render_page(inputs)


def test_missing_rules_are_no_error(tmp_path: Path) -> None:
    fake = build_workspace(tmp_path, ())
    fake.finish_stage("clean", fake.workspace.labels, {"taxonomy": "gone.toml", "matcher": "names"}, {})
    assert build_labels(read_inputs(fake.workspace))["rules"] == []


def test_splits_are_counted(tmp_path: Path) -> None:
    chapter = build_splits(read_inputs(build_workspace(tmp_path, ()).workspace))
    assert [(part["split"], part["n"]) for part in chapter["sizes"]] == [("train", 30), ("val", 10), ("test", 10)]
    assert chapter["num_outside"] == 3
    assert all(row["counts"] == [6, 2, 2] for row in chapter["classes"])
    assert chapter["duplicates"]["groups"] == chapter["duplicates"]["same_pixel_groups"] == 1
    assert chapter["duplicates"]["on_two_sides"] == 0


def test_a_group_in_two_splits_is_counted(tmp_path: Path) -> None:
    fake = build_workspace(tmp_path, ())
    path = fake.workspace.labels / "labels.parquet"
    table = pl.read_parquet(path)
    # Items 0 (train) and 9 (test) of the first class.
    moved = pl.when(pl.col("item_id") == "9").then(pl.lit("0")).otherwise(pl.col("group_id"))
    write_parquet(path, table.with_columns(group_id=moved))
    fake.finish_stage("clean", fake.workspace.labels, {"taxonomy": "", "matcher": "names"}, {})
    assert build_splits(read_inputs(fake.workspace))["duplicates"]["on_two_sides"] == 1


def test_equal_networks_are_described_once(tmp_path: Path) -> None:
    runs = [COLOR, GRAY, ("capstone-color-1", "color", 1)]
    chapter = build_architecture(read_inputs(build_workspace(tmp_path, ("train",), runs).workspace))
    assert [network["run_ids"] for network in chapter["networks"]] == [
        ["capstone-color-0", "capstone-color-1"],
        ["capstone-gray-0"],
    ]
    assert chapter["training"][0]["minutes"] == 2
    assert chapter["training"][0]["images_per_second"] == 310


def test_layers_are_matched_by_type() -> None:
    own = [{"type": kind} for kind in ("InputLayer", "Rescaling", "Conv2D", "BatchNormalization", "Conv2D")]
    aligned = align_layers(own, read_capstone()["architecture"]["layers"])
    assert [layer["capstone"] and layer["capstone"]["parameters"] for layer in aligned] == [None, None, 896, 128, 9248]
    assert [layer["capstone"] for layer in align_layers(own, [])] == [None] * 5


def test_details_are_of_the_split_that_the_pictures_show() -> None:
    assert choose_split({"splits": {"train": 1, "val": 2, "test": 3}}) == "val"
    assert choose_split({"splits": {"test": 1, "train": 2}}) == "train"


def test_worst_class_has_items() -> None:
    classes = {"a": {"f1": 0.5, "support": 9}, "b": {"f1": 0.5, "support": 9}, "c": {"f1": 0.0, "support": 0}}
    assert find_worst_class(classes) == "a"


def test_means_of_the_report_count_only_classes_with_items(tmp_path: Path) -> None:
    chapter = build_evaluation(read_inputs(build_workspace(tmp_path, runs=[COLOR]).workspace))
    (run,) = chapter["runs"]
    assert [part["split"] for part in run["reports"]] == ["val", "test"]
    assert run["reports"][0]["macro"] == [pytest.approx(0.9), pytest.approx(0.8), 0.6]
    assert run["worst"]["label"] == "Watches"
    assert [pair["predicted_label"] for pair in run["pairs"]] == [HOSTILE] * 4


def test_items_that_runs_differ_on_come_first(tmp_path: Path) -> None:
    chapter = build_predictions(read_inputs(build_workspace(tmp_path).workspace))
    (table,) = chapter["tables"]
    assert [(row["item_id"], row["differs"]) for row in table["rows"]] == [("51", True), ("52", True), ("50", False)]
    assert table["rows"][0]["cells"] == [("Bags", 0.51), ("Watches", 0.51)]
    assert (table["num_rows"], table["num_differing"], chapter["num_unknown"]) == (3, 2, 3)
