"""A Parquet table comes as texts; one cell is changed, and types, metadata and all other values stay."""

import datetime
from decimal import Decimal
from io import BytesIO
from typing import Any

import polars as pl
import pytest
from arro3.core import Array, DataType, Field, Schema, Table
from arro3.io import read_parquet, write_parquet

from hangtag.catalog import parquet_table
from hangtag.catalog.parquet_table import edit_parquet, read_parquet_table
from hangtag.errors import CatalogError

DAY = datetime.date(2024, 3, 9)
SHOP = pl.DataFrame(
    {
        "sku": [31001, 31002, None],
        "kind": ["Scarves", None, "Scarfs"],
        "float_id": [31001.0, None, 0.1],
        "short": pl.Series([0.1, 5, None], dtype=pl.Float32),
        "size": pl.Series([1, 2, 255], dtype=pl.UInt8),
        "sold": [True, False, None],
        "added": [DAY, None, DAY],
        "seen": pl.Series([datetime.datetime(2024, 3, 9, 8), None, None]).dt.replace_time_zone("Europe/Berlin"),
        "price": pl.Series([Decimal("1.50"), None, Decimal("2.00")], dtype=pl.Decimal(10, 2)),
        "tags": [["a", "ü"], None, []],
        "photo": [{"bytes": b"\xff\xd8", "path": "a.jpg"}, None, None],
        "raw": [b"\xff", None, b""],
        "none": pl.Series([None, None, None], dtype=pl.Null),
    }
)


def write(frame: pl.DataFrame, **options: Any) -> bytes:
    buffer = BytesIO()
    frame.write_parquet(buffer, **options)
    return buffer.getvalue()


def test_values_come_as_texts() -> None:
    names, columns, notes = read_parquet_table(write(SHOP), "shop.parquet")
    assert names == tuple(SHOP.columns)
    assert dict(zip(names, columns, strict=True)) == {
        "sku": ["31001", "31002", ""],
        "kind": ["Scarves", "", "Scarfs"],
        "float_id": ["31001", "", "0.1"],
        "short": ["0.1", "5", ""],
        "size": ["1", "2", "255"],
        "sold": ["TRUE", "FALSE", ""],
        "added": ["2024-03-09", "", "2024-03-09"],
        "seen": ["2024-03-09T08:00:00+01:00", "", ""],
        "price": ["1.50", "", "2"],
        "tags": ['["a", "ü"]', "", "[]"],
        "photo": ['{"bytes": null, "path": "a.jpg"}', "", ""],
        "raw": ["", "", ""],
        "none": ["", "", ""],
    }
    assert notes == ["column 'photo': binary data, not read", "column 'raw': binary data, not read"]


def test_cells_are_changed_and_everything_else_stays() -> None:
    data = write(SHOP, compression="zstd")
    changes = {
        (2, "kind"): "Scarves",
        (0, "kind"): "",
        (1, "sku"): "7",
        (1, "float_id"): "2.5",
        (1, "short"): "0.3",
        (2, "sold"): "TRUE",
        (2, "size"): "9",
    }
    edited, refused = edit_parquet(data, "shop.parquet", changes)
    assert refused == {}
    after = pl.read_parquet(edited)
    assert after.schema == SHOP.schema
    expected = SHOP.to_dict(as_series=False)
    expected["kind"] = [None, None, "Scarves"]
    expected["sku"][1], expected["float_id"][1], expected["sold"][2] = 7, 2.5, True
    expected["size"][2] = 9
    found = after.to_dict(as_series=False)
    expected["short"][1] = pl.Series([0.3], dtype=pl.Float32)[0]
    assert found == expected


def test_the_metadata_of_the_file_stay() -> None:
    buffer = BytesIO()
    write_parquet(read_parquet(BytesIO(write(SHOP))).read_all(), buffer, key_value_metadata={"shop": "north wing"})
    edited, _ = edit_parquet(buffer.getvalue(), "shop.parquet", {(0, "kind"): "Hats"})
    assert read_parquet(BytesIO(edited)).schema.metadata == {b"shop": b"north wing"}
    # Arrow's schema, in base 64, is not the only place.
    assert b"north wing" in edited


