"""Test that ensemble members are trained independently and averaged in prediction."""

from typing import Any

import numpy as np
import pytest

from hangtag.models.layers import import_keras
from hangtag.models.registry import ARCHITECTURES, Architecture, average_members, build_model
from hangtag.train_config import TrainConfig
from hangtag.training.losses import build_losses

PROBS = [
    np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]], np.float32),
    np.array([[0.1, 0.6, 0.3], [0.3, 0.3, 0.4]], np.float32),
]
WANTED = np.array([[1, 0, 0], [0.05, 0.05, 0.9]], np.float32)
LOSS = build_losses(["category_path"], TrainConfig())[0]["category_path"]


def average(probs: list[Any]) -> Any:
    keras = import_keras()
    inputs = [keras.Input((3,)) for _ in probs]
    return keras.Model(inputs, average_members(inputs, "category_path"))


def test_the_prediction_is_the_mean_of_the_members() -> None:
    np.testing.assert_allclose(average(PROBS)(PROBS, training=False), (PROBS[0] + PROBS[1]) / 2, rtol=1e-6)


def test_the_training_loss_is_the_mean_of_the_members_losses() -> None:
    together = LOSS(WANTED, average(PROBS)(PROBS, training=True))
    alone = [np.asarray(LOSS(WANTED, probs)) for probs in PROBS]
    np.testing.assert_allclose(together, (alone[0] + alone[1]) / 2, rtol=1e-5)


def test_one_member_predicts_alone() -> None:
    assert average_members(PROBS[:1], "category_path") is PROBS[0]


def test_the_gradient_of_a_member_does_not_depend_on_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the first member's head becomes in a step does not depend on how right the second one is."""
    keras = import_keras()

    def build_two(pixels: Any, _dtype: Any) -> list[Any]:
        flat = keras.layers.Flatten()(pixels)
        return [keras.layers.Dense(4, name=name)(flat) for name in ("first", "second")]

    monkeypatch.setitem(ARCHITECTURES, "two", Architecture(build_two, "a test"))
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    found = []
    for scale in (1.0, 5.0):
        keras.utils.set_random_seed(0)
        model = build_model("two", image_size=(8, 8), heads={"category_path": 3}, color_mode="color")
        model.get_layer("second").kernel.assign(model.get_layer("second").kernel * scale)
        model.compile(keras.optimizers.SGD(0.1), {"category_path": LOSS}, jit_compile=False)
        model.train_on_batch({"pixels": pixels}, {"category_path": WANTED})
        found.append(
            [model.get_layer(name).get_weights()[0] for name in ("category_path_member1", "category_path_member2")]
        )
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-5)
    assert not np.allclose(found[0][1], found[1][1])
