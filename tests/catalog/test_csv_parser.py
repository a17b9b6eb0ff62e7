"""No row is lost, and no value comes into another column without a line that says so."""

import csv
import io
from typing import Literal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hangtag.catalog.csv_parser import parse_table
from hangtag.catalog.table import Table
from hangtag.catalog.table_files import parse_table_file
from hangtag.errors import CatalogError

HEADER = "id,kind,name\n"
# Rows that show what the columns hold: codes, categories and text.
PLAIN = "".join(f"A{number},{kind},{kind} no {number}\n" for number, kind in enumerate(["Shirts", "Shoes", "Bags"] * 4))


def parse(body: str, header: str = HEADER) -> list[list[str]]:
    return [list(row.values()) for row in parse_table((header + body).encode(), "t.csv").rows]


def parse_beside_plain(body: str) -> tuple[list[list[str]], Table]:
    """Parse rows above others that show what the columns hold; return them, and the whole table."""
    table = parse_table((HEADER + body + PLAIN).encode(), "t.csv")
    return [list(row.values()) for row in table.rows[: len(table.rows) - 12]], table


@pytest.mark.parametrize(
    ("body", "rows"),
    [
        ("1,Shoes,Plain\n", [["1", "Shoes", "Plain"]]),
        ('1,Shorts,3.5" Pink\n', [["1", "Shorts", '3.5" Pink']]),
        ('1,"Shoes, low",Plain\n', [["1", "Shoes, low", "Plain"]]),
        ('1,Shoes,"He said ""no"""\n', [["1", "Shoes", 'He said "no"']]),
        ('1,Shoes,"two\nlines"\n2,Bags,B\n', [["1", "Shoes", "two\nlines"], ["2", "Bags", "B"]]),
        ('1,Shoes,"two\r\nlines"\r\n2,Bags,B\r\n', [["1", "Shoes", "two\r\nlines"], ["2", "Bags", "B"]]),
        ('1,Shoes,"never closed\n2,Bags,B\n', [["1", "Shoes", '"never closed'], ["2", "Bags", "B"]]),
        ('1,Shoes,"Ray" Ban\n2,Bags,B\n', [["1", "Shoes", '"Ray" Ban'], ["2", "Bags", "B"]]),
        ("1,,NA\r\n2,Bags,\r\n", [["1", "", "NA"], ["2", "Bags", ""]]),
        ("1,Shoes,A\n\n2,Bags,B", [["1", "Shoes", "A"], ["2", "Bags", "B"]]),
        ('1,Shoes,"two\rlines"\n', [["1", "Shoes", "two\rlines"]]),
        ("1,Shoes,A\r\r\n2,Bags,B\r\r\n", [["1", "Shoes", "A"], ["2", "Bags", "B"]]),
        ('1,Shoes,"' + "word, " * 50_000 + '"\n2,Bags,B\n', [["1", "Shoes", "word, " * 50_000], ["2", "Bags", "B"]]),
        (
            '1,Shoes,"' + "<li>soft, red, large</li>\n" * 90 + '"\n2,Bags,B\n',
            [["1", "Shoes", "<li>soft, red, large</li>\n" * 90], ["2", "Bags", "B"]],
        ),
    ],
)
def test_no_row_is_lost(body: str, rows: list[list[str]]) -> None:
    assert parse(body) == rows


@pytest.mark.parametrize(
    ("body", "row", "column"),
    [
        ("B1,Shoes,Red, Blue, Green\n", ["B1", "Shoes", "Red, Blue, Green"], "name"),
        ("B1,Shoes,Red,,\n", ["B1", "Shoes", "Red"], ""),
        ("B1,Shoes\n", ["B1", "Shoes", ""], "name"),
        ('B1,Shoes,"Red,\nblue", green\n', ["B1", "Shoes", "Red,\nblue, green"], "name"),
    ],
)
def test_a_row_is_repaired_where_there_is_one_way_to_with_a_line(body: str, row: list[str], column: str) -> None:
    rows, table = parse_beside_plain(body)
    assert rows == [row]
    assert [(repair.line, repair.column, repair.before) for repair in table.repairs] == [(2, column, body[:-1])]
    assert table.repaired_rows == ([0] if "," in row[2] else [])


