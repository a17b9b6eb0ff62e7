"""Run the checks of catalogues one after the other, each in a process of its own that can be stopped at once."""

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from hangtag.io import JsonObject
from hangtag.serving.middleware import ProblemError

# Seconds for a process to clean up once it is stopped.
STOP_SECONDS = 3.0
# Seconds after which the rate of a step says how long it will take.
RATE_SECONDS = 2.0
CRASHED = (
    "The check ended before it was done, and not by a mistake in your catalogue (exit code {code}). Usually the "
    "machine had too little memory. Close other programs and start it again: it continues where it was."
)


@dataclass(frozen=True)
class CheckJob:
    """What a check needs: the catalogue and its name, the workspace, and the description, if it has one."""

    catalog_id: str
    name: str
    catalog: str
    workspace: Path
    schema: Path | None


# Runs in the process of a check: sends what `console.report_progress` reports, and at the end `{"done": True}` or
# `{"error": message}`.
CheckTarget = Callable[[Connection, CheckJob, int], None]


@dataclass
class _Running:
    """A check that waits or runs, with the last that its process has reported."""

    job: CheckJob
    state: str = "waiting"
    steps: list[str] = field(default_factory=list)
    outcomes: list[str] = field(default_factory=list)
    bar: JsonObject | None = None
    bar_began: float = 0.0
    bar_from: int = 0
    is_done: bool = False
    error: str = ""
    process: Any = None


class Checks:
    """The checks that run and wait.

    Args:
        target: Runs a check in its process; see `CheckTarget`.
        on_end: Called with the catalogue's name and why the check did not go through (empty where it did), but not for
            a check that was stopped.
    """

    def __init__(self, target: CheckTarget, on_end: Callable[[str, str], None]) -> None:
        self._target, self._on_end = target, on_end
        self._queue: deque[_Running] = deque()
        self._changed = threading.Condition()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run_all, name="checks", daemon=True)
        self._thread.start()

    def start(self, job: CheckJob) -> None:
        """Start a check, or let it wait until those before it have ended.

        Raises:
            ProblemError: The catalogue is being checked already.
        """
        with self._changed:
            if any(each.job.catalog_id == job.catalog_id for each in self._queue):
                raise ProblemError(409, "running", "This catalogue is being checked already.")
            self._queue.append(_Running(job))
            self._changed.notify_all()

    def stop(self, catalog_id: str) -> None:
        """Stop a check; where none runs or waits, nothing happens."""
        with self._changed:
            found = next((each for each in self._queue if each.job.catalog_id == catalog_id), None)
            if found is None:
                return
            if found.state == "waiting":
                self._queue.remove(found)
                return
            found.state = "stopping"
            process = found.process
        if process is not None:
            threading.Thread(target=end_process, args=(process,), daemon=True).start()

    def is_busy(self, catalog_id: str) -> bool:
        """Return whether a catalogue is being checked, or waits for it."""
        with self._changed:
            return any(each.job.catalog_id == catalog_id for each in self._queue)

    def describe(self, catalog_id: str) -> JsonObject | None:
        """Return how far a check is; None where none runs or waits.

        Returns:
            `state` (`waiting`, `running` or `stopping`), `waits_for` (the name of the catalogue that is checked now),
            `steps` and `outcomes` (those of finished ones), `bar` and `seconds_left` of the current step.
        """
        with self._changed:
            found = next((each for each in self._queue if each.job.catalog_id == catalog_id), None)
            if found is None:
                return None
            first = self._queue[0]
            return {
                "state": found.state,
                "waits_for": first.job.name if first is not found else "",
                "steps": found.steps,
                "outcomes": found.outcomes,
                "bar": found.bar,
                "seconds_left": _estimate_seconds(found),
            }

    def close(self) -> None:
        """Stop all checks, and wait for their processes."""
        with self._changed:
            self._is_closed = True
            waiting = [each for each in self._queue if each.state == "waiting"]
            for each in waiting:
                self._queue.remove(each)
            running = [each.process for each in self._queue if each.process is not None]
            for each in self._queue:
                each.state = "stopping"
            self._changed.notify_all()
        for process in running:
            end_process(process)
        self._thread.join(2 * STOP_SECONDS)

    def _run_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._is_closed)
                if self._is_closed and not self._queue:
                    return
                running = self._queue[0]
                running.state = "running"
            error = ""
            try:
                error = self._run(running)
            except Exception as failure:
                # Whatever it is, the next check has to run.
                logging.getLogger("uvicorn.error").exception("A check cannot be started")
                error = f"The check cannot be started: {failure}."
            finally:
                if running.state != "stopping":
                    # Before it leaves the queue, so that a page never sees neither.
                    with suppress(Exception):
                        self._on_end(running.job.catalog_id, error)
                with self._changed:
                    self._queue.popleft()

    def _run(self, running: _Running) -> str:
        """Run a check in its process until that ends; return why it did not go through."""
        context = multiprocessing.get_context("spawn")
        events, sender = context.Pipe(duplex=False)
        with events:
            # Not a daemon, since those may not have the processes that decode photographs.
            process = context.Process(target=self._target, args=(sender, running.job, os.getpid()), daemon=False)
            with self._changed:
                if running.state == "stopping":
                    return ""
                process.start()
                running.process = process
            sender.close()
            with suppress(EOFError, OSError):
                while True:
                    self._note(running, events.recv())
        process.join()
        if running.is_done or running.error:
            return running.error
        return CRASHED.format(code=process.exitcode)

    def _note(self, running: _Running, event: JsonObject) -> None:
        with self._changed:
            if "steps" in event:
                running.steps, running.outcomes, running.bar = event["steps"], event["outcomes"], None
            if "bar" in event:
                bar, before = event["bar"], running.bar
                if bar and (before is None or before["description"] != bar["description"]):
                    running.bar_began, running.bar_from = time.monotonic(), bar["done"]
                running.bar = bar
            running.is_done = running.is_done or bool(event.get("done"))
            running.error = running.error or event.get("error", "")


def _estimate_seconds(running: _Running) -> float | None:
    """Return how long the current step will still take at its rate so far; None where that is not known yet."""
    bar = running.bar
    elapsed = time.monotonic() - running.bar_began
    if not bar or not bar["total"] or elapsed < RATE_SECONDS or bar["done"] <= running.bar_from:
        return None
    return float((bar["total"] - bar["done"]) * elapsed / (bar["done"] - running.bar_from))


def end_process(process: Any) -> None:
    """End a check's process and those that it has started: first ask it to clean up, then end it."""
    process.terminate()
    process.join(STOP_SECONDS)
    with suppress(OSError, AttributeError):
        # The process leads a group of its own once it has started to work.
        os.killpg(process.pid, signal.SIGKILL)
    if process.is_alive():
        process.kill()
