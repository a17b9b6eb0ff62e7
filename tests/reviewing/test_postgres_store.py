"""Test decisions in PostgreSQL: lost connections, restarts, the order of ids, rights, messages and migrations."""

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from fastapi.testclient import TestClient
from postgres_server import PASSWORD, PostgresServer

from hangtag.auditing.nearest_neighbors import LookAlikes
from hangtag.errors import MissingExtraError, SettingsError, WorkspaceError
from hangtag.reviewing import postgres_connection, postgres_tables
from hangtag.reviewing.app import build_app
from hangtag.reviewing.decision_store import LOCATION, VARIABLE, open_store, read_decisions, read_location, use_postgres
from hangtag.reviewing.postgres_connection import leave_out_secrets, make_engine, parse_address
from hangtag.reviewing.postgres_store import PostgresStore
from hangtag.reviewing.postgres_tables import METADATA, SCHEMA, VERSION_TABLE, make_config, update_tables
from hangtag.reviewing.queue import Queue
from hangtag.reviewing.store import NewDecision, Store
from hangtag.reviewing.store_errors import StoreError
from hangtag.stages.apply import apply
from hangtag.workspace import Workspace

LOST = "server closed the connection unexpectedly"


def decide(item_id: str, version: int = 0, product: str = "") -> NewDecision:
    values = {"kind": "A"}
    return NewDecision(item_id, "c", "kind", "keep", values, values, {}, 0.5, version, product=product)


@pytest.fixture
def database() -> str:
    return "postgres"


@pytest.fixture
def place(tmp_path: Path, settle: Callable[[Workspace], None]) -> Workspace:
    place = Workspace.at(tmp_path / "place")
    settle(place)
    return place


@pytest.fixture
def decisions(place: Workspace) -> Iterator[PostgresStore]:
    """The store of decisions of an empty workspace."""
    with closing(open_store(place)) as store:
        assert isinstance(store, PostgresStore)
        yield store


def lose_commits(store: PostgresStore, monkeypatch: pytest.MonkeyPatch, *, is_done: bool, times: int = 1) -> list[int]:
    """Lose the connection in the next commits: after the database has committed, or before."""
    dialect = store._database._engine.dialect
    commit = dialect.do_commit
    lost: list[int] = []

    def lose(connection: Any) -> None:
        if len(lost) >= times:
            commit(connection)
            return
        lost.append(1)
        if is_done:
            commit(connection)
        connection.dbapi_connection.close()
        raise psycopg.OperationalError(LOST)

    monkeypatch.setattr(dialect, "do_commit", lose)
    return lost


# Lost connections


@pytest.mark.parametrize("is_done", [True, False])
def test_a_lost_confirmation_stores_once(
    decisions: PostgresStore, monkeypatch: pytest.MonkeyPatch, is_done: bool
) -> None:
    lost = lose_commits(decisions, monkeypatch, is_done=is_done)
    made = decisions.add([decide("1"), decide("2")], "Ann")
    assert lost == [1]
    assert decisions.read() == made
    lose_commits(decisions, monkeypatch, is_done=is_done)
    undone = decisions.undo("Ann")
    assert [each.undoes for each in undone] == [1, 2]
    assert decisions.read() == [*made, *undone]


