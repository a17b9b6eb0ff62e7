"""Read the items under review and the catalogue's source table, without the libraries that training needs.

`Items` is the catalogue as `prepare` wrote it; `SourceTable` is the current content of the user's own file.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
from hangtag.catalog.source_tables import JoinedTable, join_files, parse_files
from hangtag.catalog.table import Rows
from hangtag.catalog.table_files import add_column, edit_table_file, is_table
from hangtag.catalog.table_search import MAX_TABLE_BYTES, read_table
from hangtag.errors import CatalogError, WorkspaceError
from hangtag.manifest import compute_digest, require_manifest
from hangtag.workspace import OTHER_IMAGES, OTHER_PHOTOGRAPHS, Workspace

PREPARE_FIRST = "Run `hangtag prepare CATALOG` with this workspace first."
NAME_CATALOG = "Name the catalogue with --catalog."
NAME_FILE = "Name the folder, the .zip or the table that `hangtag prepare` read, where it is now."
# Formats that every browser can show: the first bytes of such a file, and its media type.
BROWSER_FORMATS = ((b"\xff\xd8\xff", "image/jpeg"), (b"\x89PNG\r\n", "image/png"), (b"GIF8", "image/gif"))
MAX_PHOTOGRAPH_BYTES = 30_000_000


@dataclass(frozen=True)
class SourceTable:
    """The catalogue's own table.

    Attributes:
        joined: The table; rows are by the table's own headings.
        data: The bytes of each of its files, by its path.
        rows: The index in `products` of each item, by its id.
        products: The same table with a row a product.
        headings: The heading of each column, by the column's name in hangtag's tables.
    """

    joined: JoinedTable
    data: dict[str, bytes]
    rows: dict[str, int]
    products: Arranged
    headings: dict[str, str]

    @cached_property
    def values(self) -> dict[str, dict[str, str]]:
        """The values of every item, by item id and then by hangtag's column name."""
        products = Rows(self.products.schema.columns, self.products.cells)
        return {item_id: products[position] for item_id, position in self.rows.items()}

    def locate_changes(self, item_id: str, changes: Mapping[str, str]) -> dict[int, dict[str, str]]:
        """Return new cells by row of the table and heading, for an item's new values by column.

        Of a product of several rows, those change that have the value which counts. New values of levels change the
        category path.
        """
        schema, position = self.products.schema, self.rows[item_id]
        cells: dict[int, dict[str, str]] = {}
        for column, value in changes.items():
            if column not in schema.levels or not schema.path_column:
                for row, _ in self._list_cells(position, self.headings[column]):
                    cells.setdefault(row, {})[self.headings[column]] = value
        if schema.path_column and not changes.keys().isdisjoint(schema.levels):
            heading = self.headings[schema.path_column]
            values = self.values[item_id] | dict(changes)
            levels = tuple(values[level] for level in schema.levels)
            # A category without subcategories stands for itself at the levels below it, but not in its path.
            example = self.products.written.get(levels, "")
            path = split_path(example, schema) or tuple(filter(None, levels))
            for row, cell in self._list_cells(position, heading):
                cells.setdefault(row, {})[heading] = change_path(cell, schema, path, example)
        return cells

    def _list_cells(self, position: int, heading: str) -> list[tuple[int, str]]:
        """Return the rows of a product from which its value comes, each with its cell."""
        column = self.joined.table.cells[self.joined.table.columns.index(heading)]
        return [(row, column[row]) for row in self.products.list_rows_with(position, column)]

    def edit(self, changes: Mapping[int, Mapping[str, str]]) -> tuple[dict[str, bytes], dict[int, str]]:
        """Return the bytes of each file with cells changed, by path, and why rows could not be changed.

        Args:
            changes: New values by the row's position in the table, then by heading.

        Raises:
            CatalogError: Tables of this format cannot be written.
        """
        by_file: dict[str, dict[int, Mapping[str, str]]] = {file.path: {} for file in self.joined.files}
        for row, values in changes.items():
            file, own_row = self.joined.find_file(row)
            by_file[file.path][own_row] = values
        edited: dict[str, bytes] = {}
        refused: dict[int, str] = {}
        for file in self.joined.files:
            result = edit_table_file(
                self.data[file.path], file.path, file.table, self.products.schema, by_file[file.path]
            )
            edited[file.path] = result.data
            refused |= {file.start + row: reason for row, reason in result.refused.items()}
        return edited, refused

    def add_column(
        self, edited: Mapping[str, bytes], heading: str, cells: Mapping[int, str]
    ) -> tuple[dict[str, bytes], dict[int, str]]:
        """Return the bytes of each file with the cells of one column changed, which is added where it is missing.

        Args:
            edited: The bytes of each file, by path, as `edit` returned them.
            heading: The heading of the column.
            cells: New values by the row's position in the table.

        Returns:
            The bytes of each file by path, and why cells could not be written.

        Raises:
            CatalogError: Tables of this format cannot be written.
        """
        by_file: dict[str, dict[int, str]] = {file.path: {} for file in self.joined.files}
        for row, value in cells.items():
            file, own_row = self.joined.find_file(row)
            by_file[file.path][own_row] = value
        written: dict[str, bytes] = {}
        refused: dict[int, str] = {}
        schema = self.products.schema
        for file, parsed in zip(self.joined.files, parse_files(edited.items(), schema.to_json()), strict=True):
            data, own = edited[file.path], by_file[file.path]
            if heading in parsed.table.columns:
                changes = {row: {heading: value} for row, value in own.items()}
                result = edit_table_file(data, file.path, parsed.table, schema, changes)
            else:
                result = add_column(data, file.path, parsed.table, schema, heading, own)
            written[file.path] = result.data
            refused |= {file.start + row: reason for row, reason in result.refused.items()}
        return written, refused


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
        if catalog:
            raise CatalogError("There is nothing at the path of --catalog.", received=str(catalog), hint=NAME_FILE)
        raise CatalogError("The catalogue is not where it was.", received=path and str(path), hint=NAME_CATALOG)
    names = origin.get("tables") or [origin.get("table") or schema.table]
    hint = NAME_FILE if catalog else NAME_CATALOG
    data = {name: _read_table_bytes(path, name, names, hint) for name in names}
    joined = join_files(parse_files(data.items(), schema.to_json()))
    table = joined.table
    headings = dict(zip(schema.columns, schema.headings, strict=True))
    if schema.path_column:
        headings = {column: heading for column, heading in headings.items() if column not in schema.levels}
    if missing := [heading for heading in headings.values() if heading not in table.columns]:
        raise CatalogError("The catalogue's table has lost columns since `hangtag prepare`.", received=missing)
    products = arrange_products(table, schema)
    ids = products.cells[schema.columns.index(schema.id)]
    rows: dict[str, int] = {}
    for position, item_id in enumerate(ids):
        # Of rows with the same id, the first is the item, as for `prepare`.
        rows.setdefault(read_id(item_id), position)
    return SourceTable(joined, data, rows, products, headings)


