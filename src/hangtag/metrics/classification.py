"""Metrics of a classifier: accuracy, F1, intervals and confusion matrix, of the primary level and of every level."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from hangtag.config import SPLITS
from hangtag.inference.runs import EvaluatedItems, find_classes
from hangtag.io import JsonObject
from hangtag.labels.dataset import LabeledItems
from hangtag.metrics.bootstrap import LEVEL, METHOD, draw_weights, find_interval
from hangtag.metrics.calibration import compute_calibration_error
from hangtag.models.label_space import NO_VALUE, Indices, LabelSpace
from hangtag.training.targets import LABEL

Probs = npt.NDArray[np.float32]
Weights = npt.NDArray[np.float64]
LEAST_PROBABILITY = 1e-7
# A class with fewer items in the whole catalogue has too few in a split to be evaluated.
FREQUENT_ITEMS = 10
SPLIT_ORDER = {split: index for index, split in enumerate(SPLITS)}
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
        "f1": _compute_f1(hits, support, chosen),
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
    occurs = (support + chosen) > 0
    if chosen_classes is not None:
        occurs &= chosen_classes
    f1 = np.where(occurs, _compute_f1(hits, support, chosen), 0.0)
    return np.asarray(f1.sum(axis=-1) / np.maximum(occurs.sum(axis=-1), 1))


def _read_outcomes(confusion: Counts) -> Outcomes:
    hits = np.diagonal(confusion, axis1=-2, axis2=-1).astype(np.float64)
    return hits, confusion.sum(axis=-1).astype(np.float64), confusion.sum(axis=-2).astype(np.float64)


def _compute_f1(hits: Counts, support: Counts, chosen: Counts) -> Weights:
    return _divide(2.0 * hits, support + chosen)


def _divide(upper: Counts, lower: Counts) -> Weights:
    return np.asarray(np.divide(upper, lower, out=np.zeros(np.shape(upper)), where=lower > 0))


def compute_figures(probs: Probs, classes: Indices, class_names: Sequence[str]) -> JsonObject:
    """Compute all metrics of one split.

    Args:
        probs: float32 (n, C).
        classes: The true class indices, int64 (n,), n above 0.
        class_names: C names.

    Returns:
        `n`, `loss` (mean cross-entropy in nats, probabilities clipped to at least 1e-7), `accuracy`,
        `macro_f1`, `weighted_f1`, `top3_accuracy`, `ece`, and `classes` with precision, recall, f1 and
        support by name. All but n, loss and support lie between 0 and 1. A class without items has recall
        and f1 of 0; it counts in the macro-F1 only where it was predicted.
    """
    predicted = probs.argmax(axis=1)
    confusion = count_confusion(classes, predicted, len(class_names))
    figures = compute_class_figures(confusion)
    true_probs = probs[np.arange(len(classes)), classes].astype(np.float64)
    return {
        "n": len(classes),
        "loss": float(-np.log(true_probs.clip(LEAST_PROBABILITY, 1)).mean()),
        "accuracy": float((predicted == classes).mean()),
        "macro_f1": float(compute_macro_f1(confusion)),
        "weighted_f1": float(figures["f1"] @ figures["support"] / len(classes)),
        "top3_accuracy": compute_top_accuracy(probs, classes, 3),
        "ece": compute_calibration_error(probs, classes),
        "classes": {
            name: {
                key: int(values[index]) if key == "support" else float(values[index]) for key, values in figures.items()
            }
            for index, name in enumerate(class_names)
        },
    }


def compute_top_accuracy(probs: Probs, classes: Indices, k: int) -> float:
    """Compute the top-k accuracy: the share of items whose class is among the k most likely ones.

    Ties are broken by class order, as in `argmax`, so that a model with equal probabilities for all classes gains
    nothing.

    Args:
        probs: float32 (n, C).
        classes: The true class indices, int64 (n,).
        k: How many of the most likely classes count.
    """
    true_probs = np.take_along_axis(probs, classes[:, None], axis=1)
    is_earlier = np.arange(probs.shape[1]) < classes[:, None]
    ahead = (probs > true_probs) | ((probs == true_probs) & is_earlier)
    return float((ahead.sum(axis=1) < k).mean())


def tabulate_classes(figures: JsonObject, split: str) -> pl.DataFrame:
    """Return the classification report as a table: split, class_index, label, precision, recall, f1, support."""
    rows = [
        {"split": split, "class_index": index, "label": name, **values}
        for index, (name, values) in enumerate(figures["classes"].items())
    ]
    return pl.DataFrame(rows)


def _rank_split() -> pl.Expr:
    """Return a sort key for the split: train, val, test."""
    return pl.col("split").replace_strict(SPLIT_ORDER, return_dtype=pl.Int64)


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


def compute_intervals(
    classes: npt.NDArray[np.int64],
    predicted: npt.NDArray[np.int64],
    group_ids: Sequence[str],
    num_classes: int,
    *,
    samples: int,
    seed: int,
) -> JsonObject:
    """Compute the 95 % intervals of accuracy and macro-F1.

    Whole groups of duplicates are drawn with replacement, because the predictions for duplicates are not independent.
    A class without items in a sample is left out of that sample's macro-F1. If all predictions are correct, the
    interval is [1, 1], which does not rule out errors on other items. For each sample only the counts of each class
    are computed, not a confusion matrix, so the method is fast with many classes.

    Args:
        classes: The true class indices, int64 (n,), n above 0.
        predicted: The predicted ones, int64 (n,); -1 for no predicted class.
        group_ids: The group of duplicates of each item.
        num_classes: C.
        samples: The number of bootstrap samples.
        seed: The seed of the bootstrap.

    Returns:
        `level`, `method`, `samples`, and `accuracy` and `macro_f1` as [low, high].
    """
    accuracy, macro_f1 = [], []
    for weights in draw_weights(group_ids, samples, seed):
        outcomes = count_outcomes(classes, predicted, num_classes, weights)
        accuracy.append(float(outcomes[0].sum() / weights.sum()))
        macro_f1.append(float(average_f1(outcomes)))
    return {
        "level": LEVEL,
        "method": METHOD,
        "samples": samples,
        "accuracy": list(find_interval(accuracy)),
        "macro_f1": list(find_interval(macro_f1)),
    }


def evaluate_levels(
    parts: Mapping[str, EvaluatedItems], labelled: LabeledItems, *, samples: int, seed: int
) -> dict[str, dict[str, JsonObject]]:
    """Compute the metrics of every level and attribute in each split.

    The predictions are those of `HeadProbs.choose_classes`: one category path for all levels, so that they are
    consistent, and the most likely value of each attribute.

    Args:
        parts: The predicted items by split, at least one split.
        labelled: The cleaned catalogue, for the kinds of columns and the frequencies of classes.
        samples: The number of bootstrap samples.
        seed: The seed of the bootstrap.

    Returns:
        By split and column: `kind`, and the metrics of `evaluate_column`. A column without a known value in a split
        is left out there.
    """
    levels: dict[str, dict[str, JsonObject]] = {split: {} for split in parts}
    names = name_classes(next(iter(parts.values())).label_space)
    counts = {column: count_items(labelled, column, names[column]) for column in names}
    for split, part in parts.items():
        for column, predicted in part.predictions.choose_classes().items():
            classes = find_classes(part.items[column], names[column])
            known = np.flatnonzero(classes != NO_VALUE)
            if len(known):
                group_ids = part.items["group_id"][known].to_list()
                figures = evaluate_column(
                    classes[known], predicted[known], group_ids, counts[column], samples=samples, seed=seed
                )
                levels[split][column] = {"kind": find_kind(labelled, column), **figures}
    return levels


def evaluate_column(
    classes: Indices, predicted: Indices, group_ids: Sequence[str], counts: Indices, *, samples: int, seed: int
) -> JsonObject:
    """Compute the metrics of one level or attribute in one split.

    Args:
        classes: The true class indices, int64 (n,), n above 0.
        predicted: The predicted ones, int64 (n,); `NO_VALUE` is always wrong.
        group_ids: The group of duplicates of each item.
        counts: The number of items of each class in the whole catalogue, int64 (num_classes,).
        samples: The number of bootstrap samples.
        seed: The seed of the bootstrap.

    Returns:
        `n`, `num_classes`, `accuracy` and `macro_f1`, each with `_low` and `_high` of its 95 % interval,
        `frequent_classes` (classes with FREQUENT_ITEMS items or more in the catalogue), `frequent_n` (items of
        these here), `frequent_accuracy` (of these items) and `frequent_macro_f1` (the mean F1 of these classes,
        among all n items), both None if there are no such items. A macro-F1 leaves out classes that are neither true
        nor predicted classes here. A bootstrap sample that misses rare classes leaves them out too, so with many rare
        classes the interval is biased upwards, and may lie above the metric itself.
    """
    is_frequent = counts >= FREQUENT_ITEMS
    outcomes = count_outcomes(classes, predicted, len(counts))
    intervals = compute_intervals(classes, predicted, group_ids, len(counts), samples=samples, seed=seed)
    correct, of_frequent = classes == predicted, is_frequent[classes]
    has_frequent = bool(of_frequent.any())
    figures: JsonObject = {"n": len(classes), "num_classes": len(counts)}
    for key, value in (("accuracy", correct.mean()), ("macro_f1", average_f1(outcomes))):
        figures[key] = float(value)
        figures[f"{key}_low"], figures[f"{key}_high"] = intervals[key]
    return figures | {
        "frequent_classes": int(is_frequent.sum()),
        "frequent_n": int(of_frequent.sum()),
        "frequent_accuracy": float(correct[of_frequent].mean()) if has_frequent else None,
        "frequent_macro_f1": float(average_f1(outcomes, is_frequent)) if has_frequent else None,
    }


def tabulate_levels(levels: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> pl.DataFrame:
    """Return the metrics of `evaluate_levels` as a table: split, column, and the metrics in their order."""
    rows = [
        {"split": split, "column": column, **figures}
        for split, columns in levels.items()
        for column, figures in columns.items()
    ]
    return pl.DataFrame(rows, infer_schema_length=None)


def name_classes(label_space: LabelSpace) -> dict[str, tuple[str, ...]]:
    """Return the class names of every level and attribute by its column."""
    return {**label_space.levels, **label_space.attributes}


def count_items(labelled: LabeledItems, column: str, class_names: Sequence[str]) -> Indices:
    """Count the items of each class over all splits, int64 (classes,)."""
    classes = find_classes(labelled.table.filter(pl.col("split").is_not_null())[column], class_names)
    return np.bincount(classes[classes != NO_VALUE], minlength=len(class_names))


def find_kind(labelled: LabeledItems, column: str) -> str:
    """Return the kind of a column: `label`, `level` or `attribute`."""
    if column == LABEL:
        return "label"
    return "level" if column in labelled.schema.levels else "attribute"
