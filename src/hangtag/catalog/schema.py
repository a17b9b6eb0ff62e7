"""The catalogue schema: which columns hold the id, name, photograph, label levels and attributes."""

import dataclasses
import itertools
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hangtag.catalog.cell_text import read_list
from hangtag.catalog.files import SURROGATES
from hangtag.catalog.missing_values import SPELLINGS, is_missing
from hangtag.errors import CatalogError, WorkspaceError

LIST_FIELDS = ("levels", "attributes", "missing", "other_image_columns")
_BETWEEN_URLS = re.compile(r"[,;|]\s*(?=https?://)", re.IGNORECASE)
PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
# Columns that hangtag's own tables have. A catalogue's column of such a name is kept under `catalog_<name>`, or under
# the next such name that is free.
RESERVED = frozenset(
    {
        "item_id",
        "image_path",
        "image_width",
        "image_height",
        "image_mode",
        "given_split",
        "image_index",
        "label",
        "split",
        "group_id",
        "pixel_hash",
        "given_label",
        "predicted_label",
        "confidence",
        "pred_probs",
        "second_label",
        "second_confidence",
        "count",
        "share",
        "value",
        "category_path",
        "items",
        "max_score",
        "now",
        "row",
        "total",
    }
)
RESERVED_PREFIXES = ("predicted_", "usual_")
# Names of brand columns; the first that a catalogue has counts.
BRANDS = ("brand", "vendor", "manufacturer", "supplier", "seller")


def rename_columns(columns: Sequence[str]) -> dict[str, str]:
    """Return the names that a catalogue's columns have in hangtag's tables, by their headings; no two are the same."""
    taken = set(columns)
    names = {}
    for column in columns:
        name, number = column, 1
        while name in RESERVED or name.startswith(RESERVED_PREFIXES) or (name != column and name in taken):
            name = f"catalog_{column}" if number == 1 else f"catalog_{column}_{number}"
            number += 1
        names[column] = name
        taken.add(name)
    return names


def _find_free_heading(columns: Sequence[str]) -> str:
    """Return a heading for the cleaned label that no column has, in capitals or not: files are named by it."""
    taken = {column.casefold() for column in columns}
    names = itertools.chain(
        [CatalogSchema.label_name, "Cleaned class"], map("Cleaned class {}".format, itertools.count(2))
    )
    return next(name for name in names if name.casefold() not in taken)


class UndescribedError(CatalogError):
    """A catalogue's description lacks an entry that it needs."""


