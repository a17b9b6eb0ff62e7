"""Test how threads share the work of classifying: small photographs one thread at a time, slow ones side by side."""

import threading
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hangtag.catalog.images import take_rows
from hangtag.inference import streaming
from hangtag.inference.classifier import Classifier
from hangtag.inference.streaming import CHUNK, Failure, classify_photographs


class Readers:
    """Count the threads that read at the same time, each photograph for some seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.most, self._inside, self._lock = seconds, 0, 0, threading.Lock()
        # The number of threads that read when each photograph was begun.
        self.inside: list[int] = []

    def read(self, *_: object) -> Failure:
        with self._lock:
            self._inside += 1
            self.most = max(self.most, self._inside)
            self.inside.append(self._inside)
        time.sleep(self.seconds)
        with self._lock:
            self._inside -= 1
        return Failure("unreadable", "not there")


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier.load()


@pytest.mark.parametrize(("seconds", "is_alone"), [(0.0, True), (0.003, False)])
def test_small_photographs_are_read_by_one_thread_at_a_time(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch, seconds: float, is_alone: bool
) -> None:
    readers = Readers(seconds)
    monkeypatch.setattr(streaming, "_read_photograph", readers.read)
    # What counts as quick on a machine that does other work too.
    monkeypatch.setattr(streaming, "QUICK_SECONDS", 0.002 if seconds else 10.0)
    outcomes = list(classify_photographs(classifier, [b""] * (8 * CHUNK), workers=4))
    assert [outcome.code for outcome in outcomes if isinstance(outcome, Failure)] == ["unreadable"] * 8 * CHUNK
    assert readers.most == (1 if is_alone else 4)
    if not is_alone:
        # All threads read from the second chunk on, also those that waited for the first one's turn.
        assert readers.inside[CHUNK + CHUNK // 2] >= 3


def test_a_failed_chunk_lets_the_others_go_on(classifier: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    def fail_once(*_: object) -> Failure:
        calls.append(None)
        if len(calls) == 1:
            raise MemoryError
        return Failure("unreadable", "not there")

    monkeypatch.setattr(streaming, "_read_photograph", fail_once)
    with pytest.raises(MemoryError):
        list(classify_photographs(classifier, [b""] * (3 * CHUNK), workers=2))
    assert len(calls) > CHUNK


@given(st.lists(st.integers(0, 9), max_size=12))
def test_rows_are_those_of_indexing(rows: list[int]) -> None:
    images = np.arange(10 * 2 * 2 * 3, dtype=np.uint8).reshape(10, 2, 2, 3)
    chosen = np.array(rows, np.int64)
    np.testing.assert_array_equal(take_rows(images, chosen), images[chosen])


def test_rows_that_follow_one_another_are_not_copied() -> None:
    images = np.zeros((10, 2, 2, 3), np.uint8)
    assert np.shares_memory(take_rows(images, np.arange(3, 7)), images)
