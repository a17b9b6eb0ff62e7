"""Prometheus metrics of the service; where several processes share a port, they add up over all of them.

The counters of such processes are files in a folder that they share (`prometheus_client.multiprocess`), so that any of
them can return the totals. A file is named by the number of a process, which its successor takes over together with the
counts: totals never fall, and there are no more files after any number of restarts.
"""

import asyncio
import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    generate_latest,
    values,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from starlette.types import Scope

from hangtag.inference.prediction import Prediction
from hangtag.inference.streaming import Outcome

# Upper bounds of the latency histogram, in seconds.
LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# Seconds between two updates of the number of waiting photographs that the other processes read.
UPDATE_SECONDS = 1.0


class Metrics:
    """Counters and timings of one service, in a separate registry so that tests do not share them.

    Args:
        folder: The folder that the processes of the service share, after `join_processes`; None for a single process.
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, folder: Path | None = None) -> None:
        registry = CollectorRegistry()
        self._requests = Counter("hangtag_requests", "Requests answered.", ["path", "status"], registry=registry)
        self._seconds = Histogram(
            "hangtag_request_seconds",
            "Seconds from a request to its response.",
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self._photographs = Counter("hangtag_photographs", "Photographs by outcome.", ["outcome"], registry=registry)
        self._waiting = Gauge(
            "hangtag_waiting", "Photographs waiting or in work.", registry=registry, multiprocess_mode="livesum"
        )
        self._processes = Gauge(
            "hangtag_processes", "Processes that serve.", registry=registry, multiprocess_mode="livesum"
        )
        if folder is None:
            ProcessCollector(registry=registry)
        else:
            # The metrics above have this process's values alone; the files have those of all processes.
            registry = CollectorRegistry()
            MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call]
            registry.register(_ProcessesCollector(folder))
        self._registry = registry

    def count_request(self, scope: Scope, status: int, seconds: float) -> None:
        """Count a request. Unknown paths are counted together, so that clients cannot create any number of labels."""
        self._requests.labels(getattr(scope.get("route"), "path", "other"), str(status)).inc()
        if scope["path"] == "/v1/classify":
            self._seconds.observe(seconds)

    def count_outcomes(self, outcomes: Sequence[Outcome]) -> None:
        """Count photographs by outcome: `sure`, `not_sure`, or an error code."""
        for outcome in outcomes:
            sureness = "sure" if isinstance(outcome, Prediction) and outcome.is_sure else "not_sure"
            self._photographs.labels(sureness if isinstance(outcome, Prediction) else outcome.code).inc()

    async def follow_waiting(self, read_waiting: Callable[[], int]) -> None:
        """Count this process, and keep its number of waiting photographs up to date for the others, until cancelled."""
        self._processes.set(1)
        while True:
            self._waiting.set(read_waiting())
            await asyncio.sleep(UPDATE_SECONDS)

    def render(self, waiting: int) -> bytes:
        """Return all metrics in Prometheus's text format.

        Args:
            waiting: The number of photographs that are waiting or being classified in this process now.
        """
        self._waiting.set(waiting)
        return generate_latest(self._registry)


class _ProcessesCollector(Collector):
    """Collects memory, processor time and open files of every process of the service, labelled by its id."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterable[Metric]:
        collected: dict[str, Metric] = {}
        for path in sorted(self._folder.glob("*.pid")):
            try:
                pid = path.read_text(encoding="ascii")
            except FileNotFoundError:
                # It has ended.
                continue
            for metric in ProcessCollector(pid=partial(str, pid), registry=None).collect():
                merged = collected.setdefault(metric.name, Metric(metric.name, metric.documentation, metric.type))
                for sample in metric.samples:
                    merged.add_sample(sample.name, {**sample.labels, "pid": pid}, sample.value)
        return collected.values()


def join_processes(folder: Path, number: int) -> None:
    """Share the metrics of this process with the others of the service; call it once, before `Metrics(folder)`.

    Args:
        folder: The folder that they share.
        number: The number of this process, which no other running process has.
    """
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    values.ValueClass = values.MultiProcessValue(lambda: number)  # type: ignore[no-untyped-call]
    (folder / f"{number}.pid").write_text(str(os.getpid()), encoding="ascii")


def forget_process(folder: Path, number: int) -> None:
    """Leave a process that has ended out of the gauges; its counts stay in the totals."""
    mark_process_dead(number, str(folder))  # type: ignore[no-untyped-call]
    (folder / f"{number}.pid").unlink(missing_ok=True)
