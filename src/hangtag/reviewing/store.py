"""Store review decisions in SQLite: append-only, in transactions, with optimistic locking between reviewers."""

import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import time as read_clock
from typing import Any

from hangtag.errors import WorkspaceError
from hangtag.io import hash_json
from hangtag.reviewing.store_errors import UnwritableError, explain_error, is_moved
from hangtag.reviewing.store_tables import COLUMNS, check_not_moved, create_tables, list_columns, mark_as_moved

# Seconds to wait for another process's transaction, which takes milliseconds. Meanwhile the page is waiting.
LOCK_TIMEOUT = 5.0
# The largest id of a decision that SQLite can store.
MAX_VERSION = 2**63 - 1
Identity = tuple[str, str, str]


@dataclass(frozen=True)
class NewDecision:
    """A reviewer's decision about one issue, before it is stored.

    Attributes:
        item_id, code, column: The identity of the issue.
        action: `accept` the suggestion, `keep` the current values, `choose` others, `skip`, or `undo`.
        old: The item's values that the reviewer saw, by column.
        new: The item's values after the decision; equal to `old` if nothing changes.
        suggested: The values that the issue suggested; empty if it suggested none.
        score: The score of the issue, 0 to 1.
        version: The id of the item's last decision that the reviewer saw; 0 if there was none.
        evidence: The evidence of the issue, or empty.
        product: The name of the product that the reviewer saw; empty if the catalogue has no names, and in decisions of
            earlier versions.
    """

    item_id: str
    code: str
    column: str
    action: str
    old: Mapping[str, str]
    new: Mapping[str, str]
    suggested: Mapping[str, str]
    score: float
    version: int
    evidence: str = field(default="", kw_only=True)
    product: str = field(default="", kw_only=True)

    @property
    def kind(self) -> str:
        """Return the kind of the issue: its code, with the evidence if it has any."""
        return name_kind(self.code, self.evidence)


@dataclass(frozen=True)
class Decision(NewDecision):
    """A stored decision.

    Attributes:
        id: A number that increases with every decision.
        batch: The id of the first decision that was stored in the same batch.
        reviewer: The reviewer's name; empty for an automatic decision.
        time: The time of storage, or that which another tool states; ISO 8601 in UTC.
        undoes: The id of the decision that an `undo` reverts.
    """

    id: int
    batch: int
    reviewer: str
    time: str
    undoes: int | None

    @property
    def identity(self) -> Identity:
        """Return the identity of the issue that was decided: item, code and column."""
        return self.item_id, self.code, self.column


class ConflictError(Exception):
    """Raised if an item has changed since the reviewer saw it; `decisions` are the later ones, or its last one."""

    def __init__(self, decisions: Sequence[Decision]) -> None:
        super().__init__("another decision came before")
        self.decisions = decisions


