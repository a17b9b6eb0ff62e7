"""`evaluate` judges every run on every split asked for, and refuses what cannot be evaluated honestly."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image
from stub_runs import CLASS_NAMES, SCHEMA, Item, StubModel, patch_models, write_labels, write_run, write_workspace

from hangtag.config import EvaluateConfig
from hangtag.errors import LeakError, ModelError, WorkspaceError
from hangtag.io import read_json
from hangtag.labels.dataset import UNKNOWN, read_labeled_items
from hangtag.models.label_space import CATEGORY_PATH
from hangtag.stages.evaluate import evaluate
from hangtag.workspace import Workspace

QUICK = EvaluateConfig(bootstrap_samples=100)
ITEMS: list[Item] = [
    ("Bags", "train", "Bags", 0.9),
    ("Shoes", "train", "Shoes", 0.9),
    ("Tshirts", "train", "Tshirts", 0.9),
    ("Bags", "val", "Bags", 0.8),
    ("Bags", "val", "Shoes", 0.5),
    ("Bags", "val", "Shoes", 0.94),
    ("Shoes", "val", "Shoes", 0.7),
    (UNKNOWN, None, "Bags", 0.99),
    ("Shoes", "test", "Shoes", 0.7),
    ("Tshirts", "test", "Bags", 0.99),
]
FILES = {
    "report.json",
    "report.md",
    "classification_report.csv",
    "confusion_matrix.csv",
    "confusion_matrix.png",
    "confusion_matrix.html",
    "plotly.min.js",
    "most_confused.csv",
    "misclassified.csv",
    "misclassified.png",
    "class_sheets",
    "training_curves.png",
    "predictions.parquet",
    "levels.csv",
    "reliability.csv",
    "reliability.png",
    "coverage.csv",
    "coverage.png",
    "thresholds.csv",
    "manifest.json",
}


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    place = write_workspace(tmp_path / "ws", ITEMS)
    write_run(place, "one")
    return place


@pytest.fixture(autouse=True)
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[StubModel]:
    return patch_models(monkeypatch)


def read_report(place: Workspace) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    text = (place.evaluation("one") / "report.json").read_text()
    return json.loads(text, parse_constant=refuse)


def read(place: Workspace, name: str) -> pl.DataFrame:
    return pl.read_csv(place.evaluation("one") / name)


def test_the_report_has_every_figure_of_every_split(place: Workspace) -> None:
    [result] = evaluate(place, QUICK)
    report = read_report(place)
    assert (report["run_id"], report["label_name"], report["class_names"]) == ("one", "Class", list(CLASS_NAMES))
    assert list(report["splits"]) == ["train", "val", "test"]
    assert (report["target"], report["input"], report["logit_adjustment"]) == ("label", "photograph", 0)
    # The stub is not calibrated, and does not say how often each class was in training.
    assert (report["temperature"], report["thresholds"]) == (None, {})
    assert not {"photograph_alone", "adjustments"} & set(report)
    assert [figures["n"] for figures in report["splits"].values()] == [3, 4, 2]
    val = report["splits"]["val"]
    assert val["accuracy"] == 0.5
    assert val["top3_accuracy"] == 1
    # The two mistakes leave Bags half of 0.5 and half of 0.06.
    assert val["loss"] == pytest.approx(-sum(map(math.log, (0.8, 0.25, 0.03, 0.7))) / 4, rel=1e-5)
    bags = val["classes"]["Bags"]
    assert 0 <= bags.pop("f1_low") < 0.5 < bags.pop("f1_high") <= 1
    assert bags == pytest.approx({"precision": 1, "recall": 1 / 3, "f1": 0.5, "support": 3})
    nothing = {"precision": 0, "recall": 0, "f1": 0, "support": 0, "f1_low": None, "f1_high": None}
    assert val["classes"]["Tshirts"] == nothing
    assert val["macro_f1"] == pytest.approx(0.5)
    interval = val["confidence_interval"]
    assert (interval["level"], interval["samples"]) == (0.95, 100)
    assert 0 <= interval["accuracy"][0] < 0.5 < interval["accuracy"][1] <= 1
    assert result.metrics["val_accuracy"] == 0.5


def test_every_file_is_written_and_in_the_manifest(place: Workspace) -> None:
    evaluate(place, QUICK)
    folder = place.evaluation("one")
    assert {path.name for path in folder.iterdir()} == FILES
    assert {path.name for path in (folder / "class_sheets").iterdir()} == {f"{name}.png" for name in CLASS_NAMES}
    written = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert set(read_json(folder / "manifest.json")["outputs"]) == written - {"manifest.json"}
    for path in folder.rglob("*.png"):
        with Image.open(path) as picture:
            assert min(picture.size) > 50, path


def test_the_tables_have_the_columns_that_other_stages_read(place: Workspace) -> None:
    evaluate(place, QUICK)
    assert read(place, "confusion_matrix.csv").filter(pl.col("split") != "train").rows() == [
        ("Bags", "Bags", 1, "val"),
        ("Bags", "Shoes", 2, "val"),
        ("Shoes", "Shoes", 1, "val"),
        ("Shoes", "Shoes", 1, "test"),
        ("Tshirts", "Bags", 1, "test"),
    ]
    assert read(place, "most_confused.csv").rows() == [
        ("val", "Bags", "Shoes", 2, 0.6667),
        ("test", "Tshirts", "Bags", 1, 1.0),
    ]
    wrong = read(place, "misclassified.csv")
    assert wrong.columns == ["split", "item_id", "label", "predicted_label", "confidence", "title"]
    assert wrong.rows() == [
        ("test", "i9", "Tshirts", "Bags", 0.99, "Nice thing, 9"),
        ("val", "i5", "Bags", "Shoes", 0.94, "Nice thing, 5"),
        ("val", "i4", "Bags", "Shoes", 0.5, "Nice thing, 4"),
    ]
    classes = read(place, "classification_report.csv")
    columns = ["split", "class_index", "label", "precision", "recall", "f1", "support", "f1_low", "f1_high"]
    assert classes.columns == columns
    assert len(classes) == 9
    table = pl.read_parquet(place.evaluation("one") / "predictions.parquet")
    columns = ["item_id", "split", "group_id", "label", "predicted_label", "confidence", "pred_probs"]
    assert table.columns == columns
    assert table["item_id"].to_list() == ["i0", "i1", "i2", "i3", "i4", "i5", "i6", "i8", "i9"]
    assert table.schema["pred_probs"] == pl.List(pl.Float32)
    assert table["pred_probs"].list.max().to_list() == pytest.approx(table["confidence"].to_list())


def test_a_catalogue_without_names_has_no_column_for_them(tmp_path: Path) -> None:
    schema = SCHEMA.from_values({**SCHEMA.to_json(), "name": None})
    write_run(place := write_workspace(tmp_path / "nameless", ITEMS, schema=schema), "one")
    evaluate(place, QUICK)
    assert read(place, "misclassified.csv").columns[-1] == "confidence"


def test_the_network_sees_each_photograph_once(place: Workspace, loaded: list[StubModel]) -> None:
    evaluate(place, QUICK)
    [model] = loaded
    assert model.batch_sizes == [16]


@pytest.mark.parametrize("key", ["item_id", "pixel_hash", "group_id"])
def test_splits_that_leak_are_refused_before_anything_is_written(place: Workspace, key: str) -> None:
    table = read_labeled_items(place).table
    leaked = table.with_columns(pl.when(pl.col("split") == "val").then(pl.lit("i0")).otherwise(key).alias(key))
    write_labels(place, leaked)
    with pytest.raises(LeakError, match=rf"Received: {{'{key}': \['i0'\]}}\. Run `hangtag clean`"):
        evaluate(place, QUICK)
    assert not place.evaluation("one").exists()


def test_a_leak_is_refused_even_where_an_earlier_evaluation_would_do(place: Workspace) -> None:
    evaluate(place, QUICK)
    write_labels(place, read_labeled_items(place).table.with_columns(group_id=pl.lit("all")))
    with pytest.raises(LeakError):
        evaluate(place, QUICK)


def test_a_leak_into_a_split_that_is_not_asked_for_is_refused_too(place: Workspace) -> None:
    table = read_labeled_items(place).table
    in_test_or_train = pl.col("split").is_in(["test", "train"])
    write_labels(place, table.with_columns(group_id=pl.when(in_test_or_train).then(pl.lit("g")).otherwise("group_id")))
    with pytest.raises(LeakError, match="leak-group"):
        evaluate(place, EvaluateConfig(splits=("val",), bootstrap_samples=100))


def test_a_run_that_learnt_other_labels_is_refused(place: Workspace) -> None:
    table = read_labeled_items(place).table
    write_labels(place, table.with_columns(label=pl.col("label").replace("Tshirts", "Bags")))
    with pytest.raises(WorkspaceError, match=r"other labels.*'one'.*Run `hangtag train` again"):
        evaluate(place, QUICK)


def test_only_the_splits_asked_for_are_judged_each_once(place: Workspace) -> None:
    evaluate(place, EvaluateConfig(splits=("test", "train", "test"), bootstrap_samples=100))
    assert list(read_report(place)["splits"]) == ["test", "train"]
    assert read_report(place)["splits"]["test"]["n"] == 2
    # Without val, the last split is drawn.
    page = (place.evaluation("one") / "confusion_matrix.html").read_text()
    assert "one, train: 3 items" in page


def test_a_split_without_items_is_passed_over_and_said(tmp_path: Path) -> None:
    write_run(place := write_workspace(tmp_path / "small", [item for item in ITEMS if item[1] != "test"]), "one")
    [result] = evaluate(place, QUICK)
    assert list(read_report(place)["splits"]) == ["train", "val"]
    assert result.metrics["test_items"] == 0
    assert "not evaluated: test." in (place.evaluation("one") / "report.md").read_text()
    with pytest.raises(WorkspaceError, match="no items in the split test"):
        evaluate(place, EvaluateConfig(splits=("test",)))


def test_a_model_that_gives_no_numbers_is_refused(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = {CATEGORY_PATH: np.full((16, len(CLASS_NAMES)), np.nan, np.float32)}
    monkeypatch.setattr(StubModel, "predict_on_batch", lambda *_: nothing)
    with pytest.raises(ModelError, match="not finite"):
        evaluate(place, QUICK)
    assert not place.evaluation("one").exists()


def test_a_model_without_mistakes_can_be_judged(tmp_path: Path) -> None:
    items: list[Item] = [(label, split, label, 0.99) for label, split, *_ in ITEMS if split]
    write_run(place := write_workspace(tmp_path / "perfect", items), "one")
    evaluate(place, QUICK)
    low, high = read_report(place)["splits"]["val"]["confidence_interval"]["accuracy"]
    # So few items do not rule out mistakes on others.
    assert 0 < low < high == 1
    assert read(place, "misclassified.csv").is_empty()
    assert read(place, "most_confused.csv").is_empty()


def test_it_is_skipped_until_something_changes(place: Workspace, loaded: list[StubModel]) -> None:
    def call(config: EvaluateConfig = QUICK) -> list[tuple[str, bool]]:
        return [(result.folder.parent.name, result.skipped) for result in evaluate(place, config)]

    assert call() == [("one", False)]
    assert call() == [("one", True)]
    write_run(place, "two", shift=1)
    assert call() == [("one", True), ("two", False)]
    assert len(loaded) == 2
    write_run(place, "one", shift=2)
    assert call() == [("one", False), ("two", True)]
    assert call(EvaluateConfig(bootstrap_samples=101)) == [("one", False), ("two", False)]


def test_sheets_of_classes_that_are_no_more_are_taken_away(place: Workspace) -> None:
    evaluate(place, QUICK)
    write_labels(place, read_labeled_items(place).table.with_columns(label=pl.col("label").replace("Tshirts", "Bags")))
    write_run(place, "one")
    evaluate(place, QUICK)
    sheets = {path.name for path in (place.evaluation("one") / "class_sheets").iterdir()}
    assert sheets == {"Bags.png", "Shoes.png"}


def test_the_same_evaluation_gives_the_same_files(place: Workspace) -> None:
    evaluate(place, QUICK)
    folder = place.evaluation("one")
    before = read_json(folder / "manifest.json")["outputs"]
    (folder / "manifest.json").unlink()
    evaluate(place, QUICK)
    assert read_json(folder / "manifest.json")["outputs"] == before
