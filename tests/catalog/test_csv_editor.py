"""Cells are changed in place: every other byte, however odd the table, is the one that was delivered."""

import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hangtag.catalog.csv_editor import CHANGES_OTHERS, NOT_ENCODABLE, NOT_READ_AGAIN, NOT_WRITABLE, edit_cells
from hangtag.catalog.csv_parser import parse_table
from hangtag.catalog.schema import CatalogSchema
from hangtag.catalog.table_files import edit_table_file, parse_table_file


def edit(data: bytes, changes: dict[int, dict[str, str]], separator: str = "") -> tuple[bytes, dict[int, str]]:
    edited = edit_cells(data, parse_table(data, "t.csv", separator), changes)
    return edited.data, edited.refused


@pytest.mark.parametrize(
    ("before", "column", "value", "after"),
    [
        (b"id,kind,name\n1,Shoes,Plain\n", "kind", "Boots", b"id,kind,name\n1,Boots,Plain\n"),
        (b'id,kind,name\r\n1,"Shoes",x\r\n\r\n', "kind", "Boots", b'id,kind,name\r\n1,"Boots",x\r\n\r\n'),
        (b"id,kind,name\n1,Shoes,x", "kind", "Boots, high", b'id,kind,name\n1,"Boots, high",x'),
        (b'id,kind,name\n1,"a ""b"", c",x\n', "kind", 'd "e"', b'id,kind,name\n1,"d ""e""",x\n'),
        (b'id,name,kind\n1,"two\r\nlines",A\r\n', "kind", "B", b'id,name,kind\n1,"two\r\nlines",B\r\n'),
        (b'id,kind,name\n1,Shorts,3.5" Pink\n', "kind", "Jeans", b'id,kind,name\n1,Jeans,3.5" Pink\n'),
        (b'id,kind,name\n1,Shoes,"never\n2,A,B\n', "kind", "Bags", b'id,kind,name\n1,Bags,"never\n2,A,B\n'),
        (b"\xef\xbb\xbfid;kind\r1;Caf\xc3\xa9\r2;x\r", "kind", "Thé", b"\xef\xbb\xbfid;kind\r1;Th\xc3\xa9\r2;x\r"),
        (b"id;kind;name\n1;a;Caf\xe9 \x81\n", "kind", "\u20ac", b"id;kind;name\n1;\x80;Caf\xe9 \x81\n"),
        (b"id,kind\n1,\n", "kind", "A", b"id,kind\n1,A\n"),
        # A carriage return in a quoted cell is text; the record alone has no other line end.
        (b'id,kind,name\n1,A,"x\ry"\n2,B,z\n', "kind", "C", b'id,kind,name\n1,C,"x\ry"\n2,B,z\n'),
        (b"id,kind\r\r\n1,A\r\r\n", "kind", "B", b"id,kind\r\r\n1,B\r\r\n"),
        (b"id,kind\r1,A\r2,B\r", "kind", "x\ny", b'id,kind\r1,"x\ny"\r2,B\r'),
    ],
)
def test_one_cell_is_changed(before: bytes, column: str, value: str, after: bytes) -> None:
    assert edit(before, {0: {column: value}}) == (after, {})


def test_what_cannot_be_written_is_refused_and_the_rest_is_done() -> None:
    data = b"id,kind,name\n1,A,Caf\xe9\n2,B,y\n"
    assert edit(data, {0: {"kind": "\u0416"}, 1: {"kind": "C"}}) == (
        b"id,kind,name\n1,A,Caf\xe9\n2,C,y\n",
        {0: NOT_ENCODABLE.format(encoding="cp1252")},
    )
    # The new quotes of the second row would close the quote of the first.
    data = b'id,kind,name\n1,A,"never closed\n2,B,y\n3,D,z\n'
    assert edit(data, {1: {"kind": "x, y"}, 2: {"kind": "E"}}) == (
        b'id,kind,name\n1,A,"never closed\n2,"x, y",y\n3,E,z\n',
        {},
    )


