import numpy as np
import polars as pl
import pytest

from hangtag.figures import counts
from hangtag.figures.counts import describe_pictures, find_rows


def test_rows_are_selected_by_label() -> None:
    table = pl.DataFrame({"label": ["Ties", "Bags", "Ties"], "image_index": [7, 2, 0]})
    rows = find_rows(table)
    assert list(rows) == ["Bags", "Ties"]
    assert rows["Ties"].tolist() == [0, 7]


def test_means_and_contrast_are_those_of_the_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts, "CHUNK", 3)
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 6, 3), dtype=np.uint8)
    rows = {"Bags": np.array([1, 5, 6, 7, 8, 12, 19]), "Ties": np.array([0])}
    table, pictures = describe_pictures(images, rows)
    assert table.select("label", "n").rows() == [("Bags", 7), ("Ties", 1)]
    own = images[rows["Bags"]].astype(float)
    _, _, red, green, blue, contrast = table.row(0)
    assert (red, green, blue) == pytest.approx(own.mean(axis=(0, 1, 2)), abs=1e-3)
    assert contrast == pytest.approx((own @ [0.299, 0.587, 0.114]).std(axis=(1, 2)).mean(), abs=1e-3)
    assert np.abs(pictures["Bags"] - own.mean(axis=0)).max() <= 0.5
    assert (pictures["Ties"] == images[0]).all()


def test_contrast_is_zero_for_one_shade_and_highest_for_black_and_white() -> None:
    plain = np.full((8, 6, 3), 200, dtype=np.uint8)
    halves = np.repeat(np.array([0, 255], dtype=np.uint8), 4)[:, None, None] * np.ones((8, 6, 3), dtype=np.uint8)
    table, _ = describe_pictures(np.stack([plain, halves]), {"plain": np.array([0]), "halves": np.array([1])})
    assert table["contrast"].to_list() == pytest.approx([0, 127.5], abs=1e-2)
