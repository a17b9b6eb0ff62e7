"""Rows that a strict CSV reader would lose, repair wrongly or swallow."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hangtag.catalog.csv_parser import find_lines, parse_table
from hangtag.errors import CatalogError

HEADER = "id,kind,name\n"


def parse(body: str, header: str = HEADER) -> list[list[str]]:
    return [list(row.values()) for row in parse_table((header + body).encode(), "t.csv").rows]


@pytest.mark.parametrize(
    ("body", "rows"),
    [
        ("1,Shoes,Plain\n", [["1", "Shoes", "Plain"]]),
        ("1,Shoes,Red, Blue, Green\n", [["1", "Shoes", "Red, Blue, Green"]]),
        ('1,Shorts,3.5" Pink\n', [["1", "Shorts", '3.5" Pink']]),
        ('1,"Shoes, low",Plain\n', [["1", "Shoes, low", "Plain"]]),
        ('1,Shoes,"He said ""no"""\n', [["1", "Shoes", 'He said "no"']]),
        ('1,Shoes,"two\nlines"\n2,Bags,B\n', [["1", "Shoes", "two\nlines"], ["2", "Bags", "B"]]),
        ('1,Shoes,"never closed\n2,Bags,B\n', [["1", "Shoes", '"never closed'], ["2", "Bags", "B"]]),
        ('1,Shoes,"Ray" Ban\n2,Bags,B\n', [["1", "Shoes", '"Ray" Ban'], ["2", "Bags", "B"]]),
        ("1,,NA\r\n2,Bags,\r\n", [["1", "", "NA"], ["2", "Bags", ""]]),
        ("1,Shoes,A\n\n2,Bags,B", [["1", "Shoes", "A"], ["2", "Bags", "B"]]),
        ('1,Shoes,"two\rlines"\n', [["1", "Shoes", "two\rlines"]]),
        ("1,Shoes,A\r\r\n2,Bags,B\r\r\n", [["1", "Shoes", "A"], ["2", "Bags", "B"]]),
    ],
)
def test_no_row_is_lost(body: str, rows: list[list[str]]) -> None:
    assert parse(body) == rows


def test_a_repaired_row_is_told() -> None:
    table = parse_table((HEADER + "1,A,x\n2,B,y, z\n").encode(), "t.csv")
    assert table.repaired_rows == [1]


def test_a_short_line_is_told_with_its_number() -> None:
    table = parse_table((HEADER + "1,A,x\n2,B\n3,C,z\n").encode(), "t.csv")
    assert table.broken == [(3, "2 cells where the header has 3")]
    assert len(table.rows) == 2


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("odd", ['2,B,"x"{}y', "2,B{}3,C,x", '2,,","{},"'])
def test_a_line_end_of_another_kind_breaks_its_line(end: str, odd: str) -> None:
    lines = ["id,kind,name", "1,A,x", odd.format("\n" if end == "\r" else "\r"), "4,D,z", ""]
    table = parse_table(end.join(lines).encode(), "t.csv")
    assert table.broken == [(3, "a line end (CR or LF) of another kind than the table's, outside quotes")]
    assert [row["id"] for row in table.rows] == ["1", "4"]


def test_a_line_break_in_a_heading_does_not_change_the_line_end() -> None:
    table = parse_table(b'"id\rnumber",kind\n1,A\n2,"B\rC"\n', "t.csv")
    assert (table.columns, table.broken) == (("id\rnumber", "kind"), [])
    assert [row["kind"] for row in table.rows] == ["A", "B\rC"]


@given(st.sampled_from(["\n", "\r\n", "\r"]), st.lists(st.text(st.sampled_from('xy,"\r\n'), max_size=12), max_size=6))
def test_every_letter_is_in_a_row_or_in_a_broken_line(end: str, bodies: list[str]) -> None:
    text = end.join(["id,kind,name", *bodies])
    table = parse_table(text.encode(), "t.csv")
    lines = [text[start:stop] for start, stop in find_lines(text)]
    found = [cell for row in table.rows for cell in row.values()] + [lines[line - 1] for line, _ in table.broken]
    body = "".join(bodies)
    assert [sum(part.count(letter) for part in found) for letter in "xy"] == [body.count(letter) for letter in "xy"]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_any_usual_separator(separator: str) -> None:
    data = separator.join(["id", "name"]) + "\n" + separator.join(["1", "x"])
    assert parse_table(data.encode(), "t.csv").rows == [{"id": "1", "name": "x"}]


def test_windows_text_and_byte_order_mark() -> None:
    assert parse_table("id,name\n1,Café".encode("cp1252"), "t.csv").rows[0]["name"] == "Café"
    assert parse_table("id,name\n1,Café".encode("utf-8-sig"), "t.csv").columns == ("id", "name")


@pytest.mark.parametrize(("text", "message"), [("", "is empty"), ("a,b,a\n1,2,3", "has a column twice")])
def test_unusable_headers(text: str, message: str) -> None:
    with pytest.raises(CatalogError, match=message):
        parse_table(text.encode(), "t.csv")


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters='\r\n\x00"'), max_size=20), max_size=20))
def test_any_unquoted_name_survives(names: list[str]) -> None:
    body = "".join(f"{number},K,{name}\n" for number, name in enumerate(names))
    assert [row[2] for row in parse(body)] == names
