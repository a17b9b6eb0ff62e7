"""HTTP/1.1 connections with limits: on their number, on idle time, and on uploads that go on after a refusal."""

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
# Seconds for a client to read a refusal while it still sends, and to receive the rest of a response.
CLOSING_SECONDS = 5.0
# Seconds that a request may take beyond the service's own timeout before its connection is cut.
SLACK_SECONDS = 15.0
# Connections beyond the limit that are accepted where no idle one can be closed, so that health checks get through.
RESERVE = 32


@dataclass
class ConnectionLimits:
    """Limits on connections, and the connections that are open.

    Attributes:
        most: Connections at once.
        most_a_client: Connections at once from one client; at the limit, its longest idle one is closed for a new one.
        request_seconds: The time for a request, its upload included.
        proxies: Addresses and networks that many clients come from; `most_a_client` does not apply to them.
        open: The connections of each client.
    """

    most: int
    most_a_client: int
    request_seconds: float
    proxies: tuple[str, ...] = ()
    open: dict[str, set["BoundedProtocol"]] = field(default_factory=lambda: defaultdict(set))

    def admit(self, connection: "BoundedProtocol") -> bool:
        """Add a connection, and close an idle one for it where there are too many.

        Returns:
            Whether the connection is allowed; False where there are too many and none is idle.
        """
        own = self.open[connection.client_name]
        is_allowed = True
        if len(own) >= self.most_a_client and not self._is_proxy(connection.address):
            is_allowed = _close_longest_idle(own)
        total = sum(len(each) for each in self.open.values())
        if total >= self.most:
            everyone = set().union(*self.open.values())
            is_allowed = is_allowed and (_close_longest_idle(everyone) or total < self.most + RESERVE)
        own.add(connection)
        return is_allowed

    def _is_proxy(self, address: str) -> bool:
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(found in ipaddress.ip_network(each) for each in self.proxies)

    def forget(self, connection: "BoundedProtocol") -> None:
        """Remove a closed connection."""
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
    """An HTTP/1.1 connection that is cut where its client sends nothing, sends without end, or reads no response.

    Attributes:
        address: The client's address.
        client_name: The client's key; see `name_client`.
        idle_since: When it began to wait for a request; None while one is in work.
        is_lingering: Whether a refusal was sent and what the client still sends is discarded.
    """

    def __init__(self, *args: Any, limits: ConnectionLimits, **more: Any) -> None:
        super().__init__(*args, **more)
        self._limits, self._deadline = limits, cast("asyncio.TimerHandle | None", None)
        # The request whose time runs, and whether a part of the next request's headers has arrived.
        self._timed: Any = None
        self._has_begun = True
        self.address = self.client_name = ""
        self.idle_since = cast("float | None", None)
        self.is_lingering = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Add the connection to the limits, and start the time for its first request's headers."""
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
        """Remove the connection from the limits."""
        if self._deadline:
            self._deadline.cancel()
        self.idle_since = None
        self._limits.forget(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Handle what the client sends; after a refusal it is discarded."""
        if self.is_lingering:
            return
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._has_request:
            self._begin_request()
        elif not self._has_begun:
            self._has_begun = True
            self._limit(HEADER_SECONDS)

    def on_response_complete(self) -> None:
        """Start the time for the client to receive the response and to send its next request."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._limit(CLOSING_SECONDS)
        elif self._has_request:
            self._begin_request()
        else:
            self._timed, self._has_begun, self.idle_since = None, False, time.monotonic()
            # Longer than uvicorn's own keep-alive, which cannot close a connection whose response is not received.
            self._limit(self.timeout_keep_alive + CLOSING_SECONDS)

    def cut(self) -> None:
        """Close the connection at once."""
        self.idle_since = None
        self.transport.abort()

    def linger(self, transport: asyncio.Transport) -> bool:
        """Half-close the connection where the client is still sending, and discard what arrives for some seconds.

        Closed at once, the connection would be reset by data that arrives late, and the client would never read why
        it was refused.

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
    def _has_request(self) -> bool:
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
