"""`evaluate` judges levels, attributes, names, thresholds and adjustments of a model that has them."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from product_runs import (
    BAGS,
    GIFTS,
    MEN,
    SHOES,
    TSHIRTS,
    WOMEN,
    ProductItem,
    patch_product_models,
    write_product_run,
    write_products,
)

from hangtag.config import EvaluateConfig
from hangtag.errors import ModelError, WorkspaceError
from hangtag.io import read_json
from hangtag.models.label_space import CATEGORY_PATH, LabelSpace
from hangtag.stages.evaluate import evaluate
from hangtag.workspace import Workspace

QUICK = EvaluateConfig(bootstrap_samples=100)
ITEMS: list[ProductItem] = [
    ("Bags", "train", "Goods", "Men", BAGS, 0.97, BAGS, MEN),
    ("Bags", "val", "Goods", "Men", BAGS, 0.97, SHOES, MEN),
    ("Shoes", "val", "Wear", "NA", TSHIRTS, 0.7, TSHIRTS, WOMEN),
    ("Shoes", "val", "Wear", "Women", SHOES, 0.91, SHOES, MEN),
    ("Tshirts", "val", "Wear", None, GIFTS, 0.4, TSHIRTS, WOMEN),
    ("Unknown", None, "Goods", "Men", BAGS, 0.9, BAGS, MEN),
]
CALIBRATION = {
    "photograph": {"temperatures": {CATEGORY_PATH: 1.0}, "thresholds": {"0.9": 0.5}},
    "photograph_and_name": {
        "temperatures": {CATEGORY_PATH: 1.0, "attribute_0": 2.0},
        "thresholds": {"0.9": 0.6, "0.95": 0.9, "0.99": None},
    },
}
TRAIN_COUNTS = {CATEGORY_PATH: [64, 4, 64, 64], "attribute_0": [9, 1]}
NAMED: dict[str, Any] = {"words": ["nice"], "calibration": CALIBRATION, "train_counts": TRAIN_COUNTS}
GENDER = LabelSpace.of_classes(("Men", "Women"), "gender")


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    return write_products(tmp_path / "ws", ITEMS)


@pytest.fixture(autouse=True)
def _models(monkeypatch: pytest.MonkeyPatch) -> None:
    patch_product_models(monkeypatch)


def compute_interval_metrics(place: Workspace, config: EvaluateConfig = QUICK) -> Any:
    evaluate(place, config)
    return read_json(place.evaluation("one") / "report.json")


def read(place: Workspace, name: str) -> pl.DataFrame:
    return pl.read_csv(place.evaluation("one") / name)


def test_a_model_that_reads_names_is_judged_with_them_and_from_photographs_alone(place: Workspace) -> None:
    write_product_run(place, "one", **NAMED)
    report = compute_interval_metrics(place)
    assert (report["target"], report["input"], report["temperature"]) == ("label", "photograph and name", 1)
    assert report["splits"]["val"]["accuracy"] == 0.5
    alone = report["photograph_alone"]["splits"]
    assert list(alone) == ["train", "val"]
    # The first bag is taken for shoes without its name, and the T-shirt is found.
    assert alone["val"]["accuracy"] == 0.5
    assert alone["val"]["macro_f1"] == pytest.approx((0 + 2 / 4 + 2 / 3) / 3)
    assert list(alone["val"]) == [key for key in report["splits"]["val"] if key != "classes"]
    # Tables and pictures are of the main figures.
    assert read(place, "misclassified.csv")["predicted_label"].to_list() == ["Tshirts", "Gifts"]
    assert "## Without product names" in (place.evaluation("one") / "report.md").read_text()


def test_a_model_that_reads_no_names_is_judged_once(place: Workspace) -> None:
    write_product_run(place, "one")
    report = compute_interval_metrics(place)
    assert report["input"] == "photograph"
    assert "photograph_alone" not in report
    assert report["splits"]["val"]["macro_f1"] == pytest.approx((0 + 2 / 4 + 2 / 3) / 3)


def test_levels_and_attributes_are_in_the_report_the_table_and_the_predictions(place: Workspace) -> None:
    write_product_run(place, "one", **NAMED)
    val = compute_interval_metrics(place)["levels"]["val"]
    assert {column: (each["kind"], each["n"], each["accuracy"]) for column, each in val.items()} == {
        "kind": ("level", 4, 0.75),
        "label": ("label", 4, 0.5),
        "gender": ("attribute", 2, 0.5),
    }
    table = read(place, "levels.csv")
    assert table.filter(pl.col("split") == "val")["column"].to_list() == ["kind", "label", "gender"]
    row = table.row(2, named=True)
    assert {key: row[key] for key in ("split", "column", "kind", "n", "num_classes", "frequent_classes")} == {
        "split": "train",
        "column": "gender",
        "kind": "attribute",
        "n": 1,
        "num_classes": 2,
        "frequent_classes": 0,
    }
    predictions = pl.read_parquet(place.evaluation("one") / "predictions.parquet")
    assert predictions.columns[-3:] == ["pred_probs", "predicted_kind", "predicted_gender"]
    assert predictions["predicted_kind"].to_list() == ["Goods", "Goods", "Wear", "Wear", None]
    assert predictions["predicted_gender"].to_list() == ["Men", "Men", "Women", "Men", "Women"]


def test_the_models_thresholds_are_measured_for_what_it_read(place: Workspace) -> None:
    write_product_run(place, "one", **NAMED)
    thresholds = compute_interval_metrics(place)["thresholds"]
    assert {wanted: found["threshold"] for wanted, found in thresholds.items()} == {
        "0.9": 0.6,
        "0.95": 0.9,
        "0.99": None,
    }
    # Sure of 0.97, 0.91 and 0.7, the last of them wrong.
    assert thresholds["0.9"]["splits"]["val"] == {"coverage": 0.75, "precision": pytest.approx(2 / 3)}
    assert thresholds["0.95"]["splits"] == {
        "train": {"coverage": 1, "precision": 1},
        "val": {"coverage": 0.5, "precision": 1},
    }
    assert read(place, "thresholds.csv").rows()[-1] == (0.99, None, "val", 0.0, None)
    coverage = read(place, "coverage.csv")
    assert coverage.columns == ["split", "threshold", "coverage", "precision", "precision_low"]
    assert coverage.filter(pl.col("split") == "val")["precision"].to_list() == pytest.approx([1 / 2, 2 / 3, 1, 1])
    reliability = read(place, "reliability.csv")
    assert reliability.columns == ["split", "low", "high", "n", "confidence", "accuracy"]
    assert reliability.filter(pl.col("split") == "val")["accuracy"].to_list() == [0, 0, 1, 1]


def test_an_adjustment_is_applied_and_what_others_would_give_is_told(place: Workspace) -> None:
    write_product_run(place, "one", **NAMED)
    report = compute_interval_metrics(place, EvaluateConfig(bootstrap_samples=100, logit_adjustment=0.75))
    assert report["logit_adjustment"] == 0.75
    # Shoes of 0.1 become likelier than T-shirts of 0.7: 0.1 / 4 ** 0.75 is more than 0.7 / 64 ** 0.75.
    assert report["splits"]["val"]["accuracy"] == 0.75
    # Without names all four are then shoes.
    assert report["photograph_alone"]["splits"]["val"]["macro_f1"] == pytest.approx((0 + 4 / 6 + 0) / 3)
    train = report["splits"]["train"]["loss"]
    plain = compute_interval_metrics(place)
    assert (plain["logit_adjustment"], plain["adjustments"]) == (0, report["adjustments"])
    assert train > plain["splits"]["train"]["loss"]
    table = read(place, "logit_adjustment.csv")
    assert table.columns == ["split", "strength", "accuracy", "macro_f1"]
    assert table["split"].unique().to_list() == ["val"]
    assert table["accuracy"].to_list() == [0.5, 0.5, 0.5, 0.5, 0.75, 0.75]
    assert [row["accuracy"] for row in plain["adjustments"]] == table["accuracy"].to_list()


def test_a_model_that_does_not_count_its_classes_cannot_be_adjusted(place: Workspace) -> None:
    write_product_run(place, "one", **NAMED)
    evaluate(place, QUICK)
    folder = place.evaluation("one")
    assert (folder / "logit_adjustment.csv").is_file()
    write_product_run(place, "one")
    with pytest.raises(ModelError, match=r"no training counts of the classes.*Leave out --logit-adjustment"):
        evaluate(place, EvaluateConfig(bootstrap_samples=100, logit_adjustment=0.5))
    # The table of the earlier model is taken away.
    evaluate(place, QUICK)
    assert not (folder / "logit_adjustment.csv").exists()
    assert "logit_adjustment.csv" not in read_json(folder / "manifest.json")["outputs"]


def test_a_run_for_an_attribute_goes_by_it_and_leaves_items_without_it_out(place: Workspace) -> None:
    write_product_run(place, "one", GENDER)
    report = compute_interval_metrics(place)
    assert (report["target"], report["label_name"], report["class_names"]) == ("gender", "gender", ["Men", "Women"])
    assert {split: (each["n"], each["accuracy"]) for split, each in report["splits"].items()} == {
        "train": (1, 1),
        "val": (2, 0.5),
    }
    assert {column: each["kind"] for column, each in report["levels"]["val"].items()} == {"gender": "attribute"}
    predictions = pl.read_parquet(place.evaluation("one") / "predictions.parquet")
    assert predictions.select("item_id", "label", "predicted_label").rows() == [
        ("i0", "Men", "Men"),
        ("i1", "Men", "Men"),
        ("i3", "Women", "Men"),
    ]
    assert predictions.columns[-1] == "pred_probs"
    assert read(place, "misclassified.csv")["label"].to_list() == ["Women"]
    sheets = {path.name for path in (place.evaluation("one") / "class_sheets").iterdir()}
    assert sheets == {"Men.png", "Women.png"}


def test_a_split_without_a_value_of_the_attribute_cannot_be_judged(tmp_path: Path) -> None:
    items = [ITEMS[0], *(item for item in ITEMS[1:] if item[3] in ("NA", None))]
    write_product_run(place := write_products(tmp_path / "few", items), "one", GENDER)
    [result] = evaluate(place, QUICK)
    assert result.metrics["val_items"] == 0
    with pytest.raises(WorkspaceError, match="no items with a value of gender in the split val"):
        evaluate(place, EvaluateConfig(splits=("val",)))
