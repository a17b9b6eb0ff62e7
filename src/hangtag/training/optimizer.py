"""The steps of a training: how large they are, and which way they go."""

import math
from collections.abc import Mapping
from typing import Any

from hangtag.config import TrainConfig
from hangtag.models.backend import import_keras
from hangtag.training.muon import find_muon
from hangtag.training.rates import find_scaled

# The last parts of the names of weights that multiply no features: to draw them to zero would only slow them down.
NOT_DECAYED = ["gamma", "beta", "bias", "embeddings"]
LAST_RATE = 0.001


def build_optimizer(config: TrainConfig, items: int, rates: Mapping[str, float] | None = None) -> Any:
    """Give the optimizer of a training of `items` an epoch.

    Args:
        config: Settings.
        items: Of the training.
        rates: What the steps of each weight are multiplied with, by its path; None takes all whole.
    """
    optimizers = import_keras().optimizers
    steps = config.epochs * math.ceil(items / config.batch_size)
    schedule = build_schedule(config, steps)
    kinds = {"muon": find_muon(), "adamw": optimizers.AdamW, "sgd": optimizers.SGD}
    kind = kinds[config.optimizer] if rates is None else find_scaled(kinds[config.optimizer], rates)
    if config.optimizer == "muon":
        optimizer = kind(schedule, weight_decay=config.weight_decay, adam_weight_decay=config.weight_decay)
    elif config.optimizer == "adamw":
        optimizer = kind(schedule, weight_decay=config.weight_decay)
    else:
        optimizer = kind(schedule, momentum=config.momentum, weight_decay=config.weight_decay or None)
    optimizer.exclude_from_weight_decay(var_names=NOT_DECAYED)
    return optimizer


def build_schedule(config: TrainConfig, steps: int) -> Any:
    """Give the step size over a training.

    `inverse-time` is the report's: learning_rate / (1 + decay * step), with decay = learning_rate / epochs, which
    Keras's optimizers once called `decay`. `cosine` rises over the share `warmup` of all steps and falls along a
    cosine to nearly nothing. Source: Loshchilov and Hutter, *SGDR*, 2017.
    """
    schedules = import_keras().optimizers.schedules
    rate = config.learning_rate
    if config.schedule == "inverse-time":
        return schedules.InverseTimeDecay(rate, decay_steps=1, decay_rate=rate / config.epochs)
    warmup = round(config.warmup * steps)
    return schedules.CosineDecay(
        0.0 if warmup else rate,
        decay_steps=max(steps - warmup, 1),
        alpha=LAST_RATE,
        warmup_target=rate if warmup else None,
        warmup_steps=warmup,
    )
