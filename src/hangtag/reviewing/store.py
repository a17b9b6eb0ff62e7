"""The decisions of a review on disk: only ever added to, one transaction each, and never over another's unseen."""

import json
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hangtag.errors import WorkspaceError
from hangtag.reviewing.store_errors import UnwritableError, explain_error

# Seconds to wait for another reviewer's transaction, and no longer: it takes milliseconds, and a page waits.
PATIENCE = 5.0
# The largest number of a decision that SQLite can keep.
MAX_VERSION = 2**63 - 1
TABLES = """
CREATE TABLE IF NOT EXISTS decisions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    batch INTEGER NOT NULL,
    item_id TEXT NOT NULL,
    code TEXT NOT NULL,
    "column" TEXT NOT NULL,
    action TEXT NOT NULL CHECK (action IN ('accept', 'keep', 'choose', 'skip', 'undo')),
    old TEXT NOT NULL,
    new TEXT NOT NULL,
    suggested TEXT NOT NULL,
    score REAL NOT NULL,
    reviewer TEXT NOT NULL,
    time TEXT NOT NULL,
    version INTEGER NOT NULL,
    undoes INTEGER REFERENCES decisions (id)
);
CREATE INDEX IF NOT EXISTS decisions_of_item ON decisions (item_id, id);
CREATE TRIGGER IF NOT EXISTS no_update BEFORE UPDATE ON decisions
BEGIN SELECT RAISE(ABORT, 'decisions are only added'); END;
CREATE TRIGGER IF NOT EXISTS no_delete BEFORE DELETE ON decisions
BEGIN SELECT RAISE(ABORT, 'decisions are only added'); END;
CREATE TABLE IF NOT EXISTS holds (
    item_id TEXT NOT NULL,
    code TEXT NOT NULL,
    "column" TEXT NOT NULL,
    reviewer TEXT NOT NULL,
    until REAL NOT NULL,
    PRIMARY KEY (item_id, code, "column")
) WITHOUT ROWID;
"""
COLUMNS = 'id, batch, item_id, code, "column", action, old, new, suggested, score, reviewer, time, version, undoes'
Identity = tuple[str, str, str]


