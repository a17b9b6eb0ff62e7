"""Read a public product taxonomy (Google's or Shopify's file), and the matches of categories that people chose."""

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from hangtag.catalog.encodings import decode_table
from hangtag.catalog.files import read_regular
from hangtag.catalog.missing_values import is_missing, strip_blank
from hangtag.catalog.table_files import parse_table_file
from hangtag.errors import CatalogError, SettingsError
from hangtag.io import expand_home, require_file, unguard_cell

# The columns of the table of matches beside those of the levels, and those that a person may change.
PROPOSED_ID, PROPOSED_PATH = "proposed_id", "proposed_path"
MAPPING_COLUMNS = ("items", PROPOSED_ID, PROPOSED_PATH, "confidence", "evidence", "candidates")
MAPPING_FLAG = "--taxonomy-mapping"
MAX_BYTES = 300_000_000
JOINT = " > "
ALLOWED = (
    "Allowed: Google's text file, with or without ids (`1604 - Apparel & Accessories > Clothing`), Shopify's "
    "categories.txt (`gid://shopify/TaxonomyCategory/aa-1 : Apparel & Accessories > Clothing`), or its categories.json."
)
_WITH_ID = re.compile(r"(?P<id>\d+)\s+-\s+(?P<path>.+)|(?P<gid>gid://\S+)\s+:\s+(?P<gid_path>.+)")
# `taxonomy-with-ids.de-DE.txt`, and the folder in `dist/de/categories.txt`.
_LANGUAGE = re.compile(r"(?:^|[._-])([a-z]{2})[-_][A-Z]{2}(?=[._]|$)")
_FOLDER_LANGUAGE = re.compile(r"([a-z]{2})(?:-[A-Z]{2})?")

# The values of a category, coarse to fine.
Category = tuple[str | None, ...]


@dataclass(frozen=True)
class PublicCategory:
    """A category of a public taxonomy.

    Attributes:
        id: The id; empty where the file has no ids.
        path: The names, coarse to fine.
    """

    id: str
    path: tuple[str, ...]

    def __str__(self) -> str:
        """Return the path as the file writes it."""
        return JOINT.join(self.path)


@dataclass(frozen=True)
class PublicTaxonomy:
    """The categories of a public taxonomy.

    Attributes:
        categories: All of them, in the order of the file.
        version: What the file says about itself: its comment lines, or the version in its JSON.
        language: The two letters of its language, where the file's name or folder says it; else empty.
    """

    categories: tuple[PublicCategory, ...]
    version: str = ""
    language: str = ""

    @cached_property
    def by_id(self) -> dict[str, PublicCategory]:
        """The categories by their ids; none where they have none."""
        return {category.id: category for category in self.categories if category.id}

    @cached_property
    def by_path(self) -> dict[str, PublicCategory]:
        """The categories by their paths, as texts."""
        return {str(category): category for category in self.categories}


def read_public_taxonomy(path: Path) -> PublicTaxonomy:
    """Read a taxonomy from a file.

    Lines of text that begin with `#` are comments. Every other line is a category, and all have an id or none.

    Args:
        path: A file in one of the formats of `ALLOWED`, in any encoding with any line ends.

    Raises:
        CatalogError: The file cannot be read, a line is no category, or a category stands twice.
    """
    try:
        data = read_regular(expand_home(path), MAX_BYTES)
    except (OSError, ValueError) as error:
        raise CatalogError(f"The taxonomy cannot be read: {error}.", allowed=ALLOWED, received=str(path)) from error
    if path.suffix.lower() in (".yml", ".yaml", ".xls", ".xlsx"):
        raise CatalogError("A taxonomy of this format is not read.", allowed=ALLOWED, received=str(path))
    text = decode_table(data, str(path)).text
    read = _read_json if text.lstrip().startswith(("{", "[")) else _read_lines
    version, found = read(text, path)
    for key in (lambda each: each.id, str):
        _refuse_doubles(found, key, path)
    return PublicTaxonomy(tuple(category for _, category in found), version, _find_language(path))


Found = list[tuple[str, PublicCategory]]


