"""Metrics of a classifier, of the primary level and of every level and attribute."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from hangtag.inference.runs import EvaluatedItems, find_classes
from hangtag.io import JsonObject
from hangtag.labels.dataset import LabeledItems
from hangtag.metrics.bootstrap import compute_intervals
from hangtag.metrics.calibration import compute_calibration_error
from hangtag.metrics.confusion import (
    average_f1,
    compute_class_figures,
    compute_macro_f1,
    count_confusion,
    count_outcomes,
)
from hangtag.models.label_space import NO_VALUE, Indices, LabelSpace
from hangtag.training.targets import LABEL

Probs = npt.NDArray[np.float32]
LEAST_PROBABILITY = 1e-7
# A class with fewer items in the whole catalogue has too few in a split to be evaluated.
FREQUENT_ITEMS = 10


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
    """Return the classification report as a table.

    Args:
        figures: The metrics of `compute_interval_metrics`.
        split: The name of the split.

    Returns:
        split, class_index, label, precision, recall, f1, support, and the ends of the 95 % interval of the F1, f1_low
        and f1_high, null for a class that no item has or is predicted to have.
    """
    rows = [
        {"split": split, "class_index": index, "label": name, **values}
        for index, (name, values) in enumerate(figures["classes"].items())
    ]
    return pl.DataFrame(rows, schema_overrides=dict.fromkeys(("f1_low", "f1_high"), pl.Float64))


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
        nor predicted classes here. Classes that are only predicted count 0 in it, so with many classes of a few items
        the metric, and with it its interval, tends to be lower than on more items; `frequent_macro_f1` is not.
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
