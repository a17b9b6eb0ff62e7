"""Parse a catalogue's table of text without losing a row or moving a value into another column.

Rows whose cells are in doubt are repaired where there is one way to, with a line that says so, or else they are broken.
"""

from array import array
from collections import Counter
from collections.abc import Sequence
from itertools import takewhile
from typing import NamedTuple

from hangtag.catalog.csv_records import Record, count_filled, read_record, read_records
from hangtag.catalog.dialect import Head, find_head
from hangtag.catalog.encodings import ENCODINGS, Text, decode_table
from hangtag.catalog.files import SURROGATES, escape_name
from hangtag.catalog.row_repair import ColumnValues, align_cells, find_shifted
from hangtag.catalog.table import Position, ReadAs, Repair, Table
from hangtag.errors import CatalogError

# Far more than any catalogue has: beyond it, this is no table.
MAX_COLUMNS = 10_000
MAX_SHIFTED_SHARE = 0.02
# Rows that are added to the columns at once, and equal values of a column that are kept once.
BLOCK, MAX_SHARED_VALUES = 1_000, 10_000
GUESSED = "the table is no UTF-8 and was read as {name} ({codec}); name another encoding with --encoding"
UNNAMED = "a column with values and without a heading"
ROW_NAMES = "rows have one cell more than the header, a number in front as R writes it"
SWALLOWED = "a quote opens here and closes {lines} lines below, and the lines between look like rows"
SPACED = "it begins with a space as no other value: a separator that nobody quoted may come before it"
SHIFTED = (
    "no other row has this value, and the next cell has one of this column: "
    "a separator that nobody quoted may come before it"
)
# So many lines that nearly all look like rows are rows, and no text in quotes.
MIN_SWALLOWED_LINES, MIN_SWALLOWED_SHARE = 30, 0.9


def parse_table(
    data: bytes,
    where: str,
    separator: str = "",
    escape: str = "",
    headings: Sequence[frozenset[str]] = (),
    encoding: str = "",
) -> Table:
    """Parse a table of text in any usual encoding, with any usual separator, quotes and line ends.

    A row with surplus cells is repaired where there is one way to that leaves every other column a value that it has
    elsewhere; empty surplus cells are dropped, and missing cells at the end are empty. Any other row whose cells are in
    doubt is broken.

    Args:
        data: The file.
        where: Its name, for messages.
        separator: The separator; empty to find it.
        escape: `doubled` or `backslash`, as quotes inside quotes are written; empty to find it.
        headings: Sets of columns by which a header is known; other headers are found by their number of cells.
        encoding: The encoding; empty to find it.

    Raises:
        CatalogError: The table is empty, or its header cannot be read.
    """
    how = ReadAs(where, separator, escape, tuple(headings), encoding)
    decoded, head = read_head(data, how)
    text = decoded.text
    if head.header.fault:
        raise CatalogError(
            f"The header of the table {where} cannot be read: {head.header.fault}.",
            allowed="Allowed: a header line with a name once.",
            received=", ".join(head.header.values)[:200],
        )
    named = ["", *head.header.values] if head.has_row_names else head.header.values
    parser = _Parser(text, head, name_columns(named, head.filled, where))
    parser.note_unnamed(named)
    if decoded.is_guessed:
        reason = GUESSED.format(name=ENCODINGS[decoded.encoding][0], codec=decoded.encoding)
        parser.repairs.append(Repair(0, "", "", "", reason))
    parser.read()
    table = parser.finish()
    table.read_as, table.inferred_encoding = how, decoded.encoding if decoded.is_guessed else ""
    return table


def read_head(data: bytes, how: ReadAs) -> tuple[Text, Head]:
    """Decode a table, and find its dialect and its header.

    Raises:
        CatalogError: It cannot be decoded, or there is no header.
    """
    decoded = decode_table(data, how.where, how.encoding)
    return decoded, find_head(decoded.text, how.where, how.separator, how.escape, how.headings)


