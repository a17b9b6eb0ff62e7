"""The steps of a training: how large they are, and which way they go."""

import math
from typing import Any

from hangtag.config import TrainConfig
from hangtag.models.backend import import_keras
from hangtag.training.muon import build_muon

# The last parts of the names of weights that multiply no features: to draw them to zero would only slow them down.
NOT_DECAYED = ["gamma", "beta", "bias", "embeddings"]
LAST_RATE = 0.001


def build_optimizer(config: TrainConfig, items: int) -> Any:
    """Give the optimizer of a training of `items` an epoch."""
    keras = import_keras()
    steps = config.epochs * math.ceil(items / config.batch_size)
    schedule = build_schedule(config, steps)
    if config.optimizer == "muon":
        optimizer = build_muon(schedule, config.weight_decay)
    elif config.optimizer == "adamw":
        optimizer = keras.optimizers.AdamW(schedule, weight_decay=config.weight_decay)
    else:
        optimizer = keras.optimizers.SGD(schedule, momentum=config.momentum, weight_decay=config.weight_decay or None)
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
