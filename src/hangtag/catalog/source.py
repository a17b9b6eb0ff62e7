"""Read the files of a catalogue from a folder or a .zip, in place, without access to anything outside it."""

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Protocol

from hangtag.catalog.archives import ALLOWED, Identity, ZipSource, make_changed_error
from hangtag.catalog.files import FileError, OutsideError, escape_name, find_named, read_regular, walk
from hangtag.catalog.name_index import NameIndex
from hangtag.errors import CatalogError
from hangtag.workspace import Workspace, is_workspace

__all__ = ["FolderSource", "Identity", "OutsideError", "Source", "ZipSource", "make_changed_error", "open_source"]

# A picture inside a Parquet file, as its table names it: the file, the column and the row.
PICTURE_IN_PARQUET = re.compile(r"(.+?\.parquet)/(.+)/(\d{1,12})\.[a-z]+", re.IGNORECASE | re.DOTALL)


class Source(Protocol):
    """The files of a folder or archive, addressed by relative paths with forward slashes.

    A path that no file has stands for the only one that differs from it in case, normalisation, white space at the ends
    and backslashes alone; the exact path always wins.

    Attributes:
        path: The folder or archive.
        identity: Identifies the archive file (inode, size and time of change), to detect that it was replaced; empty
            for a folder.
        notes: What was read in another way than it is written, for the user.
    """

    path: Path
    identity: Identity
    notes: list[str]

    def names(self) -> Iterator[str]:
        """Return every file's path."""

    def skipped_folders(self) -> Iterator[tuple[str, FileError]]:
        """Yield the path of every folder whose files are not among `names`, and the reason."""

    def has(self, name: str) -> bool:
        """Return whether there is such a file."""

    def packed_size(self, name: str) -> int:
        """Return the stored (compressed) size of a file in bytes; 0 if there is no such file."""

    def read(self, name: str, limit: int) -> bytes:
        """Read a file completely.

        Raises:
            FileError: `missing_file`, `outside_catalog`, `not_a_file`, `too_many_bytes` (more than `limit`) or
                `unreadable_file`.
        """

    def stamp(self, name: str) -> str:
        """Return a text that changes when a file does; empty where there is no such file."""

    def fingerprint(self) -> str:
        """Return a hash that changes when the files do."""


