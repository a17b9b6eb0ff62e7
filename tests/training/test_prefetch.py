"""Test the order, the errors and the end of prefetched items."""

import threading
import time
from collections.abc import Iterator

import pytest

from hangtag.training.data import AHEAD, prefetch


def count_threads() -> int:
    return threading.active_count()


def wait_for(threads: int) -> bool:
    """Return whether so few threads are left within some seconds."""
    for _ in range(300):
        if count_threads() <= threads:
            return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize("ahead", [1, AHEAD, 99])
@pytest.mark.parametrize("count", [0, 1, 2, 50])
def test_all_items_are_yielded_in_order(count: int, ahead: int) -> None:
    before = count_threads()
    assert list(prefetch(iter(range(count)), ahead)) == list(range(count))
    assert wait_for(before)


def test_none_can_be_an_item() -> None:
    assert list(prefetch([None, 1, None])) == [None, 1, None]


def test_items_are_computed_by_another_thread_up_to_the_limit() -> None:
    made: list[str] = []

    def make() -> Iterator[int]:
        for number in range(50):
            made.append(threading.current_thread().name)
            yield number

    items = prefetch(make(), ahead=3)
    assert made == []
    assert next(items) == 0
    deadline = time.monotonic() + 5
    while len(made) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    # One is taken, three wait, and one is made that finds no place.
    assert len(made) == 5
    assert threading.current_thread().name not in made
    assert list(items) == list(range(1, 50))


@pytest.mark.parametrize("error", [ValueError("bad photograph"), KeyboardInterrupt()])
def test_an_error_is_raised_in_place_of_its_item(error: BaseException) -> None:
    def make() -> Iterator[int]:
        yield from range(3)
        raise error

    before, items = count_threads(), prefetch(make())
    assert [next(items) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(type(error)) as caught:
        next(items)
    assert caught.value is error
    assert wait_for(before)
    with pytest.raises(StopIteration):
        next(items)


def test_the_thread_ends_after_its_next_item_if_the_caller_stops() -> None:
    made: list[int] = []

    def make() -> Iterator[int]:
        for number in range(10**9):
            made.append(number)
            yield number

    before = count_threads()
    for number in prefetch(make()):
        if number == 5:
            break
    assert wait_for(before)
    assert len(made) <= 6 + AHEAD + 2


def test_the_thread_ends_after_an_error_of_the_caller() -> None:
    def take() -> None:
        for number in prefetch(iter(range(10**9))):
            if number == 2:
                raise RuntimeError

    before = count_threads()
    with pytest.raises(RuntimeError):
        take()
    assert wait_for(before)
