"""A workbook's cells come as the texts that a person sees in them, and what is not read has a note."""

import datetime
import sys
import zipfile
from contextlib import suppress
from io import BytesIO

import openpyxl
import pytest
from workbooks import (
    MAIN,
    XLS,
    build_bare_workbook,
    build_binary_workbook,
    build_open_workbook,
    build_shop_workbook,
    read_parts,
    replace_text,
    save,
    write_open_row,
    write_parts,
)

from hangtag.catalog import excel, xlsx
from hangtag.catalog.excel import NOT_EDITABLE, format_number
from hangtag.catalog.table import Repair
from hangtag.catalog.table_files import parse_table_file
from hangtag.errors import CatalogError, MissingExtraError


def read_excel(data: bytes, where: str, sheet: str | None = None) -> tuple[list[list[str]], list[int], list[str]]:
    found = excel.read_excel(data, where, sheet)
    return found.rows, found.numbers, found.notes


def test_cells_are_read_as_they_are_seen() -> None:
    rows, numbers, _ = read_excel(build_shop_workbook(), "shop.xlsx")
    assert rows == [
        ["sku", "kind", "price", "added", "gtin", "active", "name", "double", "photo"],
        ["31001", "Scarves", "19.99", "2024-03-09", "4006381333931", "TRUE", "Red  scarf ", "39.98", ""],
        ["31002", "Scarfs", "25", "2024-03-09T14:30:00", "4006381333948", "FALSE", "Büro & <Tuch>", "50", ""],
        ["31003", "", "0.0000125", "", "", "", "two\nlines", "0.000025", ""],
        ["31004", "Belts", "7", "", "", "", "Belt", "14", ""],
        ["total", "", "52", "", "", "", "", "", ""],
    ]
    assert numbers == [1, 2, 3, 4, 5, 8]


def test_what_is_ignored_or_doubtful_has_a_note() -> None:
    _, _, notes = read_excel(build_shop_workbook(), "shop.xlsx")
    assert notes == [
        "of 4 sheets 'Goods' is read, the first with a header and rows; not read: 'About', 'Totals', 'Lists' (hidden)",
        "sheet 'Goods': 2 pictures, ignored",
        "sheet 'Goods': 1 hidden row, read like the others (the first is row 4)",
        "sheet 'Goods': 1 hidden column, read like the others",
        "sheet 'Goods': 4 formulas, read as the result that was stored last",
        "sheet 'Goods': 1 cell, merged into others at their left, read as empty",
    ]


def test_a_named_sheet_is_read_and_a_formula_without_result_is_told() -> None:
    rows, _, notes = read_excel(build_shop_workbook(), "shop.xlsx", "Totals")
    assert rows == [["scarves"]]
    assert notes == [
        "sheet 'Totals': 1 formula, without a stored result, read as empty: open and save the file in Excel"
    ]


def test_a_hidden_sheet_is_the_last_choice() -> None:
    book = openpyxl.Workbook()
    for name in ("old", "new"):
        sheet = book.create_sheet(name)
        sheet.append(["sku", "kind"])
        sheet.append([name, "Belts"])
    del book["Sheet"]
    book["old"].sheet_state = "hidden"
    assert read_excel(save(book), "b.xlsx")[0][1] == ["new", "Belts"]
    del book["new"]
    book.create_sheet("empty")
    book.active = 1
    rows, _, notes = read_excel(save(book), "b.xlsx")
    assert rows[1] == ["old", "Belts"]
    assert "sheet 'old' is hidden" in notes


def test_positions_are_those_of_the_sheet() -> None:
    book = openpyxl.Workbook()
    for place, text in (("B3", "sku"), ("C3", "kind"), ("B5", 7), ("C5", "Belts")):
        book.active[place] = text
    book.active["Z90"].font = openpyxl.styles.Font(bold=True)
    rows, numbers, notes = read_excel(save(book), "b.xlsx")
    assert (rows, numbers) == ([["", "sku", "kind"], ["", "7", "Belts"]], [3, 5])
    assert notes == []


