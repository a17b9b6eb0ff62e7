"""Read a catalogue, whatever its layout: find its description, its table and its rows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from hangtag.catalog.schema import CatalogSchema, parse_schema
from hangtag.catalog.source import OutsideError, Source, open_source
from hangtag.catalog.table import Table, parse_table
from hangtag.catalog.tree import read_tree
from hangtag.errors import CatalogError

DESCRIPTION = "catalog.toml"
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
    """

    source: Source
    base: str
    schema: CatalogSchema
    rows: list[dict[str, str]]
    repaired_rows: list[int] = field(default_factory=list)
    broken: list[tuple[int, str]] = field(default_factory=list)
    taxonomy_text: str = ""


def read_catalog(
    catalog: Path, schema_file: Path | None = None, overrides: Mapping[str, object] | None = None
) -> RawCatalog:
    """Read a catalogue: a folder, a `.zip`, or a `.csv` file with photographs beside it.

    It is described by `schema_file`, or by `catalog.toml` inside it, or recognised: the capstone's layout by
    the ten columns of its table, a tree by its folders of photographs. `overrides` change single entries.

    Raises:
        CatalogError: The catalogue is missing, not readable, or not described well enough.
    """
    values = {key: value for key, value in (overrides or {}).items() if value is not None}
    if catalog.is_file() and catalog.suffix.lower() in (".csv", ".tsv", ".txt"):
        values["table"] = catalog.name
        catalog = catalog.parent
    source = open_source(catalog)
    described, base = _find_description(source, schema_file)
    values = described | values
    table_name = values.get("table") or _find_table(source)
    if not table_name:
        rows, schema = read_tree(source, values)
        return RawCatalog(source, "", schema, rows)
    path = _find_shallowest(source, str(table_name)) if base is None else base + str(table_name)
    table = parse_table(_read(source, path), path)
    if not described and set(CAPSTONE_COLUMNS) <= set(table.columns):
        values = CAPSTONE | values
    return _build(source, path, table, values)


def _build(source: Source, path: str, table: Table, values: dict[str, object]) -> RawCatalog:
    schema = CatalogSchema.from_values(values | {"table": PurePosixPath(path).name}).check()
    base = path[: len(path) - len(schema.table)]
    taxonomy = ""
    if schema.taxonomy.endswith(".toml"):
        taxonomy = _read(source, base + schema.taxonomy).decode()
    schema = schema.with_columns(table.columns)
    rows = table.rows
    if schema.columns != schema.headings:
        rows = [dict(zip(schema.columns, row.values(), strict=True)) for row in rows]
    return RawCatalog(source, base, schema, rows, table.repaired_rows, table.broken, taxonomy)


def _find_description(source: Source, schema_file: Path | None) -> tuple[dict[str, object], str | None]:
    """Give the description's entries and, where it lies in the catalogue, its folder."""
    if schema_file is not None:
        try:
            return parse_schema(schema_file.read_text(encoding="utf-8"), str(schema_file)), None
        except (OSError, UnicodeDecodeError) as error:
            raise CatalogError(
                f"The catalogue's description cannot be read: {error}.", received=str(schema_file)
            ) from error
    paths = [name for name in source.names() if PurePosixPath(name).name == DESCRIPTION]
    if not paths:
        return {}, None
    path = min(paths, key=_depth)
    return parse_schema(source.read(path).decode(), path), path[: len(path) - len(DESCRIPTION)]


def _find_table(source: Source) -> str:
    """Give `styles.csv`, or the only CSV at the shallowest depth; empty for a tree of photographs."""
    tables = [name for name in source.names() if PurePosixPath(name).suffix.lower() in (".csv", ".tsv")]
    capstone = [name for name in tables if PurePosixPath(name).name == "styles.csv"]
    if capstone:
        return min(capstone, key=_depth)
    shallow = [name for name in tables if _depth(name) == min(map(_depth, tables))]
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
    return min(found, key=_depth)


def _read(source: Source, path: str) -> bytes:
    try:
        return source.read(path)
    except (OSError, KeyError, OutsideError) as error:
        raise CatalogError("A file of the catalogue cannot be read.", received=path) from error


def _depth(name: str) -> tuple[int, str]:
    return name.count("/"), name
