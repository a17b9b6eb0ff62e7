"""Read people's files and folders: regular files alone, up to a limit, by names that can always be written."""

import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

SURROGATES = re.compile("[\ud800-\udfff]")
ESCAPED_BYTES = re.compile(r"\\x([89a-f][0-9a-f])")


class FileError(OSError):
    """A file or folder that cannot be used; `code` is stable, `reason` is for people."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


class Found(NamedTuple):
    """A file or folder below a folder.

    Attributes:
        name: The path below the folder with forward slashes, as the system has it.
        is_link: Whether it is a link.
        error: Why a folder is not gone into; None for everything that is no folder.
    """

    name: str
    is_link: bool
    error: FileError | None = None


def escape_name(name: str) -> str:
    r"""Return a file's name with each byte that is no UTF-8 as `\xff`, so that every format can hold it."""
    return SURROGATES.sub(lambda found: _escape(ord(found.group())), name)


def _escape(letter: int) -> str:
    # How Python holds an undecodable byte of a name; other surrogates come from systems with 16-bit names.
    return f"\\x{letter - 0xDC00:02x}" if 0xDC80 <= letter <= 0xDCFF else f"\\u{letter:04x}"


def find_named(path: str) -> str:
    """Return the path that `escape_name` was given: the name as it is where there is such a file, or unescaped."""
    if "\\x" not in path or os.path.lexists(path):
        return path
    return ESCAPED_BYTES.sub(lambda found: chr(0xDC00 + int(found.group(1), 16)), path)


def read_regular(path: str | Path, limit: int) -> bytes:
    """Read a regular file whole; of anything else nothing is read, and a pipe is never waited for.

    Args:
        path: The file; links are followed.
        limit: How many bytes it may have.

    Raises:
        FileError: `not_a_file` (a folder, pipe, socket or device) or `too_many_bytes`.
        OSError: The system cannot open or read it.
    """
    # Asked before opening, since opening a device can have effects, and again of what was opened.
    _require_regular(Path(path).stat())
    with open(path, "rb", opener=_open_without_waiting) as file:
        status = os.fstat(file.fileno())
        _require_regular(status)
        _require_size(status.st_size, limit)
        data = file.read(status.st_size + 1)
        if len(data) > status.st_size:
            # It grows while it is read, or its size is not known, as of files that the system makes up.
            data += file.read(limit - status.st_size)
    _require_size(len(data), limit)
    return data


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))


def _require_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise FileError("not_a_file", "it is a folder, a pipe, a socket or a device")


def _require_size(size: int, limit: int) -> None:
    if size > limit:
        raise FileError("too_many_bytes", f"{size} bytes, {limit} are allowed")


def is_inside(path: str | Path, folder: str | Path) -> bool:
    """Return whether a path, its links followed, is inside a folder; either may be invalid, a loop of links too."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def walk(root: str | Path, leave_out: Callable[[str], bool] = lambda _: False) -> Iterator[Found]:
    """Yield the files below a folder by name, then those of each subfolder; hidden ones are left out.

    Links to folders are not followed, so that a loop of links ends nothing; they come with an error in their place,
    as folders do that cannot be read.

    Args:
        root: The folder; the empty name stands for it where it cannot be read.
        leave_out: Whether to pass over a folder, by its path.
    """
    top, waiting = Path(root), [""]
    while waiting:
        base = waiting.pop()
        try:
            with os.scandir(top / base) as found:
                entries = sorted((each for each in found if not each.name.startswith(".")), key=lambda each: each.name)
        except OSError as error:
            yield Found(base, is_link=False, error=FileError("unreadable_folder", error.strerror or "unreadable"))
            continue
        folders = []
        for entry in entries:
            name = f"{base}/{entry.name}" if base else entry.name
            is_link, is_folder = entry.is_symlink(), _is_folder(entry)
            if is_folder and leave_out(entry.path):
                continue
            if is_folder and not is_link:
                folders.append(name)
            else:
                yield Found(name, is_link, FileError("linked_folder", "a link to a folder") if is_folder else None)
        waiting += reversed(folders)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # A link that leads back to itself.
        return False
