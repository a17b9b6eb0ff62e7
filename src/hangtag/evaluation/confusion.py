"""Count which labels are taken for which, and find the commonest mistakes."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from hangtag.config import SPLITS

SPLIT_ORDER = {split: place for place, split in enumerate(SPLITS)}


def _rank_split() -> pl.Expr:
    """Order by split as the splits are always named: train, val, test."""
    return pl.col("split").replace_strict(SPLIT_ORDER, return_dtype=pl.Int64)


def tabulate_confusion(predictions: pl.DataFrame) -> pl.DataFrame:
    """Count the pairs of label and predicted label that occur, a split apart.

    Args:
        predictions: `split`, `label` and `predicted_label`.

    Returns:
        label, predicted_label, count, split; its counts add up to the items.
    """
    pairs = predictions.group_by("split", "label", "predicted_label").agg(pl.len().cast(pl.Int64).alias("count"))
    ordered = pairs.sort(_rank_split(), "label", "predicted_label")
    return ordered.select("label", "predicted_label", "count", "split")


def find_most_confused(confusion: pl.DataFrame) -> pl.DataFrame:
    """List wrong pairs, the commonest first, with their share of the label's items.

    Args:
        confusion: The table of `tabulate_confusion`.

    Returns:
        split, label, predicted_label, count, share (0 to 1, four digits).
    """
    share = (pl.col("count") / pl.col("count").sum().over("split", "label")).round(4)
    wrong = confusion.with_columns(share=share).filter(pl.col("label") != pl.col("predicted_label"))
    descending = [False, True, False, False]
    ordered = wrong.sort(_rank_split(), "count", "label", "predicted_label", descending=descending)
    return ordered.select("split", "label", "predicted_label", "count", "share")


def build_matrix(confusion: pl.DataFrame, class_names: Sequence[str]) -> npt.NDArray[np.int64]:
    """Give the long table of one split as int64 (C, C), rows by label."""
    index = {name: position for position, name in enumerate(class_names)}
    matrix = np.zeros((len(index), len(index)), np.int64)
    for label, predicted_label, count in confusion.select("label", "predicted_label", "count").iter_rows():
        matrix[index[label], index[predicted_label]] = count
    return matrix


def compute_row_shares(matrix: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Give each count's share of its row, 0 to 1; rows without items are 0."""
    shares: npt.NDArray[np.float64] = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    return shares
