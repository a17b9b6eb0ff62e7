"""The first rows of a catalogue, what its columns are taken for, and the description that a person corrects."""

import io
import re
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from PIL import Image

from hangtag.auditing.catalog_scores import find_brand
from hangtag.catalog.column_kinds import (
    find_kinds,
    format_toml,
    propose_description,
    propose_image_column,
    propose_pattern,
)
from hangtag.catalog.image_files import read_photograph
from hangtag.catalog.image_tree import UNEVEN_TAXONOMY
from hangtag.catalog.images import PhotographError
from hangtag.catalog.reader import FoundTable, RawCatalog, find_table_file, is_url, read_catalog
from hangtag.catalog.rejections import Candidate, check_rows
from hangtag.catalog.schema import CatalogSchema, UndescribedError
from hangtag.catalog.table import Rows, Table
from hangtag.check_summary import name_reason
from hangtag.config import PrepareConfig
from hangtag.errors import CatalogError
from hangtag.io import JsonObject, write_text
from hangtag.serving.middleware import ProblemError

# The rows that are shown, and the photographs of each.
ROWS, PHOTOGRAPHS = 10, 4
# The letters of a cell that are shown.
MAX_CELL = 120
# The categories of a level that are named.
EXAMPLES = 6
FLAG = re.compile(r"(^|[\s`('])--[a-z]|`hangtag ")
SHOWN_SIZE = (192, 144)
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


@dataclass
class Preview:
    """What a page shows of a catalogue before it is checked.

    Attributes:
        shown: The JSON values of the page.
        pictures: The photographs of the rows as PNG, by row and number.
    """

    shown: JsonObject
    pictures: dict[tuple[int, int], bytes] = field(default_factory=dict)


def read_preview(catalog: Path, description: Path, workspace: Path) -> Preview:
    """Read the first rows of a catalogue as `prepare` reads them.

    A table that is neither described nor recognised is described by what its values suggest, as `hangtag init` does.

    Args:
        catalog: The folder, archive or table.
        description: The file of the person's own description, which is written where the catalogue has none.
        workspace: The workspace of the catalogue.

    Raises:
        CatalogError: The catalogue cannot be read whatever its columns mean.
    """
    try:
        return _show(_read(catalog, description, workspace), description)
    except CatalogError as error:
        found = _find_table(catalog)
        if found is None:
            raise
        if isinstance(error.__cause__, UndescribedError) and not description.is_file():
            entries = propose_description(found.table, found.list_files())
            write_text(description, _format(found, entries))
            return read_preview(catalog, description, workspace)
        entries = _read_entries(description)
        message = _describe_lack(found, entries) or leave_out_flags(str(error))
        return Preview(_describe_incomplete(found, entries, message, is_own=description.is_file()))


def change_columns(
    catalog: Path, description: Path, workspace: Path, roles: Mapping[str, str], pattern: str | None
) -> None:
    """Write the description that a person has chosen by menus.

    Args:
        catalog: The folder, archive or table.
        description: The file to write.
        workspace: The workspace of the catalogue.
        roles: One of `ROLES` for every column of the table.
        pattern: Where photographs lie, with a column in braces; None or empty for columns of photographs.

    Raises:
        ProblemError: A role is not one, or several columns have one that only one can have.
        CatalogError: The table cannot be read.
    """
    found = require_table(catalog)
    try:
        raw = _read(catalog, description, workspace)
        entries = _list_entries(raw.schema)
    except CatalogError:
        entries = _read_entries(description)
    write_text(description, _format(found, _apply_roles(found, entries, roles, pattern)))


def leave_out_flags(message: str) -> str:
    """Return a message without the sentences that name a flag or a command: these pages have neither."""
    message = message.replace("Name one with --table.", "Choose one of the tables instead of the folder.")
    sentences = re.split(r"(?<=[.?!]) ", message)
    return " ".join(each for each in sentences if each.startswith("Received: ") or not FLAG.search(each))


def require_table(catalog: Path) -> FoundTable:
    """Return a catalogue's table.

    Raises:
        ProblemError: It has none whose columns could be chosen.
    """
    found = _find_table(catalog)
    if found is None:
        raise ProblemError(422, "no_table", "This catalogue has no table whose columns could be chosen.")
    return found


def _find_table(catalog: Path) -> FoundTable | None:
    try:
        return find_table_file(catalog)
    except CatalogError:
        return None


def _read(catalog: Path, description: Path, workspace: Path) -> RawCatalog:
    return read_catalog(catalog, description if description.is_file() else None, workspace=workspace)


def _format(found: FoundTable, entries: Mapping[str, object]) -> str:
    # Without the table's name: tomorrow's export may have another one.
    return format_toml("", entries, find_kinds(found.table), found.table.sheets)


