"""Test that waiting requests are batched, that each gets its own outcomes, and that none waits forever."""

import threading
from collections.abc import Sequence
from typing import Any

import pytest

from hangtag.inference.streaming import Failure, Outcome
from hangtag.serving import batcher as module
from hangtag.serving.batcher import BATCH, Batcher, StoppedError
from hangtag.serving.fair_queue import QueueFullError


class Work:
    """A stub of the network: returns each photograph's content as its outcome, once `go` is set."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.started, self.go = threading.Event(), threading.Event()
        self.error: Exception | None = None

    def __call__(self, _classifier: Any, photos: Sequence[bytes], *_more: Any) -> list[Outcome]:
        self.sizes.append(len(photos))
        self.started.set()
        assert self.go.wait(20)
        if self.error:
            raise self.error
        return [Failure(photo.decode(), "") for photo in photos]


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    work = Work()
    monkeypatch.setattr(module, "classify_chunk", work)
    return work


def make(max_waiting: int = 1000, workers: int = 1) -> Batcher:
    return Batcher(None, precision=0.95, max_pixels=10, max_waiting=max_waiting, workers=workers)  # type: ignore[arg-type]


def codes(outcomes: list[Outcome]) -> list[str]:
    return [outcome.code for outcome in outcomes if isinstance(outcome, Failure)]


def test_waiting_requests_are_batched_and_each_gets_its_own_outcomes(work: Work) -> None:
    batcher = make()
    first = batcher.submit([b"first"])
    assert work.started.wait(20)
    waiting = [batcher.submit([f"{number}a".encode(), f"{number}b".encode()]) for number in range(10)]
    work.go.set()
    assert codes(first.result(20)) == ["first"]
    assert [codes(each.result(20)) for each in waiting] == [[f"{number}a", f"{number}b"] for number in range(10)]
    assert work.sizes == [1, 20]
    batcher.stop()
    assert batcher.waiting == 0


def test_the_batch_size_is_limited(work: Work) -> None:
    batcher = make()
    batcher.submit([b"x"])
    assert work.started.wait(20)
    waiting = [batcher.submit([b"x"]) for _ in range(BATCH + 5)]
    work.go.set()
    for each in waiting:
        each.result(20)
    batcher.stop()
    assert work.sizes == [1, BATCH, 5]


def test_too_many_photographs_are_rejected_until_some_are_classified(work: Work) -> None:
    batcher = make(max_waiting=3)
    taken = batcher.submit([b"1", b"2"])
    with pytest.raises(QueueFullError):
        batcher.submit([b"3", b"4"], client="another")
    before = batcher.is_ready
    batcher.submit([b"3"], client="another")
    assert (before, batcher.is_ready) == (True, False)
    work.go.set()
    taken.result(20)
    batcher.stop()
    assert batcher.waiting == 0


@pytest.mark.parametrize("workers", [1, 3])
def test_stop_classifies_waiting_photographs_and_accepts_no_more(workers: int, work: Work) -> None:
    batcher = make(workers=workers)
    taken = [batcher.submit([b"x"]) for _ in range(200)]
    work.go.set()
    batcher.stop()
    assert all(each.done() for each in taken)
    with pytest.raises(StoppedError):
        batcher.submit([b"y"])
    assert not batcher.is_ready


def test_an_error_is_raised_in_its_request_and_the_worker_continues(work: Work) -> None:
    batcher = make()
    work.go.set()
    work.error = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        batcher.submit([b"x"]).result(20)
    work.error = None
    assert codes(batcher.submit([b"x"]).result(20)) == ["x"]
    batcher.stop()


def test_cancelled_requests_are_not_classified(work: Work) -> None:
    batcher = make()
    batcher.submit([b"first"])
    assert work.started.wait(20)
    gone, kept = batcher.submit([b"gone"]), batcher.submit([b"kept"])
    assert gone.cancel()
    work.go.set()
    assert codes(kept.result(20)) == ["kept"]
    batcher.stop()
    assert work.sizes == [1, 1]
