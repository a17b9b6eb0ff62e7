"""Test learning curves: the fitted power law, the intervals, and what is said where there are too few points."""

import numpy as np
import polars as pl
import pytest

from hangtag.metrics.learning_curve import LearningCurve, build_curve, compute_error, describe_curve, fit_power_law

SHARES = np.array([0.05, 0.1, 0.2, 0.5, 1.0])


def build(accuracies: dict[float, list[float]], items: int = 2000) -> LearningCurve:
    """Build the curve of runs with these accuracies, one per seed, on `items` items of two classes."""
    classes = np.arange(items) % 2
    order = np.random.default_rng(0).permutation(items)
    rows, predicted = [], []
    for fraction, seeds in accuracies.items():
        for accuracy in seeds:
            rows.append({"train_fraction": fraction, "train_items": round(10_000 * fraction)})
            wrong = np.isin(np.arange(items), order[: round(items * (1 - accuracy))])
            predicted.append(np.where(wrong, 1 - classes, classes))
    groups = [str(number) for number in range(items)]
    return build_curve(pl.DataFrame(rows), classes, np.array(predicted), groups, 2, samples=100, seed=0)


@pytest.mark.parametrize("wanted", [(0.1, 0.35, 0.05), (0.2, 0.5, 0.0)])
def test_a_power_law_is_found_again(wanted: tuple[float, float, float]) -> None:
    found = fit_power_law(SHARES, compute_error(SHARES, *wanted))
    assert found is not None
    twice = np.array([2.0])
    assert compute_error(twice, *found)[0] == pytest.approx(compute_error(twice, *wanted)[0], abs=1e-3)


def test_twice_the_items_bring_what_the_power_law_says() -> None:
    errors = compute_error(SHARES, 0.1, 0.35, 0.05)
    curve = build({float(share): [1 - float(error)] for share, error in zip(SHARES, errors, strict=True)})
    twice = curve.summary["twice"]
    assert twice["train_items"] == 20_000
    assert twice["gain"] == pytest.approx(0.1 * (1 - 2**-0.35), abs=5e-3)
    low, high = twice["gain_interval"]
    assert 0 <= low <= twice["gain"] <= high
    assert curve.fitted["train_items"][-1] == pytest.approx(20_000)
    assert curve.summary["enough"] is None
    text = " ".join(describe_curve(curve.summary))
    assert "No smaller share is certain" in text
    assert "Twice the items (20,000)" in text
    assert "do not cover other seeds" in text


def test_a_flat_curve_says_that_fewer_items_are_enough_and_twice_bring_nothing() -> None:
    curve = build({fraction: [0.9, 0.9] for fraction in (0.1, 0.2, 0.5, 1.0)})
    assert curve.summary["enough"] == 1000
    assert curve.summary["twice"]["gain"] == pytest.approx(0, abs=2e-3)
    lines = describe_curve(curve.summary)
    assert lines[0].startswith("1,000 items reach the accuracy of 10,000 within")
    assert not any("seeds" in line for line in lines)


def test_three_shares_are_too_few_for_a_fit() -> None:
    curve = build({0.1: [0.7], 0.5: [0.8], 1.0: [0.9]})
    assert curve.summary["twice"] is None
    assert curve.fitted.is_empty()
    assert "is not estimated" in describe_curve(curve.summary)[-1]


def test_points_are_means_over_seeds_whose_spread_widens_the_interval() -> None:
    same, spread = build({0.5: [0.8, 0.8], 1.0: [0.9, 0.9]}), build({0.5: [0.75, 0.85], 1.0: [0.9, 0.9]})
    first, second = same.points.row(0, named=True), spread.points.row(0, named=True)
    assert first["accuracy"] == pytest.approx(second["accuracy"]) == pytest.approx(0.8)
    assert first["seeds"] == second["seeds"] == 2
    assert second["accuracy_high"] - second["accuracy_low"] > 2 * (first["accuracy_high"] - first["accuracy_low"])
    assert first["difference"] == pytest.approx(-0.1)
    assert first["difference_low"] <= -0.1 <= first["difference_high"]
    assert same.points["difference"][-1] == same.points["difference_low"][-1] == 0
