"""Read the files of a model's folder that somebody else may have made: whole, of a bounded size, and strictly JSON."""

import json
import math
import os
import stat
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn

from hangtag.errors import ModelError

AGAIN = "Export or copy the model again."
# A description of a hundred thousand classes is smaller, and so is its graph.
LARGEST_TEXT = 32 << 20
# Tables and lists within each other: a description has five, and what lists it for people has no use for more.
DEEPEST = 16


def read_bytes(path: Path, most: int = LARGEST_TEXT) -> bytes:
    """Read a file whole.

    Args:
        path: The file; a folder, a device or a pipe is refused without waiting for it.
        most: The largest size, in bytes.

    Raises:
        ModelError: There is no such file, it cannot be read, or it is larger.
    """
    try:
        # Without waiting, because a pipe that nobody writes to would be waited for for ever.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ModelError(f"{path.name} is no file.", hint=AGAIN, received=str(path))
            content = file.read(most + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ModelError(f"{path.name} cannot be read: {reason}.", hint=AGAIN, received=str(path)) from error
    if len(content) > most:
        raise ModelError(f"{path.name} is too large.", allowed=f"Allowed: {most:,} bytes.", received=str(path))
    return content


def read_table(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds a table: UTF-8, each key once, finite numbers, not nested without end.

    Raises:
        ModelError: The file is missing, too large, or holds something else.
    """
    text = read_bytes(path)
    try:
        content = json.loads(
            text.decode("utf-8"),
            object_pairs_hook=_read_pairs,
            parse_constant=_refuse_constant,
            parse_float=_read_float,
        )
    except RecursionError as error:
        raise _refuse(path, "it is nested too deeply") from error
    except ValueError as error:  # of UTF-8 and of JSON, and of what is refused below
        raise _refuse(path, str(error).rstrip(".")) from error
    if not isinstance(content, dict):
        raise _refuse(path, "it holds no table")
    if fault := _find_fault(content):
        raise _refuse(path, fault)
    return content


def _refuse(path: Path, reason: str) -> ModelError:
    # A reason may quote the file.
    return ModelError(
        f"The description {path.name} is damaged: {escape(reason)}.",
        allowed="Allowed: a JSON table in UTF-8, each key once, with finite numbers.",
        hint=AGAIN,
        received=str(path),
    )


def escape(text: str, most: int = 120) -> str:
    """Return a text from elsewhere in a form that a terminal can show: cut, control characters as escapes."""
    shown = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text[:most])
    return shown if len(text) <= most else f"{shown}…"


def _read_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} is there twice")
    return table


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _read_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is too large a number")
    return value


def _find_fault(content: dict[str, Any]) -> str:
    """Return what cannot be written again as it was read, in a few words; nothing where all can. Without recursion."""
    level: list[Any] = [content]
    for _ in range(DEEPEST):
        members = [each for table in level for each in _list_members(table)]
        if not all(_is_text(each) for each in members if isinstance(each, str)):
            return "it has half a character"
        level = [each for each in members if isinstance(each, dict | list)]
        if not level:
            return ""
    return "it is nested too deeply"


def _list_members(table: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return chain(table, table.values()) if isinstance(table, dict) else table


def _is_text(text: str) -> bool:
    """Say whether a text has no half of a character, which JSON can write and UTF-8 cannot."""
    return text.isascii() or not any("\ud800" <= each <= "\udfff" for each in text)
