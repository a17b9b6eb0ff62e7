"""Test the metrics against scikit-learn on arbitrary predictions."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from hangtag.config import EvaluateConfig
from hangtag.inference.prediction import HeadProbs
from hangtag.inference.runs import EvaluatedItems
from hangtag.metrics.classification import compute_figures, compute_top_accuracy, tabulate_classes
from hangtag.metrics.confusion import (
    average_f1,
    compute_class_figures,
    compute_macro_f1,
    count_confusion,
    count_outcomes,
)
from hangtag.metrics.report import compute_interval_metrics
from hangtag.models.label_space import CATEGORY_PATH, LabelSpace

NAMES = ("a", "b", "c", "d", "e")
numbers = st.integers(0, 2**32 - 1)


def draw(seed: int, n: int, num_drawn: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw classes of the first `num_drawn` and probabilities of all five, some of them right."""
    random = np.random.default_rng(seed)
    classes = random.integers(0, num_drawn, n)
    scores = random.normal(size=(n, len(NAMES)))
    scores[np.arange(n), classes] += random.choice([0, 3], n)
    probs = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    return classes, probs.astype(np.float32)


@settings(deadline=None)
@given(numbers, st.integers(1, 60), st.integers(1, 5))
def test_all_metrics_equal_those_of_scikit_learn(seed: int, n: int, num_drawn: int) -> None:
    classes, probs = draw(seed, n, num_drawn)
    predicted, labels = probs.argmax(axis=1), range(len(NAMES))
    figures = compute_figures(probs, classes, NAMES)
    expected = {
        "n": n,
        "loss": -np.log(probs[np.arange(n), classes]).mean(),
        "accuracy": sklearn_metrics.accuracy_score(classes, predicted),
        "macro_f1": sklearn_metrics.f1_score(classes, predicted, average="macro", zero_division=0),
        "weighted_f1": sklearn_metrics.f1_score(classes, predicted, average="weighted", zero_division=0),
        "top3_accuracy": sklearn_metrics.top_k_accuracy_score(classes, probs, k=3, labels=labels),
    }
    for key, value in expected.items():
        assert figures[key] == pytest.approx(value, abs=1e-6), key
    scores = sklearn_metrics.precision_recall_fscore_support(classes, predicted, labels=labels, zero_division=0)
    for place, key in enumerate(("precision", "recall", "f1", "support")):
        assert [figures["classes"][name][key] for name in NAMES] == pytest.approx(list(scores[place])), key


@settings(deadline=None)
@given(numbers, st.integers(0, 60), st.integers(1, 5))
def test_the_confusion_matrix_equals_that_of_scikit_learn(seed: int, n: int, num_drawn: int) -> None:
    classes, probs = draw(seed, n, num_drawn)
    predicted = probs.argmax(axis=1)
    confusion = count_confusion(classes, predicted, len(NAMES))
    assert confusion.sum() == n
    if n:
        expected = sklearn_metrics.confusion_matrix(classes, predicted, labels=range(len(NAMES)))
        np.testing.assert_array_equal(confusion, expected)


@settings(deadline=None)
@given(numbers, st.integers(1, 60), st.integers(1, 5))
def test_outcomes_equal_those_of_the_confusion_matrix(seed: int, n: int, num_drawn: int) -> None:
    classes, probs = draw(seed, n, num_drawn)
    predicted, weights = probs.argmax(axis=1), np.random.default_rng(seed).integers(0, 3, n)
    confusion = count_confusion(np.repeat(classes, weights), np.repeat(predicted, weights), len(NAMES))
    hits, support, chosen = count_outcomes(classes, predicted, len(NAMES), weights)
    np.testing.assert_array_equal(hits, np.diag(confusion))
    np.testing.assert_array_equal(support, confusion.sum(axis=1))
    np.testing.assert_array_equal(chosen, confusion.sum(axis=0))
    assert float(average_f1((hits, support, chosen))) == pytest.approx(float(compute_macro_f1(confusion)))


