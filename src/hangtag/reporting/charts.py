"""Lay out the page's own charts: bars on a log axis, curves over epochs, confidence against what is right."""

import html
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from hangtag.figures.counts import plot_sunburst
from hangtag.metrics.classification import build_matrix, compute_row_shares
from hangtag.reporting.format import format_count, format_score, format_share

# Give the interactive figures as plain JSON for the page's script, which adds the theme's colours.


def build_sunburst(table: pl.DataFrame, path_columns: Sequence[str]) -> dict[str, Any]:
    """Build a sunburst with a ring a column, the first innermost.

    Args:
        table: The path columns and `count`.
        path_columns: From the inner ring to the outer one.

    Returns:
        A plotly trace; its first sector is the total in the middle.
    """
    trace: dict[str, Any] = json.loads(plot_sunburst(table, path_columns, "").to_json())["data"][0]
    return trace


def build_heatmap(confusion: pl.DataFrame, class_names: Sequence[str]) -> dict[str, Any]:
    """Build a confusion matrix as a heat map: a row a label, a column a predicted label.

    A cell's colour is the square root of its share of the row, so that rare mistakes can be seen.

    Args:
        confusion: Long table with `label`, `predicted_label`, `count`, of one split.
        class_names: The order of rows and columns.

    Returns:
        A plotly trace.
    """
    matrix = build_matrix(confusion, class_names)
    shares = compute_row_shares(matrix)
    # plotly reads labels as a little HTML.
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


# A row of a table, by its columns.
Row = Mapping[str, Any]
Rows = Sequence[Row]
# How many points of a long line are read aloud.
SPOKEN = 10


@dataclass(frozen=True)
class Bar:
    """One bar: its label, its count, its width in percent of the longest, and its share of all."""

    label: str
    count: int
    width: float
    share: float


@dataclass(frozen=True)
class Dot:
    """One dot of a line: its position, its radius, and the text of its tooltip."""

    x: float
    y: float
    radius: float = 3
    words: str = ""


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
        name: What it is of; empty for a line that needs no key.
        look: `train`, `val`, `test`, `beside` or `ideal`.
        points: Its points in the drawing, empty where only its dots are drawn.
        dots: The dots on it.
        values: What is read aloud of it.
        band: The outline of what is shaded along it.
    """

    name: str
    look: str
    points: str
    dots: tuple[Dot, ...]
    values: tuple[str, ...]
    band: str = ""


@dataclass(frozen=True)
class Chart:
    """A chart of lines in a drawing of `width` x `height`.

    Attributes:
        title: What is drawn upwards.
        across: What is drawn from left to right.
        left: Where the axis at the side stands.
        right: Where the lines across end.
        bottom: Where the axis below lies.
        x_ticks: (position, text) of the values named below.
        y_ticks: (position, text) of the values named at the side.
        lines: The lines.
    """

    title: str
    across: str
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
    """Where values lie in a drawing: from `x_ends` on the left and right to `y_ends` below and above."""

    x_ends: tuple[float, float]
    y_ends: tuple[float, float]
    width: int = 430
    height: int = 270
    left: int = 42
    bottom: int = 236
    margin: int = 12  # at the right and above

    def place_x(self, value: float) -> float:
        """Return the horizontal position of a value; a single value on its axis is in the middle."""
        low, high = self.x_ends
        share = (value - low) / (high - low) if high > low else 0.5
        return round(self.left + (self.width - self.margin - self.left) * share, 1)

    def place_y(self, value: float) -> float:
        """Return the vertical position of a value, from the top."""
        low, high = self.y_ends
        return round(self.bottom - (self.bottom - self.margin) * (value - low) / (high - low), 1)

    def join(self, points: Iterable[tuple[float, float]]) -> str:
        """Return the points as a drawing has them."""
        return " ".join(f"{self.place_x(x)},{self.place_y(y)}" for x, y in points)

    def draw(
        self,
        title: str,
        across: str,
        lines: Sequence[Line],
        x_ticks: Iterable[tuple[float, str]],
        y_ticks: Iterable[tuple[float, str]],
    ) -> Chart:
        """Return the chart of lines that are laid out in this frame."""
        return Chart(
            title=title,
            across=across,
            width=self.width,
            height=self.height,
            left=self.left,
            right=self.width - self.margin,
            bottom=self.bottom,
            x_ticks=tuple((self.place_x(value), text) for value, text in x_ticks),
            y_ticks=tuple((self.place_y(value), text) for value, text in y_ticks),
            lines=tuple(lines),
        )


def build_bars(labels: Sequence[str], counts: Sequence[int]) -> list[Bar]:
    """Lay out counts as bars on a log axis, where 1 already has a visible width.

    Args:
        labels: A label a bar.
        counts: 0 or more.
    """
    longest = math.log10(max(counts, default=0) + 1) or 1.0
    total = sum(counts) or 1
    return [
        Bar(label, count, round(100 * math.log10(count + 1) / longest, 2), count / total)
        for label, count in zip(labels, counts, strict=True)
    ]


def find_ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Return round values that span low to high, about `wanted` of them."""
    # Equal values, or nearly so, still get an axis of some height.
    span = max(high - low, abs(low) / 1000, abs(high) / 1000, 1e-6)
    step = 10.0 ** math.floor(math.log10(span / wanted))
    step *= next(factor for factor in (1, 2, 2.5, 5, 10) if span / (step * factor) <= wanted)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(step * index, 10) for index in range(first, max(last, first + 1) + 1)]


