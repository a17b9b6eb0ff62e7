"""What clients share: a queue in which they take turns, and an amount of which none takes more than half."""

import heapq
import threading
from collections import Counter, deque
from itertools import count
from typing import Generic, TypeVar

Item = TypeVar("Item")


class QueueFullError(Exception):
    """All of a shared amount is taken."""


class ShareError(Exception):
    """One client has taken its share of it."""


class Shares:
    """An amount, of photographs or bytes, that clients share. One client may take half of it.

    Args:
        most: All of it.

    Attributes:
        used: What is taken now.
    """

    def __init__(self, most: int) -> None:
        self.most, self.used = most, 0
        self._own: Counter[str] = Counter()
        self._lock = threading.Lock()

    def take(self, client: str, amount: int) -> None:
        """Take a part.

        Raises:
            QueueFullError: There is not as much left.
            ShareError: It would be more than the client's share; one that has taken nothing yet may take any part.
        """
        with self._lock:
            if self.used + amount > self.most:
                raise QueueFullError
            if self._own[client] and self._own[client] + amount > self.most // 2:
                raise ShareError
            self.used += amount
            self._own[client] += amount

    def give_back(self, client: str, amount: int) -> None:
        """Return what was taken."""
        with self._lock:
            self.used -= amount
            self._own[client] -= amount
            if self._own[client] <= 0:
                del self._own[client]


class FairQueue(Generic[Item]):
    """A queue for threads. A client that asks for much waits for itself; the others take their turns between."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: dict[str, list[tuple[float, int, Item]]] = {}
        self._turns: deque[str] = deque()
        self._numbers, self._is_open = count(), True

    def put(self, client: str, cost: float, item: Item) -> None:
        """Add an item of a client's."""
        with self._changed:
            if client not in self._waiting:
                self._waiting[client] = []
                self._turns.append(client)
            heapq.heappush(self._waiting[client], (cost, next(self._numbers), item))
            self._changed.notify()

    def get(self) -> Item | None:
        """Wait for an item and return it; None once the queue is closed and empty."""
        with self._changed:
            while not self._turns:
                if not self._is_open:
                    return None
                self._changed.wait()
            return self._take()

    def get_nowait(self) -> Item | None:
        """Return an item if one waits."""
        with self._changed:
            return self._take() if self._turns else None

    def close(self) -> None:
        """Let all who wait leave once nothing is left."""
        with self._changed:
            self._is_open = False
            self._changed.notify_all()

    def _take(self) -> Item:
        client = self._turns.popleft()
        _, _, item = heapq.heappop(self._waiting[client])
        if self._waiting[client]:
            self._turns.append(client)
        else:
            del self._waiting[client]
        return item
