"""One cell of a workbook is changed, and no format, formula, chart, picture or byte of another part."""

import re
from io import BytesIO

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from workbooks import MAIN, XLS, build_bare_workbook, build_shop_workbook, read_parts, save

from hangtag.catalog.excel import read_excel
from hangtag.catalog.excel_editor import NOT_READ_BACK, edit_excel
from hangtag.errors import CatalogError

GOODS = "xl/worksheets/sheet2.xml"
SHOP = build_shop_workbook()


def read_cells(data: bytes) -> dict[tuple[str, str], tuple[object, object]]:
    """Return every cell's value and style, as openpyxl reads them."""
    book = openpyxl.load_workbook(BytesIO(data))
    return {
        (sheet.title, cell.coordinate): (cell.value, (cell.font, cell.fill, cell.number_format, cell.comment))
        for sheet in book
        for row in sheet.iter_rows()
        for cell in row
    }


def test_only_the_changed_cells_differ() -> None:
    changes = {(3, 1): "Scarves", (4, 1): "Hats > Wool & Felt", (2, 0): "new", (5, 6): ""}
    edited, refused = edit_excel(SHOP, "shop.xlsx", "Goods", changes)
    assert refused == {}
    before, after = read_parts(SHOP), read_parts(edited)
    assert list(before) == list(after)
    assert {name for name in before if before[name] != after[name]} == {GOODS}
    cells, new = read_cells(SHOP), read_cells(edited)
    assert {place: new[place][0] for place in new if str(new[place]) != str(cells[place])} == {
        ("Goods", "B3"): "Scarves",
        ("Goods", "B4"): "Hats > Wool & Felt",
        ("Goods", "A2"): "new",
        ("Goods", "G5"): None,
    }
    assert all(str(new[place][1]) == str(cells[place][1]) for place in cells)


def test_the_bytes_around_a_cell_stay() -> None:
    edited, _ = edit_excel(SHOP, "shop.xlsx", None, {(3, 1): "Scarves"})
    before, after = read_parts(SHOP)[GOODS], read_parts(edited)[GOODS]
    start = before.index(b'<c r="B3"')
    end = before.index(b"</c>", start) + 4
    assert after.startswith(before[:start])
    assert after.endswith(before[end:])
    style = before[start:end].split(b'"')[3].decode()
    inserted = after[start : len(after) - len(before[end:])]
    assert inserted == (
        f'<c r="B3" s="{style}" t="inlineStr"><is><t xml:space="preserve">Scarves</t></is></c>'.encode()
    )


def test_numbers_and_booleans_stay_what_they_are() -> None:
    changes = {(2, 2): "18.5", (2, 5): "FALSE", (3, 2): "on request", (2, 3): "2024-03-10", (5, 0): "007"}
    edited, refused = edit_excel(SHOP, "shop.xlsx", "Goods", changes)
    goods = openpyxl.load_workbook(BytesIO(edited))["Goods"]
    values = [goods[place].value for place in ("C2", "F2", "C3", "D2", "A5")]
    # A date as text is no guess at how the sheet counts its days.
    assert values == [18.5, False, "on request", "2024-03-10", "007"]
    assert refused == {}


def test_formulas_and_merged_cells_are_refused() -> None:
    changes = {(2, 7): "1", (8, 1): "x", (8, 0): "sum", (77, 1): "x", (2, 1): "bell \x07", (3, 1): "y" * 40_000}
    edited, refused = edit_excel(SHOP, "shop.xlsx", "Goods", changes)
    assert refused == {
        (2, 7): "it holds a formula",
        (8, 1): "it is part of merged cells, whose value stands in the first of them (A8)",
        (77, 1): "the sheet has no such row",
        (2, 1): "the new value has a control character, which a workbook cannot hold",
        (3, 1): "the new value is longer than the 32,767 letters that a cell holds",
    }
    assert read_excel(edited, "shop.xlsx").rows[-1][0] == "sum"


def test_nothing_to_change_returns_the_same_bytes() -> None:
    assert edit_excel(SHOP, "shop.xlsx", None, {}) == (SHOP, {})
    assert edit_excel(SHOP, "shop.xlsx", None, {(3, 1): "Scarfs"}) == (SHOP, {})


def test_an_xls_workbook_is_not_written() -> None:
    with pytest.raises(CatalogError, match=r"cannot be written.*Save it as \.xlsx before `hangtag prepare`"):
        edit_excel(XLS, "old.xls", None, {(2, 1): "Belts"})


def sheet_of(rows: str, prefix: str = "", behind: str = "", before: str = "") -> str:
    colon = f":{prefix}" if prefix else ""
    p = f"{prefix}:" if prefix else ""
    return f'<{p}worksheet xmlns{colon}="{MAIN}">{before}<{p}sheetData>{rows}</{p}sheetData>{behind}</{p}worksheet>'


