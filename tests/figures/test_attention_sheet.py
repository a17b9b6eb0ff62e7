"""Test the attention figure of a transformer and its table."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from hangtag.figures import errors as module
from hangtag.figures.errors import choose_items, draw_attention, save_attention, tabulate_attention
from hangtag.inference.classifier import Classifier
from hangtag.io import write_text
from hangtag.models.label_space import LabelSpace
from hangtag.models.registry import build_model
from hangtag.models.text import Vocabulary

CLASSES = ("Hat", "Shirt", "Shoe")
IMAGES = np.random.default_rng(0).integers(0, 256, (40, 20, 16, 3), dtype=np.uint8)


def make_items(labels: str) -> pl.DataFrame:
    count = len(labels)
    return pl.DataFrame(
        {
            "item_id": [f"i{number}" for number in range(count)],
            "image_index": range(count),
            "label": [{"h": "Hat", "s": "Shirt", "f": "Shoe"}[letter] for letter in labels],
            "predicted_label": ["Hat"] * count,
            "confidence": [0.5] * count,
        }
    )


def make_classifier(architecture: str, **more: Any) -> Classifier:
    model = build_model(architecture, image_size=(20, 16), heads={"category_path": 3}, color_mode="color", **more)
    return Classifier(model, LabelSpace.of_classes(CLASSES), (20, 16))


def test_every_class_is_shown_before_any_class_is_repeated() -> None:
    chosen = choose_items(make_items("sssshssf"), 5)
    assert chosen["item_id"].to_list() == ["i0", "i4", "i7", "i1", "i2"]
    assert len(choose_items(make_items("hs"), 5)) == 2


def test_the_highest_attention_is_coloured_and_the_lowest_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(module, "draw_contact_sheet", lambda pictures, *_, **__: drawn.extend(pictures))
    shares = np.full((2, 8, 6), 0.01)
    shares[0, 2, 4] = 0.3
    draw_attention(make_items("hs"), shares, np.full((2, 80, 60, 3), 255, np.uint8), "vit, val")
    heeded, even = (picture[:, 60:] for picture in drawn)
    np.testing.assert_array_equal(heeded[60:, :20], 255)
    assert heeded[25, 45].min() < 150
    # Where no place stands out, none is coloured.
    np.testing.assert_array_equal(even, 255)


def test_the_table_has_one_row_per_patch() -> None:
    table = tabulate_attention(make_items("hs"), np.arange(12).reshape(2, 2, 3) / 100)
    assert table.columns == ["item_id", "label", "predicted_label", "row", "column", "share"]
    assert table.row(5) == ("i0", "Hat", "Hat", 2, 3, 0.05)
    assert table.row(6) == ("i1", "Shirt", "Hat", 1, 1, 0.06)


def test_a_transformer_has_an_attention_figure_and_table(tmp_path: Path) -> None:
    items = make_items("hsfhsf")
    paths = save_attention(tmp_path, make_classifier("vit"), items, IMAGES, "vit-color-0, val")
    assert paths == [tmp_path / "attention.png", tmp_path / "attention.csv"]
    assert paths[0].stat().st_size > 1000
    table = pl.read_csv(paths[1])
    assert table.group_by("item_id").agg(pl.col("share").sum())["share"].to_numpy().round(3).tolist() == [1.0] * 6


def test_a_network_with_text_input_has_an_attention_figure(tmp_path: Path) -> None:
    plain = make_classifier("vit-stem", num_words=2)
    classifier = Classifier(plain.model, plain.label_space, plain.image_size, vocabulary=Vocabulary(("a", "b")))
    assert len(save_attention(tmp_path, classifier, make_items("hs"), IMAGES, "run, val")) == 2


def test_a_network_without_attention_has_no_figure_and_an_old_one_is_removed(tmp_path: Path) -> None:
    for name in ("attention.png", "attention.csv"):
        write_text(tmp_path / name, "of an earlier run")
    assert save_attention(tmp_path, make_classifier("residual-tiny"), make_items("hs"), IMAGES, "run, val") == []
    assert not list(tmp_path.iterdir())
