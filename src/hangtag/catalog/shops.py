"""Read the tables of shop systems: recognise them by their headings, and make a row a product of what they hold."""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Any

from hangtag.catalog.category_paths import Path, fill_levels, split_path
from hangtag.catalog.image_tree import UNEVEN_TAXONOMY
from hangtag.catalog.schema import CatalogSchema, read_id
from hangtag.catalog.table import Table
from hangtag.errors import CatalogError

# Columns that a shop's table may lack.
OPTIONAL = ("name", "group", "other_image_columns")


@dataclass(frozen=True)
class Layout:
    """The table of a shop system.

    Attributes:
        name: Its name, for `--layout`.
        headings: Columns that every such table has.
        description: The entries of a catalogue's description.
    """

    name: str
    headings: frozenset[str]
    description: Mapping[str, Any]


@cache
def list_layouts() -> tuple[Layout, ...]:
    """Return the shipped layouts, those with the most headings first."""
    folder = resources.files("hangtag.catalog") / "layouts"
    layouts = []
    for entry in folder.iterdir():
        if entry.name.endswith(".toml"):
            content = tomllib.loads(entry.read_text(encoding="utf-8"))
            name = entry.name.removesuffix(".toml")
            layouts.append(Layout(name, frozenset(content["headings"]), content["description"]))
    return tuple(sorted(layouts, key=lambda layout: (-len(layout.headings), layout.name)))


def find_layout(columns: Sequence[str], name: str = "") -> Layout | None:
    """Return the layout that a table has, by its headings, or the one that is named.

    Raises:
        CatalogError: There is no layout of that name, or the table lacks its headings.
    """
    if not name:
        return next((layout for layout in list_layouts() if layout.headings <= set(columns)), None)
    named = next((layout for layout in list_layouts() if layout.name == name), None)
    if named is None:
        names = ", ".join(sorted(layout.name for layout in list_layouts()))
        raise CatalogError("There is no such layout.", allowed=f"Allowed: {names}.", received=name)
    if missing := sorted(named.headings - set(columns)):
        raise CatalogError(
            f"The table has not the columns of the layout {name}.",
            allowed=f"Its columns: {', '.join(columns)}.",
            received=f"without {', '.join(missing)}",
            hint="Describe the table with --id-column, --levels and --image-column, or in catalog.toml.",
        )
    return named


def describe_layout(layout: Layout, columns: Sequence[str]) -> dict[str, object]:
    """Return the entries of a layout's description for a table, without optional columns that it lacks."""
    described: dict[str, object] = {}
    for key, value in layout.description.items():
        kept = [column for column in value if column in columns] if isinstance(value, list) else value
        if key not in OPTIONAL or (kept if isinstance(kept, list) else kept in columns):
            described[key] = kept
    return described | {"layout": layout.name}


@dataclass(frozen=True)
class Arranged:
    """A table with a row a product.

    Attributes:
        schema: What the columns mean, the levels of category paths among them.
        cells: The texts of each of the schema's columns.
        rows: The position of each product's first row in the table.
        skipped: Rows of the table that are no products, as (position, reason).
        num_merged: Further rows of products that have several.
        other_images: The photographs that all rows of a product name, by its position; only of products that have
            several rows.
        written: A cell of the column of category paths for each combination of levels.
    """

    schema: CatalogSchema
    cells: list[list[str]]
    rows: list[int]
    skipped: list[tuple[int, str]]
    num_merged: int
    other_images: dict[int, list[str]]
    written: dict[Path, str]


