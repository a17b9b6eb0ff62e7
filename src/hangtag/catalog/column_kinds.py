"""Describe what the columns of a table look like, and propose a catalogue's description to look over."""

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from hangtag.catalog.cell_text import read_list
from hangtag.catalog.images import PICTURE_SUFFIXES
from hangtag.catalog.missing_values import is_missing
from hangtag.catalog.source_tables import FILE_NAME, SPLIT_PATH
from hangtag.catalog.table import Table
from hangtag.errors import CatalogError

# Rows that are looked at.
SAMPLE = 5_000
# Words of headings in English, German, French, Spanish, Italian, Portuguese, Dutch and Polish.
ID_NAMES = re.compile(
    r"(^|[^a-z])(id|sku|handle|code|number|no|nr|ean|gtin|article|item|product|art(ikel)?-?(nr|nummer)|artikel|nummer"
    r"|r[eé]f|r[eé]f[eé]rence|referencia|rif|codice|c[oó]digo|kod|indeks)([^a-z]|$)",
    re.I,
)
NAME_NAMES = re.compile(
    r"name|title|product|description|text|bezeichnung|titel|titre|titolo|t[ií]tulo|^nom|désignation|libell|naam|nazwa",
    re.I,
)
LEVEL_NAMES = re.compile(
    r"categor|cat[eé]gor|kategor|typ|tipo|kind|art$|gr[ou]*pp?|class|klass|label|department|abteilung|section|secci[oó]n"
    r"|article|level|division|rubri|famil|rayon|reparto|afdeling",
    re.I,
)
# What may stand between the photographs of a cell.
LIST_MARKS = ("|", ";", ",", "\n", " ")
MAX_LISTED_COLUMNS = 20
# A description is certain only if it finds more than this share of the photographs.
MOST_FOUND = 0.9
_NUMBER = re.compile(r"-?[\d.,]+\s?([A-Z]{3}|[€$£])?")


@dataclass(frozen=True)
class ColumnKind:
    """What a column looks like.

    Attributes:
        column: Its heading.
        kind: `empty`, `photographs`, `category paths`, `identifier`, `numbers`, `categories` or `text`.
        detail: A few words for people.
        num_distinct: How many different values it has.
    """

    column: str
    kind: str
    detail: str
    num_distinct: int


def find_kinds(table: Table) -> list[ColumnKind]:
    """Return what each column of a table looks like."""
    return [_find_kind(column, cells[:SAMPLE]) for column, cells in zip(table.columns, table.cells, strict=True)]


def _find_kind(column: str, cells: Sequence[str]) -> ColumnKind:
    values = [cell.strip() for cell in cells if not is_missing(cell)]
    distinct = set(values)
    example = next(iter(values), "")[:40]
    count = len(distinct)

    if not values:
        return ColumnKind(column, "empty", "no values", 0)
    is_unique = count == len(cells) and _share(" " in value for value in values) < 0.1
    is_category = 2 <= count <= max(2, len(values) * 0.5) and max(map(len, distinct)) <= 60
    kinds = (
        ("photographs", _share(map(is_picture, values)) > 0.8, f"paths or addresses of photographs: {example}"),
        ("category paths", _share(map(_is_path, values)) > 0.5, f"paths of categories: {example}"),
        ("identifier", is_unique, f"different in every row: {example}"),
        ("numbers", _share(map(_NUMBER.fullmatch, values)) > 0.9, f"numbers: {example}"),
        ("categories", is_category, f"{count:,} categories: {', '.join(sorted(distinct)[:3])}"),
        ("text", True, f"text: {example}"),
    )
    kind, detail = next((kind, detail) for kind, fits, detail in kinds if fits)
    return ColumnKind(column, kind, detail, count)


def is_picture(value: str) -> bool:
    """Return whether a cell names a photograph, or several, by a path or a URL."""
    listed = read_list(value)
    first = (listed[0] if listed else "") if listed is not None else re.split(r"[,;|]\s*(?=\S)", value)[0].strip()
    return PurePosixPath(first.split("?")[0]).suffix.lower() in PICTURE_SUFFIXES


