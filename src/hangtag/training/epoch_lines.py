"""Print the epochs of trainings that other processes do, as they appear in the checkpoints."""

from collections.abc import Mapping
from pathlib import Path

from hangtag.console import print_line
from hangtag.io import JsonObject, read_csv
from hangtag.training.checkpoint import read_progress
from hangtag.training.trainer import describe_epoch
from hangtag.workspace import CHECKPOINT


class EpochLines:
    """The lines of trainings in other processes, each printed once; `Trainer.fit` prints those of this process.

    Args:
        runs: The folder of each training's run, by the title of its lines.
    """

    def __init__(self, runs: Mapping[str, Path]) -> None:
        self._runs = dict(runs)
        # A training that is resumed begins with these, and they are not printed.
        self._known = {title: read_progress(folder / CHECKPOINT)[0] for title, folder in self._runs.items()}

    def update(self) -> None:
        """Print the epochs that have ended since the last call."""
        for title, folder in self._runs.items():
            history, epochs = read_progress(folder / CHECKPOINT)
            if history:
                self._print(title, history, epochs)

    def finish(self, title: str) -> None:
        """Print the last epochs of a run that is finished, and so has no checkpoint any more."""
        history = read_csv(self._runs.pop(title) / "history.csv").to_dicts()
        self._print(title, history, len(history))

    def _print(self, title: str, history: list[JsonObject], epochs: int) -> None:
        known = self._known[title]
        same = sum(now == earlier for now, earlier in zip(history, known, strict=False))
        for line in history[same:]:
            print_line(title + describe_epoch(line, epochs))
        self._known[title] = history
