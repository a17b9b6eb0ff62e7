"""Uploads that are made to be costly, and connections that are made to last, cost others nothing."""

import contextlib
import http.client
import json
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from drawn import draw, encode
from hostile_pictures import write_flat, write_scans, write_segments
from service_process import Service, is_running, post, post_form, send_on, start_service

CLIENTS, SECONDS = 8, 20.0
# The marks: milliseconds of a normal client's 99th percentile, and bytes of the service's process.
LATENCY, MEMORY = 250.0, 700_000_000
HAT = encode(draw("Hat", 4000))
LOAD_CLIENT = Path(__file__).parents[1] / "fixtures" / "load_client.py"


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with start_service() as service:
        yield service


def connect(service: Service) -> socket.socket:
    return socket.create_connection(("127.0.0.1", service.port), timeout=30)


REFUSED: dict[str, tuple[Callable[[], bytes], int, str]] = {
    "scans": (lambda: write_scans(600, 400, 1010), 422, "too_many_scans"),
    "segments": (lambda: write_segments(20_000), 422, "too_many_segments"),
    "a large WebP": (lambda: write_flat("WEBP", (8000, 5000)), 413, "too_many_pixels"),
    "a large TIFF": (lambda: write_flat("TIFF", (8000, 5000)), 413, "too_many_pixels"),
}


@pytest.mark.parametrize(("write", "status", "code"), REFUSED.values(), ids=REFUSED)
def test_costly_photographs_are_refused(write: Callable[[], bytes], status: int, code: str, service: Service) -> None:
    answer, told = post(service, write())
    assert (answer, told["error"]["code"]) == (status, code)


def test_a_form_has_pixels_for_all_of_it(service: Service) -> None:
    large = write_flat("WEBP")
    status, told = post_form(service, *[large] * 40)
    assert (status, told["error"]["code"]) == (413, "too_many_pixels")
    status, told = post_form(service, HAT, write_scans(600, 400, 200), HAT)
    assert status == 200
    assert [each.get("error", {}).get("code") for each in told["results"]] == [None, "too_many_scans", None]


def test_a_large_photograph_is_answered_and_its_decoder_ends_with_the_service() -> None:
    with start_service() as service:
        for content in (write_flat("PNG", (3000, 2000)), write_flat("TIFF", (600, 400))):
            status, told = post(service, content)
            assert (status, "label" in told["results"][0]) == (200, True)
        children = service.list_children()
        assert children
        service.process.kill()
        service.process.wait()
        ends = time.monotonic() + 20
        while any(is_running(child) for child in children):
            assert time.monotonic() < ends
            time.sleep(0.05)


def test_only_known_names_are_answered(service: Service) -> None:
    for host, wanted in (("evil.example", 421), ("localhost:99", 200), ("127.0.0.1", 200), ("[::1]:8000", 200)):
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
        connection.request("GET", "/v1/model", headers={"Host": host})
        assert connection.getresponse().status == wanted
        connection.close()


def test_a_broken_off_upload_is_a_quiet_line(service: Service) -> None:
    for _ in range(10):
        with connect(service) as client:
            client.sendall(
                b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"
                b"Content-Length: 100000\r\n\r\n" + bytes(2000)
            )
    ends = time.monotonic() + 20
    while sum("the client disconnected" in line for line in service.lines) < 10:
        assert time.monotonic() < ends
        time.sleep(0.02)
    assert "Traceback" not in "".join(service.lines)
    with urllib.request.urlopen(f"{service.address}/metrics", timeout=30) as response:
        told = response.read().decode()
    assert 'hangtag_requests_total{path="/v1/classify",status="499"} 10.0' in told


