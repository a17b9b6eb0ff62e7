"""Read a catalogue of any supported layout: find its description and its table, or a tree of category folders."""

import dataclasses
import re
import unicodedata
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from hangtag.catalog.category_paths import LIST_SEPARATOR
from hangtag.catalog.column_kinds import explain_undescribed, find_unread_pictures, refuse_without_rows
from hangtag.catalog.files import FileError, read_regular
from hangtag.catalog.image_tree import read_tree
from hangtag.catalog.schema import CatalogSchema, UndescribedError, parse_schema
from hangtag.catalog.shop_layouts import describe_layout, find_layout
from hangtag.catalog.shops import Arranged, arrange_products, describe_categories
from hangtag.catalog.source import Source, ZipSource, open_source
from hangtag.catalog.source_tables import JoinedTable, check_items, find_base, make_several_error, read_tables
from hangtag.catalog.table import Repair, Rows, Table
from hangtag.catalog.table_files import is_table, parse_table_file
from hangtag.catalog.table_search import (
    choose_tables,
    count_parents,
    find_shallowest,
    find_tables,
    read_limited,
    read_table,
)
from hangtag.errors import CatalogError

DESCRIPTION = "catalog.toml"
_URL = re.compile(r"(?:https?|s3|gs|az)://", re.IGNORECASE)
MAX_DESCRIPTION_BYTES = 1_000_000
# Parts of a URL's path by which a file is found, from its end.
MAX_TAIL = 3
# The entries of a description by which photographs are found.
IMAGE_KEYS = ("image", "image_column", "image_separator", "other_image_columns")


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
        other_images: The photographs that all rows of a product name, by its position; of those with several rows.
        taxonomy_text: The content of the taxonomy file beside the table, where the description names one.
        skipped_folders: Folders and files that are not read, as (path, code, reason); of a tree of photographs.
        tables: The paths of the files of the table; several where it is in parts.
        notes: What the summary says about the categories of a shop's table.
        lines: The line of each row in its file; empty of a tree of photographs.
        num_repaired: Rows of the table some of whose cells were read otherwise than they are written.
        encoding: The table's encoding if it was inferred, or nothing.
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
    other_images: Mapping[int, list[str]] = field(default_factory=dict)
    taxonomy_text: str = ""
    skipped_folders: list[tuple[str, str, str]] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)
    notes: dict[str, object] = field(default_factory=dict)
    lines: Sequence[int] = ()
    num_repaired: int = 0
    encoding: str = ""

    def find_line(self, row: int) -> str:
        """Return how `rejected.csv` names a row: by its line in the file; of a tree by its number."""
        return f"line {self.lines[row]}" if self.lines else f"row {row + 1}"

    def locate_photographs(self, position: int, row: Mapping[str, str]) -> list[str]:
        """Return the paths of a product's photographs inside the source, each once; none where it names none.

        The end of a URL's path is looked up among the files; where no file has it, several have, or another URL ends so
        too, the URL is returned. A path that begins with a slash starts at the table's folder.

        Args:
            position: The row's position.
            row: The row.
        """
        return list(dict.fromkeys(map(self._locate, self._list_named(position, row))))

    def _list_named(self, position: int, row: Mapping[str, str]) -> list[str]:
        return [*self.schema.find_image_paths(row), *self.other_images.get(position, ())]

    def _locate(self, path: str) -> str:
        if path.startswith("//"):
            path = f"https:{path}"
        if is_url(path):
            return self._find_by_tail(path) or path
        if path.startswith("/") and _has(self.source, self.base + path.lstrip("/")):
            path = path.lstrip("/")
        if ("?" in path or "%" in path) and not _has(self.source, self.base + path):
            path = next((each for each in _decode_path(path) if _has(self.source, self.base + each)), path)
        return self.base + path

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
        paths = (path for position, row in enumerate(self.rows) for path in self._list_named(position, row))
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
    given = described | values
    if given.get("table"):
        name = str(given["table"])
        paths = [find_shallowest(source, name) if base is None or "table" in values else base + name]
    else:
        paths = choose_tables(source, given)
    if not paths:
        tree = read_tree(source, given)
        return RawCatalog(source, "", tree.schema, tree.rows, notes, skipped_folders=tree.skipped_folders)
    joined = read_tables(source, paths, given)
    joined.table.repairs = [*notes, *joined.table.repairs]
    recognised: dict[str, object] = {}
    only_elsewhere: dict[str, int] = {}
    layout = None
    if given.get("layout") or not described:
        layout = find_layout(joined.table.columns, str(given.get("layout") or ""))
    if layout:
        levels = CatalogSchema.from_values({"levels": given.get("levels") or ()}).levels
        recognised, only_elsewhere = describe_layout(layout, joined.table, levels)
    if joined.table.pictures:
        recognised = _override(recognised, _describe_pictures(source, paths[0], joined.table, recognised))
    entries = _override(_override(_override(recognised, joined.description), described), values)
    raw = _build_catalog(source, joined, entries, has_description=bool(described))
    if only_elsewhere:
        raw.notes["categories_only_in"] = only_elsewhere
    return raw


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
    """A catalogue's table, by its path inside the source, before its columns are known to mean anything."""

    source: Source
    path: str
    table: Table

    @property
    def base(self) -> str:
        """The table's folder, empty or ending in `/`."""
        return self.path[: len(self.path) - len(self.name)]

    @property
    def name(self) -> str:
        """The table's file name."""
        return PurePosixPath(self.path).name

    def list_files(self) -> Iterator[str]:
        """Yield the paths of the files below the table's folder."""
        return (path.removeprefix(self.base) for path in self.source.names() if path.startswith(self.base))


