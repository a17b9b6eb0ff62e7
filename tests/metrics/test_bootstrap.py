"""Test bootstrap intervals against a naive bootstrap over groups of duplicates."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score

from hangtag.metrics.bootstrap import (
    Samples,
    compute_intervals,
    estimate_metrics,
    find_interval,
    find_intervals,
    find_percentiles,
)

NUM_CLASSES = 4


def draw(seed: int, n: int, accuracy: float) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    classes = random.integers(0, NUM_CLASSES, n)
    other = (classes + random.integers(1, NUM_CLASSES, n)) % NUM_CLASSES
    return classes, np.where(random.random(n) < accuracy, classes, other)


def find(classes: np.ndarray, predicted: np.ndarray, group_ids: list[str], samples: int = 200, seed: int = 0) -> Any:
    return compute_intervals(classes, predicted, group_ids, NUM_CLASSES, samples=samples, seed=seed)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.1, 0.9))
def test_the_interval_contains_the_metric_and_has_the_theoretical_width(seed: int, accuracy: float) -> None:
    classes, predicted = draw(seed, 400, accuracy)
    intervals = find(classes, predicted, [str(number) for number in range(400)], seed=seed)
    share = accuracy_score(classes, predicted)
    low, high = intervals["accuracy"]
    assert low <= share <= high
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(share * (1 - share) / 400), rel=0.35)
    low, high = intervals["macro_f1"]
    assert 0 <= low <= f1_score(classes, predicted, average="macro") <= high <= 1


def test_samples_equal_those_of_a_naive_bootstrap_that_repeats_items() -> None:
    classes, predicted = draw(1, 60, 0.7)
    groups = np.random.default_rng(2).integers(0, 25, 60)
    names = [f"g{group:02}" for group in groups]
    present = np.unique(groups)
    random = np.random.default_rng(5)
    accuracy, macro_f1 = [], []
    for _ in range(100):
        drawn = random.integers(0, len(present), len(present))
        rows = np.concatenate([np.flatnonzero(groups == present[place]) for place in drawn])
        accuracy.append(accuracy_score(classes[rows], predicted[rows]))
        macro_f1.append(f1_score(classes[rows], predicted[rows], average="macro", zero_division=0))
    found = estimate_metrics(classes, predicted[None], names, NUM_CLASSES, samples=100, seed=5)
    np.testing.assert_allclose(found["accuracy"].draws[:, 0], accuracy)
    np.testing.assert_allclose(found["macro_f1"].draws[:, 0], macro_f1)


def test_intervals_are_no_narrower_than_percentiles() -> None:
    classes, predicted = draw(1, 60, 0.7)
    names = [str(number) for number in range(60)]
    found = find(classes, predicted, names)
    for name, estimate in estimate_metrics(classes, predicted[None], names, NUM_CLASSES, samples=200, seed=0).items():
        low, high = find_percentiles(estimate.draws[:, 0])
        assert 0 <= found[name][0] <= low < high <= found[name][1] <= 1


def test_intervals_cover_the_true_values_with_rare_classes() -> None:
    # 500 items of 20 classes, most of which have a few; the true value is the mean F1 of those that occur.
    random = np.random.default_rng(0)
    shares = 1 / np.arange(1, 21) ** 1.6
    recalls = random.uniform(0.8, 1, 20)
    joint = np.diag(shares * recalls) + np.outer(shares * (1 - recalls), shares / shares.sum())
    joint /= joint.sum()
    f1 = 2 * np.diag(joint) / (joint.sum(axis=0) + joint.sum(axis=1))
    names = [str(number) for number in range(500)]
    is_covered, by_percentiles = [], []
    for _ in range(200):
        classes, predicted = np.divmod(random.choice(400, 500, p=joint.ravel()), 20)
        estimate = estimate_metrics(classes, predicted[None], names, 20, samples=60, seed=0)["macro_f1"]
        true = f1[np.unique([*classes, *predicted])].mean()
        (low, high), (inner, outer) = estimate.find_interval(0), find_percentiles(estimate.draws[:, 0])
        is_covered.append(low <= true <= high)
        by_percentiles.append(inner <= true <= outer)
    assert np.mean(is_covered) >= 0.92
    assert np.mean(by_percentiles) < 0.9


def test_the_variance_that_samples_lack_is_that_of_half_a_right_and_half_a_wrong_vote() -> None:
    # Nine of ten items of the first class are right, the tenth is taken for the second; one of each other is right.
    classes, predicted = np.array([0] * 10 + [1, 2]), np.array([[0] * 9 + [1, 1, 2]])
    names = [str(number) for number in range(12)]
    estimates = estimate_metrics(classes, predicted, names, 3, samples=5, seed=0)
    # 11 of 12: with 11.5 of 13, less without. By class 9 of 10, 1 of 2 (no variance is lacking) and 1 of 1.
    assert estimates["accuracy"].unseen_variances == pytest.approx([0.000925], abs=1e-6)
    assert estimates["macro_f1"].unseen_variances == pytest.approx([(0.00027 + 0.026656) / 9], abs=1e-6)
    only = estimate_metrics(classes, predicted, names, 3, np.array([True, False, False]), samples=5, seed=0)
    assert only["accuracy"].values == pytest.approx([0.9])
    assert only["macro_f1"].values == pytest.approx([18 / 19])
    assert only["accuracy"].unseen_variances == pytest.approx([0.000814], abs=1e-6)
    assert only["macro_f1"].unseen_variances == pytest.approx([0.00027], abs=1e-6)
    none = estimate_metrics(
        classes[:10], predicted[:, :10], names[:10], 3, np.array([False, False, True]), samples=5, seed=0
    )
    assert none["accuracy"].values == none["macro_f1"].values == none["macro_f1"].unseen_variances == [0]


def test_an_interval_is_symmetric_in_log_odds() -> None:
    assert find_percentiles(np.arange(101) / 100) == pytest.approx((0.025, 0.975))
    assert find_interval(np.full(9, 0.8), 0.8, 0.01) == pytest.approx((0.540236, 0.931585), abs=1e-5)
    # No share has a larger standard deviation than a half; and the interval contains the value.
    assert find_interval(np.full(9, 0.5), 0.5, 9.0) == pytest.approx((0.019455, 0.980545), abs=1e-5)
    assert find_interval(np.full(9, 0.5), 1.0, 9.0) == pytest.approx((0.019455, 1), abs=1e-5)


def test_samples_without_a_value_are_left_out_of_an_interval() -> None:
    draws = np.array([[0.5, 0.2, np.nan], [np.nan, 0.4, np.nan], [0.7, 0.6, np.nan]])
    values = np.array([0.6, 0.4, 0.3])
    low, high = find_intervals(draws, values, np.array([0.01, 0.02, 0.0]))
    assert (low[0], high[0]) == find_interval(np.array([0.5, 0.7]), 0.6, 0.01)
    assert (low[1], high[1]) == find_interval(draws[:, 1], 0.4, 0.02)
    assert (low[2], high[2]) == (0.3, 0.3)


def find_class_f1(
    classes: np.ndarray, predicted: np.ndarray, group_ids: list[str], num_classes: int = NUM_CLASSES, samples: int = 200
) -> Any:
    drawn = Samples.draw(classes, predicted[None], group_ids, num_classes, samples=samples, seed=0)
    return drawn.find_class_intervals(0)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.floats(0, 1))
def test_the_interval_of_the_f1_of_a_class_contains_it(seed: int, n: int, accuracy: float) -> None:
    classes, predicted = draw(seed, n, accuracy)
    groups = [f"g{group}" for group in np.random.default_rng(seed).integers(0, n, n)]
    scores = f1_score(classes, predicted, labels=range(NUM_CLASSES), average=None, zero_division=0)
    for index, ends in enumerate(find_class_f1(classes, predicted, groups, samples=40)):
        if not (np.any(classes == index) or np.any(predicted == index)):
            assert ends is None
            continue
        low, high = ends
        assert 0 <= low <= scores[index] <= high <= 1
        assert low < high
        # However few errors a class has, they are not ruled out.
        assert low < 1


def test_fewer_items_have_wider_intervals_of_the_f1_and_duplicates_count_as_one() -> None:
    classes, predicted = draw(3, 60, 0.8)
    names = [str(number) for number in range(60)]
    once = find_class_f1(classes, predicted, names)
    many = find_class_f1(np.tile(classes, 9), np.tile(predicted, 9), [str(number) for number in range(540)])
    assert all(np.ptp(ends) < 0.6 * np.ptp(few) for ends, few in zip(many, once, strict=True))
    assert find_class_f1(np.tile(classes, 9), np.tile(predicted, 9), names * 9) == once


def test_a_class_without_an_error_has_a_wider_interval_the_fewer_items_it_has() -> None:
    lows = []
    for size in (1, 3, 30, 300):
        classes = np.repeat([0, 1], [size, 300])
        low, high = find_class_f1(classes, classes, [str(number) for number in range(size + 300)], 2)[0]
        assert high == 1
        lows.append(low)
    assert lows == sorted(lows)
    assert lows[0] < 0.35
    assert 0.97 < lows[-1] < 1


def test_the_intervals_of_single_classes_are_of_the_samples_of_a_naive_bootstrap() -> None:
    classes, predicted = draw(7, 40, 0.6)
    # One class has a single item, which a third of the samples lack.
    classes[classes == 3] = predicted[predicted == 3] = 0
    classes[5] = predicted[5] = 3
    names = [str(number) for number in range(40)]
    random = np.random.default_rng(0)
    order = np.argsort(np.array(names))
    scores = []
    for _ in range(300):
        rows = order[random.integers(0, 40, 40)]
        own = f1_score(classes[rows], predicted[rows], labels=range(NUM_CLASSES), average=None, zero_division=np.nan)
        scores.append(own)
    assert 0.3 < np.isnan(scores)[:, 3].mean() < 0.45
    drawn = Samples.draw(classes, predicted[None], names, NUM_CLASSES, samples=300, seed=0)
    values = f1_score(classes, predicted, labels=range(NUM_CLASSES), average=None)
    low, high = find_intervals(np.array(scores), values, drawn._find_unseen_f1_variances()[0])
    found: Any = drawn.find_class_intervals(0)
    np.testing.assert_allclose(found, np.stack([low, high], axis=1))


def test_the_variance_that_the_f1_of_a_class_lacks_is_that_of_its_votes() -> None:
    # As in the mean over the classes above: 9 of 10 votes, 1 of 2, 1 of 1, and a class that does not occur.
    classes, predicted = np.array([0] * 10 + [1, 2]), np.array([[0] * 9 + [1, 1, 2]])
    drawn = Samples.draw(classes, predicted, [str(number) for number in range(12)], 4, samples=5, seed=0)
    assert drawn._find_unseen_f1_variances()[0] == pytest.approx([0.00027, 0, 0.026656, 0], abs=1e-6)


def test_duplicates_in_one_group_do_not_narrow_the_interval() -> None:
    classes, predicted = draw(3, 100, 0.8)
    names = [str(number) for number in range(100)]
    once = find(classes, predicted, names)
    assert find(np.tile(classes, 5), np.tile(predicted, 5), names * 5) == once
    # Taken for items of their own, they would make it narrower.
    separate = find(np.tile(classes, 5), np.tile(predicted, 5), [str(number) for number in range(500)])
    assert np.ptp(separate["accuracy"]) < 0.7 * np.ptp(once["accuracy"])


def test_the_seed_determines_the_samples() -> None:
    classes, predicted = draw(4, 50, 0.6)
    names = [str(number) for number in range(50)]
    assert find(classes, predicted, names) == find(classes, predicted, names)
    assert find(classes, predicted, names) != find(classes, predicted, names, seed=1)


def test_intervals_state_level_method_and_samples() -> None:
    classes, predicted = draw(5, 20, 0.5)
    found = find(classes, predicted, [str(number) for number in range(20)])
    assert (found["level"], found["samples"]) == (0.95, 200)
    assert "bootstrap over groups" in found["method"]


def test_an_item_without_a_predicted_class_is_wrong_and_adds_no_class() -> None:
    found = estimate_metrics(np.array([0, 0]), np.array([[0, -1]]), ["g", "g"], 1, samples=10, seed=0)
    assert found["accuracy"].values == [0.5]
    assert found["macro_f1"].values == pytest.approx([2 / 3])


def test_few_correct_items_do_not_rule_out_errors() -> None:
    # Every sample is right. One group of duplicates has one vote.
    for size, group_ids, wanted in ((3, ["g"] * 3, 0.5), (60, [str(number) for number in range(60)], 0.95)):
        low, high = find(np.zeros(size, int), np.zeros(size, int), group_ids)["accuracy"]
        assert 0.15 < low < wanted
        assert high == 1
