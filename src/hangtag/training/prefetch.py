"""Make the next batches while the network works on this one."""

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
AHEAD = 2


def prefetch(items: Iterable[Item], ahead: int = AHEAD) -> Iterator[Item]:
    """Give the same items in the same order, made by another thread up to `ahead` of them before they are asked for.

    An error in their making comes out where the item would have. Left early, the thread stops after its next item.
    """
    made: queue.Queue[tuple[bool, Item | BaseException | None]] = queue.Queue(ahead)
    is_over = threading.Event()

    def offer(is_item: bool, value: Item | BaseException | None) -> None:
        while not is_over.is_set():
            try:
                made.put((is_item, value), timeout=0.1)
            except queue.Full:
                continue
            return

    def make() -> None:
        try:
            for item in items:
                offer(True, item)
                if is_over.is_set():
                    return
        except BaseException as error:
            offer(False, error)
        else:
            offer(False, None)

    threading.Thread(target=make, daemon=True).start()
    try:
        while True:
            is_item, value = made.get()
            if is_item:
                yield value  # type: ignore[misc]
            elif isinstance(value, BaseException):
                raise value
            else:
                return
    finally:
        is_over.set()
