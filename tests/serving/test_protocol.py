"""Test that connections without data, with slow data or with endless data are closed, and others stay open."""

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import uvicorn
from service_process import send_on
from serving_fixtures import Server

from hangtag.serving import protocol
from hangtag.serving.protocol import BoundedProtocol, ConnectionLimits


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Read the body if the path requires it, and respond with its length."""
    size, is_whole = 0, scope["path"] != "/read"
    while not is_whole:
        message = await receive()
        size, is_whole = size + len(message.get("body", b"")), not message.get("more_body", False)
    headers = [(b"connection", b"close")] if scope["path"] == "/refuse" else []
    answer = str(size).encode()
    headers.append((b"content-length", str(len(answer)).encode()))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> ConnectionLimits:
    monkeypatch.setattr(protocol, "HEADER_SECONDS", 1.0)
    monkeypatch.setattr(protocol, "CLOSING_SECONDS", 1.5)
    monkeypatch.setattr(protocol, "SLACK_SECONDS", 0.2)
    return ConnectionLimits(most=10, most_a_client=4, request_seconds=1.0)


@pytest.fixture
def port(limits: ConnectionLimits) -> Iterator[int]:
    http_class: Any = partial(BoundedProtocol, limits=limits)
    server = Server(uvicorn.Config(app, port=0, log_level="error", ws="none", http=http_class, lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join(20)


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def read_all(client: socket.socket) -> bytes:
    """Return everything received until the connection ends, however it ends."""
    found = b""
    with contextlib.suppress(ConnectionError):
        while part := client.recv(65536):
            found += part
    return found


def read_answer(client: socket.socket) -> None:
    found = b""
    while not found.endswith(b"\r\n\r\n0"):
        part = client.recv(1000)
        assert part
        found += part


def ask(port: int, path: str = "/", body: bytes = b"") -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("POST", path, body)
    with contextlib.closing(connection):
        return connection.getresponse().read()


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nX: "], ids=["silent", "half a header"])
def test_a_connection_without_a_request_is_closed(sent: bytes, port: int) -> None:
    with connect(port) as client:
        client.sendall(sent)
        assert read_all(client) == b""


def test_headers_that_arrive_too_slowly_are_cut_off(port: int) -> None:
    with connect(port) as client:
        client.sendall(b"GET / HTTP/1.1\r\n")
        with pytest.raises(ConnectionError):
            send_on(client, b"X: y\r\n", 0.05)


def test_the_headers_of_a_second_request_are_timed_too(port: int) -> None:
    with connect(port) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        read_answer(client)
        # The pause between requests may be longer than the time for headers.
        time.sleep(1.2)
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        read_answer(client)
        client.sendall(b"GET / HTTP/1.1\r\n")
        assert read_all(client) == b""


def test_a_body_that_does_not_arrive_is_cut_off(port: int) -> None:
    with connect(port) as client:
        client.sendall(b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n123")
        assert read_all(client) == b""
    assert ask(port, "/read", bytes(200_000)) == b"200000"


def test_a_client_that_still_sends_can_read_the_error_response(port: int) -> None:
    with connect(port) as client:
        client.sendall(b"POST /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n")
        for _ in range(5):
            client.sendall(bytes(100_000))
        assert read_all(client).endswith(b"0")


def test_an_endless_body_after_an_error_response_is_cut_off(port: int) -> None:
    with connect(port) as client:
        client.sendall(b"POST /refuse HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        with pytest.raises(ConnectionError):
            send_on(client, b"1000\r\n" + bytes(0x1000) + b"\r\n")


def test_a_new_connection_replaces_an_idle_one(
    port: int, limits: ConnectionLimits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEADER_SECONDS", 60)
    idle = [connect(port) for _ in range(4)]
    try:
        assert ask(port) == b"0"
        assert read_all(idle[0]) == b""
    finally:
        for client in idle:
            client.close()
    ends = time.monotonic() + 20
    while limits.open:
        assert time.monotonic() < ends
        time.sleep(0.01)


def test_a_proxy_may_have_all_connections(port: int, limits: ConnectionLimits) -> None:
    limits.proxies, limits.most_a_client = ("127.0.0.0/8",), 1
    with connect(port), connect(port):
        assert ask(port) == b"0"
        assert sum(map(len, limits.open.values())) >= 2