@dataclass(frozen=True)
class NewDecision:
    """A reviewer's decision on one issue, before it is written.

    Attributes:
        item_id, code, column: The issue.
        action: `accept` the suggestion, `keep` what is there, `choose` another, or `skip`.
        old: The values of the item that the reviewer saw, by column.
        new: The values that it shall have; the same as `old` where nothing is to change.
        suggested: The values that the issue suggested; empty where it had none.
        score: How sure the issue was, 0 to 1.
        version: The id of the item's last decision that the reviewer saw; 0 where there was none.
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


@dataclass(frozen=True)
class Decision(NewDecision):
    """A decision as it was written.

    Attributes:
        id: Its number; later ones are greater.
        batch: The id of the first decision that was made together with it.
        reviewer: Who made it.
        time: When, ISO 8601 in UTC.
        undoes: The decision that an `undo` takes back.
    """

    id: int
    batch: int
    reviewer: str
    time: str
    undoes: int | None

    @property
    def identity(self) -> Identity:
        """The issue that was decided."""
        return self.item_id, self.code, self.column


class ConflictError(Exception):
    """An item is not as the reviewer saw it; `decisions` are those that came since, or its last one."""

    def __init__(self, decisions: Sequence[Decision]) -> None:
        super().__init__("another decision came before")
        self.decisions = decisions


class Store:
    """Decisions in an SQLite file that several processes may write to at once.

    A write-ahead log that is flushed at every commit: a decision that was confirmed outlives a kill and a power cut.

    Args:
        path: The file; made where there is none.

    Raises:
        StoreError: The file is no store of decisions, is locked, or the disk refuses it; see `explain_error`.
    """

    def __init__(self, path: Path) -> None:
        check_file(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock, self._path = threading.Lock(), path
        try:
            self._base = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise explain_error(error, path) from error
        try:
            self._base.execute("PRAGMA journal_mode = WAL")
            self._base.execute("PRAGMA synchronous = FULL")
            self._base.executescript(TABLES)
        except sqlite3.DatabaseError as error:
            self._base.close()
            raise explain_error(error, path) from error

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._base.close()

    def read(self, after: int = 0) -> list[Decision]:
        """Return the decisions whose id is greater than `after`, in their order.

        Raises:
            StoreError: The file is locked, damaged, or cannot be read.
        """
        with self._use(), _explain_damage(self._path):
            return self._select("id > ?", after)

    def add(self, new_decisions: Sequence[NewDecision], reviewer: str) -> list[Decision]:
        """Write new_decisions together, all or none.

        Raises:
            ConflictError: The last decision about one of the items is not the one that the reviewer saw: there is a
                newer one, or none of that number.
            StoreError: The file is locked or cannot be written.
        """
        with self._write() as batch:
            changed = [
                decision for decision in new_decisions if self._find_version(decision.item_id) != decision.version
            ]
            if changed:
                newer = [each for decision in changed for each in self._find_newer(decision.item_id, decision.version)]
                raise ConflictError(list({each.id: each for each in newer}.values()))
            return [self._insert(batch, decision, reviewer) for decision in new_decisions]

    def undo(self, reviewer: str) -> list[Decision]:
        """Undo the reviewer's last decision that is not undone yet; return the new lines, or none.

        Raises:
            ConflictError: Somebody has decided about one of the items since, on top of it.
            StoreError: The file is locked or cannot be written.
        """
        with self._write() as batch:
            last = self._find_last(reviewer)
            on_top = [
                each
                for decision in last
                for each in find_standing(self._select("item_id = ?", decision.item_id))
                if each.id > decision.id and each.batch != decision.batch
            ]
            if on_top:
                raise ConflictError(list({each.id: each for each in on_top}.values()))
            return [self._insert(batch, _take_back(each), reviewer, undoes=each.id) for each in last]

    def hold(
        self, issues: Sequence[Identity], reviewer: str, *, now: float, seconds: float, share: bool = False
    ) -> int | None:
        """Choose the first issue that no other reviewer holds, here or in another process, and hold it.

        Args:
            issues: In the order wanted.
            reviewer: Who is to look at it.
            now: Seconds since 1970; the processes share a clock.
            seconds: How long it is held.
            share: Whether to take the first whoever holds it; so it is too where others hold all of them.

        Returns:
            The position of the issue; None where there are none.

        Raises:
            StoreError: The file is locked or cannot be written.
        """
        if not issues:
            return None
        # A hold need not outlive a power cut, so it does not wait for the disk.
        with self._write(is_durable=False):
            # What would last longer than a hold can was written by a clock that went wrong.
            self._base.execute("DELETE FROM holds WHERE until <= ? OR until > ?", (now, now + seconds))
            others = self._base.execute('SELECT item_id, code, "column" FROM holds WHERE reviewer <> ?', (reviewer,))
            held = set() if share else set(others.fetchall())
            index = next((index for index, each in enumerate(issues) if each not in held), 0)
            self._base.execute(
                "INSERT OR REPLACE INTO holds VALUES (?, ?, ?, ?, ?)", (*issues[index], reviewer, now + seconds)
            )
            return index

    def _find_version(self, item_id: str) -> int:
        """Find the number of the last decision about an item; 0 where there is none."""
        [last] = self._base.execute(
            "SELECT coalesce(max(id), 0) FROM decisions WHERE item_id = ?", (item_id,)
        ).fetchone()
        return int(last)

    def _find_newer(self, item_id: str, version: int) -> list[Decision]:
        """List what was decided after a version; where there is no such version, the last decision."""
        decisions = self._select("item_id = ?", item_id)
        return [each for each in decisions if each.id > version] or decisions[-1:]

    def _find_last(self, reviewer: str) -> list[Decision]:
        own = find_standing(self._select("reviewer = ? OR action = 'undo'", reviewer))
        return [each for each in own if each.batch == own[-1].batch] if own else []

    @contextmanager
    def _use(self) -> Iterator[None]:
        """Hold the connection, and turn SQLite's errors into `StoreError`."""
        # A thread that waits for another process keeps the others waiting: they give up as it does.
        if not self._lock.acquire(timeout=PATIENCE):
            busy = sqlite3.OperationalError("database is locked")
            busy.sqlite_errorname = "SQLITE_BUSY"
            raise explain_error(busy, self._path)
        try:
            yield
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError):
                raise
            raise explain_error(error, self._path) from error
        finally:
            self._lock.release()

    @contextmanager
    def _write(self, *, is_durable: bool = True) -> Iterator[int]:
        """Hold the only write transaction, and yield the number of the next decision."""
        with self._use():
            self._base.execute(f"PRAGMA synchronous = {'FULL' if is_durable else 'NORMAL'}")
            self._base.execute("BEGIN IMMEDIATE")
            try:
                [last] = self._base.execute("SELECT coalesce(max(id), 0) FROM decisions").fetchone()
                yield last + 1
                self._base.execute("COMMIT")
            except BaseException:
                if self._base.in_transaction:
                    self._base.execute("ROLLBACK")
                raise

    def _select(self, condition: str, *values: Any) -> list[Decision]:
        rows = self._base.execute(f"SELECT {COLUMNS} FROM decisions WHERE {condition} ORDER BY id", values)
        return [_read_row(row) for row in rows]

    def _insert(self, batch: int, decision: NewDecision, reviewer: str, undoes: int | None = None) -> Decision:
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        issue = (decision.item_id, decision.code, decision.column)
        texts = map(_to_text, (decision.old, decision.new, decision.suggested))
        values = (batch, *issue, decision.action, *texts, decision.score, reviewer, time, decision.version, undoes)
        written = self._base.execute(
            f"INSERT INTO decisions ({COLUMNS}) VALUES (NULL{', ?' * len(values)}) RETURNING {COLUMNS}", values
        )
        return _read_row(written.fetchone())


