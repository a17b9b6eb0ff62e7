"""Make a row a product of the rows of a shop's table, and levels of its category paths."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from hangtag.catalog.category_paths import Path, fill_levels, split_path
from hangtag.catalog.image_tree import UNEVEN_TAXONOMY
from hangtag.catalog.schema import CatalogSchema, read_id
from hangtag.catalog.table import Table
from hangtag.errors import CatalogError


@dataclass(frozen=True)
class Arranged:
    """A table with a row a product.

    Attributes:
        schema: What the columns mean, the levels of category paths among them.
        cells: The texts of each of the schema's columns.
        rows: The position of each product's first row in the table.
        several: The positions of all rows of each product that has several, by the product's position.
        skipped: Rows of the table that are no products, as (position, reason).
        num_merged: Further rows of products that have several.
        other_images: The photographs that all rows of a product name, by its position; only of products that have
            several rows.
        num_conflicting: Products whose rows name different categories; the first counts.
        written: A cell of the column of category paths for each combination of levels.
    """

    schema: CatalogSchema
    cells: list[list[str]]
    rows: list[int]
    several: dict[int, list[int]]
    skipped: list[tuple[int, str]]
    num_merged: int
    other_images: dict[int, list[str]]
    num_conflicting: int
    written: dict[Path, str]

    def list_rows(self, position: int) -> list[int]:
        """Return the positions in the table of the rows of a product."""
        return self.several.get(position) or [self.rows[position]]

    def list_rows_with(self, position: int, cells: Sequence[str]) -> list[int]:
        """Return which rows of a product have the value of a column that counts, or the first where none has one.

        Args:
            position: The product's position.
            cells: The table's cells of the column.
        """
        rows = self.list_rows(position)
        counts = next((cells[row] for row in rows if not self.schema.is_missing(cells[row])), None)
        if counts is None:
            return rows[:1]
        return [row for row in rows if cells[row].strip() == counts.strip()]


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
    other_images: dict[int, list[str]] = {}
    written = dict[Path, str]()
    count = len(rows)
    several: dict[int, list[int]] = {}
    num_conflicting = 0
    if schema.merge_rows in ("yes", "continued"):
        members = _group_rows(by_name[schema.id], rows, is_continued=schema.merge_rows == "continued")
        levels = [by_name[level] for level in (schema.path_column,) if level] or [
            by_name[each] for each in schema.levels
        ]
        num_conflicting = sum(any(_differ(cells, each, schema) for cells in levels) for each in members)
        several = {position: each for position, each in enumerate(members) if len(each) > 1}
        other_images = _list_images(by_name, schema, several)
        by_name = {name: _merge_cells(column, members, schema) for name, column in by_name.items()}
        cells = list(by_name.values())
        rows = [each[0] for each in members]
    elif len(rows) < len(table.rows):
        cells = [[column[row] for row in rows] for column in cells]
        by_name = dict(zip(schema.columns, cells, strict=False))
    if schema.level_separator:
        schema, levels, written = _split_levels(by_name, schema)
        cells = [*cells, *levels]
    num_merged = count - len(rows)
    return Arranged(schema, cells, rows, several, skipped, num_merged, other_images, num_conflicting, written)


def describe_categories(arranged: Arranged) -> dict[str, object]:
    """Return what the summary says about the categories of a table, by name."""
    schema = arranged.schema
    columns = [schema.path_column] if schema.path_column else schema.levels
    notes: dict[str, object] = {"categories_from": ", ".join(map(schema.find_heading, columns))}
    values = arranged.cells[schema.columns.index(schema.levels[-1])]
    if numbers := sum(value.strip().isdigit() for value in values):
        # Such as Google's, which stand for names that the table does not have.
        notes["categories_that_are_numbers"] = numbers
    if arranged.num_conflicting:
        # The first of a product's rows that has a category counts.
        notes["products_of_several_categories"] = arranged.num_conflicting
    return notes


def _skip_rows(
    cells: Mapping[str, Sequence[str]], schema: CatalogSchema, count: int
) -> tuple[list[int], list[tuple[int, str]]]:
    if not schema.skip_rows:
        return list(range(count)), []
    heading, _, value = schema.skip_rows.partition("=")
    column = schema.by_heading.get(heading, heading)
    wanted = dict(zip(value.casefold().split("|"), value.split("|"), strict=True))
    if column not in cells or not value:
        raise CatalogError(
            "skip_rows in the catalogue's description is wrong.",
            allowed="Allowed: COLUMN=VALUE or COLUMN=VALUE|VALUE, with one of the table's columns.",
            received=schema.skip_rows,
        )
    # A shop may list further properties behind the kind: `variation, virtual`.
    kinds = [[*map(str.strip, cell.casefold().split(","))] for cell in cells[column]]
    found = [next((name for kind, name in wanted.items() if kind in listed), "") for listed in kinds]
    skipped = [(row, f"{heading} is {name}") for row, name in enumerate(found) if name]
    return [row for row, name in enumerate(found) if not name], skipped


def _group_rows(ids: Sequence[str], rows: Iterable[int], *, is_continued: bool) -> list[list[int]]:
    """Return the rows of each product.

    Args:
        ids: The cells of the column of ids.
        rows: The rows that are products or parts of one.
        is_continued: Whether a row without an id belongs to the product above it.
    """
    first: dict[str, int] = {}
    members: list[list[int]] = []
    current = None
    for row in rows:
        item_id = read_id(ids[row])
        if not item_id and is_continued and current is not None:
            members[current].append(row)
            continue
        # A row without an id is rejected later, with its reason.
        current = first.setdefault(item_id, len(members)) if item_id else len(members)
        if current == len(members):
            members.append([])
        members[current].append(row)
    return members


def _list_images(
    cells: Mapping[str, Sequence[str]], schema: CatalogSchema, several: Mapping[int, Sequence[int]]
) -> dict[int, list[str]]:
    """Return the photographs that the rows of a product name, by the product's position; of those with several rows."""
    columns = [cells[column] for column in schema.image_columns]
    return {
        position: [path for row in rows for column in columns for path in schema.list_images(column[row])]
        for position, rows in several.items()
    }


def _merge_cells(column: Sequence[str], members: Iterable[Sequence[int]], schema: CatalogSchema) -> list[str]:
    """Return a product's cell of a column: that of the first of its rows in which it is not missing."""
    return [
        next((column[row] for row in rows if not schema.is_missing(column[row])), column[rows[0]]) for rows in members
    ]


def _differ(column: Sequence[str], rows: Sequence[int], schema: CatalogSchema) -> bool:
    """Return whether a product's rows have several values in a column."""
    return len({column[row].strip() for row in rows if not schema.is_missing(column[row])}) > 1


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