def test_a_surplus_in_the_middle_goes_where_every_other_column_keeps_a_known_value() -> None:
    plain = "".join(f"A{number},{kind} no {number},{kind}\n" for number, kind in enumerate(["Shirts", "Shoes"] * 6))
    table = parse_table(("id,name,kind\nB1,Polo, red,Shirts\nB2,Polo, red,Sandals\n" + plain).encode(), "t.csv")
    assert table.rows[0] == {"id": "B1", "name": "Polo, red", "kind": "Shirts"}
    assert table.broken == [(3, "4 cells where the header has 3")]


def test_a_surplus_that_could_belong_to_two_texts_breaks_the_row() -> None:
    plain = "".join(f"A{number},a shirt {number}!,some text: {number};\n" * 1 for number in range(12))
    plain = plain.replace("A3,a shirt 3!", "A3,shirt").replace("A4,a shirt 4!", "A4,(red) shirt")
    plain = plain.replace("A5,a", "A5,- a").replace("text: 5;", "text").replace("text: 6;", "text 6.")
    table = parse_table(("id,name,text\nB1,Polo,red,soft\nB2,Polo, red,soft\n" + plain).encode(), "t.csv")
    assert table.broken == [(2, "4 cells where the header has 3")]
    assert table.rows[0] == {"id": "B2", "name": "Polo, red", "text": "soft"}


def test_a_line_that_is_a_part_of_a_row_is_broken() -> None:
    _, table = parse_beside_plain("B1,Shoes,Red\nand blue\n")
    assert table.broken == [(3, "1 of 3 cells, and id is unlike that of other rows")]


def test_a_text_whose_lines_look_like_rows_is_read_with_a_line() -> None:
    rows, table = parse_beside_plain('B1,Shoes,"Red\nB2,Shirts,Blue\nB3,Bags,Inch 5"\n')
    assert rows == [["B1", "Shoes", "Red\nB2,Shirts,Blue\nB3,Bags,Inch 5"]]
    reason = "a quote opens here and closes 2 lines below, and the lines between look like rows"
    assert [(repair.line, repair.reason) for repair in table.repairs] == [(2, reason)]


def test_many_rows_that_a_quote_swallows_are_read() -> None:
    swallowed = "".join(f"B{number},Shirts,Blue\n" for number in range(2, 60))
    rows, table = parse_beside_plain(f'B1,Shoes,"Red\n{swallowed}B60,Bags,Inch 5"\n')
    assert [row[0] for row in rows] == [f"B{number}" for number in range(2, 61)]
    assert [line for line, _ in table.broken] == [2]


def test_a_heading_that_stands_twice_gets_a_number() -> None:
    table = parse_table(b"id,tag,tag,tag_2\n1,a,b,c\n", "t.csv")
    assert table.columns == ("id", "tag", "tag_2", "tag_2_2")
    assert table.doubled == {"tag"}


@pytest.mark.parametrize(
    "row",
    [
        # A separator that is gone before a quoted cell that has one inside.
        'B1,Shoes"soft, warm"\n',
        # A cell left out in the middle.
        "B1,red one\n",
    ],
)
def test_a_row_whose_cells_moved_is_broken_although_their_number_is_right(row: str) -> None:
    rows, table = parse_beside_plain(row)
    assert rows == []
    assert [line for line, _ in table.broken] == [2]


def test_a_category_that_begins_with_a_space_has_a_line() -> None:
    """An unquoted separator and a cell left out at the end give a row of the right width."""
    rows, table = parse_beside_plain("B1, red,Shoes\n")
    assert rows == [["B1", " red", "Shoes"]]
    assert [(repair.line, repair.column) for repair in table.repairs] == [(2, "kind")]