HEADER = '<row r="1"><c r="A1" t="str"><v>sku</v></c><c r="C1" t="str"><v>kind</v></c></row>'


@pytest.mark.parametrize(
    ("row", "column", "new", "expected"),
    [
        # Cells that are not there yet stand in the order of columns, in the row's or the column's style.
        (
            '<row r="2"><c r="A2"><v>1</v></c><c r="D2"><v>2</v></c></row>',
            2,
            "T",
            '<row r="2"><c r="A2"><v>1</v></c>[C2 s="3"]<c r="D2"><v>2</v></c></row>',
        ),
        (
            '<row r="2" s="9" customFormat="1"><c r="A2"><v>1</v></c></row>',
            2,
            "T",
            '<row r="2" s="9" customFormat="1"><c r="A2"><v>1</v></c>[C2 s="9"]</row>',
        ),
        (
            '<row r="2"><c r="B2"><v>1</v></c><extLst><ext/></extLst></row>',
            0,
            "T",
            '<row r="2">[A2]<c r="B2"><v>1</v></c><extLst><ext/></extLst></row>',
        ),
        (
            '<row r="2"><c r="A2"><v>1</v></c><extLst><ext/></extLst></row>',
            1,
            "T",
            '<row r="2"><c r="A2"><v>1</v></c>[B2]<extLst><ext/></extLst></row>',
        ),
        # Empty elements, attributes in single quotes, white space.
        (
            "<row r='2'>\n <c s='4' r='A2' />\n <c r='B2'><v>1</v></c></row>",
            0,
            "T",
            "<row r='2'>\n [A2 s=\"4\"]\n <c r='B2'><v>1</v></c></row>",
        ),
        # Rows and cells that do not say where they are.
        (
            "<row><c><v>1</v></c><c><v>2</v></c></row>",
            1,
            "T",
            "<row><c><v>1</v></c>[]</row>",
        ),
        ('<row r="2"><c r="A2"><v>1</v></c><c r="B2"/></row>', 1, "T", '<row r="2"><c r="A2"><v>1</v></c>[B2]</row>'),
        ('<row r="2"><c r="A2"><v/></c ><c r="B2"/></row >', 0, "T", '<row r="2">[A2]<c r="B2"/></row >'),
        (
            '<row r="2"><c r="A2" t="inlineStr"><is><r><t>a</t></r><r><t>b</t></r></is></c><c r="B2"/></row>',
            0,
            "T",
            '<row r="2">[A2]<c r="B2"/></row>',
        ),
    ],
)
def test_cells_as_other_programs_write_them(row: str, column: int, new: str, expected: str) -> None:
    columns = '<cols><col min="3" max="3" style="3"/></cols>'
    data = build_bare_workbook(sheet_of(HEADER + row, before=columns))
    edited, refused = edit_excel(data, "b.xlsx", "S", {(2, column): new})
    assert refused == {}
    begin, _, rest = expected.partition("[")
    attributes, _, end = rest.partition("]")
    name, _, style = attributes.partition(" ")
    kept = (f' r="{name}"' if name else "") + (f" {style}" if style else "")
    element = f'<c{kept} t="inlineStr"><is><t xml:space="preserve">T</t></is></c>'
    assert read_parts(edited)["xl/worksheets/sheet1.xml"].decode() == sheet_of(
        HEADER + begin + element + end, before=columns
    )


def test_names_with_a_prefix() -> None:
    rows = '<x:row r="1"><x:c r="A1" t="str"><x:v>a</x:v></x:c><x:c r="B1" t="str"><x:v>b</x:v></x:c></x:row>'
    rows += '<x:row r="2"><x:c r="A2"><x:v>1</x:v></x:c><x:c r="B2"><x:v>2</x:v></x:c></x:row>'
    data = build_bare_workbook(sheet_of(rows, prefix="x"))
    edited, _ = edit_excel(data, "b.xlsx", None, {(2, 0): "3", (2, 1): "Belts"})
    cells = [cell.value for cell in openpyxl.load_workbook(BytesIO(edited)).active[2]]
    assert cells == [3, "Belts"]


