"""Dynamic batching: classify the photographs of waiting requests together in one forward pass."""

import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from hangtag.catalog.images import Photograph
from hangtag.inference.classifier import Classifier
from hangtag.inference.streaming import Failure, Outcome, classify_chunk
from hangtag.serving.fair_queue import FairQueue, Shares

BATCH = 64
# The maximum decoding time of a batch in milliseconds, so that no request waits long for the next batch.
PASS_MILLISECONDS = 50.0
# A batch takes a second at most; after this long its worker counts as stuck.
STUCK_SECONDS = 60.0
Photos = Sequence[bytes | Photograph | Failure]


class StoppedError(Exception):
    """Raised for a request that arrives while the service is stopping."""


@dataclass(frozen=True)
class _Job:
    photos: Photos
    explain: bool
    client: str
    cost: float
    future: "Future[list[Outcome]]"


class Batcher:
    """Worker threads that take all waiting photographs, up to `BATCH`, and classify them in one forward pass.

    No time is spent waiting to fill a batch: a single request is classified at once, and under load requests
    accumulate while the workers are busy.

    Args:
        classifier: The model; its network must allow `workers` threads at once.
        precision: The target precision of sure predictions.
        max_pixels: The maximum size of a photograph; larger ones are rejected before decoding.
        max_waiting: The maximum number of waiting photographs; more raise `QueueFullError`. A client may use half.
        workers: The number of threads; by default one per CPU core.
    """

    def __init__(
        self,
        classifier: Classifier,
        *,
        precision: float,
        max_pixels: int,
        max_waiting: int,
        workers: int | None = None,
    ) -> None:
        self._classifier, self._precision, self._max_pixels = classifier, precision, max_pixels
        self._jobs: FairQueue[_Job] = FairQueue()
        self._lock = threading.Lock()
        self._shares, self._is_open = Shares(max_waiting), True
        count = workers or os.cpu_count() or 1
        # The start time of each busy worker's batch, by thread name.
        self._batch_started: dict[str, float] = {}
        self._threads = [threading.Thread(target=self._work, name=f"classify-{n}", daemon=True) for n in range(count)]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Return the number of photographs that are waiting or being classified."""
        return self._shares.used

    @property
    def is_ready(self) -> bool:
        """Return whether a photograph would be accepted now."""
        has_room = self._is_open and self.waiting < self._shares.most
        return has_room and all(thread.is_alive() for thread in self._threads) and not self._is_stuck

    @property
    def _is_stuck(self) -> bool:
        """Return whether every worker has worked on one batch for longer than `STUCK_SECONDS`."""
        started = list(self._batch_started.values())
        return len(started) == len(self._threads) and max(started) < time.monotonic() - STUCK_SECONDS

    def submit(
        self, photos: Photos, *, explain: bool = False, client: str = "", cost: float = 0.0
    ) -> "Future[list[Outcome]]":
        """Add photographs to the queue, all or none of them.

        Args:
            photos: File contents, decoded photographs, or failures, which become their own outcome.
            explain: Whether to compute a heat map for each photograph too, which doubles the time.
            client: The key of the client; clients take turns.
            cost: The estimated decoding time in milliseconds.

        Returns:
            A future of the outcomes, one for each photograph, in the order of `photos`.

        Raises:
            ShareError: Too many photographs of this client are waiting.
            QueueFullError: Too many photographs are waiting.
            StoppedError: The service is stopping.
        """
        with self._lock:
            if not self._is_open:
                raise StoppedError
            self._shares.take(client, len(photos))
        future: Future[list[Outcome]] = Future()
        self._jobs.put(client, cost + len(photos), _Job(photos, explain, client, cost, future))
        return future

    def stop(self, seconds: float | None = None) -> bool:
        """Accept no more photographs, classify the waiting ones, and stop the workers.

        Args:
            seconds: The maximum time to wait for the workers; None for no limit.

        Returns:
            Whether all workers have stopped.
        """
        with self._lock:
            self._is_open = False
        self._jobs.close()
        deadline = None if seconds is None else time.monotonic() + seconds
        for thread in self._threads:
            thread.join(None if deadline is None else max(deadline - time.monotonic(), 0))
        return not any(thread.is_alive() for thread in self._threads)

    def _work(self) -> None:
        while (first := self._jobs.get()) is not None:
            jobs, size, cost = [first], len(first.photos), first.cost
            while size < BATCH and cost < PASS_MILLISECONDS and (more := self._jobs.get_nowait()):
                jobs.append(more)
                size, cost = size + len(more.photos), cost + more.cost
            name = threading.current_thread().name
            self._batch_started[name] = time.monotonic()
            self._classify([job for job in jobs if job.future.set_running_or_notify_cancel()])
            del self._batch_started[name]
            for job in jobs:
                self._shares.give_back(job.client, len(job.photos))

    def _classify(self, jobs: list[_Job]) -> None:
        photos = [photo for job in jobs for photo in job.photos]
        wants_heatmap = [job.explain for job in jobs for _ in job.photos]
        explained = [index for index, is_wanted in enumerate(wants_heatmap) if is_wanted]
        try:
            outcomes = classify_chunk(self._classifier, photos, self._precision, self._max_pixels, explained)
        except Exception as error:
            for job in jobs:
                job.future.set_exception(error)
            return
        for job in jobs:
            job_outcomes, outcomes = outcomes[: len(job.photos)], outcomes[len(job.photos) :]
            job.future.set_result(job_outcomes)
