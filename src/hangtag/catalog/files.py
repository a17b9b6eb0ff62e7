"""Read users' files safely: only regular files, only up to a size limit, with names escaped to valid UTF-8."""

import os
import re
import stat
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

SURROGATES = re.compile("[\ud800-\udfff]")
# A pipe is opened without waiting, and no terminal becomes this process's own; some flags exist on some systems only.
OPEN_FLAGS = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_NOCTTY", "O_BINARY"))
ESCAPED_BYTES = re.compile(r"\\x([89a-f][0-9a-f])")


class FileError(OSError):
    """A file or folder that cannot be used; `code` is stable, `reason` is for people."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


class OutsideError(FileError):
    """Raised for a path that leads out of the catalogue."""

    def __init__(self, name: str) -> None:
        super().__init__("outside_catalog", "the path leads out of the catalogue")
        self.name = name


class FolderEntry(NamedTuple):
    """A file found by `walk`, or a folder that it could not enter.

    Attributes:
        name: The path relative to the folder, with forward slashes, as the operating system returns it.
        is_link: Whether it is a symbolic link.
        error: Why a folder was not entered; None for a file.
    """

    name: str
    is_link: bool
    error: FileError | None = None


def escape_name(name: str) -> str:
    r"""Return a file name as valid text, with each byte that is not UTF-8 written as `\xff`."""
    return SURROGATES.sub(lambda match: _escape_surrogate(ord(match.group())), name)


def _escape_surrogate(code_point: int) -> str:
    # Python maps an undecodable byte of a name to U+DC80 to U+DCFF; other surrogates come from 16-bit file systems.
    return f"\\x{code_point - 0xDC00:02x}" if 0xDC80 <= code_point <= 0xDCFF else f"\\u{code_point:04x}"


def find_named(path: str) -> str:
    """Return the path of the file that an escaped name stands for.

    That is the path itself if such a file exists, and the unescaped path (the inverse of `escape_name`) otherwise.
    """
    if "\\x" not in path or os.path.lexists(path):
        return path
    return ESCAPED_BYTES.sub(lambda match: chr(0xDC00 + int(match.group(1), 16)), path)


def read_regular(path: str | Path, limit: int) -> bytes:
    """Read a regular file completely. Nothing else is read, so that a pipe never blocks.

    Args:
        path: The file; links are followed.
        limit: The maximum size in bytes.

    Raises:
        FileError: `not_a_file` (a folder, pipe, socket or device) or `too_many_bytes`.
        OSError: The system cannot open or read it.
    """
    # Check before opening, since opening a device can have side effects, and check the opened file again.
    _require_regular(Path(path).stat())
    # Without Python's buffers, which take longer than reading a small photograph.
    descriptor = os.open(path, OPEN_FLAGS)
    try:
        status = os.fstat(descriptor)
        _require_regular(status)
        _require_size(status.st_size, limit)
        data = os.read(descriptor, status.st_size + 1)
        # Less than its size is read of a large file, and more of a file that grows or whose size is unknown, as of
        # those in /proc.
        if len(data) != status.st_size:
            with open(descriptor, "rb", closefd=False) as file:
                data += file.read(limit + 1 - len(data))
    finally:
        os.close(descriptor)
    _require_size(len(data), limit)
    return data


def _require_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise FileError("not_a_file", "it is a folder, a pipe, a socket or a device")


def _require_size(size: int, limit: int) -> None:
    if size > limit:
        raise FileError("too_many_bytes", f"{size} bytes, {limit} are allowed")


def is_inside(path: str | Path, folder: str | Path) -> bool:
    """Return whether a path is inside a folder, after resolving links. Invalid paths and link loops are allowed."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def walk(root: str | Path, leave_out: Callable[[str], bool] = lambda _: False) -> Iterator[FolderEntry]:
    """Yield the files below a folder in alphabetical order, then those of each subfolder, without hidden files.

    Links to folders are not followed, which would not end for a loop of links. Such links, and folders that cannot
    be read, are yielded with an error.

    Args:
        root: The folder. If it cannot be read itself, it is yielded with an empty name.
        leave_out: Return whether to skip a folder, given its path.
    """
    top, pending = Path(root), [""]
    while pending:
        base = pending.pop()
        try:
            with os.scandir(top / base) as scanned:
                visible = [entry for entry in scanned if not entry.name.startswith(".")]
        except OSError as error:
            yield FolderEntry(base, is_link=False, error=FileError("unreadable_folder", error.strerror or "unreadable"))
            continue
        folders = []
        for entry in sorted(visible, key=lambda entry: entry.name):
            name = f"{base}/{entry.name}" if base else entry.name
            is_link, is_folder = entry.is_symlink(), _is_folder(entry)
            if is_folder and leave_out(entry.path):
                continue
            if is_folder and not is_link:
                folders.append(name)
            else:
                folder_error = FileError("linked_folder", "a link to a folder") if is_folder else None
                yield FolderEntry(name, is_link, folder_error)
        pending += reversed(folders)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # A link that points to itself.
        return False


_STDERR = threading.RLock()


@contextmanager
def without_stderr() -> Iterator[None]:
    """Keep what libraries in Rust write to the process's stderr as they panic, and write it only if nothing is raised.

    They write past Python, so that the file descriptor itself is another one meanwhile. A panic comes as an exception
    too, whose message is for the caller to show.
    """
    with _STDERR:
        try:
            sys.stderr.flush()
            kept = os.dup(2)
        except (AttributeError, OSError, ValueError):
            # There is no stderr, as in a program without a console.
            yield
            return
        with tempfile.TemporaryFile() as written:
            try:
                os.dup2(written.fileno(), 2)
                yield
                written.seek(0)
                shown = written.read()
            except BaseException:
                shown = b""
                raise
            finally:
                os.dup2(kept, 2)
                os.close(kept)
                with suppress(OSError):
                    os.write(2, shown)