def test_white_space_around_quotes_is_no_part_of_a_cell() -> None:
    assert parse('"1" , "Shoes, low" ,"x" \n', '"id" , "kind" , "name"\n') == [["1", "Shoes, low", "x"]]


def test_described_columns_and_encodings_are_taken() -> None:
    table = parse_table("Обувь;x;y\nid;вид;name\n1;А;Б\n".encode("cp1251"), "t.csv", encoding="cp1251")
    assert table.cells[1] == ["вид", "А"]
    known = [frozenset(["id", "name"])]
    table = parse_table(b"Product,Class,\nid,kind,name\n1,A,B\n", "t.csv", headings=known)
    assert table.columns == ("id", "kind", "name")


@pytest.mark.parametrize("row", ['B1,Shoes,"Red, blue\n', 'B1,"Red, blue" x,Shoes\n', '"B1,Shoes,Red\n'])
def test_separators_behind_a_quote_that_may_have_been_meant_break_the_row(row: str) -> None:
    rows, table = parse_beside_plain(row)
    assert rows == []
    assert [line for line, _ in table.broken] == [2]


@pytest.mark.parametrize(
    ("header", "end"),
    [("id,kind,name\n", ",,,"), ("id,kind,name,\n", ""), ("id,kind,name,,\n", ",,"), ("id,kind,name,\n", ",,,")],
)
def test_empty_cells_without_a_heading_are_no_columns(header: str, end: str) -> None:
    table = parse_table((header + PLAIN.replace("\n", end + "\n")).encode(), "t.csv")
    assert table.columns == ("id", "kind", "name")
    assert list(table.rows) == list(parse_table((HEADER + PLAIN).encode(), "t.csv").rows)
    assert (table.repairs, table.broken) == ([], [])


def test_a_column_without_a_heading_that_has_values_is_kept() -> None:
    table = parse_table((HEADER.replace("\n", ",\n") + PLAIN.replace("\n", ",x\n")).encode(), "t.csv")
    assert table.columns == ("id", "kind", "name", "column_4")
    assert set(table.cells[3]) == {"x"}
    rare = parse_table((HEADER.replace("\n", ",\n") + "B1,Shoes,Red, Blue\n" + PLAIN).encode(), "t.csv")
    assert rare.rows[0]["name"] == "Red, Blue"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("odd", ['2,B,"x"{}y', "2,B{}3,C,x"])
def test_a_line_end_of_another_kind_breaks_its_line(end: str, odd: str) -> None:
    lines = ["id,kind,name", "1,A,x", odd.format("\n" if end == "\r" else "\r"), "4,D,z", ""]
    table = parse_table(end.join(lines).encode(), "t.csv")
    assert [line for line, _ in table.broken] == [3]
    assert [row["id"] for row in table.rows] == ["1", "4"]


def test_a_line_break_in_a_heading_does_not_change_the_line_end() -> None:
    table = parse_table(b'"id\rnumber",kind\n1,A\n2,"B\rC"\n', "t.csv")
    assert (table.columns, table.broken) == (("id\rnumber", "kind"), [])
    assert [row["kind"] for row in table.rows] == ["A", "B\rC"]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_any_usual_separator(separator: str) -> None:
    data = separator.join(["id", "name"]) + "\n" + separator.join(["1", "x"])
    assert parse_table(data.encode(), "t.csv").rows == [{"id": "1", "name": "x"}]


def test_the_separator_is_that_of_the_whole_table() -> None:
    text = "id;size, in cm, inside;kind\n1;2,5;Shirts\n2;3,5;Shoes\n"
    assert parse_table(text.encode(), "t.csv").columns == ("id", "size, in cm, inside", "kind")
    lists = "id,name,tags\n" + "".join(f"{number},Red, blue,a|b\n" for number in range(9)) + "9,Red,a|b\n"
    assert parse_table(lists.encode(), "t.csv").columns == ("id", "name", "tags")
    assert parse_table(text.encode(), "t.csv", ",").columns == ("id;size", "in cm", "inside;kind")


