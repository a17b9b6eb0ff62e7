"""Show the progress of a command on a terminal, bars and the list of its stages, or report it to another process."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self, TypeVar

from rich.console import Console, Group
from rich.live import Live
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
# Called with the progress of the main thread instead of showing it; see `report_progress`.
Report = Callable[[dict[str, Any]], None]
_reports: list[Report] = []
# A bar is reported at most this often.
REPORT_SECONDS = 0.2


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

    def remove(self) -> None:
        """Show the bar no longer."""
        if self._progress is not None and self._task is not None:
            self._progress.remove_task(self._task)


class _ReportedBar(Bar):
    """A bar whose progress is reported, and not shown."""

    def __init__(self, report: Report, description: str, total: int | None, unit: str) -> None:
        super().__init__(None, description, total, unit)
        self._report, self._reported = report, 0.0
        self._state: dict[str, Any] = {"description": description, "done": 0, "total": total, "unit": unit}
        self._send(is_due=True)

    def advance(self, steps: int = 1) -> None:
        """Advance the bar by a number of steps."""
        self._state["done"] += steps
        self._send(is_due=self._state["done"] == self._state["total"])

    def describe(self, description: str) -> None:
        """Change the text of the bar."""
        self._state["description"] = description
        self._send(is_due=True)

    def remove(self) -> None:
        """Report that there is no bar any more."""
        self._report({"bar": None})

    def _send(self, *, is_due: bool) -> None:
        now = time.monotonic()
        if is_due or now - self._reported >= REPORT_SECONDS:
            self._reported = now
            self._report({"bar": dict(self._state)})


@contextmanager
def report_progress(report: Report) -> Iterator[None]:
    """Report the progress of the block, in the main thread, instead of showing it on the terminal.

    Args:
        report: Called with `{"steps": titles, "outcomes": those of the finished ones}` when a list of stages begins and
            after each stage, and with `{"bar": ...}` for a bar: `description`, `done`, `total` (or None) and `unit`, or
            None where there is none any more.
    """
    _reports.append(report)
    try:
        yield
    finally:
        _reports.pop()


@contextmanager
def show_progress(description: str, total: int | None, unit: str) -> Iterator[Bar]:
    """Show a progress bar on stderr for `total` steps of a `unit`, or nothing if stderr is not a terminal.

    Only the main thread shows a bar, since several threads of a service would otherwise each show one.
    """
    if _reports and threading.current_thread() is threading.main_thread():
        bar = _ReportedBar(_reports[-1], description, total, unit)
        try:
            yield bar
        finally:
            bar.remove()
        return
    if not console.is_terminal or threading.current_thread() is not threading.main_thread():
        yield Bar(None, description, total, unit)
        return
    if _open_lists:
        with _open_lists[-1].show_bar(description, total, unit) as shown:
            yield shown
        return
    with _build_progress() as progress:
        yield Bar(progress, description, total, unit)


def _build_progress() -> Progress:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        _RateColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, transient=True)


class StageList:
    """The stages of a command on stderr, one line each: done, now or next. Bars of the running one are shown below.

    Where stderr is no terminal, each stage has a line at its end. At most one list is open.

    Args:
        titles: What each stage does, in order.
    """

    def __init__(self, titles: Sequence[str]) -> None:
        self._titles, self._outcomes = list(titles), list[str]()
        self._started = time.perf_counter()
        self._progress = _build_progress()
        self._live: Live | None = None

    def __enter__(self) -> Self:
        """Show the list, with the first stage as the running one."""
        if _reports:
            self._report()
        elif console.is_terminal:
            self._live = Live(self._draw(), console=console, refresh_per_second=4)
            self._live.start()
            _open_lists.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the list on the terminal as it is."""
        if self._live is not None:
            _open_lists.pop()
            self._live.stop()

    def finish(self, outcome: str) -> None:
        """Mark the running stage as done, with a few words about its outcome, and the next one as running."""
        now = time.perf_counter()
        self._outcomes.append(f"{outcome} ({now - self._started:.1f} s)")
        self._started = now
        if _reports:
            self._report()
        elif self._live is not None:
            self._live.update(self._draw(), refresh=True)
        else:
            print_line(f"{self._titles[len(self._outcomes) - 1]}: {self._outcomes[-1]}")

    @contextmanager
    def show_bar(self, description: str, total: int | None, unit: str) -> Iterator[Bar]:
        """Show a bar below the list while the block runs."""
        bar = Bar(self._progress, description, total, unit)
        try:
            yield bar
        finally:
            bar.remove()

    def _report(self) -> None:
        _reports[-1]({"steps": list(self._titles), "outcomes": list(self._outcomes)})

    def _draw(self) -> Group:
        lines = []
        for number, title in enumerate(self._titles):
            place = number - len(self._outcomes)
            word, style = ("done", "green") if place < 0 else ("now", "bold") if place == 0 else ("next", "dim")
            outcome = f": {self._outcomes[number]}" if place < 0 else ""
            lines.append(Text(f"{word:<6}{title}{outcome}", style=style))
        return Group(*lines, self._progress)


_open_lists: list[StageList] = []


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
