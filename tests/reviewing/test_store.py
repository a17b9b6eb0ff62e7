"""Test, in SQLite and PostgreSQL, that decisions are stored in whole batches, survive a kill, and overwrite none."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hangtag.errors import WorkspaceError
from hangtag.reviewing.decision_store import DecisionStore, open_store, read_decisions
from hangtag.reviewing.store import ConflictError, Decision, NewDecision, Store, find_standing
from hangtag.workspace import Workspace


def decide(item_id: str, version: int = 0, action: str = "accept", new: str = "B") -> NewDecision:
    return NewDecision(
        item_id, "label_error", "kind", action, {"kind": "A"}, {"kind": new}, {"kind": "B"}, 0.9, version
    )


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def place(tmp_path: Path, settle: Callable[[Workspace], None]) -> Workspace:
    """A workspace that keeps its decisions in the database."""
    place = Workspace.at(tmp_path / "workspace")
    settle(place)
    return place


@pytest.fixture
def store(place: Workspace) -> Iterator[DecisionStore]:
    with closing(open_store(place)) as store:
        yield store


@pytest.fixture
def other(place: Workspace) -> Iterator[DecisionStore]:
    """The store of another process."""
    with closing(open_store(place)) as store:
        yield store


def test_a_decision_is_read_back_unchanged(store: DecisionStore, other: DecisionStore, place: Workspace) -> None:
    assert read_decisions(place) == []
    new = NewDecision(
        *("1", "label_error", "kind", "choose", {"kind": "A"}, {"kind": "Ärmel \0 'x'"}, {"kind": "B"}, 0.1 + 0.2, 0),
        evidence="image",
        product="Linen \U0001f455 Shirt",
    )
    [made] = store.add([new], "Ann")
    assert (made.id, made.batch, made.reviewer, made.undoes) == (1, 1, "Ann", None)
    assert made.time.endswith("+00:00")
    assert all(getattr(made, name) == value for name, value in vars(new).items())
    assert other.read() == store.read() == read_decisions(place) == [made]
    assert other.read(after=1) == []
    [later] = other.add([decide("2")], "Bob", "2026-01-02T03:04:05.000+00:00")
    assert later.time == "2026-01-02T03:04:05.000+00:00"
    assert store.read(after=1) == [later]


def test_decisions_of_sqlite_cannot_be_changed_replaced_or_deleted(tmp_path: Path) -> None:
    store = Store(tmp_path / "review.sqlite")
    store.add([decide("1")], "Ann")
    base = sqlite3.connect(tmp_path / "review.sqlite")
    for statement in (
        "UPDATE decisions SET reviewer = 'Bob'",
        "DELETE FROM decisions",
        "INSERT OR REPLACE INTO decisions SELECT * FROM decisions",
    ):
        with pytest.raises(sqlite3.IntegrityError, match="only added"):
            base.execute(statement)
    assert base.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert store._db.execute("PRAGMA synchronous").fetchone() == (2,)
    base.close()
    store.close()


def test_a_conflict_is_reported_and_nothing_is_written(store: DecisionStore, other: DecisionStore) -> None:
    [first] = store.add([decide("1", new="C", action="choose")], "Ann")
    with pytest.raises(ConflictError) as conflict:
        other.add([decide("2"), decide("1")], "Bob")
    assert conflict.value.decisions == [first]
    assert other.read() == [first]
    # After it was seen, a different decision is allowed.
    [second] = other.add([decide("1", version=first.id)], "Bob")
    assert (second.id, second.version) == (2, 1)


def test_undo_reverts_the_reviewers_batches_from_the_last_to_the_first(store: DecisionStore) -> None:
    first = store.add([decide("1")], "Ann")
    group = store.add([decide("2"), decide("3")], "Ann")
    other = store.add([decide("4")], "Bob")
    assert [each.undoes for each in store.undo("Ann")] == [each.id for each in group]
    assert find_standing(store.read()) == [*first, *other]
    assert [each.item_id for each in store.undo("Ann")] == ["1"]
    assert store.undo("Ann") == []
    assert find_standing(store.read()) == other
    assert len(store.read()) == 7


def test_undo_is_rejected_if_a_later_decision_depends_on_it(store: DecisionStore) -> None:
    [first] = store.add([decide("1")], "Ann")
    [second] = store.add([decide("1", version=first.id, new="C")], "Bob")
    with pytest.raises(ConflictError) as conflict:
        store.undo("Ann")
    assert conflict.value.decisions == [second]
    store.undo("Bob")
    assert [each.undoes for each in store.undo("Ann")] == [first.id]


def test_a_file_that_is_not_a_store_is_reported(tmp_path: Path) -> None:
    (tmp_path / "review.sqlite").write_bytes(b"not a database, not at all, in no way" * 40)
    with pytest.raises(WorkspaceError, match="cannot be opened"):
        Store(tmp_path / "review.sqlite")


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from("123"), st.sampled_from(["Ann", "Bob"]), st.booleans()), max_size=20))
def test_standing_decisions_agree_with_a_simple_model(store: DecisionStore, steps: list[tuple[str, str, bool]]) -> None:
    """Compare with a stack of batches, from which undo removes the reviewer's topmost one."""
    # Every example has reviewers and items of its own.
    start = store.read()[-1].id if store.read() else 0
    steps = [(f"{start}-{item_id}", f"{start}-{name}", is_undo) for item_id, name, is_undo in steps]
    pile: list[Decision] = []
    for item_id, reviewer, is_undo in steps:
        if is_undo:
            last = next((each for each in reversed(pile) if each.reviewer == reviewer), None)
            blocked = last is not None and any(each.item_id == last.item_id and each.id > last.id for each in pile)
            if blocked:
                with pytest.raises(ConflictError):
                    store.undo(reviewer)
                continue
            assert len(store.undo(reviewer)) == (last is not None)
            pile = [each for each in pile if each is not last]
        else:
            version = max((each.id for each in store.read() if each.item_id == item_id), default=0)
            pile += store.add([decide(item_id, version)], reviewer)
    assert find_standing(store.read(start)) == pile


