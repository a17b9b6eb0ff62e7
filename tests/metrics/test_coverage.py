"""Test coverage, precision and its lower bound at confidence thresholds."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hangtag.inference.prediction import HeadProbs
from hangtag.inference.runs import EvaluatedItems
from hangtag.metrics.calibration import measure_threshold, measure_thresholds, tabulate_coverage, tabulate_thresholds
from hangtag.models.label_space import CATEGORY_PATH, LabelSpace

CONFIDENCE = np.array([0.9, 0.5, 0.8, 0.8])
CORRECT = np.array([True, True, False, True])


def test_each_confidence_is_a_threshold_with_its_coverage_precision_and_bound() -> None:
    table = tabulate_coverage(CONFIDENCE, CORRECT)
    assert table.columns == ["threshold", "coverage", "precision", "precision_low"]
    assert table["threshold"].to_list() == [0.5, 0.8, 0.9]
    assert table["coverage"].to_list() == [1, 0.75, 0.25]
    assert table["precision"].to_list() == pytest.approx([3 / 4, 2 / 3, 1])
    # The share p at which 3 or more of 4, 2 or more of 3, and 1 of 1 right answers have a chance of 5 %.
    assert table["precision_low"].to_list() == pytest.approx([0.2486, 0.1354, 0.05], abs=1e-4)


def test_the_bound_is_zero_if_all_predictions_are_wrong() -> None:
    assert tabulate_coverage(np.array([0.9, 0.9]), np.array([False, False])).rows() == [(0.9, 1.0, 0.0, 0.0)]


def test_many_items_have_a_hundred_thresholds_at_even_coverage() -> None:
    table = tabulate_coverage(np.random.default_rng(0).permutation(1000) / 1000, np.full(1000, True))
    assert len(table) == 100
    assert table["coverage"].to_list() == pytest.approx([1 - place / 100 for place in range(100)], abs=0.002)
    assert table["threshold"].is_sorted()


@given(st.lists(st.tuples(st.sampled_from([0.2, 0.4, 0.6, 0.9]), st.booleans()), min_size=1, max_size=40))
def test_every_row_has_coverage_and_precision_of_its_threshold(answers: list[tuple[float, bool]]) -> None:
    confidence, correct = (np.array(each) for each in zip(*answers, strict=True))
    for threshold, coverage, precision, low in tabulate_coverage(confidence, correct).iter_rows():
        assert measure_threshold(confidence, correct, threshold) == {"coverage": coverage, "precision": precision}
        assert low <= precision


def test_a_threshold_may_cover_no_item_or_be_none() -> None:
    assert measure_threshold(CONFIDENCE, CORRECT, 0.8) == {"coverage": 0.75, "precision": pytest.approx(2 / 3)}
    assert measure_threshold(CONFIDENCE, CORRECT, 0.95) == {"coverage": 0, "precision": None}
    assert measure_threshold(CONFIDENCE, CORRECT, None) == {"coverage": 0, "precision": None}


def test_the_thresholds_of_a_model_are_measured_in_every_split() -> None:
    probs = np.array([[0.75, 0.25], [0.5, 0.5], [0.25, 0.75]], np.float32)
    items = pl.DataFrame({"split": ["val", "val", "test"], "label": ["a", "b", "b"]})
    parts = EvaluatedItems(items, HeadProbs(LabelSpace.of_classes(("a", "b")), {CATEGORY_PATH: probs})).by_split()
    measured = measure_thresholds(parts, {"0.9": 0.5, "0.95": 0.75, "0.995": None})
    nothing = {"coverage": 0, "precision": None}
    assert measured == {
        "0.9": {
            "threshold": 0.5,
            "splits": {"val": {"coverage": 1, "precision": 0.5}, "test": {"coverage": 1, "precision": 1}},
        },
        "0.95": {
            "threshold": 0.75,
            "splits": {"val": {"coverage": 0.5, "precision": 1}, "test": {"coverage": 1, "precision": 1}},
        },
        "0.995": {"threshold": None, "splits": {"val": nothing, "test": nothing}},
    }
    table = tabulate_thresholds(measured)
    assert table.columns == ["target_precision", "threshold", "split", "coverage", "precision"]
    assert table.row(2) == (0.95, 0.75, "val", 0.5, 1.0)
    assert table.row(-1) == (0.995, None, "test", 0.0, None)
    assert tabulate_thresholds({}).columns == table.columns