def name_columns(headings: Sequence[str], filled: int, where: str) -> list[str]:
    """Return the columns' names, those without a heading and second ones of a name numbered.

    Columns behind the last heading are none, unless most rows have values there.

    Args:
        headings: The cells of the header.
        filled: The cells up to the last that is not empty, in most rows.
        where: The table's name, for messages.

    Raises:
        CatalogError: There are far too many.
    """
    names = [SURROGATES.sub("\ufffd", name.strip()) for name in headings]
    if len(names) > MAX_COLUMNS:
        allowed = f"Allowed: {MAX_COLUMNS:,} columns."
        raise CatalogError(f"The table {where} has too many columns.", allowed=allowed, received=len(names))
    names = names[: max(count_filled(names), filled)]
    columns: list[str] = []
    for position, name in enumerate(names, start=1):
        column, number = name or f"column_{position}", 1
        while column in columns:
            number += 1
            column = f"{name}_{number}"
        columns.append(column)
    return columns


def find_doubled(headings: Sequence[str]) -> set[str]:
    """Return the headings that stand twice in a header."""
    counts = Counter(map(str.strip, headings))
    return {name for name, count in counts.items() if name and count > 1}


class _Doubtful(NamedTuple):
    """A record whose cells are not as many as the columns, or that runs over several lines.

    Attributes:
        position: The number of rows before it.
        line: Its first line.
        record: The record.
    """

    position: int
    line: int
    record: Record


