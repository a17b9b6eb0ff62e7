"""Batch the photographs of many requests into few passes of the network."""

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
# Milliseconds of decoding that a pass begins with at most, so that nobody waits long for the next.
PASS_MILLISECONDS = 50.0
# A pass takes a second at most; one that takes so long never ends.
STUCK_SECONDS = 60.0
Photos = Sequence[bytes | Photograph | Failure]


class StoppedError(Exception):
    """The service is being stopped and takes nothing more."""


@dataclass(frozen=True)
class _Job:
    photos: Photos
    explain: bool
    client: str
    cost: float
    future: "Future[list[Outcome]]"


class Batcher:
    """Workers that take all that waits, up to `BATCH` photographs, and answer it in one pass.

    A request alone is answered at once; under load requests come together by themselves, for they wait while the
    workers are busy.

    Args:
        classifier: The model; its network has to allow `workers` threads at once.
        precision: The share of sure answers that is to be right.
        max_pixels: Larger photographs are refused before they are decoded.
        max_waiting: Photographs that may wait; more are refused with `QueueFullError`. A client may fill half of it.
        workers: Threads; by default one a processor.
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
        # When each began its pass; None between passes.
        self._begun: dict[str, float] = {}
        self._threads = [threading.Thread(target=self._work, name=f"classify-{n}", daemon=True) for n in range(count)]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Photographs that wait or are in work."""
        return self._shares.used

    @property
    def is_ready(self) -> bool:
        """Whether a photograph would be taken now."""
        is_room = self._is_open and self.waiting < self._shares.most
        return is_room and all(each.is_alive() for each in self._threads) and not self._is_stuck

    @property
    def _is_stuck(self) -> bool:
        """Whether every worker has been in one pass for longer than any takes."""
        begun = list(self._begun.values())
        return len(begun) == len(self._threads) and max(begun) < time.monotonic() - STUCK_SECONDS

    def submit(
        self, photos: Photos, *, explain: bool = False, client: str = "", cost: float = 0.0
    ) -> "Future[list[Outcome]]":
        """Put photographs in the queue, all or none of them; return a future with an outcome for each.

        Args:
            photos: What the files hold, or what was decoded of them.
            explain: Say of each where the model looked, too, which takes as long again.
            client: Whose turn in the queue they take.
            cost: About how many milliseconds decoding takes.

        Raises:
            ShareError: Too many of this client wait already.
            QueueFullError: Too many wait already.
            StoppedError: The service is being stopped.
        """
        with self._lock:
            if not self._is_open:
                raise StoppedError
            self._shares.take(client, len(photos))
        future: Future[list[Outcome]] = Future()
        self._jobs.put(client, cost + len(photos), _Job(photos, explain, client, cost, future))
        return future

    def stop(self, seconds: float | None = None) -> bool:
        """Take nothing more, answer what waits, and end the workers.

        Args:
            seconds: How long to wait for them; None waits for as long as it takes.

        Returns:
            Whether all have ended.
        """
        with self._lock:
            self._is_open = False
        self._jobs.close()
        ends = None if seconds is None else time.monotonic() + seconds
        for thread in self._threads:
            thread.join(None if ends is None else max(ends - time.monotonic(), 0))
        return not any(thread.is_alive() for thread in self._threads)

    def _work(self) -> None:
        while (first := self._jobs.get()) is not None:
            jobs, size, cost = [first], len(first.photos), first.cost
            while size < BATCH and cost < PASS_MILLISECONDS and (more := self._jobs.get_nowait()):
                jobs.append(more)
                size, cost = size + len(more.photos), cost + more.cost
            name = threading.current_thread().name
            self._begun[name] = time.monotonic()
            self._answer([job for job in jobs if job.future.set_running_or_notify_cancel()])
            del self._begun[name]
            for job in jobs:
                self._shares.give_back(job.client, len(job.photos))

    def _answer(self, jobs: list[_Job]) -> None:
        asked = [(photo, job.explain) for job in jobs for photo in job.photos]
        explained = [index for index, (_, explain) in enumerate(asked) if explain]
        photos = [photo for photo, _ in asked]
        try:
            outcomes = classify_chunk(self._classifier, photos, self._precision, self._max_pixels, explained)
        except Exception as error:
            for job in jobs:
                job.future.set_exception(error)
            return
        for job in jobs:
            own, outcomes = outcomes[: len(job.photos)], outcomes[len(job.photos) :]
            job.future.set_result(own)
