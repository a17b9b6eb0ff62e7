"""Read the items under review and the catalogue's source table, without the libraries that training needs.

`Items` is the catalogue as `prepare` wrote it; `SourceTable` is the current content of the user's own file.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from hangtag.catalog.category_paths import change_path, split_path
from hangtag.catalog.files import FileError, find_named, read_regular
from hangtag.catalog.images import Pixels
from hangtag.catalog.schema import CatalogSchema, read_id, read_schema
from hangtag.catalog.shops import Arranged, arrange_products
from hangtag.catalog.source import Source, open_source
from hangtag.catalog.table import Rows, Table
from hangtag.catalog.table_files import is_table, parse_table_file
from hangtag.catalog.table_search import MAX_TABLE_BYTES, read_table
from hangtag.errors import CatalogError, WorkspaceError
from hangtag.manifest import compute_digest, require_manifest
from hangtag.workspace import Workspace

PREPARE_FIRST = "Run `hangtag prepare CATALOG` with this workspace first."
NAME_CATALOG = "Name the catalogue with --catalog."
# Formats that every browser can show: the first bytes of such a file, and its media type.
BROWSER_FORMATS = ((b"\xff\xd8\xff", "image/jpeg"), (b"\x89PNG\r\n", "image/png"), (b"GIF8", "image/gif"))
MAX_PHOTOGRAPH_BYTES = 30_000_000


@dataclass(frozen=True)
class SourceTable:
    """The catalogue's own table.

    Attributes:
        name: Its file name.
        data: Its bytes.
        table: The parsed bytes; rows are by the table's own headings.
        rows: The index in `table.rows` of each item, by its id.
        products: The same table with a row a product.
        headings: The heading of each column, by the column's name in hangtag's tables.
    """

    name: str
    data: bytes
    table: Table
    rows: dict[str, int]
    products: Arranged
    headings: dict[str, str]

    @cached_property
    def values(self) -> dict[str, dict[str, str]]:
        """The values of every item, by item id and then by hangtag's column name."""
        positions = {row: position for position, row in enumerate(self.products.rows)}
        products = Rows(self.products.schema.columns, self.products.cells)
        return {item_id: products[positions[row]] for item_id, row in self.rows.items()}

    def locate_changes(self, item_id: str, changes: Mapping[str, str]) -> dict[str, str]:
        """Return new cells by heading for an item's new values by column; those of levels change its category path."""
        schema = self.products.schema
        if not schema.path_column:
            return {self.headings[column]: value for column, value in changes.items()}
        cells = {self.headings[column]: value for column, value in changes.items() if column not in schema.levels}
        if len(cells) < len(changes):
            heading = self.headings[schema.path_column]
            values = self.values[item_id] | dict(changes)
            levels = tuple(values[level] for level in schema.levels)
            # A category without subcategories stands for itself at the levels below it, but not in its path.
            example = self.products.written.get(levels, "")
            path = split_path(example, schema) or tuple(filter(None, levels))
            cells[heading] = change_path(self.table.rows[self.rows[item_id]][heading], schema, path, example)
        return cells


def read_source_table(manifest: dict[str, Any], schema: CatalogSchema, catalog: Path | None) -> SourceTable:
    """Read the current content of the table that `prepare` read.

    Args:
        manifest: The manifest of `prepare`, which contains the catalogue's path.
        schema: The meaning of the columns.
        catalog: The catalogue's current path; None if it has not moved.

    Raises:
        CatalogError: The table is missing, cannot be read, or lacks columns that it had.
    """
    origin = manifest.get("origin")
    origin = origin if isinstance(origin, dict) else {}
    path = catalog or (Path(find_named(origin["catalog"])) if origin.get("catalog") else None)
    if path is None or not os.path.exists(path):  # noqa: PTH110  (never raises, whatever the name)
        raise CatalogError("The catalogue is not where it was.", received=path and str(path), hint=NAME_CATALOG)
    data = _read_table_bytes(path, origin.get("table") or schema.table)
    table = parse_table_file(data, schema.table, schema.to_json())
    headings = dict(zip(schema.columns, schema.headings, strict=True))
    if schema.path_column:
        headings = {column: heading for column, heading in headings.items() if column not in schema.levels}
    if missing := [heading for heading in headings.values() if heading not in table.columns]:
        raise CatalogError("The catalogue's table has lost columns since `hangtag prepare`.", received=missing)
    products = arrange_products(table, schema)
    ids = products.cells[schema.columns.index(schema.id)]
    rows: dict[str, int] = {}
    for row, item_id in zip(products.rows, ids, strict=True):
        # Of rows with the same id, the first is the item, as for `prepare`.
        rows.setdefault(read_id(item_id), row)
    return SourceTable(PurePosixPath(schema.table).name, data, table, rows, products, headings)


