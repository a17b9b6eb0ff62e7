"""Test the figure of a learning curve."""

import numpy as np
import polars as pl

from hangtag.figures.learning_curve import plot_learning_curve

POINTS = pl.DataFrame(
    {
        "train_items": [100, 1000],
        "accuracy": [0.7, 0.8],
        "accuracy_low": [0.6, 0.75],
        "accuracy_high": [0.8, 0.85],
        "macro_f1": [0.5, 0.6],
        "macro_f1_low": [0.4, 0.5],
        "macro_f1_high": [0.6, 0.7],
    }
)


def test_a_panel_for_each_metric_and_a_line_for_the_fit() -> None:
    fitted = pl.DataFrame({"train_items": [100.0, 2000.0], "accuracy": [0.7, 0.82]})
    figure = plot_learning_curve(POINTS, fitted, "curve")
    figure.draw_without_rendering()
    assert [len(axes.lines) for axes in figure.axes] == [2, 1]
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_ydata(), [0.7, 0.8])
    assert [text.get_text() for text in figure.axes[1].get_xticklabels()] == ["100", "1,000"]


def test_without_a_fit_only_the_points_are_drawn() -> None:
    figure = plot_learning_curve(POINTS, POINTS.clear().select("train_items", "accuracy"), "curve")
    assert [len(axes.lines) for axes in figure.axes] == [1, 1]
