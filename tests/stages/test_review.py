"""The command itself: without the training code's libraries, through a kill, and to a stop."""

import json
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from postgres_server import PostgresServer

from hangtag.cli import main
from hangtag.config import ReviewConfig
from hangtag.errors import TRAIN_PACKAGES
from hangtag.reviewing.store import Store
from hangtag.reviewing.store_errors import StoreError
from hangtag.stages.review import make_address
from hangtag.workspace import Workspace

HIDE = f"import sys; sys.modules.update(dict.fromkeys({[*TRAIN_PACKAGES, 'tensorflow']!r}))\n"


def find_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def start(workspace: Workspace, *more: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """Start `hangtag review` where the extra `train` is not installed; gives the process and the page's address."""
    arguments = ["review", "-w", str(workspace.root), "--port", str(find_port()), "--reviewer", "Ann", *more]
    program = f"{HIDE}from hangtag.cli import main\nmain({arguments!r})"
    process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    line = process.stderr.readline()
    assert line.startswith("The page: http://127.0.0.1:"), line + process.stderr.read()
    try:
        yield process, line.split()[-1]
    finally:
        process.kill()
        process.communicate()


def ask(address: str, path: str, token: str = "", body: Any = None) -> Any:
    data = json.dumps(body).encode() if body else None
    headers = {"X-Review-Token": token, "Content-Type": "application/json"}
    request = urllib.request.Request(address + path, data, headers)
    for _ in range(1200):
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.read().decode()
        except ConnectionRefusedError:
            pass
        except urllib.error.URLError as error:
            if not isinstance(error.reason, ConnectionRefusedError):
                raise
        time.sleep(0.05)
    raise AssertionError("the review does not answer")


def decide_next(address: str) -> int:
    """Do what the page does: read the token, ask for an issue, accept it."""
    [token] = re.findall(r'name="review-token" content="([^"]+)"', ask(address, ""))
    issue = json.loads(ask(address, "api/next?reviewer=Ann", token))["issue"]
    body = {"position": issue["position"], "action": "accept", "versions": issue["versions"], "reviewer": "Ann"}
    ask(address, "api/decisions", token, body)
    return int(issue["position"])


def test_decisions_outlive_a_kill_of_the_service(workspace: Workspace) -> None:
    with start(workspace) as (process, address):
        assert decide_next(address) == 0
        process.send_signal(signal.SIGKILL)
        process.wait(60)
    with start(workspace) as (process, address):
        assert decide_next(address) == 1
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert told == "Stopped. Every decision is kept; to continue, run the same command.\n"
    store = Store(workspace.review / "review.sqlite")
    assert [(each.code, each.reviewer) for each in store.read()] == [
        ("label_error", "Ann"),
        ("unlikely_combination", "Ann"),
        ("label_error", "Ann"),
    ]
    store.close()
    program = f"{HIDE}from hangtag.cli import main\nmain(['apply', '-w', {str(workspace.root)!r}])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "cells changed 2" in done.stdout


def test_services_share_decisions_in_postgres_and_every_command_follows(
    workspace: Workspace, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PGPASSWORD", postgres.password)
    monkeypatch.setenv("HANGTAG_REVIEW_TOKEN", "sixteen-letters-or-more")
    with start(workspace, "--decisions", postgres.address) as (_, one), start(workspace) as (_, two):
        tokens = {re.findall(r'name="review-token" content="([^"]+)"', ask(each, ""))[0] for each in (one, two)}
        assert len(tokens) == 1
        assert [decide_next(one), decide_next(two), decide_next(one)] == [0, 1, 2]
    with pytest.raises(StoreError, match="in PostgreSQL now"):
        Store(workspace.review / "review.sqlite")
    with pytest.raises(SystemExit):
        main(["apply", "-w", str(workspace.root)])
    assert "cells changed 3" in capsys.readouterr().out
    monkeypatch.setenv("PGPASSWORD", "wrong")
    tool = ["exchange", "label-studio", "-w", str(workspace.root), "--output", str(workspace.root / "tasks")]
    for arguments in (["apply", "-w", str(workspace.root)], ["review", "-w", str(workspace.root)], tool):
        with pytest.raises(SystemExit) as leaving:
            main(arguments)
        told = capsys.readouterr().err
        assert leaving.value.code == 2
        assert told.startswith("Error: The decisions of the review cannot be opened: ")
        assert "wrong" not in told


def test_settings_of_the_database_and_the_key_are_checked(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*more: str) -> str:
        with pytest.raises(SystemExit) as leaving:
            main(["review", "-w", str(workspace.root), *more])
        assert leaving.value.code == 2
        return capsys.readouterr().err

    told = refuse("--decisions", "mysql://ann:secret@db/hangtag")
    assert "This is not the address of a database of PostgreSQL." in told
    assert "secret" not in told
    monkeypatch.setenv("HANGTAG_DECISIONS", "postgresql://ann@db/hangtag")
    assert "Name the database with --decisions too" in refuse()
    for key in ("short", "sixteen letters with spaces", "sechzehn-Zeichen-mit-Ä"):
        monkeypatch.setenv("HANGTAG_REVIEW_TOKEN", key)
        assert "The key in HANGTAG_REVIEW_TOKEN is too short" in refuse()


def test_mistakes_are_told_in_a_line(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for arguments, message in (
            (["review", "-w", str(workspace.root), "--port", port], "The review cannot listen on this address."),
            (["review", "-w", str(workspace.root), "--port", "0"], "--port must be 1 to 65535."),
            (["review", "-w", str(workspace.root / "nothing")], "There is no workspace at this path. Received: '"),
            (["review", "-w", str(workspace.root.parent)], "There are no issues to review. Run `hangtag audit`"),
            (["apply", "-w", str(workspace.root)], "Nothing is decided yet. Run `hangtag review`"),
            (["apply", "-w", str(workspace.root), "--auto-accept", "2"], "--auto-accept must be 0.5 to 0.999, or 0"),
        ):
            with pytest.raises(SystemExit) as leaving:
                main(arguments)
            assert leaving.value.code == 2
            assert f"Error: {message}" in capsys.readouterr().err


def test_only_beyond_this_machine_the_address_holds_the_token() -> None:
    assert make_address(ReviewConfig(), "secret") == "http://127.0.0.1:8001/"
    assert make_address(ReviewConfig(host="::1"), "secret") == "http://[::1]:8001/"
    assert make_address(ReviewConfig(host="10.0.0.5"), "secret") == "http://10.0.0.5:8001/?token=secret"
    everywhere = make_address(ReviewConfig(host="0.0.0.0"), "secret")
    assert everywhere == f"http://{socket.gethostname()}:8001/?token=secret"