class Store:
    """Decisions in an SQLite file, to which several processes may write at once.

    The write-ahead log is flushed at every commit, so a confirmed decision survives a kill and a power failure.

    Args:
        path: The file; it is created if there is none.
        clock: Returns the time in seconds since 1970; the processes share a clock.

    Raises:
        StoreError: The file is not a store of decisions, is locked, or cannot be written, or its decisions have moved
            to PostgreSQL; see `explain_error`.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = read_clock) -> None:
        check_file(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock, self._path, self._clock = threading.Lock(), path, clock
        try:
            self._db = sqlite3.connect(path, timeout=LOCK_TIMEOUT, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise explain_error(error, path) from error
        try:
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            create_tables(self._db)
            check_not_moved(self._db)
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise explain_error(error, path) from error

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def read(self, after: int = 0) -> list[Decision]:
        """Return the decisions whose id is greater than `after`, by id.

        Raises:
            StoreError: The file is locked, damaged, or cannot be read.
        """
        with self._use_connection(), _explain_damage(self._path):
            return self._select("id > ?", after)

    def add(self, decisions: Sequence[NewDecision], reviewer: str, time: str = "") -> list[Decision]:
        """Store decisions in one transaction, all or none; `time` is that of another tool, by default the present.

        Returns:
            The stored decisions.

        Raises:
            ConflictError: The last decision about one of the items is not the one that the reviewer saw: there is a
                newer one, or none with that id.
            StoreError: The file is locked or cannot be written.
        """
        with self._begin_transaction() as batch:
            stale = [new for new in decisions if self._find_version(new.item_id) != new.version]
            if stale:
                newer = [later for new in stale for later in self._find_newer(new.item_id, new.version)]
                raise ConflictError(deduplicate(newer))
            return [self._insert(batch, new, reviewer, time=time) for new in decisions]

    def undo(self, reviewer: str) -> list[Decision]:
        """Undo the reviewer's last batch of decisions that is not undone yet.

        Returns:
            The stored `undo` decisions; empty if there is nothing to undo.

        Raises:
            ConflictError: There is a later decision about one of the items.
            StoreError: The file is locked or cannot be written.
        """
        with self._begin_transaction() as batch:
            last = self._find_last_batch(reviewer)
            later = [
                other
                for decision in last
                for other in find_standing(self._select("item_id = ?", decision.item_id))
                if other.id > decision.id and other.batch != decision.batch
            ]
            if later:
                raise ConflictError(deduplicate(later))
            return [self._insert(batch, make_undo(undone), reviewer, undoes=undone.id) for undone in last]

    def hold(self, issues: Sequence[Identity], reviewer: str, *, seconds: float, share: bool = False) -> int | None:
        """Reserve the first issue that no other reviewer holds, in this process or another.

        Args:
            issues: The issues, in order of preference.
            reviewer: The reviewer to reserve it for.
            seconds: The duration of the reservation.
            share: Whether to take the first issue even if another reviewer holds it. This is also done if all issues
                are held.

        Returns:
            The index of the issue, or None if there are no issues.

        Raises:
            StoreError: The file is locked or cannot be written.
        """
        if not issues:
            return None
        now = self._clock()
        # A hold need not survive a power failure, so do not wait for the disk.
        with self._begin_transaction(is_durable=False):
            # A hold that ends later than a new one was written with a wrong clock.
            self._db.execute("DELETE FROM holds WHERE until <= ? OR until > ?", (now, now + seconds))
            others = self._db.execute('SELECT item_id, code, "column" FROM holds WHERE reviewer <> ?', (reviewer,))
            held = set() if share else set(others.fetchall())
            index = next((index for index, issue in enumerate(issues) if issue not in held), 0)
            self._db.execute(
                "INSERT OR REPLACE INTO holds VALUES (?, ?, ?, ?, ?)", (*issues[index], reviewer, now + seconds)
            )
            return index

    @contextmanager
    def move(self, to: str) -> Iterator[list[Decision]]:
        """Yield all decisions while no process can add any; then no process can add any more.

        Args:
            to: Where the decisions are afterwards, for messages.
        """
        with self._begin_transaction():
            yield self._select("id > ?", 0)
            mark_as_moved(self._db, to)

    def _find_version(self, item_id: str) -> int:
        """Return the id of the last decision about an item, or 0 if there is none."""
        [last] = self._db.execute("SELECT coalesce(max(id), 0) FROM decisions WHERE item_id = ?", (item_id,)).fetchone()
        return int(last)

    def _find_newer(self, item_id: str, version: int) -> list[Decision]:
        """Return the decisions after a version, or the last decision if there are none."""
        return select_newer(self._select("item_id = ?", item_id), version)

    def _find_last_batch(self, reviewer: str) -> list[Decision]:
        standing = find_standing(self._select("reviewer = ? OR action = 'undo'", reviewer))
        return [decision for decision in standing if decision.batch == standing[-1].batch] if standing else []

    @contextmanager
    def _use_connection(self) -> Iterator[None]:
        """Lock the connection for this thread, and convert errors of SQLite to a StoreError."""
        # While one thread waits for another process, the other threads wait too, with the same timeout.
        if not self._lock.acquire(timeout=LOCK_TIMEOUT):
            busy = sqlite3.OperationalError("database is locked")
            busy.sqlite_errorname = "SQLITE_BUSY"
            raise explain_error(busy, self._path)
        try:
            yield
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError) and not is_moved(error):
                raise
            raise explain_error(error, self._path) from error
        finally:
            self._lock.release()

    @contextmanager
    def _begin_transaction(self, *, is_durable: bool = True) -> Iterator[int]:
        """Open a write transaction, which excludes all other writers, and yield the id of the next decision."""
        with self._use_connection():
            self._db.execute(f"PRAGMA synchronous = {'FULL' if is_durable else 'NORMAL'}")
            self._db.execute("BEGIN IMMEDIATE")
            try:
                [last] = self._db.execute("SELECT coalesce(max(id), 0) FROM decisions").fetchone()
                yield last + 1
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def _select(self, condition: str, *values: Any) -> list[Decision]:
        rows = self._db.execute(f"SELECT {COLUMNS} FROM decisions WHERE {condition} ORDER BY id", values)
        return [parse_row(row) for row in rows]

    def _insert(
        self, batch: int, decision: NewDecision, reviewer: str, undoes: int | None = None, time: str = ""
    ) -> Decision:
        values = (batch, *list_values(decision, reviewer, time or read_time(), undoes))
        statement = f"INSERT INTO decisions ({COLUMNS}) VALUES (NULL{', ?' * len(values)}) RETURNING {COLUMNS}"
        return parse_row(self._db.execute(statement, values).fetchone())


def read_sqlite(path: Path) -> list[Decision]:
    """Read all decisions, even from a read-only disk; return an empty list if there is no file.

    Raises:
        WorkspaceError: The file is not a store of decisions, cannot be opened now, or its decisions have moved to
            PostgreSQL; see `explain_error`.
    """
    if not os.path.lexists(path):
        return []
    try:
        with closing(Store(path)) as store:
            return store.read()
    except UnwritableError:
        log = path.with_name(f"{path.name}-wal")
        if log.exists() and log.stat().st_size:
            # Decisions that are still in the write-ahead log would be missed.
            raise
    address = f"{path.absolute().as_uri()}?immutable=1"
    with _explain_damage(path), closing(sqlite3.connect(address, uri=True)) as base:
        check_not_moved(base)
        return [parse_row(row) for row in base.execute(f"SELECT {list_columns(base)} FROM decisions ORDER BY id")]


def check_file(path: Path) -> None:
    """Check that the path of the decisions is a file or does not exist.

    Raises:
        WorkspaceError: It is something else, such as a folder or a pipe.
    """
    if os.path.lexists(path) and not path.is_file():
        hint = "Put the file back, or move away what is in its place."
        raise WorkspaceError("The decisions of the review are not a file.", received=str(path), hint=hint)


@contextmanager
def _explain_damage(path: Path) -> Iterator[None]:
    """Raise a StoreError for a damaged file; the caller handles a locked file and a full disk."""
    try:
        yield
    except sqlite3.OperationalError:
        raise
    except (sqlite3.Error, ValueError, TypeError, RecursionError) as error:
        raise explain_error(error, path) from error


def name_kind(code: str, evidence: str) -> str:
    """Return the kind of an issue: its code, with the evidence if it has any, as in `label_error (image)`."""
    return f"{code} ({evidence})" if evidence else code


def digest_decisions(decisions: Sequence[Decision]) -> str:
    """Return a hash of all stored decisions, by which a result that was made of them is compared with later ones."""
    return hash_json([[each.id, each.time] for each in decisions])


def find_standing(decisions: Sequence[Decision]) -> list[Decision]:
    """Return the decisions that were not undone, without the `undo` decisions themselves."""
    undone = {decision.undoes for decision in decisions}
    return [decision for decision in decisions if decision.action != "undo" and decision.id not in undone]


def select_newer(decisions: Sequence[Decision], version: int) -> list[Decision]:
    """Return those of an item's decisions that are later than a version, or its last decision if there are none."""
    return [decision for decision in decisions if decision.id > version] or list(decisions[-1:])