def build_curves(title: str, series: Sequence[tuple[str, str, Sequence[float]]]) -> Chart:
    """Lay out lines over epochs 1, 2, ...

    Args:
        title: What is drawn.
        series: (name, look, a value an epoch) of each line; at least one value in all.
    """
    values = [value for _, _, each in series for value in each if math.isfinite(value)]
    ticks = find_ticks(min(values), max(values))
    epochs = max(len(each) for _, _, each in series)
    frame = Frame((1, epochs), (ticks[0], ticks[-1]))
    lines = []
    for name, look, each in series:
        points = [(epoch, value) for epoch, value in enumerate(each, 1) if math.isfinite(value)]
        dots = tuple(Dot(frame.place_x(epoch), frame.place_y(value)) for epoch, value in points)
        lines.append(Line(name, look, frame.join(points), dots, tuple(map(format_score, each))))
    stride = max(1, math.ceil(epochs / 10))
    x_ticks = [(epoch, str(epoch)) for epoch in range(1, epochs + 1, stride)]
    return frame.draw(title, "epoch", lines, x_ticks, [(value, f"{value:g}") for value in ticks])


def build_reliability(series: Sequence[tuple[str, str, Rows]]) -> Chart:
    """Lay out accuracy over confidence: a dot a bin, the larger the more items, and the line they should lie on.

    Args:
        series: (name, look, bins) of each split; a bin has `n`, `confidence` and `accuracy`.
    """
    frame = _frame_shares(0.0)
    lines = [Line("", "ideal", frame.join([(0.0, 0.0), (1.0, 1.0)]), (), ())]
    for name, look, bins in series:
        total = sum(each["n"] for each in bins) or 1
        dots, told = [], []
        for each in bins:
            sure, right = (format_share(each[key], 0) for key in ("confidence", "accuracy"))
            told.append(f"{sure} sure, {right} right, {format_count(each['n'])} items")
            # By its area, with a smallest size that can still be seen.
            radius = round(2 + 6 * math.sqrt(each["n"] / total), 1)
            index = frame.place_x(each["confidence"]), frame.place_y(each["accuracy"])
            dots.append(Dot(*index, radius, f"{name}: {told[-1]}"))
        lines.append(Line(name, look, "", tuple(dots), tuple(told)))
    return frame.draw("Accuracy", "confidence", lines, _name_shares(frame.x_ends), _name_shares(frame.y_ends))


def build_coverage(series: Sequence[tuple[str, str, Rows, Rows]]) -> Chart:
    """Lay out precision over coverage, shaded down to its lower bound, with a dot for each target precision.

    Args:
        series: (name, look, line, promises) of each split, one row of a line at least. A row of a line has `coverage`,
            `precision` and `precision_low`; a promise has `target_precision`, and `coverage` and `precision` at the
            threshold for it.
    """
    lowest = min(each["precision"] for _, _, *both in series for rows in both for each in rows)
    # Where every answer is right, the axis still has two ends.
    frame = _frame_shares(find_ticks(min(lowest, 0.99), 1.0)[0])
    lines = []
    for name, look, line, promises in series:
        ordered = sorted(line, key=lambda each: each["coverage"])
        points = [(each["coverage"], each["precision"]) for each in ordered]
        # A bound that lies below the drawing ends at its edge.
        bounds = [(each["coverage"], max(each["precision_low"], frame.y_ends[0])) for each in reversed(ordered)]
        dots = tuple(
            Dot(
                frame.place_x(each["coverage"]),
                frame.place_y(each["precision"]),
                4,
                f"{name}, {format_share(each['target_precision'])} wanted: {_describe_sure(each)}",
            )
            for each in promises
        )
        told = [*ordered[:: max(1, len(ordered) // SPOKEN)], ordered[-1]]
        words = tuple(dict.fromkeys(map(_describe_sure, told)))
        lines.append(Line(name, look, frame.join(points), dots, words, frame.join(points + bounds)))
    return frame.draw("Precision", "coverage", lines, _name_shares(frame.x_ends), _name_shares(frame.y_ends))


def _frame_shares(lowest: float) -> Frame:
    """Return a frame for shares, with room for the names of 100 %."""
    return Frame((0.0, 1.0), (lowest, 1.0), left=52, margin=20)


def _describe_sure(row: Row) -> str:
    return f"{format_share(row['precision'])} right of the surest {format_share(row['coverage'])}"


def _name_shares(ends: tuple[float, float]) -> list[tuple[float, str]]:
    return [(value, f"{100 * value:g} %") for value in find_ticks(*ends)]