class _Parser:
    """The state of reading one table: rows that are clear first, then those that they help to judge."""

    def __init__(self, text: str, head: Head, columns: list[str]) -> None:
        self.text, self.head, self.columns, self.dialect = text, head, columns, head.dialect
        # Cells behind the last column that are empty in every row, as some programs write them.
        self.width, self.most = len(columns), max(head.width, len(head.header.values) + head.has_row_names)
        self.cells: list[list[str]] = [[] for _ in columns]
        self.shared: list[dict[str, str]] = [{} for _ in columns]
        self.lines, self.starts = array("q"), array("q")
        self.block: list[list[str]] = []
        self.doubtful: list[_Doubtful] = []
        self.broken: list[tuple[int, str]] = []
        self.repairs: list[Repair] = []
        for record in head.above:
            self.repairs.append(
                Repair(self._count_lines(0, record.start) + 1, "", self._read_line(record), "", "above the header")
            )

    def note_unnamed(self, headings: Sequence[str]) -> None:
        """Add a line for every column that has no heading."""
        line = self._count_lines(0, self.head.header.start) + 1
        for position, (column, heading) in enumerate(zip(self.columns, headings, strict=False)):
            if not heading.strip():
                reason = ROW_NAMES if self.head.has_row_names and not position else UNNAMED
                self.repairs.append(Repair(line, column, "", column, reason))

    def read(self) -> None:
        """Read the rows that are clear, and put the others aside."""
        end = self.head.header.following
        line = self._count_lines(0, end) + 1
        for record in read_records(self.text, end, self.dialect):
            line += self._count_lines(end, record.start)
            end = record.start
            is_clear = record.spans is None or not self._has_line_end(record)
            if is_clear and record.fault:
                self.broken.append((line, record.fault))
            elif is_clear and (values := self._fill(record.values)):
                self._add(values, line, record.start)
            else:
                self.doubtful.append(_Doubtful(len(self.starts), line, record))
        self._flush()

    def finish(self) -> Table:
        """Judge the rows that were put aside, and return the table."""
        unusual: dict[int, Position] = {}
        repaired: list[int] = []
        if self.doubtful:
            unusual, repaired = self._resolve()
        self._note_shifted()
        self._replace_undecodable()
        self.broken.sort()
        self.repairs.sort(key=lambda repair: repair.line)
        return Table(
            tuple(self.columns),
            self.cells,
            self.lines,
            self.repairs,
            self.broken,
            repaired,
            self.dialect,
            self.starts,
            unusual,
            doubled=find_doubled(self.head.header.values),
            has_doubts=bool(self.doubtful or self.broken),
            header=self.head.header.start,
        )

    def _count_lines(self, start: int, stop: int) -> int:
        return self.text.count(self.dialect.line_end, start, stop)

    def _has_line_end(self, record: Record) -> bool:
        return self.dialect.line_end in self.text[record.start : record.stop]

    def _read_line(self, record: Record) -> str:
        return escape_name(self.text[record.start : record.stop])

    def _fill(self, values: list[str]) -> list[str] | None:
        """Return a row's cells if they are as many as the columns, without empty ones behind them."""
        if len(values) == self.width:
            return values
        if self.width < len(values) <= self.most and count_filled(values) <= self.width:
            return values[: self.width]
        return None

    def _add(self, values: list[str], line: int, start: int) -> None:
        self.block.append(values)
        self.lines.append(line)
        self.starts.append(start)
        if len(self.block) == BLOCK:
            self._flush()

    def _flush(self) -> None:
        for cells, shared, values in zip(self.cells, self.shared, zip(*self.block, strict=True), strict=False):
            if len(shared) < MAX_SHARED_VALUES:
                cells.extend(map(shared.setdefault, values, values))
            else:
                cells.extend(values)
        self.block = []

    def _resolve(self) -> tuple[dict[int, Position], list[int]]:
        """Judge the rows that were put aside by the values of the others, and insert those that can be read."""
        clear = [ColumnValues(column) for column in self.cells]
        has_clear_rows = len(self.starts) > 0
        candidates: list[tuple[int, int, Record, bool]] = []
        for position, line, record in self.doubtful:
            rows: list[tuple[int, Record]] = []
            are_rows = False
            if self._has_line_end(record) and has_clear_rows:
                rows, are_rows = self._find_rows_within(record, clear)
            reason = SWALLOWED.format(lines=self._count_lines(record.start, record.stop))
            if are_rows or (rows and (record.fault or self._fill(record.values) is None)):
                self.broken.append((line, reason))
                candidates += [(position, line + offset, row, True) for offset, row in rows]
                continue
            candidates.append((position, line, record, False))
            if rows:
                self.repairs.append(Repair(line, "", self._read_line(record), self._read_line(record), reason))
        # Rows over several lines with a cell for every column help to judge the rest.
        whole = [filled for _, _, record, _ in candidates if not record.fault and (filled := self._fill(record.values))]
        known = [
            ColumnValues([*column, *(row[index] for row in whole)]) if whole else clear[index]
            for index, column in enumerate(self.cells)
        ]
        inserted: list[tuple[int, int, int, list[str], Position]] = []
        for position, line, record, one_line in candidates:
            found = self._judge(record, line, known)
            if found is not None:
                values, taken = found
                inserted.append((position, line, record.start, values, Position(one_line, taken)))
        return self._insert(inserted)

    def _find_rows_within(self, record: Record, known: Sequence[ColumnValues]) -> tuple[list[tuple[int, Record]], bool]:
        """Return the lines below the first of a record, each with its line offset, if half of them look like rows.

        Beside them: whether they are rows, since they are many. A few may be a text over several lines.
        """
        first = read_record(self.text, record.start, self.dialect, one_line=True)
        lines = read_records(self.text, first.following, self.dialect, one_line=True)
        rows = list(takewhile(lambda row: row.start < record.following, lines))
        num_rows = 0
        for row in rows:
            filled = None if row.fault else self._fill(row.values)
            num_rows += filled is not None and all(map(ColumnValues.fits, known, filled))
        if 2 * num_rows < len(rows):
            return [], False
        are_rows = len(rows) >= MIN_SWALLOWED_LINES and num_rows >= MIN_SWALLOWED_SHARE * len(rows)
        return [(self._count_lines(record.start, row.start), row) for row in rows], are_rows

    def _judge(
        self, record: Record, line: int, known: Sequence[ColumnValues]
    ) -> tuple[list[str], tuple[int, ...] | None] | None:
        """Return the cells of a row and how many each column takes, with a line for a repair; None if it is broken."""
        values = record.values
        if record.fault:
            self._break(record, line, record.fault)
            return None
        if filled := self._fill(values):
            return filled, None
        if len(values) < self.width:
            return self._judge_short(record, line, known)
        taken = align_cells(values, known, self.dialect.separator)
        if taken is None:
            self._break(record, line, f"{len(values)} cells where the header has {self.width}")
            return None
        merged, first = [], 0
        for column, count in zip(self.columns, taken, strict=True):
            merged.append(self.dialect.separator.join(values[first : first + count]))
            if count > 1:
                reason = "separators in the cell that nobody quoted"
                self.repairs.append(Repair(line, column, self._read_line(record), merged[-1], reason))
            first += count
        if first < len(values):
            reason = "empty cells at the end that have no column"
            self.repairs.append(
                Repair(line, "", self._read_line(record), self.dialect.separator.join(values[:first]), reason)
            )
        return merged, tuple(taken)

    def _judge_short(
        self, record: Record, line: int, known: Sequence[ColumnValues]
    ) -> tuple[list[str], tuple[int, ...] | None] | None:
        values = record.values
        wrong = [
            name
            for name, column, value in zip(self.columns, known, values, strict=False)
            if column.is_strict and not column.fits(value)
        ]
        if wrong:
            reason = f"{len(values)} of {self.width} cells, and {wrong[0]} is unlike that of other rows"
            self._break(record, line, reason)
            return None
        missing = self.columns[len(values)]
        reason = f"{len(values)} of {self.width} cells: the others are read as empty"
        self.repairs.append(Repair(line, missing, self._read_line(record), "", reason))
        return [*values, *[""] * (self.width - len(values))], None

    def _break(self, record: Record, line: int, reason: str) -> None:
        if below := self._count_lines(record.start, record.stop):
            reason = f"{reason} (with the {below} lines below, which a quoted cell has)"
        self.broken.append((line, reason))

    def _insert(
        self, inserted: Sequence[tuple[int, int, int, list[str], Position]]
    ) -> tuple[dict[int, Position], list[int]]:
        """Insert rows among the clear ones, each before the one at its position."""
        unusual: dict[int, Position] = {}
        repaired: list[int] = []
        lines, starts = array("q"), array("q")
        cells: list[list[str]] = [[] for _ in self.columns]
        done = 0
        for position, line, start, values, how in inserted:
            for column, old in zip(cells, self.cells, strict=True):
                column.extend(old[done:position])
            lines.extend(self.lines[done:position])
            starts.extend(self.starts[done:position])
            done = position
            if how != Position():
                unusual[len(starts)] = how
            if how.taken and max(how.taken) > 1:
                repaired.append(len(starts))
            for column, value in zip(cells, values, strict=True):
                column.append(value)
            lines.append(line)
            starts.append(start)
        for column, old in zip(cells, self.cells, strict=True):
            column.extend(old[done:])
        lines.extend(self.lines[done:])
        starts.extend(self.starts[done:])
        self.cells, self.lines, self.starts = cells, lines, starts
        return unusual, repaired

    def _note_shifted(self) -> None:
        """Add a line for categories that look like the end of a text with a separator, which they may be."""
        for name, values in zip(self.columns, self.cells, strict=True):
            if strangers := ColumnValues(values).find_strangers():
                found = [row for row, value in enumerate(values) if value in strangers]
                # Where many values begin so, a program writes a space behind every separator.
                if len(found) <= max(3, MAX_SHIFTED_SHARE * len(values)):
                    self.repairs += [Repair(self.lines[row], name, values[row], values[row], SPACED) for row in found]
        noted = {(each.line, each.column) for each in self.repairs}
        for row, index in find_shifted(self.cells):
            line, column, value = self.lines[row], self.columns[index], self.cells[index][row]
            if (line, column) not in noted:
                self.repairs.append(Repair(line, column, value, value, SHIFTED))

    def _replace_undecodable(self) -> None:
        """Replace bytes that are no letters of the encoding by U+FFFD, with a line for each cell."""
        if not SURROGATES.search(self.text):
            return
        for column, values in zip(self.columns, self.cells, strict=True):
            for row, value in enumerate(values):
                if SURROGATES.search(value):
                    values[row] = SURROGATES.sub("\ufffd", value)
                    reason = "bytes that are no letters of the table's encoding"
                    self.repairs.append(Repair(self.lines[row], column, escape_name(value), values[row], reason))
