"""Limit HTTP/1.1 connections: their number, their idle time, and uploads that continue after an error response."""

import asyncio
import ipaddress
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from hangtag.serving.middleware import name_client

# Seconds to receive a request's headers, from its first byte or from the opening of the connection.
HEADER_SECONDS = 10.0
# Seconds for a client to read an error response while it still sends, and to receive the rest of a response.
CLOSING_SECONDS = 5.0
# Seconds after the service's own timeout until the connection of a request is closed.
SLACK_SECONDS = 15.0
# The number of connections accepted beyond the limit if no idle one can be closed, so that health checks succeed.
RESERVE = 32


@dataclass
class ConnectionLimits:
    """The limits on connections, and the open connections.

    Attributes:
        most: The maximum number of connections at once.
        most_a_client: The maximum from one client; at the limit, its longest idle one is closed for a new one.
        request_seconds: The time for a request including its upload.
        proxies: Addresses and networks shared by many clients; `most_a_client` does not apply to them.
        open: The open connections of each client.
    """

    most: int
    most_a_client: int
    request_seconds: float
    proxies: tuple[str, ...] = ()
    open: dict[str, set["BoundedProtocol"]] = field(default_factory=lambda: defaultdict(set))

    def admit(self, connection: "BoundedProtocol") -> bool:
        """Add a connection; if there are too many, close an idle one.

        Returns:
            Whether the connection is allowed: False if there are too many and none is idle.
        """
        of_client = self.open[connection.client_name]
        is_allowed = True
        if len(of_client) >= self.most_a_client and not self._is_proxy(connection.address):
            is_allowed = _close_longest_idle(of_client)
        total = sum(map(len, self.open.values()))
        if total >= self.most:
            all_connections = set().union(*self.open.values())
            is_allowed = is_allowed and (_close_longest_idle(all_connections) or total < self.most + RESERVE)
        of_client.add(connection)
        return is_allowed

    def _is_proxy(self, address: str) -> bool:
        try:
            client_address = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(client_address in ipaddress.ip_network(network) for network in self.proxies)

    def forget(self, connection: "BoundedProtocol") -> None:
        """Remove a closed connection."""
        of_client = self.open[connection.client_name]
        of_client.discard(connection)
        if not of_client:
            del self.open[connection.client_name]


def _close_longest_idle(connections: set["BoundedProtocol"]) -> bool:
    idle = [connection for connection in connections if connection.idle_since is not None]
    if not idle:
        return False
    min(idle, key=lambda connection: connection.idle_since or 0.0).cut()
    return True


class BoundedProtocol(H11Protocol):
    """An HTTP/1.1 connection that is closed if its client sends nothing, sends without end, or reads no response.

    Attributes:
        address: The client's address.
        client_name: The client's key; see `name_client`.
        idle_since: The time since which it waits for a request; None during a request.
        is_lingering: Whether an error response was sent and further data from the client is discarded.
    """

    def __init__(self, *args: Any, limits: ConnectionLimits, **more: Any) -> None:
        super().__init__(*args, **more)
        self._limits, self._deadline = limits, cast("asyncio.TimerHandle | None", None)
        # The request whose time limit is running, and whether part of the next request's headers has arrived.
        self._timed_request: Any = None
        self._has_header_data = True
        self.address = self.client_name = ""
        self.idle_since = cast("float | None", None)
        self.is_lingering = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Register the connection, and start the timeout for its first request's headers."""
        wrapped = cast(asyncio.Transport, _LingeringTransport(cast(asyncio.Transport, transport), self))
        peer = transport.get_extra_info("peername")
        self.address = str(peer[0]) if isinstance(peer, tuple) else ""
        self.client_name = name_client(self.address)
        super().connection_made(wrapped)
        self.idle_since = time.monotonic()
        self._set_timeout(HEADER_SECONDS)
        if not self._limits.admit(self):
            self.cut()

    def connection_lost(self, exc: Exception | None) -> None:
        """Unregister the connection."""
        if self._deadline:
            self._deadline.cancel()
        self.idle_since = None
        self._limits.forget(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Handle data from the client; after an error response it is discarded."""
        if self.is_lingering:
            return
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._has_request:
            self._begin_request()
        elif not self._has_header_data:
            self._has_header_data = True
            self._set_timeout(HEADER_SECONDS)

    def on_response_complete(self) -> None:
        """Start the timeout for the client to receive the response and to send its next request."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._set_timeout(CLOSING_SECONDS)
        elif self._has_request:
            self._begin_request()
        else:
            self._timed_request, self._has_header_data, self.idle_since = None, False, time.monotonic()
            # Longer than uvicorn's keep-alive, which cannot close a connection whose response was not received.
            self._set_timeout(self.timeout_keep_alive + CLOSING_SECONDS)

    def cut(self) -> None:
        """Close the connection at once."""
        self.idle_since = None
        self.transport.abort()

    def linger(self, transport: asyncio.Transport) -> bool:
        """Half-close the connection if the client is still sending, and discard its data for some seconds.

        If the connection were closed at once, data that arrives later would reset it, and the client could not read
        the error response.

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
        self._set_timeout(CLOSING_SECONDS)
        return True

    @property
    def _has_request(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _begin_request(self) -> None:
        if self._timed_request is not self.cycle:
            self._timed_request, self.idle_since = self.cycle, None
            self._set_timeout(self._limits.request_seconds + SLACK_SECONDS)

    def _set_timeout(self, seconds: float) -> None:
        if self._deadline:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(seconds, self.cut)


class _LingeringTransport:
    """A transport whose `close` first lets the client of a rejected upload read the error response."""

    def __init__(self, transport: asyncio.Transport, protocol: BoundedProtocol) -> None:
        self._transport, self._protocol = transport, protocol

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        return self._protocol.is_lingering or self._transport.is_closing()

    def close(self) -> None:
        if not self._protocol.linger(self._transport):
            self._transport.close()
