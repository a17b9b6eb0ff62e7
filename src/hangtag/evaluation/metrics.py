"""Compute the figures by which a classifier is judged."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from hangtag.evaluation.calibration import compute_calibration_error

Probs = npt.NDArray[np.float32]
Classes = npt.NDArray[np.int64]
Weights = npt.NDArray[np.float64]
LEAST_PROBABILITY = 1e-7


def count_confusion(classes: Classes, predicted: Classes, num_classes: int) -> npt.NDArray[np.int64]:
    """Count items by their class (row) and predicted class (column), int64 (num_classes, num_classes)."""
    flat = np.bincount(classes * num_classes + predicted, minlength=num_classes * num_classes)
    return flat.reshape(num_classes, num_classes)


def compute_class_figures(confusion: npt.NDArray[Any]) -> dict[str, Weights]:
    """Give precision, recall, f1 and support a class from a confusion matrix, or from many at once.

    What would divide by nothing is 0, as scikit-learn has it with `zero_division=0`.

    Args:
        confusion: (..., C, C), counts by class and predicted class.

    Returns:
        Four arrays (..., C).
    """
    hits = np.diagonal(confusion, axis1=-2, axis2=-1).astype(np.float64)
    support = confusion.sum(axis=-1).astype(np.float64)
    chosen = confusion.sum(axis=-2).astype(np.float64)

    def divide(upper: Weights, lower: Weights) -> Weights:
        return np.divide(upper, lower, out=np.zeros_like(upper), where=lower > 0)

    f1 = divide(2 * hits, support + chosen)
    return {"precision": divide(hits, chosen), "recall": divide(hits, support), "f1": f1, "support": support}


def compute_macro_f1(confusion: npt.NDArray[Any]) -> Weights:
    """Give the mean F1 over the classes that occur, given or predicted, as scikit-learn has it; (...)."""
    occurs = (confusion.sum(axis=-1) + confusion.sum(axis=-2)) > 0
    f1 = compute_class_figures(confusion)["f1"]
    return np.asarray(f1.sum(axis=-1) / np.maximum(occurs.sum(axis=-1), 1))


def compute_figures(probs: Probs, classes: Classes, class_names: Sequence[str]) -> dict[str, Any]:
    """Give all figures of one split.

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
    own = probs[np.arange(len(classes)), classes].astype(np.float64)
    return {
        "n": len(classes),
        "loss": float(-np.log(own.clip(LEAST_PROBABILITY, 1)).mean()),
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


def compute_top_accuracy(probs: Probs, classes: Classes, places: int) -> float:
    """Give the share of items whose class is among the likeliest few.

    Of equal probabilities the class that comes first is ahead, as in `argmax`, so that a model that gives all
    classes the same earns nothing by it.

    Args:
        probs: float32 (n, C).
        classes: The true class indices, int64 (n,).
        places: How many of the likeliest count.
    """
    own = np.take_along_axis(probs, classes[:, None], axis=1)
    is_earlier = np.arange(probs.shape[1]) < classes[:, None]
    ahead = (probs > own) | ((probs == own) & is_earlier)
    return float((ahead.sum(axis=1) < places).mean())


def tabulate_classes(figures: dict[str, Any], split: str) -> pl.DataFrame:
    """Give the classification report as a table: split, class_index, label, precision, recall, f1, support."""
    rows = [
        {"split": split, "class_index": index, "label": name, **values}
        for index, (name, values) in enumerate(figures["classes"].items())
    ]
    return pl.DataFrame(rows)
