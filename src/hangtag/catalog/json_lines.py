"""Read a table of JSON lines, and change single values with every other byte kept as it was."""

import codecs
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

from hangtag.catalog.cell_text import format_decimal, read_list
from hangtag.catalog.files import SURROGATES
from hangtag.errors import CatalogError

NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
SPACE = re.compile(r"[ \t\r\n]*")
NESTED = "it holds a list or an object, which is not changed"
NOT_READ_BACK = "the new value would not be read again as it is"
# Numbers stay the texts that they are: ids have digits that a float loses.
DECODER = json.JSONDecoder(parse_float=str, parse_int=str)


class Member(NamedTuple):
    """A key of an object, and where its value stands in the line."""

    key: str
    start: int
    end: int
    text: str
    is_nested: bool


@dataclass(frozen=True)
class JsonTable:
    """A table of JSON lines.

    Attributes:
        columns: All keys, in the order in which they appear first.
        rows: The texts of each object in the order of the columns; empty where it lacks the key or has null.
        lines: The line number of each row, from 1.
        broken: Lines that are no row, as (line number, reason).
        nested: The lists and objects of each key that has some, with their line numbers.
    """

    columns: tuple[str, ...]
    rows: list[list[str]]
    lines: list[int]
    broken: list[tuple[int, str]]
    nested: dict[str, list[tuple[int, str]]]

    @property
    def list_columns(self) -> frozenset[str]:
        """The keys some of whose values are lists of texts, and none another list or an object."""
        return frozenset(
            key for key, cells in self.nested.items() if all(read_list(cell) is not None for _, cell in cells)
        )


def read_json_lines(data: bytes, where: str) -> JsonTable:
    """Read a JSON object from each line; empty lines are passed over.

    Texts are the strings; numbers have their digits (`10001.0` is 10001), booleans are `true` and `false`, lists and
    objects are their JSON.

    Raises:
        CatalogError: No line is an object.
    """
    columns: dict[str, int] = {}
    rows: list[list[str]] = []
    lines: list[int] = []
    broken = []
    nested: dict[str, list[tuple[int, str]]] = {}
    for number, line in enumerate(_split(data), start=1):
        try:
            members = _scan_line(line)
        except ValueError as error:
            broken.append((number, str(error)))
            continue
        if members is None:
            continue
        row = [""] * len(columns)
        for member in members:
            if member.key not in columns:
                columns[member.key] = len(columns)
                row.append("")
            row[columns[member.key]] = member.text
            if member.is_nested:
                nested.setdefault(member.key, []).append((number, member.text))
        rows.append(row)
        lines.append(number)
    # A list whose objects have a line each is no table of which only the last line can be read.
    if not rows or (data.lstrip().startswith(b"[") and data.rstrip().endswith(b"]")):
        raise CatalogError(
            f"{where} has no lines of JSON.",
            allowed="Allowed: a JSON object on each line, in UTF-8.",
            received=data[:40],
            # Text of two bytes a letter has a zero in each letter of JSON.
            hint="Save the file in UTF-8."
            if b"\0" in data[:40]
            else "A list of objects becomes lines with `jq -c '.[]'`.",
        )
    return JsonTable(tuple(columns), [row + [""] * (len(columns) - len(row)) for row in rows], lines, broken, nested)


def _split(data: bytes) -> Iterator[bytes]:
    """Yield the lines without line feeds; other line ends are white space to JSON, or part of a string."""
    for number, line in enumerate(data.split(b"\n")):
        yield line.removeprefix(codecs.BOM_UTF8) if number == 0 else line


def _scan_line(line: bytes) -> list[Member] | None:
    """Return the members of a line's object; None for an empty line.

    Raises:
        ValueError: It is no object; the message is a clause for people.
    """
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"no UTF-8 (byte {error.start + 1} of the line)") from error
    if not text.strip():
        return None
    try:
        members = list(_scan_object(text))
    except RecursionError as error:
        raise ValueError("no JSON that can be read: lists in lists, too deep") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"no JSON object: {error.msg} (letter {error.pos + 1} of the line)") from error
    keys = [member.key for member in members]
    if twice := sorted({key for key in keys if keys.count(key) > 1}):
        raise ValueError(f"the key {twice[0]!r} stands twice")
    if any(SURROGATES.search(member.key + member.text) for member in members):
        raise ValueError("half of a letter of two code units")
    return members