class FolderSource:
    """The files below a folder, without those of workspaces in it. Links that lead out of the folder are not followed.

    A name that is not valid UTF-8 is returned, and accepted, as `escape_name` writes it.

    Args:
        path: The folder.
        workspace: The workspace being written, which may lie in the folder; existing workspaces are recognised.
    """

    def __init__(self, path: Path, workspace: Path | None = None) -> None:
        self.path = path.resolve()
        self._root = str(self.path)
        self._resolve_folder = lru_cache(maxsize=10_000)(os.path.realpath)
        self.identity: Identity = ()
        self.notes: list[str] = []
        written = workspace and workspace.resolve()
        self._own = {str(written)} if written else set()
        self._own_files: set[str] = set()
        if written == self.path or is_workspace(self.path):
            self._own |= {str(folder) for folder in Workspace(self.path).folders}
            self._own_files = {Workspace(self.path).report.name}

    def names(self) -> Iterator[str]:
        """Return every file's path in alphabetical order, without hidden files."""
        yield from (escape_name(name) for name in self._list_files())

    def skipped_folders(self) -> Iterator[tuple[str, FileError]]:
        """Yield links to folders, and folders that cannot be read, with the reason."""
        for entry in walk(self.path, self._is_own):
            if entry.error is not None:
                yield escape_name(entry.name), entry.error

    def has(self, name: str) -> bool:
        """Return whether there is such a file inside the folder."""
        return self._find(name).is_file() or self._find_picture(name) is not None

    def packed_size(self, name: str) -> int:
        """Return the size of a file in bytes; 0 if there is no such file."""
        try:
            return self._find(name).stat().st_size
        except OSError:
            return 0

    def read(self, name: str, limit: int) -> bytes:
        """Read a regular file completely, or a picture in a Parquet file; see `Source.read`."""
        try:
            if picture := self._find_picture(name):
                return self._read_picture(*picture, limit)
            return read_regular(self._find(name), limit)
        except FileError:
            raise
        except (FileNotFoundError, NotADirectoryError) as error:
            raise FileError("missing_file", "there is no such file, or it is a link that leads nowhere") from error
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise FileError("unreadable_file", f"the file cannot be read ({reason})") from error

    def stamp(self, name: str) -> str:
        """Return a file's size and time of change; see `Source.stamp`."""
        try:
            picture = self._find_picture(name)
            status = (picture[0] if picture else self._find(name)).stat()
        except OSError:
            return ""
        return format_stamp(status) if stat.S_ISREG(status.st_mode) else ""

    def fingerprint(self) -> str:
        """Hash every file's path, size and time of change; 44,000 photographs take under a second."""
        digest = hashlib.sha256()
        for name in self._list_files():
            try:
                status = (self.path / name).stat()
            except OSError:
                digest.update(f"{name}\0unreadable\n".encode(errors="surrogateescape"))
                continue
            if stat.S_ISREG(status.st_mode):
                digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode(errors="surrogateescape"))
        return digest.hexdigest()

    def _list_files(self) -> Iterator[str]:
        entries = walk(self.path, self._is_own)
        return (entry.name for entry in entries if entry.error is None and entry.name not in self._own_files)

    def _is_own(self, path: str) -> bool:
        return path in self._own or is_workspace(Path(path))

    def _find_picture(self, name: str) -> tuple[Path, str, int] | None:
        """Return the Parquet file, the column and the row that a picture's path means; None for any other path."""
        match = PICTURE_IN_PARQUET.fullmatch(name)
        path = self._find(match[1]) if match else None
        return (path, match[2], int(match[3])) if match and path and path.is_file() else None

    def _read_picture(self, path: Path, column: str, row: int, limit: int) -> bytes:
        from hangtag.catalog.parquet_table import read_picture  # noqa: PLC0415  (most catalogues have none)

        content = read_picture(str(path), column, row, format_stamp(path.stat()))
        if len(content) > limit:
            raise FileError("too_many_bytes", f"{len(content)} bytes, {limit} are allowed")
        return content

    @cached_property
    def _index(self) -> NameIndex:
        # Only made when a file is not found by its exact path.
        return NameIndex(self.names())

    def _find(self, name: str) -> Path:
        path = self._locate(name)
        if os.path.lexists(path) or (found := self._index.find(name)) is None:
            return path
        return self._locate(found)

    def _locate(self, name: str) -> Path:
        if "\0" in name:
            raise OutsideError(name)
        folder, base = os.path.split(find_named(os.path.join(self._root, name)))  # noqa: PTH118  (a path is slow)
        # Most photographs of a catalogue lie in few folders, whose links are resolved once.
        path = os.path.join(self._resolve_folder(folder), base)  # noqa: PTH118
        if base in ("", ".", "..") or os.path.islink(path):  # noqa: PTH114
            path = os.path.realpath(path)
        if path != self._root and not path.startswith(self._root.rstrip(os.sep) + os.sep):
            raise OutsideError(name)
        return Path(path)


def format_stamp(status: os.stat_result) -> str:
    """Return a text that changes when a file does; a copy that keeps its time has another time of its inode."""
    return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}"


def open_source(path: Path, workspace: Path | None = None) -> Source:
    """Open a folder or a .zip.

    Args:
        path: The folder or archive.
        workspace: The workspace being written; its files are skipped if it lies in the folder.

    Raises:
        CatalogError: The path is neither a folder nor a readable .zip.
    """
    try:
        if path.is_dir():
            return FolderSource(path, workspace)
        if path.is_file():
            return ZipSource(path)
    except OSError as error:
        raise CatalogError(f"The catalogue cannot be opened: {error.strerror}.", received=str(path)) from error
    raise CatalogError(
        "There is no such catalogue.",
        allowed=ALLOWED,
        received=str(path),
    )
