"""Parse a catalogue's CSV so that no row is lost to unescaped commas or quotes."""

import csv
import io
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
    than the header, the last column takes the rest of the line.

    Raises:
        CatalogError: The table is empty or a column stands twice in its header.
    """
    text, _ = decode_table(data)
    lines = re.split(_find_line_end(text), text)
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
    if len(cells) < width:
        table.broken.append((record.line, f"{len(cells)} cells where the header has {width}"))
        return
    if len(cells) > width:
        cells = [*cells[: width - 1], separator.join(cells[width - 1 :])]
        table.repaired_rows.append(len(table.rows))
    table.rows.append(dict(zip(table.columns, cells, strict=True)))


def decode_table(data: bytes) -> tuple[str, str]:
    """Return a table's text without its byte order mark, and its encoding: `utf-8` or `cp1252`."""
    try:
        return data.decode("utf-8-sig"), "utf-8"
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace"), "cp1252"


def find_lines(text: str) -> list[tuple[int, int]]:
    """Find where each line starts and ends, without its line end; at least one line."""
    ends = _find_line_end(text)
    starts, stops = [0], []
    for end in re.finditer(ends, text):
        stops.append(end.start())
        starts.append(end.end())
    return list(zip(starts, [*stops, len(text)], strict=True))


def _find_line_end(text: str) -> str:
    return r"\r\n|\n" if "\n" in text else r"\r"


def find_separator(header: str) -> str:
    """Return the separator that stands most often in the header line."""
    return max(SEPARATORS, key=header.count)


def split_records(lines: Sequence[str], separator: str) -> Iterator[Record]:
    """Return a record for every line that is not empty and not within another record."""
    position = 0
    while position < len(lines):
        if not lines[position].strip():
            position += 1
            continue
        record = _parse_record(lines, position, separator)
        yield record
        position += record.num_lines


def _parse_record(lines: Sequence[str], position: int, separator: str) -> Record:
    for used in range(1, MAX_LINES_PER_ROW + 1):
        text = "\n".join(lines[position : position + used])
        try:
            cells = next(csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True))
            return Record(position + 1, cells, used, has_quotes=True)
        except csv.Error as error:
            if "unexpected end of data" not in str(error) or position + used >= len(lines):
                break
    return Record(position + 1, lines[position].split(separator), 1, has_quotes=False)
