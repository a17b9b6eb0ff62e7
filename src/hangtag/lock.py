"""Lock the folders of a workspace, so that a folder is written by one process at a time and not read meanwhile."""

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import portalocker

from hangtag.console import console
from hangtag.errors import WorkspaceError
from hangtag.io import is_alive, read_json
from hangtag.workspace import (
    CHECKPOINT,
    LOCKS,
    NO_WORKSPACE,
    PARTS,
    SHARDS,
    WORKSPACE_HINT,
    Workspace,
    find_parts,
    has_leftovers,
    recover,
    remove_dead_parts,
)

if TYPE_CHECKING:
    from hangtag.results import StageResult

T = TypeVar("T")
# The lock file in a folder outside of any workspace.
LOCK = ".lock"
POLL_SECONDS = 0.1


@contextmanager
def hold(
    command: str, workspace: Workspace, *, writes: Sequence[Path], reads: Sequence[Path] = (), create: bool = False
) -> Iterator[None]:
    """Lock folders for reading (shared) and writing (exclusive) while the block runs; wait for other processes.

    A lock is released when its process ends, even by a kill. Leftovers of dead processes are cleaned up first; see
    `workspace.recover`. While this process waits, a line on stderr names the process that holds the lock.

    Args:
        command: The name of the command, shown to waiting processes.
        workspace: The workspace.
        writes: The folders to write to, by one process at a time.
        reads: The folders to read, by any number of processes at a time.
        create: Whether to create the workspace's folder if it is missing.

    Raises:
        WorkspaceError: The workspace's folder is missing, and is not to be created.
    """
    if not workspace.root.is_dir() and not create:
        # There is nothing to read, and a mistyped path must not create a folder.
        raise WorkspaceError(NO_WORKSPACE, received=str(workspace.root), hint=WORKSPACE_HINT)
    sweep(workspace)
    shared = {_get_lock_path(workspace, folder): True for folder in reads}
    is_shared = shared | {_get_lock_path(workspace, folder): False for folder in writes}
    with ExitStack() as stack:
        # Lock in a fixed order, to prevent deadlocks.
        for path in sorted(is_shared):
            stack.enter_context(_lock_file(path, is_shared=is_shared[path]))
        stack.enter_context(_record_holder(workspace, command, list(is_shared)))
        for folder in writes:
            recover(folder)
        try:
            yield
        except BaseException:
            # If a stage fails, keep the earlier result and remove everything else.
            for folder in writes:
                with suppress(OSError):
                    recover(folder)
            raise


@contextmanager
def hold_folder(command: str, folder: Path) -> Iterator[None]:
    """Lock a folder outside of any workspace, creating it if missing; wait while another process holds it."""
    path = folder / LOCK
    with _lock_file(path, is_shared=False):
        # On a read-only disk there is neither a lock nor a folder, and this raises the error.
        folder.mkdir(parents=True, exist_ok=True)
        _write_holder(path, command)
        remove_dead_parts(folder)
        yield


def sweep(workspace: Workspace) -> None:
    """Clean up leftovers of dead processes in every folder of the workspace that no process has locked."""
    for folder in workspace.stage_folders():
        # The folds of a cross-validation share one lock.
        parts = [folder, *folder.glob("fold_*")]
        unfinished = [part / name for part in parts for name in (CHECKPOINT, SHARDS, PARTS)]
        if any(map(has_leftovers, parts)) or any(map(find_parts, unfinished)):
            # If this fails, as on a read-only disk, the command that needs the folder raises the error.
            with (
                suppress(portalocker.LockException, OSError),
                _lock_file(_get_lock_path(workspace, folder), is_shared=False, wait=False),
            ):
                for part in parts:
                    recover(part)
                for part in unfinished:
                    remove_dead_parts(part)
    for folder in (workspace.root, workspace.runs):
        remove_dead_parts(folder)
    for path in (workspace.root / LOCKS).glob("*.json"):
        if not (path.stem.isdecimal() and is_alive(int(path.stem))):
            with suppress(OSError):
                path.unlink()


