"""Read a catalogue's table whatever its format, and give it back in that format with single cells changed."""

from array import array
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import TypeVar

from hangtag.catalog import excel
from hangtag.catalog.csv_editor import EditedTable, append_column, edit_cells
from hangtag.catalog.csv_parser import find_doubled, name_columns, parse_table
from hangtag.catalog.csv_records import count_filled
from hangtag.catalog.dialect import check_dialect, find_header
from hangtag.catalog.excel_editor import edit_excel
from hangtag.catalog.json_lines import edit_json_lines, read_json_lines
from hangtag.catalog.parquet_editor import append_parquet_column, edit_parquet
from hangtag.catalog.parquet_table import read_parquet_table
from hangtag.catalog.schema import CatalogSchema
from hangtag.catalog.shop_layouts import list_headings
from hangtag.catalog.table import Repair, Table
from hangtag.catalog.xlsx_sheet import format_reference
from hangtag.catalog.xml_feed import edit_feed, read_feed
from hangtag.errors import CatalogError

TEXT_SUFFIXES = (".csv", ".tsv", ".txt")
PARQUET_SUFFIXES, JSON_SUFFIXES, XML_SUFFIXES = (".parquet",), (".jsonl", ".ndjson"), (".xml",)
SUFFIXES = (*TEXT_SUFFIXES, *excel.SUFFIXES, *PARQUET_SUFFIXES, *JSON_SUFFIXES, *XML_SUFFIXES)
NESTED = (
    "{count} lists or objects, the first here: lists of texts are a category path in a column of levels and several "
    "photographs in that of photographs, all else is read as its JSON"
)
# What stands in a value for bytes that are no letters of the table's encoding.
UNDECODED = "\ufffd"
UNREAD = "the new value is that of a cell with letters that could not be read"
COLUMN_KEYS = ("name", "levels", "attributes", "image", "image_column", "split", "group")
Changes = Mapping[int, Mapping[str, str]]
Cells = Mapping[int, str]
Cell = TypeVar("Cell")


def is_table(path: str) -> bool:
    """Return whether a file is a table by its name."""
    return PurePosixPath(path).suffix.lower() in SUFFIXES


def parse_table_file(data: bytes, where: str, description: Mapping[str, object]) -> Table:
    """Parse a table: text, an Excel workbook, Parquet, JSON lines, or an XML feed.

    Args:
        data: The file.
        where: Its path, whose ending says its format.
        description: Entries of the catalogue's description, of which `separator`, `escape` and `sheet` count.

    Raises:
        CatalogError: It cannot be read, is empty, or has a column twice.
        MissingExtraError: What reads its format is not installed.
    """
    headings = list_headings()
    if described := list_described(description):
        headings.insert(0, described)
    suffix = PurePosixPath(where).suffix.lower()
    if suffix in PARQUET_SUFFIXES:
        parquet = read_parquet_table(data, where)
        numbers = array("q", range(1, len(parquet.cells[0]) + 1 if parquet.cells else 1))
        notes = [Repair(0, "", "", "", note) for note in parquet.notes]
        return Table(parquet.columns, parquet.cells, numbers, notes, pictures=parquet.pictures)
    if suffix in JSON_SUFFIXES:
        found = read_json_lines(data, where)
        cells = [list(column) for column in zip(*found.rows, strict=True)]
        nested = [
            Repair(places[0][0], key, places[0][1], places[0][1], NESTED.format(count=len(places)))
            for key, places in found.nested.items()
        ]
        lines = array("q", found.lines)
        return Table(found.columns, cells, lines, nested, found.broken, list_columns=found.list_columns)
    if suffix in XML_SUFFIXES:
        feed = read_feed(data, where)
        cells = [
            [product.values[column].text if column in product.values else "" for product in feed.products]
            for column in feed.columns
        ]
        return Table(feed.columns, cells, array("q", [product.line for product in feed.products]))
    if suffix in excel.SUFFIXES:
        return _parse_workbook(data, where, str(description.get("sheet") or "") or None, headings)
    dialect = check_dialect(str(description.get("separator") or ""), str(description.get("escape") or ""))
    encoding = str(description.get("encoding") or "")
    table = parse_table(data, where, dialect.separator, dialect.escape, headings, encoding)
    _check_headers(table, where)
    return table


def _check_headers(table: Table, where: str) -> None:
    """Refuse a table below which another one stands whose columns are in another order.

    Raises:
        CatalogError: A row has headings in place of values, and in other places than the header.
    """
    names = set(table.columns)
    for row, first in enumerate(table.cells[0]):
        if first.strip() not in names:
            continue
        filled = {index: cell for index, cells in enumerate(table.cells) if (cell := cells[row].strip())}
        is_header = len(filled) >= max(2, len(names) / 2) and names.issuperset(filled.values())
        if (
            is_header
            and len(set(filled.values())) == len(filled)
            and any(table.columns[index] != cell for index, cell in filled.items())
        ):
            raise CatalogError(
                f"The table {where} has a second header in line {table.lines[row]}, with the columns in another order.",
                allowed="Allowed: one header, or the same again.",
                received=", ".join(filled.values()),
                hint="Divide the file there into two, and put both into a folder: they are read as one table.",
            )


def list_described(description: Mapping[str, object]) -> frozenset[str]:
    """Return the columns that a description names; its header has all of them."""
    known = {key: value for key, value in description.items() if key in COLUMN_KEYS and value}
    if description.get("path_column"):
        known["levels"] = [description["path_column"]]
    named = CatalogSchema.from_values(known | {"id": description.get("id", "")}).named_columns
    # A single name may be a value too.
    return frozenset(named) if len(named) > 1 else frozenset()


