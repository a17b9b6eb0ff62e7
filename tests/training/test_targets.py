"""Test the training targets: category paths, attributes and missing values."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hangtag.catalog.schema import CatalogSchema
from hangtag.errors import SettingsError
from hangtag.labels.dataset import UNKNOWN, LabeledItems
from hangtag.models.label_space import NO_VALUE
from hangtag.training import targets as module
from hangtag.training.targets import WordTargets, build_targets, encode_targets

SCHEMA = CatalogSchema(
    levels=("kind", "type"),
    attributes=("season", "year", "brand", "empty"),
    columns=("kind", "type", "season", "year", "brand", "empty"),
)
ROWS = [
    # kind, type, season, year, brand, label, split
    ("Wear", "Shirt", "Summer", "2012", "Acme", "Tops", "train"),
    ("Wear", "Tee", "Winter", "2013", "Acme", "Tops", "train"),
    ("Goods", "Bag", " n/a", "2012.0", "Acme", "Bags", "val"),
    ("Wear", "Shirt", None, "", "Acme", "Tops", "test"),
    ("Unknown", "Bag", "Summer", None, None, "Bags", "train"),
    # Values that occur only in items without a split are no classes.
    ("Gifts", "Free", "Monsoon", "2014", "Other", UNKNOWN, None),
    ("Wear", "Shirt", "Winter", "2012", "Acme", UNKNOWN, None),
]
COLUMNS = ("kind", "type", "season", "year", "brand", "label", "split")


def make_labelled(rows: Sequence[tuple[str | None, ...]] = ROWS, schema: CatalogSchema = SCHEMA) -> LabeledItems:
    table = pl.DataFrame(rows, schema=dict.fromkeys(COLUMNS, pl.String), orient="row").with_columns(empty=pl.lit("NA"))
    labels = table.filter(pl.col("split").is_not_null())["label"].unique().sort().to_list()
    return LabeledItems(table, np.zeros((0, 8, 6, 3), np.uint8), tuple(labels), schema, "digest")


def test_target_all_has_levels_label_and_categorical_attributes() -> None:
    label_space = build_targets(make_labelled()).label_space
    assert label_space.levels == {"kind": ("Goods", "Wear"), "type": ("Bag", "Shirt", "Tee"), "label": ("Bags", "Tops")}
    assert list(label_space.levels) == ["kind", "type", "label"]
    assert label_space.attributes == {"season": ("Summer", "Winter")}
    assert label_space.primary == "label"
    assert label_space.category_paths == ((NO_VALUE, 0, 0), (0, 0, 0), (1, 1, 1), (1, 2, 1))
    assert label_space.heads == {"category_path": 4, "attribute_0": 2}


def test_every_row_has_its_category_path_and_attributes() -> None:
    targets = build_targets(make_labelled())
    assert {head: classes.tolist() for head, classes in targets.classes.items()} == {
        "category_path": [2, 3, 1, 2, 0, NO_VALUE, NO_VALUE],
        "attribute_0": [0, 1, NO_VALUE, NO_VALUE, 0, NO_VALUE, 1],
    }
    assert {classes.dtype for classes in targets.classes.values()} == {np.dtype(np.int64)}


def test_a_category_path_has_the_values_of_its_items() -> None:
    labelled, targets = make_labelled(), build_targets(make_labelled())
    for row, product in zip(labelled.table.iter_rows(named=True), targets.classes["category_path"], strict=True):
        if product == NO_VALUE:
            assert row["split"] is None
            continue
        for level, names in targets.label_space.levels.items():
            place = targets.label_space.list_classes(level)[product]
            assert (names[place] if place != NO_VALUE else "Unknown") == row[level]


@pytest.mark.parametrize(
    ("target", "names", "classes"),
    [
        ("label", ("Bags", "Tops"), [1, 1, 0, 1, 0]),
        ("kind", ("Goods", "Wear"), [1, 1, 0, 1, NO_VALUE]),
        ("type", ("Bag", "Shirt", "Tee"), [1, 2, 0, 1, 0]),
        ("season", ("Summer", "Winter"), [0, 1, NO_VALUE, NO_VALUE, 0]),
    ],
)
def test_a_single_target_has_one_head(target: str, names: tuple[str, ...], classes: list[int]) -> None:
    targets = build_targets(make_labelled(), target)
    assert targets.label_space.levels == {target: names}
    assert (targets.label_space.attributes, targets.label_space.primary) == ({}, target)
    assert targets.label_space.class_names == names
    assert targets.label_space.category_paths == tuple((place,) for place in range(len(names)))
    assert list(targets.classes) == ["category_path"]
    assert targets.classes["category_path"][:5].tolist() == classes


@pytest.mark.parametrize("target", ["year", "brand", "empty", "split", "colour", "Label", ""])
def test_the_error_of_an_unknown_target_lists_the_known_ones(target: str) -> None:
    with pytest.raises(SettingsError) as caught:
        build_targets(make_labelled(), target)
    assert str(caught.value) == (
        f"The catalogue has no such target. Allowed: all, label, kind, type, season. Received: {target!r}."
    )


def test_an_attribute_with_names_and_numbers_is_categorical() -> None:
    rows = [(*row[:3], "M" if row[3] == "2013" else row[3], *row[4:]) for row in ROWS]
    assert build_targets(make_labelled(rows)).label_space.attributes["year"] == ("2012", "2012.0", "M")


def test_a_level_without_values_is_left_out() -> None:
    rows = [("NA", *row[1:]) for row in ROWS]
    assert list(build_targets(make_labelled(rows)).label_space.levels) == ["type", "label"]
    with pytest.raises(SettingsError, match=r"Allowed: all, label, type, season\."):
        build_targets(make_labelled(rows), "kind")


def test_levels_missing_from_the_table_are_skipped() -> None:
    schema = CatalogSchema(levels=("kind", "gone"))
    targets = build_targets(make_labelled(schema=schema))
    assert list(targets.label_space.levels) == ["kind", "label"]
    assert list(build_targets(make_labelled(schema=CatalogSchema())).label_space.levels) == ["label"]


def test_targets_do_not_depend_on_the_order_of_rows() -> None:
    forward, backward = build_targets(make_labelled()), build_targets(make_labelled(ROWS[::-1]))
    assert forward.label_space == backward.label_space
    for head, classes in forward.classes.items():
        np.testing.assert_array_equal(classes, backward.classes[head][::-1])


CLASSES = st.lists(st.integers(-1, 4), max_size=20).map(lambda classes: np.array(classes, np.int64))


@given(CLASSES, st.floats(0, 0.99))
def test_encoded_targets_add_up_to_one_or_are_zero(classes: Any, smoothing: float) -> None:
    wanted = encode_targets(
        {"category_path": classes, "attribute_0": classes}, {"category_path": 5, "attribute_0": 6}, smoothing
    )
    assert list(wanted) == ["category_path", "attribute_0"]
    for head, size in (("category_path", 5), ("attribute_0", 6)):
        probs = wanted[head]
        assert probs.shape == (len(classes), size)
        assert probs.dtype == np.float32
        has_value = classes != NO_VALUE
        np.testing.assert_allclose(probs[has_value].sum(axis=1), 1, atol=1e-5)
        assert not probs[~has_value].any()
        np.testing.assert_array_equal(probs[has_value].argmax(axis=1), classes[has_value])


def test_label_smoothing_is_spread_evenly() -> None:
    wanted = encode_targets({"category_path": np.array([2, NO_VALUE, 0])}, {"category_path": 4}, 0.2)["category_path"]
    spread = np.array([[0.05, 0.05, 0.85, 0.05], [0.0] * 4, [0.85, 0.05, 0.05, 0.05]])
    np.testing.assert_allclose(wanted, spread, rtol=1e-6)
    plain = encode_targets({"category_path": np.array([2])}, {"category_path": 4}, 0.0)["category_path"]
    assert plain.tolist() == [[0, 0, 1, 0]]


def test_frequent_words_of_names_have_equal_shares_of_a_target(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEAST_NAMES", 2)
    train = np.array([[1, 2, 0], [2, 4, 0], [4, 2, 3], [0, 0, 0]], np.int32)
    targets = WordTargets.choose(train)
    assert len(targets) == 2
    # Word 2 and word 4; words 1 and 3 are in one name, and word 9 in none.
    names = np.array([[2, 4, 1], [9, 4, 0], [1, 3, 0], [0, 0, 0]], np.int32)
    assert targets.encode(names).tolist() == [[0.5, 0.5], [0, 1], [0, 0], [0, 0]]
    monkeypatch.setattr(module, "MOST_WORDS", 1)
    assert WordTargets.choose(train).encode(names).tolist() == [[1], [0], [0], [0]]
    assert len(WordTargets.choose(None)) == len(WordTargets.choose(np.zeros((3, 2), np.int32))) == 0
