"""Change single cells of an Excel workbook, and leave everything else as it was.

Only the elements of the changed cells in the sheet's XML are replaced: formats, formulas, other sheets, charts and
pictures stay what they are, the parts of the archive that hold them to the byte.
"""

import math
import re
from collections.abc import Mapping
from io import BytesIO
from xml.sax.saxutils import escape, quoteattr
from zipfile import ZipFile, ZipInfo

from hangtag.catalog.excel import NOT_EDITABLE, Sheet, find_sheet, format_number, open_workbook
from hangtag.catalog.xlsx import find_part
from hangtag.catalog.xlsx_sheet import Cell, FoundCell, format_reference, scan_sheet
from hangtag.errors import CatalogError

MAX_CELL_LETTERS = 32_767
UNWRITABLE = re.compile("[\x00-\x08\x0b-\x1f\ud800-\udfff\ufffe\uffff]")
# Excel reads `_x0041_` in a text as the letter A, and `_x005F_` as the underscore.
ESCAPED_LETTER = re.compile("_(?=x[0-9A-Fa-f]{4}_)")
MERGED = "it is one of {count} merged cells from {first}, which have one value: all their rows must get the same"
NOT_READ_BACK = "the new value would not be read again as it is"


def edit_excel(
    data: bytes, where: str, sheet: str | None, changes: Mapping[Cell, str]
) -> tuple[bytes, dict[Cell, str]]:
    """Replace the values of cells.

    A new value is a text, in the style that the cell has; one in place of a number or a boolean stays one where it can.
    What comes out is read again: a change that is not read as it was meant is refused. Results of formulas that refer
    to the cells are those of before until a program computes them anew (in Excel: Ctrl+Alt+F9).

    Args:
        data: The workbook: .xlsx or .xlsm.
        where: Its path, for messages.
        sheet: The sheet's name; None takes the one that `read_excel` takes.
        changes: New values by the sheet's row number, from 1, and the column, from 0.

    Returns:
        The new workbook, and why cells were not changed.

    Raises:
        CatalogError: It is an .xls workbook, damaged, encrypted, or has no such sheet.
        MissingExtraError: The extra `excel` is not installed.
    """
    book = open_workbook(data, where)
    if book.archive is None or not book.is_editable:
        raise CatalogError(f"The workbook {where} cannot be written.", received=where, hint=NOT_EDITABLE)
    table = find_sheet(book, sheet)
    before = _list_cells(table)
    part = find_part(book.archive, table.name).path
    content = book.archive.read(part)
    scan = scan_sheet(content, changes)
    if scan.encoding not in ("UTF-8", "US-ASCII", "ASCII") or content.startswith((b"\xfe\xff", b"\xff\xfe")):
        raise CatalogError(
            f"The workbook {where} cannot be written: its XML is no UTF-8.",
            received=scan.encoding,
            hint="Save it anew in Excel, and run `hangtag prepare` again.",
        )
    refused = _check_merged(table, changes)
    refused |= {
        cell: reason
        for cell, new in changes.items()
        if cell not in refused and cell not in table.merged and (reason := _find_fault(scan.found.get(cell), new))
    }
    # What the first of merged cells does not take, the others do not have either.
    refused |= {cell: refused[first] for cell, first in table.merged.items() if cell in changes and first in refused}
    wanted = {cell: new for cell, new in changes.items() if cell not in refused and new != before.get(cell, "")}
    while wanted:
        elements = [
            (scan.found[cell], before.get(cell, ""), new) for cell, new in wanted.items() if cell not in table.merged
        ]
        edited = _replace_part(book.archive, part, _splice(content, elements))
        after = _list_cells(find_sheet(open_workbook(edited, where), table.name))
        wrong = {cell for cell, new in wanted.items() if after.get(cell, "") != new}
        if not wrong:
            if after != {cell: text for cell, text in (before | wanted).items() if text}:
                raise AssertionError("cells have changed that were not to change")
            return edited, refused
        refused |= dict.fromkeys(wrong, NOT_READ_BACK)
        wanted = {cell: new for cell, new in wanted.items() if cell not in wrong}
    return data, refused


