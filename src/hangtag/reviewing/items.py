"""The items under review: their values, names and photographs, and the catalogue's own table."""

import os
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from hangtag.catalog.csv_parser import Table, parse_table
from hangtag.catalog.files import FileError, find_named, read_regular
from hangtag.catalog.images import Pixels
from hangtag.catalog.reader import MAX_TABLE_BYTES, read_table
from hangtag.catalog.schema import CatalogSchema, read_schema
from hangtag.catalog.source import Source, open_source
from hangtag.errors import CatalogError, WorkspaceError
from hangtag.manifest import compute_digest, require_manifest
from hangtag.workspace import Workspace

# The catalogue's own table as it lies there now: its bytes, and its cells by item.

NAME_CATALOG = "Name the catalogue with --catalog."


@dataclass(frozen=True)
class SourceTable:
    """A catalogue's table.

    Attributes:
        name: Its file name.
        data: Its bytes.
        table: The same, parsed; rows by the columns' headings.
        rows: The position in `table.rows` of each item.
        headings: The heading of each column, by its name in hangtag's tables.
    """

    name: str
    data: bytes
    table: Table
    rows: dict[str, int]
    headings: dict[str, str]

    def read_values(self) -> dict[str, dict[str, str]]:
        """Return the values of every item, by item and then by column as hangtag calls it."""
        return {
            item_id: {name: self.table.rows[row][heading] for name, heading in self.headings.items()}
            for item_id, row in self.rows.items()
        }


def read_source_table(manifest: dict[str, Any], schema: CatalogSchema, catalog: Path | None) -> SourceTable:
    """Read the table that `prepare` read.

    Args:
        manifest: Of `prepare`; it says where the catalogue was.
        schema: What the columns mean.
        catalog: Where the catalogue is now; None where it has not moved.

    Raises:
        CatalogError: It is not there, or is not that table any more.
    """
    origin = manifest.get("origin")
    origin = origin if isinstance(origin, dict) else {}
    index = catalog or (Path(find_named(origin["catalog"])) if origin.get("catalog") else None)
    if index is None or not os.path.exists(index):  # noqa: PTH110  (it raises nothing, whatever the name)
        raise CatalogError("The catalogue is not where it was.", received=index and str(index), hint=NAME_CATALOG)
    data = _read_table_bytes(index, origin.get("table") or schema.table)
    table = parse_table(data, schema.table)
    headings = dict(zip(schema.columns, schema.headings, strict=True))
    if missing := [heading for heading in headings.values() if heading not in table.columns]:
        raise CatalogError("The catalogue's table has lost columns since `hangtag prepare`.", received=missing)
    rows: dict[str, int] = {}
    for position, row in enumerate(table.rows):
        # Of an id that is given twice, the first row is the item, as for `prepare`.
        rows.setdefault(row[headings[schema.id]].strip(), position)
    return SourceTable(PurePosixPath(schema.table).name, data, table, rows, headings)


def _read_table_bytes(index: Path, name: str) -> bytes:
    """Read the table: the file itself, or the one of that path in a folder or .zip."""
    base = PurePosixPath(name).name
    try:
        if index.is_file() and index.suffix.lower() in (".csv", ".tsv", ".txt"):
            return read_regular(index, MAX_TABLE_BYTES)
        source = open_source(index)
        if not source.has(name):
            found = [each for each in source.names() if PurePosixPath(each).name == base]
            name = min(found, key=lambda each: (each.count("/"), each))
        return read_table(source, name)
    except (OSError, ValueError) as error:
        raise CatalogError("The catalogue's table cannot be read.", received=base, hint=NAME_CATALOG) from error


PREPARE_FIRST = "Run `hangtag prepare CATALOG` with this workspace first."
# What every browser shows, by how such a file begins.
SHOWN_AS_THEY_ARE = ((b"\xff\xd8\xff", "image/jpeg"), (b"\x89PNG\r\n", "image/png"), (b"GIF8", "image/gif"))
MAX_BYTES = 30_000_000


