"""Draw the figures of a catalogue from their tables."""

import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING

import polars as pl

from hangtag.exploration.filenames import slug
from hangtag.exploration.palette import (
    ACCENT,
    CHANNEL_COLORS,
    FONT_NAME,
    HAIRLINE,
    INK,
    MUTED,
    PAPER,
    SOFT_INK,
    SPLIT_COLORS,
)
from hangtag.exploration.saving import save_figure
from hangtag.exploration.sheets import draw_contact_sheet
from hangtag.exploration.sunburst import plot_sunburst
from hangtag.exploration.tables import MISSING
from hangtag.labels.labelled import UNKNOWN

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "draw_contact_sheet",
    "plot_channels",
    "plot_counts",
    "plot_splits",
    "plot_sunburst",
    "save_figure",
    "slug",
]

ROW_INCHES = 0.23
LINE_INCHES = 0.17
LEGEND_INCHES = 0.6
NAME_CHARACTERS = 44
# PNG files that are taller open nowhere; the table has every row.
MAX_ROWS = 250
# A bar of one item still shows on the log axis.
LOG_START = 0.7


def plot_counts(table: pl.DataFrame, column: str, title: str) -> "Figure":
    """Draw a bar for each value on a log axis, in the table's order from the top, its count beside it.

    Args:
        table: One row for each value: `column` (text) and `count` (int).
        column: The column of the values; the axis is named after it unless it is plainly `value`.
        title: The heading.
    """
    figure, axes, table = _create_figure(table, column, title)
    counts = table["count"].to_list()
    colors = [MUTED if value in (None, MISSING, UNKNOWN) else ACCENT for value in table[column]]
    bars = axes.barh(range(len(counts)), counts, height=0.72, color=colors)
    axes.bar_label(bars, [f"{count:,}" for count in counts], padding=4, color=INK, fontsize=9)
    _use_log_axis(axes, max(counts, default=1))
    axes.set_xlabel("Items (log scale)")
    if column != "value":
        axes.set_ylabel(column, color=SOFT_INK, parse_math=False)
    return figure


def plot_splits(table: pl.DataFrame, title: str) -> "Figure":
    """Draw how many items of each label are in train, val and test, as three dots on a log axis.

    Args:
        table: label, train, val, test and total (int). A split without items has an open dot at the edge.
        title: The heading.
    """
    figure, axes, table = _create_figure(table, "label", title)
    splits = table.select(list(SPLIT_COLORS)).with_columns(pl.all().cast(pl.Float64).clip(LOG_START))
    highs = splits.max_horizontal().to_list() if len(splits) else []
    axes.hlines(range(len(splits)), splits.min_horizontal(), highs, color=HAIRLINE, linewidth=2, zorder=1)
    for split, color in SPLIT_COLORS.items():
        faces = [color if count else PAPER for count in table[split]]
        rows = range(len(splits))
        axes.scatter(splits[split], rows, s=42, c=faces, edgecolors=color, label=split, zorder=2, clip_on=False)
    _write_beside(axes, highs, (f"{total:,}" for total in table["total"]))
    _use_log_axis(axes, max(highs, default=1))
    axes.set_xlabel("Items (log scale); the number is the total")
    _add_legend(figure, SPLIT_COLORS)
    return figure


