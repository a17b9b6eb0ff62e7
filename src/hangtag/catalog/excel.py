"""Read the table of an Excel workbook as texts."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from io import BytesIO
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile

from hangtag.catalog.cell_text import format_decimal, format_value
from hangtag.catalog.xlsx import WorkbookError, count_pictures, find_padded_styles, find_part, open_archive
from hangtag.catalog.xlsx_sheet import Cell, SheetScan, format_reference, scan_sheet
from hangtag.errors import CatalogError, MissingExtraError

if TYPE_CHECKING:
    from python_calamine import CalamineSheet, CalamineWorkbook, SheetMetadata

SUFFIXES = (".xlsx", ".xlsm", ".xls")
INSTALL = 'Install it with `pip install "hangtag[excel]"`.'
SAVE_AS_XLSX = "Open it in Excel or LibreOffice and save it as .xlsx."
NOT_EDITABLE = (
    "An .xls workbook can be read, but `hangtag apply` cannot write it. Save it as .xlsx before `hangtag prepare`."
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
    """

    where: str
    reader: "CalamineWorkbook"
    archive: ZipFile | None

    @property
    def sheets(self) -> "list[SheetMetadata]":
        """Return the sheets that have cells, in their order; charts on sheets of their own have none."""
        return [each for each in self.reader.sheets_metadata if str(each.typ).endswith("WorkSheet")]


@dataclass(frozen=True)
class Sheet:
    """A sheet that was read: its rows as texts, their numbers, and notes."""

    name: str
    rows: list[list[str]]
    numbers: list[int]
    notes: list[str]

    @property
    def is_table(self) -> bool:
        """Return whether there is a row with two cells or more, as a header has, and another such row below it."""
        return sum(1 for row in self.rows if sum(map(bool, row)) > 1) > 1


def read_excel(data: bytes, where: str, sheet: str | None = None) -> tuple[list[list[str]], list[int], list[str]]:
    """Read a sheet's cells as texts.

    Numbers are written without exponent and without `.0`, dates in ISO 8601, booleans as TRUE and FALSE, errors as
    their text (of an .xls workbook they are empty), formulas as the result that was stored last. Of merged cells the
    first has the value. Lists start with column A, so that positions in them are the sheet's columns; empty rows are
    left out.

    Args:
        data: The workbook: .xlsx, .xlsm or .xls.
        where: Its path, for messages.
        sheet: The sheet's name; None takes the first with a header and rows, a visible one where there is one.

    Returns:
        The rows from the first that is not empty, all of one length; the sheet's row number of each; notes for the
        user.

    Raises:
        CatalogError: The workbook is damaged, encrypted, empty or too large, or has no such sheet.
        MissingExtraError: The extra `excel` is not installed.
    """
    book = open_workbook(data, where)
    found = find_sheet(book, sheet)
    notes = [*_note_choice(book, found, is_named=sheet is not None), *found.notes]
    return found.rows, found.numbers, notes if book.archive else [*notes, NOT_EDITABLE]


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
    archive = _check_kind(data, where)
    with refusing(where):
        return Workbook(where, CalamineWorkbook.from_filelike(BytesIO(data)), archive)


def _check_kind(data: bytes, where: str) -> ZipFile | None:
    """Return the archive of an .xlsx workbook, None for .xls; what a file is shows in its first bytes, not its name."""
    if data.startswith(OLE):
        if ENCRYPTED in data:
            raise _make_encrypted_error(where)
        return None
    if not data.startswith(b"PK"):
        raise CatalogError(
            f"{where} is no Excel workbook, whatever its name says.",
            allowed="Allowed: .xlsx, .xlsm and .xls.",
            received=data[:20],
            hint="If Excel opens it, save it there as .xlsx or as CSV UTF-8.",
        )
    with refusing(where):
        archive = open_archive(data)
    names = archive.namelist()
    if "xl/workbook.bin" in names or "content.xml" in names:
        raise CatalogError(
            f"{where} is a workbook of a kind that is not read (.xlsb or .ods).",
            allowed="Allowed: .xlsx, .xlsm and .xls.",
            received=where,
            hint=SAVE_AS_XLSX,
        )
    return archive


def _make_encrypted_error(where: str) -> CatalogError:
    return CatalogError(f"The Excel workbook {where} is encrypted.", received=where, hint="Save it without a password.")


@contextmanager
def refusing(where: str) -> Iterator[None]:
    """Raise a damaged workbook's errors as a user's error; a panic of the library, written in Rust, is one of them."""
    try:
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
            f"The Excel workbook {where} cannot be read: {str(error).rstrip('.') or name}.",
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
            f"The Excel workbook {book.where} has no such sheet.",
            allowed=f"Allowed: {_list_names(names)}.",
            received=name,
            hint="A chart has no cells." if name in book.reader.sheet_names else "",
        )
    found = _read_sheet(book, name)
    if not found.rows:
        raise CatalogError(
            f"A sheet of the Excel workbook {book.where} is empty.", allowed=_list_others(names, name), received=name
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
        f"The Excel workbook {book.where} has no sheet with a header and rows.",
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
        if book.archive:
            part = find_part(book.archive, name)
            scan = scan_sheet(book.archive.read(part.path), padded_styles=find_padded_styles(book.archive))
            pictures = count_pictures(book.archive, part)
            if scan.area > max(MAX_AREA, MAX_AREA_PER_CELL * scan.filled):
                raise WorkbookError(
                    f"sheet {name!r} has {scan.filled:,} cells, and some are far from the others: delete those"
                )
        sheet = book.reader.get_sheet_by_name(name)
        if not book.archive:
            scan.merged = [
                (top + 1, left, bottom + 1, right) for (top, left), (bottom, right) in sheet.merged_cell_ranges or ()
            ]
        rows, numbers, long_numbers = _read_rows(sheet, scan.errors)
    return Sheet(name, rows, numbers, _write_notes(name, scan, pictures, long_numbers))


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


def _write_notes(name: str, scan: SheetScan, pictures: int, long_numbers: int) -> list[str]:
    error = format_reference(next(iter(scan.errors))) if scan.errors else ""
    hidden = scan.hidden_rows[0] if scan.hidden_rows else 0
    merged = sum((bottom - top + 1) * (right - left + 1) - 1 for top, left, bottom, right in scan.merged)
    lines = (
        (pictures, "picture", "ignored"),
        (len(scan.hidden_rows), "hidden row", f"read like the others (the first is row {hidden})"),
        (scan.hidden_columns, "hidden column", "read like the others"),
        (scan.formulas - scan.without_result, "formula", "read as the result that was stored last"),
        (scan.without_result, "formula", "without a stored result, read as empty: open and save the file in Excel"),
        (len(scan.errors), "error", f"read as its text, such as #N/A (the first is in {error})"),
        (merged, "cell", "merged into others, read as empty"),
        (scan.padded, "number", "shown with leading zeros that are not part of it, read without them"),
        (long_numbers, "number", "longer than the 15 digits that Excel keeps: the last digits may be wrong"),
    )
    return [
        f"sheet {name!r}: {count:,} {noun}{'s' if count > 1 else ''}, {what}" for count, noun, what in lines if count
    ]
