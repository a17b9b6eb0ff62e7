"""Change single cells of a table of text, and leave every other byte as it was."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import NamedTuple

from hangtag.catalog.csv_parser import iterate_cells
from hangtag.catalog.dialect import Record, Text, decode_table, quote_cell, read_records
from hangtag.catalog.table import Position, Table

Changes = Mapping[int, Mapping[str, str]]
NOT_ENCODABLE = "the new value has letters that the table's encoding lacks"
NOT_WRITABLE = "the new value cannot be written into this row so that it is read again as it is"


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
    read as it was meant, or that changes how another row is read, is refused.

    Args:
        data: The table as delivered.
        table: The same, parsed.
        changes: New values by the row's position in `table.rows`, then by column.
    """
    text = decode_table(data, encoding=table.encoding)
    edits, refused = _plan_edits(text, table, changes)
    # Beside a quote that never closes, a new quote may close it.
    quoting = {row for row, planned in edits.items() if any('"' in edit.text for edit in planned)}
    for doubtful in (set(), quoting, set(edits)):
        kept = {row: planned for row, planned in edits.items() if row not in doubtful}
        edited = _splice_cells(text.text, [edit for planned in kept.values() for edit in planned])
        if _is_read_as_planned(text.text, edited, table, kept):
            refused |= dict.fromkeys(doubtful, NOT_WRITABLE)
            return EditedTable(text.encode(edited), refused)
    raise AssertionError("the table is not read twice alike")


def _plan_edits(text: Text, table: Table, changes: Changes) -> tuple[dict[int, list[Edit]], dict[int, str]]:
    """Return the edits of every row that can be changed, and why the others cannot."""
    edits: dict[int, list[Edit]] = {}
    refused: dict[int, str] = {}
    for row, (record, spans) in enumerate(iterate_cells(table, text.text)):
        if not (values := changes.get(row)):
            continue
        try:
            text.encode("".join(values.values()))
        except UnicodeEncodeError:
            refused[row] = NOT_ENCODABLE
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
        was_quoted = record.spans is not None and end > start + 1 and text[start] == text[end - 1] == '"'
        written = quote_cell(values[column], table.dialect, was_quoted=was_quoted)
        planned.append(Edit(start, end, written, [values[column]]))
    if missing := [column for column in table.columns[len(spans) :] if column in values]:
        wanted = table.columns[len(spans) : table.columns.index(missing[-1]) + 1]
        cells = [values.get(column, "") for column in wanted]
        written = "".join(table.dialect.separator + quote_cell(cell, table.dialect, was_quoted=False) for cell in cells)
        planned.append(Edit(record.stop, record.stop, written, cells))
    return planned


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
