"""Define the tables of the review's SQLite file, and add what a file of an earlier version lacks."""

import sqlite3

from hangtag.reviewing.store_errors import MOVED

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
    undoes INTEGER REFERENCES decisions (id),
    evidence TEXT NOT NULL,
    product TEXT NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS decisions_of_item ON decisions (item_id, id);
CREATE TRIGGER IF NOT EXISTS no_update BEFORE UPDATE ON decisions
BEGIN SELECT RAISE(ABORT, 'decisions are only added'); END;
CREATE TRIGGER IF NOT EXISTS no_delete BEFORE DELETE ON decisions
BEGIN SELECT RAISE(ABORT, 'decisions are only added'); END;
CREATE TRIGGER IF NOT EXISTS no_replace BEFORE INSERT ON decisions
WHEN EXISTS (SELECT 1 FROM decisions WHERE id = NEW.id) BEGIN SELECT RAISE(ABORT, 'decisions are only added'); END;
CREATE TABLE IF NOT EXISTS holds (
    item_id TEXT NOT NULL,
    code TEXT NOT NULL,
    "column" TEXT NOT NULL,
    reviewer TEXT NOT NULL,
    until REAL NOT NULL,
    PRIMARY KEY (item_id, code, "column")
) WITHOUT ROWID;
"""
COLUMNS = (
    'id, batch, item_id, code, "column", action, old, new, suggested, score, reviewer, time, version, undoes, '
    "evidence, product"
)


def create_tables(db: sqlite3.Connection) -> None:
    """Create the tables that a file lacks. Decisions of earlier versions get a product without a name."""
    db.executescript(TABLES)
    if _has_product(db):
        return
    with db:
        # Another process may add it at the same time.
        db.execute("BEGIN IMMEDIATE")
        if not _has_product(db):
            db.execute("ALTER TABLE decisions ADD COLUMN product TEXT NOT NULL DEFAULT ''")


def list_columns(db: sqlite3.Connection) -> str:
    """Return the columns of the decisions to select, for a file that may be of an earlier version."""
    return COLUMNS if _has_product(db) else COLUMNS.replace("product", "'' AS product")


def _has_product(db: sqlite3.Connection) -> bool:
    return any(name == "product" for _, name, *_ in db.execute("PRAGMA table_info(decisions)"))


def mark_as_moved(db: sqlite3.Connection, to: str) -> None:
    """Let no process add decisions any more, since they have moved to PostgreSQL; `to` says where."""
    text = f"{MOVED}, {to}".replace("'", "''")
    db.execute(f"CREATE TRIGGER moved BEFORE INSERT ON decisions BEGIN SELECT RAISE(ABORT, '{text}'); END")


def check_not_moved(db: sqlite3.Connection) -> None:
    """Check that the decisions are still here.

    Raises:
        DatabaseError: They have moved; the message says where.
    """
    found = db.execute("SELECT sql FROM sqlite_master WHERE type = 'trigger' AND name = 'moved'").fetchone()
    if found:
        text = str(found[0]).partition("RAISE(ABORT, '")[2].rpartition("')")[0]
        raise sqlite3.DatabaseError(text.replace("''", "'"))
