"""Test the training curves."""

import numpy as np
import polars as pl

from hangtag.figures.reliability import plot_history

HISTORY = pl.DataFrame(
    {
        "epoch": [1, 2, 3],
        "loss": [0.9, 0.5, 0.4],
        "accuracy": [0.5, 0.7, 0.8],
        "val_loss": [1.0, 0.6, 0.7],
        "val_accuracy": [0.4, 0.75, 0.7],
    }
)


def test_loss_and_accuracy_have_a_line_for_each_split_and_the_kept_epoch() -> None:
    axes = plot_history(HISTORY, "capstone-color-0", kept_epoch=2).axes
    for each, measure in zip(axes, ("loss", "accuracy"), strict=True):
        lines = {str(line.get_label()): line for line in each.lines}
        assert set(lines) == {"train", "val", "kept"}
        np.testing.assert_array_equal(lines["train"].get_xydata(), HISTORY.select("epoch", measure))
        np.testing.assert_array_equal(lines["val"].get_xydata(), HISTORY.select("epoch", f"val_{measure}"))
        assert np.asarray(lines["kept"].get_xdata()).tolist() == [2, 2]
        assert each.get_ylabel() == measure.capitalize()


def test_a_single_epoch_without_a_kept_epoch_can_be_drawn() -> None:
    figure = plot_history(HISTORY.head(1), "one")
    figure.draw_without_rendering()
    assert [len(each.lines) for each in figure.axes] == [2, 2]
