"""Draw metrics against costs with the Pareto front, as a picture and as an interactive page."""

import html
import itertools
import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from matplotlib.transforms import Bbox

from hangtag.figures.style import ACCENT, FONT_NAME, HAIRLINE, INK, MUTED, PAPER, SERIES, SOFT_INK, lighten
from hangtag.metrics.evaluated_runs import PHOTOGRAPH
from hangtag.metrics.pareto import COSTS, FIGURES

if TYPE_CHECKING:
    from plotly.graph_objects import Figure as PlotlyFigure


FONT_SIZE, LONGEST = 8, 30
# How far from its dot a name may stand, in points: beside it, or farther away at the end of a thin line.
DISTANCES = (7, 13, 20, 30, 42, 56, 72, 90, 110)
DIRECTIONS = (0, 180, 90, 270, 30, 330, 150, 210, 60, 300, 120, 240)
LINE_FROM = 13
DOT_RADIUS, GAP = 4.5, 1.5
# The costs in the picture; the page and the table have all.
SHOWN_COSTS = ("mflops", "training_minutes", "milliseconds")
COLORS = {PHOTOGRAPH: ACCENT, "photograph and name": SERIES[1]}
FAINT = 0.6
PANEL_INCHES = (5.2, 3.9)
# Room beside the outermost dots, on the log axis and upwards.
MARGINS = (0.18, 0.14)


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
    """Write the names beside the dots of each panel without overlaps; call it after everything else is drawn.

    This fixes the layout of the figure. Names stay within their panel; strong names are placed first.

    Returns:
        The number of names that could not be placed.
    """
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    figure.draw(renderer)
    figure.set_layout_engine("none")
    scale = figure.dpi / 72
    return sum(_draw_names(axes, spots, renderer, scale) for axes, spots in panels)


def _draw_names(axes: Axes, spots: Sequence[Spot], renderer: RendererBase, scale: float) -> int:
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
                _annotate_point(axes, spot, name, (x / scale, y / scale), has_line=distance >= LINE_FROM)
                break
        else:
            lost += 1
    return lost


def _find_boxes(axes: Axes, spot: Spot, scale: float) -> Iterator[Bbox]:
    """Return the box of a dot and that of the bar through it, in pixels."""
    x, y = axes.transData.transform((spot.x, spot.y))
    radius = DOT_RADIUS * scale
    yield Bbox.from_bounds(x - radius, y - radius, 2 * radius, 2 * radius)
    _, low = axes.transData.transform((spot.x, spot.low))
    _, high = axes.transData.transform((spot.x, spot.high))
    yield Bbox.from_bounds(x - scale, low, 2 * scale, high - low)


def _find_steps(axes: Axes, line: Line2D, scale: float) -> Iterator[Bbox]:
    """Return the boxes of a line's steps, each value kept until the next, in pixels."""
    if line.get_drawstyle() != "steps-post":
        return
    corners = axes.transData.transform(line.get_xydata())
    for (x, y), (next_x, next_y) in itertools.pairwise(corners):
        yield Bbox.from_extents(x, y - scale, next_x, y + scale)
        yield Bbox.from_extents(next_x - scale, min(y, next_y), next_x + scale, max(y, next_y))


def _list_places(width: float, height: float, scale: float) -> Iterator[tuple[int, float, float]]:
    """Return a distance in points and where the lower left corner of a name would be from its dot, in pixels."""
    for distance in DISTANCES:
        for degrees in DIRECTIONS:
            across, up = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
            x = distance * scale * across + width * (across - 1) / 2
            yield distance, x, distance * scale * up + height * (up - 1) / 2


def _annotate_point(axes: Axes, spot: Spot, name: str, offset: tuple[float, float], *, has_line: bool) -> None:
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