def _scan_object(text: str) -> Iterator[Member]:
    """Yield the members of the object that the text is."""
    place = _pass_space(text, 0)
    place = _expect(text, place, "{")
    if not text.startswith("}", place):
        while True:
            if not text.startswith('"', place):
                raise json.JSONDecodeError("a key in quotes is missing", text, place)
            key, place = DECODER.raw_decode(text, place)
            start = _expect(text, _pass_space(text, place), ":")
            value, place = DECODER.raw_decode(text, start)
            is_nested = text.startswith(("[", "{"), start)
            yield Member(key, start, place, _write_text(value, text[start:place]), is_nested)
            place = _pass_space(text, place)
            if text.startswith("}", place):
                break
            place = _expect(text, place, ",")
    if (place := _pass_space(text, place + 1)) < len(text):
        raise json.JSONDecodeError("something stands behind the object", text, place)


def _pass_space(text: str, place: int) -> int:
    found = SPACE.match(text, place)
    return found.end() if found else place


def _expect(text: str, place: int, mark: str) -> int:
    """Return where the text goes on behind a mark and white space."""
    if not text.startswith(mark, place):
        raise json.JSONDecodeError(f"`{mark}` is missing", text, place)
    return _pass_space(text, place + 1)


def _write_text(value: Any, written: str) -> str:
    if value is None:
        return ""
    if written.startswith('"'):
        return str(value)
    return format_decimal(Decimal(written)) if NUMBER.fullmatch(written) else written


def edit_json_lines(
    data: bytes, where: str, changes: Mapping[tuple[int, str], str]
) -> tuple[bytes, dict[tuple[int, str], str]]:
    """Replace values; a key that an object lacks is added at its end.

    A new value is a string; one in place of a number or a boolean stays one where it can, and an empty one is null
    there. Every byte of other values and lines is copied.

    Args:
        data: The table.
        where: Its path, for messages.
        changes: New values by line number, from 1, and key.

    Returns:
        The new bytes, and why values were not changed.

    Raises:
        CatalogError: No line is an object.
    """
    list_columns = read_json_lines(data, where).list_columns
    wanted: dict[int, dict[str, str]] = {}
    for (number, key), new in changes.items():
        wanted.setdefault(number, {})[key] = new
    lines = data.split(b"\n")
    refused: dict[tuple[int, str], str] = {}
    for number, values in wanted.items():
        if not 1 <= number <= len(lines):
            refused |= {(number, key): "there is no such line" for key in values}
            continue
        mark = codecs.BOM_UTF8 if number == 1 and data.startswith(codecs.BOM_UTF8) else b""
        for key, new in values.items():
            try:
                line = lines[number - 1].removeprefix(mark)
                lines[number - 1] = mark + _edit_line(
                    line, key, new, is_ascii=data.isascii(), may_be_list=key in list_columns
                )
            except ValueError as error:
                refused[number, key] = str(error)
    return b"\n".join(lines), refused


def _edit_line(line: bytes, key: str, new: str, *, is_ascii: bool, may_be_list: bool) -> bytes:
    """Return the line with one value replaced.

    Raises:
        ValueError: It cannot be; the message is a clause for people.
    """
    members = _scan_line(line)
    if members is None:
        raise ValueError("there is no object in this line")
    before = {member.key: member.text for member in members}
    if before.get(key, "") == new:
        return line
    if SURROGATES.search(new):
        raise ValueError(NOT_READ_BACK)
    text = line.decode()
    found = next((member for member in members if member.key == key), None)
    is_list = may_be_list and read_list(new) is not None
    if found:
        old = text[found.start : found.end]
        written = new if is_list else _write_value(old, new, is_ascii=is_ascii)
        edited = text[: found.start] + written + text[found.end :]
    else:
        written = new if is_list else json.dumps(new, ensure_ascii=is_ascii)
        edited = _add_member(text, members, key, written)
    after = _scan_line(edited.encode())
    if after is None or {member.key: member.text for member in after} != before | {key: new}:
        raise ValueError(NOT_READ_BACK)
    return edited.encode()


def _write_value(old: str, new: str, *, is_ascii: bool) -> str:
    if old.startswith(("[", "{")):
        raise ValueError(NESTED)
    if not old.startswith('"'):
        if not new:
            return "null"
        is_number = NUMBER.fullmatch(old) and NUMBER.fullmatch(new)
        if is_number or (old in ("true", "false") and new in ("true", "false")):
            return new
    return json.dumps(new, ensure_ascii=is_ascii)


def _add_member(text: str, members: list[Member], key: str, value: str) -> str:
    """Insert a key behind the last, with the white space that the line has around its marks."""
    name = json.dumps(key, ensure_ascii=value.isascii() and text.isascii())
    if not members:
        place = text.index("{") + 1
        return f"{text[:place]}{name}: {value}{text[place:]}"
    colon = ": " if text[members[0].start - 1] == " " else ":"
    comma = ", " if len(members) > 1 and text[members[0].end :].startswith(", ") else ","
    if len(members) == 1 and colon == ": ":
        comma = ", "
    place = members[-1].end
    return f"{text[:place]}{comma}{name}{colon}{value}{text[place:]}"
