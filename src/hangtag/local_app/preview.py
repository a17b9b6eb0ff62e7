"""The first rows of a catalogue, what its columns are taken for, and the description that a person corrects."""

import io
import re
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from PIL import Image

from hangtag.auditing.catalog_words import name_reason
from hangtag.catalog.column_kinds import (
    find_kinds,
    format_toml,
    propose_description,
)
from hangtag.catalog.image_files import read_photograph
from hangtag.catalog.images import PhotographError
from hangtag.catalog.reader import FoundTable, RawCatalog, find_table_file, is_url, read_catalog
from hangtag.catalog.rejections import Candidate, check_rows
from hangtag.catalog.schema import CatalogSchema, UndescribedError
from hangtag.catalog.table import Rows, Table
from hangtag.config import PrepareConfig
from hangtag.errors import CatalogError
from hangtag.io import JsonObject, write_text
from hangtag.local_app.column_roles import apply_roles, list_entries, name_roles
from hangtag.serving.middleware import ProblemError

# The rows that are shown, and the photographs of each.
ROWS, PHOTOGRAPHS = 10, 4
# The letters of a cell that are shown.
MAX_CELL = 120
# The categories of a level that are named.
EXAMPLES = 6
FLAG = re.compile(r"(^|[\s`('])--[a-z]|`hangtag ")
SHOWN_SIZE = (192, 144)


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
        entries = list_entries(raw.schema)
    except CatalogError:
        entries = _read_entries(description)
    write_text(description, _format(found, apply_roles(found, entries, roles, pattern)))


def leave_out_flags(message: str) -> str:
    """Return a message without hints that name a flag or a command: these pages have neither.

    The first sentence says what is wrong, and stays.
    """
    message = message.replace("Name one with --table.", "Choose one of the tables instead of the folder.")
    first, *more = re.split(r"(?<=[.?!]) ", message)
    return " ".join([first, *(each for each in more if each.startswith("Received: ") or not FLAG.search(each))])


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
        "columns": _describe_columns(found, name_roles(schema, found.table.columns)),
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
    roles = name_roles(schema, columns)
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
