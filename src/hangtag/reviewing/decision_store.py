"""Find and open the decisions of a workspace, in SQLite or in PostgreSQL, and move them from one to the other."""

import os
import uuid
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from hangtag.errors import MissingExtraError, SettingsError, WorkspaceError
from hangtag.io import read_json, write_json
from hangtag.reviewing.store import Decision, Identity, NewDecision, Store, read_sqlite
from hangtag.reviewing.store_errors import StoreError, is_moved
from hangtag.workspace import Workspace

if TYPE_CHECKING:
    from hangtag.reviewing.postgres_store import PostgresStore

# The address of the database, with its password: the other commands read it, so that no file has to hold it.
VARIABLE = "HANGTAG_DECISIONS"
SQLITE, LOCATION = "review.sqlite", "decisions.json"


class DecisionStore(Protocol):
    """What `Store` (SQLite) and `PostgresStore` both do; `Store` describes the methods."""

    def read(self, after: int = 0) -> list[Decision]:
        """Return the decisions whose id is greater than `after`, by id."""

    def add(self, decisions: Sequence[NewDecision], reviewer: str, time: str = "") -> list[Decision]:
        """Store decisions in one transaction, all or none."""

    def undo(self, reviewer: str) -> list[Decision]:
        """Undo the reviewer's last batch of decisions that is not undone yet."""

    def hold(self, issues: Sequence[Identity], reviewer: str, *, seconds: float, share: bool = False) -> int | None:
        """Reserve the first issue that no other reviewer holds, in this process or another."""

    def close(self) -> None:
        """Close all connections."""


@dataclass(frozen=True)
class Location:
    """Where the decisions of a workspace are in PostgreSQL: the content of `review/decisions.json`.

    Attributes:
        catalogue: The id of the workspace's catalogue, under which the database keeps its decisions.
        connection: The parameters of libpq that lead to the database, without a password.
    """

    catalogue: str
    connection: dict[str, str]


def read_location(workspace: Workspace) -> Location | None:
    """Return where the decisions of a workspace are in PostgreSQL; None if they are in SQLite.

    Raises:
        WorkspaceError: The file that says so is damaged.
    """
    path = workspace.review / LOCATION
    if not os.path.lexists(path):
        return None
    try:
        content: Any = read_json(path)
        connection = {str(name): str(value) for name, value in content["connection"].items()}
        return Location(str(uuid.UUID(content["catalogue"])), connection)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise WorkspaceError(
            "The file that says which database has the decisions of the review cannot be read.",
            received=str(path),
            hint="Restore a backup of it: without it the decisions cannot be found.",
        ) from error


def open_store(workspace: Workspace, address: str = "") -> DecisionStore:
    """Open the decisions of a workspace where they are.

    Args:
        workspace: The workspace.
        address: The address of the database, if it is not to be reached by that of the environment or the workspace.

    Raises:
        WorkspaceError: They cannot be opened.
        SettingsError: The address is not one of PostgreSQL.
        MissingExtraError: They are in PostgreSQL, and what opens it is not installed.
    """
    location = read_location(workspace)
    return _open_postgres(workspace, location, address) if location else Store(workspace.review / SQLITE)


def read_decisions(workspace: Workspace) -> list[Decision]:
    """Read all decisions of a workspace; an empty list if nothing was ever decided.

    Raises:
        WorkspaceError: They cannot be read.
        SettingsError: The address in the environment is not one of PostgreSQL.
        MissingExtraError: They are in PostgreSQL, and what opens it is not installed.
    """
    location = read_location(workspace)
    if not location:
        return read_sqlite(workspace.review / SQLITE)
    with closing(_open_postgres(workspace, location)) as store:
        return store.read()


def use_postgres(workspace: Workspace, address: str, report: Callable[[str], None] = lambda _: None) -> None:
    """Keep the decisions of a workspace in PostgreSQL from now on; the caller must hold the lock of `review/`.

    Decisions in SQLite are copied with their numbers, all or none; then SQLite takes no more, in this process or
    another. If the workspace's decisions are in PostgreSQL already, this only notes a new address of the same ones.

    Args:
        workspace: The workspace.
        address: The address of the database.
        report: Called with a sentence about what was done, if anything was.

    Raises:
        WorkspaceError: The database cannot be opened, has none of the workspace's decisions though it should, or those
            in SQLite cannot be read.
        SettingsError: The address is not one of PostgreSQL.
        MissingExtraError: What opens PostgreSQL is not installed.
    """
    _require_packages()
    from hangtag.reviewing.postgres_connection import leave_out_secrets  # noqa: PLC0415  (an extra)

    parameters = _read_parameters(address)
    new, known = leave_out_secrets(parameters), read_location(workspace)
    if known and known.connection != new:
        _open_postgres(workspace, known, address).close()
        _write_location(workspace, Location(known.catalogue, new))
        report("The workspace notes the new address of its decisions.")
    elif not known:
        _move(workspace, Location(str(uuid.uuid4()), new), parameters, report)


