"""Read a catalogue, whatever its layout: find its description, its table and its rows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from hangtag.catalog.csv_parser import Table, parse_table
from hangtag.catalog.files import FileError, read_regular
from hangtag.catalog.image_tree import read_tree
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
        repaired_rows: Positions in `rows` whose last column held separators that nobody quoted.
        broken: Lines that are no row, as (line number, reason).
        taxonomy_text: The content of the taxonomy file beside the table, where the description names one.
        passed_over: Folders and files that are not read, as (path, code, reason); of a tree of photographs.
    """

    source: Source
    base: str
    schema: CatalogSchema
    rows: list[dict[str, str]]
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
        tree = read_tree(source, values)
        return RawCatalog(source, "", tree.schema, tree.rows, passed_over=tree.passed_over)
    path = _find_shallowest(source, str(table_name)) if base is None else base + str(table_name)
    table = parse_table(read_table(source, path), path)
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
    rows = table.rows
    if schema.columns != schema.headings:
        rows = [dict(zip(schema.columns, row.values(), strict=True)) for row in rows]
    return RawCatalog(source, base, schema, rows, table.repaired_rows, table.broken, taxonomy)


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
