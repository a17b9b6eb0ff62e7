"""Read the table of an Excel workbook as texts."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from io import BytesIO
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile

from hangtag.catalog.cell_text import format_decimal, format_value
from hangtag.catalog.files import without_stderr
from hangtag.catalog.other_workbooks import scan_binary_sheet, scan_open_sheets
from hangtag.catalog.xlsx import WorkbookError, count_pictures, find_padded_styles, find_part, open_archive
from hangtag.catalog.xlsx_sheet import Cell, SheetScan, format_reference, scan_sheet
from hangtag.errors import CatalogError, MissingExtraError

if TYPE_CHECKING:
    from python_calamine import CalamineSheet, CalamineWorkbook, SheetMetadata

SUFFIXES = (".xlsx", ".xlsm", ".xls", ".xlsb", ".ods")
ALLOWED = "Allowed: .xlsx, .xlsm, .xls, .xlsb and .ods."
INSTALL = 'Install it with `pip install "hangtag[excel]"`.'
SAVE_AS_XLSX = "Open it in Excel or LibreOffice and save it as .xlsx."
NOT_EDITABLE = (
    "Only .xlsx and .xlsm workbooks can be written by `hangtag apply`, others are read. "
    "Save it as .xlsx before `hangtag prepare`."
)
# The reader allocates the whole rectangle around the cells: two stray cells in far corners would fill the memory.
MAX_AREA, MAX_AREA_PER_CELL = 10_000_000, 20
# Excel itself keeps 15 digits of a number.
MAX_EXACT = 10**15
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
ENCRYPTED = "EncryptedPackage".encode("utf-16-le")


@dataclass(frozen=True)
class Workbook:
    """An open workbook.

    Attributes:
        where: Its path, for messages.
        reader: The library's view of it.
        archive: Its parts; None for an .xls workbook, which has none.
        kind: Its format, as `.xlsx`, whatever its name says.
        scans: What is known of each sheet of an .ods workbook.
    """

    where: str
    reader: "CalamineWorkbook"
    archive: ZipFile | None
    kind: str
    scans: Mapping[str, SheetScan] = field(default_factory=dict)

    @property
    def is_editable(self) -> bool:
        """Return whether its cells can be changed."""
        return self.kind == ".xlsx"

    @property
    def sheets(self) -> "list[SheetMetadata]":
        """Return the sheets that have cells, in their order; charts on sheets of their own have none."""
        return [each for each in self.reader.sheets_metadata if str(each.typ).endswith("WorkSheet")]


@dataclass(frozen=True)
class Sheet:
    """A sheet that was read.

    Attributes:
        name: Its name.
        rows: The rows that are not empty, as texts, from the first column.
        numbers: The sheet's number of each row.
        notes: What a user should know.
        merged: The first cell of the merged cells that each filled cell has its value from.
        others: The names of the workbook's other sheets.
    """

    name: str
    rows: list[list[str]]
    numbers: list[int]
    notes: list[str]
    merged: dict[Cell, Cell] = field(default_factory=dict)
    others: tuple[str, ...] = ()

    @property
    def is_table(self) -> bool:
        """Return whether there is a row with two cells or more, as a header has, and another such row below it."""
        return sum(1 for row in self.rows if sum(map(bool, row)) > 1) > 1


def read_excel(data: bytes, where: str, sheet: str | None = None) -> Sheet:
    """Read a sheet's cells as texts.

    Numbers are written without exponent and without `.0`, dates in ISO 8601, booleans as TRUE and FALSE, errors as
    their text (of .xls and .ods workbooks they are empty), formulas as the result that was stored last. The value of
    merged cells is that of all their rows, in their first column; the other columns are empty. Lists start with column
    A, so that positions in them are the sheet's columns; empty rows are left out.

    Args:
        data: The workbook: .xlsx, .xlsm, .xls, .xlsb or .ods.
        where: Its path, for messages.
        sheet: The sheet's name; None takes the first with a header and rows, a visible one where there is one.

    Returns:
        The sheet, its rows from the first that is not empty, all of one length.

    Raises:
        CatalogError: The workbook is damaged, encrypted, empty or too large, or has no such sheet.
        MissingExtraError: The extra `excel` is not installed.
    """
    book = open_workbook(data, where)
    found = find_sheet(book, sheet)
    notes = [*_note_choice(book, found, is_named=sheet is not None), *found.notes]
    others = tuple(each.name for each in book.sheets if each.name != found.name)
    return replace(found, notes=notes if book.is_editable else [*notes, NOT_EDITABLE], others=others)


def open_workbook(data: bytes, where: str) -> Workbook:
    """Open a workbook.

    Raises:
        CatalogError: It is damaged, encrypted, too large, or of another kind.
        MissingExtraError: The extra `excel` is not installed.
    """
    try:
        from python_calamine import CalamineWorkbook  # noqa: PLC0415  (an extra)
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"Reading {where} needs python-calamine, which is not installed.", hint=INSTALL
        ) from error
    archive, kind = _check_kind(data, where)
    with refusing(where):
        scans = scan_open_sheets(archive) if archive and kind == ".ods" else {}
        for name, scan in scans.items():
            # The library reads all sheets of such a workbook as it opens it.
            _check_area(name, scan)
        return Workbook(where, CalamineWorkbook.from_filelike(BytesIO(data)), archive, kind, scans)


def _check_area(name: str, scan: SheetScan) -> None:
    if scan.area > max(MAX_AREA, MAX_AREA_PER_CELL * scan.filled):
        raise WorkbookError(f"sheet {name!r} has {scan.filled:,} cells, and some are far from the others: delete those")


def _check_kind(data: bytes, where: str) -> tuple[ZipFile | None, str]:
    """Return a workbook's archive, None for .xls, and its format, which its first bytes show, not its name."""
    if data.startswith(OLE):
        if ENCRYPTED in data:
            raise _make_encrypted_error(where)
        return None, ".xls"
    if not data.startswith(b"PK"):
        raise CatalogError(
            f"{where} is no workbook, whatever its name says.",
            allowed=ALLOWED,
            received=data[:20],
            hint="If Excel opens it, save it there as .xlsx or as CSV UTF-8.",
        )
    with refusing(where):
        archive = open_archive(data)
    names = archive.namelist()
    if "xl/workbook.bin" in names:
        return archive, ".xlsb"
    if "content.xml" in names:
        if "META-INF/manifest.xml" in names and b"encryption-data" in archive.read("META-INF/manifest.xml"):
            raise _make_encrypted_error(where)
        return archive, ".ods"
    if "Index/Document.iwa" in names:
        raise CatalogError(
            f"{where} is a document of Numbers, which is not read.",
            allowed=ALLOWED,
            received=where,
            hint="Export it from Numbers as Excel or CSV.",
        )
    return archive, ".xlsx"


