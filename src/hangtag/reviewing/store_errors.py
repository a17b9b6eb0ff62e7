"""Convert errors of the review's SQLite file to messages that tell the user the cause and the solution."""

import errno
import os
from pathlib import Path

from hangtag.errors import WorkspaceError

# Only these codes mean that the file itself is damaged. Extended error codes begin with the same names.
DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB")
BUSY = ("SQLITE_BUSY", "SQLITE_LOCKED")
# The beginning of what the file says if its decisions have moved.
MOVED = "the decisions are in PostgreSQL now"
UNWRITABLE = ("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")


class StoreError(WorkspaceError):
    """Raised if the decisions cannot be read or written; nothing was written, but for `is_unknown`.

    Attributes:
        reason: The database's own message.
        is_locked: Whether another process has locked the decisions, so that trying again helps.
        is_unknown: Whether the decisions may have been written all the same, since the connection was lost while they
            were.
    """

    def __init__(
        self,
        what: str,
        *,
        received: str,
        hint: str,
        reason: str = "",
        is_locked: bool = False,
        is_unknown: bool = False,
    ) -> None:
        super().__init__(what, received=received, hint=hint)
        self.reason, self.is_locked, self.is_unknown = reason, is_locked, is_unknown


class UnwritableError(StoreError):
    """Raised if the file of decisions cannot be opened or written; its content is unchanged."""


def explain_error(error: Exception, path: Path) -> StoreError:
    """Build the error to raise for an error of SQLite or of parsing a row.

    Args:
        error: The original error.
        path: The file of decisions.
    """
    name = getattr(error, "sqlite_errorname", None) or ""
    what = "The decisions of the review cannot be opened"
    if is_moved(error):
        hint = "Start the review again. If review/decisions.json is missing, put it back: it says where they are."
        return StoreError(f"{what}: {error}.", received=str(path), hint=hint, reason=str(error))
    if name.startswith(BUSY):
        hint = "Nothing is lost: run the command again once the other one is done."
        return StoreError(
            f"{what}: another process is writing to them.",
            received=str(path),
            hint=hint,
            reason=str(error),
            is_locked=True,
        )
    if name.startswith(UNWRITABLE):
        hint = "The decisions stay as they are: run the command again once the disk can be written to."
        return UnwritableError(
            f"{what}: {_find_system_reason(error, path)}.", received=str(path), hint=hint, reason=str(error)
        )
    if name.startswith(DAMAGED):
        hint = "Restore a backup of it, or move it away to start again."
        return StoreError(f"{what}: the file is damaged ({error}).", received=str(path), hint=hint, reason=str(error))
    hint = "Restore a backup of the file."
    return StoreError(
        f"{what}: it is not what `hangtag review` writes ({error}).", received=str(path), hint=hint, reason=str(error)
    )


def is_moved(error: Exception) -> bool:
    """Return whether an error of SQLite, or its `StoreError`, means that the decisions have moved to PostgreSQL."""
    return str(error.reason if isinstance(error, StoreError) else error).startswith(MOVED)


def _find_system_reason(error: Exception, path: Path) -> str:
    """Return the operating system's reason if it can be determined, since SQLite's message is vague."""
    try:
        disk = os.statvfs(path.parent)
    except (OSError, AttributeError):
        return str(error)
    if disk.f_flag & getattr(os, "ST_RDONLY", 0):
        return os.strerror(errno.EROFS)
    # SQLite needs additional pages, so the disk counts as full with a little space left.
    return os.strerror(errno.ENOSPC) if disk.f_bavail * disk.f_frsize < 100_000 else str(error)
