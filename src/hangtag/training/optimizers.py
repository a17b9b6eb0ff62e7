"""Optimizers and learning-rate schedules: SGD, AdamW and Muon, with layer-wise learning-rate decay."""

import math
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING

from hangtag.models.layers import import_keras, list_blocks
from hangtag.train_config import TrainConfig

if TYPE_CHECKING:
    from keras import KerasTensor, Model, Optimizer, Variable
    from keras.optimizers.schedules import LearningRateSchedule

# Kernels in the blocks of a transformer. The projections of a residual network are matrices too, but stay with AdamW.
BLOCK_MATRIX = re.compile(r"(?:^|/)block\d+_\w+/kernel$")
# The last parts of the names of weights without weight decay: scales, biases and position embeddings.
NOT_DECAYED = ["gamma", "beta", "bias", "embeddings"]
# The learning rate at the end of the cosine schedule, as a share of the peak.
LAST_RATE = 0.001


def compute_rates(model: "Model", layer_decay: float) -> dict[str, float]:
    """Compute the learning-rate factor of each trainable weight by its path (layer-wise learning-rate decay).

    Layers near the input are more general after pretraining, and get lower learning rates. The factor is 1 for the
    heads and the last block, and decreases by `layer_decay` for each block before.
    Source: Howard and Ruder, *Universal Language Model Fine-tuning for Text Classification*, 2018.

    Args:
        model: A network of `build_model`.
        layer_decay: The factor between neighbouring blocks, above 0, at most 1.
    """
    rates = {weight.path: 1.0 for weight in model.trainable_weights}
    for height, block in enumerate(reversed(list_blocks(model))):
        rates |= {weight.path: layer_decay**height for layer in block for weight in layer.trainable_weights}
    return rates


def make_layer_decay_class(kind: type, rates: Mapping[str, float]) -> "type[Optimizer]":
    """Return a subclass of a Keras optimizer that scales the learning rate and the weight decay of each weight.

    Args:
        kind: The optimizer class.
        rates: The learning-rate factor of each weight by its path, as `compute_rates` returns it.
    """
    ops = import_keras().ops

    class LayerDecayOptimizer(kind):  # type: ignore[misc]
        def build(self, variables: "Sequence[Variable]") -> None:
            super().build(variables)
            # By index, because the update step gets variables of the backend, which have no path.
            self.rates = [rates[variable.path] for variable in variables]

        def _read_rate(self, variable: "Variable") -> float:
            return float(self.rates[self._get_variable_index(variable)])

        def update_step(self, gradient: "KerasTensor", variable: "Variable", learning_rate: "KerasTensor") -> None:
            super().update_step(gradient, variable, learning_rate * self._read_rate(variable))

        def _apply_weight_decay(self, variables: "Sequence[Variable]") -> None:
            for variable in variables if self.weight_decay else ():
                if self._use_weight_decay(variable):
                    share = self.weight_decay * self._read_rate(variable)
                    variable.assign(variable - variable * (share * ops.cast(self.learning_rate, variable.dtype)))

    LayerDecayOptimizer.__name__ = kind.__name__
    return LayerDecayOptimizer