def _make_encrypted_error(where: str) -> CatalogError:
    return CatalogError(f"The workbook {where} is encrypted.", received=where, hint="Save it without a password.")


@contextmanager
def refusing(where: str) -> Iterator[None]:
    """Raise a damaged workbook's errors as a user's error; a panic of the library, written in Rust, is one of them."""
    try:
        with without_stderr():
            yield
    except CatalogError:
        raise
    except BaseException as error:
        name = type(error).__name__
        if name == "PasswordError":
            raise _make_encrypted_error(where) from error
        if not isinstance(error, Exception) and name != "PanicException":
            raise
        raise CatalogError(
            f"The workbook {where} cannot be read: {str(error).rstrip('.') or name}.",
            received=where,
            hint="Open it in Excel and save it anew as .xlsx or as CSV UTF-8.",
        ) from error


def find_sheet(book: Workbook, name: str | None) -> Sheet:
    """Read the sheet of this name; without one the first that is a table.

    Raises:
        CatalogError: There is none, or it is damaged.
    """
    return _read_first_table(book) if name is None else _read_named(book, name)


def _read_named(book: Workbook, name: str) -> Sheet:
    names = [each.name for each in book.sheets]
    if name not in names:
        raise CatalogError(
            f"The workbook {book.where} has no such sheet.",
            allowed=f"Allowed: {_list_names(names)}.",
            received=name,
            hint="A chart has no cells." if name in book.reader.sheet_names else "",
        )
    found = _read_sheet(book, name)
    if not found.rows:
        raise CatalogError(
            f"A sheet of the workbook {book.where} is empty.", allowed=_list_others(names, name), received=name
        )
    return found


def _read_first_table(book: Workbook) -> Sheet:
    shown = [each.name for each in book.sheets if str(each.visible).endswith(".Visible")]
    hidden = [each.name for each in book.sheets if each.name not in shown]
    for name in (*shown, *hidden):
        found = _read_sheet(book, name)
        if found.is_table:
            return found
    raise CatalogError(
        f"The workbook {book.where} has no sheet with a header and rows.",
        allowed="Allowed: a sheet with a row of column names, and a row for each product below it.",
        received=[*shown, *hidden],
    )


def _list_names(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names)) or "none"


def _list_others(names: Sequence[str], name: str) -> str:
    others = [each for each in names if each != name]
    return f"Other sheets: {_list_names(others)}." if others else ""


def _note_choice(book: Workbook, found: Sheet, *, is_named: bool) -> list[str]:
    sheets = book.sheets
    hidden = [each.name for each in sheets if not str(each.visible).endswith(".Visible")]
    notes = []
    if len(sheets) > 1 and not is_named:
        others = [f"{each.name!r} (hidden)" if each.name in hidden else repr(each.name) for each in sheets]
        others = [text for text, each in zip(others, sheets, strict=True) if each.name != found.name]
        notes.append(
            f"of {len(sheets)} sheets {found.name!r} is read, the first with a header and rows; "
            f"not read: {', '.join(others)}"
        )
    if found.name in hidden:
        notes.append(f"sheet {found.name!r} is hidden")
    return notes


