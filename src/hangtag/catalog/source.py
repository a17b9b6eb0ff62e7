"""Read the files of a catalogue from a folder or a .zip, in place, without access to anything outside it."""

import bz2
import hashlib
import os
import re
import stat
import zipfile
import zlib
from collections.abc import Iterator
from copy import copy
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Protocol

from hangtag.catalog.files import FileError, escape_name, find_named, read_regular, walk
from hangtag.catalog.name_index import NameIndex
from hangtag.errors import CatalogError
from hangtag.io import hash_file
from hangtag.workspace import Workspace, is_workspace

# Bytes to decompress at once. `zipfile` limits the output of a step only for Deflate. LZMA can expand a byte to 7,000,
# so its steps are small.
STEP, LZMA_STEP = 1 << 20, 4096
Identity = tuple[int, ...]
UTF8_FLAG = 0x800
DRIVE = re.compile(r"[A-Za-z]:")


class OutsideError(FileError):
    """Raised for a path that leads out of the catalogue."""

    def __init__(self, name: str) -> None:
        super().__init__("outside_catalog", "the path leads out of the catalogue")
        self.name = name


class Source(Protocol):
    """The files of a folder or archive, addressed by relative paths with forward slashes.

    A path that no file has stands for the only one that differs from it in case, normalisation, white space at the ends
    and backslashes alone; the exact path always wins.

    Attributes:
        path: The folder or archive.
        identity: Identifies the archive file (inode, size and time of change), to detect that it was replaced; empty
            for a folder.
    """

    path: Path
    identity: Identity

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
        self.identity: Identity = ()
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
        return self._find(name).is_file()

    def packed_size(self, name: str) -> int:
        """Return the size of a file in bytes; 0 if there is no such file."""
        try:
            return self._find(name).stat().st_size
        except OSError:
            return 0

    def read(self, name: str, limit: int) -> bytes:
        """Read a regular file completely; see `Source.read`."""
        try:
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
            status = self._find(name).stat()
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
        path = Path(os.path.realpath(find_named(str(self.path / name))))
        if not path.is_relative_to(self.path):
            raise OutsideError(name)
        return path


class ZipSource:
    """The files inside a .zip."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        try:
            self._archive = zipfile.ZipFile(self.path)
        except Exception as error:
            # For a damaged archive `zipfile` raises many types of error (BadZipFile, ValueError, NotImplementedError,
            # OSError, struct.error, OverflowError, UnicodeDecodeError). In every case the archive is unreadable.
            raise CatalogError(f"The catalogue is not a readable .zip: {error}.", received=str(path)) from error
        assert self._archive.fp is not None
        status = os.fstat(self._archive.fp.fileno())
        self.identity: Identity = _get_identity(status)
        self._size = status.st_size
        names = ((_read_entry_name(info), info) for info in self._archive.infolist())
        self._entries = {
            _simplify_path(name): info
            for name, info in names
            if name and not name.endswith("/") and not _is_hidden(name)
        }

    def names(self) -> Iterator[str]:
        """Return every file's path in the archive's order."""
        yield from self._entries

    def skipped_folders(self) -> Iterator[tuple[str, FileError]]:
        """Yield nothing: every folder of an archive can be read."""
        yield from ()

    def has(self, name: str) -> bool:
        """Return whether there is such a file."""
        return self._find(name) is not None

    def packed_size(self, name: str) -> int:
        """Return the size of a file in bytes, compressed as it is stored."""
        info = self._find(name)
        return min(info.compress_size, self._size) if info else 0

    def read(self, name: str, limit: int) -> bytes:
        """Read a file whole; its sum and its stated size are checked. See `Source.read`."""
        info = self._find(name)
        if info is None:
            raise FileError("missing_file", "there is no such file in the archive")
        if info.file_size > limit:
            raise FileError("too_many_bytes", f"{info.file_size} bytes, {limit} are allowed")
        try:
            data = self._unpack(info)
        except Exception as error:
            # A damaged entry raises many types of error (BadZipFile, zlib.error, lzma.LZMAError, EOFError,
            # struct.error, OverflowError, ValueError, OSError, MemoryError). In every case only this file is lost.
            raise FileError("unreadable_file", _describe_zip_error(error)) from error
        if len(data) != info.file_size:
            raise FileError("unreadable_file", f"the archive states {info.file_size} bytes, but there are {len(data)}")
        return data

    def stamp(self, name: str) -> str:
        """Return a file's size and checksum; see `Source.stamp`."""
        try:
            info = self._find(name)
        except FileError:
            return ""
        return f"{info.file_size}-{info.CRC:08x}" if info else ""

    def fingerprint(self) -> str:
        """Hash the archive's bytes.

        Raises:
            CatalogError: The archive was replaced since it was opened.
        """
        digest = hash_file(self.path)
        if _get_identity(self.path.stat()) != self.identity:
            raise make_changed_error(self.path)
        return digest

    @cached_property
    def _index(self) -> NameIndex:
        return NameIndex(name for name in self._entries if not _leads_out(name))

    def _find(self, name: str) -> zipfile.ZipInfo | None:
        info = self._entries.get(_resolve_inside(name))
        if info is None and (found := self._index.find(name)) is not None:
            return self._entries[found]
        return info

    def _unpack(self, info: zipfile.ZipInfo) -> bytes:
        """Decompress an entry up to its stated size, even if there is more data."""
        if info.compress_type == zipfile.ZIP_BZIP2:
            return self._unpack_bzip2(info)
        step = LZMA_STEP if info.compress_type == zipfile.ZIP_LZMA else STEP
        with self._archive.open(info) as file:
            return b"".join(iter(lambda: file.read(step), b""))

    def _unpack_bzip2(self, info: zipfile.ZipInfo) -> bytes:
        """Decompress up to the stated size: bzip2 can expand a byte to a million, and `zipfile` does so in one step."""
        stored = copy(info)
        stored.compress_type, stored.file_size = zipfile.ZIP_STORED, info.compress_size
        # The stored checksum is that of the decompressed bytes, so `zipfile` must not check it here.
        del stored.CRC
        with self._archive.open(stored) as file:
            # Incompressible data grows by 1% at most. Read no more than that, since the compressed size may be wrong.
            packed = file.read(2 * info.file_size + 4096)
        data = bz2.BZ2Decompressor().decompress(packed, info.file_size + 1)
        if zlib.crc32(data) != info.CRC:
            raise zipfile.BadZipFile("wrong checksum")
        return data


