"""Change single cells of a table of text, and leave every other byte as it was."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import NamedTuple

from hangtag.catalog.csv_parser import parse_table, read_head
from hangtag.catalog.csv_records import Record, is_quoted, quote_cell, read_record, read_records
from hangtag.catalog.encodings import Text, decode_table
from hangtag.catalog.table import Position, Table
from hangtag.errors import CatalogError

Changes = Mapping[int, Mapping[str, str]]
NOT_ENCODABLE = "the new value has letters that the table's encoding ({encoding}) lacks"
NOT_REWRITTEN = "text in the table's encoding ({encoding}) has bytes that depend on what comes before"
NOT_WRITABLE = "the new value cannot be written into this row so that it is read again as it is"
NOT_READ_AGAIN = "the row has cells in doubt and is read by the values of other rows, of which the new value is none"
CHANGES_OTHERS = "the change would alter how line {line} is read, whose cells are judged by those of other rows"
# Of changes that alter how other rows are read, so many tries find those that do; the rest of them is refused.
MAX_TRIES = 60


class Edit(NamedTuple):
    """A change of a text.

    Attributes:
        start, end: Where the old cells stand; of cells that a short row lacks, where it ends.
        text: What to put there.
        values: The cells that it is to be read as.
    """

    start: int
    end: int
    text: str
    values: list[str]


@dataclass(frozen=True)
class EditedTable:
    """A table's bytes after changes.

    Attributes:
        data: The new bytes; all but those of the changed cells are the old ones.
        refused: Why a row's changes were not made, by its position; of a row all are made or none.
    """

    data: bytes
    refused: dict[int, str]


def edit_cells(data: bytes, table: Table, changes: Changes) -> EditedTable:
    """Replace the values of cells.

    A new value is quoted where the old one was or where it needs it. The result is read again: a change that is not
    read as it was meant, or that changes how any other row is read, is refused.

    Args:
        data: The table as delivered.
        table: The same, parsed.
        changes: New values by the row's position in `table.rows`, then by column.
    """
    text = decode_table(data, encoding=table.encoding)
    if len(text.mark) + len(text.encode(text.text)) != len(data):
        return EditedTable(data, dict.fromkeys(changes, NOT_REWRITTEN.format(encoding=text.encoding)))
    edits, refused = _plan_edits(text, table, changes)
    # Beside a quote that never closes, a new quote may close it.
    quoting = {row for row, planned in edits.items() if any(table.dialect.quote in edit.text for edit in planned)}
    for doubtful in (set(), quoting, set(edits)):
        kept = {row: planned for row, planned in edits.items() if row not in doubtful}
        edited = _splice_cells(text.text, [edit for planned in kept.values() for edit in planned])
        if _is_read_as_planned(text.text, edited, table, kept):
            refused |= dict.fromkeys(doubtful, NOT_WRITABLE)
            harmless, changing = _keep_harmless(data, text, table, kept, changes)
            return EditedTable(_splice_bytes(data, text, harmless), refused | changing)
    raise AssertionError("the table is not read twice alike")


NO_COLUMN = "a column cannot be added to this table so that all of it is read again as it is"
# The header among rows of a table.
HEADER = -1


def append_column(data: bytes, table: Table, heading: str, cells: Mapping[int, str]) -> EditedTable:
    """Add a column behind all others: a cell at the end of the header and of every row; other lines stay.

    A cell is quoted where it needs it, or where the last cell of the header is. Cells that the table's encoding lacks
    letters for stay empty. The result is read again: if anything else is read otherwise, the cells of rows with surplus
    ones are quoted; if that does not help, no column is added.

    Args:
        data: The table as delivered.
        table: The same, parsed.
        heading: The heading.
        cells: The values by the row's position; those of other rows are empty.
    """
    text = decode_table(data, encoding=table.encoding)
    unwritable = {row for row, value in cells.items() if not _can_encode(text, value)}
    refused = dict.fromkeys(unwritable, NOT_ENCODABLE.format(encoding=text.encoding))
    wanted = {row: value for row, value in cells.items() if row not in unwritable}
    if len(text.mark) + len(text.encode(text.text)) != len(data) or not _can_encode(text, heading):
        return EditedTable(data, dict.fromkeys(cells, NO_COLUMN))
    # Rows with surplus cells are judged by those of others, and may be read otherwise with one more: then their cells
    # are quoted.
    for is_quoting in (False, True):
        edits = dict(_plan_column(text.text, table, heading, wanted, is_quoting=is_quoting))
        edited = _splice_bytes(data, text, edits)
        if _has_column(edited, table, heading, wanted):
            return EditedTable(edited, refused)
    return EditedTable(data, dict.fromkeys(cells, NO_COLUMN))


def _can_encode(text: Text, value: str) -> bool:
    try:
        text.encode(value)
    except UnicodeEncodeError:
        return False
    return True


def _plan_column(
    text: str, table: Table, heading: str, cells: Mapping[int, str], *, is_quoting: bool
) -> Iterator[tuple[int, list[Edit]]]:
    """Yield the edits of the header and of each record, in the order of the text.

    Args:
        text: The table.
        table: The same, parsed.
        heading: The heading of the new column.
        cells: Its values by the row's position.
        is_quoting: Whether to quote the cells of a column that takes several.
    """
    width, separator = len(table.columns), table.dialect.separator
    header = read_record(text, table.header, table.dialect)
    was_quoted = is_quoted(text, header, header.list_spans(separator)[-1], table.dialect)
    # The header of a table with names of rows has a cell less.
    given = width - (len(header.values) < width)
    yield HEADER, [_plan_cell(header, given, heading, table, was_quoted=was_quoted)]
    rows = {start: row for row, start in enumerate(table.starts)}
    for number, record in enumerate(read_records(text, header.following, table.dialect)):
        row = rows.get(record.start)
        if row is None:
            # A line that is no row gets one too, so that it does not become one.
            stop = record.stop - record.is_wrapped
            yield len(table.starts) + number, [Edit(stop, stop, separator, [""])]
            continue
        taken = table.unusual.get(row, Position()).taken
        quoted = _quote_taken(record, taken, table) if is_quoting and taken else []
        yield row, [*quoted, _plan_cell(record, width, cells.get(row, ""), table, was_quoted=was_quoted)]


def _quote_taken(record: Record, taken: Sequence[int], table: Table) -> list[Edit]:
    """Return the edits that quote what a column takes of several cells."""
    spans, edits, first = record.list_spans(table.dialect.separator), [], 0
    for count in taken:
        if count > 1:
            start, end = spans[first][0], spans[first + count - 1][1]
            value = table.dialect.separator.join(record.values[first : first + count])
            written = quote_cell(value, table.dialect, was_quoted=True, is_wrapped=record.is_wrapped)
            edits.append(Edit(start, end, written, [value]))
        first += count
    return edits


def _plan_cell(record: Record, width: int, value: str, table: Table, *, was_quoted: bool) -> Edit:
    """Return the edit that puts a cell behind the `width` cells of a record."""
    separator = table.dialect.separator
    written = quote_cell(value, table.dialect, was_quoted=was_quoted, is_wrapped=record.is_wrapped)
    values = record.values
    if len(values) > width and not any(each.strip() for each in values[width:]):
        # Empty cells that some programs write behind the last column.
        start, end = record.list_spans(separator)[width]
        return Edit(start, end, written, [value])
    missing = max(0, width - len(values))
    stop = record.stop - record.is_wrapped
    return Edit(stop, stop, separator * (missing + 1) + written, [*[""] * missing, value])


def _has_column(edited: bytes, table: Table, heading: str, cells: Mapping[int, str]) -> bool:
    """Return whether an edited table is read as before, but for one more column with these cells."""
    try:
        again = parse_table(edited, *table.read_as)
    except CatalogError:
        return False
    column = [cells.get(row, "") for row in range(len(table.lines))]
    return (
        again.columns == (*table.columns, heading)
        and again.dialect == table.dialect
        and again.lines == table.lines
        and [line for line, _ in again.broken] == [line for line, _ in table.broken]
        and again.cells == [*table.cells, column]
    )


Edits = Mapping[int, Sequence[Edit]]


def _keep_harmless(
    data: bytes, text: Text, table: Table, edits: Edits, changes: Changes
) -> tuple[Edits, dict[int, str]]:
    """Return the edits with which every other row is read as before, and why the others are refused."""
    refused: dict[int, str] = {}
    kept: Edits = {}
    waiting = [list(edits)]
    tries = 0
    while waiting:
        rows = waiting.pop()
        if not rows:
            continue
        tries += 1
        tried = {row: edits[row] for row in sorted([*kept, *rows])}
        altered = _list_altered_lines(_splice_bytes(data, text, tried), table, {row: changes[row] for row in tried})
        own = [row for row in rows if table.lines[row] in altered]
        if not altered:
            kept = tried
        elif own:
            refused |= dict.fromkeys(own, NOT_READ_AGAIN)
            waiting.append([row for row in rows if row not in own])
        elif len(rows) == 1 or tries > MAX_TRIES:
            refused |= dict.fromkeys(rows, CHANGES_OTHERS.format(line=min(altered)))
        else:
            middle = len(rows) // 2
            waiting += [rows[middle:], rows[:middle]]
    return kept, refused


def _list_altered_lines(edited: bytes, table: Table, changes: Changes) -> set[int]:
    """Return the lines of rows that are read otherwise than planned.

    In a table without a row in doubt, no row is judged by others: then its head says enough beside the records, and the
    table is not held twice in memory.
    """
    every = {0, *table.lines}
    if table.inferred_encoding and _shows_other_encoding(edited, table.inferred_encoding):
        return every
    how = table.read_as._replace(encoding=table.encoding)
    try:
        if not table.has_doubts and not _have_line_ends(changes):
            _, head = read_head(edited, how)
            return set() if head.dialect == table.dialect and head.filled <= len(table.columns) else every
        again = parse_table(edited, *how)
    except CatalogError:
        return every
    if (again.columns, again.dialect) != (table.columns, table.dialect):
        return every
    altered = {line for line, _ in {*table.broken} ^ {*again.broken}} | {*table.lines} ^ {*again.lines}
    if altered:
        return altered
    for column, old, new in zip(table.columns, table.cells, again.cells, strict=True):
        for row, (before, after) in enumerate(zip(old, new, strict=True)):
            if after != changes.get(row, {}).get(column, before):
                altered.add(table.lines[row])
    return altered


def _shows_other_encoding(edited: bytes, encoding: str) -> bool:
    """Return whether a table would be taken for one in another encoding; one in doubt is not taken for any."""
    try:
        found = decode_table(edited)
    except CatalogError:
        return False
    return found.encoding != encoding and found.text != decode_table(edited, encoding=encoding).text


def _have_line_ends(changes: Changes) -> bool:
    return any("\n" in value or "\r" in value for values in changes.values() for value in values.values())


def _iterate_cells(table: Table, text: str) -> Iterator[tuple[Record, Mapping[str, tuple[int, int]]]]:
    """Yield the record of every row, and where its cells stand by column; a missing cell has no place."""
    for row, start in enumerate(table.starts):
        how = table.unusual.get(row, Position())
        record = read_record(text, start, table.dialect, one_line=how.one_line)
        spans = record.list_spans(table.dialect.separator)
        if how.taken:
            merged, first = [], 0
            for count in how.taken:
                merged.append((spans[first][0], spans[first + count - 1][1]))
                first += count
            spans = merged
        yield record, dict(zip(table.columns, spans, strict=False))


def _plan_edits(text: Text, table: Table, changes: Changes) -> tuple[dict[int, list[Edit]], dict[int, str]]:
    """Return the edits of every row that can be changed, and why the others cannot."""
    edits: dict[int, list[Edit]] = {}
    refused: dict[int, str] = {}
    for row, (record, spans) in enumerate(_iterate_cells(table, text.text)):
        if not (values := changes.get(row)):
            continue
        try:
            text.encode("".join(values.values()))
        except UnicodeEncodeError:
            refused[row] = NOT_ENCODABLE.format(encoding=text.encoding)
            continue
        if table.unusual.get(row, Position()).one_line:
            refused[row] = NOT_WRITABLE
            continue
        edits[row] = _plan_row(text.text, record, spans, values, table)
    return edits, refused


def _plan_row(
    text: str, record: Record, spans: Mapping[str, tuple[int, int]], values: Mapping[str, str], table: Table
) -> list[Edit]:
    """Return the edits of a row in the order of the text."""
    planned = []
    for column, (start, end) in spans.items():
        if column not in values:
            continue
        was_quoted = is_quoted(text, record, (start, end), table.dialect)
        written = quote_cell(values[column], table.dialect, was_quoted=was_quoted, is_wrapped=record.is_wrapped)
        planned.append(Edit(start, end, written, [values[column]]))
    if missing := [column for column in table.columns[len(spans) :] if column in values]:
        wanted = table.columns[len(spans) : table.columns.index(missing[-1]) + 1]
        cells = [values.get(column, "") for column in wanted]
        written = "".join(
            table.dialect.separator + quote_cell(cell, table.dialect, was_quoted=False, is_wrapped=record.is_wrapped)
            for cell in cells
        )
        stop = record.stop - record.is_wrapped
        planned.append(Edit(stop, stop, written, cells))
    return planned


def _splice_bytes(data: bytes, text: Text, edits: Edits) -> bytes:
    """Return the bytes with cells replaced; all others are the delivered ones."""
    pieces, done, offset = [text.mark], 0, len(text.mark)
    for edit in (edit for planned in edits.values() for edit in planned):
        length = len(text.encode(text.text[done : edit.start]))
        pieces += [data[offset : offset + length], text.encode(edit.text)]
        offset += length + len(text.encode(text.text[edit.start : edit.end]))
        done = edit.end
    return b"".join([*pieces, data[offset:]])


def _splice_cells(text: str, edits: Sequence[Edit]) -> str:
    pieces, done = [], 0
    for edit in edits:
        pieces += [text[done : edit.start], edit.text]
        done = edit.end
    return "".join([*pieces, text[done:]])


def _is_read_as_planned(old: str, new: str, table: Table, edits: Mapping[int, Sequence[Edit]]) -> bool:
    """Return whether both texts are read as the same records, but for the changed cells."""
    changed = {table.starts[row]: planned for row, planned in edits.items()}
    shift = 0
    for before, after in zip_longest(*(read_records(text, 0, table.dialect) for text in (old, new))):
        if before is None or after is None or after.start != before.start + shift or after.fault != before.fault:
            return False
        planned = changed.get(before.start, ())
        if after.values != _change_values(before, planned, table.dialect.separator):
            return False
        shift += sum(len(edit.text) - (edit.end - edit.start) for edit in planned)
    return True


def _change_values(record: Record, edits: Sequence[Edit], separator: str) -> list[str]:
    """Return a record's cells after changes."""
    values = list(record.values)
    if not edits:
        return values
    starts, ends = zip(*record.list_spans(separator), strict=True)
    for edit in reversed(edits):
        if edit.text.startswith(separator):
            values += edit.values
        else:
            values[starts.index(edit.start) : len(ends) - ends[::-1].index(edit.end)] = edit.values
    return values