@pytest.mark.parametrize("first", ["sep=;\n", "SEP=;\r\n"])
def test_the_line_that_spreadsheets_write_for_the_separator(first: str) -> None:
    table = parse_table((first + "id;kind\n1;A,B\n2;C,D\n").encode(), "t.csv")
    assert (table.columns, table.cells[1]) == (("id", "kind"), ["A,B", "C,D"])
    assert list(table.lines) == [3, 4]


def test_lines_above_the_header_are_listed() -> None:
    table = parse_table(("Products of spring;;\n\nid;kind;name\n" + PLAIN.replace(",", ";")).encode(), "t.csv")
    assert table.columns == ("id", "kind", "name")
    assert [(repair.line, repair.before) for repair in table.repairs] == [(1, "Products of spring;;")]
    assert table.lines[0] == 4


def test_quotes_behind_a_backslash() -> None:
    text = '1,A,"a \\"b\\", c \\\\ d"\n2,B,"x"\n'
    assert parse(text) == [["1", "A", 'a "b", c \\ d'], ["2", "B", "x"]]
    # Without any, a backslash is text, as in a path of Windows.
    assert parse('1,A,"C:\\x\\"\n2,B,a\\b\n') == [["1", "A", "C:\\x\\"], ["2", "B", "a\\b"]]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ('1,A,3.5\\" heel\n2,B,"x, y"\n', [["1", "A", '3.5" heel'], ["2", "B", "x, y"]]),
        ("1,A,Red\\, blue\n2,B,x\n", [["1", "A", "Red, blue"], ["2", "B", "x"]]),
        ('1,\\N,x\n2,B,"a\\nb"\n', [["1", "", "x"], ["2", "B", "a\nb"]]),
        ("1,\\N,two\\\nlines\n2,B,x\\\\\n", [["1", "", "two\nlines"], ["2", "B", "x\\"]]),
        # Backslashes that are no escapes are text, and so is what may be a missing cell beside them.
        ("1,\\N,C:\\images\\new\n2,B,x\n", [["1", "\\N", "C:\\images\\new"], ["2", "B", "x"]]),
        ("1,A,C:\\new\\\n2,B,x\n", [["1", "A", "C:\\new\\"], ["2", "B", "x"]]),
    ],
)
def test_escapes_of_databases(text: str, rows: list[list[str]]) -> None:
    assert parse(text) == rows


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("'1','A','Red, blue'\n'2','B','Men''s'\n", [["1", "A", "Red, blue"], ["2", "B", "Men's"]]),
        ("1,'A','Red'\n2,'B',\n3,'C','y'\n", [["1", "A", "Red"], ["2", "B", ""], ["3", "C", "y"]]),
        # Of two rows with texts in single quotes, nobody knows whether the quotes are theirs.
        ("1,'A','Red'\n2,'B','x'\n", [["1", "'A'", "'Red'"], ["2", "'B'", "'x'"]]),
        ("1,A,'Red'\n2,B,Levi's\n3,B,y\n", [["1", "A", "'Red'"], ["2", "B", "Levi's"], ["3", "B", "y"]]),
        ("1,A,\"'Red','blue'\"\n2,B,x\n", [["1", "A", "'Red','blue'"], ["2", "B", "x"]]),
    ],
)
def test_single_quotes(text: str, rows: list[list[str]]) -> None:
    assert parse(text) == rows


