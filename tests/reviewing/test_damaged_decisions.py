"""Test the error messages for a damaged, locked or unwritable file of decisions, and that no decision is lost."""

import dataclasses
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from hangtag.auditing import nearest_neighbors
from hangtag.auditing.nearest_neighbors import open_look_alikes
from hangtag.errors import WorkspaceError
from hangtag.labels.dataset import read_reviewed
from hangtag.manifest import StageRecord
from hangtag.reviewing import store as store_module
from hangtag.reviewing.queue import COLUMNS, read_issues
from hangtag.reviewing.store import NewDecision, Store, read_sqlite
from hangtag.reviewing.store_errors import explain_error
from hangtag.workspace import Workspace

NEW_DECISION = NewDecision(
    "i1", "label_error", "kind", "accept", {"kind": "Shirts"}, {"kind": "Tees"}, {"kind": "Tees"}, 0.9, 0
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with one decision."""
    path = tmp_path / "review.sqlite"
    with closing(Store(path)) as store:
        store.add([NEW_DECISION], "Ann")
    return path


@pytest.mark.parametrize("name", ["SQLITE_FULL", "SQLITE_IOERR_SHMSIZE", "SQLITE_READONLY", "SQLITE_CANTOPEN"])
def test_the_message_for_an_unwritable_disk_does_not_advise_to_move_the_file(name: str, path: Path) -> None:
    error = sqlite3.OperationalError("no")
    error.sqlite_errorname = name
    told = str(explain_error(error, path))
    assert "The decisions stay as they are" in told
    assert "move" not in told


@pytest.mark.parametrize("name", ["SQLITE_CORRUPT", "SQLITE_CORRUPT_INDEX", "SQLITE_NOTADB"])
def test_the_message_for_a_damaged_file_advises_to_move_it(name: str, path: Path) -> None:
    error = sqlite3.DatabaseError("no")
    error.sqlite_errorname = name
    told = str(explain_error(error, path))
    assert "move it away" in told
    assert str(path) in told


def test_a_locked_file_is_waited_for_and_then_reported(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "LOCK_TIMEOUT", 0.01)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("PRAGMA journal_mode = DELETE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(WorkspaceError, match="another process is writing") as raised:
            read_sqlite(path)
    assert "move" not in str(raised.value)
    assert len(read_sqlite(path)) == 1


@pytest.mark.parametrize("content", [b"This is not SQLite, but long enough to be read as a file of its." * 20, "half"])
def test_a_file_that_is_not_sqlite_is_reported(content: bytes | str, path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] if isinstance(content, str) else content)
    with pytest.raises(WorkspaceError, match="The decisions of the review cannot be opened"):
        read_sqlite(path)


def test_another_database_is_reported(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as base:
        base.execute("CREATE TABLE decisions (id TEXT)")
    with pytest.raises(WorkspaceError, match="not what `hangtag review` writes"):
        read_sqlite(path)


@pytest.mark.parametrize("column", ["old", "new", "suggested"])
def test_an_unreadable_row_is_reported(column: str, path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as base:
        base.execute("DROP TRIGGER no_update")
        base.execute(f"UPDATE decisions SET {column} = '{{'")
    with pytest.raises(WorkspaceError, match="cannot be opened"):
        read_sqlite(path)


@pytest.mark.parametrize("kind", ["folder", "pipe", "dangling"])
def test_a_path_that_is_not_a_file_is_reported_and_unchanged(kind: str, path: Path) -> None:
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("nowhere")
    for read in (read_sqlite, Store):
        with pytest.raises(WorkspaceError, match="are not a file"):
            read(path)
    assert os.path.lexists(path)


def refuse_to_open(path: Path) -> Store:
    """Fail as `Store` does on a read-only disk."""
    error = sqlite3.OperationalError("attempt to write a readonly database")
    error.sqlite_errorname = "SQLITE_READONLY"
    raise explain_error(error, path)


def test_a_file_of_an_earlier_version_is_read_and_added_to(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(sqlite3.connect(path)) as base:
        base.execute("ALTER TABLE decisions DROP COLUMN product")
        base.execute("PRAGMA journal_mode = DELETE")
    old = path.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(store_module, "Store", refuse_to_open)
        assert [(each.item_id, each.product) for each in read_sqlite(path)] == [("i1", "")]
    assert path.read_bytes() == old
    with closing(Store(path)) as store, closing(Store(path)) as other:
        store.add([dataclasses.replace(NEW_DECISION, item_id="i2", product="Linen Shirt")], "Ann")
        assert [each.product for each in other.read()] == ["", "Linen Shirt"]


def test_decisions_are_read_from_a_read_only_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decisions = read_sqlite(path)
    monkeypatch.setattr(store_module, "Store", refuse_to_open)
    assert read_sqlite(path) == decisions
    # Decisions that are only in the write-ahead log would be missed.
    path.with_name("review.sqlite-wal").write_bytes(b"log")
    with pytest.raises(WorkspaceError, match="The decisions stay as they are"):
        read_sqlite(path)


def write_changes(workspace: Workspace, text: str) -> Path:
    path = workspace.review / "label_changes.csv"
    path.parent.mkdir()
    path.write_text(text)
    return path


def test_missing_changes_raise_an_error(tmp_path: Path) -> None:
    workspace = Workspace.at(tmp_path)
    path = write_changes(workspace, "item_id,column,old,new,rule\ni1,kind,Shirts,Tees,reviewed\n")
    table = workspace.review / "corrected.csv"
    table.write_text("a")
    StageRecord("apply", workspace.review, {}, {}).finish({}, [path, table])
    table.write_text("edited by somebody")
    assert len(read_reviewed(workspace)) == 1
    path.unlink()
    with pytest.raises(WorkspaceError, match="Run `hangtag apply`"):
        read_reviewed(workspace)


@pytest.mark.parametrize("text", ["item_id,rule\ni1,reviewed\n", "item_id,column,old,new,rule\ni1\n", "a\0b\n\xff"])
def test_damaged_changes_are_reported(text: str, tmp_path: Path) -> None:
    workspace = Workspace.at(tmp_path)
    path = write_changes(workspace, "")
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(WorkspaceError, match="Run `hangtag apply`"):
        read_reviewed(workspace)


@pytest.mark.parametrize("changes", ["[" * 100_000, "3", "{"])
def test_damaged_issues_are_reported(changes: str, tmp_path: Path) -> None:
    path = tmp_path / "issues.csv"
    values = dict.fromkeys(COLUMNS, "a") | {"score": "0.5", "changes": changes}
    path.write_text(f"{','.join(COLUMNS)}\n{','.join(values.values())}\n")
    with pytest.raises(WorkspaceError, match="Run `hangtag audit`"):
        read_issues(path)


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY\x01\x00", b"text", None])
def test_damaged_look_alikes_are_computed_again(
    damage: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.zeros((12, 20, 15, 3), np.uint8)
    described = np.random.default_rng(0).random((12, 4)).astype(np.float32)
    monkeypatch.setattr(nearest_neighbors, "_compute_reduced_features", lambda _: described)
    path = tmp_path / "look_alikes.npy"
    wanted = open_look_alikes(path, images).find(0, 3)
    if damage is None:
        path.unlink()
        os.mkfifo(path)
    else:
        path.write_bytes(damage)
    assert open_look_alikes(path, images).find(0, 3) == wanted
    assert open_look_alikes(path, images).find(0, 3) == wanted


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a disk")
def test_decisions_on_a_full_disk_are_kept(path: Path, tmp_path: Path) -> None:
    """Use a separate disk in a namespace that ends with the process; skipped if mounting is not allowed."""
    disk = tmp_path / "disk"
    disk.mkdir()
    program = f"""
import os, shutil
from pathlib import Path
from hangtag.errors import WorkspaceError
from hangtag.reviewing.store import Store, read_sqlite
disk = Path({str(disk)!r})
path = Path(shutil.copy({str(path)!r}, disk))
with (disk / "filler").open("wb") as file:
    free = os.statvfs(disk)
    os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize)
try:
    Store(path)
except WorkspaceError as error:
    print(error)
print(len(read_sqlite(path)), "decisions")
"""
    shell = 'mount -t tmpfs -o size=1m tmpfs "$1" && exec "$2" -c "$3"'
    namespace = ["unshare", "--user", "--map-root-user", "--mount"]
    if subprocess.run([*namespace, "mount", "-t", "tmpfs", "tmpfs", disk], capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    done = subprocess.run(
        [*namespace, "sh", "-c", shell, "sh", disk, sys.executable, program],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "No space left on device" in done.stdout, done.stderr
    assert "move" not in done.stdout
    assert "1 decisions" in done.stdout
