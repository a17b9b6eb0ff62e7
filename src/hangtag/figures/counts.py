"""Compute the tables of a catalogue (counts, image statistics) and draw their figures."""

import html
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from hangtag.catalog.images import limit_part
from hangtag.catalog.prepared_items import read_categories
from hangtag.console import show_progress
from hangtag.figures.contact_sheet import draw_contact_sheet
from hangtag.figures.style import (
    ACCENT,
    CHANNEL_COLORS,
    FONT_NAME,
    HAIRLINE,
    INK,
    MUTED,
    PAPER,
    SERIES,
    SOFT_INK,
    SPLIT_COLORS,
    lighten,
    save_figure,
    slug,
)
from hangtag.labels.dataset import UNKNOWN
from hangtag.train_config import SPLITS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from plotly.graph_objects import Figure as PlotlyFigure

__all__ = [
    "draw_contact_sheet",
    "plot_channels",
    "plot_counts",
    "plot_splits",
    "plot_sunburst",
    "save_figure",
    "slug",
]

MISSING = "(missing)"
ROW_INCHES = 0.23
LINE_INCHES = 0.17
LEGEND_INCHES = 0.6
NAME_CHARACTERS = 44
# Few programs open a taller PNG; the table has every row.
MAX_ROWS = 250
# Below 1, so that a bar of one item is visible on the log axis.
LOG_START = 0.7
# ITU-R BT.601, as Pillow's own conversion to gray.
LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)
CHUNK = 512
STATISTICS = {
    "label": pl.String,
    "n": pl.Int64,
    "mean_red": pl.Float64,
    "mean_green": pl.Float64,
    "mean_blue": pl.Float64,
    "contrast": pl.Float64,
}
# How much paler each outer ring is than the ring inside it.
LIGHTER_A_RING = 0.28


def count_items(count: int) -> str:
    """Format a number of items as `1 item` or `1,234 items`."""
    return "1 item" if count == 1 else f"{count:,} items"


def fill_missing(items: pl.DataFrame, columns: Sequence[str], spellings: Sequence[str]) -> pl.DataFrame:
    """Return the items with the columns' values as they are compared, and `(missing)` in every missing cell."""
    return items.with_columns(read_categories(items[column], spellings).fill_null(MISSING) for column in columns)


def count_values(items: pl.DataFrame, column: str) -> pl.DataFrame:
    """Count the items of each value: value, count, share (0 to 1), the most frequent first."""
    counts = items.group_by(pl.col(column).alias("value")).agg(pl.len().cast(pl.Int64).alias("count"))
    return counts.with_columns(share=pl.col("count") / pl.col("count").sum()).sort(
        ["count", "value"], descending=[True, False]
    )


