"""Read the files of a .zip in place, by the names that people and programs of any system have given them."""

import bz2
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
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


# How names are written in archives of Windows that are not UTF-8, and the letters that each kind of name is made of.
# More than two letters beyond ASCII in a row are hardly Latin.
LATIN, CYRILLIC = re.compile(r"[À-ÖØ-öø-ž]{1,2}"), re.compile(r"[А-яЁё]+")
ENCODINGS = {
    "cp437": LATIN,
    "cp850": LATIN,
    "cp1252": LATIN,
    "cp866": CYRILLIC,
    "cp1251": CYRILLIC,
    "gb2312": re.compile("[\u4e00-\u9fff]+"),
    "big5": re.compile("[\u4e00-\u9fff]+"),
    "cp932": re.compile("[\u3041-\u30ff\u4e00-\u9fff]+"),
    "cp949": re.compile("[\uac00-\ud7a3]+"),
}
# The first bytes of the common characters of each, two bytes a character; rare ones come out of a wrong reading.
COMMON = {"gb2312": (0xB0, 0xD7), "big5": (0xA4, 0xC6), "cp932": (0x82, 0x98), "cp949": (0xB0, 0xC8)}
UNICODE_PATH = 0x7075
# What comes of a wrong reading: a capital behind a small letter, beyond ASCII, or letters of two scripts in a word.
MIXED = re.compile(r"[a-zß-öø-ÿа-яё][À-ÖØ-ÞА-ЯЁ]|[A-Za-z][А-яЁё]|[А-яЁё][A-Za-z]")
NOT_ASCII = re.compile(r"[^\x00-\x7f]+")
# What files are by their first bytes.
SIGNATURES = {
    b"Rar!": "a .rar archive",
    b"7z\xbc\xaf": "a .7z archive",
    b"\x1f\x8b": "a file compressed by gzip, such as .tar.gz",
    b"BZh": "a file compressed by bzip2",
    b"\xfd7zXZ": "a file compressed by xz",
    b"\x28\xb5\x2f\xfd": "a file compressed by zstd",
    b"%PDF": "a PDF document",
    b"\xd0\xcf\x11\xe0": "a document of an old Office program",
    b"SQLite format 3": "an SQLite database",
    b"PAR1": "a Parquet table",
    b"\xff\xd8\xff": "a JPEG picture",
    b"\x89PNG": "a PNG picture",
    b"RIFF": "a WebP picture or a film",
    b"GIF8": "a GIF picture",
    b"PK": "a part of a .zip, or an incomplete one",
}
# What archives are by a part of theirs.
DOCUMENTS = {
    "word/document.xml": ("a Word document", "Save its table as .csv or .xlsx."),
    "ppt/presentation.xml": ("a PowerPoint presentation", "Save its table as .csv or .xlsx."),
    "xl/workbook.xml": ("an Excel workbook", "Give it the ending .xlsx."),
    "xl/workbook.bin": ("an Excel workbook", "Give it the ending .xlsb."),
    "Index/Document.iwa": ("a document of Numbers or Pages", "Export it as .xlsx or .csv."),
    "META-INF/manifest.xml": ("an OpenDocument file", "If it is a workbook, give it the ending .ods."),
}
ALLOWED = (
    "Allowed: a folder, a .zip, or a table: .csv, .tsv, .txt, .xlsx, .xlsm, .xls, .xlsb, .ods, .parquet, .jsonl, .xml."
)


def make_kind_error(path: Path, found: str = "", hint: str = "") -> CatalogError:
    """Build the error for a file that is no catalogue, with what it is by its first bytes."""
    if not found:
        with path.open("rb") as file:
            head = file.read(512)
        found = next((name for start, name in SIGNATURES.items() if head.startswith(start)), "")
        if head[257:262] == b"ustar":
            found = "a .tar archive"
        elif not head:
            found = "empty"
        elif not found and b"\0" not in head:
            found, hint = "text", "If it is a table, give it the ending .csv, .tsv, .jsonl or .xml."
    if not hint and ("archive" in found or "compressed" in found):
        hint = "Unpack it, and name the folder."
    is_known = f"is {found}, which is no catalogue" if found else "is a file of an unknown kind"
    return CatalogError(f"{path.name} {is_known}.", allowed=ALLOWED, received=str(path), hint=hint)


