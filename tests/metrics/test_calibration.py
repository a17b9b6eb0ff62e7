"""Test the expected calibration error and the table of reliability."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hangtag.metrics.calibration import compute_calibration_error, tabulate_reliability


def answer(confidence: float, right: int, wrong: int) -> tuple[np.ndarray, np.ndarray]:
    """Return two-class predictions of class 0, all equally sure."""
    probs = np.tile(np.array([confidence, 1 - confidence], np.float32), (right + wrong, 1))
    return probs, np.array([0] * right + [1] * wrong)


@pytest.mark.parametrize(
    ("confidence", "right", "wrong", "gap"),
    [(0.8, 8, 2, 0), (1.0, 5, 5, 0.5), (0.6, 10, 0, 0.4), (1.0, 10, 0, 0), (1.0, 0, 4, 1)],
)
def test_the_error_of_one_confidence_is_its_gap_to_the_accuracy(
    confidence: float, right: int, wrong: int, gap: float
) -> None:
    assert compute_calibration_error(*answer(confidence, right, wrong)) == pytest.approx(gap, abs=1e-6)


def test_overconfidence_and_underconfidence_do_not_cancel() -> None:
    parts = [answer(0.95, 0, 10), answer(0.55, 10, 0)]
    probs, classes = (np.concatenate(each) for each in zip(*parts, strict=True))
    assert compute_calibration_error(probs, classes) == pytest.approx((0.95 + 0.45) / 2, abs=1e-6)


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0.5, 1, width=32), st.booleans()), min_size=1, max_size=50))
def test_the_error_equals_a_naive_computation_by_bin(answers: list[tuple[float, bool]]) -> None:
    probs = np.array([[confidence, 1 - confidence] for confidence, _ in answers], np.float32)
    predicted = probs.argmax(axis=1)
    classes = np.where([is_right for _, is_right in answers], predicted, 1 - predicted)
    bins: dict[int, list[float]] = {}
    for row, is_right in zip(probs, classes == predicted, strict=True):
        confidence = float(row.max())
        bins.setdefault(min(int(confidence * 15), 14), []).append(float(is_right) - confidence)
    expected = sum(abs(sum(gaps)) for gaps in bins.values()) / len(answers)
    assert compute_calibration_error(probs, classes) == pytest.approx(expected, abs=1e-9)
    table = tabulate_reliability(probs.max(axis=1).astype(np.float64), classes == predicted)
    gaps = [n * abs(confidence - accuracy) for _, _, n, confidence, accuracy in table.iter_rows()]
    assert sum(gaps) / len(answers) == pytest.approx(expected, abs=1e-9)


def test_reliability_lists_bins_with_items_and_their_means() -> None:
    confidence, correct = np.array([0.1, 1.0, 0.3, 0.25, 0.8]), np.array([False, True, True, False, False])
    table = tabulate_reliability(confidence, correct, num_bins=4)
    assert table.columns == ["low", "high", "n", "confidence", "accuracy"]
    # A bin has its lower end; certainty is in the last one.
    assert table.rows() == [(0, 0.25, 1, 0.1, 0), (0.25, 0.5, 2, 0.275, 0.5), (0.75, 1, 2, 0.9, 0.5)]