def _parse_workbook(data: bytes, where: str, sheet: str | None, headings: Sequence[frozenset[str]]) -> Table:
    found = excel.read_excel(data, where, sheet)
    rows, numbers = found.rows, found.numbers
    header = find_header(rows, headings)
    if header is None:
        raise CatalogError(f"The table {where} is empty.", allowed="Allowed: a header line and rows.")
    below = rows[header + 1 :]
    filled = sorted(count_filled(row) for row in below)
    columns = name_columns(rows[header], filled[len(filled) // 2] if filled else 0, where)
    kept = [index for index, name in enumerate(columns) if rows[header][index].strip() or _has_values(below, index)]
    repairs = [Repair(0, "", "", "", note) for note in found.notes]
    repairs += [
        Repair(number, "", " | ".join(filter(None, row)), "", "above the header")
        for number, row in zip(numbers[:header], rows[:header], strict=True)
    ]
    texts = dict(zip(numbers, rows, strict=True))
    repairs += [
        Repair(
            row, columns[column], "", texts[row][column], f"merged cells, with the value of {format_reference(first)}"
        )
        for (row, column), first in found.merged.items()
        if row > numbers[header] and column < len(columns)
    ]
    surplus = [
        Repair(number, "", " | ".join(filter(None, row)), "", "cells without a heading are not read")
        for number, row in zip(numbers[header + 1 :], below, strict=True)
        if count_filled(row) > len(columns)
    ]
    table = Table(
        tuple(columns[index] for index in kept),
        [[row[index] for row in below] for index in kept],
        array("q", numbers[header + 1 :]),
        [*repairs, *surplus],
        positions=kept,
        doubled=find_doubled(rows[header]),
        sheets=(found.name, *found.others) if found.others else (),
        header=numbers[header],
        width=max(map(len, rows)),
    )
    _check_headers(table, where)
    return table


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
    unread = {row: UNREAD for row, values in changes.items() if any(UNDECODED in value for value in values.values())}
    readable = {row: values for row, values in changes.items() if row not in unread}
    edited = _edit_file(data, where, table, schema, readable)
    return EditedTable(edited.data, edited.refused | unread)


def _edit_file(data: bytes, where: str, table: Table, schema: CatalogSchema, changes: Changes) -> EditedTable:
    suffix = PurePosixPath(where).suffix.lower()
    if suffix in excel.SUFFIXES:
        return _edit_rows(
            changes,
            lambda cells: edit_excel(data, where, schema.sheet or None, cells),
            lambda row, column: (table.lines[row], table.positions[table.columns.index(column)]),
        )
    if suffix in PARQUET_SUFFIXES:
        return _edit_rows(changes, lambda cells: edit_parquet(data, where, cells), lambda row, column: (row, column))
    if suffix in XML_SUFFIXES:
        return _edit_rows(changes, lambda cells: edit_feed(data, where, cells), lambda row, column: (row, column))
    if suffix in JSON_SUFFIXES:
        return _edit_rows(
            changes, lambda cells: edit_json_lines(data, where, cells), lambda row, column: (table.lines[row], column)
        )
    return edit_cells(data, table, changes)


def add_column(data: bytes, where: str, table: Table, schema: CatalogSchema, heading: str, cells: Cells) -> EditedTable:
    """Add a column behind all others; everything else stays as it is.

    Args:
        data: The file as delivered.
        where: Its path, whose ending says its format.
        table: The same, parsed; it has no column of this heading.
        schema: What its columns mean.
        heading: The heading of the new column.
        cells: The values by the row's position in `table.rows`; other rows have an empty cell, or none where the format
            allows that.

    Raises:
        CatalogError: Tables of this format cannot be written.
    """
    suffix = PurePosixPath(where).suffix.lower()
    if suffix in excel.SUFFIXES:
        # The heading is a cell like the others, in a row that is none of the table's.
        first = (table.header, table.width)
        wanted = {(table.lines[row], table.width): value for row, value in cells.items() if value}
        edited, refused = edit_excel(data, where, schema.sheet or None, {first: heading, **wanted})
        if first in refused:
            return EditedTable(data, dict.fromkeys(cells, refused[first]))
        rows = {table.lines[row]: row for row in cells}
        return EditedTable(edited, {rows[number]: reason for (number, _), reason in refused.items()})
    if suffix in PARQUET_SUFFIXES:
        return EditedTable(append_parquet_column(data, where, heading, cells), {})
    if suffix in (*XML_SUFFIXES, *JSON_SUFFIXES):
        return _edit_file(data, where, table, schema, {row: {heading: value} for row, value in cells.items() if value})
    return append_column(data, table, heading, cells)


def _edit_rows(
    changes: Changes,
    edit: Callable[[dict[Cell, str]], tuple[bytes, dict[Cell, str]]],
    locate: Callable[[int, str], Cell],
) -> EditedTable:
    """Change cells; where one of a row is refused, the others of the row are not changed either.

    Args:
        changes: New values by the row's position, then by column.
        edit: Takes new values by cell, and returns the new file and why cells were refused.
        locate: Takes the row's position and the column, and returns the cell as `edit` takes it.
    """
    refused: dict[int, str] = {}
    while True:
        rows = {locate(row, column): row for row, values in changes.items() for column in values if row not in refused}
        cells = {
            locate(row, column): value
            for row, values in changes.items()
            for column, value in values.items()
            if row not in refused
        }
        edited, faults = edit(cells)
        if not faults:
            return EditedTable(edited, refused)
        refused |= {rows[cell]: reason for cell, reason in faults.items()}