def _list_cells(table: Sheet) -> dict[Cell, str]:
    """Return the texts of the cells that are not empty."""
    return {
        (number, column): text
        for number, row in zip(table.numbers, table.rows, strict=True)
        for column, text in enumerate(row)
        if text
    }


def _check_merged(table: Sheet, changes: Mapping[Cell, str]) -> dict[Cell, str]:
    """Return why merged cells cannot be changed: they have one value, so that all of them must get the same."""
    groups: dict[Cell, list[Cell]] = {}
    for cell, first in table.merged.items():
        groups.setdefault(first, [first]).append(cell)
    refused: dict[Cell, str] = {}
    for first, cells in groups.items():
        if len({changes.get(cell) for cell in cells}) > 1:
            reason = MERGED.format(count=len(cells), first=format_reference(first))
            refused |= {cell: reason for cell in cells if cell in changes}
    return refused


def _find_fault(cell: FoundCell | None, new: str) -> str:
    """Return why a cell cannot have this value; empty where it can."""
    if cell is None:
        return "the sheet has no such row"
    if UNWRITABLE.search(new):
        return "the new value has a control character, which a workbook cannot hold"
    if len(new) > MAX_CELL_LETTERS:
        return f"the new value is longer than the {MAX_CELL_LETTERS:,} letters that a cell holds"
    return cell.fault


def _splice(content: bytes, elements: list[tuple[FoundCell, str, str]]) -> bytes:
    """Replace the elements of cells; all other bytes are copied."""
    pieces, done = [], 0
    for cell, old, new in sorted(elements, key=lambda each: each[0].span):
        start, end = cell.span
        pieces += [content[done:start], _make_element(cell, old, new).encode()]
        done = end
    return b"".join([*pieces, content[done:]])


def _make_element(cell: FoundCell, old: str, new: str) -> str:
    prefix = cell.prefix
    kept = "".join(f" {name}={quoteattr(cell.attributes[name])}" for name in ("r", "s") if name in cell.attributes)
    kind = cell.attributes.get("t", "n")
    if not new:
        return f"<{prefix}c{kept}/>"
    if kind == "n" and _is_number(cell.value, old) and _is_number(new, new):
        return f"<{prefix}c{kept}><{prefix}v>{new}</{prefix}v></{prefix}c>"
    if kind == "b" and new in ("TRUE", "FALSE"):
        return f'<{prefix}c{kept} t="b"><{prefix}v>{int(new == "TRUE")}</{prefix}v></{prefix}c>'
    text = escape(ESCAPED_LETTER.sub("_x005F_", new))
    inline = f'<{prefix}is><{prefix}t xml:space="preserve">{text}</{prefix}t></{prefix}is>'
    return f'<{prefix}c{kept} t="inlineStr">{inline}</{prefix}c>'


def _is_number(value: str, shown: str) -> bool:
    """Return whether a stored value is a number that is read as this text: dates are stored as numbers, too."""
    try:
        number = float(value)
    except ValueError:
        return False
    return math.isfinite(number) and format_number(number) == shown


def _replace_part(archive: ZipFile, path: str, content: bytes) -> bytes:
    """Return the archive with another content of one part, the parts in the same order."""
    buffer = BytesIO()
    with ZipFile(buffer, "w") as copied:
        copied.comment = archive.comment
        for info in archive.infolist():
            entry = ZipInfo(info.filename, info.date_time)
            entry.compress_type, entry.external_attr, entry.create_system = (
                info.compress_type,
                info.external_attr,
                info.create_system,
            )
            copied.writestr(entry, content if info.filename == path else archive.read(info))
    return buffer.getvalue()