def test_what_a_column_cannot_hold_is_refused() -> None:
    changes = {
        (0, "sku"): "A-7",
        (1, "sku"): "007",
        (0, "size"): "256",
        (1, "size"): "-1",
        (0, "float_id"): "1e3",
        (0, "short"): "0.123456789",
        (0, "sold"): "yes",
        (0, "added"): "2024-01-01",
        (0, "tags"): "[]",
        (0, "raw"): "x",
        (1, "short"): "16777217",
        (1, "sold"): "true",
        (2, "sku"): " 5",
        (1, "float_id"): "nan",
        (0, "kind"): "\ud800",
        (9, "kind"): "x",
        (0, "brand"): "x",
        (-1, "kind"): "x",
    }
    data = write(SHOP)
    edited, refused = edit_parquet(data, "shop.parquet", changes)
    assert edited == data
    assert set(refused) == set(changes)
    assert refused[0, "sku"] == "the column's type, Int64, does not hold the new value"
    assert refused[0, "added"] == "cells of the column's type, Date32, are not changed"
    assert refused[9, "kind"] == "the table has no such row or column"


def build_categories(metadata: dict[str, str]) -> tuple[Table, bytes]:
    kind = DataType.dictionary(DataType.uint8(), DataType.large_utf8())
    array = Array(["Men", None, "Women"], DataType.large_utf8()).cast(kind)
    field = Field("for", kind, nullable=True, metadata=metadata)
    table = Table.from_arrays([array], schema=Schema([field]))
    buffer = BytesIO()
    write_parquet(table, buffer)
    return table, buffer.getvalue()


def test_a_column_of_categories_takes_new_ones() -> None:
    table, data = build_categories({"shop": "north"})
    assert read_parquet_table(data, "b.parquet")[1] == [["Men", "", "Women"]]
    edited, refused = edit_parquet(data, "b.parquet", {(1, "for"): "Kids", (0, "for"): "Women"})
    assert refused == {}
    after = read_parquet(BytesIO(edited)).read_all()
    assert after.schema == table.schema
    assert after.column(0).to_pylist() == ["Women", "Kids", "Women"]


def test_a_column_with_a_fixed_list_of_categories_takes_those_it_has() -> None:
    _, data = build_categories({"_PL_ENUM_VALUES2": "3;Men5;Women4;Kids"})
    edited, refused = edit_parquet(data, "b.parquet", {(1, "for"): "Unisex", (0, "for"): "Women"})
    assert refused == {(1, "for"): "the column has a fixed list of values, and the new one is none of them"}
    assert read_parquet(BytesIO(edited)).read_all().column(0).to_pylist() == ["Women", None, "Women"]


def test_some_cells_of_a_column_are_refused_and_others_made() -> None:
    edited, refused = edit_parquet(write(SHOP), "shop.parquet", {(0, "sku"): "x", (1, "sku"): "5"})
    assert list(refused) == [(0, "sku")]
    assert pl.read_parquet(edited)["sku"].to_list() == [31001, 5, None]


def test_nothing_to_change_returns_the_same_bytes() -> None:
    data = write(SHOP)
    assert edit_parquet(data, "shop.parquet", {(0, "kind"): "Scarves", (0, "added"): "2024-03-09"}) == (data, {})


def test_many_row_groups_and_none() -> None:
    frame = pl.DataFrame({"sku": [str(number) for number in range(1000)]})
    data = write(frame, row_group_size=100)
    assert read_parquet_table(data, "b.parquet")[1] == [frame["sku"].to_list()]
    edited, _ = edit_parquet(data, "b.parquet", {(950, "sku"): "x"})
    assert [row for row, sku in enumerate(pl.read_parquet(edited)["sku"]) if sku == "x"] == [950]
    assert read_parquet_table(write(frame.clear()), "b.parquet") == (("sku",), [[]], [])


def damage(data: bytes, start: int, end: int) -> bytes:
    return data[:start] + b"\xee" * (end - start) + data[end:]


GOOD = write(pl.DataFrame({"sku": ["a", "b"] * 500}))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no Parquet file, or an incomplete one"),
        (b"PAR1PAR1", "no Parquet file"),
        (b"PAR1" + bytes(20) + b"PAR1", "no Parquet file"),
        (GOOD[:-9], "no Parquet file"),
        (GOOD[:-4] + b"PARE", "encrypted"),
        (damage(GOOD, 10, 60), "damaged"),
        (damage(GOOD, len(GOOD) - 60, len(GOOD) - 8), "damaged"),
    ],
)
def test_what_is_no_parquet_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(CatalogError, match=message):
        read_parquet_table(data, "b.parquet")


def test_a_small_file_of_very_many_cells_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_table, "MAX_CELLS", 999)
    with pytest.raises(CatalogError, match=r"too large\. Allowed: 999 cells"):
        read_parquet_table(GOOD, "b.parquet")