def _read_lines(text: str, path: Path) -> tuple[str, Found]:
    comments: list[str] = []
    found: Found = []
    has_ids = None
    for number, line in enumerate(text.splitlines(), start=1):
        if not (stripped := strip_blank(line)):
            continue
        if stripped.startswith("#"):
            comments.append(stripped.lstrip("# "))
            continue
        match = _WITH_ID.fullmatch(stripped)
        if has_ids is None:
            has_ids = match is not None
        if has_ids != (match is not None):
            raise _refuse(
                f"Line {number} of the taxonomy has {'no' if has_ids else 'an'} id, unlike those above.", line
            )
        category_id, names = (
            (match["id"] or match["gid"], match["path"] or match["gid_path"]) if match else ("", stripped)
        )
        parts = _split_path(names)
        if not all(parts):
            raise _refuse(f"Line {number} of the taxonomy has a category without a name.", line)
        found.append((f"Line {number}", PublicCategory(category_id, parts)))
    # Without ids any text would be a list of categories, but not one in which every category's parent is listed.
    if not found or (not has_ids and all(len(category.path) == 1 for _, category in found)):
        raise CatalogError("The taxonomy has no category paths.", allowed=ALLOWED, received=str(path))
    paths = {category.path for _, category in found}
    orphan = next((entry for entry in found if len(entry[1].path) > 1 and entry[1].path[:-1] not in paths), None)
    if orphan and not has_ids:
        raise _refuse(f"{orphan[0]} of the taxonomy is below a category that the file does not have.", str(orphan[1]))
    return "; ".join(comments), found


def _refuse(what: str, line: str) -> CatalogError:
    return CatalogError(what, allowed=ALLOWED, received=line[:200])


def _split_path(text: str) -> tuple[str, ...]:
    return tuple(map(strip_blank, text.split(">")))


def _read_json(text: str, path: Path) -> tuple[str, Found]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CatalogError(f"The taxonomy is not JSON: {error}.", allowed=ALLOWED, received=str(path)) from error
    version = str(content.get("version", "")) if isinstance(content, dict) else ""
    groups = content.get("verticals", [content]) if isinstance(content, dict) else [{"categories": content}]
    found: Found = []
    for group in groups if isinstance(groups, list) else []:
        entries = group.get("categories") if isinstance(group, dict) else None
        for entry in entries if isinstance(entries, list) else []:
            number = len(found) + 1
            names = [entry.get(key) if isinstance(entry, dict) else None for key in ("id", "full_name")]
            if not all(isinstance(name, str) and strip_blank(name) for name in names):
                raise _refuse(f"Category {number} of the taxonomy lacks `id` or `full_name`.", str(entry))
            found.append((f"Category {number}", PublicCategory(str(names[0]), _split_path(str(names[1])))))
    if not found:
        raise CatalogError("The taxonomy has no categories.", allowed=ALLOWED, received=str(path))
    return version, found


def _refuse_doubles(found: Found, key: Callable[[PublicCategory], str], path: Path) -> None:
    seen: set[str] = set()
    for where, category in found:
        if key(category) and key(category) in seen:
            raise CatalogError(
                f"{where} of the taxonomy has a category that stands above: {key(category)}.", received=str(path)
            )
        seen.add(key(category))


def _find_language(path: Path) -> str:
    if match := _LANGUAGE.search(path.name):
        return match[1]
    folder = _FOLDER_LANGUAGE.fullmatch(expand_home(path).absolute().parent.name)
    return folder[1] if folder else ""


def read_category_list(path: Path) -> PublicTaxonomy:
    """Read the list of categories that `map-taxonomy` wrote: the columns `id` and `path`.

    Raises:
        OSError: It cannot be read.
        ValueError: It is damaged.
    """
    require_file(path)
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, strict=True))
    try:
        cells = [(unguard_cell(row["id"]), unguard_cell(row["path"])) for row in rows]
    except (KeyError, TypeError) as error:
        raise ValueError("it lacks the columns id and path") from error
    return PublicTaxonomy(tuple(PublicCategory(each, _split_path(names)) for each, names in cells))


def read_named_file(path: Path, flag: str) -> bytes:
    """Return the content of a file that a flag names; raise a `SettingsError` if it cannot be read."""
    try:
        return read_regular(expand_home(path), MAX_BYTES)
    except OSError as error:
        raise SettingsError(
            f"The file of {flag} cannot be read.", received=f"{path} ({error.strerror or error})"
        ) from None


