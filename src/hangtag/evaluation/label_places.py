"""Write names beside dots so that they cover neither one another nor any dot, bar or line."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox

from hangtag.exploration.palette import INK, MUTED, SOFT_INK

FONT_SIZE, LONGEST = 8, 30
# How far from its dot a name may stand, in points: beside it, or farther away at the end of a thin line.
DISTANCES = (7, 13, 20, 30, 42, 56, 72, 90, 110)
DIRECTIONS = (0, 180, 90, 270, 30, 330, 150, 210, 60, 300, 120, 240)
LINE_FROM = 13
DOT_RADIUS, GAP = 4.5, 1.5


@dataclass(frozen=True)
class Spot:
    """A dot with its name.

    Attributes:
        name: The name.
        x: Where the dot lies, in the axes' units.
        y: The same, upwards.
        low: Where the bar through it begins.
        high: Where that ends.
        is_strong: Whether the name is written dark, and placed before the others.
    """

    name: str
    x: float
    y: float
    low: float
    high: float
    is_strong: bool


def write_names(figure: Figure, panels: Sequence[tuple[Axes, Sequence[Spot]]]) -> int:
    """Write the names beside the dots of each panel, once everything else is drawn.

    The figure's layout is fixed by it. Names stand within their panel; the strong ones choose first.

    Returns:
        How many names found no place.
    """
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    figure.draw(renderer)
    figure.set_layout_engine("none")
    scale = figure.dpi / 72
    return sum(_write(axes, spots, renderer, scale) for axes, spots in panels)


def _write(axes: Axes, spots: Sequence[Spot], renderer: RendererBase, scale: float) -> int:
    taken = [box for spot in spots for box in _find_boxes(axes, spot, scale)]
    taken += [box for line in axes.get_lines() for box in _find_steps(axes, line, scale)]
    inside, lost = axes.get_window_extent(), 0
    for spot in sorted(spots, key=lambda each: not each.is_strong):
        name = spot.name if len(spot.name) <= LONGEST else f"{spot.name[: LONGEST - 1]}…"
        text = axes.text(0, 0, name, fontsize=FONT_SIZE, parse_math=False)
        extent = text.get_window_extent(renderer)
        text.remove()
        at = axes.transData.transform((spot.x, spot.y))
        for distance, x, y in _list_places(extent.width, extent.height, scale):
            box = Bbox.from_bounds(at[0] + x, at[1] + y, extent.width, extent.height)
            is_inside = inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0 and box.y1 <= inside.y1
            if is_inside and not any(box.overlaps(other) for other in taken):
                taken.append(box.padded(GAP * scale))
                _annotate(axes, spot, name, (x / scale, y / scale), has_line=distance >= LINE_FROM)
                break
        else:
            lost += 1
    return lost


def _find_boxes(axes: Axes, spot: Spot, scale: float) -> Iterator[Bbox]:
    """Give the box of a dot and that of the bar through it, in pixels."""
    x, y = axes.transData.transform((spot.x, spot.y))
    radius = DOT_RADIUS * scale
    yield Bbox.from_bounds(x - radius, y - radius, 2 * radius, 2 * radius)
    _, low = axes.transData.transform((spot.x, spot.low))
    _, high = axes.transData.transform((spot.x, spot.high))
    yield Bbox.from_bounds(x - scale, low, 2 * scale, high - low)


def _find_steps(axes: Axes, line: Line2D, scale: float) -> Iterator[Bbox]:
    """Give the boxes of a line's steps, each value kept until the next, in pixels."""
    if line.get_drawstyle() != "steps-post":
        return
    corners = axes.transData.transform(line.get_xydata())
    for (x, y), (next_x, next_y) in itertools.pairwise(corners):
        yield Bbox.from_extents(x, y - scale, next_x, y + scale)
        yield Bbox.from_extents(next_x - scale, min(y, next_y), next_x + scale, max(y, next_y))


def _list_places(width: float, height: float, scale: float) -> Iterator[tuple[int, float, float]]:
    """Give a distance in points and where the lower left corner of a name would be from its dot, in pixels."""
    for distance in DISTANCES:
        for degrees in DIRECTIONS:
            across, up = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
            x = distance * scale * across + width * (across - 1) / 2
            yield distance, x, distance * scale * up + height * (up - 1) / 2


def _annotate(axes: Axes, spot: Spot, name: str, offset: tuple[float, float], *, has_line: bool) -> None:
    axes.annotate(
        name,
        (spot.x, spot.y),
        offset,
        textcoords="offset points",
        fontsize=FONT_SIZE,
        color=INK if spot.is_strong else SOFT_INK,
        parse_math=False,
        arrowprops={"arrowstyle": "-", "color": MUTED, "linewidth": 0.6, "shrinkB": 4} if has_line else None,
    )