def _read_table_bytes(catalog: Path, name: str) -> bytes:
    """Read the table: the catalogue's file itself, or the file of that name in its folder or .zip."""
    base = PurePosixPath(name).name
    try:
        if catalog.is_file() and is_table(catalog.name):
            return read_regular(catalog, MAX_TABLE_BYTES)
        source = open_source(catalog)
        if not source.has(name):
            paths = [path for path in source.names() if PurePosixPath(path).name == base]
            name = min(paths, key=lambda path: (path.count("/"), path))
        return read_table(source, name)
    except (OSError, ValueError) as error:
        raise CatalogError("The catalogue's table cannot be read.", received=base, hint=NAME_CATALOG) from error


@dataclass(frozen=True)
class Items:
    """A prepared catalogue, column by column.

    Attributes:
        ids: The item ids, in the order of `images`.
        positions: The index of each id in `ids`.
        columns: The catalogue's own columns as text by their headings, and `image_path`.
        images: Pixels, uint8 (n, height, width, 3), a read-only memory map.
        schema: The meaning of the columns, by their headings.
        digest: A hash that changes when the prepared catalogue does.
        source: The catalogue itself, or None if it cannot be opened.
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
        """Return the level columns, followed by the attribute columns."""
        return (*self.schema.levels, *self.schema.attributes)

    def read_values(self, item_id: str) -> dict[str, str]:
        """Return an item's levels and attributes in the catalogue, by column."""
        position = self.positions[item_id]
        return {column: self.columns[column][position] for column in self.described_by}

    def read_name(self, item_id: str) -> str:
        """Return an item's product name, or an empty text if the catalogue has no names."""
        return self.columns[self.schema.name][self.positions[item_id]] if self.schema.name else ""

    def read_photograph(self, item_id: str, *, original: bool) -> tuple[bytes, str]:
        """Return an item's photograph as the bytes of a file, and its media type.

        Args:
            item_id: One of `ids`.
            original: Whether to return the catalogue's own file, if it can be read and every browser can show its
                format. Otherwise the prepared pixels are returned as PNG.
        """
        position = self.positions[item_id]
        if original and (photograph := self._read_original(self.columns["image_path"][position])):
            return photograph
        buffer = BytesIO()
        Image.fromarray(self.images[position]).save(buffer, "PNG", compress_level=1)
        return buffer.getvalue(), "image/png"

    def _read_original(self, path: str) -> tuple[bytes, str] | None:
        if self.source is None:
            return None
        try:
            content = self.source.read(path, MAX_PHOTOGRAPH_BYTES)
        except FileError:
            return None
        return next(((content, kind) for start, kind in BROWSER_FORMATS if content.startswith(start)), None)


def read_items(workspace: Workspace) -> Items:
    """Read a prepared catalogue.

    Raises:
        WorkspaceError: `prepare` has not run in this workspace, or its files are damaged or do not match.
    """
    from arro3.io import read_parquet  # noqa: PLC0415  (slow to import, and --help does not need it)

    manifest = require_manifest(workspace.prepared, PREPARE_FIRST)
    schema = read_schema(manifest)
    try:
        table = read_parquet(workspace.prepared / "items.parquet").read_all()
        images = np.load(workspace.prepared / "images.npy", mmap_mode="r", allow_pickle=False)
    except Exception as error:
        # arro3 raises bare Exceptions.
        raise WorkspaceError(f"The prepared catalogue cannot be read: {error}.", hint=PREPARE_FIRST) from error
    ids = _to_texts(table, "item_id")
    if len(ids) != len(images):
        raise WorkspaceError("The prepared items and pixels differ in number.", hint=PREPARE_FIRST)
    columns = {heading: _to_texts(table, name) for name, heading in schema.by_column.items()}
    columns["image_path"] = _to_texts(table, "image_path")
    positions = {item_id: position for position, item_id in enumerate(ids)}
    headed = schema.with_headings()
    return Items(ids, positions, columns, images, headed, compute_digest(manifest), _open_origin(manifest))


def _to_texts(table: Any, name: str) -> list[str]:
    """Return a column as texts; null values, and all values of a column that is not there, are empty."""
    if name not in table.column_names:
        return [""] * table.num_rows
    return ["" if value is None else str(value) for value in table.column(name).to_pylist()]


def _open_origin(manifest: dict[str, Any]) -> Source | None:
    """Open the catalogue at the path that `prepare` read it from; return None if it is not there."""
    try:
        path = manifest["origin"]["catalog"]
        return open_source(Path(find_named(path))) if path else None
    except (CatalogError, KeyError, TypeError, OSError):
        return None
