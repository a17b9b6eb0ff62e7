"""EvaluatedItems pairs items with predictions, split by split, and leaves out items without a true value."""

from pathlib import Path

import numpy as np
import polars as pl
from product_runs import BAGS, GIFTS, LABEL_SPACE, MEN, SHOES, WOMEN, ProductItem, spread, write_products

from hangtag.inference.prediction import HeadProbs
from hangtag.inference.runs import EvaluatedItems, find_classes, select_items
from hangtag.labels.dataset import read_labeled_items
from hangtag.models.label_space import CATEGORY_PATH, NO_VALUE, LabelSpace

ITEMS: list[ProductItem] = [
    ("Bags", "train", "Goods", "Men", BAGS, 0.9, BAGS, MEN),
    ("Shoes", "val", "Wear", "NA", SHOES, 0.9, SHOES, WOMEN),
    ("Bags", "train", "Goods", None, GIFTS, 0.9, BAGS, MEN),
    ("Unknown", None, "Goods", "Men", BAGS, 0.9, BAGS, MEN),
]


def answer(items: pl.DataFrame, products: list[int], genders: list[int]) -> EvaluatedItems:
    sure = np.full(len(items), 0.75)
    answers = {CATEGORY_PATH: spread(np.array(products), sure, 4), "attribute_0": spread(np.array(genders), sure, 2)}
    return EvaluatedItems(items, HeadProbs(LABEL_SPACE, answers))


def test_missing_and_unknown_values_have_no_class() -> None:
    assert find_classes(pl.Series(["b", None, "a", "z"]), ("a", "b")).tolist() == [1, NO_VALUE, 0, NO_VALUE]
    assert find_classes(pl.Series([2012, 2013]), ("2012", "2013")).tolist() == [0, 1]


def test_items_of_splits_keep_the_requested_order_and_leave_out_items_without_a_value(tmp_path: Path) -> None:
    labelled = read_labeled_items(write_products(tmp_path / "ws", ITEMS))
    assert select_items(labelled, LABEL_SPACE, ["val", "train"])["item_id"].to_list() == ["i1", "i0", "i2"]
    by_gender = LabelSpace.of_classes(("Men", "Women"), "gender")
    assert select_items(labelled, by_gender, ["train", "val"])["item_id"].to_list() == ["i0"]
    assert select_items(labelled, by_gender, ["val"]).is_empty()


def test_a_split_has_its_own_items_and_probabilities(tmp_path: Path) -> None:
    labelled = read_labeled_items(write_products(tmp_path / "ws", ITEMS))
    items = select_items(labelled, LABEL_SPACE, ["train", "val"])
    parts = answer(items, [BAGS, SHOES, SHOES], [MEN, MEN, WOMEN]).by_split()
    assert list(parts) == ["train", "val"]
    assert parts["train"].items["item_id"].to_list() == ["i0", "i2"]
    assert parts["train"].classes.tolist() == [0, 0]
    assert parts["train"].correct.tolist() == [True, False]
    assert parts["val"].correct.tolist() == [True]
    np.testing.assert_allclose(parts["val"].confidence, [0.75])


def test_the_table_has_the_prediction_of_every_column(tmp_path: Path) -> None:
    labelled = read_labeled_items(write_products(tmp_path / "ws", ITEMS))
    items = select_items(labelled, LABEL_SPACE, ["train", "val"])
    table = answer(items, [BAGS, GIFTS, SHOES], [MEN, WOMEN, WOMEN]).tabulate().drop("pred_probs", "image_index")
    assert table.columns[3:] == ["label", "predicted_label", "confidence", "predicted_kind", "predicted_gender"]
    # A gift has no kind.
    assert table.rows() == [
        ("i0", "train", "i0", "Bags", "Bags", 0.75, "Goods", "Men"),
        ("i2", "train", "i2", "Bags", "Gifts", 0.75, None, "Women"),
        ("i1", "val", "i1", "Shoes", "Shoes", 0.75, "Wear", "Women"),
    ]
