"""A table of JSON lines comes as texts, and one value is changed without touching another byte."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hangtag.catalog.json_lines import NESTED, JsonTable, edit_json_lines, read_json_lines
from hangtag.errors import CatalogError

SHOP = (
    '\ufeff{"sku": 31001, "kind": "Scarves", "price": 19.90, "tags": ["a", {"b": 1}]}\r\n'
    "\n"
    '{"sku":31002.0,"kind":null,"sold":true}\n'
    "[1, 2]\n"
    '  { "kind" : "B\\u00fcro \\"x\\"" , "sku" : "0031" }  \n'
    '{"sku": 1'
).encode()


def test_objects_come_as_rows_in_the_order_of_the_first_keys() -> None:
    table = read_json_lines(SHOP, "shop.jsonl")
    assert table.columns == ("sku", "kind", "price", "tags", "sold")
    assert table.rows == [
        ["31001", "Scarves", "19.90", '["a", {"b": 1}]', ""],
        ["31002", "", "", "", "true"],
        ["0031", 'Büro "x"', "", "", ""],
    ]
    assert table.lines == [1, 3, 5]
    assert table.broken == [
        (4, "no JSON object: `{` is missing (letter 1 of the line)"),
        (6, "no JSON object: `,` is missing (letter 10 of the line)"),
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"a": 1, "a": 2}', "the key 'a' stands twice"),
        (b'{"a": "\xff"}', "no UTF-8 (byte 8 of the line)"),
        (b'{"a": "\\ud83d"}', "half of a letter"),
        (b'{"a": ' + b"[" * 100_000, "too deep"),
        (b'{"a": 1} {"a": 2}', "something stands behind the object"),
        (b"{'a': 1}", "a key in quotes is missing"),
        (b'{"a": 01}', "is missing"),
        (b'{"a": "tab\there"}', "Invalid control character"),
        (b'{"a": 1,}', "a key in quotes is missing"),
        (b'{"a"', "`:` is missing"),
        (b'"a"', "`{` is missing"),
    ],
)
def test_a_line_that_is_no_object_has_a_reason(line: bytes, reason: str) -> None:
    table = read_json_lines(b'{"b": 1}\n' + line + b'\n{"c": 2}', "b.jsonl")
    assert [number for number, _ in table.broken] == [2]
    assert reason in table.broken[0][1]
    assert table.lines == [1, 3]


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("4006381333931", "4006381333931"),
        ("12345678901234567890123", "12345678901234567890123"),
        ("1e3", "1000"),
        ("1.50", "1.50"),
        ("1e999999999", "1E+999999999"),
        ("-0.0", "0"),
        ("NaN", "NaN"),
        ("false", "false"),
        ("{}", "{}"),
        ('"\u2028"', "\u2028"),
    ],
)
def test_values_as_text(written: str, text: str) -> None:
    assert read_json_lines(f'{{"a":{written}}}'.encode(), "b.jsonl").rows == [[text]]


@pytest.mark.parametrize(
    "data", [b"", b"\n\n", b"[\n{\n}\n]", b'[\n{"a": 1},\n{"a": 2}\n]\n', '{"a": 1}'.encode("utf-16")]
)
def test_a_file_without_an_object_is_refused(data: bytes) -> None:
    with pytest.raises(CatalogError, match=r"b\.jsonl has no lines of JSON.*Received: b"):
        read_json_lines(data, "b.jsonl")
    with pytest.raises(CatalogError, match=r"in UTF-8\..*Save the file in UTF-8"):
        read_json_lines('{"id": "1"}\n{"id": "2"}\n'.encode("utf-16"), "b.jsonl")


@pytest.mark.parametrize(
    ("line", "key", "new", "expected"),
    [
        ('{"a": "x", "b":"y"}', "a", "z", '{"a": "z", "b":"y"}'),
        ('{"a":"x"}\r', "a", 'ü"\\', '{"a":"\\u00fc\\"\\\\"}\r'),
        ('{"a":"é"}', "a", "ü", '{"a":"ü"}'),
        ('{ "a" : 5 }', "a", "6", '{ "a" : 6 }'),
        ('{"a": 5}', "a", "six", '{"a": "six"}'),
        ('{"a": 5}', "a", "", '{"a": null}'),
        ('{"a": "5"}', "a", "6", '{"a": "6"}'),
        ('{"a": "5"}', "a", "", '{"a": ""}'),
        ('{"a": true}', "a", "false", '{"a": false}'),
        ('{"a": null}', "a", "true", '{"a": "true"}'),
        # A key that only other lines have.
        ('{"a": 1, "b": 2}', "c", "x", '{"a": 1, "b": 2, "c": "x"}'),
        ('{"a":1,"b":2}', "c", "x", '{"a":1,"b":2,"c":"x"}'),
        ('{"a": 1 }', "c", "x", '{"a": 1, "c": "x" }'),
        ("{}", "c", "x", '{"c": "x"}'),
        # Nothing is changed.
        ('{"a": 5.0}', "a", "5", '{"a": 5.0}'),
        ('{"a": null}', "a", "", '{"a": null}'),
        ('{"a": 1}', "c", "", '{"a": 1}'),
    ],
)
def test_one_value_is_changed(line: str, key: str, new: str, expected: str) -> None:
    around = "\n" + '{"z" :  [1,2]}' + "\nbroken\n"
    edited, refused = edit_json_lines((line + around).encode(), "b.jsonl", {(1, key): new})
    assert (edited.decode(), refused) == (expected + around, {})


@pytest.mark.parametrize(
    ("line", "new", "expected"),
    [
        ('{"a": ["x", "y"]}', '["x", "z"]', '{"a": ["x", "z"]}'),
        ('{"a": ["x","y"], "b": 1}', '["ü"]', '{"a": ["ü"], "b": 1}'),
        ('{"a": "x"}', '["x", "y"]', '{"a": ["x", "y"]}'),
        ('{"b": 1}', '["x", "y"]', '{"b": 1, "a": ["x", "y"]}'),
    ],
)
def test_a_list_of_texts_takes_another_one(line: str, new: str, expected: str) -> None:
    around = "\n" + '{"a": ["p", "q"]}' + "\n"
    edited, refused = edit_json_lines((line + around).encode(), "b.jsonl", {(1, "a"): new})
    assert (edited.decode(), refused) == (expected + around, {})


@pytest.mark.parametrize("other", ['{"a": ["x", 1]}', '{"a": {"x": "y"}}', '{"a": [["x"]]}'])
def test_lists_that_are_no_texts_are_not_changed(other: str) -> None:
    data = (other + '\n{"a": ["p"]}\n').encode()
    assert not read_json_lines(data, "b.jsonl").list_columns
    assert edit_json_lines(data, "b.jsonl", {(1, "a"): '["q"]'}) == (data, {(1, "a"): NESTED})


def test_the_byte_order_mark_stays() -> None:
    edited, _ = edit_json_lines(SHOP, "shop.jsonl", {(1, "kind"): "Hats", (1, "sku"): "7", (5, "sku"): "8"})
    assert edited == SHOP.replace(b'"Scarves"', b'"Hats"').replace(b"31001", b"7").replace(b'"0031"', b'"8"')


def test_what_cannot_be_changed_has_a_reason() -> None:
    changes = {(1, "tags"): "b", (4, "sku"): "x", (2, "sku"): "x", (99, "sku"): "x", (0, "sku"): "x", (3, "sku"): "1.0"}
    edited, refused = edit_json_lines(SHOP, "shop.jsonl", changes)
    assert edited == SHOP
    assert refused == {
        (1, "tags"): NESTED,
        (4, "sku"): "no JSON object: `{` is missing (letter 1 of the line)",
        (2, "sku"): "there is no object in this line",
        (99, "sku"): "there is no such line",
        (0, "sku"): "there is no such line",
        (3, "sku"): "the new value would not be read again as it is",
    }


def list_cells(table: JsonTable) -> dict[tuple[int, str], str]:
    return {
        (line, key): text
        for line, row in zip(table.lines, table.rows, strict=True)
        for key, text in zip(table.columns, row, strict=True)
    }


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda each: st.lists(each, max_size=2)
)


@settings(max_examples=200, deadline=None)
@given(
    objects=st.lists(st.dictionaries(st.text(max_size=3), values, max_size=4), min_size=1, max_size=4),
    dense=st.booleans(),
    ascii_only=st.booleans(),
    new=st.text(max_size=5),
    data=st.data(),
)
def test_any_change_touches_nothing_else(
    objects: list[dict[str, Any]], dense: bool, ascii_only: bool, new: str, data: st.DataObject
) -> None:
    marks = (",", ":") if dense else None
    text = "\n".join(json.dumps(each, separators=marks, ensure_ascii=ascii_only) for each in objects).encode(
        errors="replace"
    )
    before = read_json_lines(text, "b.jsonl")
    if not before.columns:
        return
    row = data.draw(st.integers(0, len(before.rows) - 1))
    column = data.draw(st.integers(0, len(before.columns) - 1))
    edited, refused = edit_json_lines(text, "b.jsonl", {(before.lines[row], before.columns[column]): new})
    after = read_json_lines(edited, "b.jsonl")
    if not refused:
        before.rows[row][column] = new
    assert list_cells(after) == list_cells(before)
    others = [line for number, line in enumerate(text.split(b"\n"), start=1) if number != before.lines[row]]
    assert others == [line for number, line in enumerate(edited.split(b"\n"), start=1) if number != before.lines[row]]
