"""Read a Parquet table as texts, and change single cells with its schema, metadata and column types kept."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from hangtag.catalog.cell_text import format_decimal, format_value
from hangtag.errors import CatalogError

if TYPE_CHECKING:
    from arro3.core import Array, ChunkedArray, DataType, Field, Table

MAGIC, ENCRYPTED = b"PAR1", b"PARE"
# Equal values take almost no space in a Parquet file: a small one must not fill the memory.
MAX_CELLS = 200_000_000
BATCH_ROWS = 65_536
NO_SUCH_CELL = "the table has no such row or column"
NOT_READ_BACK = "the column's type, {type}, does not hold the new value"
NOT_EDITABLE = "cells of the column's type, {type}, are not changed"
FIXED_VALUES = "the column has a fixed list of values, and the new one is none of them"
# Polars notes the values of an `Enum` column under this key.
ENUM = b"_PL_ENUM"


def read_parquet_table(data: bytes, where: str) -> tuple[tuple[str, ...], list[list[str]], list[str]]:
    """Read a table's columns as texts.

    Whole numbers are written without `.0`, dates in ISO 8601, booleans as TRUE and FALSE, lists and structures as
    JSON; missing values and binary data are empty.

    Returns:
        The names of the columns; the texts of each column; notes for the user.

    Raises:
        CatalogError: It is damaged, encrypted, too large, or has two columns of one name.
    """
    table = _read_table(data, where)
    names = tuple(table.column_names)
    columns = [_list_texts(table.column(index)) for index in range(len(names))]
    notes = [
        f"column {field.name!r}: binary data, not read"
        for field in _list_fields(table)
        if "binary" in str(field.type).lower()
    ]
    return names, columns, notes


def _read_table(data: bytes, where: str) -> "Table":
    from arro3.core import Table  # noqa: PLC0415  (slow to import, and --help does not need it)
    from arro3.io import read_parquet  # noqa: PLC0415

    _check_frame(data, where)
    with _refusing(where):
        reader = read_parquet(BytesIO(data), batch_size=BATCH_ROWS)
        schema = reader.schema
        names = [schema.field(index).name for index in range(len(schema))]
        if len(set(names)) < len(names):
            twice = sorted({name for name in names if names.count(name) > 1})
            raise CatalogError(f"The table {where} has a column twice.", received=twice)
        batches, rows = [], 0
        for batch in reader:
            rows += batch.num_rows
            if rows * len(names) > MAX_CELLS:
                raise CatalogError(
                    f"The table {where} is too large.", allowed=f"Allowed: {MAX_CELLS:,} cells.", received=where
                )
            batches.append(batch)
        return Table.from_batches(batches, schema=schema)


def _check_frame(data: bytes, where: str) -> None:
    """Check what stands around the data: the library panics where it is not there."""
    if data.endswith(ENCRYPTED) or data.startswith(ENCRYPTED):
        raise CatalogError(f"The table {where} is encrypted.", received=where, hint="Save it without encryption.")
    footer = int.from_bytes(data[-8:-4], "little")
    if not (data.startswith(MAGIC) and data.endswith(MAGIC) and 0 < footer <= len(data) - 12):
        raise CatalogError(f"{where} is no Parquet file, or an incomplete one.", received=data[:8])


@contextmanager
def _refusing(where: str) -> Iterator[None]:
    """Raise the errors of a damaged file as a user's error; the library, in Rust, raises bare ones and panics."""
    try:
        yield
    except CatalogError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise CatalogError(
            f"The table {where} cannot be read: it is damaged, or has what is not supported ({error}).",
            received=where,
            hint="Save it anew, with texts in place of categories.",
        ) from error


def _list_fields(table: "Table") -> "list[Field]":
    return [table.schema.field(index) for index in range(table.num_columns)]


def _list_texts(column: "ChunkedArray") -> list[str]:
    write = _choose_writer(column.type)
    return [write(value) for chunk in column.chunks for value in chunk.to_pylist()]


def _choose_writer(kind: "DataType") -> Callable[[Any], str]:
    is_kind = _import_kinds()
    if is_kind.is_float16(kind) or is_kind.is_float32(kind):
        return _format_short_float
    if is_kind.is_nested(kind):
        return _format_nested
    return (lambda _: "") if "binary" in str(kind).lower() else format_value


def _import_kinds() -> Any:
    """Return the class that tells types apart; as `Any`, since its annotations rule out that two checks are true."""
    from arro3.core import DataType  # noqa: PLC0415

    return DataType


def _format_short_float(value: float | None) -> str:
    # As one of 64 bits, the number 0.1 of 32 bits is 0.10000000149011612.
    return "" if value is None else format_decimal(Decimal(str(np.float32(value))))


def _format_nested(value: object) -> str:
    if value is None:
        return ""
    return json.dumps(value, ensure_ascii=False, default=lambda each: None if isinstance(each, bytes) else str(each))


