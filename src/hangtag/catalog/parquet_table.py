"""Read a Parquet table as texts, and the pictures that it may hold."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from io import BytesIO
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from hangtag.catalog.cell_text import format_decimal, format_value
from hangtag.catalog.files import FileError, without_stderr
from hangtag.errors import CatalogError

if TYPE_CHECKING:
    from arro3.core import Array, ChunkedArray, DataType, Field, RecordBatch, Table

MAGIC, ENCRYPTED = b"PAR1", b"PARE"
# Equal values take almost no space in a Parquet file: a small one must not fill the memory.
MAX_CELLS = 200_000_000
BATCH_ROWS = 65_536
# Of a table with binary data, which is let go before the next rows are read.
BATCH_PICTURES = 256
TRIAL = f"""
import io, sys
from arro3.io import read_parquet
for _ in read_parquet(io.BytesIO(sys.stdin.buffer.read()), batch_size={BATCH_ROWS}):
    pass
"""
SAVE_ANEW = "Save it anew with another program, with texts in place of categories."
# The library `datasets` of Hugging Face notes what its columns are under this key, and stores pictures so.
HUGGING_FACE, PICTURE_FIELDS = b"huggingface", ["bytes", "path"]
# How pictures begin that a column of binary data may hold, and the endings of their files.
PICTURES = {
    b"\xff\xd8\xff": ".jpg",
    b"\x89PNG": ".png",
    b"RIFF": ".webp",
    b"GIF8": ".gif",
    b"BM": ".bmp",
    b"II*\0": ".tif",
    b"MM\0*": ".tif",
}


@dataclass(frozen=True)
class ParquetTable:
    """A table that was read.

    Attributes:
        columns: The names of the columns.
        cells: The texts of each column.
        notes: What a user should know.
        pictures: The columns whose cells are pictures; each has the path `<file>/<column>/<row>.jpg` or the like.
    """

    columns: tuple[str, ...]
    cells: list[list[str]]
    notes: list[str]
    pictures: tuple[str, ...] = ()


def read_parquet_table(data: bytes, where: str) -> ParquetTable:
    """Read a table's columns as texts.

    Whole numbers are written without `.0`, dates in ISO 8601, booleans as TRUE and FALSE, lists and structures as
    JSON, the numbers of classes by their names where the file has those. Pictures inside the file have paths, which
    `read_picture` reads; missing values and other binary data are empty.

    Raises:
        CatalogError: It is damaged, encrypted, too large, or has two columns of one name.
    """
    with _refusing(where):
        fields, metadata, batches = _open_batches(data, where)
        classes = read_class_names(metadata)
        cells: list[list[str]] = [[] for _ in fields]
        counts = dict.fromkeys((field.name for field in fields if _is_binary(field)), 0)
        for batch in batches:
            for index, field in enumerate(fields):
                column = batch.column(index)
                if field.name not in counts:
                    cells[index] += _format_column(column, field, classes.get(field.name))
                    continue
                start = f"{PurePosixPath(where).name}/{field.name}/"
                texts = _name_pictures(column, field, start, len(cells[index]))
                counts[field.name] += sum(text.startswith(start) for text in texts)
                cells[index] += texts
    notes = [
        f"column {name!r}: {count:,} pictures inside the file" if count else f"column {name!r}: binary data, not read"
        for name, count in counts.items()
    ]
    pictures = tuple(name for name, count in counts.items() if count)
    return ParquetTable(tuple(field.name for field in fields), cells, notes, pictures)


def read_arrow(data: bytes, where: str) -> "Table":
    """Read a table as it is.

    Raises:
        CatalogError: It is damaged, encrypted, too large, or has two columns of one name.
    """
    from arro3.core import Schema, Table  # noqa: PLC0415  (slow to import, and --help does not need it)

    with _refusing(where):
        fields, metadata, batches = _open_batches(data, where)
        return Table.from_batches(list(batches), schema=Schema(fields, metadata=metadata))


def _open_batches(data: bytes, where: str) -> "tuple[list[Field], dict[bytes, bytes], Iterator[RecordBatch]]":
    """Return a table's fields, its metadata, and its rows in parts.

    Raises:
        CatalogError: It is encrypted, too large, no such file, or has two columns of one name.
    """
    from arro3.io import read_parquet  # noqa: PLC0415  (slow to import, and --help does not need it)

    _check_frame(data, where)
    _try_reading(data, where)
    reader = read_parquet(BytesIO(data), batch_size=BATCH_ROWS)
    fields = [reader.schema.field(index) for index in range(len(reader.schema))]
    names = [field.name for field in fields]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise CatalogError(f"The table {where} has a column twice.", received=twice)
    if any(map(_is_binary, fields)):
        reader = read_parquet(BytesIO(data), batch_size=BATCH_PICTURES)
    return fields, reader.schema.metadata, _iter_batches(reader, len(fields), where)


def _try_reading(data: bytes, where: str) -> None:
    """Read the table in another process first: of some damaged files the library ends the process that reads them.

    Raises:
        CatalogError: The process has ended so. Any other error comes again where the caller reads the table.
    """
    tried = subprocess.run(
        [sys.executable, "-P", "-c", TRIAL],
        input=data,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    if tried.returncode not in (0, 1):
        raise CatalogError(
            f"The table {where} cannot be read: it is damaged, or needs more memory than there is.",
            received=where,
            hint=SAVE_ANEW,
        )


def _iter_batches(reader: "Any", width: int, where: str) -> "Iterator[RecordBatch]":
    rows = 0
    for batch in reader:
        rows += batch.num_rows
        if rows * width > MAX_CELLS:
            raise CatalogError(
                f"The table {where} is too large.", allowed=f"Allowed: {MAX_CELLS:,} cells.", received=where
            )
        yield batch


def _is_binary(field: "Field") -> bool:
    return "binary" in str(field.type).lower()


def read_class_names(metadata: Mapping[bytes, bytes]) -> dict[str, list[str]]:
    """Return the names of the classes that columns of numbers stand for, as the library `datasets` notes them."""
    try:
        features = json.loads(metadata[HUGGING_FACE])["info"]["features"]
        return {
            column: [*map(str, feature["names"])]
            for column, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}


def _format_column(column: "Array", field: "Field", classes: Sequence[str] | None) -> list[str]:
    values = column.to_pylist()
    if classes is not None and import_kinds().is_integer(field.type):
        # Numbers without a name, such as -1, stand for a missing class.
        return ["" if each is None or not 0 <= each < len(classes) else classes[each] for each in values]
    return list(map(_choose_writer(field.type), values))


def _name_pictures(column: "Array", field: "Field", start: str, first: int) -> list[str]:
    """Return the path of each picture in a column of binary data or of `datasets`; other values as ever.

    Args:
        column: Some of the column's cells.
        field: The column's name and type.
        start: What each path begins with.
        first: The row of the first of the cells.
    """
    values, write = column.to_pylist(), _choose_writer(field.type)
    texts = []
    for row, value in enumerate(values, first):
        content, path = value, ""
        is_picture = isinstance(value, dict) and sorted(value) == PICTURE_FIELDS
        if is_picture:
            content, path = value["bytes"], value["path"] or ""
        ending = _find_ending(content) if isinstance(content, bytes) else ""
        texts.append(f"{start}{row}{ending}" if ending else path if is_picture else write(value))
    return texts


def _find_ending(content: bytes) -> str:
    """Return the ending that a picture's file would have; empty for what is no picture."""
    return next((ending for begin, ending in PICTURES.items() if content.startswith(begin)), "")


