"""Test the fused batch normalization against Keras's own layer, in training and inference."""

from typing import Any

import numpy as np
import pytest

from hangtag.models.layers import import_keras, normalize
from hangtag.models.registry import build_model

CHANNELS = 5
SHAPE = (7, 6, 4, CHANNELS)
# The fused kernel's moving variance divides by one less than the number of values (Bessel).
VALUES = SHAPE[0] * SHAPE[1] * SHAPE[2]
BESSEL = VALUES / (VALUES - 1)


def make_pair(shape: tuple[int, ...], dtype: str | None = None) -> tuple[Any, Any]:
    """Return our layer and Keras's, with the same weights, none of which is as it begins."""
    keras = import_keras()
    inputs = keras.Input(shape[1:])
    ours = keras.Model(inputs, normalize(inputs, name="norm", dtype=dtype)).get_layer("norm")
    theirs = keras.layers.BatchNormalization(dtype=dtype)
    theirs.build(shape)
    random = np.random.default_rng(1)
    weights = [random.uniform(0.5, 2, CHANNELS).astype(np.float32) for _ in ours.weights]
    ours.set_weights(weights)
    theirs.set_weights(weights)
    return ours, theirs


def draw(shape: tuple[int, ...] = SHAPE) -> Any:
    random = np.random.default_rng(2)
    return random.normal(3, 2, shape).astype(np.float32) * np.arange(1, shape[-1] + 1, dtype=np.float32)


def read(layer: Any) -> dict[str, Any]:
    return {weight.path.rpartition("/")[2]: np.array(weight.numpy()) for weight in layer.weights}


def test_the_weights_are_those_of_keras() -> None:
    ours, theirs = make_pair(SHAPE)
    assert list(read(ours)) == list(read(theirs)) == ["gamma", "beta", "moving_mean", "moving_variance"]
    assert type(ours).__name__ == "BatchNormalization"
    assert ours.name == "norm"
    assert (ours.momentum, ours.epsilon) == (theirs.momentum, theirs.epsilon)


def test_a_training_step_equals_that_of_keras() -> None:
    ours, theirs = make_pair(SHAPE)
    before, images = read(ours), draw()
    np.testing.assert_allclose(
        np.asarray(ours(images, training=True)), np.asarray(theirs(images, training=True)), atol=1e-4
    )
    found, wanted = read(ours), read(theirs)
    for name in ("gamma", "beta"):
        np.testing.assert_array_equal(found[name], before[name])
    np.testing.assert_allclose(found["moving_mean"], wanted["moving_mean"], rtol=1e-5)
    variance = images.var(axis=(0, 1, 2), dtype=np.float64)
    np.testing.assert_allclose(wanted["moving_variance"], 0.99 * before["moving_variance"] + 0.01 * variance, rtol=1e-4)
    np.testing.assert_allclose(
        found["moving_variance"], 0.99 * before["moving_variance"] + 0.01 * variance * BESSEL, rtol=1e-4
    )


def test_the_gradients_are_those_of_keras() -> None:
    import tensorflow as tf

    ours, theirs = make_pair(SHAPE)
    images, pull = tf.constant(draw()), tf.constant(np.random.default_rng(3).normal(size=SHAPE).astype(np.float32))
    gradients = []
    for layer in (ours, theirs):
        with tf.GradientTape() as tape:
            tape.watch(images)
            loss = tf.reduce_sum(layer(images, training=True) * pull)
        gradients.append(tape.gradient(loss, [images, *[each.value for each in layer.trainable_weights]]))
    assert len(gradients[0]) == 3
    for found, wanted in zip(*gradients, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("training", [False, None])
def test_inference_equals_keras_and_leaves_the_moving_statistics(training: bool | None) -> None:
    ours, theirs = make_pair(SHAPE)
    before, images = read(ours), draw()
    np.testing.assert_array_equal(
        np.asarray(ours(images, training=training)), np.asarray(theirs(images, training=training))
    )
    for name, value in read(ours).items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)


def test_features_without_spatial_axes_are_normalized() -> None:
    ours, theirs = make_pair((9, CHANNELS))
    features = draw((9, CHANNELS))
    np.testing.assert_array_equal(
        np.asarray(ours(features, training=True)), np.asarray(theirs(features, training=True))
    )
    for name, value in read(ours).items():
        np.testing.assert_array_equal(value, read(theirs)[name], err_msg=name)


def test_a_frozen_layer_keeps_its_moving_statistics() -> None:
    ours, theirs = make_pair(SHAPE)
    ours.trainable = theirs.trainable = False
    before, images = read(ours), draw()
    np.testing.assert_array_equal(np.asarray(ours(images, training=True)), np.asarray(theirs(images, training=True)))
    for name, value in read(ours).items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)


def test_bfloat16_input_gives_bfloat16_output_and_float32_statistics() -> None:
    ours, theirs = make_pair(SHAPE, "mixed_bfloat16")
    images = draw()
    found = ours(images, training=True)
    assert str(found.dtype).endswith("bfloat16'>")
    np.testing.assert_allclose(
        np.asarray(found, np.float32), np.asarray(theirs(images, training=True), np.float32), atol=0.05
    )
    assert {str(weight.dtype) for weight in ours.weights} == {"float32"}
    for name, value in read(ours).items():
        np.testing.assert_allclose(value, read(theirs)[name], rtol=0.02, err_msg=name)


def test_the_momentum_can_be_set() -> None:
    keras = import_keras()
    inputs = keras.Input(SHAPE[1:])
    layer = keras.Model(inputs, normalize(inputs, name="norm", momentum=0.75)).get_layer("norm")
    images = draw()
    layer(images, training=True)
    np.testing.assert_allclose(read(layer)["moving_mean"], 0.25 * images.mean(axis=(0, 1, 2)), rtol=1e-4)


@pytest.mark.parametrize(("architecture", "momentum"), [("residual", 0.9), ("residual-small", 0.9), ("capstone", 0.99)])
def test_residual_networks_use_a_lower_momentum_and_the_capstone_that_of_keras(
    architecture: str, momentum: float
) -> None:
    model = build_model(architecture, image_size=(8, 8), heads={"category_path": 2}, color_mode="color")
    layers = [layer for layer in model.layers if type(layer).__name__ == "BatchNormalization"]
    assert {layer.momentum for layer in layers} == {momentum}
