"""Read a catalogue, whatever its layout: find its description, its table and its rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path, PurePosixPath

from hangtag.catalog.csv_parser import Repair, Rows, Table, parse_table
from hangtag.catalog.dialect import check_dialect
from hangtag.catalog.files import FileError, read_regular
from hangtag.catalog.schema import CatalogSchema, parse_schema
from hangtag.catalog.source import Source, open_source
from hangtag.errors import CatalogError

DESCRIPTION = "catalog.toml"
MAX_DESCRIPTION_BYTES = 1_000_000
MAX_TABLE_BYTES = 2_000_000_000
# A small archive must not fill the memory: tables shrink to a fifth or a tenth, repetitive ones to a thirtieth.
MAX_TABLE_RATIO, ANY_RATIO_BYTES = 40, 4_000_000
CAPSTONE_COLUMNS = (
    "id",
    "gender",
    "masterCategory",
    "subCategory",
    "articleType",
    "baseColour",
    "season",
    "year",
    "usage",
    "productDisplayName",
)
CAPSTONE: dict[str, object] = {
    "table": "styles.csv",
    "id": "id",
    "name": "productDisplayName",
    "levels": ["masterCategory", "subCategory", "articleType"],
    "attributes": ["gender", "baseColour", "season", "year", "usage"],
    "image": "images/{id}.jpg",
    "taxonomy": "capstone",
}


@dataclass(frozen=True)
class RawCatalog:
    """A catalogue's rows as delivered.

    Attributes:
        source: The files.
        base: The folder inside the source that photograph paths start from, empty or ending in `/`.
        schema: What the columns mean.
        rows: One mapping from column to text a row, in file order.
        repairs: The cells and lines of the table that were not read as they are written.
        repaired_rows: Positions in `rows` with separators in a cell that nobody quoted.
        broken: Lines that are no row, as (line number, reason).
        taxonomy_text: The content of the taxonomy file beside the table, where the description names one.
        passed_over: Folders that are not read, as (path, code, reason); of a tree, where folders are the rows' labels.
    """

    source: Source
    base: str
    schema: CatalogSchema
    rows: Sequence[Mapping[str, str]]
    repairs: list[Repair] = field(default_factory=list)
    repaired_rows: list[int] = field(default_factory=list)
    broken: list[tuple[int, str]] = field(default_factory=list)
    taxonomy_text: str = ""
    passed_over: list[tuple[str, str, str]] = field(default_factory=list)


def read_catalog(
    catalog: Path,
    schema_file: Path | None = None,
    overrides: Mapping[str, object] | None = None,
    *,
    workspace: Path | None = None,
) -> RawCatalog:
    """Read a catalogue: a folder, a `.zip`, or a `.csv` file with photographs beside it.

    It is described by `schema_file`, or by `catalog.toml` inside it, or recognised: the capstone's layout by
    the ten columns of its table, a tree by its folders of photographs. `overrides` change single entries. A workspace
    in its folder is no part of it, `workspace` even before anything is prepared there.

    Raises:
        CatalogError: The catalogue is missing, not readable, or not described well enough.
    """
    values = {key: value for key, value in (overrides or {}).items() if value is not None}
    if catalog.is_file() and catalog.suffix.lower() in (".csv", ".tsv", ".txt"):
        values["table"] = catalog.name
        catalog = catalog.parent
    source = open_source(catalog, workspace)
    described, base = _find_description(source, schema_file)
    values = described | values
    table_name = values.get("table") or _find_table(source)
    if not table_name:
        rows, schema = read_tree(source, values)
        passed_over = [(path, error.code, error.reason) for path, error in source.passed_over()]
        return RawCatalog(source, "", schema, rows, passed_over=passed_over)
    path = _find_shallowest(source, str(table_name)) if base is None else base + str(table_name)
    dialect = check_dialect(str(values.get("separator") or ""), str(values.get("escape") or ""))
    table = parse_table(read_table(source, path), path, dialect.separator, dialect.escape)
    if not described and set(CAPSTONE_COLUMNS) <= set(table.columns):
        values = CAPSTONE | values
    return _build_catalog(source, path, table, values)


def _build_catalog(source: Source, path: str, table: Table, values: dict[str, object]) -> RawCatalog:
    schema = CatalogSchema.from_values(values | {"table": PurePosixPath(path).name}).check()
    base = path[: len(path) - len(schema.table)]
    taxonomy = ""
    if schema.taxonomy.endswith(".toml"):
        path = base + schema.taxonomy
        taxonomy = _decode_text(_read_bytes(source, path, MAX_DESCRIPTION_BYTES), path)
    schema = schema.with_columns(table.columns)
    rows = Rows(schema.columns, table.cells)
    return RawCatalog(source, base, schema, rows, table.repairs, table.repaired_rows, table.broken, taxonomy)


def _find_description(source: Source, schema_file: Path | None) -> tuple[dict[str, object], str | None]:
    """Return the description's entries and, if it is inside the catalogue, its folder."""
    if schema_file is not None:
        try:
            data = read_regular(schema_file, MAX_DESCRIPTION_BYTES)
        except OSError as error:
            raise CatalogError(
                f"The catalogue's description cannot be read: {error}.", received=str(schema_file)
            ) from error
        return parse_schema(_decode_text(data, str(schema_file)), str(schema_file)), None
    paths = [name for name in source.names() if PurePosixPath(name).name == DESCRIPTION]
    if not paths:
        return {}, None
    path = min(paths, key=_count_parents)
    text = _decode_text(_read_bytes(source, path, MAX_DESCRIPTION_BYTES), path)
    return parse_schema(text, path), path[: len(path) - len(DESCRIPTION)]


