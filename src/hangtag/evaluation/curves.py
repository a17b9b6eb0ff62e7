"""Draw how loss and accuracy went over the epochs of a training."""

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hangtag.exploration.palette import FONT_NAME, HAIRLINE, INK, PAPER, SOFT_INK, SPLIT_COLORS


def plot_history(history: pl.DataFrame, title: str, kept_epoch: int | None = None) -> Figure:
    """Draw loss and accuracy over the epochs, for training and validation.

    The training line is the mean over the epoch's batches, with dropout and flips on, so it may lie under the
    validation line.

    Args:
        history: A row an epoch: `epoch` from 1, `loss`, `accuracy`, `val_loss` and `val_accuracy`.
        title: The heading.
        kept_epoch: The epoch whose weights were kept; marked by a line.
    """
    figure = Figure(figsize=(9, 3.8), facecolor=PAPER, layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", color=INK, fontsize=13, fontweight="bold", parse_math=False)
    for axes, measure in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for column, split in ((measure, "train"), (f"val_{measure}", "val")):
            color = SPLIT_COLORS[split]
            axes.plot(history["epoch"], history[column], color=color, marker="o", markersize=4, label=split)
        if kept_epoch is not None:
            axes.axvline(kept_epoch, color=SOFT_INK, linewidth=1, linestyle=":", zorder=1, label="kept")
        axes.set_ylabel(measure.capitalize(), color=SOFT_INK)
        _style(axes)
    return figure


def _style(axes: Axes) -> None:
    axes.set_xlabel("Epoch", color=SOFT_INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.tick_params(length=0, labelsize=9, labelcolor=INK, labelfontfamily=FONT_NAME)
    axes.grid(color=HAIRLINE, linewidth=0.7)
    axes.spines[:].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