def test_a_refused_upload_is_told_why_and_closed(service: Service) -> None:
    with connect(service) as client:
        client.sendall(
            b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        with pytest.raises(ConnectionError):
            send_on(client, b"10000\r\n" + bytes(0x10000) + b"\r\n")


def test_what_is_in_flight_at_a_stop_is_answered() -> None:
    with start_service() as service, contextlib.ExitStack() as stack:
        large = write_flat("PNG", (1500, 1000))
        post(service, large)
        clients = [stack.enter_context(connect(service)) for _ in range(72)]
        for number, client in enumerate(clients):
            content = HAT if number % 8 else large
            client.sendall(
                b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
                b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(content) + content
            )
        # What was sent before is read before these are answered.
        assert service.is_alive(30)
        assert service.is_alive(30)
        service.process.send_signal(signal.SIGTERM)
        answers = [client.makefile("rb").readline() for client in clients]
        assert answers == [b"HTTP/1.1 200 OK\r\n"] * 72
        assert service.process.wait(60) == 0


class Attack:
    """Attackers, a thread each, that go on until they are stopped."""

    def __init__(self, service: Service) -> None:
        self._service, self._stop = service, threading.Event()
        self.health: list[float] = []
        large, scans = write_flat("WEBP"), write_scans(6000, 4000, 100)
        deep = write_flat("PNG", (6000, 4000), "I;16")
        self._works: list[Callable[[], object]] = [
            *[lambda: post(service, write_scans_once())] * 2,
            *[lambda: post(service, scans)] * 2,
            *[lambda: post_form(service, *[large] * 40)] * 2,
            *[lambda: post_form(service, *[large] * 8)] * 2,
            lambda: post(service, deep),
            lambda: post(service, write_tiff_once()),
            self._send_slow_headers,
            self._stay_silent,
            self._send_slow_bodies,
            self._send_after_refusal,
            self._break_off,
        ]

    def run(self, seconds: float) -> None:
        threads = [threading.Thread(target=self._repeat, args=(work,), daemon=True) for work in self._works]
        for thread in threads:
            thread.start()
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            started = time.perf_counter()
            assert self._service.is_alive(30)
            self.health.append(time.perf_counter() - started)
            time.sleep(0.2)
        self._stop.set()
        for thread in threads:
            thread.join(70)

    def _repeat(self, work: Callable[[], object]) -> None:
        while not self._stop.is_set():
            # Refusals are quick: without a pause this would measure how many requests two processors answer.
            with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
                work()
            self._stop.wait(0.05)

    def _hold(self, count: int, first: bytes, then: bytes) -> None:
        """Keep connections open, and send a little from time to time."""
        clients = [connect(self._service) for _ in range(count)]
        try:
            for client in clients:
                client.sendall(first)
            while not self._stop.wait(0.5):
                for client in clients:
                    client.sendall(then)
        finally:
            for client in clients:
                client.close()

    def _send_slow_headers(self) -> None:
        self._hold(100, b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\n", b"X: y\r\n")

    def _stay_silent(self) -> None:
        self._hold(100, b"", b"")

    def _send_slow_bodies(self) -> None:
        head = b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"
        self._hold(50, head + b"Content-Length: 99999\r\n\r\n", b"x")

    def _send_after_refusal(self) -> None:
        with connect(self._service) as client:
            client.sendall(
                b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"
                b"Content-Length: 9999999999\r\n\r\n"
            )
            while not self._stop.wait(0.01):
                client.sendall(bytes(65_536))

    def _break_off(self) -> None:
        with connect(self._service) as client:
            client.sendall(
                b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"
                b"Content-Length: 100000\r\n\r\n" + bytes(2000)
            )


_written: dict[str, bytes] = {}


def write_scans_once() -> bytes:
    return _written.get("scans") or _written.setdefault("scans", write_scans(6000, 4000, 1010))


def write_tiff_once() -> bytes:
    return _written.get("tiff") or _written.setdefault("tiff", write_flat("TIFF"))


@pytest.mark.chaos
def test_normal_clients_are_answered_beside_an_attack(service: Service, tmp_path: Path) -> None:
    write_scans_once()
    write_tiff_once()
    photograph = tmp_path / "hat.png"
    photograph.write_bytes(HAT)
    attack = Attack(service)
    asked = [sys.executable, str(LOAD_CLIENT), str(service.port), str(CLIENTS), str(SECONDS), str(photograph)]
    with subprocess.Popen(asked, stdout=subprocess.PIPE, text=True) as normal:
        attack.run(SECONDS)
        out, _ = normal.communicate(timeout=90)
    told = json.loads(out)
    latency = statistics.quantiles(told["times"], n=100)[98] * 1000
    memory = service.read_memory()
    print(f"{len(told['times'])} answers, p99 {latency:.0f} ms, health {max(attack.health) * 1000:.0f} ms at most, ")
    print(f"{memory / 1e6:.0f} MB, {len(told['wrong'])} wrong: {told['wrong'][:3]}")
    assert not told["wrong"]
    assert latency < LATENCY
    assert memory < MEMORY
    assert max(attack.health) < 5
    assert "Traceback" not in "".join(service.lines)
    assert service.is_alive()
