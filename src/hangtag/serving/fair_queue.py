"""Share a service fairly: a queue in which clients take turns, a quota per client, and a plan of what to decode where.

Cheap photographs are decoded by the threads that classify them; costly ones go to the processes of `decoders`, so that
no upload delays the requests of others.
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

# Milliseconds of decoding that one photograph, and all of a request, may take in the threads that serve everybody.
CHEAP_MILLISECONDS, CHEAP_REQUEST_MILLISECONDS = 15.0, 50.0
# The decoder enforces this limit too, for a photograph that has more pixels than its header states.
CHEAP_PIXELS = 2_500_000
# Bytes of a cheap file, by format; fewer for formats that are not parsed beyond the header.
CHEAP_BYTES = {"JPEG": 2_000_000, "PNG": 2_000_000, "WEBP": 2_000_000, "GIF": 200_000, "BMP": 200_000}
# Requests with more bytes have their headers read in a thread: counting scans takes a millisecond a megabyte.
SMALL_BYTES = 500_000
Item = TypeVar("Item")


class QueueFullError(Exception):
    """All of a shared amount is in use."""


class ShareError(Exception):
    """One client uses its whole share."""


class Shares:
    """A bounded amount, of photographs or bytes, that clients share. One client may take half of it.

    Args:
        most: The whole amount.

    Attributes:
        used: The amount in use now.
    """

    def __init__(self, most: int) -> None:
        self.most, self.used = most, 0
        self._own: Counter[str] = Counter()
        self._lock = threading.Lock()

    def take(self, client: str, amount: int) -> None:
        """Take an amount for a client.

        Raises:
            QueueFullError: Less than that is left.
            ShareError: It would exceed the client's share; a client that has taken nothing yet may take any amount.
        """
        with self._lock:
            if self.used + amount > self.most:
                raise QueueFullError
            if self._own[client] and self._own[client] + amount > self.most // 2:
                raise ShareError
            self.used += amount
            self._own[client] += amount

    def give_back(self, client: str, amount: int) -> None:
        """Release an amount that a client has taken."""
        with self._lock:
            self.used -= amount
            self._own[client] -= amount
            if self._own[client] <= 0:
                del self._own[client]


class FairQueue(Generic[Item]):
    """A queue for threads, round-robin over clients: one with many items delays its own and not those of others.

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
        """Wait for an item and return it; None once the queue is closed and empty."""
        with self._changed:
            while not self._turns:
                if not self._is_open:
                    return None
                self._changed.wait()
            return self._take()

    def get_nowait(self) -> Item | None:
        """Return an item, or None where none is waiting."""
        with self._changed:
            return self._take() if self._turns else None

    def close(self) -> None:
        """Let `get` return None once the queue is empty."""
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
    """How the photographs of a request are decoded.

    Attributes:
        headers: The parsed header of each; None where the format's headers are not read.
        costly: The indices of those that are decoded in a separate process.
        milliseconds: The estimated decoding time of the others.
    """

    headers: tuple[Header | None, ...]
    costly: tuple[int, ...]
    milliseconds: float


def plan_decoding(contents: Sequence[bytes], config: ServeConfig) -> Plan:
    """Decide from their headers which photographs of a request are costly to decode.

    Raises:
        ProblemError: Together they have too many pixels.
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
    """Estimate a photograph's decoding time, in milliseconds; infinity where it cannot be known or is too long."""
    if header is None:
        # What is not a picture is refused at once; a picture whose header is not read may cost anything.
        return float("inf") if content.startswith(SIGNATURES) else 0.1
    if len(content) > CHEAP_BYTES[header.kind] or header.pixels > CHEAP_PIXELS:
        return float("inf")
    return header.milliseconds