PLAIN_ROWS = b"A2,Shoes,some\nA3,Shirts,text of\nA4,Shoes,x-y\nA5,Shirts,z z z\n"


@pytest.mark.parametrize(
    ("row", "column", "value", "after"),
    [
        (b"A1,Shoes,Red, Blue, Green\n", "kind", "Shirts", b"A1,Shirts,Red, Blue, Green\n"),
        (b"A1,Shoes,Red, Blue, Green\n", "name", "Red", b"A1,Shoes,Red\n"),
        (b"A1,Shoes,Red,,\n", "kind", "Shirts", b"A1,Shirts,Red,,\n"),
        (b"A1\n", "kind", "Shirts", b"A1,Shirts\n"),
        (b"A1\n", "name", "Red, blue", b'A1,,"Red, blue"\n'),
        (b'A1,"Shoes"\n', "kind", "Shirts", b'A1,"Shirts"\n'),
        (b'A1,Shoes,"two\nlines", soft\n', "kind", "Shirts", b'A1,Shirts,"two\nlines", soft\n'),
    ],
)
def test_a_cell_of_a_repaired_row_is_changed(row: bytes, column: str, value: str, after: bytes) -> None:
    for above, below in ((PLAIN_ROWS, b""), (b"", PLAIN_ROWS)):
        data = b"id,kind,name\n" + above + row + below
        table = parse_table(data, "t.csv")
        index = [each["id"] for each in table.rows].index("A1")
        assert edit(data, {index: {column: value}}) == (b"id,kind,name\n" + above + after + below, {})


def test_rows_beside_an_unclosed_quote_are_left_alone() -> None:
    swallowed = "".join(f"B{number},Shoes,Blue\n" for number in range(40)).encode()
    data = b'id,kind,name\nA1,Shoes,"Red\n' + swallowed + b'A6,Shoes,Inch 5"\n' + PLAIN_ROWS
    rows = [row["id"] for row in parse_table(data, "t.csv").rows]
    assert edit(data, {rows.index("B3"): {"kind": "Shirts"}, rows.index("A2"): {"kind": "Shirts"}}) == (
        data.replace(b"A2,Shoes", b"A2,Shirts"),
        {rows.index("B3"): NOT_WRITABLE},
    )


def test_a_change_by_which_another_row_would_be_read_otherwise_is_refused_with_its_line() -> None:
    rows = "".join(f"A{number},some no {number},{kind}\n" for number, kind in enumerate(["Shirts", "Shoes"] * 4))
    # The second line is read by the category that the third alone has beside it.
    data = f"id,name,kind\nB1,Polo, red,Hats\nB2,Cap no 1,Hats\n{rows}".encode()
    table = parse_table(data, "t.csv")
    assert table.rows[0]["name"] == "Polo, red"
    ids = [row["id"] for row in table.rows]
    edited, refused = edit(data, {ids.index("B2"): {"kind": "Shoes"}, ids.index("A0"): {"kind": "Shoes"}})
    assert edited == data.replace(b"A0,some no 0,Shirts", b"A0,some no 0,Shoes")
    assert refused == {ids.index("B2"): CHANGES_OTHERS.format(line=2)}


def test_a_change_by_which_a_broken_row_would_be_read_is_refused() -> None:
    rows = "".join(f"A{number},some no {number},{kind}\n" for number, kind in enumerate(["Shirts", "Shoes"] * 4))
    data = f"id,name,kind\nB1,Polo, red,Hats\n{rows}".encode()
    assert [line for line, _ in parse_table(data, "t.csv").broken] == [2]
    edited, refused = edit(data, {0: {"kind": "Hats"}, 1: {"kind": "Shirts"}})
    assert (edited, refused) == (
        data.replace(b"A1,some no 1,Shoes", b"A1,some no 1,Shirts"),
        {0: CHANGES_OTHERS.format(line=2)},
    )


