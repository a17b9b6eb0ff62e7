"""Test layer-wise learning-rate decay with every optimizer."""

from typing import Any

import numpy as np
import pytest

from hangtag.models.layers import import_keras
from hangtag.models.registry import build_model
from hangtag.train_config import TrainConfig
from hangtag.training.optimizers import build_optimizer, compute_rates


def build() -> Any:
    heads = {"category_path": 3, "attribute_0": 2}
    return build_model("residual-tiny", image_size=(8, 8), heads=heads, color_mode="color", num_words=4)


def test_heads_and_last_block_have_the_full_rate_and_earlier_blocks_a_fraction() -> None:
    model = build()
    rates = compute_rates(model, 0.5)
    assert rates.keys() == {weight.path for weight in model.trainable_weights}
    wanted = {"stem_conv1": 1 / 16, "stem_norm2": 1 / 16, "stage1_1_conv2": 1 / 8, "stage3_1_norm1": 1 / 2}
    wanted |= {"stage4_1_conv1": 1, "category_path": 1, "attribute_0": 1}
    assert {path.partition("/")[0]: rate for path, rate in rates.items() if path.partition("/")[0] in wanted} == wanted


@pytest.mark.parametrize("is_decay", [False, True])
@pytest.mark.parametrize("optimizer", ["adamw", "muon", "sgd"])
def test_updates_and_weight_decay_are_scaled(optimizer: Any, is_decay: bool) -> None:
    keras = import_keras()
    model = build()
    rates = compute_rates(model, 0.5)
    config = TrainConfig(
        optimizer=optimizer, warmup=0.0, learning_rate=0.01, weight_decay=0.5 if is_decay else 0.0, momentum=0.0
    )
    random = np.random.default_rng(0)
    values = [random.normal(0, 1, weight.shape).astype(np.float32) for weight in model.trainable_weights]
    gradients = [np.zeros_like(value) if is_decay else value for value in values]
    changes = []
    for given in (None, rates):
        for weight, value in zip(model.trainable_weights, values, strict=True):
            weight.assign(value)
        chosen = build_optimizer(config, 1_000_000, given)
        chosen.apply([keras.ops.array(gradient) for gradient in gradients], model.trainable_weights)
        changes.append([weight.numpy() - value for weight, value in zip(model.trainable_weights, values, strict=True)])
    moved = 0
    for weight, whole, scaled in zip(model.trainable_weights, *changes, strict=True):
        np.testing.assert_allclose(scaled, whole * rates[weight.path], rtol=2e-2, atol=2e-6, err_msg=weight.path)
        moved += bool(np.abs(whole).max() > 1e-4)
    assert moved > (10 if is_decay else 25)


def test_without_rates_the_optimizer_is_unchanged() -> None:
    assert type(build_optimizer(TrainConfig(optimizer="adamw"), 10)) is import_keras().optimizers.AdamW