def arrange_products(table: Table, schema: CatalogSchema) -> Arranged:
    """Make a row a product, and levels of category paths.

    Args:
        table: The table as it was read.
        schema: What its columns mean, complete by `CatalogSchema.with_columns`. One that was arranged before keeps its
            levels.

    Raises:
        CatalogError: `skip_rows` names no column.
    """
    headings = [heading for heading in schema.headings if heading in table.columns]
    cells = [table.cells[table.columns.index(heading)] for heading in headings]
    by_name = dict(zip(schema.columns, cells, strict=False))
    rows, skipped = _skip_rows(by_name, schema, len(table.rows))
    num_merged, written, other_images = 0, dict[Path, str](), dict[int, list[str]]()
    if schema.merge_rows == "yes":
        count = len(rows)
        merged = _group_rows(by_name[schema.id], rows)
        other_images = _list_images(by_name, schema, merged)
        by_name = _merge_rows(by_name, schema, merged)
        rows = [members[0] for members in merged]
        num_merged = count - len(rows)
        cells = list(by_name.values())
    elif len(rows) < len(table.rows):
        cells = [[column[row] for row in rows] for column in cells]
        by_name = dict(zip(schema.columns, cells, strict=False))
    if schema.level_separator:
        schema, levels, written = _split_levels(by_name, schema)
        cells = [*cells, *levels]
    return Arranged(schema, cells, rows, skipped, num_merged, other_images, written)


def _skip_rows(
    cells: Mapping[str, Sequence[str]], schema: CatalogSchema, count: int
) -> tuple[list[int], list[tuple[int, str]]]:
    if not schema.skip_rows:
        return list(range(count)), []
    column, _, value = schema.skip_rows.partition("=")
    if column not in cells or not value:
        raise CatalogError(
            "skip_rows in the catalogue's description is wrong.",
            allowed="Allowed: COLUMN=VALUE, with one of the table's columns.",
            received=schema.skip_rows,
        )
    wanted = value.strip().casefold()
    # A shop may list further properties behind the kind: `variation, virtual`.
    is_skipped = [wanted in map(str.strip, cell.casefold().split(",")) for cell in cells[column]]
    skipped = [(row, f"{column} is {value}") for row, skip in enumerate(is_skipped) if skip]
    return [row for row, skip in enumerate(is_skipped) if not skip], skipped


def _group_rows(ids: Sequence[str], rows: Iterable[int]) -> list[list[int]]:
    """Return the rows of each product, by the cells of ids."""
    first: dict[str, int] = {}
    merged: list[list[int]] = []
    for row in rows:
        item_id = read_id(ids[row])
        # A row without an id is rejected later, with its reason.
        index = first.setdefault(item_id, len(merged)) if item_id else len(merged)
        if index == len(merged):
            merged.append([])
        merged[index].append(row)
    return merged


def _list_images(
    cells: Mapping[str, Sequence[str]], schema: CatalogSchema, merged: Sequence[Sequence[int]]
) -> dict[int, list[str]]:
    """Return the photographs that the rows of a product name, by the product's position; of those with several rows."""
    columns = [cells[column] for column in schema.image_columns]
    return {
        position: [path for row in members for column in columns for path in schema.list_images(column[row])]
        for position, members in enumerate(merged)
        if len(members) > 1
    }


def _merge_rows(
    cells: Mapping[str, Sequence[str]], schema: CatalogSchema, merged: Sequence[Sequence[int]]
) -> dict[str, list[str]]:
    """Join the rows of each product: each cell is the first one of them that is not missing."""
    return {
        name: [
            next((column[row] for row in members if not schema.is_missing(column[row])), column[members[0]])
            for members in merged
        ]
        for name, column in cells.items()
    }


def _split_levels(
    cells: Mapping[str, Sequence[str]], schema: CatalogSchema
) -> tuple[CatalogSchema, list[list[str]], dict[Path, str]]:
    """Return the schema with levels for the category paths, the levels' texts, and a cell of each path."""
    path_column = schema.path_column or schema.levels[-1]
    paths = [split_path(cell, schema) for cell in cells[path_column]]
    if not schema.path_column:
        depth = max(map(len, paths), default=1)
        has_several = schema.category_separator and any(
            schema.category_separator in cell for cell in cells[path_column]
        )
        if depth <= 1 and not has_several:
            return schema, [], {}
        schema = schema.with_path_levels(path_column, max(depth, 1))
    depth = len(schema.levels)
    filled = fill_levels([path[:depth] for path in paths], depth)
    if not schema.taxonomy and any(path[0] and not path[-1] for path in filled):
        schema = replace(schema, taxonomy=UNEVEN_TAXONOMY)
    written = dict(zip(reversed(filled), reversed(cells[path_column]), strict=True))
    return schema, [list(level) for level in zip(*filled, strict=True)], written