class ZipSource:
    """The files inside a .zip.

    Attributes:
        notes: What was read in another way than it is written, for the user.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        if not zipfile.is_zipfile(self.path):
            raise make_kind_error(path)
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
        if found := next((each for part, each in DOCUMENTS.items() if part in self._archive.NameToInfo), None):
            raise make_kind_error(path, *found)
        self.notes: list[str] = []
        self._entries: dict[str, zipfile.ZipInfo] = {}
        self._several: set[str] = set()
        self._undecoded: dict[bytes, str] = {}
        for info, name in zip(self._archive.infolist(), self._read_names(), strict=True):
            if name and not name.endswith("/") and not _is_hidden(name):
                self._add(_simplify_path(name), info)

    def _read_names(self) -> list[str]:
        """Return the entries' names as they were meant; those that are not UTF-8 all in one encoding."""
        names = [_read_entry_name(info) for info in self._archive.infolist()]
        infos = zip(self._archive.infolist(), names, strict=True)
        raw = [info.filename.encode("cp437") for info, name in infos if name is None]
        if not raw:
            return [name or "" for name in names]
        found = _find_encodings(raw)
        encoding = found[0] if len(found) == 1 else "cp437"
        decoded = dict(zip(raw, (each.decode(encoding) for each in raw), strict=True))
        example = next(iter(decoded.values()))
        if len(found) == 1:
            self.notes.append(f"{len(raw):,} names in the archive are not UTF-8, and read as {encoding}: {example}")
        else:
            self.notes.append(
                f"{len(raw):,} names in the archive are not UTF-8, and their encoding is not clear; read as cp437: "
                f"{example}; pack it again with names in UTF-8"
            )
            entries = [(each, _simplify_path(_use_slashes(name))) for each, name in decoded.items()]
            self._undecoded = {raw.replace(b"\\", b"/"): name for raw, name in entries} | dict(entries)
        rest = iter(raw)
        return [name if name is not None else _use_slashes(decoded[next(rest)]) for name in names]

    def _add(self, name: str, info: zipfile.ZipInfo) -> None:
        first = self._entries.setdefault(name, info)
        if differs := (first.filename == name) != (info.filename == name):
            # The name that is written so is meant, beside one with backslashes.
            self._entries[name] = info if info.filename == name else first
        if not differs and (first.CRC, first.file_size) != (info.CRC, info.file_size):
            # Programs differ in which of them they unpack.
            self._several.add(name)

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
        if self._several and any(self._entries[each] is info for each in self._several):
            raise FileError("unreadable_file", "the archive has different files of this name")
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
        if info is None and (found := self._index.find(name) or self._find_undecoded(name)) is not None:
            return self._entries[found]
        return info

    def _find_undecoded(self, name: str) -> str | None:
        """Return the only entry that has this name in some encoding; None where there is none, or several."""
        found = set()
        for encoding in ENCODINGS if self._undecoded else ():
            try:
                found.add(self._undecoded.get(name.encode(encoding)))
            except UnicodeError:
                continue
        found.discard(None)
        return found.pop() if len(found) == 1 else None

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


def _read_entry_name(info: zipfile.ZipInfo) -> str | None:
    """Return an entry's name as it was meant, also as UTF-8 without its flag, as a Mac writes it; None if it is not."""
    name = info.filename
    if not info.flag_bits & UTF8_FLAG:
        try:
            raw = name.encode("cp437")
        except UnicodeError:
            # Newer versions of Python read the extra field themselves.
            return _use_slashes(name)
        try:
            name = _read_unicode_path(info.extra, raw) or raw.decode()
        except UnicodeError:
            return None
    return _use_slashes(name)


def _read_unicode_path(extra: bytes, raw: bytes) -> str:
    """Return the name in the extra field of PKWARE's APPNOTE 4.6.9; empty if there is none for this name."""
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        if kind == UNICODE_PATH and size > 5 and struct.unpack_from("<I", extra, 5)[0] == zlib.crc32(raw):
            return extra[9 : 4 + size].decode()
        extra = extra[4 + size :]
    return ""


def _find_encodings(names: Sequence[bytes]) -> list[str]:
    """Return the encodings in which every name is made of the letters of one language, each word of one script."""
    found: dict[tuple[str, ...], str] = {}
    for encoding, letters in ENCODINGS.items():
        try:
            decoded = [name.decode(encoding) for name in names]
        except UnicodeError:
            continue
        words = [word for name in decoded for word in NOT_ASCII.findall(name)]
        if not all(map(letters.fullmatch, words)) or any(map(MIXED.search, decoded)):
            continue
        if encoding in COMMON:
            low, high = COMMON[encoding]
            if any(not low <= character.encode(encoding)[0] <= high for word in words for character in word):
                continue
        # The same text in two encodings is no doubt.
        found.setdefault(tuple(decoded), encoding)
    return list(found.values())


def _use_slashes(name: str) -> str:
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
