"""The service as people start it: a process of its own, on a free port of this machine."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

COMMAND = [sys.executable, "-m", "hangtag"]
START_SECONDS = 120.0


class Service:
    """A service that runs.

    Attributes:
        port: Where it listens.
        lines: What it has written to stderr by now.
    """

    def __init__(self, process: "subprocess.Popen[str]", port: int) -> None:
        self.process, self.port = process, port
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr
        self.lines.extend(self.process.stderr)

    @property
    def address(self) -> str:
        """Its address, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def is_alive(self, seconds: float = 5.0) -> bool:
        """Return whether `/healthz` is answered in time."""
        try:
            with urllib.request.urlopen(f"{self.address}/healthz", timeout=seconds) as response:
                return bool(response.status == 200)
        except (OSError, urllib.error.URLError):
            return False

    def end(self) -> None:
        """End it at once, if it still runs."""
        self.process.kill()
        self.process.wait()
        # What it started has stderr too, and ends with it.
        self._reader.join(30)
        if self.process.stderr:
            self.process.stderr.close()

    def read_memory(self) -> int:
        """Return the most bytes that it has ever had in memory, without the processes that it starts."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        [peak] = re.findall(r"VmHWM:\s+(\d+) kB", status)
        return int(peak) * 1000

    def list_children(self) -> list[int]:
        """Return the processes that it has started."""
        told = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text(encoding="ascii")
        found = [int(each) for each in told.split()]
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            found += [int(each) for each in (task / "children").read_text(encoding="ascii").split()]
        return sorted(set(found))


@contextmanager
def start_service(*flags: str) -> Iterator[Service]:
    """Start the service with the model that hangtag comes with, and end it however the test ends."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HANGTAG_")}
    process = subprocess.Popen(
        [*COMMAND, "serve", "--port", str(port), *flags],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    service = Service(process, port)
    try:
        ends = time.monotonic() + START_SECONDS
        while not service.is_alive():
            assert process.poll() is None, "".join(service.lines)
            assert time.monotonic() < ends, "the service does not start"
            time.sleep(0.05)
        yield service
    finally:
        service.end()


def post(service: Service, content: bytes, kind: str = "image/jpeg", **headers: str) -> tuple[int, dict[str, Any]]:
    request = urllib.request.Request(f"{service.address}/v1/classify", content, {"Content-Type": kind, **headers})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def post_form(service: Service, *contents: bytes) -> tuple[int, dict[str, Any]]:
    head = b'--B\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    body = b"".join(head + content + b"\r\n" for content in contents) + b"--B--\r\n"
    return post(service, body, "multipart/form-data; boundary=B")


def send_on(client: socket.socket, part: bytes, pause: float = 0.0, seconds: float = 30.0) -> None:
    """Send a part again and again.

    Raises:
        ConnectionError: The other side has closed the connection.
    """
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        client.sendall(part)
        time.sleep(pause)
