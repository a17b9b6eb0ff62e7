"""Confident learning, worked out by hand, and against the authors' own package where it is installed."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given as draws
from hypothesis import strategies as st

from hangtag.auditing.confident_learning import (
    calibrate_joint,
    compute_thresholds,
    count_confident_joint,
    find_off_diagonal,
    guess_classes,
    prune_by_noise_rate,
    score_normalized_margin,
    score_self_confidence,
)

# Three classes; the items 2 and 5 are given what they do not look like.
GIVEN = np.array([0, 0, 0, 1, 1, 1, 2])
PROBS = np.array(
    [
        [0.9, 0.1, 0.0],
        [0.6, 0.3, 0.1],
        [0.1, 0.8, 0.1],
        [0.1, 0.9, 0.0],
        [0.2, 0.7, 0.1],
        [0.8, 0.1, 0.1],
        [0.3, 0.3, 0.4],
    ]
)


def draw_noisy(seed: int, n: int = 400, classes: int = 5, noise: float = 0.1) -> tuple[Any, Any]:
    """Return labels of which some are wrong, and probabilities that mostly know better."""
    random = np.random.default_rng(seed)
    true = random.integers(0, classes, n)
    logits = random.normal(0, 1, (n, classes))
    logits[np.arange(n), true] += 3
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    wrong = random.random(n) < noise
    return np.where(wrong, (true + random.integers(1, classes, n)) % classes, true), probs


def test_a_threshold_is_the_mean_probability_of_the_class_among_its_items() -> None:
    np.testing.assert_allclose(compute_thresholds(GIVEN, PROBS), [1.6 / 3, 1.7 / 3, 0.4])


def test_a_class_without_items_is_reached_by_nobody() -> None:
    given = np.array([0, 0, 1])
    thresholds = compute_thresholds(given, np.full((3, 3), 1 / 3))
    assert np.isinf(thresholds[2])
    assert 2 not in guess_classes(given, np.eye(3))


def test_an_item_that_reaches_no_threshold_is_not_counted() -> None:
    assert guess_classes(GIVEN, PROBS).tolist() == [0, 0, 1, 1, 1, 0, 2]
    unsure = np.vstack([PROBS, [[0.4, 0.35, 0.25]]])
    assert guess_classes(np.append(GIVEN, 0), unsure)[-1] == -1


def test_the_joint_counts_given_against_guessed_and_scales_to_the_given_counts() -> None:
    joint = count_confident_joint(GIVEN, PROBS)
    assert joint.tolist() == [[2, 1, 0], [1, 2, 0], [0, 0, 1]]
    assert calibrate_joint(joint, GIVEN).sum(axis=1).tolist() == [3, 3, 1]
    assert np.flatnonzero(find_off_diagonal(GIVEN, PROBS)).tolist() == [2, 5]
    assert np.flatnonzero(prune_by_noise_rate(GIVEN, PROBS)).tolist() == [2, 5]


def test_scores_are_the_given_class_s_probability_and_its_margin() -> None:
    np.testing.assert_allclose(score_self_confidence(GIVEN, PROBS)[:3], [0.9, 0.6, 0.1])
    np.testing.assert_allclose(score_normalized_margin(GIVEN, PROBS)[:3], [0.9, 0.65, 0.15])


@draws(seed=st.integers(0, 50), classes=st.integers(1, 6))
def test_a_label_that_is_likeliest_is_never_pruned_and_the_joint_adds_up(seed: int, classes: int) -> None:
    random = np.random.default_rng(seed)
    given, probs = random.integers(0, classes, 30), random.dirichlet(np.ones(classes), 30)
    assert not prune_by_noise_rate(given, probs)[probs.argmax(axis=1) == given].any()
    joint = count_confident_joint(given, probs)
    np.testing.assert_allclose(calibrate_joint(joint, given).sum(), 30)


@pytest.mark.parametrize("seed", range(5))
def test_it_agrees_with_cleanlab(seed: int) -> None:
    """A development-only test: cleanlab is no dependency, its licence differs."""
    count = pytest.importorskip("cleanlab.count")
    cleaning = pytest.importorskip("cleanlab.filter")
    rank = pytest.importorskip("cleanlab.rank")
    given, probs = draw_noisy(seed)
    np.testing.assert_allclose(
        compute_thresholds(given, probs), count.get_confident_thresholds(given, probs), atol=1e-5
    )
    joint = count_confident_joint(given, probs)
    assert joint.tolist() == count.compute_confident_joint(given, probs, calibrate=False).tolist()
    calibrated = calibrate_joint(joint, given)
    # Theirs are whole numbers with the same row sums.
    np.testing.assert_allclose(calibrated, count.compute_confident_joint(given, probs), atol=1)
    np.testing.assert_allclose(
        score_self_confidence(given, probs), rank.get_self_confidence_for_each_label(given, probs)
    )
    np.testing.assert_allclose(
        score_normalized_margin(given, probs), rank.get_normalized_margin_for_each_label(given, probs)
    )
    options = {"n_jobs": 1, "min_examples_per_class": 1}
    theirs = cleaning.find_label_issues(given, probs, filter_by="prune_by_noise_rate", **options)
    ours = prune_by_noise_rate(given, probs)
    # Rounding to whole rows moves an item or two.
    assert (ours & theirs).sum() >= 0.9 * (ours | theirs).sum() > 0
    theirs = cleaning.find_label_issues(given, probs, filter_by="confident_learning", **options)
    assert (find_off_diagonal(given, probs) & (probs.argmax(axis=1) != given)).tolist() == theirs.tolist()