def read_decisions(path: Path) -> list[Decision]:
    """Read all decisions, from a disk that cannot be written to as well; none where there is no file.

    Raises:
        WorkspaceError: The file is no store of decisions, or cannot be opened now; see `explain_error`.
    """
    if not os.path.lexists(path):
        return []
    try:
        with closing(Store(path)) as store:
            return store.read()
    except UnwritableError:
        log = path.with_name(f"{path.name}-wal")
        if log.exists() and log.stat().st_size:
            # Decisions that are in the log alone would be missed.
            raise
    address = f"{path.absolute().as_uri()}?immutable=1"
    with _explain_damage(path), closing(sqlite3.connect(address, uri=True)) as base:
        return [_read_row(row) for row in base.execute(f"SELECT {COLUMNS} FROM decisions ORDER BY id")]


def check_file(path: Path) -> None:
    """Check that the decisions are in a file, if they are anywhere.

    Raises:
        WorkspaceError: They are something else.
    """
    if os.path.lexists(path) and not path.is_file():
        hint = "Put the file back, or move away what is in its place."
        raise WorkspaceError("The decisions of the review are not a file.", received=str(path), hint=hint)


@contextmanager
def _explain_damage(path: Path) -> Iterator[None]:
    """Raise a StoreError for a damaged file; that it is locked or the disk full is for the caller to handle."""
    try:
        yield
    except sqlite3.OperationalError:
        raise
    except (sqlite3.Error, ValueError, TypeError, RecursionError) as error:
        raise explain_error(error, path) from error


def find_standing(decisions: Sequence[Decision]) -> list[Decision]:
    """Return the decisions that were not taken back, without the undoing itself."""
    undone = {decision.undoes for decision in decisions}
    return [each for each in decisions if each.action != "undo" and each.id not in undone]


def _take_back(decision: Decision) -> NewDecision:
    issue = (decision.item_id, decision.code, decision.column)
    return NewDecision(*issue, "undo", decision.new, decision.old, decision.suggested, decision.score, decision.id)


def _to_text(values: Mapping[str, str]) -> str:
    return json.dumps(dict(values), ensure_ascii=False)


def _read_row(row: Sequence[Any]) -> Decision:
    number, batch, item_id, code, column, action, old, new, suggested, score, reviewer, time, version, undoes = row
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
    )
