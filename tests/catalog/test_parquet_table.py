"""A Parquet table comes as texts; one cell is changed, and types, metadata and all other values stay."""

import datetime
import json
import os
import zipfile
from collections.abc import Sequence
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from arro3.core import Array, DataType, Field, Schema, Table
from arro3.io import read_parquet, write_parquet
from PIL import Image

from hangtag.catalog import parquet_editor, parquet_table
from hangtag.catalog.files import FileError, without_stderr
from hangtag.catalog.parquet_editor import edit_parquet
from hangtag.catalog.parquet_table import ParquetTable, read_parquet_table
from hangtag.catalog.prepared_items import read_prepared
from hangtag.catalog.source import FolderSource
from hangtag.config import PrepareConfig
from hangtag.errors import CatalogError
from hangtag.io import read_csv
from hangtag.stages.prepare import prepare
from hangtag.workspace import Workspace

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
    found = read_parquet_table(write(SHOP), "data/shop.parquet")
    assert found.columns == tuple(SHOP.columns)
    assert dict(zip(found.columns, found.cells, strict=True)) == {
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
        "photo": ["a.jpg", "", ""],
        "raw": ["", "", ""],
        "none": ["", "", ""],
    }
    assert found.pictures == ()
    assert found.notes == ["column 'photo': binary data, not read", "column 'raw': binary data, not read"]


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
    assert read_parquet_table(data, "b.parquet").cells == [["Men", "", "Women"]]
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
    assert read_parquet_table(data, "b.parquet").cells == [frame["sku"].to_list()]
    edited, _ = edit_parquet(data, "b.parquet", {(950, "sku"): "x"})
    assert [row for row, sku in enumerate(pl.read_parquet(edited)["sku"]) if sku == "x"] == [950]
    assert read_parquet_table(write(frame.clear()), "b.parquet") == ParquetTable(("sku",), [[]], [])


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
def test_what_is_no_parquet_is_refused(data: bytes, message: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CatalogError, match=message):
        read_parquet_table(data, "b.parquet")
    # A panic of the library is not shown beside it.
    assert capfd.readouterr().err == ""


def test_no_damage_shows_a_panic(capfd: pytest.CaptureFixture[str]) -> None:
    refused = 0
    # At 81 the library asks for more memory than there is, and ends its process.
    for start in (*range(4, len(GOOD) - 8, 67), 81):
        try:
            read_parquet_table(damage(GOOD, start, min(start + 5, len(GOOD) - 8)), "b.parquet")
        except CatalogError:
            refused += 1
    assert refused > 3
    assert capfd.readouterr().err == ""


def test_what_is_written_to_stderr_without_an_error_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    with without_stderr():
        os.write(2, b"a warning")
    assert capfd.readouterr().err == "a warning"


def draw(shade: int, kind: str = "JPEG") -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (12, 12), (shade, 80, 80)).save(buffer, kind)
    return buffer.getvalue()


def write_data_set(pictures: pl.Series, labels: list[int]) -> bytes:
    """Return a table as the library `datasets` writes it: pictures as structures, classes as numbers."""
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["Bags", "Hats"]}}
    table = pl.DataFrame({"image": pictures, "label": pl.Series(labels, dtype=pl.Int64)})
    buffer = BytesIO()
    note = {"huggingface": json.dumps({"info": {"features": features}})}
    write_parquet(Table.from_arrow(table), buffer, key_value_metadata=note)
    return buffer.getvalue()


def test_pictures_inside_a_file_are_photographs_and_classes_have_names(tmp_path: Path) -> None:
    shades = range(0, 250, 10)
    pictures: list[dict[str, Any]] = [
        {"bytes": draw(shade, "PNG" if shade else "JPEG"), "path": f"{shade}.jpg"} for shade in shades
    ]
    pictures[3] = {"bytes": b"no picture", "path": "beside.jpg"}
    pictures[4] = {"bytes": b"", "path": None}
    (tmp_path / "beside.jpg").write_bytes(draw(30))
    data = write_data_set(pl.Series(pictures), [number % 2 for number in range(24)] + [-1])
    (tmp_path / "train.parquet").write_bytes(data)
    result = prepare(tmp_path / "train.parquet", tmp_path / "w", PrepareConfig(image_size=(12, 12)))
    prepared = read_prepared(Workspace.at(tmp_path / "w"))
    assert prepared.items["item_id"].to_list()[:4] == [
        *("train.parquet/image/0.jpg", "train.parquet/image/1.png", "train.parquet/image/2.png", "beside.jpg")
    ]
    assert prepared.items["catalog_label"].to_list() == [
        "Bags",
        "Hats",
        "Bags",
        "Hats",
        *["Hats", "Bags"] * 9,
        "Hats",
        "",
    ]
    assert [int(image[0, 0, 0]) for image in prepared.images][1:] == [shade for shade in shades if shade not in (0, 40)]
    assert result.metrics["rejected"] == 1
    edited, refused = edit_parquet(data, "train.parquet", {(0, "label"): "Hats", (1, "label"): "Shoes"})
    assert refused == {(1, "label"): parquet_editor.FIXED_VALUES}
    after = pl.read_parquet(edited)
    assert after["label"].to_list()[:3] == [1, 1, 0]
    assert after["image"].to_list() == pictures


