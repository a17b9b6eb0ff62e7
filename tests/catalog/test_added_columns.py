"""A column is added to a table of any format, and nothing else of the file changes."""

import json
from collections.abc import Mapping
from io import BytesIO

import openpyxl
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from workbooks import build_shop_workbook, read_parts, save

from hangtag.catalog.csv_editor import NO_COLUMN, EditedTable
from hangtag.catalog.schema import CatalogSchema
from hangtag.catalog.table_files import add_column, parse_table_file


def add(data: bytes, where: str, cells: Mapping[int, str], heading: str = "new", **described: str) -> EditedTable:
    table = parse_table_file(data, where, described)
    return add_column(data, where, table, CatalogSchema(**described), heading, cells)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a,b\n1,2\n3,4\n", "a,b,new\n1,2,X\n3,4,\n"),
        ("a,b\r\n1,2\r\n3,4", "a,b,new\r\n1,2,X\r\n3,4,"),
        ('"a","b"\n"1","2"\n"3","4"\n', '"a","b","new"\n"1","2","X"\n"3","4",""\n'),
        ("a;b\n1;2\n\n3;4\n", "a;b;new\n1;2;X\n\n3;4;\n"),
        ("a\tb\n1\t2\n3\t4\n", "a\tb\tnew\n1\t2\tX\n3\t4\t\n"),
        # A cell over several lines, and one with a separator.
        ('a,b\n1,"2\nx"\n3,"4,5"\n', 'a,b,new\n1,"2\nx",X\n3,"4,5",\n'),
        # Empty cells behind the last column.
        ("a,b,,\n1,2,,\n3,4,,\n", "a,b,new,\n1,2,X,\n3,4,,\n"),
        # A row that ends early.
        ("a,b,c\n1,2,3\n3,4,5\n5,6,7\n6,7,8\n", "a,b,c,new\n1,2,3,X\n3,4,5,\n5,6,7,\n6,7,8,\n"),
        ("sep=;\na;b\n1;2\n3;4\n", "sep=;\na;b;new\n1;2;X\n3;4;\n"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_text_gets_a_cell_in_every_row(before: str, after: str, encoding: str) -> None:
    edited = add(before.encode(encoding), "t.csv", {0: "X"})
    assert edited == EditedTable(after.encode(encoding), {})


def test_a_value_with_separators_and_quotes_is_quoted() -> None:
    edited = add(b"a,b\n1,2\n", "t.csv", {0: 'Shoes, "high" > Boots'})
    assert edited.data == b'a,b,new\n1,2,"Shoes, ""high"" > Boots"\n'
    assert parse_table_file(edited.data, "t.csv", {}).cells[2] == ['Shoes, "high" > Boots']


def test_a_short_row_is_filled_up_to_the_new_cell() -> None:
    rows = "".join(f"{number},x,y\n" for number in range(9))
    edited = add(f"id,b,c\n{rows}99,x\n".encode(), "t.csv", {9: "X"})
    assert edited.data.decode().splitlines()[-1] == "99,x,,X"
    assert parse_table_file(edited.data, "t.csv", {}).cells[3][9] == "X"


def test_letters_that_the_encoding_lacks_leave_their_cell_empty_with_a_reason() -> None:
    data = "id;Farbe\n1;grün\n2;weiß\n".encode("cp1252")
    edited = add(data, "t.csv", {0: "Schuhe", 1: "鞋"}, encoding="cp1252")
    assert edited.data == "id;Farbe;new\n1;grün;Schuhe\n2;weiß;\n".encode("cp1252")
    assert list(edited.refused) == [1]
    assert "cp1252" in edited.refused[1]


def test_lines_that_are_no_rows_stay_none() -> None:
    rows = "".join(f"{number},x\n" for number in range(9))
    edited = add(f"id,b\n{rows}1,2,3\n7,x\n".encode(), "t.csv", {0: "X"})
    assert edited.data.decode().splitlines()[-2:] == ["1,2,3,", "7,x,"]
    assert [line for line, _ in parse_table_file(edited.data, "t.csv", {}).broken] == [11]


def test_separators_that_nobody_quoted_stay_unless_the_row_would_be_read_otherwise() -> None:
    rows = "".join(f"{number},shirt {number},red\n" for number in range(9))
    data = f"id,name,colour\n{rows}77,shirt, long,red\n".encode()
    known = add(data, "t.csv", dict.fromkeys(range(10), "X"))
    assert known.data.decode().splitlines()[-1] == "77,shirt, long,red,X"
    other = add(data, "t.csv", {0: "X", 9: "Y"})
    assert other.data.decode().splitlines()[-1] == '77,"shirt, long",red,Y'


def test_a_table_that_would_be_read_otherwise_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    data = b"a,b\n1,2\n3,4\n"
    monkeypatch.setattr("hangtag.catalog.csv_editor.quote_cell", lambda value, *_, **__: value)
    assert add(data, "t.csv", {0: "X,Y"}) == EditedTable(data, {0: NO_COLUMN})


CELLS = st.text(st.sampled_from("ab \"',;\n1"), max_size=4)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=5), CELLS)
def test_every_table_that_gets_a_column_is_read_again_as_it_was(rows: list[tuple[str, str]], value: str) -> None:
    data = pl.DataFrame(rows, schema=["first", "second"], orient="row").write_csv().encode()
    table = parse_table_file(data, "t.csv", {})
    edited = add(data, "t.csv", {0: value})
    if 0 in edited.refused:
        assert edited.data == data
        return
    again = parse_table_file(edited.data, "t.csv", {})
    assert again.columns == (*table.columns, "new")
    assert again.cells[:-1] == table.cells
    assert again.cells[-1] == [value, *[""] * (len(table.lines) - 1)]


