"""Read the prepared catalogue (table and pixels), compare it with an earlier one, and find its missing cells."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from hangtag.catalog.images import Pixels
from hangtag.catalog.missing_values import BLANK, is_missing
from hangtag.catalog.schema import CatalogSchema, read_schema
from hangtag.errors import WorkspaceError
from hangtag.io import read_csv
from hangtag.manifest import compute_digest, require_manifest
from hangtag.workspace import OTHER_IMAGES, OTHER_PHOTOGRAPHS, Workspace

HINT = "Run `hangtag prepare CATALOG` with this workspace first."
# The table of `compare_items` in `prepared/`.
CHANGES = "changes.csv"


OTHERS = {
    "item_id": pl.String,
    "image_path": pl.String,
    "width": pl.Int64,
    "height": pl.Int64,
    "mode": pl.String,
    "order": pl.Int64,
}
Rows = npt.NDArray[np.int64]
Indices = npt.NDArray[np.unsignedinteger[Any]]
Mask = npt.NDArray[np.bool_]
# Photographs whose pixels are compared at once.
COMPARED = 512


@dataclass(frozen=True)
class OtherPhotographs:
    """The photographs of items beside the first of each; none in most catalogues.

    Attributes:
        table: One row for each: `item_id`, `image_path`, `width`, `height` and `mode` of the file, and `order`, its
            place among the photographs that the catalogue names for the item, from 1.
        images: Pixels, uint8 (m, height, width, 3), a read-only memory map; row i belongs to row i of the table.
    """

    table: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=OTHERS))
    images: Pixels = field(default_factory=lambda: np.empty((0, 1, 1, 3), np.uint8))

    def __len__(self) -> int:
        """Return the number of photographs."""
        return len(self.table)

    def find(self, item_ids: pl.Series) -> tuple[Rows, Rows]:
        """Find the photographs of some items.

        Args:
            item_ids: The ids, text (n,).

        Returns:
            Their rows, int64 (k,), and the index in `item_ids` of each one's item, int64 (k,).
        """
        items = pl.DataFrame({"item_id": item_ids.cast(pl.String)}).with_row_index("item")
        rows = self.table.select("item_id").with_row_index("row")
        found = rows.join(items, on="item_id", maintain_order="left")
        return found["row"].to_numpy().astype(np.int64), found["item"].to_numpy().astype(np.int64)


@dataclass(frozen=True)
class Prepared:
    """A prepared catalogue.

    Attributes:
        items: One row for each item: `item_id`, `image_path`, `image_width`, `image_height`, `image_mode`,
            `given_split`, and the catalogue's own columns as text, exactly as delivered.
        images: Pixels, uint8 (n, height, width, 3), a read-only memory map; row i belongs to item i.
        schema: The meaning of the columns.
        taxonomy_text: The taxonomy file of the catalogue (TOML), or an empty text.
        digest: A hash of the manifest; it changes when the prepared catalogue does.
        others: The photographs beside the first of each item.
    """

    items: pl.DataFrame
    images: Pixels
    schema: CatalogSchema
    taxonomy_text: str
    digest: str
    others: OtherPhotographs = field(default_factory=OtherPhotographs)

    @cached_property
    def known(self) -> pl.DataFrame:
        """Return the items with null for every missing cell of their levels, attributes and name."""
        return hide_missing(self.items, self.schema)


def read_prepared(workspace: Workspace) -> Prepared:
    """Open the prepared catalogue of a workspace.

    Raises:
        WorkspaceError: `prepare` has not run in this workspace, or its files are damaged or do not match.
    """
    manifest = require_manifest(workspace.prepared, HINT)
    schema = read_schema(manifest)
    try:
        items = pl.read_parquet(workspace.prepared / "items.parquet")
        images = np.load(workspace.prepared / "images.npy", mmap_mode="r", allow_pickle=False)
        others = OtherPhotographs()
        if OTHER_IMAGES in manifest["outputs"]:
            pixels = np.load(workspace.prepared / OTHER_IMAGES, mmap_mode="r", allow_pickle=False)
            others = OtherPhotographs(pl.read_parquet(workspace.prepared / OTHER_PHOTOGRAPHS), pixels)
    except (OSError, ValueError, EOFError, pl.exceptions.PolarsError) as error:
        raise WorkspaceError(f"The prepared catalogue cannot be read: {error}.", hint=HINT) from error
    if len(items) != len(images) or len(others) != len(others.images):
        raise WorkspaceError("The prepared items and pixels differ in number.", hint=HINT)
    return Prepared(items, images, schema, manifest.get("taxonomy_text", ""), compute_digest(manifest), others)


def find_missing(values: pl.Series, spellings: Iterable[str]) -> pl.Series:
    """Return a boolean mask (n,) of the missing cells of a column; see `is_missing`."""
    spellings = tuple(spellings)
    texts = values.cast(pl.String)
    # Check each distinct value once: a million cells have a few dozen.
    missing = [value for value in texts.drop_nulls().unique() if is_missing(value, spellings)]
    return texts.is_null() | texts.is_in(missing).fill_null(value=True)


def hide_missing(items: pl.DataFrame, schema: CatalogSchema) -> pl.DataFrame:
    """Return a table with null for every missing cell of the levels, attributes and name.

    These are the levels, the attributes and the name, as far as the table has them; all others stay as they are. The
    values of levels and attributes have no white space at their ends.
    """
    columns = [column for column in schema.described_columns if column in items.columns]
    read = {schema.name: hide_values}
    return items.with_columns(read.get(column, read_categories)(items[column], schema.missing) for column in columns)


def read_categories(values: pl.Series, spellings: Iterable[str]) -> pl.Series:
    """Return a column as its values are compared: null where a cell is missing, no white space at the ends of others.

    `Shirts` and `Shirts ` are one category, which nobody can tell apart.
    """
    return hide_values(values, spellings).cast(pl.String).str.strip_chars(BLANK)


def hide_values(values: pl.Series, spellings: Iterable[str]) -> pl.Series:
    """Return a column with null for every missing cell."""
    return values.set(find_missing(values, spellings), None)


def count_missing(items: pl.DataFrame, schema: CatalogSchema) -> dict[str, int]:
    """Count the missing cells of each level, attribute and name column; columns without any are left out."""
    columns: Sequence[str] = [column for column in schema.described_columns if column in items.columns]
    counts = {column: int(find_missing(items[column], schema.missing).sum()) for column in columns}
    return {column: count for column, count in counts.items() if count}


def compare_items(earlier: Path, later: Path, settings: Mapping[str, object]) -> pl.DataFrame | None:
    """Return which items are new, changed or removed: a row for each with `item_id` and `change`.

    An item is changed if another value stands in a column that both have, or if one of its photographs has other
    pixels, is new or is gone.

    Args:
        earlier: The folder `prepared/` with an earlier result.
        later: The folder of the new `items.parquet` and `images.npy`.
        settings: The settings of the new result; pixels of other settings are not compared.

    Returns:
        The table, or None if there is no complete earlier result.
    """
    folders = (earlier, later)
    try:
        manifest = require_manifest(earlier, HINT, ["items.parquet", "images.npy"])
        columns = [pl.read_parquet_schema(folder / "items.parquet") for folder in folders]
        ids = [pl.read_parquet(folder / "items.parquet", columns=["item_id"]) for folder in folders]
        # Files that cannot be opened are noticed here.
        _open_images(earlier), _open_images(later)
        others = [_read_others(folder) for folder in folders]
    except (WorkspaceError, OSError, ValueError, EOFError, pl.exceptions.PolarsError):
        return None
    before, after = (table.with_row_index("position") for table in ids)
    both = after.join(before, on="item_id", suffix="_before", maintain_order="left")
    positions = (both["position_before"].to_numpy(), both["position"].to_numpy())
    changed = np.zeros(len(both), bool)
    for name in columns[1]:
        if name in columns[0] and name != "item_id":
            # One column after another: those of two large catalogues would take much memory.
            old, new = (
                pl.read_parquet(folder / "items.parquet", columns=[name])[name].gather(rows)
                for folder, rows in zip(folders, positions, strict=True)
            )
            changed |= new.ne_missing(old).to_numpy()
    is_comparable = dict(settings) == manifest["settings"]
    if is_comparable:
        changed |= _find_other_pixels(earlier, later, *positions)
    with_others = others[0][0].keys() | others[1][0].keys()
    for index in both.with_row_index("index").filter(pl.col("item_id").is_in(with_others))["index"]:
        old_rows, new_rows = (rows.get(both["item_id"][index], []) for rows, _ in others)
        changed[index] |= len(old_rows) != len(new_rows)
        if is_comparable and not changed[index]:
            changed[index] = not np.array_equal(others[0][1][old_rows], others[1][1][new_rows])
    found = {
        "new": after.join(before, on="item_id", how="anti", maintain_order="left")["item_id"],
        "changed": both["item_id"].filter(pl.Series(changed, dtype=pl.Boolean)),
        "removed": before.join(after, on="item_id", how="anti", maintain_order="left")["item_id"],
    }
    tables = [pl.DataFrame({"item_id": ids}).with_columns(change=pl.lit(change)) for change, ids in found.items()]
    return pl.concat(tables)


def _find_other_pixels(earlier: Path, later: Path, rows_before: Indices, rows_after: Indices) -> Mask:
    """Return whether the pixels of two rows of `images.npy` differ, for each pair of rows, (n,)."""
    differ = np.ones(len(rows_after), bool)
    for start in range(0, len(differ), COMPARED):
        part = slice(start, start + COMPARED)
        # Opened again for each part: what a memory map has read counts as memory while it is open.
        before, after = _open_images(earlier)[rows_before[part]], _open_images(later)[rows_after[part]]
        if before.shape == after.shape:
            differ[part] = (before != after).reshape(len(before), -1).any(axis=1)
    return differ


def _open_images(folder: Path) -> Pixels:
    images: Pixels = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
    return images


def read_changes(workspace: Workspace) -> pl.DataFrame | None:
    """Return which items of the prepared catalogue are new, changed or removed; see `compare_items`.

    None where there was no earlier catalogue in the workspace.

    Raises:
        WorkspaceError: `prepare` has not run in this workspace, or its files are damaged.
    """
    manifest = require_manifest(workspace.prepared, HINT)
    return read_csv(workspace.prepared / CHANGES, infer_schema=False) if CHANGES in manifest["outputs"] else None


def _read_others(folder: Path) -> tuple[dict[str, list[int]], Pixels]:
    """Return the rows of each item's photographs beside the first by its id, and the pixels in those rows."""
    if not (folder / OTHER_PHOTOGRAPHS).exists():
        return {}, np.empty(0, np.uint8)
    rows: dict[str, list[int]] = {}
    for row, item_id in enumerate(pl.read_parquet(folder / OTHER_PHOTOGRAPHS, columns=["item_id"])["item_id"]):
        rows.setdefault(item_id, []).append(row)
    return rows, np.load(folder / OTHER_IMAGES, mmap_mode="r", allow_pickle=False)
