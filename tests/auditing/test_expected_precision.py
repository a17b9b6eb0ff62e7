"""Test that the expected number of right label errors covers what was planted, and is low where the model is weak."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from audited import make_context, make_items, make_out_of_sample, make_probs

from hangtag.auditing.expected_precision import MOST_WRONG, WAYS, count_right, estimate_wrong, expect_right
from hangtag.auditing.issues import join_issues
from hangtag.auditing.label_issues import find_label_issues
from hangtag.summary import describe_audit

ITEMS, CLASSES = 3000, 8


def draw_items(sharpness: float, seed: int) -> tuple[Any, Any]:
    """Draw calibrated probabilities, and true classes from them."""
    random = np.random.default_rng(seed)
    probs = np.exp(random.normal(size=(ITEMS, CLASSES)) * sharpness)
    probs /= probs.sum(axis=1, keepdims=True)
    true = (probs.cumsum(axis=1) > random.random((ITEMS, 1))).argmax(axis=1)
    return probs.astype(np.float32), true


def expect(given: Any, probs: Any, depth: int = 100, groups: Any = None) -> tuple[dict[str, Any], Any]:
    """Return the expected number among the items whose label is least likely, and which these are."""
    first = np.argsort(probs[np.arange(ITEMS), given], kind="stable")[:depth]
    names = pl.Series([str(group) for group in (range(ITEMS) if groups is None else groups)])
    return count_right(estimate_wrong(given, probs, names, first).by_way), first


@pytest.mark.parametrize("seed", range(3))
def test_planted_labels_lie_within_the_interval_and_clean_ones_are_not_expected_to_be_wrong(seed: int) -> None:
    probs, true = draw_items(8, seed)
    random = np.random.default_rng(seed + 100)
    given = true.copy()
    planted = random.choice(ITEMS, 150, replace=False)
    given[planted] = (true[planted] + random.integers(1, CLASSES, 150)) % CLASSES
    expected, first = expect(given, probs)
    right = int(np.isin(first, planted).sum())
    assert expected["low"] <= right <= expected["high"]
    assert right > 60 < expected["expected"]
    assert expect(true, probs)[0]["expected"] < 20


@pytest.mark.parametrize("planted", [0, 60, 150])
def test_the_share_of_wrong_labels_lies_within_its_interval(planted: int) -> None:
    probs, true = draw_items(8, 3)
    random = np.random.default_rng(103)
    given = true.copy()
    rows = random.choice(ITEMS, planted, replace=False)
    given[rows] = (true[rows] + random.integers(1, CLASSES, planted)) % CLASSES
    share = estimate_wrong(given, probs, pl.Series(map(str, range(ITEMS))), rows).describe_share()
    assert share["low"] <= planted / ITEMS <= share["high"] < MOST_WRONG
    assert share["low"] <= share["expected"] <= share["high"]


def test_a_confident_model_that_contradicts_half_of_the_labels_promises_little() -> None:
    probs, true = draw_items(8, 0)
    random = np.random.default_rng(1)
    # Half of the catalogue is nothing that the model knows, and it is as confident there as elsewhere.
    given = np.where(random.random(ITEMS) < 0.5, random.integers(0, CLASSES, ITEMS), true)
    expected, _ = expect(given, probs)
    assert expected["expected"] < 50
    everything, _ = expect(given, probs, ITEMS)
    assert everything["expected"] <= MOST_WRONG * ITEMS


def test_copies_of_an_item_are_no_further_evidence() -> None:
    probs, true = draw_items(3, 0)
    # A hundred copies of each of thirty items, with one label.
    rows = np.arange(ITEMS) // 100 * 100
    first = np.arange(0, ITEMS, 100)
    spreads = []
    for groups in (np.arange(ITEMS), rows):
        found = estimate_wrong(true[rows], probs[rows], pl.Series(groups.astype(str)), first)
        spreads.append(found.by_way[0].sum(axis=1).std())
    assert spreads[1] > 4 * spreads[0] > 0


def test_what_is_certain_has_no_interval() -> None:
    assert count_right(np.ones((WAYS, 50, 7))) == {"expected": 7.0, "low": 7, "high": 7}
    half = np.zeros((WAYS, 50, 7))
    half[0] = 1
    # The lowest and the highest way bound the interval: one way of three says that all are right.
    assert count_right(half) == {"expected": pytest.approx(7 / 3, abs=0.05), "low": 0, "high": 7}


def test_the_queue_of_a_catalogue_is_estimated_by_level_and_attribute() -> None:
    items = make_items(type={2: "Tees", 6: "Tees", 13: "Shoes"}, gender={40: "Women"})
    context = make_context(items)
    issues = join_issues([find_label_issues(context)])
    assert set(issues["column"]) == {"type", "gender"}
    expected: Any = expect_right(context, issues)
    assert expected["agreement"] == 0.97
    [whole] = expected["first"]
    assert (whole["issues"], whole["high"]) == (4, 4)
    assert whole["expected"] > 1
    assert expect_right(context, issues.clear()) == {}
    genders = make_probs(2, np.arange(len(items)) // 4 % 2, 0.999)
    probs = replace(make_out_of_sample(items), attributes={"gender": genders})
    order = np.random.default_rng(0).permutation(len(items))
    mixed = replace(
        probs,
        rows=order,
        given=probs.given[order],
        pred_probs=probs.pred_probs[order],
        attributes={"gender": genders[order]},
    )
    # The rows of attributes may be in any order; the issue is that of item 40.
    gender = issues.filter(pl.col("column") == "gender")
    alone: Any = expect_right(make_context(items, image_probs=probs), gender)
    shuffled: Any = expect_right(make_context(items, image_probs=mixed), gender)
    assert alone["first"][0]["expected"] > 0.2
    assert shuffled["first"][0]["expected"] == pytest.approx(alone["first"][0]["expected"], abs=0.15)


@pytest.mark.parametrize(("kind", "helps"), [("folds", "with more --epochs"), ("model", "cross-validate`, then")])
@pytest.mark.parametrize(("number", "is_weak"), [(49.9, True), (50.0, False)])
def test_weak_evidence_is_said_first(kind: str, helps: str, number: float, is_weak: bool) -> None:
    first = [{"issues": 20, "expected": 3.0, "low": 1, "high": 9}]
    first += [{"issues": 100, "expected": number, "low": 30, "high": 78}]
    source = {"source": "a test", "items": 10, "kind": kind}
    summary = {"issues": {}, "evidence": {"image": 3}, "not_applicable": {}, "items": 20, "judged": 10}
    summary |= {"sources": {"photographs": source}, "expected_right": {"agreement": 0.76, "first": first}}
    text = " ".join(describe_audit(summary).split())
    assert text.startswith("Weak evidence: the predictions agree with 76% of the labels") == is_weak
    assert (helps in text) == is_weak
    sentence = "Of the first 20 label errors about 3 (1 to 9), of the first 100 about 50 (30 to 78) are expected to be"
    assert f"{sentence} right." in text
    assert "hangtag review" not in text
    assert describe_audit(summary, Path("my w")).endswith("hangtag review --workspace 'my w'")
    assert "Judged: the labels of 10 of 20 items." in text