def find_list_mark(cell: str) -> str:
    """Return what stands between the names of several photographs in a cell; nothing where it is one, or no list."""
    if read_list(cell) is not None or "://" in cell:
        # Such lists are read without being described.
        return ""
    parts = {mark: [part.strip() for part in cell.strip().split(mark)] for mark in LIST_MARKS if mark in cell.strip()}
    return next((mark for mark, each in parts.items() if all(map(_has_picture_suffix, each))), "")


def _has_picture_suffix(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in PICTURE_SUFFIXES


def find_unread_pictures(table: Table, named: Collection[str]) -> list[str]:
    """Return the columns of photographs that a description does not name."""
    # Of the tables of splits, the paths are made of the names of the files.
    used = {*named, *([FILE_NAME] if SPLIT_PATH in named else [])}
    others = [column for column in table.columns if column not in used]
    cells = dict(zip(table.columns, table.cells, strict=True))
    return [each for each in others if _find_kind(each, cells[each][:SAMPLE]).kind == "photographs"]


def _is_path(value: str) -> bool:
    return " > " in value or (read_list(value) is not None and not is_picture(value))


def _share(found: Iterable[object]) -> float:
    flags = [bool(each) for each in found]
    return sum(flags) / len(flags) if flags else 0.0


def propose_description(table: Table, files: Iterable[str]) -> dict[str, object]:
    """Return entries of a catalogue's description that a table's values suggest; what is not found is left out.

    Args:
        table: The table.
        files: The paths of the catalogue's files below the table's folder.
    """
    kinds = find_kinds(table)
    cells = dict(zip(table.columns, table.cells, strict=True))
    proposed: dict[str, object] = {"encoding": table.encoding} if table.encoding else {}
    ids = [each for each in kinds if each.kind in ("identifier", "numbers") and each.num_distinct == len(table.rows)]
    ids = [each for each in ids if ID_NAMES.search(each.column)] or [each for each in ids if each.kind == "identifier"]
    if ids:
        proposed["id"] = ids[0].column
    names = [each for each in kinds if each.kind == "text" and NAME_NAMES.search(each.column)]
    if names:
        proposed["name"] = names[0].column
    proposed |= _propose_levels(kinds, cells)
    files = list(files)
    pictures = [each.column for each in kinds if each.kind == "photographs"]
    if pictures:
        proposed |= propose_image_column(pictures[0], cells[pictures[0]], files)
        if pictures[1:] and "image_column" in proposed:
            proposed["other_image_columns"] = pictures[1:]
    elif pattern := propose_pattern([each.column for each in (*ids, *kinds)], cells, files):
        proposed["image"] = pattern
    return proposed


def find_certain_description(table: Table, files: Sequence[str]) -> dict[str, object] | None:
    """Return the proposed description of a table if its values leave no doubt what the columns mean, else None.

    That is: a column that is called like an id, or the only one with different values; one column of category paths, or
    columns called like categories that are all levels of each other; and one way to find nearly all photographs.

    Args:
        table: The table.
        files: The paths of the catalogue's files below the table's folder.
    """
    proposed, kinds = propose_description(table, files), find_kinds(table)
    if "id" not in proposed or "levels" not in proposed or not {"image", "image_column"} & set(proposed):
        return None
    unique = [each for each in kinds if each.kind in ("identifier", "numbers") and each.num_distinct == len(table.rows)]
    by_kind = {kind: [each.column for each in kinds if each.kind == kind] for kind in ("category paths", "photographs")}
    called = [each.column for each in kinds if each.kind == "categories" and LEVEL_NAMES.search(each.column)]
    levels = by_kind["category paths"] or called
    is_certain = (
        (len(unique) == 1 or bool(ID_NAMES.search(str(proposed["id"]))))
        and set(levels) == set(_as_list(proposed["levels"]))
        and len(by_kind["photographs"]) <= 1
        and _find_share_of_photographs(table, proposed, files) > MOST_FOUND
    )
    return proposed if is_certain else None


def _as_list(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def _find_share_of_photographs(table: Table, proposed: Mapping[str, object], files: Sequence[str]) -> float:
    """Return the share of rows whose photograph is among the files, or is named by an address."""
    cells = dict(zip(table.columns, table.cells, strict=True))
    pattern, there = str(proposed.get("image", "")), set(files)
    if not pattern:
        values = [cell.strip() for cell in cells[str(proposed["image_column"])][:SAMPLE]]
        mark = str(proposed.get("image_separator", ""))
        firsts = [value.split(mark)[0].strip() if mark else value for value in values]
        return _share("://" in value or value in there or read_list(value) is not None for value in firsts)
    column = pattern[pattern.index("{") + 1 : pattern.index("}")]
    return _share(pattern.replace(f"{{{column}}}", cell.strip()) in there for cell in cells[column][:SAMPLE])


def propose_image_column(column: str, cells: Sequence[str], files: Sequence[str]) -> dict[str, object]:
    """Return the column of photographs, or a pattern where its values are the names of files in a folder."""
    by_name = {PurePosixPath(path).name: PurePosixPath(path) for path in files}
    values = [value.strip() for value in cells[:SAMPLE] if value.strip() and "://" not in value]
    found = [by_name[value] for value in values if value in by_name]
    if len(found) > len(values) / 2 and str(found[0].parent) != ".":
        return {"image": f"{found[0].parent}/{{{column}}}"}
    marks = Counter(filter(None, map(find_list_mark, cells[:SAMPLE])))
    described: dict[str, object] = {"image_column": column}
    return described | ({"image_separator": marks.most_common(1)[0][0]} if marks else {})


def _propose_levels(kinds: Sequence[ColumnKind], cells: Mapping[str, Sequence[str]]) -> dict[str, object]:
    """Return the columns called like categories from coarse to fine, each of which says which the coarser one has."""
    paths = [each.column for each in kinds if each.kind == "category paths"]
    if paths:
        return {"levels": [paths[0]], "level_separator": ">"}
    likely = [each for each in kinds if each.kind == "categories" and LEVEL_NAMES.search(each.column)]
    levels: list[str] = []
    for each in sorted(likely, key=lambda kind: -kind.num_distinct):
        if not levels or _is_coarser(cells[each.column], cells[levels[0]]):
            levels.insert(0, each.column)
    return {"levels": levels} if levels else {}


def _is_coarser(coarse: Sequence[str], fine: Sequence[str]) -> bool:
    """Return whether nearly all items of a fine category have one coarse category."""
    pairs = list(zip(fine[:SAMPLE], coarse[:SAMPLE], strict=True))
    first: dict[str, str] = {}
    return _share(first.setdefault(one, other) == other for one, other in pairs) > 0.9


def propose_pattern(columns: Sequence[str], cells: Mapping[str, Sequence[str]], files: Iterable[str]) -> str | None:
    """Return a pattern by which most rows have a photograph: a folder, a column in braces, and a suffix."""
    pictures = [PurePosixPath(path) for path in files]
    pictures = [path for path in pictures if path.suffix.lower() in PICTURE_SUFFIXES]
    by_stem = {path.stem: path for path in pictures}
    for column in columns:
        values = [value.strip() for value in cells[column][:SAMPLE] if value.strip()]
        found = [by_stem[value] for value in values if value in by_stem]
        if len(found) > len(values) / 2:
            folder = "" if str(found[0].parent) == "." else f"{found[0].parent}/"
            return f"{folder}{{{column}}}{found[0].suffix}"
    return None


# What a column looks like that an entry may name though its heading does not say so.
LIKELY = {"id": "identifier", "name": "text", "levels": "categories"}
# The flag of each entry that is proposed.
FLAGS = {
    "id": "--id-column",
    "name": "--name-column",
    "levels": "--levels",
    "level_separator": "--level-separator",
    "image": "--image",
    "image_column": "--image-column",
    "image_separator": "--image-separator",
    "other_image_columns": "--other-image-columns",
    "group": "--group-column",
    "brand": "--brand-column",
    "encoding": "--encoding",
}


def format_flags(proposed: Mapping[str, object]) -> str:
    """Return a proposal as flags of `hangtag prepare`, quoted for a shell."""
    texts = {key: ",".join(value) if isinstance(value, list) else str(value) for key, value in proposed.items()}
    return " ".join(f"{FLAGS[key]} '{text}'" for key, text in texts.items())


def refuse_without_rows(name: str) -> CatalogError:
    """Return an error for a table of headings alone, which no description can help."""
    return CatalogError(
        "The table has no rows below its headings.", received=name, hint="Export it again, with the products."
    )


def explain_undescribed(
    what: str, name: str, table: Table, files: Iterable[str], given: Collection[str], *, has_description: bool
) -> CatalogError:
    """Return an error that lists a table's columns, with flags that its values suggest.

    Args:
        what: What the description lacks.
        name: The table's file name.
        table: The table.
        files: The paths of the catalogue's files below the table's folder.
        given: The entries that the user has described.
        has_description: Whether the catalogue has a `catalog.toml`.
    """
    kinds = find_kinds(table)
    missing = {key: value for key, value in propose_description(table, files).items() if key not in given}
    columns = "; ".join(f"{kind.column} ({kind.detail})" for kind in kinds[:MAX_LISTED_COLUMNS])
    more = f"; and {len(kinds) - MAX_LISTED_COLUMNS} more" if len(kinds) > MAX_LISTED_COLUMNS else ""
    of = f"the sheet {table.sheets[0]!r} of {name}" if table.sheets else name
    hints = [f"The values suggest: {format_flags(missing)}."] if missing else []
    if table.sheets:
        hints.append(f"Other sheets, for --sheet: {', '.join(map(repr, table.sheets[1:]))}.")
    if has_description:
        hints.append("Complete catalog.toml, where a # before a line makes it a note.")
    else:
        hints.append("`hangtag init` writes a catalog.toml to look over.")
    return CatalogError(what, allowed=f"The columns of {of}: {columns}{more}.", hint=" ".join(hints))


def format_toml(
    table_name: str, proposed: Mapping[str, object], kinds: Sequence[ColumnKind], sheets: Sequence[str] = ()
) -> str:
    """Return a proposal as `catalog.toml`, with what is missing and what every column looks like as comments.

    An empty name of the table leaves it open which table it describes.
    """
    lines = ["# What the columns of this catalogue mean. Look it over: it was proposed from the values."]
    lines += [
        "# Remove the # before a line that is right. levels are the columns of categories, from coarse to fine.",
        "",
    ]
    if table_name:
        lines.append(f"table = {json.dumps(table_name, ensure_ascii=False)}")
    if sheets:
        others = ", ".join(sheets[1:])
        lines.append(re.sub(r"\s", " ", f"sheet = {json.dumps(sheets[0], ensure_ascii=False)}  # others: {others}"))
    for key in FLAGS:
        if key in proposed:
            lines.append(f"{key} = {json.dumps(proposed[key], ensure_ascii=False)}")
        elif key in ("id", "name", "levels") or (key == "image" and "image_column" not in proposed):
            likely = [each.column for each in kinds if each.kind == LIKELY.get(key)]
            value = likely if key == "levels" else likely[0] if likely else None
            written = json.dumps(value, ensure_ascii=False) if value else "not found"
            lines.append(f"# {key} = {written}")
    lines += [
        f"{key} = {json.dumps(value, ensure_ascii=False)}"
        for key, value in proposed.items()
        if key not in FLAGS and key not in ("table", "sheet")
    ]
    lines += ["", "# The columns:"]
    lines += [re.sub(r"\s", " ", f"#   {each.column}: {each.detail}") for each in kinds]
    return "\n".join([*lines, ""])
