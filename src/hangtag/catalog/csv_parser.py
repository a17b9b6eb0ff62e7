"""Parse a catalogue's CSV so that no row is lost to unescaped commas or quotes."""

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from hangtag.errors import CatalogError

SEPARATORS = (",", ";", "\t", "|")
# A quoted cell may run over lines, but a quote that never closes must not swallow the rest of the file.
MAX_LINES_PER_ROW = 30
# Far more than any catalogue has: beyond it, this is no table.
MAX_COLUMNS = 10_000
_FIRST_LINE_END = re.compile(r'(?:"[^"]*"|[^"\r\n])*(\r*\n|\r)')


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


@dataclass(frozen=True)
class Record:
    """A line of a table, or several where a quoted cell runs over them.

    Attributes:
        line: The number of its first line, from 1.
        cells: The text of its cells.
        num_lines: How many lines it takes.
        has_quotes: Whether quotes around cells were minded; where they make no sense, they are text.
    """

    line: int
    cells: list[str]
    num_lines: int
    has_quotes: bool


def parse_table(data: bytes, where: str) -> Table:
    """Parse CSV bytes: UTF-8 or Windows-1252, any usual separator, any line end.

    Quotes count only where they open a cell and close again; a bare one is text. Where a row has more cells
    than the header, the last column takes the rest of the line. The first line end outside quotes is the table's;
    another kind of line end outside quotes may be part of a cell or the end of a line, and such a line is broken.

    Raises:
        CatalogError: The table is empty or a column stands twice in its header.
    """
    text, _ = decode_table(data)
    lines = re.split(find_line_end(text), text)
    separator = find_separator(lines[0])
    records = split_records(lines, separator)
    first = next(records, None)
    header = first.cells if first else []
    if len(header) > MAX_COLUMNS:
        allowed = f"Allowed: {MAX_COLUMNS:,} columns."
        raise CatalogError(f"The table {where} has too many columns.", allowed=allowed, received=len(header))
    columns = tuple(name.strip() or f"column_{position}" for position, name in enumerate(header, start=1))
    twice = sorted(name for name, count in Counter(columns).items() if count > 1)
    if not any(header) or twice:
        what = f"The table {where} has a column twice." if twice else f"The table {where} is empty."
        raise CatalogError(what, allowed="Allowed: a header line with a name once.", received=twice or None)
    table = Table(columns)
    for record in records:
        _add_row(table, record, separator)
    return table


def _add_row(table: Table, record: Record, separator: str) -> None:
    width, cells = len(table.columns), record.cells
    if reason := find_fault(record, width):
        table.broken.append((record.line, reason))
        return
    if len(cells) > width:
        cells = [*cells[: width - 1], separator.join(cells[width - 1 :])]
        table.repaired_rows.append(len(table.rows))
    table.rows.append(dict(zip(table.columns, cells, strict=True)))


def find_fault(record: Record, width: int) -> str | None:
    """Return why a record is no row of a table with `width` columns; None where it is one."""
    if not record.has_quotes and any(mark in cell for cell in record.cells for mark in "\r\n"):
        return "a line end (CR or LF) of another kind than the table's, outside quotes"
    if len(record.cells) < width:
        return f"{len(record.cells)} cells where the header has {width}"
    return None


def decode_table(data: bytes) -> tuple[str, str]:
    """Return a table's text without its byte order mark, and its encoding: `utf-8` or `cp1252`."""
    try:
        return data.decode("utf-8-sig"), "utf-8"
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace"), "cp1252"


def find_lines(text: str) -> list[tuple[int, int]]:
    """Find where each line starts and ends, without its line end; at least one line."""
    starts, stops = [0], []
    for end in re.finditer(find_line_end(text), text):
        stops.append(end.start())
        starts.append(end.end())
    return list(zip(starts, [*stops, len(text)], strict=True))


def find_line_end(text: str) -> str:
    """Return a pattern for the line ends of a table; some programs write CR CR LF."""
    first = _FIRST_LINE_END.match(text)
    is_return = first[1] == "\r" if first else "\n" not in text
    return r"\r" if is_return else r"\r*\n"


def find_separator(header: str) -> str:
    """Return the separator that stands most often in the header line."""
    return max(SEPARATORS, key=header.count)


def split_records(lines: Sequence[str], separator: str, width: int = 0) -> Iterator[Record]:
    """Return a record for every line that is not empty and not within another record.

    Quotes that join lines to a record of fewer than `width` cells are text, so that no row is lost between them.

    Args:
        lines: The lines without their line ends.
        separator: The separator of cells.
        width: How many cells a row has; 0 where the first record is the header, whose cells are counted.
    """
    position = 0
    while position < len(lines):
        if not lines[position].strip():
            position += 1
            continue
        record = _parse_record(lines, position, separator, width)
        width = width or len(record.cells)
        yield record
        position += record.num_lines


def _parse_record(lines: Sequence[str], position: int, separator: str, width: int) -> Record:
    for used in range(1, MAX_LINES_PER_ROW + 1):
        text = "\n".join(lines[position : position + used])
        try:
            # As one string, not as a file: of a file the reader drops what follows a line end outside quotes.
            cells = next(csv.reader([text], delimiter=separator, strict=True))
        except csv.Error as error:
            if "unexpected end of data" not in str(error) or position + used >= len(lines):
                break
        else:
            if used > 1 and len(cells) < width:
                break
            return Record(position + 1, cells, used, has_quotes=True)
    return Record(position + 1, lines[position].split(separator), 1, has_quotes=False)
