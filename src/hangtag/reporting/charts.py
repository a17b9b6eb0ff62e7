"""Lay out the report's charts: bars and line charts for HTML and SVG, and plotly traces of interactive figures.

A line chart is laid out here in pixels, and the template writes it as SVG. Interactive figures are JSON, to which the
page's script adds the colours of the light or dark theme.
"""

import html
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from hangtag.figures.counts import plot_sunburst
from hangtag.metrics.confusion import build_matrix, compute_row_shares
from hangtag.reporting.format import Context, format_count, format_score, format_share

# A row of a table by column.
Row = Mapping[str, Any]
Rows = Sequence[Row]
# The maximum number of points in a line's text alternative for screen readers.
MAX_ALT_POINTS = 10


@dataclass(frozen=True)
class Bar:
    """One bar: its label, its count, its width in percent of the longest bar, and its share of the total (0 to 1)."""

    label: str
    count: int
    width: float
    share: float


@dataclass(frozen=True)
class Dot:
    """One dot of a line, in pixels of the drawing, with the text of its tooltip."""

    x: float
    y: float
    radius: float = 3
    tooltip: str = ""


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
        name: Its name in the legend; empty for a line that is not in the legend.
        look: Its CSS class: `train`, `val`, `test`, `capstone` (the capstone's run) or `ideal` (the diagonal).
        points: The `points` of its SVG polyline; empty if only its dots are drawn.
        dots: The dots on it.
        alt_texts: Its values for screen readers.
        band: The `points` of the SVG polygon that shades the area along it.
    """

    name: str
    look: str
    points: str
    dots: tuple[Dot, ...]
    alt_texts: tuple[str, ...]
    band: str = ""


@dataclass(frozen=True)
class Chart:
    """A line chart of `width` x `height` pixels, its origin at the top left.

    Attributes:
        y_label: The label of the vertical axis, which is also the heading of the chart.
        x_label: The label of the horizontal axis.
        left: The horizontal position of the vertical axis.
        right: The horizontal position where the grid lines end.
        bottom: The vertical position of the horizontal axis.
        x_ticks: (position, text) of each tick of the horizontal axis.
        y_ticks: (position, text) of each tick of the vertical axis.
        lines: The lines.
    """

    y_label: str
    x_label: str
    width: int
    height: int
    left: int
    right: int
    bottom: int
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Frame:
    """The axes of a line chart: `x_ends` are the values at the left and right, `y_ends` those at the bottom and top."""

    x_ends: tuple[float, float]
    y_ends: tuple[float, float]
    width: int = 430
    height: int = 270
    left: int = 42
    bottom: int = 236
    margin: int = 12  # at the right and at the top

    def scale_x(self, value: float) -> float:
        """Return the horizontal position of a value, in pixels; the middle if both ends of the axis are equal."""
        low, high = self.x_ends
        share = (value - low) / (high - low) if high > low else 0.5
        return round(self.left + (self.width - self.margin - self.left) * share, 1)

    def scale_y(self, value: float) -> float:
        """Return the vertical position of a value, in pixels from the top."""
        low, high = self.y_ends
        return round(self.bottom - (self.bottom - self.margin) * (value - low) / (high - low), 1)

    def format_points(self, points: Iterable[tuple[float, float]]) -> str:
        """Return (x, y) values as the `points` of an SVG polyline."""
        return " ".join(f"{self.scale_x(x)},{self.scale_y(y)}" for x, y in points)

    def build_chart(
        self,
        y_label: str,
        x_label: str,
        lines: Sequence[Line],
        x_ticks: Iterable[tuple[float, str]],
        y_ticks: Iterable[tuple[float, str]],
    ) -> Chart:
        """Return a chart of lines whose points are already scaled; ticks are (value, text)."""
        return Chart(
            y_label=y_label,
            x_label=x_label,
            width=self.width,
            height=self.height,
            left=self.left,
            right=self.width - self.margin,
            bottom=self.bottom,
            x_ticks=tuple((self.scale_x(value), text) for value, text in x_ticks),
            y_ticks=tuple((self.scale_y(value), text) for value, text in y_ticks),
            lines=tuple(lines),
        )


def build_sunburst(table: pl.DataFrame, path_columns: Sequence[str]) -> Context:
    """Build a sunburst chart with one ring for each column.

    Args:
        table: A table with the path columns and `count`.
        path_columns: The columns from the inner to the outer ring.

    Returns:
        A plotly trace; its first sector is the total in the centre.
    """
    trace: Context = json.loads(plot_sunburst(table, path_columns, "").to_json())["data"][0]
    return trace


def build_heatmap(confusion: pl.DataFrame, class_names: Sequence[str]) -> Context:
    """Build a confusion matrix as a heat map, with labels as rows and predicted labels as columns.

    A cell's colour is the square root of its share of the row, so that rare errors are visible.

    Args:
        confusion: A long table of one split with `label`, `predicted_label` and `count`.
        class_names: The order of rows and columns.

    Returns:
        A plotly trace.
    """
    matrix = build_matrix(confusion, class_names)
    shares = compute_row_shares(matrix)
    # plotly interprets some HTML in labels.
    names = [html.escape(label) for label in class_names]
    return {
        "type": "heatmap",
        "x": names,
        "y": names,
        "z": [[round(share**0.5, 4) for share in row] for row in shares.tolist()],
        "customdata": np.stack([matrix, shares.round(4)], axis=-1).tolist(),
        "hovertemplate": "labelled %{y}<br>predicted %{x}<br>%{customdata[0]:,} items, "
        "%{customdata[1]:.1%} of the row<extra></extra>",
        "zmin": 0,
        "zmax": 1,
        "showscale": False,
        "xgap": 1,
        "ygap": 1,
    }


def build_bars(labels: Sequence[str], counts: Sequence[int]) -> list[Bar]:
    """Lay out counts as bars whose widths are proportional to them.

    Args:
        labels: The label of each bar.
        counts: The count of each bar, 0 or more.
    """
    longest = max(counts, default=0) or 1
    total = sum(counts) or 1
    return [
        Bar(label, count, round(100 * count / longest, 2), count / total)
        for label, count in zip(labels, counts, strict=True)
    ]


def find_ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Return about `wanted` round, evenly spaced values that span `low` to `high`."""
    # Equal or nearly equal values still need an axis of positive length.
    span = max(high - low, abs(low) / 1000, abs(high) / 1000, 1e-6)
    step = 10.0 ** math.floor(math.log10(span / wanted))
    step *= next(factor for factor in (1, 2, 2.5, 5, 10) if span / (step * factor) <= wanted)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(step * index, 10) for index in range(first, max(last, first + 1) + 1)]