@dataclass(frozen=True)
class CatalogSchema:
    """The meaning of the columns of a catalogue's table.

    Attributes:
        table: The table's file name inside the catalogue.
        id: The column with the item's id; its values are unique.
        name: The column with the product's name, or None.
        levels: The label columns from coarse to fine; at least one.
        attributes: Further columns that describe an item.
        image: A pattern for the photograph's path with columns in braces, such as `images/{id}.jpg`.
        image_column: The column with the photograph's path; used instead of `image`.
        split: The column with a given split (train, val or test), or None.
        label_name: The heading of the cleaned label; `Cleaned class` where none is named and the table has a `Class`.
        missing: The spellings of a missing cell, beside an empty one and `Unknown`; see `missing_values.is_missing`.
        layout: The shop system whose table it is, one of `shop_layouts.list_layouts`; empty where it is none of them.
        group: A column whose equal values belong to one product: its items stay in one split. None where there is none.
        brand: The column of brands; None takes one that is called so, and an empty text none.
        level_separator: What stands between the parts of category paths in the column of `levels`; empty where the
            levels are columns.
        category_separator: What stands between several category paths in a cell.
        category: Which of several paths counts, `first` or `deepest`.
        image_separator: What stands between several photographs in a cell.
        other_image_columns: Columns with further photographs of the product, in their order.
        merge_rows: `yes` where a product may have several rows: each value is the first that is not missing.
            `continued` where a row without an id also belongs to the product above it.
        skip_rows: Rows that are no products, as `COLUMN=VALUE` or `COLUMN=VALUE|VALUE`.
        encoding: The encoding of a table of text, such as `cp1251`; empty to find it.
        separator: What stands between the table's cells, a letter or its name; empty to find it.
        escape: How quotes inside quotes are written, `doubled` or `backslash`; empty to find it.
        sheet: The sheet of an Excel workbook; empty takes the first with a header and rows.
        taxonomy: The label rules, a file beside the table or the name of a shipped taxonomy.
        path_column: The column of category paths that the levels were made of, or None.
        columns: All columns of the table in their order, by their names in hangtag's tables, and the levels that were
            made of category paths.
        headings: The same columns as the table itself heads them.
    """

    table: str = ""
    id: str = "id"
    name: str | None = None
    levels: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    image: str | None = None
    image_column: str | None = None
    split: str | None = None
    label_name: str = "Class"
    missing: tuple[str, ...] = SPELLINGS
    layout: str = ""
    group: str | None = None
    brand: str | None = None
    level_separator: str = ""
    category_separator: str = ""
    category: str = "first"
    image_separator: str = ""
    other_image_columns: tuple[str, ...] = ()
    merge_rows: str = ""
    skip_rows: str = ""
    encoding: str = ""
    separator: str = ""
    escape: str = ""
    sheet: str = ""
    taxonomy: str = ""
    path_column: str | None = None
    columns: tuple[str, ...] = ()
    headings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the entries that are not the default as plain JSON values, so that new entries change no digest."""
        values = {field.name: (getattr(self, field.name), field.default) for field in dataclasses.fields(self)}
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, (value, default) in values.items()
            if value != default
        }

    @classmethod
    def from_values(cls, values: Mapping[str, object]) -> "CatalogSchema":
        """Build a schema from TOML, JSON or flags.

        Raises:
            CatalogError: A key is unknown or a value has the wrong type.
        """
        allowed = [field.name for field in dataclasses.fields(cls)]
        converted: dict[str, Any] = {}
        for key, value in values.items():
            if key not in allowed:
                raise CatalogError(
                    "The catalogue's description has an unknown key.",
                    allowed=f"Allowed: {', '.join(allowed[:-3])}.",
                    received=key,
                )
            converted[key] = _convert(key, value)
        return cls(**converted)

    def with_columns(self, columns: Sequence[str]) -> "CatalogSchema":
        """Return the schema with the table's columns, after checking that the columns it names exist.

        Columns whose name hangtag uses itself are renamed; see `rename_column`.

        Raises:
            CatalogError: A named column is not in the table, or a column has the heading of the cleaned label.
        """
        for column in self.named_columns:
            if column not in columns:
                raise CatalogError(
                    f"The table {self.table} has no such column." if self.table else "Folders have no such column.",
                    allowed=f"Its columns: {', '.join(columns)}.",
                    received=column,
                )
        label_name = self.label_name
        if label_name == CatalogSchema.label_name:
            label_name = _find_free_heading(columns)
        if label_name in columns:
            raise CatalogError(
                "The table already has a column with the heading of the cleaned label.",
                allowed="Choose another heading with --label-name.",
                received=self.label_name,
            )
        named = dataclasses.replace(self, label_name=label_name, columns=tuple(columns), headings=tuple(columns))
        return named._rename_columns(rename_columns(columns))

    def with_headings(self) -> "CatalogSchema":
        """Return the schema with every column under its heading, as people see it, in place of hangtag's name."""
        return self._rename_columns(self.by_column)

    def _rename_columns(self, names: Mapping[str, str]) -> "CatalogSchema":
        def rename(column: str) -> str:
            return names.get(column, column)

        return dataclasses.replace(
            self,
            id=rename(self.id),
            name=self.name and rename(self.name),
            levels=tuple(map(rename, self.levels)),
            attributes=tuple(map(rename, self.attributes)),
            image=self.image and PLACEHOLDER.sub(lambda match: f"{{{rename(match.group(1))}}}", self.image),
            image_column=self.image_column and rename(self.image_column),
            other_image_columns=tuple(map(rename, self.other_image_columns)),
            split=self.split and rename(self.split),
            group=self.group and rename(self.group),
            brand=self.brand and rename(self.brand),
            path_column=self.path_column and rename(self.path_column),
            columns=tuple(map(rename, self.columns)),
        )

    def with_path_levels(self, path_column: str, depth: int) -> "CatalogSchema":
        """Return the schema with a level for each part of a column's category paths.

        Args:
            path_column: The column.
            depth: The parts of the longest path.
        """
        levels: list[str] = []
        number = 0
        while len(levels) < depth:
            number += 1
            if f"level_{number}" not in self.columns:
                levels.append(f"level_{number}")
        return dataclasses.replace(
            self,
            levels=tuple(levels),
            path_column=path_column,
            columns=(*self.columns, *levels),
            headings=(*self.headings, *levels),
        )

    def check(self) -> "CatalogSchema":
        """Return the schema itself, after checking that it is complete.

        Raises:
            UndescribedError: There is no label level, or no way to find a photograph.
            CatalogError: An entry has none of its values.
        """
        for key, allowed in (("category", ("first", "deepest")), ("merge_rows", ("", "no", "yes", "continued"))):
            if (value := getattr(self, key)) not in allowed:
                names = ", ".join(name for name in allowed if name)
                raise CatalogError(
                    f"{key} in the catalogue's description is wrong.", allowed=f"Allowed: {names}.", received=value
                )
        if self.level_separator and len(self.levels) > 1 and not self.path_column:
            raise CatalogError(
                "The catalogue's description has a separator of levels, and several columns of levels.",
                allowed="Allowed: one column of category paths, or several columns without level_separator.",
                received=", ".join(self.levels),
            )
        if not self.levels:
            raise UndescribedError(
                "The description of the catalogue does not say which columns hold the categories.",
                hint="Name these columns from coarse to fine with --levels or in catalog.toml.",
            )
        if not (self.image or self.image_column):
            raise UndescribedError(
                "The catalogue's description does not say where the photographs are.",
                hint="Give --image 'images/{id}.jpg' or --image-column NAME, or write it in catalog.toml.",
            )
        return self

    def is_missing(self, value: str | None) -> bool:
        """Return whether a cell counts as missing."""
        return is_missing(value, self.missing)

    @property
    def by_column(self) -> dict[str, str]:
        """The columns' headings by their names in hangtag's tables."""
        return dict(zip(self.columns, self.headings, strict=False))

    def find_heading(self, column: str) -> str:
        """Return how the table heads a column of hangtag's tables; any other name is returned as it is."""
        return self.by_column.get(column, column)

    @property
    def named_columns(self) -> dict[str, None]:
        """Return the columns that the description names, in order."""
        named = [self.id, self.name, *self.levels, *self.attributes, *self.image_columns, self.split, self.group]
        named.append(self.brand)
        return dict.fromkeys([*filter(None, named), *PLACEHOLDER.findall(self.image or "")])

    @property
    def by_heading(self) -> dict[str, str]:
        """The columns' names in hangtag's tables by the names that a user may give: the headings, then these names."""
        return {**{column: column for column in self.columns}, **dict(zip(self.headings, self.columns, strict=False))}

    @property
    def brand_column(self) -> str | None:
        """Return the column of brands: the described one, or one that is called so; None where there is none."""
        if self.brand is not None:
            return self.brand or None
        lower = {column.casefold(): column for column in self.columns}
        return next((lower[name] for name in BRANDS if name in lower), None)

    @property
    def described_columns(self) -> tuple[str, ...]:
        """Return the columns that describe an item: the levels, the attributes, and the name if there is one."""
        return (*self.levels, *self.attributes, *([self.name] if self.name else []))

    @property
    def image_columns(self) -> tuple[str, ...]:
        """Return the columns that name photographs, in order."""
        return (*([self.image_column] if self.image_column else []), *self.other_image_columns)

    def list_images(self, cell: str) -> list[str]:
        """Return the photographs that a cell names.

        Several addresses between commas are several without being said, and so is a JSON list of texts, as which the
        lists of JSON lines and Parquet are read.
        """
        parts = read_list(cell)
        if parts is None:
            # A blank stands for any white space.
            separator = self.image_separator.strip(" ") or None
            parts = cell.split(separator) if self.image_separator else _BETWEEN_URLS.split(cell)
        return [stripped for part in parts if (stripped := part.strip()) and not self.is_missing(stripped)]

    def find_image_paths(self, row: Mapping[str, str]) -> list[str]:
        """Return the paths of a row's photographs relative to the table's folder, each once, in the order named."""
        paths = [path for column in self.image_columns for path in self.list_images(row[column])]
        if not self.image_column and self.image:
            paths.insert(0, PLACEHOLDER.sub(lambda found: read_id(row[found.group(1)]), self.image))
        return list(dict.fromkeys(paths))


