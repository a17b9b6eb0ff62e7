"""Recognise the tables of shop systems by their headings, and describe what their columns mean."""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

from hangtag.catalog.missing_values import is_missing
from hangtag.catalog.schema import CatalogSchema
from hangtag.catalog.table import Table
from hangtag.errors import CatalogError

# Columns that a shop's table may lack.
OPTIONAL = ("name", "group")
Counted = dict[str, int]


@dataclass(frozen=True)
class Layout:
    """The table of a shop system.

    Attributes:
        name: Its name, for `--layout`.
        headings: Columns that every such table has.
        description: The entries of a catalogue's description.
        categories: Columns that may hold the categories, as entries of a description, of which one counts; none where
            `description` names the only one.
        variants: Other headings of the same columns, by the usual one: those of another version or language.
        public_categories: The column in which the shop expects the categories of a public taxonomy, by `google` and
            `shopify`; none where it is the usual one.
        any_spelling: Whether headings may have capitals, spaces in place of underscores, and the prefix `g:`.
    """

    name: str
    headings: frozenset[str]
    description: Mapping[str, Any]
    categories: tuple[Mapping[str, Any], ...] = ()
    variants: tuple[Mapping[str, str], ...] = ()
    any_spelling: bool = False
    public_categories: Mapping[str, str] = field(default_factory=dict)

    def find_names(self, columns: Sequence[str]) -> dict[str, str] | None:
        """Return a table's heading of each column by its usual one; None for another system's table."""
        spelled = {self._spell(column): column for column in reversed(columns)}
        for variant in ({}, *self.variants):
            wanted = {name: variant.get(name, name) for name in self._list_columns()}
            names = {
                name: spelled[self._spell(other)] for name, other in wanted.items() if self._spell(other) in spelled
            }
            choices = [choice for choice in self.categories if names.keys() >= set(choice["levels"])]
            if self.headings <= names.keys() and (choices or not self.categories):
                return names
        return None

    def list_headings(self) -> Iterator[frozenset[str]]:
        """Yield the columns of such a table in each variant, with one of the columns of categories."""
        for variant in ({}, *self.variants):
            for choice in self.categories or ({"levels": ()},):
                yield frozenset(variant.get(name, name) for name in (*self.headings, *choice["levels"]))

    def _list_columns(self) -> set[str]:
        named = CatalogSchema.from_values(self.description).named_columns
        skipped = str(self.description.get("skip_rows", "")).partition("=")[0]
        levels = [level for choice in self.categories for level in choice["levels"]]
        return {*self.headings, *named, *levels, skipped} - {""}

    def _spell(self, heading: str) -> str:
        if not self.any_spelling:
            return heading
        return " ".join(heading.casefold().removeprefix("g:").replace("_", " ").split())


@cache
def list_layouts() -> tuple[Layout, ...]:
    """Return the shipped layouts, those with the most headings first."""
    folder = resources.files("hangtag.catalog") / "layouts"
    layouts = []
    for entry in folder.iterdir():
        if entry.name.endswith(".toml"):
            content = tomllib.loads(entry.read_text(encoding="utf-8"))
            content["headings"] = frozenset(content["headings"])
            content |= {key: tuple(content.get(key, ())) for key in ("categories", "variants")}
            layouts.append(Layout(entry.name.removesuffix(".toml"), **content))
    return tuple(sorted(layouts, key=lambda layout: (-len(next(layout.list_headings())), layout.name)))


def list_headings() -> list[frozenset[str]]:
    """Return the columns by which the header of a shop system's table is found."""
    return [headings for layout in list_layouts() for headings in layout.list_headings()]


def find_layout(columns: Sequence[str], name: str = "") -> Layout | None:
    """Return the layout that a table has, by its headings, or the one that is named.

    Raises:
        CatalogError: There is no layout of that name, or the table lacks its headings.
    """
    if not name:
        return next((layout for layout in list_layouts() if layout.find_names(columns)), None)
    named = next((layout for layout in list_layouts() if layout.name == name), None)
    if named is None:
        names = ", ".join(sorted(layout.name for layout in list_layouts()))
        raise CatalogError("There is no such layout.", allowed=f"Allowed: {names}.", received=name)
    if named.find_names(columns) is None:
        missing = min((headings - set(columns) for headings in named.list_headings()), key=len)
        raise CatalogError(
            f"The table has not the columns of the layout {name}.",
            allowed=f"Its columns: {', '.join(columns)}.",
            received=f"without {', '.join(sorted(missing))}",
            hint="Describe the table with --id-column, --levels and --image-column, or in catalog.toml.",
        )
    return named


def describe_layout(layout: Layout, table: Table, levels: Sequence[str] = ()) -> tuple[dict[str, object], Counted]:
    """Return the entries of a layout's description for a table, without optional columns that it lacks.

    Where several columns may hold the categories, one counts for all products, so that two vocabularies never mix: the
    first in which at least half of the products have a category that have any, else that in which most have one.

    Args:
        layout: One that the table has.
        table: The table.
        levels: The columns of categories, where the user has named them.

    Returns:
        The entries, and the number of products that have a category in another column alone, by its heading.
    """
    names = layout.find_names(table.columns) or {}
    entries = dict(layout.description)
    only_elsewhere: Counted = {}
    if layout.categories:
        choices = [choice for choice in layout.categories if names.keys() >= set(choice["levels"])]
        named = next(
            (choice for choice in choices if levels and [names[each] for each in choice["levels"]] == [*levels]), {}
        )
        if not levels:
            named, only_elsewhere = _choose_categories(choices, names, table, names[str(entries["id"])])
        entries |= named
    if others := [each for each in entries.pop("other_image_columns", ()) if each in names]:
        entries["other_image_columns"] = others
    described = {
        key: _rename(key, value, names) for key, value in entries.items() if key not in OPTIONAL or value in names
    }
    return described | {"layout": layout.name}, only_elsewhere


def _rename(key: str, value: object, names: Mapping[str, str]) -> object:
    """Return an entry of a description with the table's own headings."""
    if key == "skip_rows":
        column, _, skipped = str(value).partition("=")
        return f"{names.get(column, column)}={skipped}"
    if key in ("levels", "attributes", "other_image_columns") and isinstance(value, list):
        return [names.get(each, each) for each in value]
    return names.get(str(value), value) if key in ("id", "name", "group", "image_column") else value


def _choose_categories(
    choices: Sequence[Mapping[str, Any]], names: Mapping[str, str], table: Table, id_column: str
) -> tuple[Mapping[str, Any], Counted]:
    """Return the column of categories that counts, and how many products have a category in each other one alone."""
    cells = dict(zip(table.columns, table.cells, strict=True))
    with_one: list[set[str]] = []
    for choice in choices:
        values = cells[names[choice["levels"][0]]]
        with_one.append({item for item, value in zip(cells[id_column], values, strict=True) if not is_missing(value)})
    most = max(map(len, with_one))
    half = len(set().union(*with_one)) / 2
    index = next((index for index, items in enumerate(with_one) if len(items) >= half), -1)
    if index < 0:
        index = next(index for index, items in enumerate(with_one) if len(items) == most)
    others = {
        names[choice["levels"][0]]: len(items - with_one[index])
        for choice, items in zip(choices, with_one, strict=True)
        if items - with_one[index]
    }
    return choices[index], others
