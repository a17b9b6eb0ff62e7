"""Several processes serve one port: their metrics add up, they are replaced without an error, and stop together."""

import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from drawn import draw, encode
from service_process import COMMAND, Service, is_running, post, start_service

from hangtag.models.shipped import SHIPPED

HAT = encode(draw("Hat", 4000))
PID = re.compile(r'^process_start_time_seconds\{pid="(\d+)"\}', re.MULTILINE)
ANSWERED = re.compile(r'^hangtag_requests_total\{path="/v1/classify",status="200"\} (\S+)$', re.MULTILINE)
SECONDS = 180.0
# A service that notices a process that hangs within two seconds.
IMPATIENT = """
import sys
from hangtag.config import ServeConfig
from hangtag.serving import supervisor
from hangtag.stages.serve import serve
supervisor.HUNG_CHECKS = 4
serve(None, ServeConfig(port=int(sys.argv[1]), processes=2))
"""


def wait_for(is_so: Callable[[], object]) -> None:
    ends = time.monotonic() + SECONDS
    while not is_so():
        assert time.monotonic() < ends
        time.sleep(0.05)


def read_metrics(service: Service) -> str:
    """Return the metrics; a process that was just killed may have had the connection."""
    while True:
        try:
            with urllib.request.urlopen(f"{service.address}/metrics", timeout=30) as response:
                return str(response.read().decode())
        except ConnectionError:
            continue


def list_workers(service: Service) -> set[int]:
    return set(map(int, PID.findall(read_metrics(service))))


def has_two_but_for(service: Service, *ended: int) -> bool:
    """Return whether two processes serve, and none of those that were to end is left."""
    metrics = read_metrics(service)
    return "\nhangtag_processes 2.0\n" in metrics and not {*map(int, PID.findall(metrics))} & {*ended}


def count_answers(service: Service) -> float:
    return sum(map(float, ANSWERED.findall(read_metrics(service))))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of its own, which a test may damage."""
    return Path(shutil.copytree(SHIPPED, tmp_path_factory.mktemp("served") / "model"))


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[Service]:
    with start_service("--model", str(folder), "--processes", "2", "--drain-seconds", "1") as service:
        wait_for(lambda: has_two_but_for(service))
        yield service


def test_metrics_are_those_of_all_processes(service: Service) -> None:
    before = count_answers(service)
    for _ in range(8):
        assert post(service, HAT, "image/png")[0] == 200
    assert [count_answers(service) for _ in range(8)] == [before + 8] * 8
    metrics = read_metrics(service)
    assert metrics.count("\nprocess_resident_memory_bytes{") == 2
    assert re.search(r"^hangtag_waiting 0\.0$", metrics, re.MULTILINE)


class Clients:
    """Clients that ask on and on, each on one connection as long as it stays open."""

    def __init__(self, port: int) -> None:
        self.answers, self.wrong, self._is_over = 0, list[str](), threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(port,)) for _ in range(4)]

    def __enter__(self) -> "Clients":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, port: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while not self._is_over.wait(0.01):
            try:
                connection.request("POST", "/v1/classify", HAT, {"Content-Type": "image/png"})
                response = connection.getresponse()
                response.read()
            except (OSError, http.client.HTTPException) as error:
                self.wrong.append(repr(error))
                connection.close()
                continue
            self.answers += 1
            if response.status != 200:
                self.wrong.append(str(response.status))
        connection.close()


@pytest.mark.parametrize("is_whole", [False, True], ids=["one process", "all processes"])
def test_processes_are_replaced_without_an_error(is_whole: bool, service: Service) -> None:
    before = list_workers(service)
    counted = count_answers(service)
    stopped = before if is_whole else {min(before)}
    with Clients(service.port) as clients:
        wait_for(lambda: clients.answers > 20)
        if is_whole:
            service.process.send_signal(signal.SIGHUP)
        else:
            os.kill(min(stopped), signal.SIGTERM)
        wait_for(lambda: has_two_but_for(service, *stopped))
    assert clients.wrong == []
    assert count_answers(service) == counted + clients.answers
    assert list_workers(service) & before == before - stopped


def test_a_process_that_is_killed_is_replaced_and_its_counts_stay(service: Service) -> None:
    post(service, HAT, "image/png")
    before, counted = list_workers(service), count_answers(service)
    os.kill(min(before), signal.SIGKILL)
    wait_for(lambda: has_two_but_for(service, min(before)))
    assert count_answers(service) == counted
    assert post(service, HAT, "image/png")[0] == 200


def test_a_model_that_cannot_be_loaded_leaves_the_earlier_one_in_service(service: Service, folder: Path) -> None:
    before, described = list_workers(service), folder / "model.json"
    content = described.read_bytes()
    described.write_bytes(b"{")
    service.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "failed to start; the others go on" in "".join(service.lines))
    described.write_bytes(content)
    [line] = [line for line in service.lines if "failed to start" in line]
    assert "model.json" in line
    assert list_workers(service) == before
    assert post(service, HAT, "image/png")[0] == 200
    assert "Traceback" not in "".join(service.lines)


def test_all_processes_drain_and_stop_together(service: Service) -> None:
    workers = list_workers(service)
    with socket.create_connection(("127.0.0.1", service.port)) as client:
        # A request that has been accepted, and is not complete yet.
        client.sendall(b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n")
        client.sendall(b"Content-Length: %d\r\n\r\n" % len(HAT) + HAT[:-1])
        service.process.send_signal(signal.SIGTERM)
        wait_for(lambda: read_readiness(service) == 503)
        # New requests are accepted while load balancers notice.
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
        connection.request("POST", "/v1/classify", HAT, {"Content-Type": "image/png"})
        response = connection.getresponse()
        assert (response.status, response.getheader("Connection")) == (200, "close")
        connection.close()
        wait_for(lambda: not service.is_alive())
        client.sendall(HAT[-1:])
        assert client.makefile("rb").readline() == b"HTTP/1.1 200 OK\r\n"
    assert service.process.wait(SECONDS) == 0
    assert not any(map(is_running, workers))


def read_readiness(service: Service) -> int:
    try:
        with urllib.request.urlopen(f"{service.address}/readyz", timeout=30) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_a_process_that_hangs_is_replaced_and_none_outlives_the_service(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", IMPATIENT, str(port)]
    # What is killed leaves its temporary files.
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    service = Service(subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment), port)
    try:
        wait_for(lambda: "".join(service.lines).count("] serves\n") == 2)
        before = list_workers(service)
        os.kill(min(before), signal.SIGSTOP)
        wait_for(lambda: "hangs; it is killed" in "".join(service.lines))
        wait_for(lambda: has_two_but_for(service, min(before)))
        workers = list_workers(service)
    finally:
        service.process.kill()
    wait_for(lambda: not any(map(is_running, workers)))
    service.end()


@pytest.mark.parametrize("wrong", ["the model", "the port"])
def test_a_service_that_cannot_start_says_why_once(wrong: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1] if wrong == "the port" else 0
        model = ["--model", str(tmp_path / "missing")] if wrong == "the model" else []
        command = [*COMMAND, "serve", "--processes", "2", "--port", str(port), *model]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert done.stderr.count("Error: ") == 1
    assert "Traceback" not in done.stderr
    assert (str(tmp_path / "missing") if model else f"127.0.0.1:{port}") in done.stderr
