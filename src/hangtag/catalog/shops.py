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
OPTIONAL = ("name", "group")


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
    return {key: value for key, value in layout.description.items() if key not in OPTIONAL or value in columns} | {
        "layout": layout.name
    }


@dataclass(frozen=True)
class Arranged:
    """A table with a row a product.

    Attributes:
        schema: What the columns mean, the levels of category paths among them.
        cells: The texts of each of the schema's columns.
        rows: The position of each product's first row in the table.
        skipped: Rows of the table that are no products, as (position, reason).
        num_merged: Further rows of products that have several.
        num_other_photographs: Photographs that the rows of products name beside the first of each product.
        written: A cell of the column of category paths for each combination of levels.
    """

    schema: CatalogSchema
    cells: list[list[str]]
    rows: list[int]
    skipped: list[tuple[int, str]]
    num_merged: int
    num_other_photographs: int
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
    num_named = sum(_count_photographs(by_name, schema, row) for row in rows)
    num_merged, written = 0, dict[Path, str]()
    if schema.merge_rows == "yes":
        count = len(rows)
        rows, by_name = _merge_rows(by_name, schema, rows)
        num_merged = count - len(rows)
        cells = list(by_name.values())
    elif len(rows) < len(table.rows):
        cells = [[column[row] for row in rows] for column in cells]
        by_name = dict(zip(schema.columns, cells, strict=False))
    num_used = sum(_count_photographs(by_name, schema, row) > 0 for row in range(len(rows)))
    if schema.level_separator:
        schema, levels, written = _split_levels(by_name, schema)
        cells = [*cells, *levels]
    return Arranged(schema, cells, rows, skipped, num_merged, num_named - num_used, written)


def _count_photographs(cells: Mapping[str, Sequence[str]], schema: CatalogSchema, row: int) -> int:
    """Return how many photographs a row names in the column of photographs."""
    if not schema.image_column or schema.is_missing(cells[schema.image_column][row]):
        return 0
    return len(schema.list_images(cells[schema.image_column][row]))


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


def _merge_rows(
    cells: Mapping[str, Sequence[str]], schema: CatalogSchema, rows: Iterable[int]
) -> tuple[list[int], dict[str, list[str]]]:
    """Join the rows of a product: each cell is the first one of them that is not missing."""
    first: dict[str, int] = {}
    merged: list[list[int]] = []
    for row in rows:
        item_id = read_id(cells[schema.id][row])
        # A row without an id is rejected later, with its reason.
        index = first.setdefault(item_id, len(merged)) if item_id else len(merged)
        if index == len(merged):
            merged.append([])
        merged[index].append(row)
    joined = {
        name: [
            next((column[row] for row in members if not schema.is_missing(column[row])), column[members[0]])
            for members in merged
        ]
        for name, column in cells.items()
    }
    return [members[0] for members in merged], joined


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