def read_picture(path: str, column: str, row: int, stamp: str) -> bytes:
    """Return a picture inside a Parquet file.

    Args:
        path: The file.
        column: A column of binary data or of `datasets`.
        row: The row, from 0.
        stamp: A text that changes when the file does.

    Raises:
        FileError: `missing_file` or `unreadable_file`.
    """
    part, offset = divmod(row, BATCH_PICTURES)
    try:
        with without_stderr():
            values = _read_pictures(path, column, part, stamp)
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise FileError("unreadable_file", f"the Parquet file cannot be read ({error})") from error
    value = values[offset] if offset < len(values) else None
    content = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(content, bytes):
        raise FileError("missing_file", "the Parquet file has no such picture")
    return content


@lru_cache(maxsize=2)
def _read_pictures(path: str, column: str, part: int, _stamp: str) -> list[Any]:
    """Return a part of a column; neighbouring pictures are wanted one after the other."""
    import polars as pl  # noqa: PLC0415  (reviewing works without)

    table = pl.scan_parquet(path, glob=False).select(column).slice(part * BATCH_PICTURES, BATCH_PICTURES).collect()
    return table[column].to_list()


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
        with without_stderr():
            yield
    except CatalogError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise CatalogError(
            f"The table {where} cannot be read: it is damaged, or has what is not supported ({error}).",
            received=where,
            hint=SAVE_ANEW,
        ) from error


def list_texts(column: "ChunkedArray", field: "Field", classes: Sequence[str] | None = None) -> list[str]:
    """Return a column's values as texts, numbers of classes by their names."""
    return [text for chunk in column.chunks for text in _format_column(chunk, field, classes)]


def _choose_writer(kind: "DataType") -> Callable[[Any], str]:
    is_kind = import_kinds()
    if is_kind.is_float16(kind) or is_kind.is_float32(kind):
        return _format_short_float
    if is_kind.is_nested(kind):
        return _format_nested
    return (lambda _: "") if "binary" in str(kind).lower() else format_value


def import_kinds() -> Any:
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
