"""HTTP connections with limits: on their number, on silence, and on what is sent after a refusal."""

import asyncio
import ipaddress
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from hangtag.serving.middleware import name_client

# Seconds for a request's line and headers, from its first byte or from the opening of the connection.
HEADER_SECONDS = 10.0
# Seconds for a client to read a refusal while it still sends, and to take what is left of an answer.
CLOSING_SECONDS = 5.0
# How much longer than the service's own limit a request may take before its connection is cut.
SLACK_SECONDS = 15.0
# Connections beyond the limit that are let in all the same where none can be closed for them: health is asked by them.
RESERVE = 32


@dataclass
class ConnectionLimits:
    """How many connections there may be, and which there are.

    Attributes:
        most: At once.
        most_a_client: At once from one address; where it has so many, its longest silent one is closed for a new one.
        request_seconds: For a request, its upload included.
        proxies: Addresses and networks that many clients come from.
        open: The connections of each client.
    """

    most: int
    most_a_client: int
    request_seconds: float
    proxies: tuple[str, ...] = ()
    open: dict[str, set["BoundedProtocol"]] = field(default_factory=lambda: defaultdict(set))

    def admit(self, connection: "BoundedProtocol") -> bool:
        """Count a connection, and close an idle one for it where there are too many; False where none is idle."""
        own = self.open[connection.client_name]
        is_let_in = True
        if len(own) >= self.most_a_client and not self._is_proxy(connection.address):
            is_let_in = _close_longest_idle(own)
        total = sum(len(each) for each in self.open.values())
        if total >= self.most:
            everyone = set().union(*self.open.values())
            is_let_in = is_let_in and (_close_longest_idle(everyone) or total < self.most + RESERVE)
        own.add(connection)
        return is_let_in

    def _is_proxy(self, address: str) -> bool:
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(found in ipaddress.ip_network(each) for each in self.proxies)

    def forget(self, connection: "BoundedProtocol") -> None:
        """Count a connection no more."""
        own = self.open[connection.client_name]
        own.discard(connection)
        if not own:
            del self.open[connection.client_name]


def _close_longest_idle(connections: set["BoundedProtocol"]) -> bool:
    idle = [each for each in connections if each.idle_since is not None]
    if not idle:
        return False
    min(idle, key=lambda each: each.idle_since or 0.0).cut()
    return True


class BoundedProtocol(H11Protocol):
    """An HTTP/1.1 connection that ends where its client is silent, endless, or takes no answer.

    Attributes:
        address: The client's.
        client_name: What stands for it; see `name_client`.
        idle_since: When it began to wait for a request; None while one is in work.
    """

    def __init__(self, *args: Any, limits: ConnectionLimits, **more: Any) -> None:
        super().__init__(*args, **more)
        self._limits, self._deadline = limits, cast("asyncio.TimerHandle | None", None)
        # The request that is timed, and whether a part of the next one's headers has come.
        self._timed: Any = None
        self._has_begun = True
        self.address = self.client_name = ""
        self.idle_since = cast("float | None", None)
        self.is_lingering = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection, and limit the time to its first request."""
        wrapped = cast(asyncio.Transport, _LingeringTransport(cast(asyncio.Transport, transport), self))
        peer = transport.get_extra_info("peername")
        self.address = str(peer[0]) if isinstance(peer, tuple) else ""
        self.client_name = name_client(self.address)
        super().connection_made(wrapped)
        self.idle_since = time.monotonic()
        self._limit(HEADER_SECONDS)
        if not self._limits.admit(self):
            self.cut()

    def connection_lost(self, exc: Exception | None) -> None:
        """Count it no more."""
        if self._deadline:
            self._deadline.cancel()
        self.idle_since = None
        self._limits.forget(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what the client sends; after a refusal it is read and thrown away."""
        if self.is_lingering:
            return
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._is_asked:
            self._begin_request()
        elif not self._has_begun:
            self._has_begun = True
            self._limit(HEADER_SECONDS)

    def on_response_complete(self) -> None:
        """Limit the time to take the response, and to send the next request."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._limit(CLOSING_SECONDS)
        elif self._is_asked:
            self._begin_request()
        else:
            self._timed, self._has_begun, self.idle_since = None, False, time.monotonic()
            # Beyond what uvicorn waits for: where the answer is not taken, it cannot close either.
            self._limit(self.timeout_keep_alive + CLOSING_SECONDS)

    def cut(self) -> None:
        """Close the connection at once."""
        self.idle_since = None
        self.transport.abort()

    def linger(self, transport: asyncio.Transport) -> bool:
        """Describe that nothing more is sent, and throw away what the client still sends, for some seconds.

        Closed at once, the connection would be reset by what arrives late, and the client never see why.

        Returns:
            Whether the client is still sending.
        """
        if self.is_lingering:
            return True
        is_sending = self.conn.their_state is h11.SEND_BODY and not transport.is_closing()
        if not (is_sending and transport.can_write_eof()):
            return False
        self.is_lingering, self.idle_since = True, None
        transport.write_eof()
        self.flow.resume_reading()
        self._limit(CLOSING_SECONDS)
        return True

    @property
    def _is_asked(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _begin_request(self) -> None:
        if self._timed is not self.cycle:
            self._timed, self.idle_since = self.cycle, None
            self._limit(self._limits.request_seconds + SLACK_SECONDS)

    def _limit(self, seconds: float) -> None:
        if self._deadline:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(seconds, self.cut)


class _LingeringTransport:
    """A transport whose `close` lets the client of a refused upload read the refusal first."""

    def __init__(self, transport: asyncio.Transport, protocol: BoundedProtocol) -> None:
        self._transport, self._protocol = transport, protocol

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        return self._protocol.is_lingering or self._transport.is_closing()

    def close(self) -> None:
        if not self._protocol.linger(self._transport):
            self._transport.close()
