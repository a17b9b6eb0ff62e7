"""What the service counts and times, for Prometheus."""

from collections.abc import Sequence

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.process_collector import ProcessCollector
from starlette.types import Scope

from hangtag.inference.answer import Answer
from hangtag.inference.stream import Outcome

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """The counters of one service; each has its own, so that tests and processes do not share them."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Counter("hangtag_requests", "Requests answered.", ["path", "status"], registry=self._registry)
        self._seconds = Histogram(
            "hangtag_request_seconds", "Seconds from a request to its answer.", buckets=SECONDS, registry=self._registry
        )
        self._photographs = Counter(
            "hangtag_photographs", "Photographs by what became of them.", ["outcome"], registry=self._registry
        )
        self._waiting = Gauge("hangtag_waiting", "Photographs that wait or are in work.", registry=self._registry)

    def note(self, scope: Scope, status: int, seconds: float) -> None:
        """Count a request; only known paths have a line of their own, for anybody may ask for any."""
        self._requests.labels(getattr(scope.get("route"), "path", "other"), str(status)).inc()
        if scope["path"] == "/v1/classify":
            self._seconds.observe(seconds)

    def note_outcomes(self, outcomes: Sequence[Outcome]) -> None:
        """Count photographs by outcome."""
        for outcome in outcomes:
            is_sure = "sure" if isinstance(outcome, Answer) and outcome.is_sure else "not_sure"
            self._photographs.labels(is_sure if isinstance(outcome, Answer) else outcome.code).inc()

    def render(self, waiting: int) -> bytes:
        """Give everything in Prometheus's text format."""
        self._waiting.set(waiting)
        return generate_latest(self._registry)
