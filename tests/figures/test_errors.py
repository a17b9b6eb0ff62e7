"""Test the contact sheets of errors and of classes."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from hangtag.figures.errors import draw_class, draw_misclassified

IMAGES = np.arange(60, dtype=np.uint8)[:, None, None, None] * np.ones((1, 8, 6, 3), np.uint8)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Note what is handed over to be drawn."""
    calls: list[dict[str, Any]] = []

    def draw(images: list[Any], captions: list[str], **more: Any) -> Image.Image:
        calls.append({"rows": [int(image[0, 0, 0]) for image in images], "captions": captions, **more})
        return Image.new("RGB", (4, 4))

    monkeypatch.setattr("hangtag.figures.errors.draw_contact_sheet", draw)
    return calls


def make_items(rows: list[tuple[int, str, str, float]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=["image_index", "label", "predicted_label", "confidence"], orient="row")


def test_captions_of_errors_have_label_prediction_and_confidence(drawn: list[dict[str, Any]]) -> None:
    draw_misclassified(make_items([(7, "Sandal", "Shoes", 0.998), (3, "Dress", "Topwear", 0.61)]), IMAGES, "run, val")
    [call] = drawn
    assert call["rows"] == [7, 3]
    assert call["captions"] == ["Sandal\n→ Shoes, >99%", "Dress\n→ Topwear, 61%"]
    assert call["title"] == "run, val: 2 items misclassified"


def test_at_most_forty_errors_are_shown(drawn: list[dict[str, Any]]) -> None:
    draw_misclassified(make_items([(row, "a", "b", 0.5) for row in range(41)]), IMAGES, "run, val")
    assert drawn[0]["rows"] == list(range(40))
    assert drawn[0]["title"] == "run, val: 41 items misclassified, the 40 most confident"


def test_a_class_sheet_shows_marked_errors_first(drawn: list[dict[str, Any]]) -> None:
    items = [(1, "Scarves", "Scarves", 0.9), (2, "Scarves", "Topwear", 0.4), (3, "Scarves", "Dress", 0.7)]
    draw_class(make_items(items), IMAGES, "Scarves", "run, val")
    [call] = drawn
    assert call["rows"] == [3, 2, 1]
    assert call["captions"] == ["Dress, 70%", "Topwear, 40%", "Scarves, 90%"]
    assert call["marked"] == [True, True, False]
    assert call["title"] == "Scarves by run, val: 3 items, 2 mistaken"


def test_the_title_of_a_large_class_states_that_not_all_items_are_shown(drawn: list[dict[str, Any]]) -> None:
    rows = [(row, "a", "b" if row < 45 else "a", 0.5) for row in range(50)]
    draw_class(make_items(rows), IMAGES, "a", "run, val")
    assert drawn[0]["rows"] == list(range(40))
    assert drawn[0]["title"] == "a by run, val: 50 items, 45 mistaken, 40 shown"


def test_a_sheet_without_items_states_it() -> None:
    none = make_items([(0, "a", "b", 0.5)]).clear()
    for sheet in (draw_misclassified(none, IMAGES, "run, val"), draw_class(none, IMAGES, "a", "run, val")):
        assert sheet.width > 100
        assert np.asarray(sheet).min() < 100
