"""Optimizers and learning-rate schedules: SGD, AdamW and Muon, with layer-wise learning-rate decay."""

import math
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from hangtag.config import TrainConfig
from hangtag.models.layers import import_keras, list_blocks

# Discriminative learning rates: what lies near the pixels is general already, and moves in smaller steps.


def compute_rates(model: Any, layer_decay: float) -> dict[str, float]:
    """Return what the steps of each trainable weight are multiplied with, by its path.

    The heads and the last block have 1, each block before it `layer_decay` times as much as the one after it.
    Source: Howard and Ruder, *Universal Language Model Fine-tuning for Text Classification*, 2018.

    Args:
        model: A network of `build_model`.
        layer_decay: Above 0, up to 1.
    """
    rates = {weight.path: 1.0 for weight in model.trainable_weights}
    for height, block in enumerate(reversed(list_blocks(model))):
        rates |= {weight.path: layer_decay**height for layer in block for weight in layer.trainable_weights}
    return rates


def make_layer_decay_class(kind: type, rates: Mapping[str, float]) -> Any:
    """Return a Keras optimizer class whose steps, and whose decay of weights, are scaled for each weight."""
    ops = import_keras().ops

    class Scaled(kind):  # type: ignore[misc]
        def build(self, variables: Any) -> None:
            super().build(variables)
            # The backend hands its own variables to a step, which have no path.
            self.rates = [rates[variable.path] for variable in variables]

        def _read_rate(self, variable: Any) -> float:
            return float(self.rates[self._get_variable_index(variable)])

        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            super().update_step(gradient, variable, learning_rate * self._read_rate(variable))

        def _apply_weight_decay(self, variables: Any) -> None:
            for variable in variables if self.weight_decay else ():
                if self._use_weight_decay(variable):
                    share = self.weight_decay * self._read_rate(variable)
                    variable.assign(variable - variable * (share * ops.cast(self.learning_rate, variable.dtype)))

    Scaled.__name__ = kind.__name__
    return Scaled


# The matrices inside a transformer's blocks. A residual network's projections, matrices too, stay with Adam.
BLOCK_MATRIX = re.compile(r"(?:^|/)block\d+_\w+/kernel$")


@cache
def make_muon_class() -> Any:
    """Return the class of Muon for kernels of convolutions and of a transformer's blocks, and AdamW for all else.

    Source: Jordan et al., *Muon: An Optimizer for Hidden Layers in Neural Networks*, 2024; sizes of steps as in Liu
    et al., *Muon is Scalable for LLM Training*, 2025.
    """
    keras = import_keras()
    ops = keras.ops

    class ConvolutionMuon(keras.optimizers.Muon):  # type: ignore[name-defined, misc]
        """Keras's Muon, which leaves convolutions to Adam, taking them as matrices of one column a filter.

        Of dense layers it takes those inside a transformer's blocks alone.
        """

        def _should_use_adamw(self, variable: Any) -> bool:
            # The stem's few input channels, dense heads and vectors stay with Adam, as Muon's author has it.
            if len(variable.shape) == 2:
                return BLOCK_MATRIX.search(variable.path) is None
            return len(variable.shape) != 4 or variable.shape[2] <= 3

        def zeropower_via_newtonschulz5(self, x: Any, steps: int) -> Any:
            """Return the nearest matrix whose directions all have about the same strength, in the shape of `x`."""
            shape = tuple(x.shape)
            is_tall = math.prod(shape[:-1]) > shape[-1]
            matrix = ops.reshape(x, (-1, shape[-1]))
            matrix = ops.transpose(matrix) if is_tall else matrix
            # bfloat16 is enough for a direction, and a quarter of the time.
            matrix = ops.cast(matrix / (ops.norm(matrix) + 1e-7), "bfloat16")
            for _ in range(steps):
                square = ops.matmul(matrix, ops.transpose(matrix))
                change = self.muon_b * square + self.muon_c * ops.matmul(square, square)
                matrix = self.muon_a * matrix + ops.matmul(change, matrix)
            matrix = ops.transpose(matrix) if is_tall else matrix
            return ops.cast(ops.reshape(matrix, shape), x.dtype)

        def lr_adjust(self, x: Any) -> Any:
            """Return the step the size that Adam's steps have."""
            return x * (math.sqrt(max(math.prod(x.shape[:-1]), x.shape[-1])) * self.rms_rate)

    return ConvolutionMuon


# The steps of a training: how large they are, and which way they go.

# The last parts of the names of weights that multiply no features: to draw them to zero would only slow them down.
NOT_DECAYED = ["gamma", "beta", "bias", "embeddings"]
LAST_RATE = 0.001


def build_optimizer(config: TrainConfig, items: int, rates: Mapping[str, float] | None = None) -> Any:
    """Return the optimizer of a training of `items` an epoch.

    Args:
        config: Settings.
        items: Of the training.
        rates: What the steps of each weight are multiplied with, by its path; None takes all whole.
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


def build_schedule(config: TrainConfig, steps: int) -> Any:
    """Return the step size over a training.

    `inverse-time` is the report's: learning_rate / (1 + decay * step), with decay = learning_rate / epochs, which
    Keras's optimizers once called `decay`. `cosine` rises over the share `warmup` of all steps and falls along a
    cosine to nearly nothing. Source: Loshchilov and Hutter, *SGDR*, 2017.
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
