"""Test the table and the figure of Grad-CAM heatmaps of errors."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from hangtag.figures import errors as module
from hangtag.figures.errors import draw_gradcam, tabulate_gradcam
from hangtag.workspace import Workspace

IMAGES = np.full((9, 8, 6, 3), 200, np.uint8)
WRONG = pl.DataFrame(
    {
        "item_id": ["b", "a"],
        "image_index": [7, 3],
        "label": ["Shoes", "Bags"],
        "predicted_label": ["Sandal", "Shoes"],
        "confidence": [0.9, 0.5],
    }
)


class FeatureReader:
    """Finds all of a class in one corner, and notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def compute_heatmaps(self, images: Any, labels: list[str], names: list[str | None] | None = None) -> Any:
        self.asked.append((len(images), labels, names))
        maps = np.zeros((len(images), 2, 3), np.float32)
        maps[:, 1, 2] = 1
        return maps


def test_the_table_has_one_row_per_region() -> None:
    feature_reader: Any = FeatureReader()
    names = pl.DataFrame({"item_id": ["a", "b"], "title": ["Red bag", "Sandal"]})
    table = tabulate_gradcam(WRONG, IMAGES, feature_reader, names)
    assert feature_reader.asked == [(2, ["Sandal", "Shoes"], ["Sandal", "Red bag"])]
    assert table["item_id"].to_list() == ["b"] * 6 + ["a"] * 6
    assert table.filter(pl.col("value") > 0).rows() == [("b", "Sandal", 2, 3, 1.0), ("a", "Shoes", 2, 3, 1.0)]
    assert table.head(4).select("row", "column").rows() == [(1, 1), (1, 2), (1, 3), (2, 1)]


def test_each_error_is_drawn_beside_its_heatmap(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []

    def draw(images: list[Any], captions: list[str], **more: Any) -> Image.Image:
        drawn.append((images, captions, more["title"]))
        return Image.new("RGB", (4, 4))

    monkeypatch.setattr(module, "draw_contact_sheet", draw)
    feature_reader: Any = FeatureReader()
    draw_gradcam(tabulate_gradcam(WRONG, IMAGES, feature_reader), WRONG, IMAGES, "run, val")
    [(images, captions, title)] = drawn
    assert captions == ["Shoes\n→ Sandal, 90%", "Bags\n→ Shoes, 50%"]
    assert title.startswith("run, val: ")
    assert images[0].shape == (8, 6 + module.GAP + 6, 3)
    assert (images[0][:, :6] == 200).all()
    changed = (images[0][:, -6:] != 200).any(axis=2)
    assert changed[-1, -1]
    assert not changed[0, 0]


def test_no_errors_give_an_empty_table_and_sheet() -> None:
    feature_reader: Any = FeatureReader()
    table = tabulate_gradcam(WRONG.clear(), IMAGES, feature_reader)
    assert (table.height, table.columns) == (0, list(module.SCHEMA))
    assert draw_gradcam(table, WRONG.clear(), IMAGES, "run, val").width > 100


def test_an_evaluated_run_has_the_gradcam_table_and_figure(trained_workspace: Workspace) -> None:
    folder: Path = trained_workspace.evaluation("small")
    table = pl.read_csv(folder / "misclassified_gradcam.csv", infer_schema=False)
    assert table.columns == list(module.SCHEMA)
    assert (folder / "misclassified_gradcam.png").is_file()
