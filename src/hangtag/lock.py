"""Lock the parts of a workspace, so that two processes never write the same one or read what is being written."""

import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import portalocker

from hangtag.console import console
from hangtag.io import is_alive, read_json
from hangtag.workspace import CHECKPOINT, LOCKS, Workspace, find_parts, has_leftovers, recover, remove_dead_parts

# The lock in a folder outside of any workspace.
LOCK = ".lock"
POLL_SECONDS = 0.1


@contextmanager
def hold(
    command: str, place: Workspace, *, writes: Sequence[Path], reads: Sequence[Path] = (), create: bool = False
) -> Iterator[None]:
    """Keep others from writing what this process reads, and from reading what it writes; wait while they do.

    Locks end with their process, however it ends. Before anything else, what a dead process left in the workspace is
    put in order: see `staging.recover`. While it waits, a line on stderr names the process that it waits for.

    Args:
        command: The name of the command, for those who wait.
        place: The workspace.
        writes: The folders to write to; one process at a time.
        reads: The folders to read; any number of processes at a time.
        create: Whether to make the workspace's folder if there is none.
    """
    if not place.root.is_dir() and not create:
        # Nothing is there to read, and a mistyped path must not become a folder.
        yield
        return
    sweep(place)
    shared = {_name_lock(place, folder): True for folder in reads}
    wanted = shared | {_name_lock(place, folder): False for folder in writes}
    with ExitStack() as stack:
        # Always in the same order: two processes cannot wait for each other.
        for path in sorted(wanted):
            stack.enter_context(_lock(path, is_shared=wanted[path]))
        stack.enter_context(_sign(place, command, list(wanted)))
        for folder in writes:
            recover(folder)
        try:
            yield
        except BaseException:
            # A stage that could not finish leaves the earlier result alone, and nothing else.
            for folder in writes:
                with suppress(OSError):
                    recover(folder)
            raise


@contextmanager
def hold_folder(command: str, folder: Path) -> Iterator[None]:
    """Keep others from a folder outside of any workspace, which is made if there is none; wait while they have it."""
    path = folder / LOCK
    with _lock(path, is_shared=False):
        # On a disk that cannot be written to there is neither lock nor folder: this says so.
        folder.mkdir(parents=True, exist_ok=True)
        _write_holder(path, command)
        remove_dead_parts(folder)
        yield


def sweep(place: Workspace) -> None:
    """Put in order what dead processes left in the workspace, in all parts that nobody works on."""
    for folder in place.stage_folders():
        # The trainings of cross-validation are locked together.
        parts = [folder, *folder.glob("fold_*")]
        if any(has_leftovers(part) or find_parts(part / CHECKPOINT) for part in parts):
            # What cannot be put in order, as on a disk that cannot be written to, is said by who needs the folder.
            with (
                suppress(portalocker.LockException, OSError),
                _lock(_name_lock(place, folder), is_shared=False, wait=False),
            ):
                for part in parts:
                    recover(part)
                    remove_dead_parts(part / CHECKPOINT)
    remove_dead_parts(place.root)
    for path in (place.root / LOCKS).glob("*.json"):
        if not (path.stem.isdecimal() and is_alive(int(path.stem))):
            with suppress(OSError):
                path.unlink()


def _name_lock(place: Workspace, folder: Path) -> Path:
    """Return the lock file of a folder: in the workspace where the folder is a part of it, else in the folder."""
    if folder.is_relative_to(place.root):
        return place.root / LOCKS / f"{'+'.join(folder.relative_to(place.root).parts)}.lock"
    return folder / LOCK


@contextmanager
def _lock(path: Path, *, is_shared: bool, wait: bool = True) -> Iterator[None]:
    """Lock a file.

    Raises:
        LockException: Somebody has it, and `wait` is false.
    """
    file = _acquire(path, is_shared, wait)
    try:
        yield
    finally:
        if file is not None:
            if path.name == LOCK and _is_at(file, path):
                # A folder of somebody's own keeps no trace; who waits for this file looks again once it has it.
                with suppress(OSError):
                    path.unlink()
            file.close()


def _acquire(path: Path, is_shared: bool, wait: bool) -> BinaryIO | None:
    """Return the locked file, to be closed; None where no lock can be written, so that nothing else can be either."""
    kind = portalocker.LockFlags.SHARED if is_shared else portalocker.LockFlags.EXCLUSIVE
    was_shown = False
    while (file := _open(path)) is not None:
        try:
            portalocker.lock(file, kind | portalocker.LockFlags.NON_BLOCKING)
        except portalocker.LockException:
            file.close()
            if not wait:
                raise
            was_shown = was_shown or _show_holder(path)
            time.sleep(POLL_SECONDS)
            continue
        # Its folder may have been removed and made again in between: then this lock keeps nobody away.
        if _is_at(file, path):
            return file
        file.close()
    return None


def _is_at(file: BinaryIO, path: Path) -> bool:
    """Return whether an open file is still the one of a path."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        return False


def _open(path: Path) -> BinaryIO | None:
    """Open a lock file; None where the disk cannot be written to."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+b")
    except OSError:
        return None


def _show_holder(path: Path) -> bool:
    """Print on stderr which process this one waits for."""
    holders = [each for each in map(_read_holder, [path, *path.parent.glob("*.json")]) if path.name in each["locks"]]
    named = [f"`{each['command']}` (process {each['process']}, since {each['since']})" for each in holders]
    who = " and ".join(named) or "another process"
    what = path.name.removesuffix(".lock").replace("+", "/") or path.parent.name
    console.print(f"Waiting for {who}, which is using {what}/. Ctrl-C stops waiting.", markup=False, highlight=False)
    return True


def _read_holder(path: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError, KeyError, TypeError):
        holder = read_json(path)
        is_whole = isinstance(holder["locks"], list) and {"command", "since"} <= holder.keys()
        if is_whole and is_alive(int(holder["process"])):
            return dict(holder)
    return {"locks": []}


@contextmanager
def _sign(place: Workspace, command: str, locks: Sequence[Path]) -> Iterator[None]:
    """Note beside the locks whose they are, for those who wait."""
    path = place.root / LOCKS / f"{os.getpid()}.json"
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
        "locks": [each.name for each in locks or (path,)],
    }
    with suppress(OSError):
        path.write_text(json.dumps(holder), encoding="utf-8")