def read_id(cell: str) -> str:
    """Return an identifier without white space around it, and without the `="..."` that keeps a spreadsheet's zeros."""
    text = cell.strip()
    return text[2:-1].strip() if text.startswith('="') and text.endswith('"') and len(text) > 3 else text


def _convert(key: str, value: object) -> object:
    if key in (*LIST_FIELDS, "columns", "headings"):
        if isinstance(value, str):
            value = [part.strip() for part in value.split(",")]
        if not (isinstance(value, Sequence) and all(isinstance(text, str) for text in value)):
            raise CatalogError(
                f"{key} in the catalogue's description is wrong.",
                allowed="Allowed: a list of texts.",
                received=value,
            )
        return tuple(_check_text(key, text) for text in value)
    return None if value is None else _check_text(key, value)


def _check_text(key: str, value: object) -> str:
    if not isinstance(value, str):
        raise CatalogError(
            f"{key} in the catalogue's description is wrong.", allowed="Allowed: a text.", received=value
        )
    if SURROGATES.search(value):
        raise CatalogError(f"{key} in the catalogue's description is not UTF-8 text.", received=value)
    return value


def parse_schema(text: str, where: str) -> dict[str, object]:
    """Parse a catalogue's description (TOML).

    Raises:
        CatalogError: The text is not TOML.
    """
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise CatalogError("The catalogue's description is nested too deeply.", received=where) from error
    except ValueError as error:
        # TOMLDecodeError is a ValueError; so is the error for a number of thousands of digits.
        raise CatalogError(f"The catalogue's description is not TOML: {error}.", received=where) from error


def read_schema(manifest: Mapping[str, Any]) -> CatalogSchema:
    """Read a catalogue's schema from the manifest of `prepare`.

    Raises:
        WorkspaceError: The manifest has no valid schema.
    """
    try:
        return CatalogSchema.from_values(manifest["schema"])
    except (CatalogError, KeyError, TypeError, ValueError, AttributeError) as error:
        hint = "Run `hangtag prepare CATALOG` with this workspace again."
        raise WorkspaceError("The manifest of prepared/ does not describe the catalogue.", hint=hint) from error