@pytest.mark.parametrize("header", ["id,kind,name\n", '"id,kind,name"\n', '"id,""kind"",name"\n'])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_rows_that_are_quoted_as_a_whole(header: str, end: str) -> None:
    body = '"1,A,""Red, blue"""\n2,B,plain\n"3,C,""5"""" heel"""\n"4,D,""two\nlines"""\n'
    table = parse_table((header + body).replace("\n", end).encode(), "t.csv")
    rows = [["1", "A", "Red, blue"], ["2", "B", "plain"], ["3", "C", '5" heel'], ["4", "D", f"two{end}lines"]]
    assert [list(row.values()) for row in table.rows] == rows
    assert (table.columns, table.broken, list(table.lines)) == (("id", "kind", "name"), [], [2, 3, 4, 5])


@pytest.mark.parametrize("mark", [",", ";", "\t", " "])
def test_row_names_of_r_are_a_column_with_a_line(mark: str) -> None:
    rows = '"1","A1","Red dress"\n"2","A2","Blue"\n'
    for header, reason in (('"","id","kind"\n', "without a heading"), ('"id","kind"\n', "R writes it")):
        table = parse_table((header + rows).replace(",", mark).encode(), "t.csv")
        assert table.columns == ("column_1", "id", "kind")
        assert table.cells[1:] == [["A1", "A2"], ["Red dress", "Blue"]]
        [repair] = table.repairs
        assert (repair.line, repair.column) == (1, "column_1")
        assert reason in repair.reason


@pytest.mark.parametrize(
    "rows", ["1,A1,Red\n2,A2,Blue\n", '"7","A1","Red"\n"8","A2","Blue"\n', '"A1","Red","1"\n"A2","Blue","2"\n']
)
def test_no_value_moves_where_another_heading_may_be_missing(rows: str) -> None:
    table = parse_table(('"id","kind"\n' + rows).encode(), "t.csv")
    assert (table.columns, len(table.rows)) == (("id", "kind"), 0)
    assert [line for line, _ in table.broken] == [2, 3]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
def test_encodings(encoding: str) -> None:
    table = parse_table("id,name\n1,Café\n2,Größe\n".encode(encoding), "t.csv")
    assert table.columns == ("id", "name")
    assert table.cells[1] == ["Café", "Größe"]


def test_a_wrong_byte_spoils_its_cell_alone_with_a_line() -> None:
    table = parse_table("id,name,kind\n1,Café,Größe\n2,X".encode() + b"\xff" + ",Größe\n".encode(), "t.csv")
    assert table.cells[1:] == [["Café", "X\ufffd"], ["Größe", "Größe"]]
    assert [repair[:4] for repair in table.repairs] == [(3, "name", "X\\xff", "X\ufffd")]
    with pytest.raises(CatalogError, match="no whole UTF-16 text"):
        parse_table("id,name\n1,Café".encode("utf-16")[:-1], "t.csv")


@pytest.mark.parametrize(
    ("text", "message"), [("", "is empty"), ("\n \n", "is empty"), ('id,"kind,name\n1,A,B\n', "cannot be read")]
)
def test_unusable_headers(text: str, message: str) -> None:
    with pytest.raises(CatalogError, match=message):
        parse_table(text.encode(), "t.csv")


NAMES = st.text(st.characters(codec="utf-8", exclude_characters='\r\n\x00"'), max_size=20)


@given(st.lists(NAMES.filter(lambda name: "," not in name), max_size=20))
def test_any_name_without_a_comma_survives(names: list[str]) -> None:
    body = "".join(f"{number},K,{name}\n" for number, name in enumerate(names))
    assert [row[2] for row in parse(body)] == names


CELLS = st.text(st.sampled_from("ab é,;|\t\"'\n\r\\\u20ac"), max_size=9)


def is_in_single_quotes(cell: str) -> bool:
    """Whether a cell looks quoted; of a column of such cells, the quotes are no part."""
    return len(cell) > 1 and cell[0] == cell[-1] == "'"


