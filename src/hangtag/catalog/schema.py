"""What the columns of a catalogue mean: its id, name, photograph, label levels and attributes."""

import dataclasses
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hangtag.catalog.files import SURROGATES
from hangtag.catalog.missing_values import SPELLINGS, is_missing
from hangtag.errors import CatalogError, WorkspaceError

LIST_FIELDS = ("levels", "attributes", "missing")
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


@dataclass(frozen=True)
class CatalogSchema:
    """What the columns of a catalogue's table mean.

    Attributes:
        table: The table's file name inside the catalogue.
        id: The column that names an item; every value once.
        name: The column with the product's name, or None.
        levels: The label columns from coarse to fine; at least one.
        attributes: Further columns that describe an item.
        image: A pattern for the photograph's path with columns in braces, as `images/{id}.jpg`.
        image_column: The column that holds the photograph's path; used in place of `image`.
        split: A column that already says train, val or test, or None.
        label_name: The heading of the cleaned label.
        missing: The spellings of a missing cell, beside an empty one and `Unknown`; see `missing.is_missing`.
        taxonomy: The label rules, a file beside the table or the name of a shipped taxonomy.
        columns: All columns of the table in their order, by their names in hangtag's tables.
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
    taxonomy: str = ""
    columns: tuple[str, ...] = ()
    headings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            key: list(value) if isinstance(value, tuple) else value for key, value in dataclasses.asdict(self).items()
        }

    @classmethod
    def from_values(cls, values: Mapping[str, object]) -> "CatalogSchema":
        """Build a schema from TOML, JSON or flags.

        Raises:
            CatalogError: A key is unknown or a value is of the wrong type.
        """
        allowed = [each.name for each in dataclasses.fields(cls)]
        converted: dict[str, Any] = {}
        for key, value in values.items():
            if key not in allowed:
                raise CatalogError(
                    "The catalogue's description has an unknown key.",
                    allowed=f"Allowed: {', '.join(allowed[:-2])}.",
                    received=key,
                )
            converted[key] = _convert(key, value)
        return cls(**converted)

    def with_columns(self, columns: Sequence[str]) -> "CatalogSchema":
        """Return the schema with the table's own columns, once every column it names is among them.

        Columns with a name that hangtag uses itself get another.

        Raises:
            CatalogError: A named column is not in the table, or one is called like the cleaned label.
        """
        wanted = [self.id, self.name, *self.levels, *self.attributes, self.image_column, self.split]
        wanted += PLACEHOLDER.findall(self.image or "")
        for column in wanted:
            if column is not None and column not in columns:
                raise CatalogError(
                    f"The table {self.table} has no such column." if self.table else "Folders have no such column.",
                    allowed=f"Its columns: {', '.join(columns)}.",
                    received=column,
                )
        if self.label_name in columns:
            raise CatalogError(
                "The table has a column that is called like the cleaned label.",
                allowed="Choose another heading with --label-name.",
                received=self.label_name,
            )
        named = dataclasses.replace(self, columns=tuple(columns), headings=tuple(columns))
        return named._rename(rename_columns(columns))

    def with_headings(self) -> "CatalogSchema":
        """Return the schema with every column under its heading, as people see it, in place of hangtag's name."""
        return self._rename(self.by_column)

    def _rename(self, names: Mapping[str, str]) -> "CatalogSchema":
        def rename(column: str) -> str:
            return names.get(column, column)

        return dataclasses.replace(
            self,
            id=rename(self.id),
            name=self.name and rename(self.name),
            levels=tuple(map(rename, self.levels)),
            attributes=tuple(map(rename, self.attributes)),
            image=self.image and PLACEHOLDER.sub(lambda found: f"{{{rename(found.group(1))}}}", self.image),
            image_column=self.image_column and rename(self.image_column),
            split=self.split and rename(self.split),
            columns=tuple(map(rename, self.columns)),
        )

    def check(self) -> "CatalogSchema":
        """Return the schema if it is complete.

        Raises:
            CatalogError: There is no label level, or no way to find a photograph.
        """
        if not self.levels:
            raise CatalogError(
                "The catalogue's description names no label level.",
                hint="Name the label columns from coarse to fine with --levels or in catalog.toml.",
            )
        if not (self.image or self.image_column):
            raise CatalogError(
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
    def by_heading(self) -> dict[str, str]:
        """The columns' names in hangtag's tables by the names that a user may give: the headings, then these names."""
        return {**{column: column for column in self.columns}, **dict(zip(self.headings, self.columns, strict=False))}

    @property
    def described_columns(self) -> tuple[str, ...]:
        """The columns that describe an item: the levels, the attributes, and the name if there is one."""
        return (*self.levels, *self.attributes, *([self.name] if self.name else []))

    def find_image_path(self, row: Mapping[str, str]) -> str:
        """Return the path of an item's photograph, relative to the table's folder; empty where none is named."""
        if self.image_column:
            path = row[self.image_column]
            return "" if self.is_missing(path) else path
        return PLACEHOLDER.sub(lambda found: row[found.group(1)], self.image or "")


def _convert(key: str, value: object) -> object:
    if key in (*LIST_FIELDS, "columns", "headings"):
        if isinstance(value, str):
            value = [part.strip() for part in value.split(",")]
        if not (isinstance(value, Sequence) and all(isinstance(each, str) for each in value)):
            raise CatalogError(
                f"{key} in the catalogue's description is wrong.",
                allowed="Allowed: a list of texts.",
                received=value,
            )
        return tuple(_check_text(key, each) for each in value)
    return None if value is None else _check_text(key, value)


def _check_text(key: str, value: object) -> str:
    if not isinstance(value, str):
        raise CatalogError(
            f"{key} in the catalogue's description is wrong.", allowed="Allowed: a text.", received=value
        )
    if SURROGATES.search(value):
        raise CatalogError(f"{key} in the catalogue's description is no UTF-8 text.", received=value)
    return value


def parse_schema(text: str, where: str) -> dict[str, object]:
    """Read a catalogue's description from TOML.

    Raises:
        CatalogError: The text is not TOML.
    """
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise CatalogError("The catalogue's description is nested too deeply.", received=where) from error
    except ValueError as error:
        # Beside TOMLDecodeError, which is one: numbers of thousands of digits.
        raise CatalogError(f"The catalogue's description is not TOML: {error}.", received=where) from error


def read_schema(manifest: Mapping[str, Any]) -> CatalogSchema:
    """Return what a catalogue's columns mean, from the manifest of `prepare`.

    Raises:
        WorkspaceError: It does not say so.
    """
    try:
        return CatalogSchema.from_values(manifest["schema"])
    except (CatalogError, KeyError, TypeError, ValueError, AttributeError) as error:
        hint = "Run `hangtag prepare CATALOG` with this workspace again."
        raise WorkspaceError("The manifest of prepared/ does not describe the catalogue.", hint=hint) from error