def _read_sheet(book: Workbook, name: str) -> Sheet:
    with refusing(book.where):
        scan, pictures = SheetScan(), 0
        if book.archive and book.kind == ".xlsx":
            part = find_part(book.archive, name)
            scan = scan_sheet(book.archive.read(part.path), padded_styles=find_padded_styles(book.archive))
            pictures = count_pictures(book.archive, part)
        elif book.archive:
            scan = book.scans.get(name, scan) if book.kind == ".ods" else scan_binary_sheet(book.archive, name)
        _check_area(name, scan)
        sheet = book.reader.get_sheet_by_name(name)
        if not book.archive:
            scan.merged = [
                (top + 1, left, bottom + 1, right) for (top, left), (bottom, right) in sheet.merged_cell_ranges or ()
            ]
        rows, numbers, long_numbers = _read_rows(sheet, scan.errors)
        merged = _fill_merged(rows, numbers, scan.merged)
    return Sheet(name, rows, numbers, _write_notes(name, scan, pictures, long_numbers, len(merged)), merged)


def _fill_merged(
    rows: list[list[str]], numbers: Sequence[int], ranges: Sequence[tuple[int, int, int, int]]
) -> dict[Cell, Cell]:
    """Copy the value of merged cells down their first column, into the rows that are not empty without it.

    A program shows one value for all of them, so that nothing is guessed. Of cells that are merged over several columns
    nobody can say which of them the value belongs to beside the first.

    Returns:
        The first cell of the merged ones, for each cell that has its value.
    """
    filled: dict[Cell, Cell] = {}
    for top, left, bottom, _ in ranges:
        first = bisect_left(numbers, top)
        if first == len(numbers) or numbers[first] != top or left >= len(rows[first]) or not rows[first][left]:
            continue
        for position in range(first + 1, bisect_right(numbers, bottom)):
            cell = (numbers[position], left)
            if cell in filled:
                raise WorkbookError(f"the merged cells at {format_reference(cell)} overlap")
            # A value below merged cells is not shown, but it is there.
            if not rows[position][left]:
                rows[position][left] = rows[first][left]
                filled[cell] = (top, left)
    return filled


def _read_rows(sheet: "CalamineSheet", errors: Mapping[Cell, str]) -> tuple[list[list[str]], list[int], int]:
    """Return the rows that are not empty as texts, their numbers, and how many numbers are too long to be exact."""
    rows, numbers, long_numbers = [], [], 0
    in_rows: dict[int, dict[int, str]] = {}
    for (row, column), text in errors.items():
        in_rows.setdefault(row, {})[column] = text
    for number, values in enumerate(_iter_values(sheet), start=1):
        texts = [format_number(each) if isinstance(each, float) else format_value(each) for each in values]
        long_numbers += sum(isinstance(each, float) and abs(each) >= MAX_EXACT for each in values)
        for column, text in in_rows.pop(number, {}).items():
            texts += [""] * (column + 1 - len(texts))
            texts[column] = text
        if any(texts):
            rows.append(texts)
            numbers.append(number)
    # A column that only formats have touched is none.
    width = max((column for row in rows for column, text in enumerate(row, start=1) if text), default=0)
    return [row[:width] + [""] * (width - len(row)) for row in rows], numbers, long_numbers


def _iter_values(sheet: "CalamineSheet") -> Iterator[list[Any]]:
    if sheet.start is None:
        return
    indent = [""] * sheet.start[1]
    for values in sheet.iter_rows():
        yield [*indent, *values]


def format_number(value: float) -> str:
    """Return a number as Excel shows it: with the fifteen digits that it keeps, and without exponent."""
    # 0.3, where a sum in binary is 0.30000000000000004; whole numbers have all their digits.
    return str(int(value)) if value.is_integer() else format_decimal(Decimal(format(value, ".15g")))


def _write_notes(name: str, scan: SheetScan, pictures: int, long_numbers: int, num_filled: int) -> list[str]:
    error = format_reference(next(iter(scan.errors))) if scan.errors else ""
    hidden = scan.hidden_rows[0] if scan.hidden_rows else 0
    beside = sum((bottom - top + 1) * (right - left) for top, left, bottom, right in scan.merged)
    lines = (
        (pictures, "picture", "ignored"),
        (len(scan.hidden_rows), "hidden row", f"read like the others (the first is row {hidden})"),
        (scan.hidden_columns, "hidden column", "read like the others"),
        (scan.formulas - scan.without_result, "formula", "read as the result that was stored last"),
        (scan.without_result, "formula", "without a stored result, read as empty: open and save the file in Excel"),
        (len(scan.errors), "error", f"read as its text, such as #N/A (the first is in {error})"),
        (num_filled, "cell", "merged into others above, read with the value of the first of them"),
        (beside, "cell", "merged into others at their left, read as empty"),
        (scan.padded, "number", "shown with leading zeros that are not part of it, read without them"),
        (long_numbers, "number", "longer than the 15 digits that Excel keeps: the last digits may be wrong"),
    )
    return [
        f"sheet {name!r}: {count:,} {noun}{'s' if count > 1 else ''}, {what}" for count, noun, what in lines if count
    ]