TABLES = (
    st.integers(2, 5)
    .flatmap(lambda width: st.lists(st.lists(CELLS, min_size=width, max_size=width), min_size=1, max_size=9))
    .filter(lambda rows: not any(sum(map(is_in_single_quotes, column)) > 2 for column in zip(*rows, strict=True)))
)


@given(TABLES, st.sampled_from([",", ";", "\t", "|"]), st.sampled_from(["\n", "\r\n"]), st.booleans())
@example([['a,"\nb', "\\"]], ",", "\n", False)
def test_what_pythons_writer_writes_comes_back(
    cells: list[list[str]], separator: str, end: str, quotes_all: bool
) -> None:
    rows = [[f"R{number}", *row] for number, row in enumerate(cells)]
    header = [f"column {number}" for number in range(len(rows[0]))]
    file = io.StringIO()
    # What quotes only where it must does not quote a carriage return that is no part of its line end.
    quoting: Literal[0, 1] = csv.QUOTE_ALL if quotes_all or end == "\n" else csv.QUOTE_MINIMAL
    csv.writer(file, delimiter=separator, lineterminator=end, quoting=quoting).writerows([header, *rows])
    table = parse_table(file.getvalue().encode(), "t.csv", separator, "doubled")
    assert [list(row.values()) for row in table.rows] == rows
    # What looks odd may have a line, but is read as it is written.
    assert all(repair.before == repair.after for repair in table.repairs)
    assert table.broken == []