def plot_costs(fronts: pl.DataFrame, title: str) -> Figure:
    """Draw a panel for each metric and cost: the front as steps, other recipes fainter, intervals as bars.

    Args:
        fronts: See `tabulate_fronts`.
        title: The heading.
    """
    figures = [name for name in FIGURES if name in fronts["figure"]]
    costs = [name for name in SHOWN_COSTS if name in fronts["cost"]]
    width, height = PANEL_INCHES[0] * max(1, len(costs)), PANEL_INCHES[1] * max(1, len(figures)) + 0.7
    figure = Figure(figsize=(width, height), facecolor=PAPER, layout=ConstrainedLayoutEngine(wspace=0.04, hspace=0.06))
    heading = textwrap.fill(title, int(width * 8))
    figure.suptitle(heading, x=0.01, ha="left", color=INK, fontsize=13, fontweight="bold", parse_math=False)
    if not (figures and costs):
        return figure
    panels = figure.subplots(len(figures), len(costs), squeeze=False, sharey="row", sharex="col")
    written = []
    for row, name in enumerate(figures):
        for index, cost in enumerate(costs):
            part = fronts.filter(pl.col("figure") == name, pl.col("cost") == cost)
            written.append((panels[row, index], _draw_panel(panels[row, index], part)))
            panels[-1, index].set_xlabel(f"{COSTS[cost]} (log scale)", color=SOFT_INK)
        panels[row, 0].set_ylabel(describe_figure(fronts, name), color=SOFT_INK, parse_math=False)
    _add_key(figure, fronts)
    for axes, _ in written:
        _style_axes(axes)
    write_names(figure, written)
    return figure


def describe_figure(fronts: pl.DataFrame, figure: str) -> str:
    """Name a figure with what it is of, as `macro-F1 of articleType (10 items or more)`."""
    of = fronts.filter(pl.col("figure") == figure)["of"][0]
    return f"{FIGURES[figure]} of {of}{' (10 items or more)' if figure.startswith('level') else ''}"


def _draw_panel(axes: Axes, part: pl.DataFrame) -> list[Spot]:
    for (source,), points in part.group_by("input", maintain_order=True):
        color = COLORS.get(source, SERIES[2])
        front = points.filter("is_on_front").sort("amount", "value")
        axes.plot(front["amount"], front["value"], color=color, linewidth=1.4, drawstyle="steps-post", zorder=2)
        for row in points.to_dicts():
            shade = color if row["is_on_front"] else lighten(color, FAINT)
            axes.vlines(row["amount"], row["low"], row["high"], color=shade, linewidth=1.4, alpha=0.75, zorder=2)
            axes.plot(row["amount"], row["value"], color=shade, marker="o", linestyle="", markersize=6, zorder=3)
    axes.set_xscale("log")
    axes.margins(*MARGINS)
    if part["amount"].n_unique() == 1:
        # Runs of one cost, as those that differ by their seed: an axis needs two ends.
        axes.set_xlim(part["amount"][0] / 2, part["amount"][0] * 2)
    return [
        Spot(row["recipe"], row["amount"], row["value"], row["low"], row["high"], row["is_on_front"])
        for row in part.to_dicts()
    ]


def _add_key(figure: Figure, fronts: pl.DataFrame) -> None:
    sources = fronts["input"].unique(maintain_order=True).to_list()
    lines = [
        Line2D([], [], color=COLORS.get(source, SERIES[2]), marker="o", label=f"from the {source}: the front")
        for source in sources
    ]
    if not fronts["is_on_front"].all():
        faint = lighten(COLORS.get(sources[0], SERIES[2]), FAINT)
        lines.append(Line2D([], [], color=faint, marker="o", linestyle="", label="another is as good and no dearer"))
    figure.legend(handles=lines, loc="outside lower left", frameon=False, ncols=3, fontsize=9, labelcolor=INK)


def _style_axes(axes: Axes) -> None:
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(which="both", length=0, labelsize=9, labelcolor=INK, labelfontfamily=FONT_NAME)
    axes.grid(color=HAIRLINE, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)