def check_environment(workspace: Workspace) -> None:
    """Check that the environment names no database for a workspace whose decisions are in SQLite.

    Raises:
        SettingsError: It does, and it is not known whether they are to be moved.
    """
    if os.environ.get(VARIABLE, "").strip() and not read_location(workspace):
        raise SettingsError(
            f"The variable {VARIABLE} names a database, but this workspace keeps its decisions in "
            f"{workspace.review / SQLITE}.",
            hint="Name the database with {decisions} too, which moves the decisions there, or unset the variable.",
            settings=["decisions"],
        )


def _move(workspace: Workspace, location: Location, parameters: dict[str, str], report: Callable[[str], None]) -> None:
    from hangtag.reviewing.postgres_connection import describe_place  # noqa: PLC0415  (an extra)
    from hangtag.reviewing.postgres_store import create_catalogue  # noqa: PLC0415  (an extra)

    place = describe_place(location.connection)
    # While SQLite is locked, no review that still runs, or starts now, can add to the decisions that are copied.
    with closing(Store(workspace.review / SQLITE)) as old, old.move(f"in the database {place}") as decisions:
        create_catalogue(parameters, location.catalogue, workspace.root.name, decisions)
        _write_location(workspace, location)
    if decisions:
        report(f"{len(decisions):,} decisions were moved to the database {place}; {SQLITE} keeps a copy.")


def _write_location(workspace: Workspace, location: Location) -> None:
    workspace.review.mkdir(parents=True, exist_ok=True)
    write_json(workspace.review / LOCATION, vars(location))


def _open_postgres(workspace: Workspace, location: Location, address: str = "") -> "PostgresStore":
    _require_packages()
    from hangtag.reviewing.postgres_store import PostgresStore  # noqa: PLC0415  (an extra)

    named = address or os.environ.get(VARIABLE, "").strip()
    store = PostgresStore(_read_parameters(named) if named else location.connection, location.catalogue)
    try:
        _finish_move(workspace, location, store)
    except BaseException:
        store.close()
        raise
    return store


def _read_parameters(address: str) -> dict[str, str]:
    """Return the parameters of libpq in an address, with the password of the environment's if that is the same one."""
    from hangtag.reviewing.postgres_connection import leave_out_secrets, parse_address  # noqa: PLC0415  (an extra)

    parameters, variable = parse_address(address), os.environ.get(VARIABLE, "").strip()
    others = parse_address(variable) if variable else {}
    return {**others, **parameters} if leave_out_secrets(others) == leave_out_secrets(parameters) else parameters


def _finish_move(workspace: Workspace, location: Location, store: "PostgresStore") -> None:
    """Let SQLite take no more decisions, if a process was stopped after it had copied them to PostgreSQL.

    Raises:
        WorkspaceError: SQLite has decisions that the database lacks.
    """
    from hangtag.reviewing.postgres_connection import describe_place  # noqa: PLC0415  (an extra)

    path = workspace.review / SQLITE
    if not path.is_file():
        return
    try:
        old = Store(path)
    except StoreError as error:
        if is_moved(error):
            return
        raise
    place = describe_place(location.connection)
    with closing(old), old.move(f"in the database {place}") as left:
        stored = {(each.id, each.time) for each in store.read()} if left else set()
        if missing := sum((each.id, each.time) not in stored for each in left):
            raise WorkspaceError(
                f"{path} has {missing:,} decisions that the database {place} lacks.",
                hint=f"Move {LOCATION} away to go on with those of {SQLITE}, or {SQLITE} to go on with the database's.",
            )


def _require_packages() -> None:
    """Check that the packages of the extra `postgres` are installed.

    Raises:
        MissingExtraError: One is not.
    """
    try:
        import alembic  # noqa: F401, PLC0415  (an extra)
        import psycopg  # noqa: F401, PLC0415  (an extra)
        import sqlalchemy  # noqa: F401, PLC0415  (an extra)
    except ImportError as error:
        raise MissingExtraError(
            f"Decisions in PostgreSQL need {error.name or 'psycopg'}, which is not installed.",
            hint='Install it with `pip install "hangtag[postgres]"`.',
        ) from error
