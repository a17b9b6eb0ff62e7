"""Parse a catalogue's CSV so that no row is lost to commas or quotes that nobody escaped."""

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from hangtag.errors import CatalogError

SEPARATORS = (",", ";", "\t", "|")
# A quoted cell may run over lines, but a quote that never closes must not swallow the rest of the file.
MAX_LINES_PER_ROW = 30


@dataclass(frozen=True)
class Table:
    """A parsed table.

    Attributes:
        columns: The header.
        rows: One mapping from column to text a row, in file order, the text as delivered.
        repaired_rows: Positions in `rows` whose last column held separators that nobody quoted.
        broken: Lines with too few columns, as (line number, reason).
    """

    columns: tuple[str, ...]
    rows: list[dict[str, str]] = field(default_factory=list)
    repaired_rows: list[int] = field(default_factory=list)
    broken: list[tuple[int, str]] = field(default_factory=list)


def parse_table(data: bytes, where: str) -> Table:
    """Parse CSV bytes: UTF-8 or Windows-1252, any usual separator, any line end.

    Quotes count only where they open a cell and close again; a bare one is text. Where a row has more cells
    than the header, the last column takes the rest of the line.

    Raises:
        CatalogError: The table is empty or a column stands twice in its header.
    """
    text = _decode(data)
    lines = re.split(r"\r\n|\n", text) if "\n" in text else text.split("\r")
    separator = max(SEPARATORS, key=lines[0].count)
    records = _split_records(lines, separator)
    _, header = next(records, (1, []))
    columns = tuple(name.strip() or f"column_{position}" for position, name in enumerate(header, start=1))
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if not any(header) or twice:
        what = f"The table {where} has a column twice." if twice else f"The table {where} is empty."
        raise CatalogError(what, allowed="Allowed: a header line with a name once.", received=twice or None)
    table = Table(columns)
    for line, cells in records:
        _add_row(table, line, cells, separator)
    return table


def _add_row(table: Table, line: int, cells: list[str], separator: str) -> None:
    width = len(table.columns)
    if len(cells) < width:
        table.broken.append((line, f"{len(cells)} cells where the header has {width}"))
        return
    if len(cells) > width:
        cells = [*cells[: width - 1], separator.join(cells[width - 1 :])]
        table.repaired_rows.append(len(table.rows))
    table.rows.append(dict(zip(table.columns, cells, strict=True)))


def _decode(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


def _split_records(lines: list[str], separator: str) -> Iterator[tuple[int, list[str]]]:
    """Give (line number from 1, cells) for every line that is not empty."""
    position = 0
    while position < len(lines):
        if not lines[position].strip():
            position += 1
            continue
        cells, used = _parse_record(lines, position, separator)
        yield position + 1, cells
        position += used


def _parse_record(lines: list[str], position: int, separator: str) -> tuple[list[str], int]:
    for used in range(1, MAX_LINES_PER_ROW + 1):
        text = "\n".join(lines[position : position + used])
        try:
            return next(csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)), used
        except csv.Error as error:
            if "unexpected end of data" not in str(error) or position + used >= len(lines):
                break
    return lines[position].split(separator), 1