WRAPPED = b'"id,kind,name"\r\n"1,Shirts,""Red, blue"""\r\n2,Shoes,plain\r\n"3,Bags,""5"""" heel, x"""\r\n'
OUTFILE = b"id\tkind\tname\n1\tShirts\tRed\\\tblue\n2\t\\N\tline\\\ntwo\n3\tBags\ta\\nb\n"


@pytest.mark.parametrize(
    ("data", "row", "values", "after"),
    [
        (WRAPPED, 0, {"kind": "Bags"}, WRAPPED.replace(b"Shirts", b"Bags")),
        (WRAPPED, 0, {"name": 'a, "b"'}, WRAPPED.replace(b'""Red, blue""', b'""a, """"b""""""')),
        (WRAPPED, 1, {"name": "p, q"}, WRAPPED.replace(b"plain", b'"p, q"')),
        (WRAPPED, 2, {"kind": "A, B"}, WRAPPED.replace(b"Bags", b'""A, B""')),
        (b"'id','kind'\n'1','A'\n'2','B'\n", 0, {"kind": "Men's"}, b"'id','kind'\n'1','Men''s'\n'2','B'\n"),
        (OUTFILE, 1, {"kind": "Bags"}, OUTFILE.replace(b"\\N", b"Bags")),
        (OUTFILE, 0, {"kind": "a\tb\\c"}, OUTFILE.replace(b"Shirts", b"a\\tb\\\\c")),
        (OUTFILE, 2, {"kind": '"A"\n'}, OUTFILE.replace(b"Bags", b'\\"A"\\n')),
        (
            b'"","id","kind"\n"1","A1","A"\n"2","A2","B"\n',
            0,
            {"kind": "B"},
            b'"","id","kind"\n"1","A1","B"\n"2","A2","B"\n',
        ),
        (b'"id","kind"\n"1","A1","A"\n"2","A2","B"\n', 1, {"kind": "A"}, b'"id","kind"\n"1","A1","A"\n"2","A2","A"\n'),
    ],
)
def test_cells_of_odd_dialects_are_changed(data: bytes, row: int, values: dict[str, str], after: bytes) -> None:
    old = parse_table(data, "t.csv").rows
    assert edit(data, {row: values}) == (after, {})
    wanted = [dict(each) for each in old]
    wanted[row] |= values
    assert list(parse_table(after, "t.csv").rows) == wanted


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-8-sig"])
def test_encodings_are_kept(encoding: str) -> None:
    data = "id;kind\r\n1;Caf\xe9\r\n2;x\r\n"
    assert edit(data.encode(encoding), {1: {"kind": "Th\xe9"}}) == (data.replace("x", "Th\xe9").encode(encoding), {})


def test_wrong_bytes_and_backslashes_are_kept() -> None:
    data = b'id,kind,name\n1,A,"\xc3\xa9 \\"\xff\\""\n2,B,"y"\n'
    assert edit(data, {0: {"kind": 'C"'}, 1: {"name": 'a "b"'}}) == (
        b'id,kind,name\n1,C",A,"'.replace(b",A", b"") + b'\xc3\xa9 \\"\xff\\""\n2,B,"a \\"b\\""\n',
        {},
    )


CELLS = st.text(st.sampled_from('ab ,;"é\r\n'), max_size=8)
QUOTE = '"'
PLAIN = st.text(st.sampled_from("abé ,"), min_size=1, max_size=6)


@st.composite
def odd_tables(draw: st.DrawFn) -> bytes:
    """Tables with and without quotes, line ends of any kind, and cells that nobody quoted."""
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    lines = ["id,kind,name"]
    for number in range(draw(st.integers(1, 6))):
        cells = [str(number), draw(CELLS), draw(CELLS)]
        if draw(st.booleans()):
            cells = ['"' + cell.replace('"', '""') + '"' for cell in cells]
        lines += [",".join(cells), *[""] * draw(st.integers(0, 1))]
    if draw(st.booleans()):
        # As a spreadsheet quotes the lines of a table that it took for single cells.
        lines = [lines[0], *(f'"{line.replace(QUOTE, QUOTE * 2)}"' if QUOTE in line else line for line in lines[1:])]
    text = end.join(lines) + draw(st.sampled_from(["", end]))
    return draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) + text.encode()


