"""List the folders and catalogues of this machine, and receive files that are dropped on the page."""

import os
import secrets
import shutil
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from hangtag.catalog.files import escape_name, find_named
from hangtag.catalog.images import PICTURE_SUFFIXES
from hangtag.catalog.table_files import is_table
from hangtag.io import JsonObject, expand_home
from hangtag.serving.middleware import ProblemError

# The entries of a folder that are listed.
MAX_LISTED = 1000
# The limits of an upload, and of a piece of it.
MAX_FILES, MAX_BYTES, MAX_PIECE = 200_000, 50_000_000_000, 8_000_000
MAX_NAME_BYTES, MAX_PARTS = 255, 30
# The space on the disk that an upload must leave free.
RESERVED_BYTES = 500_000_000
# Uploads at a time; an upload that nothing was added to for so long is given up for a new one.
MAX_UPLOADS, IDLE_SECONDS = 4, 600.0
INCOMING = ".incoming-"
# The folder that several dropped files and folders are put into.
TOGETHER = "dropped catalogue"


def read_path(text: str) -> Path:
    """Return the path that a person typed or chose: absolute, without `..`, and with the home folder for `~`.

    Raises:
        ProblemError: It does not begin at the top, or is no path.
    """
    path = expand_home(find_named(text))
    if path.is_absolute() and "\0" not in text:
        return Path(os.path.normpath(path))
    raise ProblemError(422, "no_path", "Type the whole path of a file or folder, from the top.")


def list_folder(path: str) -> JsonObject:
    """Return what a folder of this machine has for somebody who looks for a catalogue.

    Args:
        path: The folder, or a file in it; empty for the home folder.

    Returns:
        `path`, `parent` (None at the top), `folders` and `files` (`name`, `path`; of files also `bytes`; tables and
        archives only), `photographs` (how many lie in it), and `more` (whether some are not listed).

    Raises:
        ProblemError: There is no such folder, or it cannot be read.
    """
    folder = read_path(path) if path else Path.home()
    if folder.is_file():
        folder = folder.parent
    try:
        with os.scandir(folder) as entries:
            visible = sorted((each for each in entries if not each.name.startswith(".")), key=_sort_by_name)
    except OSError as error:
        message = f"This folder cannot be opened: {error.strerror}. Choose another one."
        raise ProblemError(404, "no_folder", message) from None
    folders, files, photographs = [], [], 0
    for each in visible:
        with suppress(OSError):
            listed: JsonObject = {"name": escape_name(each.name), "path": escape_name(each.path)}
            if each.is_dir():
                folders.append(listed)
            elif is_table(each.name) or each.name.lower().endswith(".zip"):
                files.append(listed | {"bytes": each.stat().st_size})
            elif PurePosixPath(each.name).suffix.lower() in PICTURE_SUFFIXES:
                photographs += 1
    return {
        "path": escape_name(str(folder)),
        "parent": None if folder.parent == folder else escape_name(str(folder.parent)),
        "folders": folders[:MAX_LISTED],
        "files": files[:MAX_LISTED],
        "photographs": photographs,
        "more": max(len(folders), len(files)) > MAX_LISTED,
    }


def _sort_by_name(entry: "os.DirEntry[str]") -> str:
    return entry.name.casefold()


@dataclass
class _Upload:
    """Files that are being uploaded, one after the other.

    Attributes:
        folder: Where they are written until all are there.
        files: The path below the folder and the size of each.
        total: The bytes of all files.
        index: The file that the next byte belongs to.
        received: The bytes of all files that have arrived.
        written: Those of the current file.
        used: When something was added last.
    """

    folder: Path
    files: list[tuple[str, int]]
    total: int
    index: int = 0
    received: int = 0
    written: int = 0
    used: float = field(default_factory=time.monotonic)
    lock: threading.Lock = field(default_factory=threading.Lock)


