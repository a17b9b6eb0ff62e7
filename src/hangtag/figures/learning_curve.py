"""Draw learning curves: accuracy and macro-F1 against the number of training items."""

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

from hangtag.figures.style import ACCENT, FONT_NAME, HAIRLINE, INK, MARK, PAPER, SOFT_INK, lighten

PANELS = {"accuracy": "Accuracy", "macro_f1": "Macro-F1"}


def plot_learning_curve(points: pl.DataFrame, fitted: pl.DataFrame, title: str) -> Figure:
    """Draw the metrics of every share with their 95 % intervals, and the fitted accuracy up to twice the items.

    Args:
        points: One row per share: `train_items`, and `accuracy` and `macro_f1` with `_low` and `_high`.
        fitted: The fitted curve: `train_items` and `accuracy`; no rows without a fit.
        title: The heading.
    """
    figure = Figure(figsize=(9, 3.8), facecolor=PAPER, layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", color=INK, fontsize=13, fontweight="bold", parse_math=False)
    for axes, (column, name) in zip(figure.subplots(1, 2), PANELS.items(), strict=True):
        axes.vlines(
            points["train_items"], points[f"{column}_low"], points[f"{column}_high"], color=lighten(ACCENT, 0.4), lw=2
        )
        axes.plot(points["train_items"], points[column], color=ACCENT, marker="o", markersize=5, label="measured")
        if column == "accuracy" and len(fitted):
            axes.plot(fitted["train_items"], fitted["accuracy"], color=MARK, lw=1, ls="--", label="fitted power law")
            axes.legend(frameon=False, fontsize=9, labelcolor=INK)
        axes.set_ylabel(name, color=SOFT_INK)
        _style_axes(axes, points["train_items"].to_list())
    return figure


def _style_axes(axes: Axes, items: list[int]) -> None:
    axes.set_xlabel("Training items", color=SOFT_INK)
    axes.set_xscale("log")
    axes.set_xticks(items)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda count, _: f"{count:,.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(length=0, labelsize=9, labelcolor=INK, labelfontfamily=FONT_NAME)
    axes.grid(color=HAIRLINE, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