def format_stamp(status: os.stat_result) -> str:
    """Return a text that changes when a file does; a copy that keeps its time has another time of its inode."""
    return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}"


def make_changed_error(path: Path) -> CatalogError:
    """Build the error for a catalogue that was replaced while it was being read."""
    return CatalogError(
        "The catalogue has changed while it was being read.", received=str(path), hint="Run the command again."
    )


def _get_identity(status: os.stat_result) -> Identity:
    return status.st_ino, status.st_size, status.st_mtime_ns


def _describe_zip_error(error: Exception) -> str:
    if isinstance(error, NotImplementedError):
        return "it is compressed or encrypted in a way that cannot be read"
    if isinstance(error, RuntimeError):
        return "it is encrypted"
    return f"its data in the archive is damaged ({type(error).__name__})"


def _read_entry_name(info: zipfile.ZipInfo) -> str:
    """Return an entry's name as it was meant: UTF-8 without its flag, as a Mac writes it, and with forward slashes."""
    name = info.filename
    if not info.flag_bits & UTF8_FLAG:
        try:
            name = name.encode("cp437").decode()
        except UnicodeError:
            name = info.filename
    if "\\" in name and "/" not in name and not DRIVE.match(name):
        # Some programs for Windows write so; one of another system would hardly have no other folder.
        name = name.replace("\\", "/")
    return name


def _simplify_path(name: str) -> str:
    """Return an entry's name as `read` looks it up; one that leads out of the archive stays as it is."""
    return name if _leads_out(name) else _resolve_inside(name)


def _leads_out(name: str) -> bool:
    try:
        _resolve_inside(name)
    except OutsideError:
        return True
    return False


def _is_hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts if part not in ("..", "."))


def _resolve_inside(name: str) -> str:
    """Resolve `.` and `..` in a path; raise `OutsideError` if it leads out of the archive."""
    parts: list[str] = []
    if name.startswith("/"):
        raise OutsideError(name)
    for part in PurePosixPath(name).parts:
        if part == "..":
            if not parts:
                raise OutsideError(name)
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts)


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
        allowed="Allowed: a folder, a .zip, or a table: .csv, .tsv, .txt, .xlsx, .xls, .parquet, .jsonl, .xml.",
        received=str(path),
    )