@pytest.mark.parametrize(
    ("cell", "behind", "reason"),
    [
        ('<c r="B2" t="e" vm="1"><v>#VALUE!</v></c>', "", "it holds a picture or linked data"),
        ('<c r="B2"><v>2</v></c>', "", "it is the result of a formula"),
        ('<c r="B2"><f>1</f></c>', "", "it holds a formula"),
        ('<c r="B2"/>', '<mergeCells><mergeCell ref="A2:B2"/></mergeCells>', r"it is part of merged cells.*\(A2\)"),
    ],
)
def test_cells_that_hold_more_than_a_value_are_refused(cell: str, behind: str, reason: str) -> None:
    array = '<f t="array" ref="A2:B2">SEQUENCE(1,2)</f>' if "result" in reason else ""
    row = f'<row r="2"><c r="A2">{array}<v>1</v></c>{cell}<c r="C2"><v>3</v></c></row>'
    data = build_bare_workbook(sheet_of(HEADER + row, behind=behind))
    edited, refused = edit_excel(data, "b.xlsx", None, {(2, 1): "x"})
    assert edited == data
    assert list(refused) == [(2, 1)]
    assert re.match(reason, refused[2, 1])


def test_a_row_without_cells_is_refused() -> None:
    data = build_bare_workbook(
        sheet_of(HEADER + '<row r="2"><c r="A2"><v>1</v></c><c r="B2"><v>1</v></c></row><row r="3"/>')
    )
    assert edit_excel(data, "b.xlsx", None, {(3, 0): "x"})[1] == {(3, 0): "the sheet has no such row"}


def test_a_cell_that_stands_twice_is_refused() -> None:
    row = '<row r="2"><c r="A2"><v>1</v></c><c r="B2"><v>7</v></c><c r="B2"><v>8</v></c></row>'
    data = build_bare_workbook(sheet_of(HEADER + row))
    edited, refused = edit_excel(data, "b.xlsx", None, {(2, 1): "x", (2, 0): "y"})
    assert refused == {(2, 1): NOT_READ_BACK}
    assert read_excel(edited, "b.xlsx").rows[1] == ["y", "8", ""]


def test_a_sheet_that_is_no_utf8_is_refused() -> None:
    row = HEADER + '<row r="2"><c r="A2"><v>1</v></c><c r="B2"><v>1</v></c></row>'
    sheet = '<?xml version="1.0" encoding="ISO-8859-1"?>' + sheet_of(row)
    with pytest.raises(CatalogError, match=r"no UTF-8.*Received: 'ISO-8859-1'"):
        edit_excel(build_bare_workbook(sheet.encode("latin-1")), "b.xlsx", None, {(2, 1): "x"})


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    [
        " a ",
        "_x0041_",
        "_x005F_x0041_",
        "1e5",
        "007",
        "=1+1",
        "'x",
        "]]>",
        "a\tb\nc",
        "TRUE",
        "nan",
        "&#65;",
        "٣",
        "1_0",
    ]
)


@settings(max_examples=60, deadline=None)
@given(value=texts, cell=st.tuples(st.integers(1, 5), st.integers(0, 8)))
def test_any_text_is_read_again_or_refused(value: str, cell: tuple[int, int]) -> None:
    before = read_excel(SHOP, "shop.xlsx")
    edited, refused = edit_excel(SHOP, "shop.xlsx", None, {cell: value})
    after = read_excel(edited, "shop.xlsx")
    assert after.numbers == before.numbers
    row, column = before.numbers.index(cell[0]), cell[1]
    old = before.rows[row][column]
    assert after.rows[row][column] == (old if refused else value)
    after.rows[row][column] = old
    assert after.rows == before.rows


def merge_kinds() -> bytes:
    book = openpyxl.Workbook()
    for row in (("sku", "kind"), ("1", "Belts"), ("2", None), ("3", None), ("4", "Hats")):
        book.active.append(row)
    book.active.merge_cells("B2:B4")
    return save(book)


def test_merged_cells_change_together() -> None:
    data = merge_kinds()
    edited, refused = edit_excel(data, "b.xlsx", None, {(row, 1): "Scarves" for row in (2, 3, 4)})
    assert refused == {}
    assert [row[1] for row in read_excel(edited, "b.xlsx").rows] == ["kind", "Scarves", "Scarves", "Scarves", "Hats"]
    sheet = openpyxl.load_workbook(BytesIO(edited)).active
    assert [str(each) for each in sheet.merged_cells.ranges] == ["B2:B4"]
    assert sheet["B2"].value == "Scarves"


@pytest.mark.parametrize("changes", [{(2, 1): "x"}, {(3, 1): "x"}, {(2, 1): "x", (3, 1): "x", (4, 1): "y"}])
def test_one_of_merged_cells_is_not_changed_alone(changes: dict[tuple[int, int], str]) -> None:
    data = merge_kinds()
    edited, refused = edit_excel(data, "b.xlsx", None, changes | {(5, 1): "Caps"})
    assert set(refused) == set(changes)
    assert "one of 3 merged cells from B2" in refused[min(changes)]
    assert [row[1] for row in read_excel(edited, "b.xlsx").rows] == ["kind", "Belts", "Belts", "Belts", "Caps"]
