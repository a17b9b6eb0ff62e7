"""The step size over a training."""

from typing import Any

from hangtag.models.backend import import_keras


def build_schedule(learning_rate: float, epochs: int) -> Any:
    """Give the report's step size: learning_rate / (1 + decay * step), with decay = learning_rate / epochs.

    It is what Keras's optimizers once called `decay`. Source: the capstone's training settings.
    """
    keras = import_keras()
    return keras.optimizers.schedules.InverseTimeDecay(learning_rate, decay_steps=1, decay_rate=learning_rate / epochs)