def test_pictures_as_plain_binary_data(tmp_path: Path) -> None:
    pictures = [draw(shade) for shade in range(0, 200, 40)]
    table = pl.DataFrame({"sku": [*"abcde"], "kind": ["Bags"] * 5, "photo": pictures})
    (tmp_path / "t.parquet").write_bytes(write(table, row_group_size=2))
    described = {"id": "sku", "levels": ["kind"]}
    result = prepare(tmp_path / "t.parquet", tmp_path / "w", PrepareConfig(image_size=(12, 12)), overrides=described)
    assert (result.metrics["items"], result.metrics["rejected"]) == (5, 0)


def test_a_picture_that_is_not_there_is_missing(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(write(pl.DataFrame({"photo": [draw(5), None]})))
    source = FolderSource(tmp_path)
    assert source.read("t.parquet/photo/0.jpg", 10_000) == draw(5)
    assert source.has("t.parquet/photo/0.jpg")
    for name, code in (
        ("t.parquet/photo/1.jpg", "missing_file"),
        ("t.parquet/photo/9.jpg", "missing_file"),
        ("t.parquet/other/0.jpg", "unreadable_file"),
        ("u.parquet/photo/0.jpg", "missing_file"),
        ("../t.parquet/photo/0.jpg", "outside_catalog"),
    ):
        with pytest.raises(FileError) as caught:
            source.read(name, 10_000)
        assert caught.value.code == code, name
    with pytest.raises(FileError, match="are allowed"):
        source.read("t.parquet/photo/0.jpg", 10)


def test_a_file_of_photographs_in_an_archive_is_refused(tmp_path: Path) -> None:
    data = write_data_set(pl.Series([{"bytes": draw(1), "path": "a"}]), [0])
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        archive.writestr("train.parquet", data)
    with pytest.raises(CatalogError, match="Unpack the archive"):
        prepare(tmp_path / "c.zip", tmp_path / "w")


def test_a_small_file_of_very_many_cells_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_table, "MAX_CELLS", 999)
    with pytest.raises(CatalogError, match=r"too large\. Allowed: 999 cells"):
        read_parquet_table(GOOD, "b.parquet")


def write_parts(folder: Path, names: Sequence[str]) -> None:
    for number, name in enumerate(names):
        pictures = [{"bytes": draw(60 * number + 5 * each), "path": f"{each}.jpg"} for each in range(6)]
        (folder / name).write_bytes(write_data_set(pl.Series(pictures), [0, 1] * 3))


def test_parts_that_are_named_like_splits_are_the_splits(tmp_path: Path) -> None:
    write_parts(tmp_path, [f"{split}-00000-of-00001.parquet" for split in ("train", "validation", "test")])
    prepare(tmp_path, tmp_path / "w", PrepareConfig(image_size=(12, 12)))
    items = read_prepared(Workspace.at(tmp_path / "w")).items
    assert items["given_split"].to_list() == ["test"] * 6 + ["train"] * 6 + ["val"] * 6


def test_parts_that_are_not_there_have_a_line(tmp_path: Path) -> None:
    write_parts(tmp_path, [f"train-0000{number}-of-00004.parquet" for number in (0, 2)])
    result = prepare(tmp_path, tmp_path / "w", PrepareConfig(image_size=(12, 12)))
    assert result.metrics["items"] == 12
    # One split alone is none.
    assert read_prepared(Workspace.at(tmp_path / "w")).items["given_split"].to_list() == [None] * 12
    lines = read_csv(tmp_path / "w" / "prepared" / "repaired.csv")["reason"].to_list()
    assert lines[0] == "2 of 4 parts are not read: train-00001-of-00004.parquet, ..."


def test_rows_without_a_picture_are_rejected(tmp_path: Path) -> None:
    pictures = [{"bytes": draw(5), "path": None}, *[{"bytes": None, "path": None}] * 2]
    data = write_data_set(pl.Series(pictures, dtype=pl.Struct({"bytes": pl.Binary, "path": pl.String})), [0, 1, 1])
    (tmp_path / "t.parquet").write_bytes(data)
    prepare(tmp_path / "t.parquet", tmp_path / "w", PrepareConfig(image_size=(12, 12)))
    rejected = read_csv(tmp_path / "w" / "prepared" / "rejected.csv")
    assert rejected.select("item_id", "code").rows() == [("line 2", "missing_id"), ("line 3", "missing_id")]
