"""Find where the cells of a sheet of an .xlsx workbook stand in its XML, and what is hidden, merged or computed."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from xml.parsers import expat

from hangtag.catalog.xlsx import WorkbookError

Cell = tuple[int, int]
# What may follow the name in an end tag.
CLOSING = (b">", b" ", b"\n", b"\r", b"\t")
MERGED = "it is part of merged cells, whose value stands in the first of them"


@dataclass
class FoundCell:
    """A cell as it stands in a sheet's XML.

    Attributes:
        span: Where its element starts and ends, in bytes; both the same where there is no such cell yet.
        attributes: Its attributes; for a new cell those it gets.
        prefix: The namespace prefix of its name, with a colon; usually empty.
        value: The text of its `v`.
        fault: Why it cannot be changed; empty where it can.
    """

    span: tuple[int, int]
    attributes: dict[str, str]
    prefix: str = ""
    value: str = ""
    fault: str = ""


@dataclass
class SheetScan:
    """What a sheet's XML says beyond the values of its cells.

    Attributes:
        filled: How many cells hold something.
        area: How many cells the smallest rectangle around them has.
        errors: The text of each error cell, such as `#N/A`.
        hidden_rows: Rows that are hidden and hold something.
        hidden_columns: How many columns are hidden.
        formulas: How many cells hold a formula.
        without_result: How many of them have no stored result.
        padded: How many numbers show leading zeros that are not part of them.
        merged: Merged ranges, as (first row, first column, last row, last column).
        found: The wanted cells, as far as their rows are there.
        encoding: The encoding that the XML states, in capitals.
    """

    filled: int = 0
    area: int = 0
    errors: dict[Cell, str] = field(default_factory=dict)
    hidden_rows: list[int] = field(default_factory=list)
    hidden_columns: int = 0
    formulas: int = 0
    without_result: int = 0
    padded: int = 0
    merged: list[tuple[int, int, int, int]] = field(default_factory=list)
    found: dict[Cell, FoundCell] = field(default_factory=dict)
    encoding: str = "UTF-8"


def parse_reference(text: str) -> Cell:
    """Return the row, from 1, and the column, from 0, of a cell's name, such as `AB12`."""
    letters = text.rstrip("0123456789")
    column = 0
    for letter in letters:
        column = 26 * column + ord(letter) - ord("A") + 1
    return int(text[len(letters) :]), column - 1


def format_reference(cell: Cell) -> str:
    """Return the name of a cell, such as `AB12`."""
    row, column = cell
    letters = ""
    column += 1
    while column:
        column, letter = divmod(column - 1, 26)
        letters = chr(ord("A") + letter) + letters
    return f"{letters}{row}"


def _parse_range(text: str) -> tuple[int, int, int, int]:
    first, _, last = text.replace("$", "").partition(":")
    return *parse_reference(first), *parse_reference(last or first)


def scan_sheet(content: bytes, wanted: Collection[Cell] = (), padded_styles: Collection[str] = ()) -> SheetScan:
    """Read a sheet's XML once, without keeping its cells.

    Args:
        content: The XML.
        wanted: Cells whose place is wanted, as (row from 1, column from 0).
        padded_styles: The numbers of the styles that show leading zeros.

    Raises:
        WorkbookError: It is damaged.
    """
    reader = _SheetReader(content, wanted, padded_styles)
    try:
        reader.parser.Parse(content, True)
    except WorkbookError:
        raise
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise WorkbookError(f"the XML of a sheet is damaged ({error})") from error
    return reader.finish()