def build_curves(y_label: str, series: Sequence[tuple[str, str, Sequence[float]]]) -> Chart:
    """Lay out training curves: values over epochs 1, 2, ...

    Args:
        y_label: The name of the metric.
        series: (name, look, one value per epoch) of each line; at least one value must be finite.
    """
    finite = [value for _, _, values in series for value in values if math.isfinite(value)]
    ticks = find_ticks(min(finite), max(finite))
    epochs = max(len(values) for _, _, values in series)
    frame = Frame((1, epochs), (ticks[0], ticks[-1]))
    lines = []
    for name, look, values in series:
        points = [(epoch, value) for epoch, value in enumerate(values, 1) if math.isfinite(value)]
        dots = tuple(Dot(frame.scale_x(epoch), frame.scale_y(value)) for epoch, value in points)
        lines.append(Line(name, look, frame.format_points(points), dots, tuple(map(format_score, values))))
    stride = max(1, math.ceil(epochs / 10))
    x_ticks = [(epoch, str(epoch)) for epoch in range(1, epochs + 1, stride)]
    return frame.build_chart(y_label, "epoch", lines, x_ticks, [(value, f"{value:g}") for value in ticks])


def build_reliability(series: Sequence[tuple[str, str, Rows]]) -> Chart:
    """Lay out a reliability diagram: accuracy over confidence with one dot per bin, and the diagonal.

    The area of a dot grows with the number of items in its bin.

    Args:
        series: (name, look, bins) of each split; a bin has `n`, `confidence` and `accuracy`.
    """
    frame = _build_share_frame(0.0)
    lines = [Line("", "ideal", frame.format_points([(0.0, 0.0), (1.0, 1.0)]), (), ())]
    for name, look, bins in series:
        total = sum(row["n"] for row in bins) or 1
        dots, texts = [], []
        for row in bins:
            confidence, accuracy = (format_share(row[key], 0) for key in ("confidence", "accuracy"))
            texts.append(f"confidence {confidence}, accuracy {accuracy}, {format_count(row['n'])} items")
            # A minimum of 2 pixels keeps the smallest dot visible.
            radius = round(2 + 6 * math.sqrt(row["n"] / total), 1)
            x, y = frame.scale_x(row["confidence"]), frame.scale_y(row["accuracy"])
            dots.append(Dot(x, y, radius, f"{name}: {texts[-1]}"))
        lines.append(Line(name, look, "", tuple(dots), tuple(texts)))
    return frame.build_chart(
        "Accuracy", "confidence", lines, _build_share_ticks(frame.x_ends), _build_share_ticks(frame.y_ends)
    )


def build_coverage(series: Sequence[tuple[str, str, Rows, Rows]]) -> Chart:
    """Lay out precision over coverage, shaded down to its lower confidence bound, with a dot for each threshold.

    Args:
        series: (name, look, line, thresholds) of each split. A line has at least one row, with `coverage`, `precision`
            and `precision_low`; a threshold has `target_precision`, `coverage` and `precision`.
    """
    lowest = min(row["precision"] for _, _, *both in series for rows in both for row in rows)
    # The axis needs different ends even if every precision is 1.
    frame = _build_share_frame(find_ticks(min(lowest, 0.99), 1.0)[0])
    lines = []
    for name, look, line, thresholds in series:
        ordered = sorted(line, key=lambda row: row["coverage"])
        points = [(row["coverage"], row["precision"]) for row in ordered]
        # Clip bounds below the chart to its edge.
        bounds = [(row["coverage"], max(row["precision_low"], frame.y_ends[0])) for row in reversed(ordered)]
        dots = tuple(
            Dot(
                frame.scale_x(row["coverage"]),
                frame.scale_y(row["precision"]),
                4,
                f"{name}, target {format_share(row['target_precision'])}: {_describe_coverage(row)}",
            )
            for row in thresholds
        )
        described = [*ordered[:: max(1, len(ordered) // MAX_ALT_POINTS)], ordered[-1]]
        texts = tuple(dict.fromkeys(map(_describe_coverage, described)))
        lines.append(Line(name, look, frame.format_points(points), dots, texts, frame.format_points(points + bounds)))
    return frame.build_chart(
        "Precision", "coverage", lines, _build_share_ticks(frame.x_ends), _build_share_ticks(frame.y_ends)
    )


def _build_share_frame(lowest: float) -> Frame:
    """Return a frame for two axes in percent, with room for the text of 100 %."""
    return Frame((0.0, 1.0), (lowest, 1.0), left=52, margin=20)


def _describe_coverage(row: Row) -> str:
    return f"precision {format_share(row['precision'])} at coverage {format_share(row['coverage'])}"


def _build_share_ticks(ends: tuple[float, float]) -> list[tuple[float, str]]:
    return [(value, f"{100 * value:g} %") for value in find_ticks(*ends)]
