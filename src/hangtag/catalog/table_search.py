"""Find a catalogue's table among its files, and read it within limits."""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from hangtag.catalog.files import FileError
from hangtag.catalog.images import PICTURE_SUFFIXES
from hangtag.catalog.shops import find_layout
from hangtag.catalog.source import Source
from hangtag.catalog.table_files import is_table, parse_table_file
from hangtag.errors import CatalogError

MAX_FEEDS = 10
# Entries of a description by which a table is one of products.
DESCRIBING = frozenset({"id", "name", "levels", "attributes", "image", "image_column", "layout", "sheet", "split"})
MAX_TABLE_BYTES = 2_000_000_000
# Limit the decompressed size, so that a small archive cannot fill the memory. Compression shrinks a table to a fifth or
# a tenth, a repetitive one to a thirtieth.
MAX_TABLE_RATIO, ANY_RATIO_BYTES = 40, 4_000_000


def choose_table(source: Source, described: Mapping[str, object]) -> str:
    """Return the table of a catalogue, or nothing where the tables in a tree of categories belong to something else.

    Such tables have no columns of a known layout, name no photograph and are shorter than half the number of those:
    counts of classes, notes, lists of a program.
    """
    if not DESCRIBING.isdisjoint(described):
        return find_table(source)
    files = list(source.names())
    pictures = [name for name in files if PurePosixPath(name).suffix.lower() in PICTURE_SUFFIXES]
    folders = {name.rpartition("/")[0] for name in pictures} - {""}
    tables = [name for name in files if is_table(name) and not name.lower().endswith((".txt", ".xml"))]
    if len(folders) > 1 and tables and not any(_may_list(source, name, pictures) for name in tables):
        return ""
    return find_table(source)


def _may_list(source: Source, path: str, pictures: Sequence[str]) -> bool:
    """Return whether a table may list the products of these photographs."""
    try:
        table = parse_table_file(read_table(source, path), path, {})
    except CatalogError:
        # The error is for the user, who may have meant this table.
        return True
    if len(table.rows) * 2 >= len(pictures) or table.pictures or find_layout(table.columns):
        return True
    stems = {part for name in pictures for part in (PurePosixPath(name).name, PurePosixPath(name).stem)}
    named = (value.replace("\\", "/").rpartition("/")[2].strip() for column in table.cells for value in column)
    return any(name in stems for name in named if name)


def find_table(source: Source) -> str:
    """Return `styles.csv`, or the only CSV at the shallowest depth; empty for a tree of photographs."""
    tables = [name for name in source.names() if is_table(name) and not name.lower().endswith((".txt", ".xml"))]
    tables = tables or _find_feeds(source)
    capstone = [name for name in tables if PurePosixPath(name).name == "styles.csv"]
    if capstone:
        return min(capstone, key=count_parents)
    depth = min((name.count("/") for name in tables), default=0)
    shallow = [name for name in tables if name.count("/") == depth]
    if len(shallow) > 1:
        raise CatalogError(
            "The catalogue has several tables.", hint="Name one with --table.", received=sorted(shallow)[:5]
        )
    return shallow[0] if shallow else ""


def _find_feeds(source: Source) -> list[str]:
    """Return the texts and XML files near the top that are the table of a known shop system, by their headings."""
    names = [name for name in source.names() if name.count("/") <= 1 and name.lower().endswith((".txt", ".xml"))]
    found = []
    # More of them are no feeds, but a text for each photograph.
    for name in names if len(names) <= MAX_FEEDS else []:
        try:
            table = parse_table_file(read_table(source, name), name, {})
        except CatalogError:
            continue
        if find_layout(table.columns):
            found.append(name)
    return found


def find_shallowest(source: Source, name: str) -> str:
    """Return the file with this path, or with this path below the shallowest folder."""
    paths = [path for path in source.names() if path == name or path.endswith(f"/{name}")]
    if not paths:
        raise CatalogError("The catalogue has no such table.", received=name, hint="Name it with --table.")
    return min(paths, key=count_parents)


def read_table(source: Source, path: str) -> bytes:
    """Read a catalogue's table of up to 2 GB; in an archive, up to 4 MB or forty times its compressed size.

    Raises:
        CatalogError: The table is missing, not a regular file, damaged, encrypted or too large.
    """
    try:
        unpacked_limit = max(ANY_RATIO_BYTES, MAX_TABLE_RATIO * source.packed_size(path))
    except FileError as error:
        raise _make_error(path, error) from error
    hint = "Unpack the archive and name the folder if the table is right." if unpacked_limit < MAX_TABLE_BYTES else ""
    return read_limited(source, path, min(MAX_TABLE_BYTES, unpacked_limit), hint)


def read_limited(source: Source, path: str, limit: int, hint: str = "") -> bytes:
    """Read a file that a catalogue cannot do without.

    Raises:
        CatalogError: It is missing, not a regular file, damaged, encrypted or larger than `limit`.
    """
    try:
        return source.read(path, limit)
    except FileError as error:
        raise _make_error(path, error, hint if error.code == "too_many_bytes" else "") from error


def _make_error(path: str, error: FileError, hint: str = "") -> CatalogError:
    return CatalogError(f"A file of the catalogue cannot be read: {error.reason}.", received=path, hint=hint)


def count_parents(name: str) -> tuple[int, str]:
    """Return the order of files: those in fewer folders first, then by their names."""
    return name.count("/"), name