def find_table_file(catalog: Path, encoding: str = "", sheet: str = "") -> FoundTable:
    """Find and parse a catalogue's table, described or not, in an encoding or of a sheet if one is named.

    Raises:
        CatalogError: There is no table, or it cannot be read.
    """
    is_file = catalog.is_file() and is_table(catalog.name)
    source = open_source(catalog.parent if is_file else catalog)
    names = [catalog.name] if is_file else find_tables(source)
    if len(names) > 1:
        raise make_several_error(names)
    if not names:
        raise CatalogError(
            "The catalogue has no table to describe.",
            allowed="Allowed: a folder or a .zip with a table, or the table.",
            received=str(catalog),
            hint="A tree of folders by category needs no description.",
        )
    path = find_shallowest(source, names[0])
    return FoundTable(
        source, path, parse_table_file(read_table(source, path), path, {"encoding": encoding, "sheet": sheet})
    )


def _override(entries: Mapping[str, object], others: Mapping[str, object]) -> dict[str, object]:
    """Return a description's entries with others over them; of two ways to find photographs the later one counts."""
    kept = dict(entries)
    if {"image", "image_column"} & set(others):
        kept = {key: value for key, value in kept.items() if key not in IMAGE_KEYS}
    return kept | dict(others)


def _build_catalog(
    source: Source, joined: JoinedTable, values: dict[str, object], *, has_description: bool
) -> RawCatalog:
    table, paths = joined.table, [file.path for file in joined.files]
    base = find_base(paths)
    name = paths[0].removeprefix(base)
    if table.is_empty:
        raise refuse_without_rows(name)
    schema = CatalogSchema.from_values(values | {"table": name})
    if not schema.level_separator and len(schema.levels) == 1 and schema.levels[0] in table.list_columns:
        schema = dataclasses.replace(schema, level_separator=LIST_SEPARATOR)
    try:
        schema = schema.check()
    except UndescribedError as error:
        found = FoundTable(source, paths[0], table)
        raise explain_undescribed(
            error.what, found.name, table, found.list_files(), values, has_description=has_description
        ) from error
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
    check_items(joined, arranged)
    schema = arranged.schema
    repaired = set(table.repaired_rows)
    positions = {row: position for position, row in enumerate(arranged.rows) if row in repaired}
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
        arranged.other_images,
        taxonomy,
        tables=paths,
        notes=_describe_columns(arranged, table),
        lines=array("q", [table.lines[row] for row in arranged.rows]),
        num_repaired=sum(file.table.count_repaired() for file in joined.files),
        encoding=table.inferred_encoding,
    )


def _describe_columns(arranged: Arranged, table: Table) -> dict[str, object]:
    """Return what the summary says about the columns of categories and of photographs."""
    notes, schema = describe_categories(arranged), arranged.schema
    if schema.layout in ("", "capstone"):
        notes.pop("categories_from")
    if not schema.layout and (unread := find_unread_pictures(table, schema.with_headings().named_columns)):
        notes["photographs_not_read_in"] = ", ".join(unread)
    return notes


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
