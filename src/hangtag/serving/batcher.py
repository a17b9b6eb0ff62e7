"""Answer many requests by few passes of the network: what waits is taken together."""

import os
import queue
import threading
from concurrent.futures import Future
from dataclasses import dataclass

from hangtag.inference.classifier import Classifier
from hangtag.inference.stream import Outcome, classify_chunk

BATCH = 64
Photos = list[bytes]


class QueueFullError(Exception):
    """More photographs wait than are allowed to."""


class StoppedError(Exception):
    """The service is being stopped and takes nothing more."""


@dataclass(frozen=True)
class _Job:
    photos: Photos
    explain: bool
    future: "Future[list[Outcome]]"


class Batcher:
    """Workers that take all that waits, up to `BATCH` photographs, and answer it in one pass.

    A request alone is answered at once; under load requests come together by themselves, for they wait while the
    workers are busy.

    Args:
        classifier: The model; its network has to allow `workers` threads at once.
        precision: The share of sure answers that is to be right.
        max_pixels: Larger photographs are refused before they are decoded.
        max_waiting: Photographs that may wait; more are refused with `QueueFullError`.
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
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._max_waiting, self.waiting, self._is_open = max_waiting, 0, True
        count = workers or os.cpu_count() or 1
        self._threads = [threading.Thread(target=self._work, name=f"classify-{n}", daemon=True) for n in range(count)]
        for thread in self._threads:
            thread.start()

    @property
    def is_ready(self) -> bool:
        """Whether a photograph would be taken now."""
        return self._is_open and self.waiting < self._max_waiting and all(each.is_alive() for each in self._threads)

    def submit(self, photos: Photos, *, explain: bool = False) -> "Future[list[Outcome]]":
        """Put photographs in the queue, all or none of them; the future gives an outcome for each.

        Args:
            photos: What the files hold.
            explain: Say of each where the model looked, too, which takes as long again.

        Raises:
            QueueFullError: Too many wait already.
            StoppedError: The service is being stopped.
        """
        with self._lock:
            if not self._is_open:
                raise StoppedError
            if self.waiting + len(photos) > self._max_waiting:
                raise QueueFullError
            self.waiting += len(photos)
        future: Future[list[Outcome]] = Future()
        self._jobs.put(_Job(photos, explain, future))
        return future

    def stop(self) -> None:
        """Take nothing more, answer what waits, and end the workers."""
        with self._lock:
            self._is_open = False
        self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while (first := self._jobs.get()) is not None:
            jobs, size = [first], len(first.photos)
            while size < BATCH:
                try:
                    more = self._jobs.get_nowait()
                except queue.Empty:
                    break
                if more is None:
                    self._jobs.put(None)
                    break
                jobs.append(more)
                size += len(more.photos)
            self._answer([job for job in jobs if job.future.set_running_or_notify_cancel()])
            with self._lock:
                self.waiting -= size
        # For the next worker.
        self._jobs.put(None)

    def _answer(self, jobs: list[_Job]) -> None:
        asked = [(photo, job.explain) for job in jobs for photo in job.photos]
        explained = [place for place, (_, explain) in enumerate(asked) if explain]
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
