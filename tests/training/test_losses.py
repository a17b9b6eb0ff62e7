"""Test the losses of the heads and the training metrics on the primary level."""

from typing import Any

import numpy as np
import pytest

from hangtag.models.label_space import NO_VALUE, LabelSpace
from hangtag.models.layers import import_keras
from hangtag.train_config import TrainConfig
from hangtag.training.losses import build_losses, build_metrics
from hangtag.training.targets import encode_targets

LABEL_SPACE = LabelSpace(
    {"type": ("p", "q", "r", "s"), "label": ("x", "y")},
    ((0, 0), (1, 0), (2, 1), (3, 1)),
    {"season": ("cold", "warm"), "gender": ("men", "women", "all")},
    "label",
)
PROBS = np.array([[0.3, 0.3, 0.4, 0.0], [0.1, 0.1, 0.5, 0.3]], np.float32)


def test_category_paths_have_weight_one_and_attributes_the_set_weight() -> None:
    losses, weights = build_losses(list(LABEL_SPACE.heads), TrainConfig(attribute_weight=0.2))
    assert list(losses) == ["category_path", "attribute_0", "attribute_1"]
    assert weights == {"category_path": 1.0, "attribute_0": 0.2, "attribute_1": 0.2}


def measure(wanted: Any, probs: Any) -> dict[str, float]:
    figures = {}
    for metric in build_metrics(LABEL_SPACE):
        metric.update_state(wanted, probs)
        figures[metric.name] = float(metric.result())
    return figures


def test_accuracy_counts_the_primary_class_of_another_category_path() -> None:
    wanted = encode_targets({"category_path": np.array([1, 0])}, LABEL_SPACE.heads, 0.0)["category_path"]
    figures = measure(wanted, PROBS)
    # x has 0.6 though its likeliest product has less than y's; then y has 0.8, and x was wanted.
    assert figures["accuracy"] == 0.5
    assert figures["cross_entropy"] == pytest.approx(-(np.log(0.6) + np.log(0.2)) / 2, rel=1e-5)


def test_a_row_without_a_value_has_no_loss_and_no_gradient() -> None:
    """TensorFlow's own kernel would draw all of its scores down: the gradient is measured from the scores on."""
    keras = import_keras()
    loss = build_losses(list(LABEL_SPACE.heads), TrainConfig())[0]["category_path"]
    wanted = encode_targets({"category_path": np.array([NO_VALUE, 2])}, LABEL_SPACE.heads, 0.1)["category_path"]
    losses = np.asarray(loss(wanted, PROBS))
    assert losses[0] == 0
    assert losses[1] == pytest.approx(-(wanted[1] * np.log(PROBS[1])).sum(), rel=1e-5)
    scores = keras.Input((4,))
    model = keras.Model(scores, keras.layers.Dense(4, activation="softmax", kernel_initializer="identity")(scores))
    model.compile(keras.optimizers.SGD(1.0), loss, jit_compile=False)
    for row, moves in ((0, False), (1, True)):
        before = [weight.copy() for weight in model.get_weights()]
        model.train_on_batch(np.array([[50.0, 0.0, -5.0, 2.0]], np.float32), wanted[row : row + 1])
        change = max(np.abs(new - old).max() for new, old in zip(model.get_weights(), before, strict=True))
        assert np.isfinite(change)
        assert (change > 0) == moves
