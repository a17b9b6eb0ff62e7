"""Check .ods and .xlsb workbooks before a library reads them: their size, and what is merged, hidden or computed.

The binary format of .xlsb is that of Microsoft's [MS-XLSB]; .ods is OASIS OpenDocument 1.3.
"""

import struct
from collections.abc import Iterator
from xml.parsers import expat
from zipfile import ZipFile

from hangtag.catalog.xlsx import WorkbookError, read_relations
from hangtag.catalog.xlsx_sheet import SheetScan

# Records of .xlsb: a row, cells (blank, numbers, an error, a boolean, texts, formulas), merged cells, a sheet's name.
ROW, CELLS, FORMULAS, ERRORS, MERGED, SHEET = 0, range(2, 12), range(8, 12), (3, 11), 176, 156
ERROR_TEXTS = {
    0x00: "#NULL!",
    0x07: "#DIV/0!",
    0x0F: "#VALUE!",
    0x17: "#REF!",
    0x1D: "#NAME?",
    0x24: "#NUM!",
    0x2A: "#N/A",
    0x2B: "#GETTING_DATA",
}
TABLE = "urn:oasis:names:tc:opendocument:xmlns:table:1.0 "
OFFICE = "urn:oasis:names:tc:opendocument:xmlns:office:1.0 "


def scan_binary_sheet(archive: ZipFile, name: str) -> SheetScan:
    """Scan a sheet of an .xlsb workbook.

    Raises:
        WorkbookError: It is damaged or missing.
    """
    workbook = "xl/workbook.bin"
    try:
        targets = read_relations(archive, workbook)
        for kind, content in _iter_records(archive.read(workbook)):
            if kind == SHEET:
                relation, end = _read_text(content, 8)
                if _read_text(content, end)[0] == name and relation in targets:
                    return _scan_records(archive.read(targets[relation][1]))
    except (struct.error, UnicodeDecodeError, IndexError, KeyError) as error:
        raise WorkbookError(f"sheet {name!r} is damaged or missing") from error
    raise WorkbookError(f"the part of sheet {name!r} is missing")


def _iter_records(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the kind and the content of each record of a part."""
    position = 0
    while position < len(content):
        kind = content[position]
        position += 1
        if kind & 0x80:
            kind = kind & 0x7F | (content[position] & 0x7F) << 7
            position += 1
        size = 0
        for shift in (0, 7, 14, 21):
            byte = content[position]
            position += 1
            size |= (byte & 0x7F) << shift
            if not byte & 0x80:
                break
        yield kind, content[position : position + size]
        position += size


def _read_text(content: bytes, start: int) -> tuple[str, int]:
    """Return a text with its length before it, and where it ends."""
    (length,) = struct.unpack_from("<I", content, start)
    end = start + 4 + 2 * length
    return content[start + 4 : end].decode("utf-16-le"), end


def _scan_records(content: bytes) -> SheetScan:
    scan, row = SheetScan(), 0
    rows: set[int] = set()
    columns: set[int] = set()
    for kind, record in _iter_records(content):
        if kind == ROW:
            row = struct.unpack_from("<I", record)[0] + 1
        elif kind in CELLS:
            (column,) = struct.unpack_from("<I", record)
            rows.add(row)
            columns.add(column)
            scan.filled += 1
            scan.formulas += kind in FORMULAS
            if kind in ERRORS:
                scan.errors[row, column] = ERROR_TEXTS.get(record[8], "#ERROR")
        elif kind == MERGED:
            top, bottom, left, right = struct.unpack_from("<4I", record)
            scan.merged.append((top + 1, left, bottom + 1, right))
    if rows:
        scan.area = (max(rows) - min(rows) + 1) * (max(columns) - min(columns) + 1)
    return scan


def scan_open_sheets(archive: ZipFile) -> dict[str, SheetScan]:
    """Scan the sheets of an .ods workbook, by their names.

    Raises:
        WorkbookError: It is damaged.
    """
    reader = _OpenSheetReader()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.StartDoctypeDeclHandler = reader.refuse_doctype
    try:
        parser.Parse(archive.read("content.xml"), True)
    except (expat.ExpatError, KeyError, ValueError) as error:
        raise WorkbookError(f"the XML of its sheets is damaged ({error})") from error
    return reader.scans


class _OpenSheetReader:
    """Follow the rows and cells of the sheets, each of which may stand for many that are alike."""

    def __init__(self) -> None:
        self.scans: dict[str, SheetScan] = {}
        self.scan = SheetScan()
        self._depth = 0
        self._row, self._column, self._repeated, self._hidden = 1, 0, 1, False
        self._bounds: list[int] = []
        self._row_holds = False

    def refuse_doctype(self, *_: object) -> None:
        raise WorkbookError("it has a document type, which workbooks have not")

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if name == f"{TABLE}table":
            self._depth += 1
            # A cell may hold a table of its own.
            if self._depth == 1:
                self.scan = self.scans[attributes.get(f"{TABLE}name", "")] = SheetScan()
                self._row, self._bounds = 1, []
        elif self._depth != 1:
            return
        elif name == f"{TABLE}table-row":
            self._repeated = int(attributes.get(f"{TABLE}number-rows-repeated", "1"))
            self._hidden = attributes.get(f"{TABLE}visibility", "visible") != "visible"
            self._column, self._row_holds = 0, False
        elif name in (f"{TABLE}table-cell", f"{TABLE}covered-table-cell"):
            self._start_cell(attributes, is_covered=name.endswith("covered-table-cell"))

    def _start_cell(self, attributes: dict[str, str], *, is_covered: bool) -> None:
        repeated = int(attributes.get(f"{TABLE}number-columns-repeated", "1"))
        if f"{OFFICE}value-type" in attributes and not is_covered:
            self._row_holds = True
            self.scan.formulas += f"{TABLE}formula" in attributes
            self.scan.filled += 1
            place = (self._row, self._row + self._repeated - 1, self._column, self._column + repeated - 1)
            bounds = self._bounds = self._bounds or [*place]
            bounds[:] = [
                *(min(bounds[0], place[0]), max(bounds[1], place[1])),
                *(min(bounds[2], place[2]), max(bounds[3], place[3])),
            ]
            self.scan.area = (bounds[1] - bounds[0] + 1) * (bounds[3] - bounds[2] + 1)
        height = int(attributes.get(f"{TABLE}number-rows-spanned", "1"))
        width = int(attributes.get(f"{TABLE}number-columns-spanned", "1"))
        if height > 1 or width > 1:
            self.scan.merged.append((self._row, self._column, self._row + height - 1, self._column + width - 1))
        self._column += repeated

    def end(self, name: str) -> None:
        if name == f"{TABLE}table":
            self._depth -= 1
        elif name == f"{TABLE}table-row" and self._depth == 1:
            if self._hidden and self._row_holds:
                self.scan.hidden_rows += range(self._row, self._row + min(self._repeated, 1000))
            self._row += self._repeated