def plot_channels(table: pl.DataFrame, title: str) -> "Figure":
    """Draw each label's mean red, green and blue as dots from black (0) to white (255), contrast beside them.

    Args:
        table: label, mean_red, mean_green, mean_blue and contrast, all 0 to 255.
        title: The heading.
    """
    figure, axes, table = _create_figure(table, "label", title)
    channels = table.select(list(CHANNEL_COLORS))
    lows, highs = channels.min_horizontal(), channels.max_horizontal()
    axes.hlines(range(len(table)), lows, highs, color=HAIRLINE, linewidth=2, zorder=1)
    for channel, color in CHANNEL_COLORS.items():
        axes.scatter(table[channel], range(len(table)), s=42, color=color, label=channel, zorder=2)
    _write_beside(axes, highs, (f"{contrast:.0f}" for contrast in table["contrast"]))
    # Dots need no zero; photographs on white would crowd at the right edge of a full axis.
    first = max(0, int(min(lows.to_list(), default=0) - 5) // 25 * 25)
    axes.set_xticks([*range(first, 251, 25)])
    axes.set_xlim(first, 255 + (255 - first) * 0.08)
    axes.set_xlabel("Mean of the pixels, black 0 to white 255; the number is the contrast")
    _add_legend(figure, {channel.removeprefix("mean_"): color for channel, color in CHANNEL_COLORS.items()})
    return figure


def _create_figure(table: pl.DataFrame, column: str, title: str) -> tuple["Figure", "Axes", pl.DataFrame]:
    """Make a figure as tall as its names need, and give the rows that it has room for."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import
    from matplotlib.layout_engine import ConstrainedLayoutEngine  # noqa: PLC0415 - slow to import

    if len(table) > MAX_ROWS:
        title += f": the first {MAX_ROWS:,} of {len(table):,}"
        table = table.head(MAX_ROWS)
    names = ["\n".join(textwrap.wrap(name, NAME_CHARACTERS)) for name in table[column].fill_null(MISSING)]
    heading = "\n".join(textwrap.wrap(title, 78))
    lines = max((name.count("\n") + 1 for name in names), default=1)
    row = max(ROW_INCHES, lines * LINE_INCHES)
    height = 1.3 + row * max(1, len(names)) + 0.2 * heading.count("\n")
    layout = ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.15)
    figure = Figure(figsize=(9, height), facecolor=PAPER, layout=layout)
    axes = figure.add_subplot()
    axes.set_title(heading, loc="left", color=INK, fontsize=13, fontweight="bold", pad=12, parse_math=False)
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.set_ylim(max(1, len(names)) - 0.4, -0.6)
    _style(axes)
    return figure, axes, table


def _style(axes: "Axes") -> None:
    axes.title.set_fontname(FONT_NAME)
    axes.spines[:].set_visible(False)
    axes.tick_params(which="both", length=0, labelsize=9, labelcolor=SOFT_INK, labelfontfamily=FONT_NAME)
    axes.tick_params(axis="y", labelcolor=INK)
    # A reader of a tall figure should not have to scroll for the scale.
    axes.tick_params(axis="x", labeltop=len(axes.get_yticks()) > 40)
    axes.xaxis.label.set(color=SOFT_INK, fontname=FONT_NAME)
    axes.grid(axis="x", color=HAIRLINE, linewidth=0.7)
    axes.set_axisbelow(True)


def _write_beside(axes: "Axes", places: Iterable[float], texts: Iterable[str]) -> None:
    """Write a number to the right of each row's last dot."""
    for row, (place, text) in enumerate(zip(places, texts, strict=True)):
        axes.annotate(text, (place, row), (9, 0), textcoords="offset points", va="center", color=INK, fontsize=9)


def _use_log_axis(axes: "Axes", highest: float) -> None:
    """Make the counts' axis logarithmic, with room for the number beside the longest bar."""
    from matplotlib.ticker import FuncFormatter, NullFormatter  # noqa: PLC0415 - slow to import

    axes.set_xscale("log")
    span = max(10.0, highest) / LOG_START
    axes.set_xlim(LOG_START, LOG_START * span**1.12)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _add_legend(figure: "Figure", colors: dict[str, str]) -> None:
    from matplotlib.lines import Line2D  # noqa: PLC0415 - slow to import

    dots = [Line2D([], [], marker="o", linestyle="", color=color, label=name) for name, color in colors.items()]
    # The rows keep their height: the legend stands below them.
    figure.set_figheight(figure.get_figheight() + LEGEND_INCHES)
    figure.legend(
        handles=dots,
        loc="outside lower right",
        frameon=False,
        borderaxespad=0,
        ncols=len(dots),
        fontsize=9,
        labelcolor=INK,
    )