def count_paths(items: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """Count the items of each combination of the columns: the columns and count, the most frequent first."""
    counts = items.group_by(list(columns)).agg(pl.len().cast(pl.Int64).alias("count"))
    return counts.sort(["count", *columns], descending=[True, *[False] * len(columns)])


def count_splits(labelled: pl.DataFrame) -> pl.DataFrame:
    """Count the items of each label in each split: label, train, val, test, total.

    Items that are in no split are left out.
    """
    within = labelled.filter(pl.col("split").is_not_null())
    counts = within.group_by("label").agg(
        *((pl.col("split") == split).sum().cast(pl.Int64).alias(split) for split in SPLITS),
        pl.len().cast(pl.Int64).alias("total"),
    )
    return counts.sort(["total", "label"], descending=[True, False])


def count_sizes(items: pl.DataFrame) -> pl.DataFrame:
    """Count the photographs of each width, height and mode, as delivered."""
    return count_paths(items, ["image_width", "image_height", "image_mode"])


def find_rows(table: pl.DataFrame) -> dict[str, npt.NDArray[np.int64]]:
    """Return for each label, in alphabetical order, the rows of its items among the packed photographs."""
    grouped = table.group_by("label").agg(pl.col("image_index").cast(pl.Int64).sort()).sort("label")
    return {label: np.array(rows, dtype=np.int64) for label, rows in grouped.iter_rows()}


def describe_pictures(
    images: npt.NDArray[np.uint8], rows: Mapping[str, npt.NDArray[np.int64]]
) -> tuple[pl.DataFrame, dict[str, npt.NDArray[np.uint8]]]:
    """Measure the photographs of each label.

    Args:
        images: Pixels, uint8 (n, height, width, 3); a memory map is read a part at a time.
        rows: The rows of `images` for each label, at least one.

    Returns:
        A table of label, n, mean_red, mean_green, mean_blue (0 to 255) and contrast (the standard deviation
        of the luminance inside a photograph, averaged over the photographs, 0 to 127.5), and for each label
        its mean picture, uint8 (height, width, 3).
    """
    lines, pictures = [], {}
    size = limit_part(images.shape[1:], CHUNK)
    with show_progress("Measuring photographs", sum(map(len, rows.values())), "photographs") as bar:
        for label, own in rows.items():
            total = np.zeros(images.shape[1:], dtype=np.float64)
            contrast = 0.0
            for start in range(0, len(own), size):
                part = images[own[start : start + size]]
                total += part.sum(axis=0, dtype=np.uint32)
                contrast += float((part @ LUMINANCE).std(axis=(1, 2)).sum())
                bar.advance(len(part))
            mean = total / len(own)
            lines.append((label, len(own), *mean.mean(axis=(0, 1)).tolist(), contrast / len(own)))
            pictures[label] = np.rint(mean).astype(np.uint8)
    table = pl.DataFrame(lines, schema=STATISTICS, orient="row")
    return table.with_columns(pl.col(pl.Float64).round(3)), pictures


def plot_sunburst(table: pl.DataFrame, path_columns: Sequence[str], title: str) -> "PlotlyFigure":
    """Draw a sunburst whose sectors have the area of their counts.

    Args:
        table: One row for each path: `path_columns` (text) and `count` (int); nulls are drawn as
            `(missing)`.
        path_columns: The columns from the inner ring to the outer.
        title: The heading.

    Returns:
        A `plotly.graph_objects.Figure`; the centre shows the total, and a click on a sector zooms in.
    """
    import plotly.graph_objects as go  # noqa: PLC0415 - slow to import, and only this figure needs it

    sectors = _build_sectors(table, path_columns)
    trace = go.Sunburst(
        **sectors,
        branchvalues="total",
        hovertemplate="%{hovertext}<extra></extra>",
        insidetextorientation="radial",
        marker_line={"color": PAPER, "width": 0.8},
        rotation=90,
        sort=False,
    )
    layout = {
        "title": {"text": html.escape(title), "x": 0.5, "xanchor": "center", "font": {"size": 20}},
        "font": {"family": "system-ui, -apple-system, 'Segoe UI', sans-serif", "size": 13, "color": INK},
        "paper_bgcolor": PAPER,
        "margin": {"l": 12, "r": 12, "t": 56, "b": 16},
        "uniformtext": {"minsize": 11, "mode": "hide"},
        "hoverlabel": {"bgcolor": PAPER, "font": {"size": 14, "color": INK}},
        "template": "none",
    }
    return go.Figure(trace, layout)


def _build_sectors(table: pl.DataFrame, path_columns: Sequence[str]) -> dict[str, Any]:
    """Return the sectors of all rings as plotly's parallel lists, the total first, larger before smaller."""
    paths = table.with_columns(pl.col(list(path_columns)).cast(pl.String).fill_null(MISSING))
    total = int(table["count"].sum())
    rows = [{"ids": "/", "labels": count_items(total), "parents": "", "values": total, "color": PAPER}]
    rows[0]["hovertext"] = f"<b>All</b><br>{count_items(total)}"
    counts: dict[tuple[str, ...], int] = {(): total}
    colors: dict[str, str] = {}
    for depth in range(1, len(path_columns) + 1):
        columns = list(path_columns[:depth])
        ring = paths.group_by(columns).agg(pl.col("count").sum())
        for *path, count in ring.sort(["count", *columns], descending=[True, *[False] * depth]).iter_rows():
            counts[tuple(path)] = count
            rows.append(_build_sector(tuple(path), counts, _pick_color(path, colors)))
    return {
        **{key: [row[key] for row in rows] for key in ("ids", "labels", "parents", "values", "hovertext")},
        "marker_colors": [row["color"] for row in rows],
    }


def _build_sector(path: tuple[str, ...], counts: dict[tuple[str, ...], int], color: str) -> dict[str, Any]:
    count, parent = counts[path], path[:-1]
    name = html.escape(path[-1])
    lines = [f"<b>{name}</b>", count_items(count), f"{count / max(1, counts[()]):.2%} of all"]
    if parent:
        lines.append(f"{count / max(1, counts[parent]):.2%} of {html.escape(parent[-1])}")
    # The path as the id: names may come back under another parent, and may hold any separator.
    return {
        "ids": repr(path),
        "labels": name,
        "parents": repr(parent) if parent else "/",
        "values": count,
        "hovertext": "<br>".join(lines),
        "color": color,
    }


def _pick_color(path: Sequence[str], colors: dict[str, str]) -> str:
    """Return the next hue for an inner sector, a paler one for its children, and gray for a missing value."""
    if path[-1] == MISSING:
        return MUTED
    base = colors.setdefault(path[0], SERIES[len(colors) % len(SERIES)])
    return lighten(base, min(0.75, LIGHTER_A_RING * (len(path) - 1)))


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
    # The axis need not begin at 0: the values of photographs on white are all near 255.
    first = max(0, int(min(lows.to_list(), default=0) - 5) // 25 * 25)
    axes.set_xticks([*range(first, 251, 25)])
    axes.set_xlim(first, 255 + (255 - first) * 0.08)
    axes.set_xlabel("Mean of the pixels, black 0 to white 255; the number is the contrast")
    _add_legend(figure, {channel.removeprefix("mean_"): color for channel, color in CHANNEL_COLORS.items()})
    return figure


def _create_figure(table: pl.DataFrame, column: str, title: str) -> tuple["Figure", "Axes", pl.DataFrame]:
    """Create a figure as tall as its names need, and return the rows that fit into it."""
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
    _style_axes(axes)
    return figure, axes, table


def _style_axes(axes: "Axes") -> None:
    axes.title.set_fontname(FONT_NAME)
    axes.spines[:].set_visible(False)
    axes.tick_params(which="both", length=0, labelsize=9, labelcolor=SOFT_INK, labelfontfamily=FONT_NAME)
    axes.tick_params(axis="y", labelcolor=INK)
    # Repeat the scale at the top of a tall figure.
    axes.tick_params(axis="x", labeltop=len(axes.get_yticks()) > 40)
    axes.xaxis.label.set(color=SOFT_INK, fontname=FONT_NAME)
    axes.grid(axis="x", color=HAIRLINE, linewidth=0.7)
    axes.set_axisbelow(True)


def _write_beside(axes: "Axes", indices: Iterable[float], texts: Iterable[str]) -> None:
    """Write a number to the right of each row's last dot."""
    for row, (index, text) in enumerate(zip(indices, texts, strict=True)):
        axes.annotate(text, (index, row), (9, 0), textcoords="offset points", va="center", color=INK, fontsize=9)


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
    # Make room for the legend below the rows.
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