def deduplicate(decisions: Sequence[Decision]) -> list[Decision]:
    """Return each decision once."""
    return list({decision.id: decision for decision in decisions}.values())


def make_undo(decision: Decision) -> NewDecision:
    """Return the decision that undoes another one."""
    return NewDecision(
        *decision.identity,
        "undo",
        old=decision.new,
        new=decision.old,
        suggested=decision.suggested,
        score=decision.score,
        version=decision.id,
        evidence=decision.evidence,
        product=decision.product,
    )


def read_time() -> str:
    """Return the present time as decisions have it: ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def list_values(decision: NewDecision, reviewer: str, time: str, undoes: int | None) -> tuple[Any, ...]:
    """Return the values of a decision's columns, in the order of `COLUMNS`, without `id` and `batch`."""
    issue = (decision.item_id, decision.code, decision.column)
    texts = [json.dumps(dict(each), ensure_ascii=False) for each in (decision.old, decision.new, decision.suggested)]
    values = (*issue, decision.action, *texts, decision.score, reviewer, time, decision.version, undoes)
    return (*values, decision.evidence, decision.product)


def parse_row(row: Sequence[Any]) -> Decision:
    """Return the decision of a row with the columns of `COLUMNS`."""
    number, batch, item_id, code, column, action, old, new, suggested, score, *others = row
    reviewer, time, version, undoes, evidence, product = others
    return Decision(
        item_id=item_id,
        code=code,
        column=column,
        action=action,
        old=json.loads(old),
        new=json.loads(new),
        suggested=json.loads(suggested),
        score=score,
        version=version,
        id=number,
        batch=batch,
        reviewer=reviewer,
        time=time,
        undoes=undoes,
        evidence=evidence,
        product=product,
    )