def _find_table(source: Source) -> str:
    """Return `styles.csv`, or the only CSV at the shallowest depth; empty for a tree of photographs."""
    tables = [name for name in source.names() if PurePosixPath(name).suffix.lower() in (".csv", ".tsv")]
    capstone = [name for name in tables if PurePosixPath(name).name == "styles.csv"]
    if capstone:
        return min(capstone, key=_count_parents)
    shallow = [name for name in tables if _count_parents(name) == min(map(_count_parents, tables))]
    if len(shallow) > 1:
        raise CatalogError(
            "The catalogue has several tables.", hint="Name one with --table.", received=sorted(shallow)[:5]
        )
    return shallow[0] if shallow else ""


def _find_shallowest(source: Source, name: str) -> str:
    """Find a file by its path, or by that path below any folder."""
    found = [each for each in source.names() if each == name or each.endswith(f"/{name}")]
    if not found:
        raise CatalogError("The catalogue has no such table.", received=name, hint="Name it with --table.")
    return min(found, key=_count_parents)


def read_table(source: Source, path: str) -> bytes:
    """Read a catalogue's table: up to 2 GB, and in an archive up to 4 MB or forty times what it is compressed to.

    Raises:
        CatalogError: It is not there, is no regular file, is damaged, encrypted or too large.
    """
    try:
        unpacked = max(ANY_RATIO_BYTES, MAX_TABLE_RATIO * source.packed_size(path))
    except FileError as error:
        raise _make_error(path, error) from error
    hint = "Unpack the archive and name the folder, if the table is right." if unpacked < MAX_TABLE_BYTES else ""
    return _read_bytes(source, path, min(MAX_TABLE_BYTES, unpacked), hint)


def _read_bytes(source: Source, path: str, limit: int, hint: str = "") -> bytes:
    try:
        return source.read(path, limit)
    except FileError as error:
        raise _make_error(path, error, hint if error.code == "too_many_bytes" else "") from error


def _make_error(path: str, error: FileError, hint: str = "") -> CatalogError:
    return CatalogError(f"A file of the catalogue cannot be read: {error.reason}.", received=path, hint=hint)


def _decode_text(data: bytes, where: str) -> str:
    """Return the text of a description or a taxonomy, with or without a byte order mark."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CatalogError("A file that describes the catalogue is no UTF-8 text.", received=where) from error


def _count_parents(name: str) -> tuple[int, str]:
    return name.count("/"), name


# Read a tree of photographs in which the folders are the categories.

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
MAX_LEVELS = 50
SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


def read_tree(source: Source, values: Mapping[str, object]) -> tuple[list[dict[str, str]], CatalogSchema]:
    """Return a row for each photograph: its path, its folders as label levels, and its split folder if any.

    Folders above the categories that hold everything are passed over; `train/`, `validation/` and `test/` (and
    their usual other spellings) are honoured as splits where every photograph lies in one. One folder deep
    gives the level `category`, deeper trees give `level_1`, `level_2`, ... as far as all photographs go.

    Raises:
        CatalogError: There are no photographs in folders, or they lie in too many of them.
    """
    paths = sorted(name for name in source.names() if PurePosixPath(name).suffix.lower() in SUFFIXES)
    folders = _strip_common([PurePosixPath(path).parts[:-1] for path in paths])
    has_splits = bool(folders) and all(each and each[0].lower() in SPLIT_FOLDERS for each in folders)
    classes = [each[1:] if has_splits else each for each in folders]
    depth = min(map(len, classes), default=0)
    if depth == 0:
        raise CatalogError(
            "The catalogue has no table, and its photographs are not sorted into folders by category.",
            allowed="Allowed: styles.csv with images/, a table described in catalog.toml, or a folder a category.",
            received=str(source.path),
        )
    if depth > MAX_LEVELS:
        raise CatalogError(
            "The photographs lie in too many folders, one in the other.",
            allowed=f"Allowed: {MAX_LEVELS} levels.",
            received=depth,
        )
    levels = ["category"] if depth == 1 else [f"level_{number + 1}" for number in range(depth)]
    rows = []
    for path, folder, names in zip(paths, folders, classes, strict=True):
        row = {"id": str(PurePosixPath(path).with_suffix("")), "path": path}
        row |= dict(zip(levels, names, strict=False))
        rows.append(row | ({"given": SPLIT_FOLDERS[folder[0].lower()]} if has_splits else {}))
    described: dict[str, object] = {
        "levels": levels,
        "image_column": "path",
        "split": "given" if has_splits else None,
    }
    schema = CatalogSchema.from_values(described | dict(values))
    return _name_apart(rows), schema.with_columns(tuple(rows[0]))


def _strip_common(folders: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Remove leading folders that all photographs share, as a .zip of one folder has."""
    if not folders:
        return folders
    # What the first and the last in order share, all between them share.
    ends = zip(min(folders), max(folders), strict=False)
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], ends))
    passed = max(0, min(shared, min(map(len, folders)) - 1))
    return [each[passed:] for each in folders]


def _name_apart(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """Keep the ending in the id where `a.jpg` and `a.png` lie side by side."""
    seen: set[str] = set()
    for row in rows:
        if row["id"] in seen:
            row["id"] = row["path"]
        seen.add(row["id"])
    return rows


# The prepared catalogue on disk: its items, its packed pixels and what its columns mean.