def read_matches(path: Path, flag: str, columns: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Read the rows of a table that a person edited, such as a copy of `audit/category_mapping.csv`.

    Args:
        path: A table of any format that hangtag reads.
        flag: The flag that names it, for messages.
        columns: The columns to read; others are ignored.

    Yields:
        The row's place, for messages, and its cells without white space around them.

    Raises:
        SettingsError: The file cannot be read, lacks a column, or has a line that is no row.
        CatalogError: It is no table.
    """
    table = parse_table_file(read_named_file(path, flag), str(path), {})
    if table.broken:
        number, reason = table.broken[0]
        raise SettingsError(f"Line {number} of {path} cannot be read: {reason}.", hint="Mend or remove the line.")
    if missing := [name for name in columns if name not in table.columns]:
        raise SettingsError(
            f"The file of {flag} has no column {missing[0]}.",
            allowed=f"Allowed: the columns {', '.join(columns)}.",
            received=", ".join(table.columns),
        )
    cells = [table.cells[table.columns.index(name)] for name in columns]
    for line, row in zip(table.lines, zip(*cells, strict=True), strict=True):
        yield f"Line {line} of {path}", [strip_blank(unguard_cell(cell)) for cell in row]


@dataclass(frozen=True)
class TaxonomyMapping:
    """The category of a public taxonomy that a person confirmed for each category of a catalogue.

    Attributes:
        matches: The match of each category, None where it has none.
        missing: The spellings of a missing cell.
    """

    matches: Mapping[Category, PublicCategory | None]
    missing: Sequence[str] = field(default=())

    def find(self, values: Sequence[str]) -> PublicCategory | None:
        """Return the match of an item by the delivered values of its levels, None where it has none."""
        return self.matches.get(self.make_category(values))

    def make_category(self, values: Sequence[str]) -> Category:
        """Return an item's category: its values without white space around them, None where one is missing."""
        return tuple(None if is_missing(value, self.missing) else strip_blank(value) for value in values)


def head_levels(headings: Sequence[str]) -> list[str]:
    """Return the headings of a catalogue's levels in the table of matches, none of which is one of its own columns."""
    return [f"category {heading}" if heading in MAPPING_COLUMNS else heading for heading in headings]


def read_taxonomy_mapping(
    path: Path, flag: str, headings: Sequence[str], taxonomy: PublicTaxonomy, missing: Sequence[str]
) -> TaxonomyMapping:
    """Read an edited copy of `taxonomy/mapping.csv`.

    Of `proposed_id` and `proposed_path` one is enough; both must name the same category. A row with neither has none.

    Args:
        path: The table.
        flag: The flag that names it.
        headings: The headings of the catalogue's levels, coarse to fine.
        taxonomy: The taxonomy whose categories may be named.
        missing: The spellings of a missing cell.

    Raises:
        SettingsError: The table cannot be read, or a line names no category of the taxonomy, or a category twice.
        CatalogError: It is no table.
    """
    matches: dict[Category, PublicCategory | None] = {}
    columns = [*head_levels(headings), PROPOSED_ID, PROPOSED_PATH]
    for where, (*values, category_id, names) in read_matches(path, flag, columns):
        category = tuple(value or None for value in values)
        if category in matches:
            received = JOINT.join(value or "" for value in category)
            raise SettingsError(f"{where} has a category that stands above.", received=received)
        matches[category] = _find_category(where, category_id, names, taxonomy)
    return TaxonomyMapping(matches, missing)


def _find_category(where: str, category_id: str, names: str, taxonomy: PublicTaxonomy) -> PublicCategory | None:
    by_id, by_path = taxonomy.by_id.get(category_id), taxonomy.by_path.get(JOINT.join(_split_path(names)))
    for column, received, found in ((PROPOSED_ID, category_id, by_id), (PROPOSED_PATH, names, by_path)):
        if received and found is None:
            raise SettingsError(
                f"{where} has a {column} that the taxonomy does not have.",
                allowed="Allowed: those of taxonomy/categories.csv; or an empty cell where there is none.",
                received=received,
            )
    if by_id and by_path and by_id != by_path:
        raise SettingsError(
            f"{where} names two categories: {PROPOSED_ID} is that of {by_id}.",
            received=f"{category_id}, {names}",
            hint="Empty the cell that is wrong; the other one is enough.",
        )
    return by_id or by_path
