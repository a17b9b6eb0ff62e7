"""Read a catalogue of any supported layout: find its description and its table, or a tree of category folders."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from hangtag.catalog.column_kinds import find_kinds, format_flags, propose_description
from hangtag.catalog.files import FileError, read_regular
from hangtag.catalog.image_tree import read_tree
from hangtag.catalog.schema import CatalogSchema, UndescribedError, parse_schema
from hangtag.catalog.shops import arrange_products, describe_layout, find_layout
from hangtag.catalog.source import Source, ZipSource, open_source
from hangtag.catalog.table import Repair, Rows, Table
from hangtag.catalog.table_files import is_table, parse_table_file
from hangtag.catalog.table_search import (
    choose_table,
    count_parents,
    find_shallowest,
    find_table,
    read_limited,
    read_table,
)
from hangtag.errors import CatalogError

DESCRIPTION = "catalog.toml"
_URL = re.compile(r"(?:https?|s3|gs|az)://", re.IGNORECASE)
MAX_DESCRIPTION_BYTES = 1_000_000
MAX_LISTED_COLUMNS = 20
# Parts of a URL's path by which a file is found, from its end.
MAX_TAIL = 3


@dataclass
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
        skipped: Rows of the table that are no products, as (line number, reason).
        num_merged: Further rows of products that have several.
        num_other_photographs: Photographs that the table names beside the first of each product.
        taxonomy_text: The content of the taxonomy file beside the table, where the description names one.
        skipped_folders: Folders and files that are not read, as (path, code, reason); of a tree of photographs.
    """

    source: Source
    base: str
    schema: CatalogSchema
    rows: Sequence[Mapping[str, str]]
    repairs: list[Repair] = field(default_factory=list)
    repaired_rows: list[int] = field(default_factory=list)
    broken: list[tuple[int, str]] = field(default_factory=list)
    skipped: list[tuple[int, str]] = field(default_factory=list)
    num_merged: int = 0
    num_other_photographs: int = 0
    taxonomy_text: str = ""
    skipped_folders: list[tuple[str, str, str]] = field(default_factory=list)

    def locate_photograph(self, row: Mapping[str, str]) -> str:
        """Return the path of an item's photograph inside the source; empty where the row names none.

        The end of a URL's path is looked up among the files; where no file has it, several have, or another URL ends so
        too, the URL is returned. A path that begins with a slash starts at the table's folder.
        """
        path = self.schema.find_image_path(row)
        if path.startswith("//"):
            path = f"https:{path}"
        if is_url(path):
            return self._find_by_tail(path) or path
        if path.startswith("/") and _has(self.source, self.base + path.lstrip("/")):
            path = path.lstrip("/")
        if ("?" in path or "%" in path) and not _has(self.source, self.base + path):
            path = next((each for each in _decode_path(path) if _has(self.source, self.base + each)), path)
        return path and self.base + path

    def _find_by_tail(self, url: str) -> str:
        """Return the only file whose path ends as a URL does, by as many parts as no other URL of the table shares."""
        parts = _read_url_parts(url)
        for length in range(1, min(len(parts), MAX_TAIL) + 1):
            tail = parts[-length:]
            if self._url_tails[tail] == 1 and (found := self._file_tails.get(tail)):
                return found
        return ""

    @cached_property
    def _url_tails(self) -> Counter[tuple[str, ...]]:
        """The number of different URLs of the table that end so."""
        paths = (self.schema.find_image_path(row) for row in self.rows)
        urls = {path.split("?", maxsplit=1)[0] for path in paths if is_url(path) or path.startswith("//")}
        ends = (_read_url_parts(url) for url in urls)
        return Counter(parts[-length:] for parts in ends for length in range(1, min(len(parts), MAX_TAIL) + 1))

    @cached_property
    def _file_tails(self) -> dict[tuple[str, ...], str]:
        """The path of every file by the ends of its path that no other file has."""
        found: dict[tuple[str, ...], str] = {}
        for path in self.source.names():
            parts = _fold_parts(path)
            for length in range(1, min(len(parts), MAX_TAIL) + 1):
                tail = parts[-length:]
                found[tail] = "" if tail in found else path
        return found


def _has(source: Source, path: str) -> bool:
    try:
        return source.has(path)
    except FileError:
        return False


