"""Give the interactive figures as plain JSON for the page's script, which adds the theme's colours."""

import html
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from hangtag.evaluation.confusion import build_matrix, compute_row_shares
from hangtag.exploration.plots import plot_sunburst


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
