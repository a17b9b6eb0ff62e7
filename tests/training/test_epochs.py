"""Tests of the number of epochs."""

from typing import Any

import pytest

from hangtag.errors import SettingsError
from hangtag.train_config import TrainConfig
from hangtag.training.data import choose_size
from hangtag.training.epochs import (
    LAST_PREDICTIONS,
    MARGIN,
    MOST_EPOCHS,
    EpochTime,
    choose_epochs,
    estimate_training,
    fit_epochs,
)


@pytest.mark.parametrize(
    ("given", "items", "epochs"),
    [(0, 64 * 75, 8), (0, 64 * 75 - 64, 9), (0, 64 * 15, 40), (0, 100, 50), (3, 100, 3), (80, 100, 80)],
)
def test_small_catalogues_have_more_epochs(given: int, items: int, epochs: int) -> None:
    assert choose_epochs(TrainConfig(epochs=given, batch_size=64), items).epochs == epochs


class TimedTrainer:
    """Takes the same time for every pixel: 60 seconds for an epoch on photographs of 80 x 60, 6 for val."""

    def __init__(self) -> None:
        self.data = {"train": range(1000)}
        self.timed: list[tuple[int, int]] = []

    def choose_size(self, epoch: int, epochs: int) -> tuple[int, int]:
        return choose_size((80, 60), epoch, epochs, initial_scale=0.5, final_fraction=0.4)

    def time_epoch(self, size: tuple[int, int]) -> EpochTime:
        seconds = 60 * size[0] * size[1] / 4800
        self.timed.append(size)
        return EpochTime(3.0, seconds, seconds / 10)


def fit(minutes: float, epochs: int = 0) -> tuple[int, list[tuple[int, int]]]:
    trainer: Any = TimedTrainer()
    config = fit_epochs(lambda _: trainer, TrainConfig(minutes=minutes, epochs=epochs))
    return config.epochs, trainer.timed


def test_the_time_of_a_training_is_estimated_once_for_each_size() -> None:
    trainer: Any = TimedTrainer()
    trainer.config = TrainConfig(epochs=5)
    seconds = estimate_training(trainer)
    sizes = [trainer.choose_size(epoch, 5) for epoch in range(1, 6)]
    assert trainer.timed == list(dict.fromkeys(sizes))
    epochs = sum(1.1 * 60 * height * width / 4800 for height, width in sizes)
    assert seconds == pytest.approx(MARGIN * (epochs + 3 * len(set(sizes)) + LAST_PREDICTIONS * 6))


@pytest.mark.parametrize("minutes", [1.8, 2, 3.5, 10, 30])
def test_a_budget_has_room_for_its_epochs_and_for_no_more(minutes: float) -> None:
    epochs, timed = fit(minutes)

    def measure(number: int) -> float:
        trainer = TimedTrainer()
        sizes = [trainer.choose_size(epoch, number) for epoch in range(1, number + 1)]
        times = [trainer.time_epoch(size) for size in sizes]
        epochs = sum(each.training + each.validation for each in times)
        # Each of three sizes is compiled once.
        return MARGIN * (3 * len(set(sizes)) + epochs + LAST_PREDICTIONS * times[-1].validation) / 60

    assert measure(epochs) <= minutes < measure(epochs + 1)
    assert len(timed) == len(set(timed)) <= 3


def test_a_long_budget_has_an_upper_limit() -> None:
    assert fit(10_000)[0] == MOST_EPOCHS
    assert fit(10_000, epochs=3)[0] == 3


def test_a_budget_without_room_for_an_epoch_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"minutes is too short: one epoch over 1,000 .* 1\.7 minutes.*0\.5"):
        fit(0.5)