def _decode_path(path: str) -> list[str]:
    """Return what a path may mean that was copied from a URL: without its query, and with decoded letters."""
    without = path.split("?", maxsplit=1)[0]
    return [without, unquote(path), unquote(without)]


def _fold_parts(path: str) -> tuple[str, ...]:
    return tuple(unicodedata.normalize("NFC", path).lower().split("/"))


def _read_url_parts(url: str) -> tuple[str, ...]:
    """Return the parts of a URL's path; none of what is no URL that can be read, such as `http://[1/a.jpg`."""
    try:
        return _fold_parts(unquote(urlsplit(url).path).strip("/"))
    except ValueError:
        return ()


def is_url(path: str) -> bool:
    """Return whether a photograph's path is an address on the web or in a cloud's storage."""
    return bool(_URL.match(path))


def read_file_name(url: str) -> str:
    """Return the last part of a URL's path, without its query, as files are compared."""
    return "/".join(_read_url_parts(url)[-1:])


def read_catalog(
    catalog: Path,
    schema_file: Path | None = None,
    overrides: Mapping[str, object] | None = None,
    *,
    workspace: Path | None = None,
) -> RawCatalog:
    """Read a catalogue: a folder, a `.zip`, or a table with photographs beside it.

    The description comes from `schema_file`, or from `catalog.toml` inside the catalogue. Without one, the layout is
    recognised: that of a shop system by the headings of its table, a tree by its folders of photographs.

    Args:
        catalog: The folder, archive or table.
        schema_file: A description (TOML) outside the catalogue.
        overrides: Entries that replace those of the description; None values are ignored.
        workspace: The workspace being written. If it lies in the catalogue's folder, its files are skipped, as are
            those of every other workspace there.

    Raises:
        CatalogError: The catalogue is missing, unreadable, or its description is incomplete.
    """
    values = {key: value for key, value in (overrides or {}).items() if value is not None}
    if catalog.is_file() and is_table(catalog.name):
        values["table"] = catalog.name
        catalog = catalog.parent
    source = open_source(catalog, workspace)
    notes = [Repair(0, "", "", "", note) for note in source.notes]
    described, base = _find_description(source, schema_file)
    table_name = (described | values).get("table") or choose_table(source, described | values)
    if not table_name:
        tree = read_tree(source, described | values)
        return RawCatalog(source, "", tree.schema, tree.rows, notes, skipped_folders=tree.skipped_folders)
    path = find_shallowest(source, str(table_name)) if base is None else base + str(table_name)
    given = described | values
    table = parse_table_file(read_table(source, path), path, given)
    table.repairs = [*notes, *table.repairs]
    layout = None
    if given.get("layout") or not described:
        layout = find_layout(table.columns, str(given.get("layout") or ""))
    recognised = describe_layout(layout, table.columns) if layout else {}
    if table.pictures:
        recognised = _override(recognised, _describe_pictures(source, path, table, recognised))
    return _build_catalog(source, path, table, _override(_override(recognised, described), values))


def _describe_pictures(source: Source, path: str, table: Table, recognised: Mapping[str, object]) -> dict[str, object]:
    """Return the entries of a description for a Parquet file that holds the photographs itself.

    Raises:
        CatalogError: It lies in an archive.
    """
    if isinstance(source, ZipSource):
        raise CatalogError(
            f"The table {path} holds photographs, which cannot be read inside a .zip.",
            received=str(source.path),
            hint="Unpack the archive.",
        )
    described: dict[str, object] = {"image_column": table.pictures[0]}
    if "id" not in recognised:
        described["id"] = "id" if "id" in table.columns else table.pictures[0]
    if "levels" not in recognised and "label" in table.columns:
        described["levels"] = ["label"]
    return described


@dataclass(frozen=True)
class FoundTable:
    """A catalogue's table, before its columns are known to mean anything.

    Attributes:
        source: The catalogue's files.
        path: The table's path inside the source.
        table: The table.
    """

    source: Source
    path: str
    table: Table

    @property
    def base(self) -> str:
        """Return the table's folder, empty or ending in `/`."""
        return self.path[: len(self.path) - len(self.name)]

    @property
    def name(self) -> str:
        """Return the table's file name."""
        return PurePosixPath(self.path).name

    def list_files(self) -> Iterator[str]:
        """Yield the paths of the files below the table's folder."""
        return (path.removeprefix(self.base) for path in self.source.names() if path.startswith(self.base))


