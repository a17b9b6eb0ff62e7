"""Command `app`: run the local web application, in which catalogues are checked and corrected without a shell."""

import json
import os
import secrets
import signal
import sys
import threading
import traceback
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path

import portalocker
import uvicorn

from hangtag.config import ApplyConfig
from hangtag.console import print_line, report_progress
from hangtag.errors import SettingsError, WorkspaceError, describe_mistake
from hangtag.io import expand_home
from hangtag.local_app.app import build_app
from hangtag.local_app.browsing import Uploads
from hangtag.local_app.catalogs import Shelf
from hangtag.local_app.checks import CheckJob
from hangtag.local_app.desk import Desk, Stages
from hangtag.results import StageResult
from hangtag.serving.middleware import LOOPBACK
from hangtag.shards import exit_with_parent
from hangtag.stages.apply import apply
from hangtag.stages.check import check
from hangtag.stages.review import STOP_SECONDS, find_free_port, open_review
from hangtag.workspace import Workspace

FOLDER = Path("~") / "hangtag-app"
PORT = 8002
HOST = LOOPBACK[0]
# In the folder: the token, which stays the same so that a page can be opened again, and the address of the service.
TOKEN, RUNNING, LOCK = "token", "running.json", ".lock"
LOG = "check.log"
BUG = "This is a mistake of hangtag itself. What it reports is in {log}."


def app(
    folder: str | Path = FOLDER,
    *,
    port: int = PORT,
    opens: bool = True,
    on_start: Callable[[str], None] = lambda _: None,
) -> None:
    """Run the local web application until a signal comes.

    Its pages choose a catalogue of this machine, show its first rows and what the columns are taken for, check it,
    show the results and the review, and write the corrected file. It listens on this machine alone. Where it runs with
    this folder already, a line says so with its address, its page is opened, and the function returns.

    Args:
        folder: The folder for the workspaces of the catalogues, and for what is dropped on the page.
        port: The port to listen on; another one if it is in use.
        opens: Whether to open the page in the browser.
        on_start: Called with the address of the page before the service starts.

    Raises:
        WorkspaceError: The folder cannot be made or written.
        SettingsError: The service cannot listen on the port.
    """
    root = expand_home(folder).absolute()
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise WorkspaceError(f"The folder cannot be made: {error.strerror}.", received=str(root)) from error
    with _hold_folder(root) as is_first:
        if not is_first:
            address = _read_running(root)
            # Only the user whose folder it is can read that.
            print_line(f"hangtag app runs with this folder already, and nothing was started. Its page: {address}")
            _open_page(address, opens)
            return
        port = find_free_port(HOST, port)
        token = _read_token(root)
        address = f"http://{HOST}:{port}/?token={token}"
        _write_private(root / RUNNING, json.dumps({"address": address}))
        shelf = Shelf(root)
        desk = Desk(shelf, Stages(run_check, apply_decisions, open_review))
        try:
            service = build_app(shelf, desk, Uploads(root / "uploads"), token=token, cookie=f"hangtag-{port}")
            on_start(address)
            _open_page(address, opens)
            _serve(service, port)
        finally:
            desk.close()
            (root / RUNNING).unlink(missing_ok=True)


def apply_decisions(workspace: Workspace, catalog: Path) -> StageResult:
    """Write the corrected catalogue of a workspace, whose catalogue may have moved to a path; see `apply`."""
    return apply(workspace, ApplyConfig(), catalog=catalog)


def _open_page(address: str, opens: bool) -> None:
    if opens:
        # The service starts after this call.
        threading.Timer(1, webbrowser.open, [address]).start()


def _serve(service: object, port: int) -> None:
    config = uvicorn.Config(
        service,  # type: ignore[arg-type]
        host=HOST,
        port=port,
        # Uvicorn's logging configuration would close the handlers of other libraries and their streams.
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=STOP_SECONDS,
        h11_max_incomplete_event_size=64_000,
    )
    try:
        uvicorn.Server(config).run()
    except SystemExit:
        # Uvicorn has written the reason to stderr.
        raise SettingsError("The application cannot listen on this port.", received=port) from None


@contextmanager
def _hold_folder(root: Path) -> Iterator[bool]:
    """Lock the folder while the block runs; yield false where another process has it."""
    try:
        file = (root / LOCK).open("a")
    except OSError as error:
        raise WorkspaceError(f"The folder cannot be written: {error.strerror}.", received=str(root)) from error
    with file:
        try:
            portalocker.lock(file, portalocker.LockFlags.EXCLUSIVE | portalocker.LockFlags.NON_BLOCKING)
        except portalocker.LockException:
            yield False
        else:
            yield True


def _read_running(root: Path) -> str:
    """Return the address of the application that runs with this folder.

    Raises:
        WorkspaceError: It does not say where it runs.
    """
    try:
        return str(json.loads((root / RUNNING).read_text(encoding="utf-8"))["address"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        hint = "Wait a moment, or choose another folder with --folder."
        raise WorkspaceError("hangtag app runs with this folder already.", received=str(root), hint=hint) from error


def _read_token(root: Path) -> str:
    with suppress(OSError, ValueError):
        token = (root / TOKEN).read_text(encoding="ascii").strip()
        if len(token) >= 20:
            return token
    token = secrets.token_urlsafe(24)
    _write_private(root / TOKEN, token)
    return token


def _write_private(path: Path, text: str) -> None:
    """Write a file that other users of this machine cannot read."""
    path.unlink(missing_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise WorkspaceError(f"The folder cannot be written: {error.strerror}.", received=str(path)) from error
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def run_check(events: Connection, job: CheckJob, parent: int) -> None:
    """Check a catalogue in this process, and report how far it is and how it ends; see `checks.CheckTarget`."""
    if hasattr(os, "setsid"):
        # So that it is ended with the processes that it starts.
        os.setsid()
    exit_with_parent(parent)
    signal.signal(signal.SIGTERM, _interrupt)
    log = job.workspace.parent / LOG
    _redirect_output(log)

    def report(event: dict[str, object]) -> None:
        events.send(event)

    try:
        with report_progress(report):
            check(job.catalog, job.workspace, schema=job.schema)
    except KeyboardInterrupt:
        return
    except Exception as error:
        traceback.print_exc()
        report({"error": describe_mistake(error) or BUG.format(log=log)})
    else:
        report({"done": True})


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _redirect_output(log: Path) -> None:
    """Write what this process prints to a file: the terminal belongs to the application."""
    log.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        with suppress(OSError, ValueError):
            os.dup2(descriptor, stream.fileno())
    os.close(descriptor)
