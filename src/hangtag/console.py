"""Show progress bars with rate and remaining time on a terminal."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

Item = TypeVar("Item")
console = Console(stderr=True)


class _RateColumn(ProgressColumn):
    """A column with the steps per second, in the task's unit."""

    def render(self, task: Task) -> Text:
        """Return the text of the column."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f} {task.fields['unit']}/s" if speed else "")


class Bar:
    """A progress bar, which shows nothing if there is no terminal."""

    def __init__(self, progress: Progress | None, description: str, total: int | None, unit: str) -> None:
        self._progress = progress
        self._task = None if progress is None else progress.add_task(description, total=total, unit=unit)

    def advance(self, steps: int = 1) -> None:
        """Advance the bar by a number of steps."""
        if self._progress is not None and self._task is not None:
            self._progress.advance(self._task, steps)

    def describe(self, description: str) -> None:
        """Change the text before the bar."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, description=description)


@contextmanager
def show_progress(description: str, total: int | None, unit: str) -> Iterator[Bar]:
    """Show a progress bar on stderr for `total` steps of a `unit`, or nothing if stderr is not a terminal.

    Only the main thread shows a bar, since several threads of a service would otherwise each show one.
    """
    if not console.is_terminal or threading.current_thread() is not threading.main_thread():
        yield Bar(None, description, total, unit)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        _RateColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        yield Bar(progress, description, total, unit)


def print_line(text: str) -> None:
    """Print a line of a long task's progress on stderr, in a log file too, where no bar is shown."""
    if threading.current_thread() is threading.main_thread():
        console.print(text, markup=False, highlight=False, soft_wrap=True)


def track(items: Iterable[Item], description: str, total: int | None, unit: str) -> Iterator[Item]:
    """Yield the items and show a progress bar of them."""
    with show_progress(description, total, unit) as bar:
        for item in items:
            yield item
            bar.advance()