def count_alike(first: bytes, second: bytes) -> int:
    """Count the bytes at the start that are the same in both."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((place for place, (one, other) in pairs if one != other), min(len(first), len(second)))


@given(odd_tables(), st.data())
def test_only_the_changed_cells_differ(data: bytes, draw: st.DataObject) -> None:
    table = parse_table(data, "t.csv", ",")
    places = list(range(len(table.rows)))
    chosen = draw.draw(st.lists(st.sampled_from(places), unique=True)) if places else []
    changes = {place: {"kind": draw.draw(PLAIN)} for place in sorted(chosen)}
    edited, refused = edit(data, changes, ",")
    made = {place: values for place, values in changes.items() if place not in refused}
    again = parse_table(edited, "t.csv", ",")
    if table.broken or table.repairs:
        # Rows in doubt are judged by the values of the others, which are other ones by now.
        return
    assert again.rows == [{**row, **made.get(place, {})} for place, row in enumerate(table.rows)]
    assert again.broken == []
    step_by_step = data
    for place, values in made.items():
        before = step_by_step
        step_by_step, _ = edit(before, {place: values}, ",")
        old = table.rows[place]["kind"]
        start = count_alike(before, step_by_step)
        end = count_alike(before[start:][::-1], step_by_step[start:][::-1])
        # No more than the cell, its quotes included, and its line ends, which are read as line feeds.
        # Quotes are doubled, and once more in a row that stands in quotes.
        most = len(old.encode()) + 3 * old.count('"') + old.count("\n") + 4
        assert len(before) - start - end <= most
    if not refused:
        assert step_by_step == edited


def test_the_rows_of_the_real_catalogue_with_too_many_commas_are_changed_in_the_right_cell(archive: Path) -> None:
    with zipfile.ZipFile(archive) as files:
        [name] = [name for name in files.namelist() if name.endswith("styles.csv")]
        data = files.read(name)
    table = parse_table(data, name)
    assert len(table.repaired_rows) == 22
    edited, refused = edit(data, {row: {"articleType": "Watches"} for row in table.repaired_rows})
    assert refused == {}
    pairs = zip(data.split(b"\n"), edited.split(b"\n"), strict=True)
    differing = [(old, new) for old, new in pairs if old != new]
    assert len(differing) == 22 - sum(table.rows[row]["articleType"] == "Watches" for row in table.repaired_rows)
    for old, new in differing:
        cells = old.split(b",")
        assert new == b",".join([*cells[:4], b"Watches", *cells[5:]])
    # No other row has this category, by which the row could be read again.
    _, refused = edit(data, {table.repaired_rows[0]: {"articleType": "Nonesuch"}, 0: {"articleType": "Jeans"}})
    assert refused == {table.repaired_rows[0]: NOT_READ_AGAIN}


def test_a_value_that_could_not_be_read_is_written_nowhere() -> None:
    data = b"id,kind\n1,caf\xe9\n" + "".join(f"{number},thé\n" for number in range(2, 9)).encode()
    table = parse_table_file(data, "t.csv", {})
    unread = table.rows[0]["kind"]
    assert unread == "caf\ufffd"
    edited = edit_table_file(data, "t.csv", table, CatalogSchema(), {1: {"kind": unread}, 2: {"kind": "cafés"}})
    assert edited.data == data.replace(b"3,th\xc3\xa9", b"3,caf\xc3\xa9s")
    assert edited.refused == {1: "the new value is that of a cell with letters that could not be read"}
