"""Test the metrics of levels and attributes, over all classes and the frequent ones."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from product_runs import (
    BAGS,
    GIFTS,
    LABEL_SPACE,
    MEN,
    SHOES,
    TSHIRTS,
    WOMEN,
    ProductItem,
    spread,
    write_products,
)

from hangtag.inference.prediction import HeadProbs
from hangtag.inference.runs import EvaluatedItems
from hangtag.labels.dataset import read_labeled_items
from hangtag.metrics.classification import count_items, evaluate_column, evaluate_levels, find_kind, tabulate_levels
from hangtag.models.label_space import CATEGORY_PATH, NO_VALUE

COLUMNS = [
    "split",
    "column",
    "kind",
    "n",
    "num_classes",
    "accuracy",
    "accuracy_low",
    "accuracy_high",
    "macro_f1",
    "macro_f1_low",
    "macro_f1_high",
    "frequent_classes",
    "frequent_n",
    "frequent_accuracy",
    "frequent_macro_f1",
]
ITEMS: list[ProductItem] = [
    *[("Bags", "train", "Goods", "Men", BAGS, 0.9, BAGS, MEN)] * 9,
    ("Shoes", "train", "Wear", "Women", SHOES, 0.9, SHOES, WOMEN),
    ("Bags", "val", "Goods", "Men", BAGS, 0.9, BAGS, MEN),
    ("Shoes", "val", "Wear", "NA", TSHIRTS, 0.9, TSHIRTS, WOMEN),
    ("Tshirts", "val", "Wear", None, GIFTS, 0.9, GIFTS, WOMEN),
    ("Unknown", None, "Goods", "Men", BAGS, 0.9, BAGS, MEN),
]


def test_the_metrics_of_a_column_equal_values_computed_by_hand() -> None:
    classes, predicted = np.array([0, 0, 1, 2]), np.array([0, 1, 1, NO_VALUE])
    counts = np.array([20, 10, 9])
    figures = evaluate_column(classes, predicted, list("abcd"), counts, samples=200, seed=0)
    assert (figures["n"], figures["num_classes"], figures["accuracy"]) == (4, 3, 0.5)
    # Classes 0 and 1 have an F1 of 2/3, class 2 was never found.
    assert figures["macro_f1"] == pytest.approx(4 / 9)
    assert 0 <= figures["accuracy_low"] < 0.5 < figures["accuracy_high"] <= 1
    assert 0 <= figures["macro_f1_low"] < 4 / 9 < figures["macro_f1_high"] <= 1
    # 10 items make a class frequent, 9 do not.
    assert (figures["frequent_classes"], figures["frequent_n"]) == (2, 3)
    assert (figures["frequent_accuracy"], figures["frequent_macro_f1"]) == pytest.approx((2 / 3, 2 / 3))


def test_items_of_rare_classes_are_false_positives_of_frequent_classes() -> None:
    figures = evaluate_column(np.array([0, 1]), np.array([0, 0]), ["a", "b"], np.array([50, 1]), samples=100, seed=0)
    assert figures["frequent_accuracy"] == 1
    assert figures["frequent_macro_f1"] == pytest.approx(2 / 3)


def test_without_items_of_frequent_classes_their_metrics_are_none() -> None:
    figures = evaluate_column(np.array([1]), np.array([1]), ["a"], np.array([50, 1]), samples=100, seed=0)
    assert figures["frequent_n"] == 0
    assert figures["frequent_accuracy"] is figures["frequent_macro_f1"] is None


def answer(items: pl.DataFrame, products: list[int], genders: list[int]) -> dict[str, EvaluatedItems]:
    sure = np.full(len(items), 0.9)
    answers = {CATEGORY_PATH: spread(np.array(products), sure, 4), "attribute_0": spread(np.array(genders), sure, 2)}
    return EvaluatedItems(items, HeadProbs(LABEL_SPACE, answers)).by_split()


def test_every_level_and_attribute_is_evaluated_where_its_value_is_known(tmp_path: Path) -> None:
    labelled = read_labeled_items(write_products(tmp_path / "ws", ITEMS))
    items = labelled.table.filter(labelled.table["split"].is_not_null())
    parts = answer(items, [item[4] for item in ITEMS if item[1]], [item[7] for item in ITEMS if item[1]])
    levels = evaluate_levels(parts, labelled, samples=100, seed=0)
    assert [(split, list(columns)) for split, columns in levels.items()] == [
        ("train", ["kind", "label", "gender"]),
        ("val", ["kind", "label", "gender"]),
    ]
    val = levels["val"]
    assert [val[column]["kind"] for column in val] == ["level", "label", "attribute"]
    # Shoes taken for Tshirts are wear all the same; a gift's missing kind is wrong; one gender of three is known.
    assert {column: (figures["n"], figures["accuracy"]) for column, figures in val.items()} == {
        "kind": (3, pytest.approx(2 / 3)),
        "label": (3, pytest.approx(1 / 3)),
        "gender": (1, 1),
    }
    # Ten bags in train and val together, and the Unknown one does not count.
    assert val["label"]["frequent_classes"] == 1
    assert (val["label"]["frequent_n"], val["label"]["frequent_accuracy"]) == (1, 1)
    table = tabulate_levels(levels)
    assert table.columns == COLUMNS
    assert table.select("split", "column").rows() == [(split, column) for split in levels for column in levels[split]]


def test_a_column_without_known_values_in_a_split_is_left_out_there(tmp_path: Path) -> None:
    items = [*ITEMS[:10], *ITEMS[11:]]
    labelled = read_labeled_items(write_products(tmp_path / "ws", items))
    table = labelled.table.filter(labelled.table["split"] == "val")
    assert list(evaluate_levels(answer(table, [BAGS] * 2, [MEN] * 2), labelled, samples=100, seed=0)["val"]) == [
        "kind",
        "label",
    ]


def test_classes_are_counted_over_all_splits_and_columns_have_kinds(tmp_path: Path) -> None:
    labelled = read_labeled_items(write_products(tmp_path / "ws", ITEMS))
    assert count_items(labelled, "label", LABEL_SPACE.class_names).tolist() == [10, 0, 2, 1]
    assert count_items(labelled, "gender", ("Men", "Women")).tolist() == [10, 1]
    assert [find_kind(labelled, column) for column in ("type", "label", "gender")] == ["level", "label", "attribute"]