def test_errors_keep_their_text() -> None:
    xml = (
        f'<worksheet xmlns="{MAIN}"><sheetData><row r="1"><c r="A1" t="str"><v>sku</v></c><c r="B1" t="str"><v>kind</v>'
        '</c></row><row r="2"><c r="A2"><v>5</v></c><c r="B2" t="e"><f>NA()</f><v>#N/A</v></c></row>'
        '<row r="3"><c r="D3" t="e"><v>#REF!</v></c></row></sheetData></worksheet>'
    )
    rows, numbers, notes = read_excel(build_bare_workbook(xml), "b.xlsx")
    assert rows == [["sku", "kind", "", ""], ["5", "#N/A", "", ""], ["", "", "", "#REF!"]]
    assert numbers == [1, 2, 3]
    assert "sheet 'S': 2 errors, read as its text, such as #N/A (the first is in B2)" in notes


def test_numbers_that_show_more_or_hold_less_than_they_say_are_told() -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.append(["sku", "gtin"])
    sheet.append([42, 12345678901234567])
    sheet["A2"].number_format = "00000"
    data = replace_text(
        save(book), "xl/worksheets/sheet1.xml", "<v>1.234567890123457e+16</v>", "<v>12345678901234567</v>"
    )
    rows, _, notes = read_excel(data, "b.xlsx")
    assert rows[1] == ["42", "12345678901234568"]
    assert notes == [
        "sheet 'Sheet': 1 number, shown with leading zeros that are not part of it, read without them",
        "sheet 'Sheet': 1 number, longer than the 15 digits that Excel keeps: the last digits may be wrong",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [(10001.0, "10001"), (-0.0, "0"), (1e20, "100000000000000000000"), (0.1 + 0.2, "0.3"), (-12.50, "-12.5")],
)
def test_numbers_as_excel_shows_them(value: float, text: str) -> None:
    assert format_number(value) == text


def test_dates_that_count_from_1904() -> None:
    book = openpyxl.Workbook()
    book.epoch = openpyxl.utils.datetime.CALENDAR_MAC_1904
    book.active.append(["sku", "added"])
    book.active.append([1, datetime.date(2024, 3, 9)])
    assert read_excel(save(book), "b.xlsx")[0][1] == ["1", "2024-03-09"]


def test_an_xls_workbook() -> None:
    rows, numbers, notes = read_excel(XLS, "old.xls")
    assert rows[:3] == [
        ["sku", "kind", "added", "sold"],
        ["70001", "Scarves", "2024-03-09", "TRUE"],
        ["4006381333931", "Belts", "2024-03-10", "FALSE"],
    ]
    assert numbers == [1, 2, 3, 5]
    assert notes[0].startswith("of 2 sheets 'Goods' is read")
    assert notes[-2:] == ["sheet 'Goods': 1 cell, merged into others at their left, read as empty", NOT_EDITABLE]


def test_an_unknown_sheet_lists_those_that_are_there() -> None:
    with pytest.raises(CatalogError, match=r"'About', 'Goods', 'Totals', 'Lists'.* Received: 'goods'"):
        read_excel(build_shop_workbook(), "shop.xlsx", "goods")
    with pytest.raises(CatalogError, match=r"empty.*'About', 'Goods', 'Totals'.*Received: 'Lists'"):
        read_excel(build_shop_workbook(), "shop.xlsx", "Lists")


def test_a_workbook_without_a_table_lists_its_sheets() -> None:
    book = openpyxl.Workbook()
    book.active["A1"] = "nothing here"
    book.create_chartsheet("Graph")
    with pytest.raises(CatalogError, match=r"no sheet with a header and rows.*Received: \['Sheet'\]"):
        read_excel(save(book), "b.xlsx")
    with pytest.raises(CatalogError, match="A chart has no cells"):
        read_excel(save(book), "b.xlsx", "Graph")


def damage_sheet(data: bytes) -> bytes:
    return replace_text(data, "xl/worksheets/sheet2.xml", "</sheetData>", "</sheetDat>")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is no workbook"),
        (b"<html><table>", r"is no workbook.*Received: b'<html><table>'.*CSV UTF-8"),
        (b"PK\x03\x04 and no more", "cannot be read: it is damaged"),
        (build_shop_workbook()[:4000], "cannot be read: it is damaged"),
        (damage_sheet(build_shop_workbook()), "the XML of a sheet is damaged"),
        (write_parts({"xl/workbook.xml": b"<workbook/>"}), "workbook"),
        (write_parts({"photo.jpg": b"x"}), "workbook"),
        (write_parts({"xl/workbook.bin": b""}), "workbook"),
        (write_parts({"Index/Document.iwa": b""}), "document of Numbers.*Export it"),
        (excel.OLE + bytes(600), "cannot be read"),
        (XLS[:2000], "cannot be read"),
        (excel.OLE + bytes(600) + "EncryptedPackage".encode("utf-16-le"), "encrypted.*without a password"),
    ],
)
def test_what_is_no_workbook_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(CatalogError, match=message):
        read_excel(data, "b.xlsx")


