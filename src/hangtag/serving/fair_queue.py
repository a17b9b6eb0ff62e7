"""Share the service fairly among clients: a round-robin queue, a quota per client, and a plan of where to decode.

Cheap photographs are decoded by the threads that classify them. Costly ones go to the processes of `decoders`, so that
no upload delays the requests of other clients.
"""

import heapq
import threading
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Generic, TypeVar

from hangtag.catalog.image_headers import Header, read_header
from hangtag.catalog.images import SIGNATURES
from hangtag.config import ServeConfig
from hangtag.serving.middleware import ProblemError

# The maximum decoding time in the classifying threads, in milliseconds, of one photograph and of a whole request.
CHEAP_MILLISECONDS, CHEAP_REQUEST_MILLISECONDS = 15.0, 50.0
# The decoder checks this limit too, since a photograph can have more pixels than its header states.
CHEAP_PIXELS = 2_500_000
# The maximum size of a cheap file in bytes; lower for formats of which only the header is parsed.
CHEAP_BYTES = {"JPEG": 2_000_000, "PNG": 2_000_000, "WEBP": 2_000_000, "GIF": 200_000, "BMP": 200_000}
# The headers of larger requests are read in a thread: counting scans takes a millisecond per megabyte.
SMALL_BYTES = 500_000
Item = TypeVar("Item")


class QueueFullError(Exception):
    """Raised when the shared amount is used up."""


class ShareError(Exception):
    """Raised when a client has used up its share."""


class Shares:
    """A limited amount of photographs or bytes that clients share. A single client may take half of it.

    Args:
        most: The total amount.

    Attributes:
        used: The amount in use now.
    """

    def __init__(self, most: int) -> None:
        self.most, self.used = most, 0
        self._used_by_client: Counter[str] = Counter()
        self._lock = threading.Lock()

    def take(self, client: str, amount: int) -> None:
        """Reserve an amount for a client.

        Raises:
            QueueFullError: Less than the amount is left.
            ShareError: The client's share would be exceeded; a client that has reserved nothing may take any amount.
        """
        with self._lock:
            if self.used + amount > self.most:
                raise QueueFullError
            if self._used_by_client[client] and self._used_by_client[client] + amount > self.most // 2:
                raise ShareError
            self.used += amount
            self._used_by_client[client] += amount

    def give_back(self, client: str, amount: int) -> None:
        """Release an amount that a client has reserved."""
        with self._lock:
            self.used -= amount
            self._used_by_client[client] -= amount
            if self._used_by_client[client] <= 0:
                del self._used_by_client[client]


class FairQueue(Generic[Item]):
    """A thread-safe queue that serves clients round-robin, so that a client with many items does not delay others.

    Among the items of one client, the cheapest comes first.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: dict[str, list[tuple[float, int, Item]]] = {}
        self._turns: deque[str] = deque()
        self._numbers, self._is_open = count(), True

    def put(self, client: str, cost: float, item: Item) -> None:
        """Add an item for a client."""
        with self._changed:
            if client not in self._waiting:
                self._waiting[client] = []
                self._turns.append(client)
            heapq.heappush(self._waiting[client], (cost, next(self._numbers), item))
            self._changed.notify()

    def get(self) -> Item | None:
        """Wait for an item and return it, or None when the queue is closed and empty."""
        with self._changed:
            while not self._turns:
                if not self._is_open:
                    return None
                self._changed.wait()
            return self._take()

    def get_nowait(self) -> Item | None:
        """Return an item without waiting, or None if there is none."""
        with self._changed:
            return self._take() if self._turns else None

    def close(self) -> None:
        """Close the queue: `get` returns None when it is empty."""
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


@dataclass(frozen=True)
class Plan:
    """A plan of how to decode the photographs of a request.

    Attributes:
        headers: The parsed header of each photograph; None for a format whose header is not read.
        costly: The indices of photographs to decode in a separate process.
        milliseconds: The estimated decoding time of the other photographs.
    """

    headers: tuple[Header | None, ...]
    costly: tuple[int, ...]
    milliseconds: float


def plan_decoding(contents: Sequence[bytes], config: ServeConfig) -> Plan:
    """Plan the decoding of a request from the headers of its photographs.

    Raises:
        ProblemError: The photographs have too many pixels together.
    """
    headers = tuple(read_header(content) for content in contents)
    pixels = sum(header.pixels for header in headers if header)
    if len(contents) > 1 and pixels > config.max_request_pixels:
        message = f"The photographs have {pixels:,} pixels together, {config.max_request_pixels:,} are allowed. "
        raise ProblemError(413, "too_many_pixels", message + "Send fewer at once, or smaller ones.")
    costly, milliseconds = [], 0.0
    for index, (content, header) in enumerate(zip(contents, headers, strict=True)):
        cost = _estimate_milliseconds(content, header)
        if cost <= CHEAP_MILLISECONDS and milliseconds + cost <= CHEAP_REQUEST_MILLISECONDS:
            milliseconds += cost
        else:
            costly.append(index)
    return Plan(headers, tuple(costly), milliseconds)


def _estimate_milliseconds(content: bytes, header: Header | None) -> float:
    """Estimate a photograph's decoding time in milliseconds; infinity if it is unknown or too long."""
    if header is None:
        # A file that is no picture is rejected at once; the time of a picture without a read header is unknown.
        return float("inf") if content.startswith(SIGNATURES) else 0.1
    if len(content) > CHEAP_BYTES[header.kind] or header.pixels > CHEAP_PIXELS:
        return float("inf")
    return header.milliseconds