@given(TABLES)
def test_what_a_writer_with_backslashes_writes_comes_back(cells: list[list[str]]) -> None:
    rows = [[f"R{number}", *row] for number, row in enumerate(cells)]
    header = [f"column {number}" for number in range(len(rows[0]))]
    file = io.StringIO()
    writer = csv.writer(file, escapechar="\\", doublequote=False, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerows([header, *rows])
    table = parse_table(file.getvalue().encode(), "t.csv", escape="backslash")
    assert [list(row.values()) for row in table.rows] == rows


@given(TABLES)
def test_what_a_database_writes_into_a_file_comes_back(cells: list[list[str]]) -> None:
    """As `SELECT INTO OUTFILE` does: no quotes, and a backslash before what has a meaning."""
    rows = [[f"R{number}", *row] for number, row in enumerate(cells)]
    header = [f"column {number}" for number in range(len(rows[0]))]
    # A quote that opens a cell has a meaning to this reader, and a database may put a backslash before it.
    escaped = {"\\": "\\\\", "\t": "\\\t", "\n": "\\\n", "\r": "\\r", '"': '\\"'}
    lines = [
        "\t".join("".join(escaped.get(letter, letter) for letter in cell) for cell in row) for row in [header, *rows]
    ]
    table = parse_table("".join(f"{line}\n" for line in lines).encode(), "t.csv", "\t", "backslash")
    assert [list(row.values()) for row in table.rows] == rows
    assert table.broken == []


@given(TABLES, st.sampled_from(["\n", "\r\n"]), st.lists(st.booleans(), min_size=9, max_size=9))
def test_rows_quoted_as_a_whole_come_back(cells: list[list[str]], end: str, wrapped: list[bool]) -> None:
    plain = [[f"P{number}", *['a, "b"' for _ in cells[0]]] for number in range(20)]
    rows = [[f"R{number}", *row] for number, row in enumerate(cells)]
    lines = []
    for row, wraps in zip([*plain, *rows], [*[True] * 20, *wrapped], strict=False):
        file = io.StringIO()
        quoting: Literal[0, 1] = csv.QUOTE_MINIMAL if wraps else csv.QUOTE_ALL
        csv.writer(file, lineterminator="\r\n", quoting=quoting).writerow(row)
        line = file.getvalue().removesuffix("\r\n")
        lines.append('"' + line.replace('"', '""') + '"' if wraps else line)
    header = ",".join(f"column {number}" for number in range(len(rows[0])))
    table = parse_table(end.join([header, *lines, ""]).encode(), "t.csv", ",", "doubled")
    assert [list(row.values()) for row in table.rows] == [*plain, *rows]
    assert table.broken == []


@given(st.sampled_from(["\n", "\r\n", "\r"]), st.lists(st.text(st.sampled_from('xy,"\r\n'), max_size=12), max_size=6))
def test_every_letter_is_in_a_row_or_in_a_broken_line(end: str, bodies: list[str]) -> None:
    text = end.join(["id,kind,name", *bodies])
    table = parse_table(text.encode(), "t.csv")
    lines = text.split(table.dialect.line_end)
    found = ["".join(row.values()) for row in table.rows]
    for number, reason in table.broken:
        below = int(reason.rsplit("(with the ")[1].split()[0]) if "(with the " in reason else 0
        found += lines[number - 1 : number + below]
    body = "".join(bodies)
    assert [sum(part.count(letter) for part in found) for letter in "xy"] == [body.count(letter) for letter in "xy"]


WORDS = st.text(st.sampled_from("abc de"), min_size=1, max_size=8).map(str.strip).filter(bool)


@given(st.data())
def test_damage_moves_no_value_without_a_line(draw: st.DataObject) -> None:
    """Delete, insert or replace one byte: a row that differs in more than one cell has a line."""
    kinds = ["Shirts", "Shoes", "Bags", "Hats"]
    quoted = draw.draw(st.booleans())
    names = draw.draw(st.lists(WORDS, min_size=12, max_size=16))
    rows = [[f"A{number:03}", name + ", soft" * quoted, kinds[number % 4]] for number, name in enumerate(names)]
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([["id", "name", "kind"], *rows])
    data = file.getvalue()
    body = data.index("\n") + 1
    position = draw.draw(st.integers(body, len(data) - 1))
    mark = draw.draw(st.sampled_from(['"', ",", "\n", "x", ";", "\\", ""]))
    length = draw.draw(st.sampled_from([0, 1]))
    damaged = data[:position] + mark + data[position + length :]
    table = parse_table(damaged.encode(), "t.csv")
    said = {line for line, _ in table.broken} | {repair.line for repair in table.repairs}
    known = {row[0]: row for row in rows}
    for row, line in zip(table.rows, table.lines, strict=True):
        values = list(row.values())
        old = known.get(values[0])
        if old is None or line in said:
            continue
        wrong = [index for index in range(3) if values[index] != old[index]]
        assert len(wrong) <= 1, (damaged, values, old)


@pytest.mark.parametrize("order", ["id,name,kind", "kind,id,name"])
def test_a_table_below_another_with_other_columns_is_refused(order: str) -> None:
    wanted = r"t\.csv has a second header in line 14, with the columns in another order"
    with pytest.raises(CatalogError, match=wanted):
        parse_table_file(f"{HEADER}{PLAIN}{order}\nB1,Red hat,Hats\n".encode(), "t.csv", {})


def test_the_same_header_again_moves_no_value() -> None:
    table = parse_table_file(f"{HEADER}{PLAIN}{HEADER}B1,Hats,Red hat\n".encode(), "t.csv", {})
    assert table.rows[-1] == {"id": "B1", "kind": "Hats", "name": "Red hat"}


def test_a_value_that_a_separator_moved_into_a_category_has_a_line() -> None:
    plain = "".join(f"A{number},hat no {number},Hats,note {number}\n" for number in range(12))
    table = parse_table(f"id,name,kind,note\nB1,Red,large,Hats\n{plain}".encode(), "t.csv")
    assert [(repair.line, repair.column, repair.before) for repair in table.repairs] == [(2, "kind", "large")]
    assert "a separator that nobody quoted" in table.repairs[0].reason


def test_single_quotes_around_one_column_are_quotes() -> None:
    body = "".join(f"A{number},Hats,'{number} hats, red'\n" for number in range(5))
    assert parse(body)[3] == ["A3", "Hats", "3 hats, red"]