def test_json_lines_get_a_key_where_there_is_a_value() -> None:
    data = b'{"a": 1, "b": "x"}\n{"a":2}\n'
    assert add(data, "t.jsonl", {0: "X"}).data == b'{"a": 1, "b": "x", "new": "X"}\n{"a":2}\n'


def test_parquet_gets_a_column_of_texts_and_keeps_the_others() -> None:
    buffer = BytesIO()
    frame = pl.DataFrame({"a": [1, 2], "b": [["x"], ["y", "z"]], "c": [1.5, None]})
    frame.write_parquet(buffer)
    again = pl.read_parquet(add(buffer.getvalue(), "t.parquet", {1: "X"}).data)
    assert again.equals(frame.with_columns(new=pl.Series([None, "X"])))
    assert again.schema["new"] == pl.String


def test_a_feed_gets_an_element_with_the_prefix_of_the_others() -> None:
    feed = (
        '<rss xmlns:g="http://base.google.com/ns/1.0"><channel>'
        "<item><g:id>1</g:id></item><item><g:id>2</g:id></item></channel></rss>"
    )
    edited = add(feed.encode(), "t.xml", {1: "A & B"})
    assert edited.data.decode() == feed.replace("2</g:id>", "2</g:id><g:new>A &amp; B</g:new>")
    assert add(feed.encode(), "t.xml", {1: "X"}, heading="two words").refused == {
        1: "the heading cannot be the name of an element"
    }


def test_a_workbook_gets_a_column_and_keeps_everything_else() -> None:
    data = build_shop_workbook()
    table = parse_table_file(data, "t.xlsx", {"sheet": "Goods"})
    edited = add(data, "t.xlsx", {0: "X"}, sheet="Goods")
    assert edited.refused == {}
    before, after = read_parts(data), read_parts(edited.data)
    assert {name for name in before if before[name] != after[name]} == {"xl/worksheets/sheet2.xml"}
    again = parse_table_file(edited.data, "t.xlsx", {"sheet": "Goods"})
    assert again.columns == (*table.columns, "new")
    assert again.cells == [*table.cells, ["X", *[""] * (len(table.lines) - 1)]]


def test_the_heading_of_a_workbook_stands_in_the_row_of_the_others() -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for row in (["Our products"], [], ["id", "kind", None, "price"], [1, "x", None, 2], [2, "y", None, 3]):
        sheet.append(row)
    edited = openpyxl.load_workbook(BytesIO(add(save(book), "t.xlsx", {1: "X"}).data)).active
    assert edited is not None
    assert (edited["E3"].value, edited["E4"].value, edited["E5"].value) == ("new", None, "X")


def test_json_lines_refuse_what_cannot_be_read_again() -> None:
    assert json.loads(add(b'{"a": 1}\n', "t.jsonl", {0: 'x"\n'}).data)["new"] == 'x"\n'
