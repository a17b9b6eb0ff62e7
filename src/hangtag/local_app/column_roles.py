"""What the columns of a table are taken for, and the entries of its description that a person chooses by menus."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from hangtag.catalog.column_kinds import propose_image_column, propose_pattern
from hangtag.catalog.image_tree import UNEVEN_TAXONOMY
from hangtag.catalog.reader import FoundTable
from hangtag.catalog.schema import CatalogSchema
from hangtag.serving.middleware import ProblemError

# What a column can be taken for; `category 1` is the coarsest.
MOST_LEVELS = 6
ROLES = (
    "id",
    "name",
    *(f"category {number}" for number in range(1, MOST_LEVELS + 1)),
    "category path",
    "photograph",
    "more photographs",
    "group",
    "brand",
    "not used",
)
# Entries that are found anew each time, or that only say how the levels were made.
DERIVED = ("table", "columns", "headings", "path_column", "label_name", "layout", "encoding", "separator", "escape")
PATH_SEPARATORS = (">", "›", "»", "|", "/")


def list_entries(schema: CatalogSchema) -> dict[str, object]:
    """Return all entries of a description by which a catalogue is read as it is read now."""
    headed = schema.with_headings()
    entries = {key: value for key, value in headed.to_json().items() if key not in DERIVED}
    entries["id"] = headed.id
    if headed.path_column:
        entries["levels"] = [headed.path_column]
    if entries.get("taxonomy") == UNEVEN_TAXONOMY:
        del entries["taxonomy"]
    if headed.label_name != "Cleaned class":
        entries["label_name"] = headed.label_name
    return entries


def apply_roles(
    found: FoundTable, entries: Mapping[str, object], roles: Mapping[str, str], pattern: str | None
) -> dict[str, object]:
    """Return the entries of a description with what a person has chosen by menus in place of what they said.

    Args:
        found: The table.
        entries: The entries so far.
        roles: One of `ROLES` for every column.
        pattern: Where photographs lie, with a column in braces; empty for nowhere, None to keep or propose one.

    Raises:
        ProblemError: A role is not one, or several columns have one that only one can have.
    """
    columns = found.table.columns
    if not set(roles.values()) <= set(ROLES) or not set(roles) <= set(columns):
        raise ProblemError(422, "wrong_role", "The table has changed. Load the page again.")
    by_role: dict[str, list[str]] = {}
    for column in columns:
        by_role.setdefault(roles.get(column, "not used"), []).append(column)
    for role, several in by_role.items():
        if len(several) > 1 and role not in ("more photographs", "not used"):
            named = " and ".join(several[:3])
            raise ProblemError(422, "twice", f"Only one column can be the {role}: {named} are several. Change one.")
    chosen = {key: value for key, value in entries.items() if key not in MENU_KEYS}
    for key in ("id", "name", "group", "brand"):
        if key in by_role:
            chosen[key] = by_role[key][0]
    if "brand" not in by_role and replace(CatalogSchema(), columns=columns).brand_column:
        # One that is called so would be taken.
        chosen["brand"] = ""
    chosen |= _choose_levels(found, entries, by_role)
    chosen |= _choose_photographs(found, entries, by_role, pattern)
    return chosen


# The entries that the menus decide; all others stay as they are.
MENU_KEYS = (
    *("id", "name", "group", "brand", "levels", "level_separator", "category_separator", "category"),
    *("image", "image_column", "image_separator", "other_image_columns"),
)


def _choose_levels(
    found: FoundTable, entries: Mapping[str, object], by_role: Mapping[str, Sequence[str]]
) -> dict[str, object]:
    levels = [by_role[role][0] for role in ROLES if role.startswith("category ") and role in by_role]
    if "category path" not in by_role:
        return {"levels": levels} if levels else {}
    if len(levels) > 1:
        message = "Choose either one column of category paths, or columns of categories, not both."
        raise ProblemError(422, "both", message)
    kept = {key: entries[key] for key in ("level_separator", "category_separator", "category") if key in entries}
    if kept.get("level_separator") and entries.get("levels") == levels:
        return {"levels": levels, **kept}
    cells = [cell for cell in _get_cells(found, levels[0]) if cell.strip()]
    separator = next((mark for mark in PATH_SEPARATORS if sum(mark in cell for cell in cells) * 2 > len(cells)), ">")
    return {"levels": levels, "level_separator": separator}


def _choose_photographs(
    found: FoundTable, entries: Mapping[str, object], by_role: Mapping[str, Sequence[str]], pattern: str | None
) -> dict[str, object]:
    more: dict[str, object] = {}
    if others := by_role.get("more photographs"):
        more["other_image_columns"] = list(others)
    if "photograph" in by_role:
        column = by_role["photograph"][0]
        if entries.get("image_column") == column:
            kept = {"image_separator": entries["image_separator"]} if "image_separator" in entries else {}
            return {"image_column": column, **kept, **more}
        return propose_image_column(column, _get_cells(found, column), list(found.list_files())) | more
    if pattern is None and "image" not in entries:
        # Nothing names photographs any more; their file names may be found by a column all the same.
        cells = dict(zip(found.table.columns, found.table.cells, strict=True))
        pattern = propose_pattern(list(found.table.columns), cells, found.list_files())
    pattern = str(entries.get("image", "")) if pattern is None else pattern.strip()
    return ({"image": pattern} if pattern else {}) | more


def _get_cells(found: FoundTable, column: str) -> list[str]:
    return found.table.cells[found.table.columns.index(column)]


def name_roles(schema: CatalogSchema, columns: Sequence[str]) -> dict[str, str]:
    """Return what each column of a table is taken for."""
    roles = dict.fromkeys(columns, "not used")
    named = [
        (schema.brand_column, "brand"),
        (schema.group, "group"),
        *((each, "more photographs") for each in schema.other_image_columns),
    ]
    named += [(schema.image_column, "photograph"), (schema.name, "name")]
    if schema.path_column or (schema.level_separator and len(schema.levels) == 1):
        named.append((schema.path_column or schema.levels[0], "category path"))
    else:
        named += [(level, f"category {number}") for number, level in enumerate(schema.levels, 1)]
    named.append((schema.id, "id"))
    return roles | {column: role for column, role in named if column in roles and column}
