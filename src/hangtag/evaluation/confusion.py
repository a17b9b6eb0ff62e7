"""Tabulate and draw which labels are taken for which."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import polars as pl
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure

from hangtag.exploration.palette import ACCENT, FONT_NAME, INK, PAPER, SOFT_INK

CELL_INCHES = 0.36


def tabulate_confusion(predictions: pl.DataFrame) -> pl.DataFrame:
    """Count the pairs of label and predicted label that occur, a split apart.

    Args:
        predictions: `split`, `label` and `predicted_label`.

    Returns:
        label, predicted_label, count, split; its counts add up to the items.
    """
    pairs = predictions.group_by("split", "label", "predicted_label").agg(pl.len().cast(pl.Int64).alias("count"))
    ordered = pairs.sort("split", "label", "predicted_label")
    return ordered.select("label", "predicted_label", "count", "split")


def find_most_confused(confusion: pl.DataFrame) -> pl.DataFrame:
    """List wrong pairs, the commonest first, with their share of the label's items.

    Returns:
        split, label, predicted_label, count, share.
    """
    share = (pl.col("count") / pl.col("count").sum().over("split", "label")).round(4)
    wrong = confusion.with_columns(share=share).filter(pl.col("label") != pl.col("predicted_label"))
    ordered = wrong.sort("split", "count", "label", "predicted_label", descending=[False, True, False, False])
    return ordered.select("split", "label", "predicted_label", "count", "share")


def build_matrix(confusion: pl.DataFrame, class_names: Sequence[str]) -> Any:
    """Give the long table of one split as int64 (C, C), rows by label."""
    index = {name: position for position, name in enumerate(class_names)}
    matrix = np.zeros((len(index), len(index)), np.int64)
    for label, predicted_label, count in confusion.select("label", "predicted_label", "count").iter_rows():
        matrix[index[label], index[predicted_label]] = count
    return matrix


def plot_confusion(confusion: pl.DataFrame, class_names: Sequence[str], title: str) -> Figure:
    """Draw the matrix of one split: a row a label, its counts written in, its colour by the share of the row."""
    matrix = build_matrix(confusion, class_names)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    side = max(5.0, 2.5 + CELL_INCHES * len(class_names))
    figure = Figure(figsize=(side, side), facecolor=PAPER, layout="constrained")
    axes = figure.add_subplot()
    colors = LinearSegmentedColormap.from_list("shares", [PAPER, ACCENT])
    axes.imshow(shares, cmap=colors, norm=PowerNorm(0.5, 0, 1))
    places = range(len(class_names))
    axes.set_xticks(places, class_names, rotation=90, parse_math=False)
    axes.set_yticks(places, class_names, parse_math=False)
    axes.tick_params(length=0, labelsize=9, labelfontfamily=FONT_NAME, labelcolor=INK)
    axes.spines[:].set_visible(False)
    for row, column in zip(*np.nonzero(matrix), strict=True):
        color = PAPER if shares[row, column] > 0.4 else INK
        text = f"{matrix[row, column]:,}"
        axes.text(column, row, text, ha="center", va="center", fontsize=7, color=color)
    axes.set_xlabel("Predicted label", color=SOFT_INK)
    axes.set_ylabel("Label", color=SOFT_INK)
    axes.set_title(title, loc="left", color=INK, fontweight="bold", parse_math=False)
    return figure


def plot_interactive_confusion(confusion: pl.DataFrame, class_names: Sequence[str], title: str) -> Any:
    """Draw the matrix of one split as a plotly heat map that names a cell's labels, count and share."""
    matrix = build_matrix(confusion, class_names)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    heatmap = go.Heatmap(
        z=np.sqrt(shares),
        x=list(class_names),
        y=list(class_names),
        customdata=np.stack([matrix, shares], axis=-1),
        hovertemplate=("%{y} → %{x}<br>%{customdata[0]:,} items, %{customdata[1]:.1%} of the label<extra></extra>"),
        colorscale=[[0, PAPER], [1, ACCENT]],
        showscale=False,
        xgap=1,
        ygap=1,
    )
    figure = go.Figure(heatmap)
    side = max(500, 240 + 26 * len(class_names))
    figure.update_layout(title=title, width=side, height=side, template="plotly_white")
    figure.update_xaxes(title="Predicted label", tickangle=-90, showgrid=False)
    figure.update_yaxes(title="Label", autorange="reversed", showgrid=False)
    return figure
