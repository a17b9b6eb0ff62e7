"""Change single cells of a Parquet table, with its schema, metadata and column types kept."""

from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

from hangtag.catalog.parquet_table import import_kinds, list_texts, read_arrow, read_class_names

if TYPE_CHECKING:
    from arro3.core import Array, DataType, Field, Table

NO_SUCH_CELL = "the table has no such row or column"
NOT_READ_BACK = "the column's type, {type}, does not hold the new value"
NOT_EDITABLE = "cells of the column's type, {type}, are not changed"
FIXED_VALUES = "the column has a fixed list of values, and the new one is none of them"
# Polars notes the values of an `Enum` column under this key.
ENUM = b"_PL_ENUM"


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
    table = read_arrow(data, where)
    refused: dict[tuple[int, str], str] = {}
    wanted: dict[str, dict[int, str]] = {}
    for (row, name), new in changes.items():
        if name in table.column_names and 0 <= row < table.num_rows:
            wanted.setdefault(name, {})[row] = new
        else:
            refused[row, name] = NO_SUCH_CELL
    edited = table
    classes = read_class_names(table.schema.metadata)
    for name, values in wanted.items():
        edited, reasons = _edit_column(edited, name, values, classes.get(name))
        refused |= {(row, name): reason for row, reason in reasons.items()}
    if edited is table:
        return data, refused
    written = _write_table(edited)
    _compare(table, read_arrow(written, where), {key: new for key, new in changes.items() if key not in refused})
    return written, refused


def append_parquet_column(data: bytes, where: str, heading: str, cells: Mapping[int, str]) -> bytes:
    """Add a column of texts behind all others, null where a row has no value; see `edit_parquet`.

    Raises:
        CatalogError: The table is damaged, encrypted or too large.
    """
    from arro3.core import ChunkedArray, DataType, Field  # noqa: PLC0415

    table = read_arrow(data, where)
    field = Field(heading, DataType.large_utf8(), nullable=True)
    values = [cells.get(row) or None for row in range(table.num_rows)]
    written = _write_table(table.append_column(field, ChunkedArray([_build_array(values, field)])))
    again = read_arrow(written, where)
    if again.column(heading).to_pylist() != values:
        raise AssertionError("the new column is not read again as it was written")
    _compare(table, again.select(table.column_names), {})
    return written


def _edit_column(
    table: "Table", name: str, values: Mapping[int, str], classes: Sequence[str] | None
) -> "tuple[Table, dict[int, str]]":
    """Return the table with a column's cells replaced, and why others were not; the same table where none were."""
    from arro3.core import ChunkedArray  # noqa: PLC0415

    index = table.column_names.index(name)
    field, column = table.schema.field(index), table.column(index)
    texts = list_texts(column, field, classes)
    values = {row: new for row, new in values.items() if texts[row] != new}
    convert = _choose_converter(field.type)
    if convert is None:
        return table, dict.fromkeys(values, NOT_EDITABLE.format(type=_name_type(field.type)))
    cells: list[Any] = list(column.to_pylist())
    fixed = set(texts) if any(key.startswith(ENUM) for key in field.metadata) else None
    if classes is not None and convert is int:
        fixed, convert = set(classes), list(classes).index
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
            is_kept = list_texts(ChunkedArray([_build_array([value], field)]), field, classes) == [new]
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
    is_kind = import_kinds()
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

    if import_kinds().is_dictionary(field.type):
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
    classes = read_class_names(before.schema.metadata)
    for index, name in enumerate(before.column_names):
        field = before.schema.field(index)
        texts = list_texts(before.column(index), field, classes.get(name))
        for (row, column), new in changes.items():
            if column == name:
                texts[row] = new
        if texts != list_texts(after.column(index), field, classes.get(name)):
            raise AssertionError(f"column {name!r} is not read again as it was written")