def plot_interactive_costs(fronts: pl.DataFrame, title: str) -> "PlotlyFigure":
    """Plot the same as an interactive page: a menu chooses metric and cost, pointing at a dot shows its recipe.

    Args:
        fronts: See `tabulate_fronts`.
        title: The heading.
    """
    from plotly import graph_objects  # noqa: PLC0415 - slow to import

    views = fronts.select("figure", "cost").unique(maintain_order=True).rows()
    traces: list[tuple[int, Any]] = []
    for number, (name, cost) in enumerate(views):
        part = fronts.filter(pl.col("figure") == name, pl.col("cost") == cost)
        for (source,), points in part.group_by("input", maintain_order=True):
            traces += [(number, trace) for trace in _build_traces(points, str(source), fronts, graph_objects)]
    for number, trace in traces:
        trace.visible = number == 0
    figure = graph_objects.Figure([trace for _, trace in traces])
    menu = [_build_choice(number, view, traces, fronts) for number, view in enumerate(views)]
    axis = {"gridcolor": HAIRLINE, "zeroline": False}
    figure.update_layout(
        title={"text": html.escape(title), "font": {"size": 18}, "y": 0.985, "yanchor": "top"},
        updatemenus=[{"buttons": menu, "x": 0, "xanchor": "left", "y": 1, "yanchor": "bottom", "pad": {"b": 12}}]
        if menu
        else [],
        plot_bgcolor=PAPER,
        paper_bgcolor=PAPER,
        font={"family": FONT_NAME, "color": INK},
        margin={"t": 130},
        xaxis=axis | {"type": "log", "title": menu[0]["args"][1]["xaxis.title.text"] if menu else ""},
        yaxis=axis | {"title": menu[0]["args"][1]["yaxis.title.text"] if menu else ""},
    )
    return figure


def _build_traces(points: pl.DataFrame, source: str, fronts: pl.DataFrame, graph_objects: Any) -> list[Any]:
    """Return the front as steps, and the dots with their intervals."""
    color = COLORS.get(source, SERIES[2])
    front = points.filter("is_on_front").sort("amount", "value")
    line = {"color": color, "shape": "hv", "width": 2}
    steps = graph_objects.Scatter(
        x=front["amount"].to_list(), y=front["value"].to_list(), mode="lines", line=line, name=f"front, {source}",
        hoverinfo="skip",
    )  # fmt: skip
    shades = [color if is_on_front else lighten(color, FAINT) for is_on_front in points["is_on_front"]]
    dots = graph_objects.Scatter(
        x=points["amount"].to_list(),
        y=points["value"].to_list(),
        mode="markers",
        name=f"from the {source}",
        marker={"color": shades, "size": 11},
        text=[_describe_recipe(recipe, source, fronts) for recipe in points["recipe"]],
        hovertemplate="%{text}<extra></extra>",
        error_y={
            "array": (points["high"] - points["value"]).clip(0).to_list(),
            "arrayminus": (points["value"] - points["low"]).clip(0).to_list(),
            "color": lighten(color, FAINT),
            "width": 0,
        },
    )
    return [steps, dots]


def _describe_recipe(recipe: str, source: str, fronts: pl.DataFrame) -> str:
    own = fronts.filter(pl.col("recipe") == recipe)
    values = own.unique("figure", maintain_order=True).to_dicts()
    lines = [f"<b>{html.escape(recipe)}</b>, {source}"]
    for row in values:
        figure = html.escape(describe_figure(fronts, row["figure"]))
        lines.append(f"{figure} {row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]")
    lines += [
        f"{row['amount']:,.4g} {COSTS[row['cost']]}" for row in own.unique("cost", maintain_order=True).to_dicts()
    ]
    return "<br>".join(lines)


def _build_choice(
    number: int, view: tuple[str, str], traces: list[tuple[int, Any]], fronts: pl.DataFrame
) -> dict[str, Any]:
    name, cost = view
    upwards = html.escape(describe_figure(fronts, name))
    shown = [index == number for index, _ in traces]
    axes = {"xaxis.title.text": f"{COSTS[cost]} (log scale)", "yaxis.title.text": upwards}
    return {"label": f"{upwards} against {COSTS[cost]}", "method": "update", "args": [{"visible": shown}, axes]}