@pytest.mark.parametrize(("is_done", "count"), [(True, 1), (False, 0)])
def test_an_unknown_outcome_is_reported_as_such(
    queue: Queue, store: PostgresStore, monkeypatch: pytest.MonkeyPatch, is_done: bool, count: int
) -> None:
    app = build_app(queue, store, LookAlikes(np.zeros((1, 4), np.float32)), token="t", host="127.0.0.1")
    client = TestClient(app, base_url="http://127.0.0.1:8001", headers={"X-Review-Token": "t"})
    issue = client.get("/api/issues/11").json()["issue"]
    body = {"position": 11, "action": "keep", "versions": issue["versions"], "reviewer": "Ann"}
    with monkeypatch.context() as patched:
        patched.setattr(postgres_connection, "RETRY_SECONDS", 0.0)
        lose_commits(store, patched, is_done=is_done)
        answer = client.post("/api/decisions", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unknown")
    assert "Nothing was written" not in answer.text
    monkeypatch.setattr(postgres_connection, "FAILED_SECONDS", 0.0)
    assert len(store.read()) == count
    # Sent again, it is stored if it was not, and never twice.
    assert client.post("/api/decisions", json=body).status_code == (409 if is_done else 200)
    assert len(store.read()) == 1


def test_connections_that_the_server_ends_are_not_noticed(
    decisions: PostgresStore, place: Workspace, postgres: PostgresServer
) -> None:
    with closing(open_store(place)) as other:
        for number in range(3):
            assert decisions.hold([("1", "c", "kind")], "Ann", seconds=9) == 0
            decisions.add([decide(str(number))], "Ann")
            assert len(other.read()) == number + 1
            postgres.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'hangtag'")


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_restart_of_the_database_loses_nothing(decisions: PostgresStore, postgres: PostgresServer, mode: Any) -> None:
    def add(name: str) -> list[int]:
        return [decisions.add([decide(f"{name}-{n}")], name)[0].id for n in range(40)]

    with ThreadPoolExecutor(4) as pool:
        confirmed = [pool.submit(add, name) for name in ("Ann", "Bob", "Eve", "Zoe")]
        while len(decisions.read()) < 20:
            time.sleep(0.01)
        postgres.stop(mode)
        postgres.start()
        ids = [number for each in confirmed for number in each.result()]
    found = decisions.read()
    assert sorted(ids) == [each.id for each in found] == list(range(1, 161))
    assert len({each.item_id for each in found}) == 160


def test_a_database_that_is_gone_keeps_no_page_waiting(
    decisions: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: Any) -> Any:
        time.sleep(0.05)
        raise psycopg.OperationalError("connection refused")

    monkeypatch.setattr(postgres_connection, "RETRY_SECONDS", 0.3)
    monkeypatch.setattr(psycopg, "connect", refuse)
    decisions._database._engine.dispose()
    started = time.monotonic()
    with ThreadPoolExecutor(20) as pool:
        asked = [pool.submit(decisions.read) for _ in range(40)]
        errors = [each.exception() for each in asked]
    assert all(isinstance(error, StoreError) and not error.is_unknown for error in errors)
    # Not each of the forty waits in turn.
    assert time.monotonic() - started < 5


def test_a_lock_that_is_not_released_is_reported(
    decisions: PostgresStore, place: Workspace, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_connection, "LOCK_TIMEOUT", 0.1)
    location = read_location(place)
    assert location
    with psycopg.connect(postgres.address, password=PASSWORD) as other, closing(open_store(place)) as waiting:
        other.execute("SELECT 1 FROM hangtag.catalogues WHERE id = %s FOR UPDATE", (location.catalogue,))
        with pytest.raises(StoreError, match="another process keeps PostgreSQL busy") as told:
            waiting.add([decide("1")], "Ann")
    assert told.value.is_locked
    assert decisions.read() == []


# Order, and who may change what


def test_who_reads_after_an_id_misses_none(decisions: PostgresStore, place: Workspace) -> None:
    def add(name: str) -> None:
        with closing(open_store(place)) as store:
            for number in range(25):
                store.add([decide(f"{name}-{number}-{part}") for part in range(2)], name)

    seen: list[int] = []
    with ThreadPoolExecutor(4) as pool:
        writers = [pool.submit(add, name) for name in ("Ann", "Bob", "Eve", "Zoe")]
        while len(seen) < 200:
            is_over = all(each.done() for each in writers)
            seen += [each.id for each in decisions.read(seen[-1] if seen else 0)]
            assert not is_over or len(seen) == 200
    assert seen == list(range(1, 201))


def test_few_statements_store_a_decision_and_only_holds_do_not_wait_for_the_disk(decisions: PostgresStore) -> None:
    engine = decisions._database._engine
    statements: list[str] = []
    settings: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    def ask(connection: sa.Connection) -> None:
        cursor = connection.connection.cursor()
        cursor.execute("SHOW synchronous_commit")
        settings.extend(cursor.fetchone() or ())
        cursor.close()

    sa.event.listen(engine, "before_cursor_execute", note)
    sa.event.listen(engine, "commit", ask)
    for number in range(2):
        statements.clear()
        made = decisions.add([decide("1", number), decide(f"new{number}")], "Ann")
        assert [each.id for each in made] == [2 * number + 1, 2 * number + 2]
        # The lock, the last decisions with the last id, and the new rows.
        assert len(statements) == 3
    assert settings == ["on", "on"]
    statements.clear()
    assert decisions.hold([("1", "c", "kind")], "Ann", seconds=9) == 0
    assert len(statements) == 3
    assert settings[2:] == ["off"]


def test_catalogues_of_one_database_do_not_mix(
    decisions: PostgresStore, tmp_path: Path, postgres: PostgresServer
) -> None:
    other = Workspace.at(tmp_path / "other")
    use_postgres(other, postgres.address)
    [first] = decisions.add([decide("1")], "Ann")
    assert decisions.hold([("1", "c", "kind"), ("2", "c", "kind")], "Ann", seconds=90) == 0
    with closing(open_store(other)) as store:
        assert store.read() == []
        assert store.hold([("1", "c", "kind")], "Bob", seconds=90) == 0
        assert store.undo("Ann") == []
        assert [each.id for each in store.add([decide("1")], "Ann")] == [1]
    assert decisions.read() == [first]


def test_the_rights_that_are_documented_are_enough(
    decisions: PostgresStore, place: Workspace, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres.run("CREATE ROLE reader LOGIN PASSWORD 'never-printed'")
    postgres.run("CREATE ROLE writer LOGIN PASSWORD 'never-printed' IN ROLE reader")
    for grant in (
        "USAGE ON SCHEMA hangtag TO reader",
        "SELECT ON ALL TABLES IN SCHEMA hangtag TO reader",
        "INSERT ON ALL TABLES IN SCHEMA hangtag TO writer",
        "UPDATE ON hangtag.catalogues TO writer",
        "UPDATE, DELETE ON hangtag.holds TO writer",
    ):
        postgres.run(f"GRANT {grant}", "decisions")
    monkeypatch.setenv(VARIABLE, postgres.name_address("decisions", "writer"))
    with closing(open_store(place)) as store:
        assert store.hold([("1", "c", "kind")], "Ann", seconds=0.001) == 0
        assert store.hold([("1", "c", "kind")], "Bob", seconds=90) == 0
        made = [*store.add([decide("1")], "Ann"), *store.undo("Ann")]
    monkeypatch.setenv(VARIABLE, postgres.name_address("decisions", "reader"))
    assert read_decisions(place) == made
    with closing(open_store(place)) as store, pytest.raises(StoreError, match="permission denied"):
        store.add([decide("2")], "Ann")
    assert decisions.read() == made


@pytest.mark.parametrize("statement", ["UPDATE {} SET reviewer = 'Bob'", "DELETE FROM {}", "TRUNCATE {}"])
def test_decisions_cannot_be_changed_or_deleted(
    decisions: PostgresStore, postgres: PostgresServer, statement: str
) -> None:
    [made] = decisions.add([decide("1")], "Ann")
    statement = statement.format("hangtag.decisions")
    with psycopg.connect(postgres.address, password=PASSWORD, autocommit=True) as owner:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            owner.execute(statement.encode())
        with pytest.raises(psycopg.errors.RaiseException, match="only added"):
            postgres.run(statement, "decisions")
    assert decisions.read() == [made]


def test_the_database_itself_refuses_to_store_or_undo_twice(decisions: PostgresStore, postgres: PostgresServer) -> None:
    decisions.add([decide("1")], "Ann")
    decisions.undo("Ann")
    columns = 'item_id, code, "column", action, old, new, suggested, score, reviewer, time, version, evidence, product'
    for changed in ("undoes, gen_random_uuid()", "NULL, request"):
        with pytest.raises(psycopg.errors.UniqueViolation, match=r"decisions_(stored|undone)_once"):
            postgres.run(
                f"INSERT INTO hangtag.decisions (catalogue, id, batch, {columns}, undoes, request) "
                f"SELECT catalogue, id + 5, batch + 5, {columns}, {changed} FROM hangtag.decisions WHERE undoes = 1",
                "decisions",
            )


def test_what_postgres_cannot_store_is_reported(decisions: PostgresStore) -> None:
    with pytest.raises(StoreError, match="NUL"):
        decisions.add([decide("1", product="a\0b")], "Ann")
    assert decisions.read() == []


# Addresses, and messages about them


def test_a_password_is_never_written_down(place: Workspace, postgres: PostgresServer) -> None:
    address = postgres.address.replace("@", f":{PASSWORD}@") + f"?sslmode=prefer&password={PASSWORD}"
    use_postgres(place, address)
    text = (place.review / LOCATION).read_text()
    assert PASSWORD not in text
    assert json.loads(text)["connection"] == {
        "user": "hangtag",
        "host": "127.0.0.1",
        "port": str(postgres.port),
        "dbname": "decisions",
        "sslmode": "prefer",
    }


@pytest.mark.parametrize(
    "address",
    [
        "mysql://ann:secret@host/base",
        "postgresql://ann:se%zz@secret@host/base",
        "postgresql://host/base?password=secret&colour=red",
        "dbname=base password=secret",
        "ann:secret@host/base",
        "host=db password = secret",
        "postgresql:/ann:secret@host/base",
    ],
)
def test_a_wrong_address_is_reported_without_its_password(address: str) -> None:
    with pytest.raises(SettingsError, match="Allowed: postgresql://USER@HOST:PORT/DATABASE") as told:
        parse_address(address)
    assert "secret" not in str(told.value)
    assert "secret" not in str(leave_out_secrets(parse_address("postgres://ann:secret@one:1,two:2/base")))


def test_what_keeps_from_opening_is_reported(
    place: Workspace, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres.run("CREATE ROLE guest LOGIN PASSWORD 'never-printed'")
    postgres.run("CREATE DATABASE bare OWNER admin")
    postgres.run("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0 OWNER hangtag")
    for address, message in (
        (postgres.address.replace("@", ":wrong@"), "password authentication failed.*~/.pgpass"),
        (postgres.name_address("nowhere"), 'database "nowhere" does not exist.*createdb'),
        (f"postgresql://hangtag@127.0.0.1:{postgres.port + 1}/decisions", "refused.*once PostgreSQL answers"),
        (f"postgresql:///decisions?host=/nowhere&port={postgres.port}", "No such file.*decisions at /nowhere"),
        (postgres.name_address("bare", "guest"), "permission denied for database bare.*the rights that docs/review.md"),
        (postgres.name_address("decisions", "guest"), "permission denied for schema hangtag.*the rights"),
        ("postgresql://hangtag@127.0.0.1:port/decisions", "port"),
        (postgres.name_address("latin"), "stores text as LATIN1.*--encoding=UTF8"),
    ):
        other = Workspace.at(place.root.parent / "other")
        with pytest.raises(StoreError, match=f"(?s){message}") as told:
            use_postgres(other, address)
        assert PASSWORD not in str(told.value)
        assert not (other.review / LOCATION).exists()
    monkeypatch.delenv("PGPASSWORD")
    with pytest.raises(StoreError, match=r"no password supplied.*HANGTAG_DECISIONS"):
        read_decisions(place)
    monkeypatch.setenv(VARIABLE, postgres.address.replace("@", f":{PASSWORD}@"))
    assert read_decisions(place) == []
    # The flag names the same database, and only the variable has the password.
    other = Workspace.at(place.root.parent / "another")
    use_postgres(other, postgres.address)
    with closing(open_store(other, postgres.address)) as store:
        assert store.read() == []


def test_a_missing_package_is_named(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "psycopg", None)
    with pytest.raises(MissingExtraError, match=r'pip install "hangtag\[postgres\]"'):
        read_decisions(place)


@pytest.mark.parametrize("text", ["{", "[]", '{"catalogue": "1", "connection": {}}', '{"connection": {}}'])
def test_a_damaged_location_is_reported(tmp_path: Path, text: str) -> None:
    workspace = Workspace.at(tmp_path)
    workspace.review.mkdir()
    (workspace.review / LOCATION).write_text(text)
    for read in (read_decisions, open_store):
        with pytest.raises(WorkspaceError, match="which database has the decisions"):
            read(workspace)


# From SQLite to PostgreSQL


def test_decisions_move_with_their_numbers_and_sqlite_takes_no_more(
    workspace: Workspace, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    running = Store(workspace.review / "review.sqlite")
    running.add([decide("1"), decide("2", product="Ärmel")], "Ann", "2026-01-02T03:04:05.000+00:00")
    running.undo("Ann")
    before = running.read()
    told: list[str] = []
    with monkeypatch.context() as patched:
        patched.setenv("PGPASSWORD", "wrong")
        with pytest.raises(StoreError, match="password"):
            use_postgres(workspace, postgres.address)
    assert not (workspace.review / LOCATION).exists()
    before += running.add([decide("3")], "Bob")
    use_postgres(workspace, postgres.address, told.append)
    assert "5 decisions were moved to the database decisions at 127.0.0.1" in told[0]
    assert read_decisions(workspace) == before
    # A review that still runs, and one of another version, store nothing in the old place.
    with pytest.raises(StoreError, match=r"in PostgreSQL now, in the database decisions at.*Start the review again"):
        running.add([decide("4")], "Bob")
    running.close()
    with pytest.raises(StoreError, match="in PostgreSQL now"):
        Store(workspace.review / "review.sqlite")
    use_postgres(workspace, postgres.address, told.append)
    with closing(open_store(workspace)) as store:
        [last] = store.add([decide("3", version=5)], "Ann")
    assert (last.id, len(told)) == (6, 1)
    # Without the file that says where they are, nothing is done without them.
    (workspace.review / LOCATION).unlink()
    with pytest.raises(WorkspaceError, match=r"review/decisions.json is missing, put it back"):
        apply(workspace)


def test_a_move_that_was_stopped_at_its_end_is_finished(
    workspace: Workspace, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    running = Store(workspace.review / "review.sqlite")
    before = running.add([decide("1"), decide("2")], "Ann")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("hangtag.reviewing.store.mark_as_moved", stop)
        with pytest.raises(KeyboardInterrupt):
            use_postgres(workspace, postgres.address)
    assert (workspace.review / LOCATION).exists()
    # A review that still runs has stored one more, which must not be lost unseen.
    running.add([decide("3")], "Bob")
    with pytest.raises(WorkspaceError, match=r"review.sqlite has 1 decisions that the database .* lacks"):
        read_decisions(workspace)
    for [trigger] in running._db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        running._db.execute(f"DROP TRIGGER {trigger}")
    running._db.execute("DELETE FROM decisions WHERE id = 3")
    assert read_decisions(workspace) == before
    with pytest.raises(StoreError, match="in PostgreSQL now"):
        running.add([decide("4")], "Bob")
    running.close()


def test_a_new_address_must_lead_to_the_same_decisions(place: Workspace, postgres: PostgresServer) -> None:
    empty = postgres.make_database("empty")
    with pytest.raises(StoreError, match="does not have the decisions of this workspace"):
        use_postgres(place, empty)
    told: list[str] = []
    use_postgres(place, postgres.address.replace("127.0.0.1", "localhost"), told.append)
    location = read_location(place)
    assert location
    assert location.connection["host"] == "localhost"
    assert told == ["The workspace notes the new address of its decisions."]


# Migrations

# A version after the present one, as a later hangtag has it.
LATER = """
import sqlalchemy as sa
from alembic import op
revision, down_revision, branch_labels, depends_on = "later", "{last}", None, None
def upgrade():
    op.add_column("decisions", sa.Column("note", sa.Text(), nullable=False, server_default=""), schema="hangtag")
    {more}
"""


def open_engine(address: str) -> sa.Engine:
    return make_engine(parse_address(address) | {"password": PASSWORD})


def test_the_tables_are_what_the_migrations_make(decisions: PostgresStore, postgres: PostgresServer) -> None:
    assert decisions.read() == []
    engine = open_engine(postgres.address)
    options = {
        "version_table": VERSION_TABLE,
        "version_table_schema": SCHEMA,
        "include_schemas": True,
        "include_object": lambda _object, name, kind, _reflected, _other: (
            kind not in ("index", "foreign_key_constraint") and name != VERSION_TABLE
        ),
    }
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection, opts=options), METADATA) == []
    engine.dispose()


def test_a_database_of_the_first_version_is_updated_with_its_decisions(
    tmp_path: Path, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    address, place = postgres.make_database("old"), Workspace.at(tmp_path / "place")
    engine = open_engine(address)
    with engine.begin() as connection:
        connection.execute(sa.schema.CreateSchema(SCHEMA))
        config = make_config()
        config.attributes["connection"] = connection
        command.upgrade(config, "1")
    use_postgres(place, address)
    with closing(open_store(place)) as store:
        made = store.add([decide("1"), decide("2")], "Ann")
    # A later version adds a column; one that fails changes nothing.
    last = postgres.run("SELECT version_num FROM hangtag.schema_version", "old")[0][0]
    migrations = tmp_path / "migrations"
    shutil.copytree(postgres_tables.MIGRATIONS, migrations, ignore=shutil.ignore_patterns("__pycache__"))
    with monkeypatch.context() as patched:
        patched.setattr(postgres_tables, "MIGRATIONS", migrations)
        later = migrations / "versions" / "later.py"
        later.write_text(LATER.format(last=last, more='op.execute("SELECT 1/0")'))
        with pytest.raises(StoreError, match="division by zero"):
            open_store(place)
        later.write_text(LATER.format(last=last, more=""))
        assert "note" not in list_columns(postgres)
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(read_decisions, [place] * 4)) == [made] * 4
        assert "note" in list_columns(postgres)
    with pytest.raises(StoreError, match=r"a later version of hangtag than this one \(tables later\)"):
        read_decisions(place)
    engine.dispose()


def list_columns(postgres: PostgresServer) -> list[str]:
    found = "SELECT column_name FROM information_schema.columns WHERE table_name = 'decisions'"
    return [name for (name,) in postgres.run(found, "old")]


def test_services_that_start_together_make_the_tables_once(postgres: PostgresServer) -> None:
    engine, gate, errors = open_engine(postgres.make_database("fresh")), threading.Barrier(4), []

    def start() -> None:
        gate.wait(20)
        try:
            with engine.begin() as connection:
                update_tables(connection, "fresh")
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    engine.dispose()
    assert errors == []
