"""Stage `review`: run the page on which people decide about the issues of an audit, until a signal stops it."""

import os
import re
import secrets
import socket
import threading
import webbrowser
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import uvicorn

from hangtag.auditing.expected_right import describe_expected, describe_weakness
from hangtag.auditing.nearest_neighbors import LookAlikes, open_look_alikes
from hangtag.config import ReviewConfig
from hangtag.errors import SettingsError, WorkspaceError
from hangtag.inference.search import find_index
from hangtag.io import hash_file, read_json
from hangtag.lock import hold
from hangtag.reviewing.app import APPLY, OpenReview, build_app
from hangtag.reviewing.decision_store import check_environment, open_store, use_postgres
from hangtag.reviewing.items import Items, read_items
from hangtag.reviewing.queue import Queue, read_issues
from hangtag.serving.middleware import LOOPBACK
from hangtag.workspace import Workspace

# Seconds for open requests to be answered once the review is asked to stop.
STOP_SECONDS = 5
# The key of the page's address, the same for several services behind one address.
KEY_VARIABLE = "HANGTAG_REVIEW_TOKEN"
KEY = re.compile(r"[!-~]{16,}")
# What to do once everything is decided, on a page that the application leads to.
BACK = "Go back to the catalogue to take the corrected file."


def review(
    workspace: str | Path | Workspace,
    config: ReviewConfig = ReviewConfig(),  # noqa: B008  (frozen)
    *,
    on_start: Callable[[str], None] = lambda _: None,
    on_move: Callable[[str], None] = lambda _: None,
) -> None:
    """Show the issues of `audit/issues.csv` one by one, and store the decisions in SQLite or PostgreSQL.

    Returns when a signal comes; every decision is on the disk by then.

    Args:
        workspace: A workspace that is prepared and audited.
        config: Settings. The key of the page's address comes from the environment variable HANGTAG_REVIEW_TOKEN.
        on_start: Called with the address of the page before the service starts.
        on_move: Called with a sentence if the decisions were moved to PostgreSQL.

    Raises:
        WorkspaceError: Nothing is prepared or audited, or the decisions cannot be opened.
        SettingsError: The review cannot listen on the address, the key is too short, or the address of the decisions
            is not one of PostgreSQL.
        MissingExtraError: The decisions are in PostgreSQL, and what opens it is not installed.
    """
    workspace, key = Workspace.at(workspace), read_key()
    _choose_database(workspace, config.decisions, on_move)
    with closing(open_review(workspace, config=config, key=key)) as opened:
        server = uvicorn.Server(
            uvicorn.Config(
                opened.app,
                host=config.host,
                port=config.port,
                # Uvicorn's logging configuration would close the handlers of other libraries and their streams.
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=STOP_SECONDS,
                h11_max_incomplete_event_size=64_000,
            )
        )
        on_start(make_address(config, opened.key))
        try:
            server.run()
        except SystemExit:
            # Uvicorn has written the reason to stderr.
            raise SettingsError(
                "The review cannot listen on this address.",
                allowed="Allowed: an address of this machine, and a free port.",
                received=f"{config.host}:{config.port}",
                hint="If a `hangtag check` or `hangtag review` still runs, its page is there: use it, stop it with "
                "Ctrl-C, or choose another --port.",
            ) from None


def _choose_database(workspace: Workspace, address: str, on_move: Callable[[str], None]) -> None:
    """Move the decisions to the database of an address, if there is one and they are elsewhere."""
    if not address:
        check_environment(workspace)
        return
    with hold("review", workspace, reads=[workspace.audit], writes=[workspace.review]):
        # Without issues there is nothing to decide, so nothing is moved.
        read_issues(workspace.issues)
        use_postgres(workspace, address, on_move)


