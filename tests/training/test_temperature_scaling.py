"""Test the fit of temperatures and the choice of confidence thresholds on val."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binom

from hangtag.models.label_space import CATEGORY_PATH, NO_VALUE, LabelSpace
from hangtag.training.calibration import _count_votes, find_threshold, find_thresholds, fit_temperatures


def draw(count: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Draw answers whose confidence is the chance that they are right."""
    random = np.random.default_rng(seed)
    confidence = random.beta(3, 0.4, count)
    return confidence, random.random(count) < confidence


@pytest.mark.parametrize("precision", [0.9, 0.95, 0.98])
def test_the_target_precision_holds_on_new_items_with_the_stated_risk(precision: float) -> None:
    new_confidence, new_correct = draw(200_000, 12345)
    broken = 0
    for seed in range(100):
        threshold = find_threshold(*draw(2_000, seed), precision)
        broken += threshold is not None and new_correct[new_confidence >= threshold].mean() < precision
    # The risk is 5 in 100; the limit leaves room for the draw of these hundred.
    assert broken <= 10


def test_photographs_of_one_product_have_one_vote() -> None:
    """Ten photographs of each product are right or wrong together, and prove no more than one of them."""
    confidence, correct = draw(300, 0)
    groups = np.repeat(np.arange(300), 10)
    alone = find_threshold(confidence, correct, 0.9)
    # The candidates are other ones, between the same items.
    assert find_threshold(confidence.repeat(10), correct.repeat(10), 0.9, groups) == pytest.approx(alone, abs=0.005)
    assert find_threshold(np.full(100, 0.9), np.ones(100, bool), 0.95, np.zeros(100, int)) is None


@pytest.mark.parametrize("photographs", [2, 10])
def test_the_precision_holds_with_several_photographs_a_product(photographs: int) -> None:
    new_confidence, new_correct = draw(200_000, 12345)
    broken = 0
    for seed in range(100):
        confidence, correct = draw(1_500, seed)
        # Photographs of one product differ a little in confidence, as their predictions do.
        noise = np.random.default_rng(seed).normal(0, 1e-3, (1_500, photographs))
        threshold = find_threshold(
            np.clip(confidence[:, None] + noise, 0, 1).ravel(),
            correct.repeat(photographs),
            0.95,
            np.repeat(np.arange(1_500), photographs),
        )
        broken += threshold is not None and new_correct[new_confidence >= threshold].mean() < 0.95
    assert broken <= 10


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=30))
def test_a_group_votes_by_the_share_of_its_items_that_are_right(items: list[tuple[int, bool]]) -> None:
    members, correct = np.array([group for group, _ in items]), np.array([each for _, each in items])
    votes, hits = _count_votes(members, correct)
    for end in range(1, len(items) + 1):
        groups = set(members[:end].tolist())
        shares = [correct[:end][members[:end] == group].mean() for group in groups]
        assert votes[end - 1] == len(groups)
        assert hits[end - 1] == pytest.approx(sum(shares))


def test_one_confident_mistake_does_not_end_the_search() -> None:
    confidence = np.linspace(1, 0.5, 4_000)
    correct = np.ones(4_000, bool)
    correct[3] = False
    threshold = find_threshold(confidence, correct, 0.99)
    assert threshold is not None
    assert threshold < 0.51


def test_items_of_equal_confidence_are_on_the_same_side() -> None:
    confidence = np.repeat([0.9, 0.8], 500)
    correct = np.concatenate([np.ones(500, bool), np.zeros(500, bool)])
    assert find_threshold(confidence, correct, 0.95) == 0.9
    assert find_threshold(confidence[:500], correct[500:], 0.95) is None


@pytest.mark.parametrize("count", [0, 1, 20, 80])
def test_too_few_items_have_no_threshold(count: int) -> None:
    assert find_threshold(np.full(count, 0.99), np.ones(count, bool), 0.95) is None


def test_a_higher_precision_never_has_a_lower_threshold() -> None:
    confidence, correct = draw(5_000, 1)
    probs = np.stack([confidence, 1 - confidence], axis=1).astype(np.float32)
    is_first = probs.argmax(axis=1) == 0
    found = [value for value in find_thresholds(probs, np.where(correct == is_first, 0, 1)).values() if value]
    assert found == sorted(found)
    assert len(found) > 1


def test_the_temperature_of_category_paths_is_that_of_the_primary_level() -> None:
    """Level and label are answered with 0.9 each, independently; 80 % of the levels are right and 60 % of the labels.

    Scaling the paths then scales both alike, so the temperature says which of them it was fitted on.
    """
    paths = ((0, 0), (0, 1), (1, 0), (1, 1))
    probs = np.tile(np.array([0.81, 0.09, 0.09, 0.01], np.float32), (100, 1))
    numbers = np.arange(100)
    classes = {CATEGORY_PATH: (numbers % 10 >= 8) * 2 + (numbers // 10 >= 6)}
    for primary, share in (("kind", 0.8), ("label", 0.6)):
        label_space = LabelSpace({"kind": ("Goods", "Wear"), "label": ("Bags", "Shoes")}, paths, {}, primary)
        found = fit_temperatures({CATEGORY_PATH: probs}, classes, label_space)
        assert found == {CATEGORY_PATH: pytest.approx(np.log(9) / np.log(share / (1 - share)), rel=0.01)}


def test_the_temperature_of_an_attribute_is_that_of_the_items_with_a_value() -> None:
    label_space = LabelSpace({"label": ("Bags",)}, ((0,),), {"colour": ("red", "blue"), "size": ("S", "L")}, "label")
    probs = {head: np.tile(np.array([0.9, 0.1], np.float32), (20, 1)) for head in ("attribute_0", "attribute_1")}
    # Six of ten are red and ten have no value; of the second attribute none has.
    classes = {"attribute_0": np.repeat([0, 1, NO_VALUE], [6, 4, 10]), "attribute_1": np.full(20, NO_VALUE)}
    found = fit_temperatures(probs, classes, label_space)
    assert found == {"attribute_0": pytest.approx(np.log(9) / np.log(1.5), rel=0.01), "attribute_1": 1.0}


@pytest.mark.parametrize(("right", "bound"), [(10, -2), (0, 2)])
def test_predictions_all_right_or_all_wrong_have_a_limited_temperature(right: int, bound: int) -> None:
    probs = np.tile(np.array([0.6, 0.4], np.float32), (10, 1))
    classes = np.repeat([0, 1], [right, 10 - right])
    found = fit_temperatures({CATEGORY_PATH: probs}, {CATEGORY_PATH: classes}, LabelSpace.of_classes(("a", "b")))
    assert found == {CATEGORY_PATH: pytest.approx(np.exp(bound), rel=1e-3)}
    assert found[CATEGORY_PATH] == round(found[CATEGORY_PATH], 4)


@pytest.mark.parametrize(("right", "wrong"), [(42, 0), (41, 0), (60, 40), (150, 30), (100, 1)])
def test_the_threshold_is_the_lowest_whose_precision_is_proven(right: int, wrong: int) -> None:
    confidence, correct = np.linspace(1, 0.5, right + wrong), np.arange(right + wrong) < right
    # As many right ones or more would be as rare as a quarter of 5 %, were the precision 0.9.
    proven = [
        count
        for count in range(1, right + wrong + 1)
        if binom.sf(min(count, right) - 1, count, 0.9) <= 0.05 / 4 and count >= 42
    ]
    threshold = find_threshold(confidence, correct, 0.9)
    assert threshold == (confidence[proven[-1] - 1] if proven else None)
