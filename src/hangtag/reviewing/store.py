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

# Seconds to wait for another reviewer's transaction.
PATIENCE = 10.0
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
"""
COLUMNS = 'id, batch, item_id, code, "column", action, old, new, suggested, score, reviewer, time, version, undoes'
Identity = tuple[str, str, str]


@dataclass(frozen=True)
class Verdict:
    """What a reviewer says of one issue, before it is written.

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
class Decision(Verdict):
    """A verdict as it was written.

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
    """Somebody else has decided about an item since the reviewer saw it; `decisions` are theirs."""

    def __init__(self, decisions: Sequence[Decision]) -> None:
        super().__init__("another decision came before")
        self.decisions = decisions


class Store:
    """Decisions in an SQLite file that several processes may write to at once.

    A write-ahead log that is flushed at every commit: a decision that was confirmed outlives a kill and a power cut.

    Args:
        path: The file; made where there is none.

    Raises:
        WorkspaceError: The file is no store of decisions, or cannot be opened now; see `explain_error`.
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
        """Give the decisions whose id is greater than `after`, in their order.

        Raises:
            WorkspaceError: The file is damaged.
        """
        with self._lock, _explain_damage(self._path):
            return self._select("id > ?", after)

    def add(self, verdicts: Sequence[Verdict], reviewer: str) -> list[Decision]:
        """Write verdicts together, all or none.

        Raises:
            ConflictError: One of the items has a newer decision than the reviewer saw.
        """
        with self._write() as batch:
            newer = [each for verdict in verdicts for each in self._find_newer(verdict.item_id, verdict.version)]
            if newer:
                raise ConflictError(list({each.id: each for each in newer}.values()))
            return [self._insert(batch, verdict, reviewer) for verdict in verdicts]

    def undo(self, reviewer: str) -> list[Decision]:
        """Take back what the reviewer decided last and has not taken back yet; gives the new lines, or none.

        Raises:
            ConflictError: Somebody has decided about one of the items since, on top of it.
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

    def _find_newer(self, item_id: str, version: int) -> list[Decision]:
        return self._select("item_id = ? AND id > ?", item_id, version)

    def _find_last(self, reviewer: str) -> list[Decision]:
        own = find_standing(self._select("reviewer = ? OR action = 'undo'", reviewer))
        return [each for each in own if each.batch == own[-1].batch] if own else []

    @contextmanager
    def _write(self) -> Iterator[int]:
        """Hold the only right to write, and give the number of the next decision."""
        with self._lock:
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

    def _insert(self, batch: int, verdict: Verdict, reviewer: str, undoes: int | None = None) -> Decision:
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        issue = (verdict.item_id, verdict.code, verdict.column)
        texts = map(_to_text, (verdict.old, verdict.new, verdict.suggested))
        values = (batch, *issue, verdict.action, *texts, verdict.score, reviewer, time, verdict.version, undoes)
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
    """Raise a WorkspaceError for a damaged file; that it is locked or the disk full is for the caller to handle."""
    try:
        yield
    except sqlite3.OperationalError:
        raise
    except (sqlite3.Error, ValueError, TypeError, RecursionError) as error:
        raise explain_error(error, path) from error


def find_standing(decisions: Sequence[Decision]) -> list[Decision]:
    """Give the decisions that were not taken back, without the undoing itself."""
    undone = {decision.undoes for decision in decisions}
    return [each for each in decisions if each.action != "undo" and each.id not in undone]


def _take_back(decision: Decision) -> Verdict:
    issue = (decision.item_id, decision.code, decision.column)
    return Verdict(*issue, "undo", decision.new, decision.old, decision.suggested, decision.score, decision.id)


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
