"""Test two services of one workspace, in SQLite and PostgreSQL: reserved issues, version conflicts, locked files."""

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from hangtag.errors import WorkspaceError
from hangtag.reviewing import store as stores
from hangtag.reviewing.app import build_app
from hangtag.reviewing.decision_store import DecisionStore, open_store
from hangtag.reviewing.filters import Filter
from hangtag.reviewing.items import read_items
from hangtag.reviewing.postgres_store import PostgresStore
from hangtag.reviewing.postgres_tables import HOLDS
from hangtag.reviewing.queue import HELD_SECONDS, Queue, read_issues
from hangtag.reviewing.store import MAX_VERSION, ConflictError, NewDecision, Store
from hangtag.reviewing.store_errors import StoreError
from hangtag.stages.review import open_look_alike_search
from hangtag.workspace import Workspace

TOKEN = "a-token-of-the-page"
ISSUES = [(str(number), "c", "kind") for number in range(60)]
ON_SQLITE = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def open_queue(workspace: Workspace, store: DecisionStore) -> Queue:
    return Queue(read_issues(workspace.issues), read_items(workspace), store)


def serve(queue: Queue, store: DecisionStore, workspace: Workspace) -> TestClient:
    app = build_app(queue, store, open_look_alike_search(workspace, queue.items), token=TOKEN, host="127.0.0.1")
    headers = {"X-Review-Token": TOKEN}
    return TestClient(app, base_url="http://127.0.0.1:8001", headers=headers, raise_server_exceptions=False)


@pytest.fixture
def client(queue: Queue, store: DecisionStore, workspace: Workspace) -> TestClient:
    return serve(queue, store, workspace)


@pytest.fixture
def other(workspace: Workspace, store: DecisionStore) -> Iterator[DecisionStore]:
    """Return the store of another service of the same workspace."""
    opened = open_store(workspace)
    assert type(opened) is type(store)
    yield opened
    opened.close()


def show(client: TestClient, reviewer: str, **values: Any) -> Any:
    return client.get("/api/next", params={"reviewer": reviewer, **values}).json()["issue"]


def decide(client: TestClient, issue: Any, version: Any, reviewer: str = "Ann") -> Any:
    versions = dict.fromkeys(issue["versions"], version)
    body = {"position": issue["position"], "action": "keep", "versions": versions, "reviewer": reviewer}
    return client.post("/api/decisions", json=body)


def let_time_pass(seconds: float, *stores: DecisionStore) -> None:
    """Make reserved issues older."""
    for each in stores:
        if isinstance(each, Store):
            now = each._clock()
            each._clock = lambda now=now: now + seconds  # type: ignore[misc]
    if isinstance(each, PostgresStore):
        older = sa.update(HOLDS).values(until=HOLDS.c.until - timedelta(seconds=seconds))
        each._database.transact(lambda connection, _: connection.execute(older))


# Reserved issues


def test_two_services_show_an_issue_to_only_one_reviewer(
    workspace: Workspace, store: DecisionStore, other: DecisionStore
) -> None:
    one, two = (open_queue(workspace, each) for each in (store, other))
    clients = serve(one, store, workspace), serve(two, other, workspace)
    assert [show(clients[0], "Ann")["position"], show(clients[1], "Bob")["position"]] == [0, 1]
    # In another window, the same reviewer sees her own issue, and a third reviewer one that is free.
    assert [show(clients[1], "Ann")["position"], show(clients[0], "Eve")["position"]] == [0, 2]
    let_time_pass(HELD_SECONDS / 2, store, other)
    assert show(clients[1], "Bob")["position"] == 1
    let_time_pass(HELD_SECONDS / 2, store, other)
    # The issues of Ann and Eve are free again, but Bob's was shown to him again.
    assert show(clients[0], "Zoe")["position"] == 0
    assert show(clients[0], "Eve")["position"] == 2


def test_an_issue_is_shown_even_if_all_are_held(
    workspace: Workspace, store: DecisionStore, other: DecisionStore
) -> None:
    one, two = (open_queue(workspace, each) for each in (store, other))
    only = Filter(code="bad_picture")
    shown = [queue.find_next(only, None, name) for queue, name in ((one, "Ann"), (two, "Bob"))]
    assert [each and each.code for each in shown] == ["bad_picture", "bad_picture"]
    assert two.find_next(Filter(code="same_product"), None, "Bob") is None


