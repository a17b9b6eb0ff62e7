"""Test the exponential moving average of the weights."""

from typing import Any

import numpy as np
import pytest

from hangtag.models.checkpoint import assign_weights, read_weights
from hangtag.models.layers import import_keras
from hangtag.training.losses import STRIDE, WeightEMA


@pytest.fixture
def model() -> Any:
    keras = import_keras()
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="dense"), keras.layers.BatchNormalization()])


def set_all(model: Any, value: float) -> None:
    assign_weights(model, {path: np.full_like(weight, value) for path, weight in read_weights(model).items()})


def read_values(weights: dict[str, Any]) -> set[float]:
    return {round(float(each), 6) for weight in weights.values() for each in weight.ravel()}


def note(average: WeightEMA, model: Any, values: list[float]) -> None:
    """Take steps into the average, `STRIDE` of each value, of which the last one is read."""
    for value in values:
        for _ in range(STRIDE - 1):
            average.update(model)
        set_all(model, value)
        average.update(model)


def test_without_decay_the_weights_are_not_averaged(model: Any) -> None:
    average = WeightEMA(0.0)
    note(average, model, [1.0, 2.0, 3.0])
    assert average.weights == {}
    assert read_values(average.read(model)) == {3.0}
    with average.swap(model):
        assert read_values(read_weights(model)) == {3.0}
    assert average.steps == 3 * STRIDE


def test_before_the_first_update_the_weights_are_not_averaged(model: Any) -> None:
    average = WeightEMA(0.9)
    set_all(model, 5.0)
    for _ in range(STRIDE - 1):
        average.update(model)
    assert read_values(average.read(model)) == {5.0}
    with average.swap(model):
        assert read_values(read_weights(model)) == {5.0}


def test_the_average_starts_at_the_first_weights_and_follows_the_formula(model: Any) -> None:
    average = WeightEMA(0.998)
    note(average, model, [2.0])
    assert read_values(average.read(model)) == {2.0}
    wanted = 2.0
    for reading, value in enumerate([4.0, -1.0, 7.0], start=2):
        note(average, model, [value])
        steps = reading * STRIDE
        kept = min(0.998**STRIDE, steps / (steps + 10 * STRIDE))
        wanted += (1 - kept) * (value - wanted)
        np.testing.assert_allclose([*read_values(average.read(model))], wanted, atol=1e-5)
    assert set(average.weights) == set(read_weights(model))
    assert any("moving_variance" in path for path in average.weights)


def test_the_average_of_constant_weights_is_constant(model: Any) -> None:
    average = WeightEMA(0.9)
    note(average, model, [100.0])
    note(average, model, [3.0] * 60)
    np.testing.assert_allclose([*read_values(average.read(model))], 3.0, atol=1e-3)


def test_first_steps_have_little_weight_in_a_short_training(model: Any) -> None:
    average = WeightEMA(0.998)
    note(average, model, [100.0, *[3.0] * 30])
    # With 0.998 alone, 0.998 ** 120 = 79 % of the first weights would be left.
    assert max(read_values(average.read(model))) < 3 + 97 * 0.01


def test_a_larger_decay_follows_more_slowly(model: Any) -> None:
    found = []
    for decay in (0.5, 0.9):
        average = WeightEMA(decay)
        note(average, model, [0.0] * 400)
        note(average, model, [1.0])
        found.append(max(read_values(average.read(model))))
        assert found[-1] == pytest.approx(max(1 - decay**STRIDE, 10 / 411), rel=1e-3)
    assert found[0] > found[1]


def test_swap_restores_the_weights_even_after_an_error(model: Any) -> None:
    average = WeightEMA(0.9)
    note(average, model, [1.0, 2.0])
    [averaged] = read_values(average.read(model))
    assert 1 < averaged < 2
    with average.swap(model):
        assert read_values(read_weights(model)) == {averaged}
    assert read_values(read_weights(model)) == {2.0}
    with pytest.raises(KeyboardInterrupt), average.swap(model):
        raise KeyboardInterrupt
    assert read_values(read_weights(model)) == {2.0}
    assert read_values(average.read(model)) == {averaged}
