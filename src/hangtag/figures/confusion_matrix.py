"""Draw a confusion matrix as a picture and as an interactive page."""

import html
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import polars as pl
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure

from hangtag.figures.style import ACCENT, FONT_NAME, HAIRLINE, INK, PAPER, SOFT_INK
from hangtag.metrics.confusion import build_matrix, compute_row_shares

if TYPE_CHECKING:
    from plotly.graph_objects import Figure as PlotlyFigure

CELL_INCHES = 0.36
NAMES_INCHES = 2.8
# The heading begins where the cells do, after the names of the rows.
TITLE_START_INCHES = 1.6
TITLE_CHARACTERS_AN_INCH = 8
# A PNG with longer sides opens in few programs: with more classes the cells shrink, and the smallest have no numbers.
MAX_INCHES = 80.0
LEAST_NUMBERED_INCHES = 0.2
# The interactive matrix names every row up to so many; with more, plotly omits some until the reader zooms in.
MAX_NAMED = 45
# The colour shows the square root of the share, so that small shares stay visible.
COLOR_POWER = 0.5


def plot_confusion(confusion: pl.DataFrame, class_names: Sequence[str], title: str) -> Figure:
    """Draw the matrix of one split, one row per label, with counts in the cells and colours by the share of the row.

    Args:
        confusion: label, predicted_label and count of one split.
        class_names: The rows and columns in their order.
        title: The heading.
    """
    matrix = build_matrix(confusion, class_names)
    shares = compute_row_shares(matrix)
    cell = min(CELL_INCHES, (MAX_INCHES - NAMES_INCHES) / len(class_names))
    side = max(5.0, NAMES_INCHES + cell * len(class_names))
    figure = Figure(figsize=(side, side), facecolor=PAPER, layout="constrained")
    axes = figure.add_subplot()
    colors = LinearSegmentedColormap.from_list("shares", [PAPER, ACCENT])
    axes.imshow(shares, cmap=colors, norm=PowerNorm(COLOR_POWER, 0, 1))
    if cell >= LEAST_NUMBERED_INCHES:
        _write_counts(axes, matrix, shares, fontsize=7 * cell / CELL_INCHES)
    _name_axes(axes, class_names, fontsize=9 * cell / CELL_INCHES)
    heading = f"{title}: {matrix.sum():,} items, colour by the share of the row"
    heading = textwrap.fill(heading, int((side - TITLE_START_INCHES) * TITLE_CHARACTERS_AN_INCH))
    axes.set_title(heading, loc="left", color=INK, fontsize=12, fontweight="bold", pad=12, parse_math=False)
    return figure


def _write_counts(axes: Axes, matrix: npt.NDArray[np.int64], shares: npt.NDArray[np.float64], fontsize: float) -> None:
    for row, column in zip(*np.nonzero(matrix), strict=True):
        color = PAPER if shares[row, column] > 0.4 else INK
        text = f"{matrix[row, column]:,}"
        axes.text(column, row, text, ha="center", va="center", fontsize=fontsize, color=color)


def _name_axes(axes: Axes, class_names: Sequence[str], fontsize: float) -> None:
    indices = np.arange(len(class_names))
    axes.set_xticks(indices, class_names, rotation=90, parse_math=False)
    axes.set_yticks(indices, class_names, parse_math=False)
    axes.tick_params(length=0, labelsize=fontsize, labelfontfamily=FONT_NAME, labelcolor=INK)
    # Lines between the cells make it easier to follow a row or a column.
    axes.set_xticks(indices[:-1] + 0.5, minor=True)
    axes.set_yticks(indices[:-1] + 0.5, minor=True)
    axes.grid(which="minor", color=HAIRLINE, linewidth=0.5)
    axes.tick_params(which="minor", length=0)
    axes.spines[:].set_color(HAIRLINE)
    axes.set_xlabel("Predicted label", color=SOFT_INK)
    axes.set_ylabel("Label", color=SOFT_INK)


def plot_interactive_confusion(confusion: pl.DataFrame, class_names: Sequence[str], title: str) -> "PlotlyFigure":
    """Draw the matrix of one split as a plotly heat map that names a cell's labels, count and share.

    Args:
        confusion: label, predicted_label and count of one split.
        class_names: The rows and columns in their order.
        title: The heading.
    """
    import plotly.graph_objects as go  # noqa: PLC0415 - slow to import

    matrix = build_matrix(confusion, class_names)
    shares = compute_row_shares(matrix)
    # plotly reads names and titles as a little HTML.
    names = [html.escape(name) for name in class_names]
    heatmap = go.Heatmap(
        z=shares**COLOR_POWER,
        zmin=0,
        zmax=1,
        x=names,
        y=names,
        customdata=np.stack([matrix, shares], axis=-1),
        hovertemplate="%{y} → %{x}<br>%{customdata[0]:,} items, %{customdata[1]:.1%} of the label<extra></extra>",
        colorscale=[[0, PAPER], [1, ACCENT]],
        showscale=False,
        xgap=1,
        ygap=1,
    )
    figure = go.Figure(heatmap)
    # Without a category axis plotly reads names such as 2012 as numbers. Without a size the figure fills its window.
    step = 1 if len(class_names) <= MAX_NAMED else None
    figure.update_xaxes(title="Predicted label", type="category", tickangle=-90, showgrid=False, dtick=step)
    figure.update_yaxes(title="Label", type="category", autorange="reversed", showgrid=False, dtick=step)
    margin = {"l": 60, "r": 30, "t": 70, "b": 40}
    heading = f"{html.escape(title)}: {matrix.sum():,} items, colour by the share of the row"
    figure.update_layout(title=heading, template="plotly_white", font_color=INK, margin=margin)
    return figure