def edit_parquet(
    data: bytes, where: str, changes: Mapping[tuple[int, str], str]
) -> tuple[bytes, dict[tuple[int, str], str]]:
    """Replace the values of cells in columns of texts, numbers and booleans.

    Columns, their order and types, and the metadata stay; how the file is divided and compressed does not. An empty
    new value is a missing one where the column allows those. What comes out is read again.

    Args:
        data: The table.
        where: Its path, for messages.
        changes: New values by the row's position, from 0, and the column's name.

    Returns:
        The new table, and why cells were not changed.

    Raises:
        CatalogError: It is damaged, encrypted or too large.
    """
    table = _read_table(data, where)
    refused: dict[tuple[int, str], str] = {}
    wanted: dict[str, dict[int, str]] = {}
    for (row, name), new in changes.items():
        if name in table.column_names and 0 <= row < table.num_rows:
            wanted.setdefault(name, {})[row] = new
        else:
            refused[row, name] = NO_SUCH_CELL
    edited = table
    for name, values in wanted.items():
        edited, reasons = _edit_column(edited, name, values)
        refused |= {(row, name): reason for row, reason in reasons.items()}
    if edited is table:
        return data, refused
    written = _write_table(edited)
    _compare(table, _read_table(written, where), {key: new for key, new in changes.items() if key not in refused})
    return written, refused


def _edit_column(table: "Table", name: str, values: Mapping[int, str]) -> "tuple[Table, dict[int, str]]":
    """Return the table with a column's cells replaced, and why others were not; the same table where none were."""
    from arro3.core import ChunkedArray  # noqa: PLC0415

    index = table.column_names.index(name)
    field, column = table.schema.field(index), table.column(index)
    texts = _list_texts(column)
    values = {row: new for row, new in values.items() if texts[row] != new}
    convert = _choose_converter(field.type)
    if convert is None:
        return table, dict.fromkeys(values, NOT_EDITABLE.format(type=_name_type(field.type)))
    cells: list[Any] = list(column.to_pylist())
    fixed = set(texts) if any(key.startswith(ENUM) for key in field.metadata) else None
    refused = {}
    for row, new in values.items():
        if not new and field.nullable:
            cells[row] = None
            continue
        if fixed is not None and new not in fixed:
            refused[row] = FIXED_VALUES
            continue
        try:
            value = convert(new)
            is_kept = _list_texts(ChunkedArray([_build_array([value], field)])) == [new]
        except Exception:
            # What does not fit makes the library raise bare ones.
            is_kept = False
        if is_kept:
            cells[row] = value
        else:
            refused[row] = NOT_READ_BACK.format(type=_name_type(field.type))
    if len(refused) == len(values):
        return table, refused
    return table.set_column(index, field, ChunkedArray([_build_array(cells, field)])), refused


def _name_type(kind: "DataType") -> str:
    return str(kind).partition("<")[2].rstrip().removesuffix(">")


def _choose_converter(kind: "DataType") -> Callable[[str], object] | None:
    """Return what makes a value of this type of a text, or raises an error; None for types that are not changed."""
    is_kind = _import_kinds()
    values = kind.value_type if is_kind.is_dictionary(kind) else kind
    if is_kind.is_string(values) or is_kind.is_large_string(values) or is_kind.is_string_view(values):
        return str
    if is_kind.is_dictionary(kind):
        return None
    if is_kind.is_integer(kind):
        return int
    if is_kind.is_float32(kind) or is_kind.is_float64(kind):
        return float
    return {"TRUE": True, "FALSE": False}.__getitem__ if is_kind.is_boolean(kind) else None


def _build_array(values: list[Any], field: "Field") -> "Array":
    from arro3.core import Array, DataType  # noqa: PLC0415

    if _import_kinds().is_dictionary(field.type):
        return Array(values, DataType.large_utf8()).cast(field.type)
    return Array(values, field.type)


def _write_table(table: "Table") -> bytes:
    from arro3.io import write_parquet  # noqa: PLC0415

    buffer = BytesIO()
    # Without this the metadata is kept where only readers of Arrow's schema find it.
    metadata = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    # What every reader of Parquet can decompress.
    write_parquet(table, buffer, compression="snappy", key_value_metadata=metadata or None)
    return buffer.getvalue()


def _compare(before: "Table", after: "Table", changes: Mapping[tuple[int, str], str]) -> None:
    """Check that the changes were made, and no others."""
    if before.schema != after.schema:
        raise AssertionError("the schema has changed")
    for index, name in enumerate(before.column_names):
        texts = _list_texts(before.column(index))
        for (row, column), new in changes.items():
            if column == name:
                texts[row] = new
        if texts != _list_texts(after.column(index)):
            raise AssertionError(f"column {name!r} is not read again as it was written")
