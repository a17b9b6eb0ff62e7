"""The whole chain on a small drawn catalogue: every file that the design names, and nothing done twice."""

import functools
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from hangtag.demo_catalog.catalog import write_demo_catalog
from hangtag.io import read_json
from hangtag.results import StageResult
from hangtag.stages import pipeline

SETTINGS = {"epochs": 1, "batch_size": 16, "bootstrap_samples": 100, "sheet_items": 4, "workers": 1}
RUNS = ("capstone-color-0", "capstone-gray-0")
STAGES = ("prepare", "clean", "explore", "train", "evaluate", "predict", "report")
FILES = [
    "prepared/items.parquet",
    "prepared/images.npy",
    "prepared/rejected.csv",
    "labels/labels.parquet",
    "labels/label_changes.csv",
    "labels/styles_cleaned.csv",
    "labels/balance.json",
    "labels/class_counts.csv",
    "exploration/counts_masterCategory.csv",
    "exploration/counts_subCategory.csv",
    "exploration/counts_articleType.csv",
    "exploration/counts_Class.csv",
    "exploration/counts_split.csv",
    "exploration/sunburst_given.csv",
    "exploration/sunburst_given.html",
    "exploration/sunburst_Class.html",
    "exploration/contact_sheets.csv",
    "exploration/image_sizes.csv",
    "exploration/mean_pictures.png",
    "report.html",
]
RUN_FILES = [
    "model.safetensors",
    "model.json",
    "config.toml",
    "history.csv",
    "evaluation/report.json",
    "evaluation/report.md",
    "evaluation/classification_report.csv",
    "evaluation/confusion_matrix.csv",
    "evaluation/confusion_matrix.png",
    "evaluation/most_confused.csv",
    "evaluation/misclassified.csv",
    "evaluation/misclassified.png",
    "evaluation/training_curves.png",
    "evaluation/predictions.parquet",
    "predictions/predictions.csv",
    "predictions/predictions.parquet",
    "predictions/contact_sheet.png",
    "predictions/differences.csv",
]


class Demo:
    """A workspace that `demo` was run in twice, and what the stages said."""

    def __init__(self, workspace: Path) -> None:
        self.workspace = workspace
        self.told: list[StageResult] = []
        self.first = pipeline.demo(workspace, settings=SETTINGS, on_stage=self.told.append)
        self.times = {path: path.stat().st_mtime_ns for path in workspace.rglob("*") if path.is_file()}
        self.second = pipeline.demo(workspace, settings=SETTINGS)

    def read_csv(self, name: str) -> pl.DataFrame:
        return pl.read_csv(self.workspace / name, infer_schema=False)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    with pytest.MonkeyPatch.context() as patch:
        # A ninth of the usual size: the chain is what is tested here, not the accuracy.
        patch.setattr(pipeline, "write_demo_catalog", functools.partial(write_demo_catalog, items_per_kind=12))
        return Demo(tmp_path_factory.mktemp("demo"))


@pytest.mark.parametrize("name", [*FILES, *(f"runs/{run_id}/{name}" for run_id in RUNS for name in RUN_FILES)])
def test_every_file_of_the_design_is_there(demo: Demo, name: str) -> None:
    assert (demo.workspace / name).stat().st_size > 0


def test_every_stage_is_told_of_in_order_and_leaves_a_manifest(demo: Demo) -> None:
    stages = [result.stage for result in demo.told]
    assert demo.told == demo.first
    assert tuple(dict.fromkeys(stages)) == STAGES
    assert [stages.count(stage) for stage in ("train", "evaluate", "predict")] == [2, 2, 2]
    for result in demo.first:
        manifest = read_json(result.folder / "manifest.json")
        assert manifest["stage"] == result.stage
        assert manifest["counts"] == result.metrics
        assert not result.skipped


def test_a_second_run_skips_every_stage_and_touches_no_file(demo: Demo) -> None:
    assert [(result.stage, result.skipped) for result in demo.second] == [(result.stage, True) for result in demo.first]
    after = {path: path.stat().st_mtime_ns for path in demo.workspace.rglob("*") if path.is_file()}
    assert after == demo.times


def test_no_row_disappears_without_a_line(demo: Demo) -> None:
    rows = len((demo.workspace / "demo-catalog" / "styles.csv").read_text().splitlines()) - 1
    rejected = demo.read_csv("prepared/rejected.csv")
    changes = demo.read_csv("labels/label_changes.csv")
    cleaned = demo.read_csv("labels/styles_cleaned.csv")
    dropped = changes.filter(pl.col("rule") == "drop_rare")
    assert rows == len(rejected) + len(dropped) + len(cleaned)
    assert dropped["old"].to_list() == ["Home"]
    assert np.load(demo.workspace / "prepared/images.npy", mmap_mode="r").shape == (rows - len(rejected), 80, 60, 3)


def test_the_ambiguous_items_get_a_label_or_are_predicted(demo: Demo) -> None:
    labels = pl.read_parquet(demo.workspace / "labels" / "labels.parquet")
    unknown = set(labels.filter(pl.col("label") == "Unknown")["item_id"])
    assert "Free Items" not in set(labels["label"])
    assert unknown
    for run_id in RUNS:
        predictions = demo.read_csv(f"runs/{run_id}/predictions/predictions.csv")
        assert set(predictions["item_id"]) == unknown
        assert set(predictions["predicted_label"]) <= set(labels["label"]) - {"Unknown"}


def test_the_judgement_fits_the_splits(demo: Demo) -> None:
    labels = pl.read_parquet(demo.workspace / "labels" / "labels.parquet")
    sizes = dict(labels.filter(pl.col("split").is_not_null())["split"].value_counts().iter_rows())
    for run_id in RUNS:
        report = read_json(demo.workspace / "runs" / run_id / "evaluation" / "report.json")
        assert {split: figures["n"] for split, figures in report["splits"].items()} == sizes
        assert all(0 <= figures["accuracy"] <= 1 for figures in report["splits"].values())


def test_the_report_names_every_class_and_run_and_asks_no_network(demo: Demo) -> None:
    page = (demo.workspace / "report.html").read_text(encoding="utf-8")
    labels = pl.read_parquet(demo.workspace / "labels" / "labels.parquet")["label"].unique()
    assert all(label in page for label in labels)
    assert all(run_id in page for run_id in RUNS)
    assert not any(f'{attribute}="http' in page for attribute in ("src", "<link href"))
