"""Lay out the page's own charts: bars on a log axis, parts of a whole, curves over epochs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Bar:
    """One bar: its label, its count, its width in percent of the longest, and its share of all."""

    label: str
    count: int
    width: float
    share: float


@dataclass(frozen=True)
class Line:
    """One line of a chart: a name, its look (`train`, `val` or `beside`) and its points in the drawing."""

    name: str
    look: str
    points: str
    values: tuple[float, ...]


@dataclass(frozen=True)
class Curves:
    """A chart of values over epochs in a drawing of `width` x `height`.

    Attributes:
        title: What is drawn.
        x_ticks: (position, text) of the epochs named below.
        y_ticks: (position, text) of the values named at the side.
        lines: The lines.
    """

    title: str
    width: int
    height: int
    left: int
    bottom: int
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    lines: tuple[Line, ...]


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
    """Give round values that span low to high, about `wanted` of them."""
    # Equal values, or nearly so, still get an axis of some height.
    span = max(high - low, abs(low) / 1000, abs(high) / 1000, 1e-6)
    step = 10.0 ** math.floor(math.log10(span / wanted))
    step *= next(factor for factor in (1, 2, 2.5, 5, 10) if span / (step * factor) <= wanted)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(step * place, 10) for place in range(first, max(last, first + 1) + 1)]


def build_curves(title: str, series: Sequence[tuple[str, str, Sequence[float]]]) -> Curves:
    """Lay out lines over epochs 1, 2, ...

    Args:
        title: What is drawn.
        series: (name, look, a value an epoch) of each line; at least one value in all.
    """
    width, height, left, bottom, margin = 430, 270, 42, 236, 12
    values = [value for _, _, each in series for value in each if math.isfinite(value)]
    ticks = find_ticks(min(values), max(values))
    low, high = ticks[0], ticks[-1]
    epochs = max(len(each) for _, _, each in series)

    def place_x(epoch: int) -> float:
        room = width - margin - left
        return round(left + (room * (epoch - 1) / (epochs - 1) if epochs > 1 else room / 2), 1)

    def place_y(value: float) -> float:
        return round(bottom - (bottom - margin) * (value - low) / (high - low), 1)

    def place(each: Sequence[float]) -> str:
        points = [(place_x(epoch), place_y(value)) for epoch, value in enumerate(each, 1) if math.isfinite(value)]
        return " ".join(f"{x},{y}" for x, y in points)

    stride = max(1, math.ceil(epochs / 10))
    return Curves(
        title=title,
        width=width,
        height=height,
        left=left,
        bottom=bottom,
        x_ticks=tuple((place_x(epoch), str(epoch)) for epoch in range(1, epochs + 1, stride)),
        y_ticks=tuple((place_y(value), f"{value:g}") for value in ticks),
        lines=tuple(Line(name, look, place(each), tuple(each)) for name, look, each in series),
    )
