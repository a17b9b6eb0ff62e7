"""Choose the number of epochs: by the number of training items, or by a time budget."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hangtag.errors import SettingsError
from hangtag.train_config import TrainConfig
from hangtag.training.checkpoint import read_settings_of_checkpoint

if TYPE_CHECKING:
    from hangtag.training.trainer import Trainer

# The largest number of epochs for a small catalogue.
MOST_EPOCHS = 50
# After the last epoch val is predicted twice, both times with mirror images: to calibrate, and to measure.
LAST_PREDICTIONS = 4
# Other programs slow some of the steps down.
MARGIN = 1.1


@dataclass(frozen=True)
class EpochTime:
    """The seconds of an epoch at one image size.

    Attributes:
        compilation: The seconds that only the first epoch at this size takes.
        training: The seconds of all its training steps.
        validation: The seconds of predicting val.
    """

    compilation: float
    training: float
    validation: float


def choose_epochs(config: TrainConfig, items: int) -> TrainConfig:
    """Return settings with a number of epochs; see the setting `epochs`.

    Args:
        config: The settings of the training.
        items: The number of training items.
    """
    steps = math.ceil(items / config.batch_size)
    epochs = config.epochs or min(max(config.min_epochs, math.ceil(config.min_steps / steps)), MOST_EPOCHS)
    return replace(config, epochs=epochs)


def estimate_training(
    trainer: "Trainer", epochs: int = 0, times: dict[tuple[int, int], EpochTime] | None = None
) -> float:
    """Estimate the seconds of a training, with a margin, from some steps at each of its image sizes.

    Args:
        trainer: A trainer that is not used for the training.
        epochs: The number of epochs; 0 takes that of the trainer's settings.
        times: The sizes that are timed already; others are added.
    """
    epochs, times = epochs or trainer.config.epochs, {} if times is None else times
    sizes = [trainer.choose_size(epoch, epochs) for epoch in range(1, epochs + 1)]
    for size in sizes:
        if size not in times:
            times[size] = trainer.time_epoch(size)
    seconds = sum(times[size].training + times[size].validation for size in sizes)
    seconds += sum(times[size].compilation for size in set(sizes))
    return MARGIN * (seconds + LAST_PREDICTIONS * times[sizes[-1]].validation)


def fit_epochs(build: "Callable[[TrainConfig], Trainer]", config: TrainConfig) -> TrainConfig:
    """Return settings with as many epochs as fit into the time budget, the setting `minutes`.

    Some steps are timed at each image size of the training, with a network that is not used later; this counts too. The
    result depends on the machine and on what else runs on it.

    Args:
        build: Builds a trainer from settings.
        config: The settings. `epochs` is the largest number; 0 allows `MOST_EPOCHS`.

    Raises:
        SettingsError: Not even one epoch fits.
    """
    started = time.perf_counter()
    trainer = build(replace(config, epochs=config.epochs or MOST_EPOCHS))
    times: dict[tuple[int, int], EpochTime] = {}

    def estimate_minutes(epochs: int) -> float:
        seconds = estimate_training(trainer, epochs, times)
        return (time.perf_counter() - started + seconds) / 60

    fitting = 0
    while fitting < (config.epochs or MOST_EPOCHS) and estimate_minutes(fitting + 1) <= config.minutes:
        fitting += 1
    if not fitting:
        items = len(trainer.data["train"])
        raise SettingsError(
            f"{{minutes}} is too short: one epoch over {items:,} items takes some {estimate_minutes(1):.1f} minutes.",
            hint="Allow more, or train a faster network, as with --preset quick.",
            received=config.minutes,
            settings=["minutes"],
        )
    return replace(config, epochs=fitting)


def fit_time(
    build: "Callable[[TrainConfig], Trainer]", config: TrainConfig, checkpoint: Path | None = None
) -> TrainConfig:
    """Return settings with a number of epochs that fits into `minutes`, if they have a time budget.

    Args:
        build: See `fit_epochs`.
        config: The settings of the training.
        checkpoint: The checkpoint of a training that is resumed, which keeps its number.
    """
    unfinished = read_settings_of_checkpoint(checkpoint) if checkpoint and config.minutes else None
    if unfinished is not None:
        return replace(config, epochs=unfinished["epochs"])
    return fit_epochs(build, config) if config.minutes else config