def test_an_item_without_a_predicted_class_is_wrong() -> None:
    hits, support, chosen = count_outcomes(np.array([0, 1, 1]), np.array([0, -1, 0]), 2)
    assert (hits.tolist(), support.tolist(), chosen.tolist()) == ([1, 0], [1, 2], [2, 0])


def test_the_macro_f1_can_be_restricted_to_some_classes() -> None:
    outcomes = count_outcomes(np.array([0, 1, 1]), np.array([0, 1, 0]), 4)
    assert float(average_f1(outcomes)) == pytest.approx(2 / 3)
    # Class 3 neither occurs nor is predicted.
    assert float(average_f1(outcomes, np.array([True, False, False, True]))) == pytest.approx(2 / 3)
    assert float(average_f1(count_outcomes(np.array([0, 1]), np.array([0, 0]), 2), np.array([False, True]))) == 0
    assert float(average_f1(outcomes, np.array([False, False, False, True]))) == 0


def test_metrics_are_computed_for_many_confusion_matrices_at_once() -> None:
    one, other = np.array([[3, 1], [0, 2]]), np.array([[1, 0], [4, 0]])
    both = compute_class_figures(np.stack([one, other]))
    for key, values in compute_class_figures(other).items():
        np.testing.assert_array_equal(both[key][1], values)
    assert compute_macro_f1(np.stack([one, other])).tolist() == pytest.approx([float(compute_macro_f1(one)), 1 / 6])


def test_a_class_that_neither_occurs_nor_is_predicted_is_left_out_of_the_macro_f1() -> None:
    assert float(compute_macro_f1(np.diag([5, 5, 0]))) == 1
    # Predicted but never right, it does.
    assert float(compute_macro_f1(np.array([[5, 0, 0], [0, 4, 1], [0, 0, 0]]))) == pytest.approx((1 + 8 / 9) / 3)


def test_a_probability_of_zero_has_a_finite_loss() -> None:
    probs = np.array([[1, 0], [1, 0]], np.float32)
    figures = compute_figures(probs, np.array([0, 1]), NAMES[:2])
    assert figures["loss"] == pytest.approx(-np.log(1e-7) / 2)


def test_equal_probabilities_have_no_top_k_advantage() -> None:
    probs = np.full((5, 5), 0.2, np.float32)
    assert compute_top_accuracy(probs, np.arange(5), 3) == pytest.approx(3 / 5)
    assert compute_top_accuracy(probs, np.arange(5), 1) == pytest.approx(1 / 5)


def test_the_top_3_accuracy_of_two_classes_is_one() -> None:
    probs = np.array([[0.9, 0.1], [0.2, 0.8]], np.float32)
    assert compute_top_accuracy(probs, np.array([1, 0]), 3) == 1


def test_the_classification_report_is_a_table() -> None:
    probs, names = np.eye(2, 3, dtype=np.float32), ("Bags", "Shoes", "Belts")
    items = pl.DataFrame({"label": ["Bags", "Bags"], "group_id": ["a", "b"]})
    part = EvaluatedItems(items, HeadProbs(LabelSpace.of_classes(names), {CATEGORY_PATH: probs}))
    figures = compute_interval_metrics(part, EvaluateConfig(bootstrap_samples=100))
    # The intervals of the classes are with their metrics, and only there.
    assert list(figures["confidence_interval"]) == ["level", "method", "samples", "accuracy", "macro_f1"]
    table = tabulate_classes(figures, "val")
    columns = ["split", "class_index", "label", "precision", "recall", "f1", "support"]
    assert table.columns == [*columns, "f1_low", "f1_high"]
    assert table.select(columns).rows() == [
        ("val", 0, "Bags", 1.0, 0.5, 2 / 3, 2),
        ("val", 1, "Shoes", 0.0, 0.0, 0.0, 0),
        ("val", 2, "Belts", 0.0, 0.0, 0.0, 0),
    ]
    (low, high), shoes, belts = table.select("f1_low", "f1_high").rows()
    assert 0 <= low < 2 / 3 < high <= 1
    assert shoes[0] == 0 < shoes[1]
    assert belts == (None, None)