def open_review(
    workspace: Workspace,
    back: str = "",
    config: ReviewConfig = ReviewConfig(),  # noqa: B008  (frozen)
    key: str = "",
) -> OpenReview:
    """Open the review of a workspace, without a server.

    Args:
        workspace: A workspace that is prepared and audited.
        back: The address of the page that leads to the review; empty where there is none.
        config: Settings.
        key: The key of the page's address; by default one is made.

    Raises:
        WorkspaceError: Nothing is prepared or audited, or the decisions cannot be opened.
    """
    with hold("review", workspace, reads=[workspace.prepared, workspace.audit], writes=[]):
        issues = read_issues(workspace.issues)
        items = read_items(workspace)
        expected = read_expected(workspace, names_commands=not back)
        # A page shows issues by their positions, so it has to be opened again if the issues are others.
        token = f"{key}.{hash_file(workspace.issues)[:12]}" if key else secrets.token_urlsafe(18)
    store = open_store(workspace, config.decisions)
    try:
        queue = Queue(issues, items, store)
        app = build_app(
            queue,
            store,
            open_look_alike_search(workspace, items),
            token=token,
            key=key,
            host=config.host,
            reviewer=config.reviewer,
            shown=config.look_alikes,
            expected=expected,
            back=back,
            next_step=BACK if back else APPLY,
            find_index=lambda: find_index(workspace, items.digest),
        )
    except BaseException:
        store.close()
        raise
    return OpenReview(app, token, queue, store.close, key or token)


def review_in_browser(workspace: str | Path | Workspace, on_start: Callable[[str], None]) -> None:
    """Run the review on a free port and open its page in the browser, until Ctrl-C, which is no error.

    Args:
        workspace: A workspace that is prepared and audited.
        on_start: Called with the address of the page before the service starts.

    Raises:
        WorkspaceError: See `review`.
    """

    def show(address: str) -> None:
        on_start(address)
        # The service starts after this call.
        threading.Timer(1, webbrowser.open, [address]).start()

    config = ReviewConfig()
    with suppress(KeyboardInterrupt):
        review(workspace, replace(config, port=find_free_port(config.host, config.port)), on_start=show)


def find_free_port(host: str, wanted: int) -> int:
    """Return the wanted port of an address of this machine, or another one if it is in use, as by another workspace."""
    for port in (wanted, 0):
        with suppress(OSError), socket.create_server((host, port)) as found:
            return int(found.getsockname()[1])
    return wanted


def read_expected(workspace: Workspace, *, names_commands: bool = True) -> str:
    """Return how many of the first label errors the audit expects to be right, weak evidence first.

    Args:
        workspace: An audited workspace.
        names_commands: Whether to say which commands help; no help to people who use none.

    Returns:
        Plain sentences; empty where the audit has no summary, as one that was written elsewhere.

    Raises:
        WorkspaceError: The summary of the audit is damaged.
    """
    path = workspace.audit / "summary.json"
    if not os.path.lexists(path):
        return ""
    try:
        summary = read_json(path)
        weakness = describe_weakness(summary)
        if not names_commands:
            weakness = weakness.partition(" What helps:")[0]
        return " ".join(filter(None, [weakness, describe_expected(summary)])).replace("`", "")
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        hint = "Run `hangtag audit` with this workspace again."
        raise WorkspaceError("The summary of the audit cannot be read.", received=str(path), hint=hint) from error


def open_look_alike_search(workspace: Workspace, items: Items) -> LookAlikes:
    """Open the search for similar photographs; its descriptors are computed again where the catalogue has changed."""
    name = f"look_alikes-{items.digest[:16]}.npy"
    for stale in workspace.review.glob("look_alikes-*.npy"):
        if stale.name != name:
            with suppress(OSError):
                stale.unlink()
    return open_look_alikes(workspace.review / name, items.images)


def read_key() -> str:
    """Return the key of the page's address from the environment, or an empty text if one is to be made.

    Raises:
        SettingsError: It is too short, or has other characters than an address.
    """
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if key and not KEY.fullmatch(key):
        raise SettingsError(
            f"The key in {KEY_VARIABLE} is too short, or has spaces or letters with accents.",
            allowed="Allowed: 16 or more letters of English, digits and signs.",
            hint="`openssl rand -hex 24` makes one.",
        )
    return key


def make_address(config: ReviewConfig, key: str) -> str:
    """Return the page's address; with its key where other machines can reach it."""
    host = socket.gethostname() if config.host in ("0.0.0.0", "::") else config.host
    host = f"[{host}]" if ":" in host else host
    return f"http://{host}:{config.port}/" + ("" if config.host in LOOPBACK else f"?token={quote(key, safe='')}")