@pytest.mark.parametrize("part", ["xl/workbook.xml", "xl/worksheets/sheet2.xml", "xl/styles.xml"])
def test_entities_are_refused(part: str) -> None:
    parts = read_parts(build_shop_workbook())
    head = b'<!DOCTYPE x [<!ENTITY a "b">]>'
    content = parts[part]
    behind = content.index(b"?>") + 2 if content.startswith(b"<?xml") else 0
    parts[part] = content[:behind] + head + content[behind:]
    with pytest.raises(CatalogError, match="document type"):
        read_excel(write_parts(parts), "b.xlsx")


def test_cells_in_far_corners_do_not_fill_the_memory() -> None:
    book = openpyxl.Workbook()
    book.active["A1"], book.active["XFD1048576"] = "sku", "x"
    with pytest.raises(CatalogError, match="has 2 cells, and some are far from the others"):
        read_excel(save(book), "b.xlsx")


def test_a_bomb_is_refused_by_its_stated_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xlsx, "ANY_UNPACKED_BYTES", 1_000_000)
    blank = f'<worksheet xmlns="{MAIN}"><sheetData>{" " * 3_000_000}</sheetData></worksheet>'
    with pytest.raises(CatalogError, match="unpacked it has 3,00"):
        read_excel(build_bare_workbook(blank), "b.xlsx")


def test_a_bomb_is_refused_by_its_real_size() -> None:
    data = bytearray(build_bare_workbook(f'<worksheet xmlns="{MAIN}">{" " * 3_000_000}</worksheet>'))
    with zipfile.ZipFile(BytesIO(data)) as archive:
        size = archive.getinfo("xl/worksheets/sheet1.xml").file_size
    at = data.rindex(size.to_bytes(4, "little"))
    data[at : at + 4] = (1000).to_bytes(4, "little")
    with pytest.raises(CatalogError, match="is not what the archive states"):
        read_excel(bytes(data), "b.xlsx")


def test_without_the_extra_the_message_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "python_calamine", None)
    with pytest.raises(MissingExtraError, match=r'pip install "hangtag\[excel\]"'):
        read_excel(b"", "b.xlsx")


def test_merged_cells_have_one_value_in_all_their_rows() -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    for row in (
        ("sku", "kind", "size"),
        (1, "Belts", "S"),
        (2, None, "M"),
        (None,) * 3,
        (3, None, "L"),
        (4, "Hats", 5),
    ):
        sheet.append(row)
    sheet.append(("sum", None, 9))
    sheet.merge_cells("B2:B5")
    # What is merged over columns belongs to the first, as a total's heading.
    sheet.merge_cells("A7:B7")
    found = excel.read_excel(save(book), "b.xlsx")
    assert [row[1] for row in found.rows] == ["kind", "Belts", "Belts", "Belts", "Hats", ""]
    assert found.merged == {(3, 1): (2, 1), (5, 1): (2, 1)}
    assert found.notes == [
        "sheet 'Sheet': 2 cells, merged into others above, read with the value of the first of them",
        "sheet 'Sheet': 1 cell, merged into others at their left, read as empty",
    ]


def test_merged_cells_have_a_line_each_in_the_table() -> None:
    book = openpyxl.Workbook()
    for row in (("list",), ("sku", "kind"), (1, "Belts"), (2, None)):
        book.active.append(row)
    book.active.merge_cells("B3:B4")
    table = parse_table_file(save(book), "b.xlsx", {})
    assert table.cells == [["1", "2"], ["Belts", "Belts"]]
    assert Repair(4, "kind", "", "Belts", "merged cells, with the value of B3") in table.repairs


def test_a_value_below_merged_cells_stays() -> None:
    parts = (
        f'<worksheet xmlns="{MAIN}"><sheetData><row r="1"><c r="A1"><v>1</v></c><c r="B1"><v>2</v></c></row><row r="2">'
        '<c r="A2"><v>3</v></c><c r="B2"><v>4</v></c></row></sheetData>'
        '<mergeCells><mergeCell ref="B1:B2"/></mergeCells></worksheet>'
    )
    assert read_excel(build_bare_workbook(parts), "b.xlsx")[0] == [["1", "2"], ["3", "4"]]


