"""Test the Muon optimizer: orthogonal updates, their size, and the weights that it updates."""

from typing import Any

import numpy as np
import pytest

from hangtag.models.layers import import_keras
from hangtag.models.registry import build_model
from hangtag.training.optimizers import make_muon_class

SHAPES = [(3, 3, 4, 8), (3, 3, 8, 96), (1, 1, 32, 32)]


def flatten(values: Any) -> Any:
    """Return a kernel as the matrix of one column a filter."""
    return np.asarray(values, np.float64).reshape(-1, values.shape[-1])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_updates_are_nearly_orthogonal(shape: tuple[int, ...]) -> None:
    # Some directions of this gradient are a hundred times as strong as others.
    random = np.random.default_rng(0)
    matrix = flatten(random.normal(size=shape))
    matrix *= np.geomspace(1, 100, matrix.shape[1])
    gradient = matrix.reshape(shape).astype(np.float32)
    step = np.asarray(make_muon_class()(0.1).zeropower_via_newtonschulz5(import_keras().ops.array(gradient), 5))
    assert (step.shape, str(step.dtype)) == (shape, "float32")
    strengths = np.linalg.svd(flatten(step), compute_uv=False)
    assert np.median(strengths) > 0.5
    assert strengths.max() < 1.4
    left, given, right = np.linalg.svd(flatten(gradient), full_matrices=False)
    # It goes the way of the gradient: nothing turns round.
    assert (np.diag(left.T @ flatten(step) @ right.T)[given > given.max() / 20] > 0.4).all()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_size_of_an_update_does_not_depend_on_the_gradient(shape: tuple[int, ...]) -> None:
    keras = import_keras()
    random = np.random.default_rng(1)
    for scale in (1e-3, 1.0, 1e3):
        kernel = keras.Variable(np.zeros(shape, np.float32))
        gradient = random.normal(size=shape).astype(np.float32) * scale
        make_muon_class()(0.01).apply([keras.ops.array(gradient)], [kernel])
        moved = np.asarray(kernel.numpy())
        assert np.sqrt((moved**2).mean()) == pytest.approx(0.2 * 0.01, rel=0.25)
        assert (moved * gradient).sum() < 0


def test_a_zero_gradient_changes_nothing() -> None:
    keras = import_keras()
    kernel = keras.Variable(np.ones(SHAPES[0], np.float32))
    make_muon_class()(0.01, weight_decay=0).apply([keras.ops.zeros(SHAPES[0])], [kernel])
    np.testing.assert_array_equal(kernel.numpy(), 1)


def test_adamw_updates_the_first_convolution_heads_and_vectors() -> None:
    model = build_model("residual-tiny", image_size=(8, 8), heads={"category_path": 3}, color_mode="color", num_words=4)
    optimizer = make_muon_class()(0.01, weight_decay=0.05, adam_weight_decay=0.05)
    optimizer.build(model.trainable_variables)
    with_adam = {
        weight.path
        for weight, velocity in zip(model.trainable_variables, optimizer.adam_velocities, strict=True)
        if velocity is not None
    }
    others = {weight.path for weight in model.trainable_variables} - with_adam
    stages = {f"stage{stage}_1_conv{half}/kernel" for stage in (1, 2, 3, 4) for half in (1, 2)}
    assert others == stages | {"stem_conv2/kernel"}