def test_holds_expire_and_are_shared_if_asked_for(store: DecisionStore, other: DecisionStore) -> None:
    assert store.hold(ISSUES, "Ann", seconds=0.02) == 0
    time.sleep(0.03)
    assert other.hold(ISSUES, "Bob", seconds=90.0) == 0
    assert store.hold(ISSUES, "Eve", seconds=90.0) == 1
    assert other.hold(ISSUES, "Bob", seconds=90.0) == 0
    assert store.hold(ISSUES[:2], "Zoe", seconds=90.0) == 0
    assert store.hold(ISSUES, "Zoe", seconds=90.0, share=True) == 0
    assert store.hold([], "Eve", seconds=90.0) is None


def test_holds_of_a_wrong_clock_are_ignored(tmp_path: Path) -> None:
    now = 1000.0
    ahead = Store(tmp_path / "review.sqlite", lambda: now + 3600)
    right = Store(tmp_path / "review.sqlite", lambda: now)
    assert ahead.hold(ISSUES, "Bob", seconds=90.0) == 0
    assert right.hold(ISSUES, "Eve", seconds=90.0) == 0
    now += 89
    assert right.hold(ISSUES, "Ann", seconds=90.0) == 1
    now += 1
    assert right.hold(ISSUES, "Zoe", seconds=90.0) == 0
    ahead.close()
    right.close()


# Claims issues that it has not claimed yet and prints each; starts when it receives a line on stdin.
CLAIMER = """
import sys
from hangtag.reviewing.decision_store import open_store
from hangtag.workspace import Workspace
store, name, left = open_store(Workspace.at(sys.argv[1])), sys.argv[2], [(str(n), "c", "kind") for n in range(60)]
print("ready", flush=True)
sys.stdin.readline()
for _ in range(20):
    print(left.pop(store.hold(left, name, seconds=90.0))[0], flush=True)
"""


@pytest.mark.usefixtures("store")
def test_only_one_of_three_processes_holds_each_issue(workspace: Workspace) -> None:
    path, source = workspace.root, str(Path(stores.__file__).parents[2])
    claimers = [
        subprocess.Popen(
            [sys.executable, "-c", CLAIMER, str(path), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": source},
        )
        for name in ("Ann", "Bob", "Eve")
    ]
    for each in claimers:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n"
    claimed = [each.communicate("go\n", timeout=120)[0].split() for each in claimers]
    assert [len(each) for each in claimed] == [20, 20, 20]
    assert {item for each in claimed for item in each} == {item for item, _, _ in ISSUES}


def test_decisions_of_an_older_version_are_kept(tmp_path: Path) -> None:
    """Test a file of an older version, which had no table of holds."""
    path = tmp_path / "review.sqlite"
    store = Store(path)
    [made] = store.add([NewDecision("1", "c", "kind", "keep", {"kind": "A"}, {"kind": "A"}, {}, 0.5, 0)], "Ann")
    store._db.execute("DROP TABLE holds")
    store.close()
    store = Store(path)
    assert store.read() == [made]
    assert store.hold(ISSUES, "Ann", seconds=90.0) == 0
    assert store.hold(ISSUES, "Bob", seconds=90.0) == 1
    # A decision is flushed to the disk before it is confirmed, even after a hold, which is not flushed.
    store.add([NewDecision("1", "c", "kind", "keep", {"kind": "A"}, {"kind": "A"}, {}, 0.5, made.id)], "Ann")
    assert store._db.execute("PRAGMA synchronous").fetchone() == (2,)
    store.close()


# Version conflicts


@pytest.mark.parametrize("version", [3, 7, 2**62, MAX_VERSION])
def test_an_unknown_version_is_a_conflict(client: TestClient, store: DecisionStore, version: int) -> None:
    issue = show(client, "Ann")
    refused = decide(client, issue, version)
    assert (refused.status_code, refused.json()["error"]["code"], refused.json()["decisions"]) == (409, "conflict", [])
    assert store.read() == []
    assert decide(client, issue, 0).status_code == 200
    # The decisions 1 and 2 have different codes.
    told = decide(client, issue, version, "Bob")
    assert told.status_code == 409
    assert {each["reviewer"] for each in told.json()["decisions"]} == {"Ann"}
    assert {each.reviewer for each in store.read()} == {"Ann"}


def test_the_version_of_another_item_is_a_conflict(store: DecisionStore) -> None:
    def keep(item_id: str, version: int) -> NewDecision:
        return NewDecision(item_id, "c", "kind", "keep", {"kind": "A"}, {"kind": "A"}, {}, 0.5, version)

    [first] = store.add([keep("1", 0)], "Ann")
    store.add([keep("2", 0)], "Ann")
    [third] = store.add([keep("1", first.id)], "Ann")
    for version in (0, first.id, 2, third.id + 1, MAX_VERSION):
        with pytest.raises(ConflictError) as conflict:
            store.add([keep("1", version)], "Bob")
        assert conflict.value.decisions[-1] == third
    store.add([keep("1", third.id)], "Bob")


@pytest.mark.parametrize("version", [-1, 2**63, 2**64, 10**400, True, 1.0, "1", None, [0]])
def test_an_invalid_version_is_rejected(client: TestClient, store: DecisionStore, version: Any) -> None:
    issue = show(client, "Ann")
    assert decide(client, issue, 0).status_code == 200
    before = store.read()
    refused = decide(client, issue, version)
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "invalid")
    assert store.read() == before


