"""Read the files of a .zip in place, by the names that people and programs of any system have given them."""

import bz2
import os
import re
import zipfile
import zlib
from collections.abc import Iterator
from copy import copy
from functools import cached_property
from pathlib import Path, PurePosixPath

from hangtag.catalog.files import FileError, OutsideError
from hangtag.catalog.name_index import NameIndex
from hangtag.errors import CatalogError
from hangtag.io import hash_file

# Bytes to decompress at once. `zipfile` limits the output of a step only for Deflate. LZMA can expand a byte to 7,000,
# so its steps are small.
STEP, LZMA_STEP = 1 << 20, 4096
Identity = tuple[int, ...]
UTF8_FLAG = 0x800
DRIVE = re.compile(r"[A-Za-z]:")


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
