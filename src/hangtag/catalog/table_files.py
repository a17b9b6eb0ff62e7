"""Read a catalogue's table whatever its format, and give it back in that format with single cells changed."""

from array import array
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from hangtag.catalog import excel
from hangtag.catalog.csv_editor import EditedTable, edit_cells
from hangtag.catalog.csv_parser import Repair, Table, name_columns, parse_table
from hangtag.catalog.dialect import check_dialect, count_filled, find_header
from hangtag.catalog.excel_editor import edit_excel
from hangtag.catalog.schema import CatalogSchema
from hangtag.catalog.shops import list_layouts
from hangtag.errors import CatalogError

TEXT_SUFFIXES = (".csv", ".tsv", ".txt")
SUFFIXES = (*TEXT_SUFFIXES, *excel.SUFFIXES)
Changes = Mapping[int, Mapping[str, str]]


def is_table(path: str) -> bool:
    """Return whether a file is a table by its name."""
    return PurePosixPath(path).suffix.lower() in SUFFIXES


def parse_table_file(data: bytes, where: str, description: Mapping[str, object]) -> Table:
    """Parse a table: text, or an Excel workbook.

    Args:
        data: The file.
        where: Its path, whose ending says its format.
        description: Entries of the catalogue's description, of which `separator`, `escape` and `sheet` count.

    Raises:
        CatalogError: It cannot be read, is empty, or has a column twice.
        MissingExtraError: What reads its format is not installed.
    """
    headings = [layout.headings for layout in list_layouts()]
    if PurePosixPath(where).suffix.lower() in excel.SUFFIXES:
        return _parse_workbook(data, where, str(description.get("sheet") or "") or None, headings)
    dialect = check_dialect(str(description.get("separator") or ""), str(description.get("escape") or ""))
    return parse_table(data, where, dialect.separator, dialect.escape, headings)


def _parse_workbook(data: bytes, where: str, sheet: str | None, headings: Sequence[frozenset[str]]) -> Table:
    rows, numbers, notes = excel.read_excel(data, where, sheet)
    header = find_header(rows, headings)
    if header is None:
        raise CatalogError(f"The table {where} is empty.", allowed="Allowed: a header line and rows.")
    below = rows[header + 1 :]
    filled = sorted(count_filled(row) for row in below)
    columns = name_columns(rows[header], filled[len(filled) // 2] if filled else 0, where)
    kept = [index for index, name in enumerate(columns) if rows[header][index].strip() or _has_values(below, index)]
    repairs = [Repair(0, "", "", "", note) for note in notes]
    repairs += [
        Repair(number, "", " | ".join(filter(None, row)), "", "above the header")
        for number, row in zip(numbers[:header], rows[:header], strict=True)
    ]
    surplus = [
        Repair(number, "", " | ".join(filter(None, row)), "", "cells without a heading are not read")
        for number, row in zip(numbers[header + 1 :], below, strict=True)
        if count_filled(row) > len(columns)
    ]
    return Table(
        tuple(columns[index] for index in kept),
        [[row[index] for row in below] for index in kept],
        array("q", numbers[header + 1 :]),
        [*repairs, *surplus],
        positions=kept,
    )


def _has_values(rows: Sequence[Sequence[str]], index: int) -> bool:
    return any(row[index].strip() for row in rows)


def edit_table_file(data: bytes, where: str, table: Table, schema: CatalogSchema, changes: Changes) -> EditedTable:
    """Replace the values of cells; of a row, all changes are made or none.

    Args:
        data: The file as delivered.
        where: Its path, whose ending says its format.
        table: The same, parsed.
        schema: What its columns mean.
        changes: New values by the row's position in `table.rows`, then by column.

    Raises:
        CatalogError: Tables of this format cannot be written.
    """
    if PurePosixPath(where).suffix.lower() not in excel.SUFFIXES:
        return edit_cells(data, table, changes)
    refused: dict[int, str] = {}
    rows = {number: row for row, number in enumerate(table.lines)}
    while True:
        cells = {
            (table.lines[row], table.positions[table.columns.index(column)]): value
            for row, values in changes.items()
            if row not in refused
            for column, value in values.items()
        }
        edited, faults = edit_excel(data, where, schema.sheet or None, cells)
        if not faults:
            return EditedTable(edited, refused)
        refused |= {rows[number]: reason for (number, _), reason in faults.items()}
