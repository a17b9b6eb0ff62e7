"""Change single cells of a catalogue's table, and leave every other byte as it was."""

import codecs
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from hangtag.catalog.csv_parser import (
    Record,
    Table,
    decode_table,
    find_fault,
    find_line_end,
    find_lines,
    find_separator,
    parse_table,
    split_records,
)

Span = tuple[int, int]
# Where in the text, and what to put there.
Edit = tuple[Span, str]
Changes = Mapping[int, Mapping[str, str]]
NOT_ENCODABLE = "the new value has letters that the table's encoding, Windows-1252, lacks"
NOT_WRITABLE = "the new value cannot be written into this row so that it is read again as it is"


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

    A new value is quoted where the old one was or where it needs it. What comes out is read again: a change that is
    not read as it was meant, or that changes how another row is read, is refused.

    Args:
        data: The table as delivered.
        table: The same, parsed.
        changes: New values by the row's position in `table.rows`, then by column.
    """
    text, encoding = decode_table(data)
    edits, refused = _plan_edits(text, table, changes, encoding)
    # Beside a quote that never closes, a new quote may have another meaning than its own.
    quoting = {row for row, planned in edits.items() if any(new.startswith('"') for _, new in planned)}
    for doubtful in (set(), quoting, set(edits)):
        refused |= dict.fromkeys(doubtful, NOT_WRITABLE)
        kept = {row: planned for row, planned in edits.items() if row not in doubtful}
        edited = _splice_cells(data, text, encoding, kept)
        if _is_read_as(edited, table, {row: changes[row] for row in kept}):
            return EditedTable(edited, refused)
    raise AssertionError("the table is not read twice alike")


def _plan_edits(
    text: str, table: Table, changes: Changes, encoding: str
) -> tuple[dict[int, list[Edit]], dict[int, str]]:
    """Return the edits of every row that can be changed, and why the others cannot."""
    edits: dict[int, list[Edit]] = {}
    refused: dict[int, str] = {}
    lines, line_end = find_lines(text), find_line_end(text)
    separator = find_separator(text[slice(*lines[0])])
    for row, (record, whole, spans) in enumerate(_find_rows(text, lines, separator, len(table.columns))):
        if not (values := changes.get(row)):
            continue
        planned = []
        for column, value in values.items():
            span = spans[table.columns.index(column)]
            was_quoted = record.has_quotes and text.startswith('"', span[0], span[1])
            planned.append((span, _quote_cell(value, separator, was_quoted=was_quoted)))
        if not _is_encodable("".join(values.values()), encoding):
            refused[row] = NOT_ENCODABLE
        elif _read_alone(_replace_cell(text, whole, planned), line_end, separator, table) != {
            **table.rows[row],
            **values,
        }:
            refused[row] = NOT_WRITABLE
        else:
            edits[row] = sorted(planned)
    return edits, refused


def _find_rows(
    text: str, lines: Sequence[Span], separator: str, width: int
) -> Iterator[tuple[Record, Span, list[Span]]]:
    """Find where every row and its cells stand; broken lines are no rows, and the last cell takes what is too much."""
    records = split_records([text[start:end] for start, end in lines], separator)
    next(records)
    for record in records:
        if find_fault(record, width) is None:
            whole = (lines[record.line - 1][0], lines[record.line + record.num_lines - 2][1])
            spans = _find_cells(text, whole, separator, minds_quotes=record.has_quotes)
            yield record, whole, [*spans[: width - 1], (spans[width - 1][0], whole[1])]


def _find_cells(text: str, whole: Span, separator: str, *, minds_quotes: bool) -> list[Span]:
    """Find where the cells of a record stand, quotes and all."""
    spans: list[Span] = []
    begin, end = whole
    while True:
        behind = _leave_quotes(text, begin) if minds_quotes and text.startswith('"', begin, end) else begin
        stop = text.find(separator, behind, end)
        if stop < 0:
            return [*spans, (begin, end)]
        spans.append((begin, stop))
        begin = stop + 1


def _leave_quotes(text: str, begin: int) -> int:
    """Return the offset behind the quote that closes the cell which opens at `begin`; two in a row stand for one."""
    index = text.index('"', begin + 1)
    while text.startswith('""', index):
        index = text.index('"', index + 2)
    return index + 1


def _quote_cell(value: str, separator: str, *, was_quoted: bool) -> str:
    if was_quoted or value.startswith('"') or any(mark in value for mark in (separator, "\n", "\r")):
        return '"' + value.replace('"', '""') + '"'
    return value


def _is_encodable(value: str, encoding: str) -> bool:
    try:
        value.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _replace_cell(text: str, whole: Span, edits: Sequence[Edit]) -> str:
    pieces, done = [], whole[0]
    for (start, end), new in sorted(edits):
        pieces += [text[done:start], new]
        done = end
    return "".join([*pieces, text[done : whole[1]]])


def _read_alone(record: str, line_end: str, separator: str, table: Table) -> dict[str, str] | None:
    """Read the text of one record in a table with these line ends; None where it is not one."""
    width = len(table.columns)
    found = list(split_records(re.split(line_end, record), separator, width))
    if len(found) != 1 or find_fault(found[0], width):
        return None
    cells = found[0].cells
    return dict(zip(table.columns, [*cells[: width - 1], separator.join(cells[width - 1 :])], strict=True))


def _splice_cells(data: bytes, text: str, encoding: str, edits: Mapping[int, Sequence[Edit]]) -> bytes:
    """Insert the new texts; all other bytes are copied."""
    is_utf8 = encoding == "utf-8"
    pieces, done = [codecs.BOM_UTF8 if is_utf8 and data.startswith(codecs.BOM_UTF8) else b""], 0

    def copy(start: int, end: int) -> bytes:
        # Of Windows-1252 a letter is a byte, those among them that it does not define.
        return text[start:end].encode() if is_utf8 else data[start:end]

    for planned in edits.values():
        for (start, end), new in planned:
            pieces += [copy(done, start), new.encode(encoding)]
            done = end
    return b"".join([*pieces, copy(done, len(text))])


def _is_read_as(data: bytes, table: Table, changes: Changes) -> bool:
    """Return whether the bytes are read as the table with the changes made."""
    found = parse_table(data, "")
    rows = [{**row, **changes.get(index, {})} for index, row in enumerate(table.rows)]
    return (found.columns, found.rows, found.broken) == (table.columns, rows, table.broken)