def _get_lock_path(workspace: Workspace, folder: Path) -> Path:
    """Return the lock file of a folder: in the workspace if the folder belongs to it, else in the folder."""
    if folder.is_relative_to(workspace.root):
        return workspace.root / LOCKS / f"{'+'.join(folder.relative_to(workspace.root).parts)}.lock"
    return folder / LOCK


@contextmanager
def _lock_file(path: Path, *, is_shared: bool, wait: bool = True) -> Iterator[None]:
    """Lock a file while the block runs.

    Raises:
        LockException: Another process has locked it, and `wait` is false.
    """
    file = _acquire(path, is_shared, wait)
    try:
        yield
    finally:
        if file is not None:
            if path.name == LOCK and _is_at(file, path):
                # Leave no file in a user's folder; processes that wait for this file check that it still exists.
                with suppress(OSError):
                    path.unlink()
            file.close()


def _acquire(path: Path, is_shared: bool, wait: bool) -> BinaryIO | None:
    """Return the locked file, to be closed by the caller, or None if the disk is read-only and needs no lock."""
    kind = portalocker.LockFlags.SHARED if is_shared else portalocker.LockFlags.EXCLUSIVE
    was_shown = False
    while (file := _open_lock_file(path)) is not None:
        try:
            portalocker.lock(file, kind | portalocker.LockFlags.NON_BLOCKING)
        except portalocker.LockException:
            file.close()
            if not wait:
                raise
            was_shown = was_shown or _print_holder(path)
            time.sleep(POLL_SECONDS)
            continue
        # The folder may have been removed and created again meanwhile; then this lock protects nothing.
        if _is_at(file, path):
            return file
        file.close()
    return None


def _is_at(file: BinaryIO, path: Path) -> bool:
    """Return whether an open file is still the file at a path."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        return False


def _open_lock_file(path: Path) -> BinaryIO | None:
    """Open or create a lock file; return None if the disk is read-only."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+b")
    except OSError:
        return None


def _print_holder(path: Path) -> bool:
    """Print on stderr which process this one is waiting for; return True."""
    records = map(_read_holder, [path, *path.parent.glob("*.json")])
    holders = [
        f"`{record['command']}` (process {record['process']}, since {record['since']})"
        for record in records
        if path.name in record["locks"]
    ]
    names = " and ".join(holders) or "another process"
    folder = path.name.removesuffix(".lock").replace("+", "/") or path.parent.name
    message = f"Waiting for {names}, which is using {folder}/. Ctrl-C stops waiting."
    console.print(message, markup=False, highlight=False)
    return True


def _read_holder(path: Path) -> dict[str, Any]:
    """Read the record of a process and its locks; without locks if the record is damaged or the process is dead."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        holder = read_json(path)
        is_complete = isinstance(holder["locks"], list) and {"command", "since"} <= holder.keys()
        if is_complete and is_alive(int(holder["process"])):
            return dict(holder)
    return {"locks": []}


@contextmanager
def _record_holder(workspace: Workspace, command: str, locks: Sequence[Path]) -> Iterator[None]:
    """Write a record of this process and its locks beside them while the block runs, for waiting processes."""
    path = workspace.root / LOCKS / f"{os.getpid()}.json"
    _write_holder(path, command, locks)
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _write_holder(path: Path, command: str, locks: Sequence[Path] = ()) -> None:
    holder = {
        "process": os.getpid(),
        "command": f"hangtag {command}",
        "since": datetime.now().astimezone().isoformat(timespec="seconds"),
        "locks": [lock.name for lock in locks or (path,)],
    }
    with suppress(OSError):
        path.write_text(json.dumps(holder), encoding="utf-8")


def read_result(workspace: Path, result: "StageResult", read: Callable[[Path], T]) -> T:
    """Read a stage's files under its lock, since another process may be about to replace them."""
    with hold(result.stage, Workspace.at(workspace), reads=[result.folder], writes=[]):
        return read(result.folder)