@pytest.mark.parametrize("number", [-1, 2**63, 10**30, "9" * 5000, "nan", "1e3"])
def test_numbers_in_a_request_are_bounded(client: TestClient, number: Any) -> None:
    assert client.get("/api/next", params={"reviewer": "Ann", "after": number}).status_code == 422
    assert client.get(f"/api/issues/{number}").status_code == 422
    body = {"position": number, "action": "keep", "versions": {}, "reviewer": "Ann"}
    assert client.post("/api/decisions", json=body).status_code == 422
    assert client.get("/api/next", params={"reviewer": "Ann", "low": f"-{number}"}).status_code == 422


@pytest.mark.parametrize(
    "content", ['{"reviewer":"\\ud800"}', "[" * 100_000, '{"reviewer":' + "1" * 5000 + "}", "\xff"]
)
def test_no_request_body_causes_a_server_error(client: TestClient, content: str) -> None:
    for path in ("undo", "decisions"):
        sent = content.encode("latin-1")
        answer = client.post(f"/api/{path}", content=sent, headers={"Content-Type": "application/json"})
        assert answer.status_code in (400, 422), answer.text


# Locked files


@pytest.fixture
def lock(workspace: Workspace, store: Store) -> Iterator[sqlite3.Connection]:
    """Hold the write lock in another connection; the service waits only briefly."""
    store._db.execute("PRAGMA busy_timeout = 20")
    base = sqlite3.connect(workspace.review / "review.sqlite", isolation_level=None)
    base.execute("BEGIN IMMEDIATE")
    yield base
    base.close()


@ON_SQLITE
def test_a_locked_file_is_reported_and_nothing_is_lost(client: TestClient, lock: sqlite3.Connection) -> None:
    lock.execute("ROLLBACK")
    issue = show(client, "Ann")
    lock.execute("BEGIN IMMEDIATE")
    refused = [decide(client, issue, 0), client.post("/api/undo", json={"reviewer": "Ann"})]
    refused.append(client.get("/api/next", params={"reviewer": "Ann"}))
    for answer in refused:
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "locked")
        assert int(answer.headers["Retry-After"]) > 0
        assert "Another process holds the decisions." in answer.json()["error"]["message"]
    assert "Nothing was written" in refused[0].json()["error"]["message"]
    # Requests that do not write still succeed.
    assert client.get("/api/issues/0").status_code == 200
    lock.execute("ROLLBACK")
    assert decide(client, issue, 0).status_code == 200
    assert show(client, "Ann")["position"] == 1


def test_a_stored_decision_is_confirmed(
    client: TestClient, store: DecisionStore, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    issue = show(client, "Ann")
    refresh, calls = queue.refresh, []

    def fail_later() -> None:
        calls.append(1)
        if len(calls) > 1:
            raise StoreError("It is locked.", received="review.sqlite", hint="", is_locked=True)
        refresh()

    monkeypatch.setattr(queue, "refresh", fail_later)
    assert decide(client, issue, 0).status_code == 200
    assert len(calls) == 2
    assert store.read()


@ON_SQLITE
def test_a_thread_does_not_wait_forever_for_another(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "LOCK_TIMEOUT", 0.01)
    with store._lock, pytest.raises(StoreError, match="another process is writing to them"):
        store.read()
    assert store.read() == []


@ON_SQLITE
def test_a_write_error_is_reported(client: TestClient, store: Store) -> None:
    issue = show(client, "Ann")
    store._db.execute("PRAGMA query_only = 1")
    answer = decide(client, issue, 0)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "storage")
    assert "readonly" in answer.json()["error"]["message"]
    store._db.execute("PRAGMA query_only = 0")
    assert decide(client, issue, 0).status_code == 200


def test_the_message_for_a_locked_file_does_not_advise_to_move_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "review.sqlite"
    base = sqlite3.connect(path, isolation_level=None)
    base.execute("BEGIN EXCLUSIVE")
    monkeypatch.setattr(stores, "LOCK_TIMEOUT", 0.01)
    with pytest.raises(WorkspaceError, match=r"another process is writing to them.*run the command again") as told:
        Store(path)
    assert "away" not in str(told.value)
    base.close()
    Store(path).close()
