"""Loss functions and training metrics, the moving average of the weights (EMA), and the floating-point precision."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hangtag.models.checkpoint import Weights, assign_weights, read_weights
from hangtag.models.label_space import CATEGORY_PATH, LabelSpace
from hangtag.models.layers import import_keras
from hangtag.models.registry import LEAST
from hangtag.train_config import TrainConfig
from hangtag.training.targets import NAME_WORDS

if TYPE_CHECKING:
    from keras import KerasTensor, Metric, Model

    LossFunction = Callable[[KerasTensor, KerasTensor], KerasTensor]

LEAST_PROBABILITY = 1e-7


def build_losses(heads: Sequence[str], config: TrainConfig) -> "tuple[dict[str, LossFunction], dict[str, float]]":
    """Return the loss of each head, the cross-entropy in nats, and its weight in the total loss.

    The target row of an item without a value is zero and adds no loss and no gradient. Keras's own loss cannot be
    used: it normalises probabilities to a sum of 1, which is wrong for an ensemble in training (see
    `hangtag.models.registry`), and TensorFlow's kernel assumes that every target row sums to 1.
    """
    ops = import_keras().ops

    def cross_entropy(wanted: "KerasTensor", probs: "KerasTensor") -> "KerasTensor":
        return -ops.sum(wanted * ops.log(ops.maximum(probs, LEAST)), axis=-1)

    losses: dict[str, LossFunction] = dict.fromkeys(heads, cross_entropy)
    known = {CATEGORY_PATH: 1.0, NAME_WORDS: config.word_weight}
    return losses, {head: known.get(head, config.attribute_weight) for head in heads}


def build_metrics(label_space: LabelSpace) -> "list[Metric]":
    """Build the metrics of the head `category_path`: accuracy and cross-entropy on the primary level."""
    keras = import_keras()
    classes = label_space.list_classes(label_space.primary)
    members = np.zeros((len(classes), len(label_space.class_names)), np.float32)
    has_value = classes >= 0
    members[has_value, classes[has_value]] = 1

    def accuracy(wanted: "KerasTensor", probs: "KerasTensor") -> "KerasTensor":
        return keras.metrics.categorical_accuracy(keras.ops.matmul(wanted, members), keras.ops.matmul(probs, members))

    def cross_entropy(wanted: "KerasTensor", probs: "KerasTensor") -> "KerasTensor":
        summed = keras.ops.matmul(probs, members)
        return keras.losses.categorical_crossentropy(keras.ops.matmul(wanted, members), summed)

    return [
        keras.metrics.MeanMetricWrapper(accuracy, name="accuracy"),
        keras.metrics.MeanMetricWrapper(cross_entropy, name="cross_entropy"),
    ]


# Reading all weights takes as long as some layers do. An average over every fourth step is as smooth.
STRIDE = 4


class WeightEMA:
    """An exponential moving average (EMA) of all weights, including the moving statistics of normalization layers.

    Source: Polyak and Juditsky, *Acceleration of Stochastic Approximation by Averaging*, 1992.

    Args:
        decay: The decay per step, from 0 to below 1; 0 disables the average.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.weights: Weights = {}
        self.steps = 0

    def update(self, model: "Model") -> None:
        """Update the average with the weights after a training step. Only every `STRIDE`-th step has an effect."""
        self.steps += 1
        if not self.decay or self.steps % STRIDE:
            return
        current = read_weights(model)
        if not self.weights:
            self.weights = current
        # Bounds the weight of the first steps in a short training.
        kept = min(self.decay**STRIDE, self.steps / (self.steps + 10 * STRIDE))
        for path, weight in current.items():
            self.weights[path] += (1 - kept) * (weight - self.weights[path])

    def read(self, model: "Model") -> Weights:
        """Return the averaged weights, or the model's own if the average is disabled or has no step yet."""
        return self.weights or read_weights(model)

    @contextmanager
    def swap(self, model: "Model") -> Iterator[None]:
        """Load the averaged weights into the model inside the block, and restore its own afterwards."""
        if not self.weights:
            yield
            return
        own = read_weights(model)
        assign_weights(model, self.weights)
        try:
            yield
        finally:
            assign_weights(model, own)


# Processor flags of bfloat16 multiplication. Without it bfloat16 is emulated and slower than float32.
INSTRUCTIONS = {"avx512_bf16", "amx_bf16"}


def choose_precision(wanted: str = TrainConfig.precision) -> str:
    """Return `float32` or `bfloat16`; `auto` chooses bfloat16 if the processor supports it."""
    if wanted != "auto":
        return wanted
    return "bfloat16" if INSTRUCTIONS & read_processor_flags() else "float32"


def read_processor_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> set[str]:
    """Return the processor's feature flags; none if the system does not list them."""
    if not cpuinfo.is_file():
        return set()
    lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    flags = [line.partition(":")[2].split() for line in lines if line.startswith("flags")]
    return set(flags[0]) if flags else set()
