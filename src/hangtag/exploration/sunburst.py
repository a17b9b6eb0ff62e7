"""Draw how labels divide into finer labels, as rings that open on a click."""

import html
from collections.abc import Sequence
from typing import Any

import polars as pl

from hangtag.exploration.palette import INK, MUTED, PAPER, SERIES, lighten
from hangtag.exploration.tables import MISSING, count_items

# Each ring further out is this much closer to white.
LIGHTER_A_RING = 0.28


def plot_sunburst(table: pl.DataFrame, path_columns: Sequence[str], title: str) -> Any:
    """Draw a sunburst whose sectors have the area of their counts.

    Args:
        table: One row for each path: `path_columns` (text) and `count` (int); nulls are drawn as
            `(missing)`.
        path_columns: The columns from the inner ring to the outer.
        title: The heading.

    Returns:
        A `plotly.graph_objects.Figure`; the middle holds the total, a click on a sector opens it.
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
    """Give the sectors of all rings as plotly's parallel lists, the total first, larger before smaller."""
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
    """Give an inner sector the next hue and its children paler ones; what is missing is gray."""
    if path[-1] == MISSING:
        return MUTED
    base = colors.setdefault(path[0], SERIES[len(colors) % len(SERIES)])
    return lighten(base, min(0.75, LIGHTER_A_RING * (len(path) - 1)))