def _read_entries(description: Path) -> dict[str, object]:
    try:
        return tomllib.loads(description.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _list_entries(schema: CatalogSchema) -> dict[str, object]:
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


def _apply_roles(
    found: FoundTable, entries: Mapping[str, object], roles: Mapping[str, str], pattern: str | None
) -> dict[str, object]:
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
    if "brand" not in by_role and find_brand(replace(CatalogSchema(), columns=columns)):
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


def _name_roles(schema: CatalogSchema, columns: Sequence[str]) -> dict[str, str]:
    """Return what each column of a table is taken for."""
    brand = find_brand(schema)
    roles = dict.fromkeys(columns, "not used")
    named = [
        (brand, "brand"),
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


def _describe_incomplete(found: FoundTable, entries: Mapping[str, object], message: str, *, is_own: bool) -> JsonObject:
    """Describe a table whose description lacks something, so that it can be chosen."""
    try:
        allowed = {key: value for key, value in entries.items() if key in CatalogSchema().__dict__}
        schema = CatalogSchema.from_values(allowed)
    except CatalogError:
        schema = CatalogSchema()
    schema = replace(schema, columns=tuple(found.table.columns))
    rows = [
        {"problem": "", "photographs": [], "cells": [cell[:MAX_CELL] for cell in row.values()]}
        for row in Rows(found.table.columns, found.table.cells)[:ROWS]
    ]
    return {
        "message": message,
        "table": found.name,
        "layout": "",
        "columns": _describe_columns(found, _name_roles(schema, found.table.columns)),
        "pattern": schema.image or "",
        "rows": rows,
        "readable": 0,
        "reasons": [],
        "products": len(found.table.rows),
        "categories": [],
        "is_own": is_own,
        "can_start": False,
    }


def _describe_lack(found: FoundTable, entries: Mapping[str, object]) -> str:
    """Return what has to be chosen before a catalogue can be read; nothing where that is not why it cannot."""
    if entries.get("id", CatalogSchema.id) not in found.table.columns:
        return "Which column has the id of each product? Choose it in the menu above the column."
    if not entries.get("levels"):
        return "Which column has the category? Choose it in the menu above the column; of several, the coarsest first."
    if not ({"image", "image_column"} & set(entries)):
        return (
            "Where are the photographs? Choose the column with their names, paths or addresses, or write how their "
            "paths are made of a column, as in photos/{id}.jpg."
        )
    return ""


def _describe_columns(found: FoundTable, roles: Mapping[str, str]) -> list[JsonObject]:
    return [
        {"name": each.column, "role": roles[each.column], "looks_like": each.detail} for each in find_kinds(found.table)
    ]


def _show(raw: RawCatalog, description: Path) -> Preview:
    """Describe a catalogue whose description is complete, with its first rows and their photographs."""
    schema = raw.schema.with_headings()
    names = dict(zip(schema.columns, raw.schema.columns, strict=True))
    made = schema.levels if schema.path_column else ()
    columns = [column for column in schema.columns if column not in made]
    kinds: dict[str, str] = {}
    if isinstance(raw.rows, Rows):
        cells = [list(raw.rows.cells[raw.rows.columns.index(names[column])]) for column in columns]
        kinds = {each.column: each.detail for each in find_kinds(Table(tuple(columns), cells))}
    pictures: dict[tuple[int, int], bytes] = {}
    rows = _show_rows(raw, [names[column] for column in columns], pictures)
    problems = Counter(row["problem"] for row in rows if row["problem"])
    roles = _name_roles(schema, columns)
    shown = {
        "message": "",
        "table": schema.table,
        "layout": "" if raw.schema.layout == "capstone" else raw.schema.layout,
        # The columns of a tree of photographs are its folders, which cannot be chosen.
        "columns": [
            {"name": each, "role": roles[each], "looks_like": kinds.get(each, "")} for each in columns if kinds
        ],
        "pattern": schema.image if schema.image and not schema.image_column else "",
        "rows": rows,
        "readable": sum(not row["problem"] for row in rows),
        "reasons": [{"count": count, "text": text} for text, count in problems.most_common()],
        "products": len(raw.rows),
        "categories": _count_categories(raw),
        "is_own": description.is_file(),
        "can_start": True,
    }
    return Preview(shown, pictures)


def _show_rows(raw: RawCatalog, columns: Sequence[str], pictures: dict[tuple[int, int], bytes]) -> list[JsonObject]:
    """Describe the first rows, and add their photographs to `pictures`."""
    candidates, rejected = check_rows(raw, ROWS)
    by_row: dict[int, list[Candidate]] = {}
    for each in candidates:
        by_row.setdefault(each.row, []).append(each)
    # Rows without a photograph to look at were rejected, in their order.
    reasons = iter(rejected)
    shown = []
    for position in range(min(ROWS, len(raw.rows))):
        row = raw.rows[position]
        photographs = [
            _show_photograph(raw, each, position, number, pictures)
            for number, each in enumerate(by_row.get(position, [])[:PHOTOGRAPHS])
        ]
        problem = ""
        if position not in by_row:
            problem = name_reason(next(reasons).code)
        elif all(each["problem"] for each in photographs):
            problem = photographs[0]["problem"]
        levels = [row[level] for level in raw.schema.levels]
        shown.append(
            {
                "problem": problem,
                "photographs": photographs,
                "category": [value for value in levels if not raw.schema.is_missing(value)],
                "cells": [row[column][:MAX_CELL] for column in columns],
            }
        )
    return shown


def _show_photograph(
    raw: RawCatalog, candidate: Candidate, position: int, number: int, pictures: dict[tuple[int, int], bytes]
) -> JsonObject:
    if is_url(candidate.path):
        return {"number": None, "problem": "", "note": "downloaded when the check begins"}
    try:
        photograph = read_photograph(raw.source, candidate.path, PrepareConfig(image_size=SHOWN_SIZE))
    except PhotographError as error:
        return {"number": None, "problem": name_reason(error.code), "note": error.reason}
    buffer = io.BytesIO()
    Image.fromarray(photograph.pixels).save(buffer, "PNG", compress_level=1)
    pictures[position, number] = buffer.getvalue()
    return {"number": number, "problem": "", "note": ""}


def _count_categories(raw: RawCatalog) -> list[JsonObject]:
    """Return how many categories each level has, and a few of them, the most frequent first."""
    headings = raw.schema.by_column
    found = []
    for level in raw.schema.levels:
        counted = Counter(row[level] for row in raw.rows if not raw.schema.is_missing(row[level]))
        found.append(
            {
                "level": headings.get(level, level),
                "count": len(counted),
                "examples": [value for value, _ in counted.most_common(EXAMPLES)],
            }
        )
    return found