# Decides about items one after the other in batches of three, and prints each batch when it is confirmed. With a common
# item, every process tries to be the first to decide about it.
WRITER = """
import sys
from hangtag.reviewing.decision_store import open_store
from hangtag.reviewing.store import ConflictError, NewDecision
from hangtag.workspace import Workspace
store, name, count = open_store(Workspace.at(sys.argv[1])), sys.argv[2], int(sys.argv[3])
for number in range(count):
    own = [f"{name}-{number}-{part}" for part in range(3)]
    common = [f"common-{number}"] if len(sys.argv) > 4 else []
    verdicts = [NewDecision(each, "c", "k", "accept", {}, {"k": name}, {}, 1.0, 0) for each in own + common]
    try:
        store.add(verdicts, name)
        print(number, flush=True)
    except ConflictError:
        pass
"""


def start(place: Workspace, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", WRITER, str(place.root), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": find_source()})


def find_source() -> str:
    import hangtag

    return str(Path(hangtag.__file__).parents[1])


def test_only_one_of_two_processes_decides_about_each_item(place: Workspace, store: DecisionStore) -> None:
    writers = {name: start(place, name, "40", "common") for name in ("Ann", "Bob")}
    confirmed = {name: set(map(int, writer.communicate(timeout=120)[0].split())) for name, writer in writers.items()}
    assert [writer.returncode for writer in writers.values()] == [0, 0]
    # Each number was decided by one of the two processes, with its whole batch or not at all.
    assert confirmed["Ann"] | confirmed["Bob"] == set(range(40))
    assert not confirmed["Ann"] & confirmed["Bob"]
    decisions = store.read()
    common = {each.item_id: each.reviewer for each in decisions if each.item_id.startswith("common")}
    assert common == {f"common-{n}": name for name, numbers in confirmed.items() for n in numbers}
    assert [each.id for each in decisions] == list(range(1, 4 * 40 + 1))
    assert len({each.item_id for each in decisions}) == len(decisions)


def test_confirmed_batches_survive_a_kill_completely(place: Workspace, store: DecisionStore) -> None:
    writer = start(place, "Ann", "100000")
    assert writer.stdout is not None
    confirmed = [int(writer.stdout.readline()) for _ in range(25)]
    writer.send_signal(signal.SIGKILL)
    rest, _ = writer.communicate(timeout=60)
    confirmed += [int(line) for line in rest.splitlines(keepends=True) if line.endswith("\n")]
    batches: dict[int, list[str]] = {}
    for each in store.read():
        batches.setdefault(each.batch, []).append(each.item_id)
    assert set(map(len, batches.values())) == {3}
    there = {int(ids[0].split("-")[1]) for ids in batches.values()}
    assert set(confirmed) <= there
    if isinstance(store, Store):
        assert store._db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    # The store still accepts decisions.
    store.add([decide("after")], "Ann")