@cache
def make_muon_class() -> "type[Optimizer]":
    """Return an optimizer class with Muon for kernels of convolutions and transformer blocks, and AdamW for the rest.

    Source: Jordan et al., *Muon: An Optimizer for Hidden Layers in Neural Networks*, 2024; the size of the updates is
    from Liu et al., *Muon is Scalable for LLM Training*, 2025.
    """
    keras = import_keras()
    ops = keras.ops

    class ConvolutionMuon(keras.optimizers.Muon):  # type: ignore[name-defined, misc]
        """Muon that also updates the kernels of convolutions, reshaped to matrices with one column for each filter.

        Keras's own class updates convolutions with AdamW. Of the dense layers, this one applies Muon only to those in
        transformer blocks.
        """

        def _should_use_adamw(self, variable: "Variable") -> bool:
            # As Muon's author recommends, AdamW updates the first convolution, the heads and all vectors.
            if len(variable.shape) == 2:
                return BLOCK_MATRIX.search(variable.path) is None
            return len(variable.shape) != 4 or variable.shape[2] <= 3

        def zeropower_via_newtonschulz5(self, x: "KerasTensor", steps: int) -> "KerasTensor":
            """Approximate the nearest orthogonal matrix by Newton-Schulz iterations, in the shape of `x`."""
            shape = tuple(x.shape)
            is_tall = math.prod(shape[:-1]) > shape[-1]
            matrix = ops.reshape(x, (-1, shape[-1]))
            matrix = ops.transpose(matrix) if is_tall else matrix
            # bfloat16 is precise enough for the direction of an update, and takes a quarter of the time.
            matrix = ops.cast(matrix / (ops.norm(matrix) + 1e-7), "bfloat16")
            for _ in range(steps):
                square = ops.matmul(matrix, ops.transpose(matrix))
                change = self.muon_b * square + self.muon_c * ops.matmul(square, square)
                matrix = self.muon_a * matrix + ops.matmul(change, matrix)
            matrix = ops.transpose(matrix) if is_tall else matrix
            return ops.cast(ops.reshape(matrix, shape), x.dtype)

        def lr_adjust(self, x: "KerasTensor") -> "KerasTensor":
            """Scale an update to the size that AdamW's updates have."""
            return x * (math.sqrt(max(math.prod(x.shape[:-1]), x.shape[-1])) * self.rms_rate)

    return ConvolutionMuon


def build_optimizer(config: TrainConfig, items: int, rates: Mapping[str, float] | None = None) -> "Optimizer":
    """Build the optimizer of a training.

    Args:
        config: The settings of the training.
        items: The number of items in an epoch.
        rates: The learning-rate factor of each weight by its path; None trains all weights at the full rate.
    """
    optimizers = import_keras().optimizers
    steps = config.epochs * math.ceil(items / config.batch_size)
    schedule = build_schedule(config, steps)
    kinds = {"muon": make_muon_class(), "adamw": optimizers.AdamW, "sgd": optimizers.SGD}
    kind = kinds[config.optimizer] if rates is None else make_layer_decay_class(kinds[config.optimizer], rates)
    if config.optimizer == "muon":
        optimizer = kind(schedule, weight_decay=config.weight_decay, adam_weight_decay=config.weight_decay)
    elif config.optimizer == "adamw":
        optimizer = kind(schedule, weight_decay=config.weight_decay)
    else:
        optimizer = kind(schedule, momentum=config.momentum, weight_decay=config.weight_decay or None)
    optimizer.exclude_from_weight_decay(var_names=NOT_DECAYED)
    return optimizer


def build_schedule(config: TrainConfig, steps: int) -> "LearningRateSchedule":
    """Build the learning-rate schedule of a training.

    `inverse-time` is the schedule of the capstone report: learning_rate / (1 + decay * step), with decay =
    learning_rate / epochs, which was the argument `decay` of Keras's former optimizers. `cosine` increases linearly
    during the share `warmup` of all steps, and then decreases along a cosine to `LAST_RATE` of the peak. Source:
    Loshchilov and Hutter, *SGDR*, 2017.

    Args:
        config: The settings of the training.
        steps: The number of steps of the whole training.
    """
    schedules = import_keras().optimizers.schedules
    rate = config.learning_rate
    if config.lr_schedule == "inverse-time":
        return schedules.InverseTimeDecay(rate, decay_steps=1, decay_rate=rate / config.epochs)
    warmup = round(config.warmup * steps)
    return schedules.CosineDecay(
        0.0 if warmup else rate,
        decay_steps=max(steps - warmup, 1),
        alpha=LAST_RATE,
        warmup_target=rate if warmup else None,
        warmup_steps=warmup,
    )