def find_table_file(catalog: Path) -> FoundTable:
    """Find and parse a catalogue's table, described or not.

    Raises:
        CatalogError: There is no table, or it cannot be read.
    """
    is_file = catalog.is_file() and is_table(catalog.name)
    source = open_source(catalog.parent if is_file else catalog)
    name = catalog.name if is_file else find_table(source)
    if not name:
        raise CatalogError(
            "The catalogue has no table to describe.",
            allowed="Allowed: a folder or a .zip with a table, or the table.",
            received=str(catalog),
            hint="A tree of folders by category needs no description.",
        )
    path = find_shallowest(source, name)
    return FoundTable(source, path, parse_table_file(read_table(source, path), path, {}))


def _propose(error: UndescribedError, found: FoundTable, values: Mapping[str, object]) -> CatalogError:
    """Return an error that lists the table's columns, with flags that its values suggest."""
    kinds = find_kinds(found.table)
    proposed = propose_description(found.table, found.list_files())
    missing = {key: value for key, value in proposed.items() if key not in values}
    columns = "; ".join(f"{kind.column} ({kind.detail})" for kind in kinds[:MAX_LISTED_COLUMNS])
    more = f"; and {len(kinds) - MAX_LISTED_COLUMNS} more" if len(kinds) > MAX_LISTED_COLUMNS else ""
    hint = f"The values suggest: {format_flags(missing)}. " if missing else ""
    return CatalogError(
        error.what,
        allowed=f"The columns of {found.name}: {columns}{more}.",
        hint=f"{hint}`hangtag init` writes a catalog.toml to look over.",
    )


def _override(entries: Mapping[str, object], others: Mapping[str, object]) -> dict[str, object]:
    """Return a description's entries with others over them; of two ways to find photographs the later one counts."""
    kept = dict(entries)
    if {"image", "image_column"} & set(others):
        kept = {key: value for key, value in kept.items() if key not in ("image", "image_column", "image_separator")}
    return kept | dict(others)


def _build_catalog(source: Source, path: str, table: Table, values: dict[str, object]) -> RawCatalog:
    name = PurePosixPath(path).name
    base = path[: len(path) - len(name)]
    schema = CatalogSchema.from_values(values | {"table": name})
    try:
        schema = schema.check()
    except UndescribedError as error:
        raise _propose(error, FoundTable(source, path, table), values) from error
    taxonomy = ""
    if schema.taxonomy.endswith(".toml"):
        path = base + schema.taxonomy
        taxonomy = _decode_text(read_limited(source, path, MAX_DESCRIPTION_BYTES), path)
    if twice := sorted(table.doubled.intersection(schema.named_columns)):
        raise CatalogError(
            f"The table {name} has a column twice that its description names.",
            allowed="Allowed: a name once for every column that is used.",
            received=twice,
        )
    arranged = arrange_products(table, schema.with_columns(table.columns))
    schema = arranged.schema
    positions = {row: position for position, row in enumerate(arranged.rows)}
    return RawCatalog(
        source,
        base,
        schema,
        Rows(schema.columns, arranged.cells),
        table.repairs,
        [positions[row] for row in table.repaired_rows if row in positions],
        table.broken,
        [(table.lines[row], reason) for row, reason in arranged.skipped],
        arranged.num_merged,
        arranged.num_other_photographs,
        taxonomy,
    )


def _find_description(source: Source, schema_file: Path | None) -> tuple[dict[str, object], str | None]:
    """Return the description's entries and its folder, or None if it lies outside the catalogue or there is none."""
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
    path = min(paths, key=count_parents)
    text = _decode_text(read_limited(source, path, MAX_DESCRIPTION_BYTES), path)
    return parse_schema(text, path), path[: len(path) - len(DESCRIPTION)]


def _decode_text(data: bytes, where: str) -> str:
    """Decode the text of a description or a taxonomy, UTF-8 with or without a byte order mark."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CatalogError("A file that describes the catalogue is not UTF-8 text.", received=where) from error
