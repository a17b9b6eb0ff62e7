"""A service that hangs is ended; clients are who they are; uploads share the memory."""

import asyncio
import http.client
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from drawn import draw, encode
from fastapi import Request
from service_process import Service, start_service

from hangtag.config import ServeConfig
from hangtag.errors import SettingsError
from hangtag.inference.classifier import Classifier
from hangtag.models.label_space import LabelSpace
from hangtag.serving import uploads
from hangtag.serving.fair_queue import Shares
from hangtag.serving.middleware import Hosts, ProblemError, name_client
from hangtag.serving.uploads import HeldBytes, hold_bytes, read_uploads
from hangtag.stages.serve import serve

HAT = encode(draw("Hat", 4000))
# A service whose workers never come back: they wait, or hold Python's lock as a deadlock does.
STUCK = """
import ctypes, sys, time
from hangtag.config import ServeConfig
from hangtag.inference.classifier import Classifier
from hangtag.serving import app, batcher, server
from hangtag.stages.serve import serve
port, how = int(sys.argv[1]), sys.argv[2]
batcher.classify_chunk = lambda *_: ctypes.PyDLL(None).sleep(1000) if how == "frozen" else time.sleep(1000)
app.STOP_SECONDS = server.STOP_SECONDS = 1
server.STOPPED_SECONDS, server.FROZEN_SECONDS, server.TICKS = 4, 3, 1
serve(Classifier.load(), ServeConfig(port=port, workers=1))
"""


@pytest.fixture(params=["stuck", "frozen"])
def stuck(request: pytest.FixtureRequest) -> Iterator[tuple[str, Service]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", STUCK, str(port), request.param]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    service = Service(process, port)
    while not service.is_alive():
        assert process.poll() is None, "".join(service.lines)
        time.sleep(0.05)
    yield request.param, service
    service.end()


def test_a_service_whose_workers_hang_ends(stuck: tuple[str, Service]) -> None:
    how, service = stuck
    with socket.create_connection(("127.0.0.1", service.port)) as client:
        client.sendall(b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n")
        client.sendall(b"Content-Length: %d\r\n\r\n" % len(HAT) + HAT)
        if how == "stuck":
            assert service.is_alive()
            service.process.send_signal(signal.SIGTERM)
        # Frozen, it cannot even take the signal: it is ended all the same.
        code = service.process.wait(60)
    assert code in (0, 1)
    if how == "frozen":
        assert code == 1
        assert "Timeout" in "".join(service.lines)


def test_a_service_that_drains_accepts_requests_and_is_not_ready() -> None:
    with start_service("--drain-seconds", "1.5") as service:
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        assert (response.status, response.read(), response.getheader("Connection")) == (
            200,
            b'{"status":"ready"}',
            None,
        )
        service.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        # On the connection that is open, and on a new one.
        for path, status in (("/readyz", 503), ("/v1/classify", 200)):
            connection.request("POST" if "classify" in path else "GET", path, HAT if "classify" in path else None)
            response = connection.getresponse()
            response.read()
            assert (response.status, response.getheader("Connection")) == (status, "close")
        assert service.process.wait(60) == 0
        connection.close()


def test_limits_are_divided_among_processes() -> None:
    config = ServeConfig(processes=3)
    assert [config.share(total) for total in (1, 3, 4, 1024)] == [1, 1, 2, 342]
    loaded = Classifier(None, LabelSpace.of_classes(("Hat",)), (1, 1))
    with pytest.raises(SettingsError, match="must be 1"):
        serve(loaded, config)


def ask_beside(service: Service) -> int:
    """Return the status of a request beside one whose upload has not ended, each with a client of its own."""
    head = "POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: {}\r\n"
    with socket.create_connection(("127.0.0.1", service.port)) as waiting:
        waiting.sendall(f"{head.format(len(HAT))}X-Forwarded-For: 192.0.2.1\r\n\r\n".encode() + HAT[:9])
        while True:
            # Once the first request is known, a second of the same client is refused.
            connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
            for address in ("192.0.2.1", "192.0.2.2"):
                connection.request("POST", "/v1/classify", HAT, {"X-Forwarded-For": address})
                response = connection.getresponse()
                response.read()
                connection.close()
                if address == "192.0.2.1" and response.status != 429:
                    break
            else:
                return response.status


@pytest.mark.parametrize(("flags", "status"), [((), 429), (("--trusted-proxies", "127.0.0.1"), 200)])
def test_a_forwarded_address_is_believed_of_named_proxies_alone(flags: tuple[str, ...], status: int) -> None:
    with start_service("--max-requests-a-client", "1", *flags) as service:
        assert ask_beside(service) == status


def test_hosts_are_this_machine_and_those_that_are_named() -> None:
    hosts = Hosts("0.0.0.0", ["Shop.example"])
    for host in ("localhost", "127.0.0.1:8000", "[::1]:8000", "192.168.7.8", "shop.example:80", socket.gethostname()):
        assert hosts.allows(host)
    for host in ("", "evil.example", "localhost.evil.example", "shop.example.evil", "127.0.0.1.evil.example"):
        assert not hosts.allows(host)
    assert Hosts("127.0.0.1", ["*"]).allows("any.example")


def test_a_client_of_ipv6_is_its_network() -> None:
    assert name_client("2001:db8::1") == name_client("2001:db8::ffff:2")
    assert name_client("2001:db8:0:1::1") != name_client("2001:db8::1")
    assert name_client("fe80::1%eth0") == "fe80::/64"
    assert (name_client("192.0.2.7"), name_client("")) == ("192.0.2.7", "")


@pytest.mark.parametrize(
    "wrong", [{"trusted_proxies": ("proxy",)}, {"allowed_hosts": ("http://shop",)}, {"max_request_pixels": 0}]
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="must be"):
        ServeConfig(**wrong)


def test_uploads_share_the_memory_and_small_ones_always_pass() -> None:
    memory = Shares(1_000_000)
    with hold_bytes(memory, "greedy") as held:
        held.add(64_000)
        assert memory.used == 0
        held.add(400_000)
        with hold_bytes(memory, "greedy") as more:
            more.add(64_000)
            with pytest.raises(ProblemError) as refused:
                more.add(200_000)
            assert refused.value.status == 429
        with hold_bytes(memory, "large") as more, pytest.raises(ProblemError) as refused:
            more.add(900_000)
        assert refused.value.status == 503
    assert memory.used == 0


def read_slowly(sizes: list[int], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Read an upload of which a part comes each second."""
    now = [100.0]
    monkeypatch.setattr("hangtag.serving.uploads.time.monotonic", lambda: now[0])
    left = list(sizes)

    async def receive() -> dict[str, Any]:
        now[0] += 1
        if not left:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": bytes(left.pop(0)), "more_body": True}

    scope = {"type": "http", "method": "POST", "headers": [(b"content-type", b"image/png")], "query_string": b""}
    return asyncio.run(read_uploads(Request(scope, receive), ServeConfig(), HeldBytes(Shares(10**9), "a")))


@pytest.mark.parametrize("sizes", [[10] * 100, [100_000]], ids=["trickles", "stops"])
def test_an_upload_that_hardly_comes_is_given_up(sizes: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "STALL_SECONDS", 0.05)
    with pytest.raises(ProblemError) as refused:
        read_slowly(sizes, monkeypatch)
    assert (refused.value.status, refused.value.code) == (408, "slow_upload")
