"""Count predictions by class: the confusion matrix, true positives, and from these precision, recall and F1."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from hangtag.models.label_space import Indices
from hangtag.train_config import SPLITS

Weights = npt.NDArray[np.float64]
# What tables and reports have as the split of all items that a cross-validation predicts.
OUT_OF_FOLD = "out_of_fold"
SPLIT_ORDER = {split: index for index, split in enumerate((*SPLITS, OUT_OF_FOLD))}
# Numbers of items, integers or weighted sums.
Counts = npt.NDArray[np.number]
# True positives, support and predicted items of each class.
Outcomes = tuple[Counts, Counts, Counts]


def count_confusion(classes: Indices, predicted: Indices, num_classes: int) -> npt.NDArray[np.int64]:
    """Count items by their class (row) and predicted class (column), int64 (num_classes, num_classes)."""
    flat = np.bincount(classes * num_classes + predicted, minlength=num_classes * num_classes)
    return flat.reshape(num_classes, num_classes)


def count_outcomes(classes: Indices, predicted: Indices, num_classes: int, weights: Counts | None = None) -> Outcomes:
    """Count true positives, given items and predicted items of each class.

    Args:
        classes: The true class indices, int64 (n,).
        predicted: The predicted ones, int64 (n,); `NO_VALUE`, -1, for no predicted class, which is always wrong.
        num_classes: C.
        weights: The weight of each item, (n,); 1 by default.

    Returns:
        Three arrays (C,).
    """
    correct = (classes == predicted) * (1 if weights is None else weights)
    chosen = np.bincount(predicted + 1, weights=weights, minlength=num_classes + 1)[1:]
    return (
        np.bincount(classes, weights=correct, minlength=num_classes),
        np.bincount(classes, weights=weights, minlength=num_classes),
        chosen,
    )


def compute_class_figures(confusion: Counts) -> dict[str, Weights]:
    """Compute precision, recall, F1 and support of each class from one or many confusion matrices.

    A division by zero gives 0, as in scikit-learn with `zero_division=0`.

    Args:
        confusion: (..., C, C), counts by true (row) and predicted (column) class.

    Returns:
        Four arrays (..., C).
    """
    hits, support, chosen = _read_outcomes(confusion)
    precision, recall = _divide(hits, chosen), _divide(hits, support)
    return {
        "precision": precision,
        "recall": recall,
        "f1": compute_f1(hits, support, chosen),
        "support": np.asarray(support, np.float64),
    }


def compute_macro_f1(confusion: Counts) -> Weights:
    """Compute the mean F1 over the classes that occur as true or predicted class, as scikit-learn does; (...)."""
    return average_f1(_read_outcomes(confusion))


def average_f1(outcomes: Outcomes, chosen_classes: npt.NDArray[np.bool_] | None = None) -> Weights:
    """Compute the mean F1 over the classes that occur as true or predicted class, from `count_outcomes`; (...).

    Args:
        outcomes: Three arrays (..., C).
        chosen_classes: The classes to average over, bool (C,); all by default. The mean is 0 if none of them occurs.
    """
    hits, support, chosen = outcomes
    occurs = find_occurring(outcomes, chosen_classes)
    f1 = np.where(occurs, compute_f1(hits, support, chosen), 0.0)
    return np.asarray(f1.sum(axis=-1) / np.maximum(occurs.sum(axis=-1), 1))


def find_occurring(outcomes: Outcomes, chosen_classes: npt.NDArray[np.bool_] | None) -> npt.NDArray[np.bool_]:
    """Return which classes a macro-F1 averages over: the chosen ones among those that occur, bool (..., C)."""
    _, support, chosen = outcomes
    occurs = np.asarray((support + chosen) > 0)
    return occurs if chosen_classes is None else occurs & chosen_classes


def _read_outcomes(confusion: Counts) -> Outcomes:
    hits = np.diagonal(confusion, axis1=-2, axis2=-1).astype(np.float64)
    return hits, confusion.sum(axis=-1).astype(np.float64), confusion.sum(axis=-2).astype(np.float64)


def compute_f1(hits: Counts, support: Counts, chosen: Counts) -> Weights:
    """Compute the F1 of each class from `count_outcomes`, (..., C); 0 for a class that does not occur."""
    return _divide(2.0 * hits, support + chosen)


def _divide(upper: Counts, lower: Counts) -> Weights:
    return np.asarray(np.divide(upper, lower, out=np.zeros(np.shape(upper)), where=lower > 0))


def tabulate_confusion(predictions: pl.DataFrame) -> pl.DataFrame:
    """Count the pairs of label and predicted label that occur in each split.

    Args:
        predictions: `split`, `label` and `predicted_label`.

    Returns:
        label, predicted_label, count, split; the counts add up to the number of items.
    """
    pairs = predictions.group_by("split", "label", "predicted_label").agg(pl.len().cast(pl.Int64).alias("count"))
    ordered = pairs.sort(_rank_split(), "label", "predicted_label")
    return ordered.select("label", "predicted_label", "count", "split")


def find_most_confused(confusion: pl.DataFrame) -> pl.DataFrame:
    """List the wrong pairs, the most frequent first, with their share of the label's items.

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


def _rank_split() -> pl.Expr:
    """Return a sort key for the split: train, val, test; or out-of-fold."""
    return pl.col("split").replace_strict(SPLIT_ORDER, return_dtype=pl.Int64)


def build_matrix(confusion: pl.DataFrame, class_names: Sequence[str]) -> npt.NDArray[np.int64]:
    """Build the confusion matrix of one split from its table, int64 (C, C), a row for each label."""
    index = {name: position for position, name in enumerate(class_names)}
    matrix = np.zeros((len(index), len(index)), np.int64)
    for label, predicted_label, count in confusion.select("label", "predicted_label", "count").iter_rows():
        matrix[index[label], index[predicted_label]] = count
    return matrix


def compute_row_shares(matrix: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return each count's share of its row, 0 to 1; rows without items are 0."""
    shares: npt.NDArray[np.float64] = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    return shares