VALUE = '<table:table-cell office:value-type="{}" office:{}="{}"><text:p>shown</text:p></table:table-cell>'
MERGED_CELL = VALUE.replace("cell ", 'cell table:number-rows-spanned="2" ', 1).format("string", "x", "Belts")


def test_an_open_document_workbook() -> None:
    written = (
        write_open_row("sku", "kind", "price", "added", "sold")
        + write_open_row(
            VALUE.format("float", "value", "10001"),
            MERGED_CELL,
            VALUE.format("currency", "value", "19.90"),
            VALUE.format("date", "date-value", "2024-03-09"),
            VALUE.format("boolean", "boolean-value", "true"),
        )
        + write_open_row("0002", "<table:covered-table-cell/>", attributes=' table:visibility="collapse"')
    )
    rows, numbers, notes = read_excel(build_open_workbook(written), "b.ods")
    assert rows == [
        ["sku", "kind", "price", "added", "sold"],
        ["10001", "shown", "19.9", "2024-03-09", "TRUE"],
        ["0002", "shown", "", "", ""],
    ]
    assert numbers == [1, 2, 3]
    assert notes == [
        "sheet 'Goods': 1 hidden row, read like the others (the first is row 3)",
        "sheet 'Goods': 1 cell, merged into others above, read with the value of the first of them",
        NOT_EDITABLE,
    ]


def test_repeated_cells_of_an_open_document_do_not_fill_the_memory() -> None:
    many = (
        '<table:table-cell table:number-columns-repeated="16384" office:value-type="string"><text:p>x</text:p>'
        "</table:table-cell>"
    )
    rows = write_open_row("sku", "kind") + write_open_row(many, attributes=' table:number-rows-repeated="1048576"')
    with pytest.raises(CatalogError, match="some are far from the others"):
        read_excel(build_open_workbook(rows), "b.ods")


def test_an_encrypted_open_document_is_said() -> None:
    parts = read_parts(build_open_workbook(""))
    parts["META-INF/manifest.xml"] = b"<manifest><encryption-data/></manifest>"
    with pytest.raises(CatalogError, match="is encrypted"):
        read_excel(write_parts(parts), "b.ods")


def test_a_binary_workbook() -> None:
    cells: dict[int, dict[int, str | float]] = {
        1: {1: "sku", 2: "kind"},
        2: {1: "007", 2: "Bélts"},
        3: {1: 8.0, 4: "#N/A"},
    }
    rows, numbers, notes = read_excel(build_binary_workbook(cells, merged=(2, 3, 2, 2)), "b.xlsb")
    assert rows == [
        ["", "sku", "kind", "", ""],
        ["", "007", "Bélts", "", ""],
        ["", "8", "Bélts", "", "#N/A"],
    ]
    assert numbers == [2, 3, 4]
    assert notes == [
        "sheet 'Goods': 1 error, read as its text, such as #N/A (the first is in E4)",
        "sheet 'Goods': 1 cell, merged into others above, read with the value of the first of them",
        NOT_EDITABLE,
    ]


def test_far_cells_of_a_binary_workbook_do_not_fill_the_memory() -> None:
    cells: dict[int, dict[int, str | float]] = {0: {0: "a"}, 1_048_575: {16_383: "b"}}
    with pytest.raises(CatalogError, match="some are far from the others"):
        read_excel(build_binary_workbook(cells), "b.xlsb")


@pytest.mark.parametrize("step", [1, 5])
def test_a_cut_binary_sheet_is_an_error_or_shorter(step: int) -> None:
    parts = read_parts(build_binary_workbook({0: {0: "sku", 1: "kind"}, 1: {0: "1", 1: "Belts"}}))
    whole = parts["xl/worksheets/sheet1.bin"]
    for end in range(0, len(whole), step):
        with suppress(CatalogError):
            read_excel(write_parts(parts | {"xl/worksheets/sheet1.bin": whole[:end]}), "b.xlsb")


def test_a_panic_of_the_library_shows_no_text(capfd: pytest.CaptureFixture[str]) -> None:
    parts = read_parts(build_binary_workbook({0: {0: "sku"}}))
    parts["xl/worksheets/sheet1.bin"] = parts["xl/worksheets/sheet1.bin"][:20]
    with suppress(CatalogError):
        read_excel(write_parts(parts), "b.xlsb")
    assert capfd.readouterr().err == ""
