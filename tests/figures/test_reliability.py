"""Test the reliability diagram and the plot of precision over coverage."""

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Annotation

from hangtag.figures.reliability import plot_coverage, plot_reliability

RELIABILITY = pl.DataFrame(
    [("val", 0.4, 0.5, 3, 0.45, 1 / 3), ("val", 0.9, 1.0, 9, 0.97, 1.0), ("test", 0.9, 1.0, 2, 0.95, 0.0)],
    schema=["split", "low", "high", "n", "confidence", "accuracy"],
    orient="row",
)
COVERAGE = pl.DataFrame(
    [("val", 0.3, 1.0, 0.9, 0.8), ("val", 0.8, 0.5, 0.95, 0.7), ("test", 0.5, 1.0, 0.85, 0.6)],
    schema=["split", "threshold", "coverage", "precision", "precision_low"],
    orient="row",
)
THRESHOLDS = pl.DataFrame(
    [
        (0.9, 0.3, "val", 1.0, 0.9),
        (0.9, 0.3, "test", 1.0, 0.85),
        (0.95, 0.8, "val", 0.5, 0.95),
        (0.97, 0.8, "val", 0.5, 0.95),
        (0.95, 0.8, "test", 0.0, None),
        (0.995, None, "val", 0.0, None),
    ],
    schema=["target_precision", "threshold", "split", "coverage", "precision"],
    orient="row",
)


def list_dots(figure: Figure, panel: int) -> list[list[float]]:
    lines = [line for line in figure.axes[panel].lines if line.get_marker() == "o"]
    return [point for line in lines for point in np.asarray(line.get_xydata()).tolist()]


def list_intervals(axes: Axes) -> list[list[float]]:
    [lines] = axes.collections
    assert isinstance(lines, LineCollection)
    return [np.asarray(segment)[:, 1].tolist() for segment in lines.get_segments()]


def test_each_split_has_a_panel_with_bins_intervals_and_shares() -> None:
    figure = plot_reliability(RELIABILITY, {"val": 0.0523, "test": 0.95}, "one, temperature 1.2")
    figure.draw_without_rendering()
    val, test, val_shares, test_shares = figure.axes
    assert [axes.get_title(loc="left") for axes in (val, test)] == ["val: ECE 0.052", "test: ECE 0.950"]
    assert list_dots(figure, 0) == [[0.45, 1 / 3], [0.97, 1.0]]
    assert list_dots(figure, 1) == [[0.95, 0.0]]
    # Clopper-Pearson: one of three; 9 of 9 has 0.025 ** (1 / 9); none of 2 has 1 - 0.025 ** (1 / 2).
    np.testing.assert_allclose(list_intervals(val), [[0.0084, 0.9057], [0.6637, 1]], atol=1e-4)
    np.testing.assert_allclose(list_intervals(test), [[0, 0.8419]], atol=1e-4)
    assert [bar.get_height() for bar in val_shares.patches if isinstance(bar, Rectangle)] == [0.25, 0.75]
    assert [bar.get_height() for bar in test_shares.patches if isinstance(bar, Rectangle)] == [1]


def test_each_split_has_a_line_and_target_precisions_are_annotated_on_val() -> None:
    figure = plot_coverage(COVERAGE, THRESHOLDS, "one")
    figure.draw_without_rendering()
    [axes] = figure.axes
    lines = {str(line.get_label()): np.asarray(line.get_xydata()).tolist() for line in axes.lines}
    assert lines["val"] == [[1.0, 0.9], [0.5, 0.95]]
    assert lines["test"] == [[1.0, 0.85]]
    assert list_dots(figure, 0) == [[1.0, 0.9], [0.5, 0.95], [0.5, 0.95], [1.0, 0.85]]
    # Promises that share a threshold share a dot.
    targets = [(text.get_text(), text.xy) for text in axes.texts if isinstance(text, Annotation)]
    assert targets == [("≥ 90%", (1.0, 0.9)), ("≥ 95%, 97%", (0.5, 0.95))]
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["val", "test", "thresholds chosen on val"]


def test_a_model_without_thresholds_and_with_a_long_name_can_be_drawn() -> None:
    figure = plot_coverage(COVERAGE.head(1), THRESHOLDS.clear(), "a-name-" * 14)
    figure.draw_without_rendering()
    assert list_dots(figure, 0) == []
    assert figure.get_suptitle().count("\n") == 1
