"""Test learning-rate schedules and weight decay."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from hangtag.models.layers import import_keras
from hangtag.models.registry import build_model
from hangtag.presets import PRESETS
from hangtag.settings import resolve
from hangtag.train_config import TrainConfig
from hangtag.training.optimizers import build_optimizer, build_schedule

CAPSTONE = resolve(TrainConfig, PRESETS["capstone"])


def list_sizes(config: TrainConfig, steps: int) -> list[float]:
    schedule = build_schedule(config, steps)
    return [float(schedule(step)) for step in range(steps)]


@pytest.mark.parametrize("step", [0, 1, 999, 7_992])
def test_the_inverse_time_schedule_equals_that_of_the_report(step: int) -> None:
    wanted = 0.01 / (1 + 0.01 / 8 * step)
    assert float(build_schedule(CAPSTONE, 7_993)(step)) == pytest.approx(wanted, rel=1e-6)


def test_the_cosine_schedule_warms_up_and_decays() -> None:
    sizes = list_sizes(TrainConfig(learning_rate=0.01, warmup=0.2), 100)
    assert sizes[0] == 0
    assert sizes[20] == max(sizes) == pytest.approx(0.01)
    assert (np.diff(sizes[:21]) > 0).all()
    assert (np.diff(sizes[20:]) < 0).all()
    np.testing.assert_allclose(sizes[10], 0.005, rtol=1e-5)
    np.testing.assert_allclose(sizes[60], 0.005, rtol=2e-3)
    assert 0 < sizes[-1] < 0.01 * 0.002


def test_the_cosine_schedule_without_warmup_starts_at_the_peak() -> None:
    sizes = list_sizes(TrainConfig(learning_rate=0.01, warmup=0.0), 50)
    assert sizes[0] == max(sizes) == pytest.approx(0.01)
    assert (np.diff(sizes) < 0).all()
    assert 0 < sizes[-1] < 0.01 * 0.003


@pytest.mark.parametrize("schedule", ["cosine", "inverse-time"])
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_a_training_of_few_steps_has_learning_rates(schedule: Any, steps: int) -> None:
    for warmup in (0.0, 0.15, 0.99):
        sizes = list_sizes(TrainConfig(epochs=8, lr_schedule=schedule, warmup=warmup, learning_rate=0.003), steps)
        assert np.isfinite(sizes).all()
        assert 0 <= min(sizes) <= max(sizes) <= 0.0030001


def test_the_schedule_counts_all_steps_with_the_smaller_last_batch() -> None:
    config = TrainConfig(epochs=3, batch_size=8, warmup=0.0, learning_rate=0.01)
    schedule = build_optimizer(config, 17)._learning_rate
    assert float(schedule(9)) == pytest.approx(0.01 * 0.001, rel=1e-3)
    assert float(schedule(8)) > 0.01 * 0.001 * 2


def test_the_settings_reach_the_optimizers() -> None:
    sgd = build_optimizer(CAPSTONE, 100)
    assert (type(sgd).__name__, sgd.momentum, sgd.weight_decay, sgd.nesterov) == ("SGD", 0.9, None, False)
    assert float(sgd.learning_rate) == pytest.approx(0.01)
    config = TrainConfig(weight_decay=0.03, learning_rate=0.002, warmup=0.0)
    adamw = build_optimizer(config, 100)
    assert (type(adamw).__name__, adamw.weight_decay) == ("AdamW", 0.03)
    muon = build_optimizer(dataclasses.replace(config, optimizer="muon"), 100)
    assert (type(muon).__name__, muon.weight_decay, muon.adam_weight_decay) == ("ConvolutionMuon", 0.03, 0.03)
    assert float(adamw.learning_rate) == float(muon.learning_rate) == pytest.approx(0.002)


@pytest.mark.parametrize("architecture", ["residual-small", "capstone"])
@pytest.mark.parametrize("optimizer", ["muon", "adamw", "sgd"])
def test_weight_decay_applies_to_kernels_only(architecture: str, optimizer: Any) -> None:
    ops = import_keras().ops
    heads = {"category_path": 3, "attribute_0": 2}
    model = build_model(architecture, image_size=(8, 8), heads=heads, color_mode="color", num_words=4)
    for weight in model.trainable_weights:
        weight.assign(np.ones(weight.shape, np.float32))
    config = TrainConfig(optimizer=optimizer, weight_decay=0.5, learning_rate=0.1, warmup=0.0)
    # Gradients of zero: what moves, moves by its decay.
    zeros = [ops.zeros(weight.shape) for weight in model.trainable_weights]
    build_optimizer(config, 100).apply(zeros, model.trainable_weights)
    for weight in model.trainable_weights:
        wanted = 1 - 0.5 * 0.1 if weight.path.endswith("/kernel") else 1
        np.testing.assert_allclose(weight.numpy(), wanted, rtol=1e-5, err_msg=weight.path)


@pytest.mark.parametrize("optimizer", ["muon", "adamw", "sgd"])
def test_without_weight_decay_no_weight_decays(optimizer: Any) -> None:
    model = build_model("residual-small", image_size=(8, 8), heads={"category_path": 3}, color_mode="color")
    before = [weight.numpy().copy() for weight in model.trainable_weights]
    ops = import_keras().ops
    config = TrainConfig(optimizer=optimizer, weight_decay=0.0, warmup=0.0)
    build_optimizer(config, 100).apply(
        [ops.zeros(weight.shape) for weight in model.trainable_weights], model.trainable_weights
    )
    for weight, value in zip(model.trainable_weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), value)