@dataclass(frozen=True)
class Items:
    """A prepared catalogue, column by column.

    Attributes:
        ids: The item ids, in the order of `images`.
        positions: The position of each id.
        columns: The catalogue's own columns as text, and `image_path`.
        images: Pixels, uint8 (n, height, width, 3), a read-only memory map.
        schema: What the columns mean.
        digest: Changes when anything of it does.
        source: The catalogue itself, or None where it cannot be reached.
    """

    ids: list[str]
    positions: dict[str, int]
    columns: dict[str, list[str]]
    images: Pixels
    schema: CatalogSchema
    digest: str
    source: Source | None

    @property
    def described_by(self) -> tuple[str, ...]:
        """The levels, then the attributes."""
        return (*self.schema.levels, *self.schema.attributes)

    def read_values(self, item_id: str) -> dict[str, str]:
        """Return an item's levels and attributes as the catalogue has them."""
        index = self.positions[item_id]
        return {column: self.columns[column][index] for column in self.described_by}

    def read_name(self, item_id: str) -> str:
        """Return an item's name; empty where the catalogue has no names."""
        return self.columns[self.schema.name][self.positions[item_id]] if self.schema.name else ""

    def read_photograph(self, item_id: str, *, original: bool) -> tuple[bytes, str]:
        """Return an item's photograph as a file, and its media type.

        Args:
            item_id: One of `ids`.
            original: The catalogue's own file where it can be reached and shown; else the packed pixels as PNG.
        """
        index = self.positions[item_id]
        if original and (found := self._read_original(self.columns["image_path"][index])):
            return found
        buffer = BytesIO()
        Image.fromarray(self.images[index]).save(buffer, "PNG", compress_level=1)
        return buffer.getvalue(), "image/png"

    def _read_original(self, path: str) -> tuple[bytes, str] | None:
        if self.source is None:
            return None
        try:
            content = self.source.read(path, MAX_BYTES)
        except FileError:
            return None
        return next(((content, kind) for start, kind in SHOWN_AS_THEY_ARE if content.startswith(start)), None)


def read_items(workspace: Workspace) -> Items:
    """Open what `prepare` wrote.

    Raises:
        WorkspaceError: Nothing is prepared in this workspace, or its files do not belong together.
    """
    from arro3.io import read_parquet  # noqa: PLC0415  (takes time that --help need not)

    manifest = require_manifest(workspace.prepared, PREPARE_FIRST)
    schema = read_schema(manifest)
    try:
        table = read_parquet(workspace.prepared / "items.parquet").read_all()
        images = np.load(workspace.prepared / "images.npy", mmap_mode="r", allow_pickle=False)
    except Exception as error:
        # arro3 raises bare Exceptions.
        raise WorkspaceError(f"The prepared catalogue cannot be read: {error}.", hint=PREPARE_FIRST) from error
    wanted = dict.fromkeys(("item_id", "image_path", *schema.columns))
    columns = {name: _to_texts(table, name) for name in wanted}
    if len(columns["item_id"]) != len(images):
        raise WorkspaceError("The prepared items and pixels do not belong together.", hint=PREPARE_FIRST)
    ids = columns["item_id"]
    indices = {item_id: index for index, item_id in enumerate(ids)}
    return Items(ids, indices, columns, images, schema, compute_digest(manifest), _open_origin(manifest))


def _to_texts(table: Any, name: str) -> list[str]:
    """Return a column as texts; missing ones, and those of a column that is not there, are empty."""
    if name not in table.column_names:
        return [""] * table.num_rows
    return ["" if value is None else str(value) for value in table.column(name).to_pylist()]


def _open_origin(manifest: dict[str, Any]) -> Source | None:
    """Open the catalogue where `prepare` found it, if it is still there."""
    try:
        path = manifest["origin"]["catalog"]
        return open_source(Path(find_named(path))) if path else None
    except (CatalogError, KeyError, TypeError, OSError):
        return None