class _SheetReader:
    """Follow the elements of a sheet's XML; cells and rows without a name follow the one before."""

    def __init__(self, content: bytes, wanted: Collection[Cell], padded_styles: Collection[str]) -> None:
        self.scan = SheetScan()
        self._content, self._padded = content, padded_styles
        self._wanted: dict[int, list[int]] = {}
        for row, column in sorted(wanted):
            self._wanted.setdefault(row, []).append(column)
        self._row = self._column = 0
        self._row_holds = self._row_hidden = False
        self._row_attributes: Mapping[str, str] = {}
        self._open: list[int] = []  # the wanted columns of this row that are not passed yet
        self._prefix = ""
        self._cell: FoundCell | None = None
        self._attributes: dict[str, str] = {}
        self._has_value = self._has_formula = False
        self._text: list[str] = []
        self._bounds: list[int] = []
        self._arrays: list[tuple[int, int, int, int]] = []
        self._column_styles: list[tuple[int, int, str]] = []
        self._starts: dict[str, Callable[[dict[str, str]], None]] = {
            "row": self._start_row,
            "c": self._start_cell,
            "f": self._start_formula,
            "v": self._start_value,
            "is": self._start_inline,
            "extLst": self._start_extension,
            "col": self._start_column,
            "mergeCell": lambda attributes: self.scan.merged.append(_parse_range(attributes["ref"])),
        }
        self._ends = {"row": self._end_row, "c": self._end_cell, "v": self._end_value}
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.StartDoctypeDeclHandler = self._refuse_doctype
        self.parser.XmlDeclHandler = self._declare

    def finish(self) -> SheetScan:
        """Return the scan, with what is known of the wanted cells at the end only."""
        scan = self.scan
        if self._bounds:
            top, bottom, left, right = self._bounds
            scan.area = (bottom - top + 1) * (right - left + 1)
        for (row, column), cell in scan.found.items():
            for top, left, bottom, right in self._arrays:
                if top <= row <= bottom and left <= column <= right:
                    cell.fault = "it is the result of a formula"
            for top, left, bottom, right in scan.merged:
                if top <= row <= bottom and left <= column <= right and (row, column) != (top, left):
                    cell.fault = f"{MERGED} ({format_reference((top, left))})"
        return scan

    def _refuse_doctype(self, *_: object) -> None:
        raise WorkbookError("a sheet has a document type, which workbooks have not")

    def _declare(self, _version: str, encoding: str | None, _standalone: int) -> None:
        self.scan.encoding = (encoding or "UTF-8").upper()

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        prefix, _, local = name.rpartition(":")
        if handler := self._starts.get(local):
            self._prefix = f"{prefix}:" if prefix else ""
            handler(attributes)

    def _end(self, name: str) -> None:
        if handler := self._ends.get(name.rpartition(":")[2]):
            # Of an empty element `<c/>` the end is reported behind it, where its parent's end tag may stand.
            place = self.parser.CurrentByteIndex
            tag = f"</{name}".encode()
            is_empty = not self._content.startswith(tuple(tag + each for each in CLOSING), place)
            handler(place if is_empty else self._content.index(b">", place) + 1, is_empty)

    def _start_column(self, attributes: dict[str, str]) -> None:
        first, last = int(attributes["min"]) - 1, int(attributes["max"]) - 1
        if attributes.get("hidden") in ("1", "true"):
            self.scan.hidden_columns += last - first + 1
        if "style" in attributes:
            self._column_styles.append((first, last, attributes["style"]))

    def _start_row(self, attributes: dict[str, str]) -> None:
        self._row = int(attributes.get("r", self._row + 1))
        self._column, self._row_holds = -1, False
        self._row_hidden = attributes.get("hidden") in ("1", "true")
        self._row_attributes = attributes
        self._open = list(self._wanted.get(self._row, ()))

    def _end_row(self, _end: int, is_empty: bool) -> None:
        if self._row_hidden and self._row_holds:
            self.scan.hidden_rows.append(self._row)
        if self._open and not is_empty:
            self._insert_before(None)

    def _start_extension(self, _: dict[str, str]) -> None:
        if self._open and self._cell is None:
            self._insert_before(None)

    def _insert_before(self, column: int | None) -> None:
        """Note that the wanted cells before this column are not there, and where they would stand."""
        place = self.parser.CurrentByteIndex
        while self._open and (column is None or self._open[0] < column):
            missing = (self._row, self._open.pop(0))
            attributes = {"r": format_reference(missing)}
            if style := self._find_style(missing[1]):
                attributes["s"] = style
            self.scan.found[missing] = FoundCell((place, place), attributes, self._prefix)

    def _find_style(self, column: int) -> str:
        if self._row_attributes.get("customFormat") in ("1", "true"):
            return self._row_attributes.get("s", "")
        return next((style for first, last, style in self._column_styles if first <= column <= last), "")

    def _start_cell(self, attributes: dict[str, str]) -> None:
        if "r" in attributes:
            row, self._column = parse_reference(attributes["r"])
            if row != self._row:
                raise ValueError(f"cell {attributes['r']} in row {self._row}")
        else:
            self._column += 1
        self._attributes, self._text = attributes, []
        self._has_value = self._has_formula = False
        if self._open:
            self._insert_before(self._column)
        if self._open and self._open[0] == self._column:
            self._open.pop(0)
            start = self.parser.CurrentByteIndex
            self._cell = FoundCell((start, start), attributes, self._prefix)

    def _start_formula(self, attributes: dict[str, str]) -> None:
        self._has_formula = True
        self.scan.formulas += 1
        if "ref" in attributes and attributes.get("t") != "shared":
            self._arrays.append(_parse_range(attributes["ref"]))

    def _start_value(self, _: dict[str, str]) -> None:
        self._has_value = True
        if self._cell is not None or self._has_formula or self._attributes.get("t") == "e":
            self.parser.CharacterDataHandler = self._text.append

    def _start_inline(self, _: dict[str, str]) -> None:
        self._has_value = True

    def _end_value(self, _end: int, _is_empty: bool) -> None:
        self.parser.CharacterDataHandler = None

    def _end_cell(self, end: int, _is_empty: bool) -> None:
        scan, row, column, attributes = self.scan, self._row, self._column, self._attributes
        if self._has_formula and not self._text and attributes.get("t") != "str":
            # openpyxl writes an empty result, other programs none. An empty text is a result.
            self._has_value = False
            scan.without_result += 1
        if self._has_value:
            self._row_holds = True
            scan.filled += 1
            self._widen(row, column)
            kind = attributes.get("t", "n")
            if kind == "e":
                scan.errors[row, column] = "".join(self._text)
            elif kind == "n" and attributes.get("s") in self._padded:
                scan.padded += 1
        if self._cell is not None:
            self._close_cell(self._cell, end)

    def _close_cell(self, cell: FoundCell, end: int) -> None:
        cell.span, cell.value = (cell.span[0], end), "".join(self._text)
        if self._has_formula:
            cell.fault = "it holds a formula"
        elif "vm" in cell.attributes or "cm" in cell.attributes:
            cell.fault = "it holds a picture or linked data"
        self.scan.found[self._row, self._column] = cell
        self._cell = None

    def _widen(self, row: int, column: int) -> None:
        if not self._bounds:
            self._bounds = [row, row, column, column]
        bounds = self._bounds
        bounds[1] = max(bounds[1], row)
        bounds[0] = min(bounds[0], row)
        bounds[2] = min(bounds[2], column)
        bounds[3] = max(bounds[3], column)
