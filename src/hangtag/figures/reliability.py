"""Draw training history, reliability diagrams, and precision against coverage."""

import textwrap
from collections.abc import Mapping

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator
from scipy.stats import beta

from hangtag.figures.style import FONT_NAME, HAIRLINE, INK, PAPER, SOFT_INK, SPLIT_COLORS, lighten

LEVEL = 0.95
TITLE_CHARACTERS_AN_INCH = 8
# Keeps the label 100 % of one panel apart from 0 % of the next.
PANEL_GAP = 0.06
# The offset of a target precision from the dot of its threshold, in points.
TARGET_OFFSET = (6, 5)


def plot_history(history: pl.DataFrame, title: str, kept_epoch: int | None = None) -> Figure:
    """Draw loss and accuracy over the epochs, for training and validation.

    The training line is the mean over the epoch's batches, with dropout and augmentation, so its accuracy may be lower
    than that of the validation line.

    Args:
        history: One row per epoch: `epoch` from 1, `loss`, `accuracy`, `val_loss` and `val_accuracy`.
        title: The heading.
        kept_epoch: The epoch whose weights were kept, which a vertical line marks.
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
        _style_curve(axes)
    return figure


def _style_curve(axes: Axes) -> None:
    axes.set_xlabel("Epoch", color=SOFT_INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.tick_params(length=0, labelsize=9, labelcolor=INK, labelfontfamily=FONT_NAME)
    axes.grid(color=HAIRLINE, linewidth=0.7)
    axes.spines[:].set_visible(False)
    axes.legend(frameon=False, fontsize=9)


def plot_reliability(reliability: pl.DataFrame, errors: Mapping[str, float], title: str) -> Figure:
    """Draw a reliability diagram for each split: accuracy by confidence bin, and the share of items in each bin below.

    With perfect calibration the dots lie on the diagonal. A line through a dot is the 95 % interval of
    its accuracy (Clopper and Pearson, 1934), with items treated as independent.

    Args:
        reliability: split, low, high, n, confidence and accuracy.
        errors: The expected calibration error of each split, 0 to 1; a panel for each.
        title: The heading.
    """
    figure = _create_figure(max(6.0, 3.4 * len(errors)), 4.6, title)
    panels = figure.subplots(2, len(errors), squeeze=False, sharex=True, sharey="row", height_ratios=(4, 1))
    for index, (split, error) in enumerate(errors.items()):
        above, below = panels[:, index]
        bins, color = reliability.filter(pl.col("split") == split), SPLIT_COLORS[split]
        above.set_title(f"{split}: ECE {error:.3f}", loc="left", color=INK, fontsize=10)
        _draw_dots(above, bins, color)
        widths = (bins["high"] - bins["low"]) * 0.9
        shares = bins["n"] / max(1, bins["n"].sum())
        below.bar((bins["low"] + bins["high"]) / 2, shares, widths, color=lighten(color, 0.4))
        below.set_xlabel("Confidence", color=SOFT_INK)
    panels[0, 0].set_ylabel("Accuracy", color=SOFT_INK)
    panels[1, 0].set_ylabel("Items", color=SOFT_INK)
    for axes in panels.flat:
        _style_reliability(axes)
    panels[0, 0].set(xlim=(0, 1.02), ylim=(0, 1.02))
    return figure


def _draw_dots(axes: Axes, bins: pl.DataFrame, color: str) -> None:
    axes.plot([0, 1], [0, 1], color=SOFT_INK, linewidth=1, linestyle=":", zorder=1)
    counts, accuracy = bins["n"].to_numpy(), bins["accuracy"].to_numpy()
    right = np.round(counts * accuracy)
    low = np.where(right > 0, beta.ppf((1 - LEVEL) / 2, np.maximum(right, 1), counts - right + 1), 0)
    high = np.where(right < counts, beta.ppf((1 + LEVEL) / 2, right + 1, np.maximum(counts - right, 1)), 1)
    axes.vlines(bins["confidence"], low, high, color=lighten(color, 0.4), linewidth=2, zorder=2)
    axes.plot(
        bins["confidence"], accuracy, color=color, marker="o", linestyle="", markersize=5, zorder=3, clip_on=False
    )


def plot_coverage(coverage: pl.DataFrame, thresholds: pl.DataFrame, title: str) -> Figure:
    """Draw precision over coverage for each split with its lower bound, and the model's own thresholds as dots.

    Args:
        coverage: split, threshold, coverage, precision and precision_low.
        thresholds: target_precision, threshold, split, coverage and precision; a row without a precision has no dot.
        title: The heading.
    """
    figure = _create_figure(9, 5, title)
    axes = figure.add_subplot()
    splits = coverage["split"].unique(maintain_order=True).to_list()
    sure = thresholds.filter(pl.col("precision").is_not_null())
    for split in splits:
        line, color = coverage.filter(pl.col("split") == split), SPLIT_COLORS[split]
        axes.fill_between(line["coverage"], line["precision_low"], line["precision"], color=color, alpha=0.12, lw=0)
        axes.plot(line["coverage"], line["precision"], color=color, linewidth=1.6, label=split)
        dots = sure.filter(pl.col("split") == split)
        axes.plot(dots["coverage"], dots["precision"], color=color, marker="o", linestyle="", markersize=5)
    if len(sure):
        axes.plot([], [], color=SOFT_INK, marker="o", linestyle="", markersize=5, label="thresholds chosen on val")
    _write_targets(axes, sure.filter(pl.col("split") == ("val" if "val" in splits else splits[-1])))
    axes.set_xlabel("Coverage: share of items at or above the threshold", color=SOFT_INK)
    axes.set_ylabel("Precision: share of these that are right", color=SOFT_INK)
    axes.set_xlim(0, 1.02)
    axes.set_ylim(top=1 + 0.02 * (1 - axes.get_ylim()[0]))
    _style_reliability(axes)
    axes.legend(frameon=False, fontsize=9, labelcolor=INK, loc="lower left")
    return figure


def _write_targets(axes: Axes, sure: pl.DataFrame) -> None:
    """Annotate each dot of one split with its target precision; target precisions with the same dot share a text."""
    dots = sure.group_by("coverage", "precision", maintain_order=True).agg("target_precision")
    for coverage, precision, wanted in dots.iter_rows():
        text = "≥ " + ", ".join(_in_percent(each) for each in wanted)
        index = (coverage, precision)
        axes.annotate(text, index, TARGET_OFFSET, textcoords="offset points", color=INK, fontsize=9)


def _in_percent(share: float) -> str:
    return f"{100 * share:.4g}%"


def _create_figure(width: float, height: float, title: str) -> Figure:
    heading = textwrap.fill(title, int(width * TITLE_CHARACTERS_AN_INCH))
    figure = Figure(figsize=(width, height), facecolor=PAPER, layout=ConstrainedLayoutEngine(wspace=PANEL_GAP))
    figure.suptitle(heading, x=0.01, ha="left", color=INK, fontsize=13, fontweight="bold", parse_math=False)
    return figure


def _style_reliability(axes: Axes) -> None:
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda share, _: _in_percent(share))
    axes.tick_params(length=0, labelsize=9, labelcolor=INK, labelfontfamily=FONT_NAME)
    axes.grid(color=HAIRLINE, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
