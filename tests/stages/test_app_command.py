"""The command `app` as a person starts it: its address, a second start, a check in a process of its own, and kills."""

import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from drawn_shop import write_drawn_shop

from hangtag.cli import main


class Running:
    """The application in a process of its own, and requests as its page sends them."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-m", "hangtag", "app", "--folder", str(folder), "--no-browser"]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr
        line = self.process.stderr.readline()
        found = re.fullmatch(r"The page: (http://127\.0\.0\.1:(\d+))/\?token=([\w-]+)  \(Ctrl-C stops it\)\n", line)
        assert found, line
        self.address, self.port, self.token = found.groups()
        self.line = line

    def ask(self, path: str, body: object = None) -> Any:
        headers = {"Cookie": f"hangtag-{self.port}={self.token}", "X-App-Token": self.token}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, {**headers, "Content-Type": "application/json"})
        for attempt in range(100):
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    return json.load(answer)
            except ConnectionRefusedError:
                pass
            except urllib.error.URLError as error:
                # The address is printed before the service listens.
                if not isinstance(error.reason, ConnectionRefusedError) or attempt == 99:
                    raise
            time.sleep(0.1)
        raise AssertionError("the application does not listen")

    def check(self, catalog: Path) -> str:
        found = str(self.ask("/api/catalogues", {"path": str(catalog)})["id"])
        self.ask(f"/api/catalogues/{found}/check", {})
        return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "work"


@pytest.fixture
def running(folder: Path) -> Iterator[Running]:
    running = Running(folder)
    yield running
    running.process.kill()
    running.process.wait()
    assert running.process.stderr
    running.process.stderr.close()


def wait(condition: Callable[[], Any], seconds: float = 120.0) -> Any:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError("it does not happen")


def list_descendants(process_id: int) -> list[int]:
    """Return the processes that a process has started, and those that these have started."""
    found = []
    for task in Path(f"/proc/{process_id}/task").glob("*/children"):
        for child in map(int, task.read_text(encoding="ascii").split()):
            found += [child, *list_descendants(child)]
    return found


def is_alive(process_id: int) -> bool:
    status = Path(f"/proc/{process_id}/stat")
    return status.exists() and " Z " not in status.read_text()


def test_it_starts_once_for_a_folder_and_tells_why_a_check_did_not_go_through(
    running: Running, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "damaged.zip").write_bytes(b"PK\x05\x06" + bytes(18))
    found = running.check(tmp_path / "damaged.zip")
    # The same address for a second start, which ends at once.
    with pytest.raises(SystemExit) as leaving:
        main(["app", "--folder", str(folder), "--no-browser"])
    assert leaving.value.code == 0
    told = capsys.readouterr().err
    assert told.startswith("hangtag app runs with this folder already, and nothing was started. Its page: http://")
    assert running.line.partition("http://")[2].split()[0] in told
    for name in ("token", "running.json"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
    failed = wait(lambda: running.ask(f"/api/catalogues/{found}")["failed"])
    # In the words of the stage, and without a traceback, which is in the log.
    assert failed.startswith("The catalogue has no photographs") or "damaged.zip" in failed, failed
    assert "Traceback" not in failed
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(30) == 143
    assert running.process.stderr
    assert running.process.stderr.read() == "Stopped. Every decision is kept; to continue, run the same command.\n"
    assert not (folder / "running.json").exists()
    # A page that was open is the same after the next start.
    assert (folder / "token").read_text() == running.token


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_no_process_outlives_it(running: Running, tmp_path: Path, end: signal.Signals) -> None:
    running.check(write_drawn_shop(tmp_path / "shop")[0])
    started = wait(lambda: list_descendants(running.process.pid))
    os.kill(running.process.pid, end)
    running.process.wait(30)
    wait(lambda: not any(map(is_alive, started)), 30)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as leaving:
        main(["app", "--folder", str(tmp_path / "file" / "below"), "--no-browser"])
    assert leaving.value.code == 2
    assert capsys.readouterr().err.startswith("Error: The folder cannot be made: Not a directory. Received: ")