def _read_table_bytes(catalog: Path, name: str, names: Sequence[str], hint: str) -> bytes:
    """Read one of the table's files: the catalogue's file itself, or the file of that name in its folder or .zip."""
    # Tables of splits have one name, each in its folder.
    are_alike = len({PurePosixPath(each).name for each in names}) < len(names)
    end = "/".join(PurePosixPath(name).parts[-2 if are_alike else -1 :])
    try:
        if len(names) == 1 and catalog.is_file() and is_table(catalog.name):
            return read_regular(catalog, MAX_TABLE_BYTES)
        source = open_source(catalog)
        if not source.has(name):
            paths = [path for path in source.names() if f"/{path}".endswith(f"/{end}")]
            name = min(paths, key=lambda path: (path.count("/"), path))
        return read_table(source, name)
    except (OSError, ValueError) as error:
        raise CatalogError(f"The table {end} cannot be read in {catalog}: {error}.", hint=hint) from error


@dataclass(frozen=True)
class Items:
    """A prepared catalogue, column by column.

    Attributes:
        ids: The item ids, in the order of `images`.
        positions: The index of each id in `ids`.
        columns: The catalogue's own columns as text by their headings, and `image_path`.
        images: Pixels of the first photograph of each, uint8 (n, height, width, 3), a read-only memory map.
        schema: The meaning of the columns, by their headings.
        digest: A hash that changes when the prepared catalogue does.
        source: The catalogue itself, or None if it cannot be opened.
        others: The path and the row in `other_images` of the other photographs of each item that has some, by its id.
        other_images: Their pixels.
    """

    ids: list[str]
    positions: dict[str, int]
    columns: dict[str, list[str]]
    images: Pixels
    schema: CatalogSchema
    digest: str
    source: Source | None
    others: Mapping[str, list[tuple[str, int]]] = field(default_factory=dict)
    other_images: Pixels = field(default_factory=lambda: np.empty((0, 1, 1, 3), np.uint8))

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

    def read_product(self, item_id: str) -> str | None:
        """Return the name by which a decision knows an item's product, or None if the catalogue has no names."""
        return self.read_name(item_id) if self.schema.name else None

    def read_brand(self, item_id: str) -> str:
        """Return an item's brand, or an empty text if the catalogue has no brands."""
        brand = self.schema.brand_column
        return self.columns[brand][self.positions[item_id]] if brand else ""

    def list_photographs(self, item_id: str) -> list[str]:
        """Return the paths of an item's photographs, the first one first."""
        first = self.columns["image_path"][self.positions[item_id]]
        return [first, *(path for path, _ in self.others.get(item_id, ()))]

    def read_photograph(self, item_id: str, number: int = 0, *, original: bool) -> tuple[bytes, str]:
        """Return an item's photograph as the bytes of a file, and its media type.

        Args:
            item_id: One of `ids`.
            number: Which of `list_photographs`.
            original: Whether to return the catalogue's own file, if it can be read and every browser can show its
                format. Otherwise the prepared pixels are returned as PNG.
        """
        if original and (photograph := self._read_original(self.list_photographs(item_id)[number])):
            return photograph
        pixels = (
            self.other_images[self.others[item_id][number - 1][1]] if number else self.images[self.positions[item_id]]
        )
        buffer = BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
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
        more = {}
        if OTHER_IMAGES in manifest["outputs"]:
            listed = read_parquet(workspace.prepared / OTHER_PHOTOGRAPHS).read_all()
            pixels = np.load(workspace.prepared / OTHER_IMAGES, mmap_mode="r", allow_pickle=False)
            more = {"others": _group_photographs(listed), "other_images": pixels}
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
    return Items(ids, positions, columns, images, headed, compute_digest(manifest), _open_origin(manifest), **more)


def _group_photographs(table: Any) -> dict[str, list[tuple[str, int]]]:
    """Return the path and row of each photograph by its item's id."""
    grouped: dict[str, list[tuple[str, int]]] = {}
    for row, (item_id, path) in enumerate(
        zip(_to_texts(table, "item_id"), _to_texts(table, "image_path"), strict=True)
    ):
        grouped.setdefault(item_id, []).append((path, row))
    return grouped


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