class Uploads:
    """Receives files in pieces into a folder: all of them or none.

    The bytes of all files follow each other without anything between them, and a piece continues where the last one
    ended.

    Args:
        folder: The folder, which is made if it is missing. What an earlier process left unfinished is removed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[str, _Upload] = {}
        self._lock = threading.Lock()
        for left in folder.glob(f"{INCOMING}*"):
            shutil.rmtree(left, ignore_errors=True)

    def begin(self, files: Sequence[tuple[str, int]]) -> str:
        """Begin an upload, and return its name.

        Args:
            files: The path of each, with forward slashes, and its size in bytes.

        Raises:
            ProblemError: There are no files, too many or too large ones; a path leads elsewhere; or the disk is full.
        """
        _check_files(files)
        self._folder.mkdir(parents=True, exist_ok=True)
        total = sum(size for _, size in files)
        if total > min(MAX_BYTES, shutil.disk_usage(self._folder).free - RESERVED_BYTES):
            message = "There is not enough room for these files. Choose them by their path: nothing is copied then."
            raise ProblemError(413, "too_large", message)
        tops = {name.partition("/")[0] for name, _ in files}
        prefix = f"{TOGETHER}/" if len(tops) > 1 else ""
        self._give_up_idle()
        with self._lock:
            if len(self._open) >= MAX_UPLOADS:
                raise ProblemError(429, "too_many_uploads", "Other files are being uploaded. Wait for them first.", 5)
            name = secrets.token_hex(8)
            folder = self._folder / f"{INCOMING}{name}"
            folder.mkdir()
            self._open[name] = _Upload(folder, [(prefix + path, size) for path, size in files], total)
        return name

    def add(self, name: str, offset: int, piece: bytes) -> int:
        """Add a piece, and return how many bytes have arrived in all.

        Raises:
            ProblemError: There is no such upload, the piece does not continue it, or it cannot be written; in the last
                case the upload is given up.
        """
        upload = self._get(name)
        with upload.lock:
            self._require_open(name)
            if offset != upload.received or offset + len(piece) > upload.total:
                raise ProblemError(409, "wrong_place", "This piece does not continue the upload. Begin it again.")
            try:
                self._write(upload, memoryview(piece))
            except OSError as error:
                self._remove(name, upload)
                message = f"The files cannot be stored: {error.strerror}. Choose them by their path instead."
                raise ProblemError(507, "not_stored", message) from None
            upload.used = time.monotonic()
            return upload.received

    def finish(self, name: str) -> Path:
        """Return the path of the complete catalogue: the file or folder that was dropped.

        Raises:
            ProblemError: There is no such upload, or bytes are missing.
        """
        upload = self._get(name)
        with upload.lock:
            self._require_open(name)
            if upload.received != upload.total:
                raise ProblemError(409, "unfinished", "Some of the files have not arrived. Begin the upload again.")
            # Files without content at the end have had no piece.
            self._write(upload, memoryview(b""))
            target = self._folder / name
            upload.folder.rename(target)
            with self._lock:
                self._open.pop(name, None)
        return target / PurePosixPath(upload.files[0][0]).parts[0]

    def cancel(self, name: str) -> None:
        """Remove an unfinished upload with what has arrived; one that is not there is no error."""
        with self._lock:
            upload = self._open.get(name)
        if upload is None:
            return
        # A piece that is being written would make the folder again.
        with upload.lock:
            self._remove(name, upload)

    def discard(self, name: str) -> None:
        """Remove a complete upload, which is no catalogue."""
        shutil.rmtree(self._folder / name, ignore_errors=True)

    def _get(self, name: str) -> _Upload:
        with self._lock:
            upload = self._open.get(name)
        if upload is None:
            raise ProblemError(404, "no_upload", "This upload has ended. Begin it again.")
        return upload

    def _require_open(self, name: str) -> None:
        """Refuse what waited for an upload's lock while it was cancelled or finished."""
        self._get(name)

    def _remove(self, name: str, upload: _Upload) -> None:
        """Remove an upload whose lock is held; one that has been finished meanwhile stays."""
        with self._lock:
            is_open = self._open.pop(name, None) is not None
        if is_open:
            shutil.rmtree(upload.folder, ignore_errors=True)

    def _give_up_idle(self) -> None:
        with self._lock:
            ended = [name for name, each in self._open.items() if time.monotonic() - each.used > IDLE_SECONDS]
        for name in ended:
            self.cancel(name)

    @staticmethod
    def _write(upload: _Upload, piece: memoryview) -> None:
        """Write a piece to the files that it belongs to; files without content are made in passing."""
        while upload.index < len(upload.files):
            path, size = upload.files[upload.index]
            part = piece[: size - upload.written]
            with _open_new(upload.folder / path, is_new=upload.written == 0) as file:
                file.write(part)
            piece = piece[len(part) :]
            upload.received += len(part)
            upload.written += len(part)
            if upload.written < size:
                return
            upload.index, upload.written = upload.index + 1, 0


def _open_new(path: Path, *, is_new: bool) -> BinaryIO:
    if is_new:
        path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("wb" if is_new else "ab")


def _check_files(files: Sequence[tuple[str, int]]) -> None:
    """Refuse files that are none, too many, or that would be written outside of the folder or over each other."""
    if not files or sum(size for _, size in files) == 0:
        raise ProblemError(422, "no_files", "There is nothing in what you dropped. Drop a table, a .zip or a folder.")
    if len(files) > MAX_FILES:
        message = f"More than {MAX_FILES:,} files. Choose the folder by its path: nothing is copied then."
        raise ProblemError(413, "too_many_files", message)
    seen: set[str] = set()
    for name, _ in files:
        parts = name.split("/")
        is_safe = len(parts) <= MAX_PARTS and all(map(_is_plain, parts))
        if not is_safe or name.casefold() in seen:
            raise ProblemError(422, "wrong_name", f"A file with this name cannot be stored: {name[:200]}")
        seen.add(name.casefold())
    if not seen.isdisjoint(
        "/".join(name.split("/")[:depth]) for name in seen for depth in range(1, name.count("/") + 1)
    ):
        raise ProblemError(422, "wrong_name", "A file and a folder have the same name.")


def _is_plain(part: str) -> bool:
    """Return whether a part of a path is a name on every system, and none that leads elsewhere or is hidden."""
    try:
        length = len(part.encode())
    except UnicodeEncodeError:
        return False
    has_odd = any(letter in '\\:*?"<>|' or ord(letter) < 32 for letter in part)
    return bool(part.strip()) and length <= MAX_NAME_BYTES and not part.startswith(".") and not has_odd
