"""Read several files as one table: an export in parts, or a table for each split."""

import re
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from hangtag.catalog.image_tree import find_split
from hangtag.catalog.schema import read_id
from hangtag.catalog.shops import Arranged
from hangtag.catalog.source import Source
from hangtag.catalog.table import Repair, Table
from hangtag.catalog.table_files import parse_table_file
from hangtag.catalog.table_search import read_table
from hangtag.errors import CatalogError

# The columns that tables of splits get: the split's folder or file, and the photograph's path from the common folder.
SPLIT_NAME, SPLIT_PATH = "split_name", "split_path"
# The column of a Hugging Face image folder from which the paths are made.
FILE_NAME = "file_name"
MAX_FILES = 1_000
# A part of a table as the library `datasets` names it: train-00000-of-00002.parquet.
_PART = re.compile(r"(?P<start>.+)-(?P<number>[0-9]{5})-of-(?P<count>[0-9]{5})(?P<ending>\.[^.]+)")


@dataclass(frozen=True)
class TableFile:
    """A file of a table.

    Attributes:
        path: Its path in the catalogue.
        table: Its content.
        start: The position of its first row among those of all files.
    """

    path: str
    table: Table
    start: int


@dataclass(frozen=True)
class JoinedTable:
    """A table of one file or several.

    Attributes:
        table: The rows of all files.
        files: The files in the order of their rows.
    """

    table: Table
    files: Sequence[TableFile]

    @property
    def description(self) -> dict[str, object]:
        """Return the entries of a description that the columns of tables of splits make."""
        columns = self.table.columns
        entries: dict[str, object] = {"split": SPLIT_NAME} if SPLIT_NAME in columns and len(self.files) > 1 else {}
        return entries | ({"id": SPLIT_PATH, "image_column": SPLIT_PATH} if entries and SPLIT_PATH in columns else {})

    def find_file(self, row: int) -> tuple[TableFile, int]:
        """Return the file that a row stands in, and its position there."""
        file = self.files[bisect_right([file.start for file in self.files], row) - 1]
        return file, row - file.start


def read_tables(source: Source, paths: Sequence[str], description: Mapping[str, object]) -> JoinedTable:
    """Read and parse the files of a table.

    Raises:
        CatalogError: A file cannot be read, or several are not the parts of one table.
    """
    if len(paths) > 1 and not are_parts(paths):
        raise make_several_error(paths)
    try:
        files = parse_files(((path, read_table(source, path)) for path in paths), description)
    except CatalogError as error:
        if len(paths) == 1:
            raise
        raise make_several_error(paths, f"{error.what} ") from error
    joined = join_files(files)
    joined.table.repairs = [*_note_missing_parts(paths), *joined.table.repairs]
    return joined


def _note_missing_parts(paths: Sequence[str]) -> list[Repair]:
    """Return a note for each table that lacks some of the parts that the names of the others count."""
    parts: dict[tuple[str, str, str], set[int]] = {}
    for found in filter(None, map(_PART.fullmatch, paths)):
        parts.setdefault((found["start"], found["count"], found["ending"]), set()).add(int(found["number"]))
    notes = []
    for (start, count, ending), numbers in parts.items():
        missing = [number for number in range(min(int(count), MAX_FILES)) if number not in numbers]
        if missing:
            first = f"{start}-{missing[0]:05}-of-{count}{ending}"
            reason = f"{len(missing):,} of {int(count):,} parts are not read: {first}{', ...' if missing[1:] else ''}"
            notes.append(Repair(0, "", "", "", reason))
    return notes


def are_parts(paths: Sequence[str]) -> bool:
    """Return whether files may be parts of one table: those of one folder, or of one name in folders of splits."""
    folders = [PurePosixPath(path).parent for path in paths]
    if len(paths) > MAX_FILES:
        return False
    if len(set(folders)) == 1:
        return True
    is_alike = len({PurePosixPath(path).stem for path in paths}) == 1 and len({each.parent for each in folders}) == 1
    return is_alike and len(set(folders)) == len(folders) and all(find_split(each.name) for each in folders)


def find_base(paths: Sequence[str]) -> str:
    """Return the folder that photographs' paths start from: the files' own, or that of the folders of splits."""
    folders = {PurePosixPath(path).parent for path in paths}
    folder = folders.pop() if len(folders) == 1 else next(iter(folders)).parent
    return "" if str(folder) == "." else f"{folder}/"


def parse_files(files: Iterable[tuple[str, bytes]], description: Mapping[str, object]) -> list[TableFile]:
    """Parse a table's files.

    Args:
        files: The path and the bytes of each.
        description: Entries of the catalogue's description; see `parse_table_file`.

    Raises:
        CatalogError: A file cannot be read.
    """
    # The files lack the columns that are added.
    own = {key: value for key, value in description.items() if value not in (SPLIT_NAME, SPLIT_PATH)}
    found: list[TableFile] = []
    start = 0
    for path, data in files:
        table = parse_table_file(data, path, own)
        found.append(TableFile(path, table, start))
        start += len(table.rows)
    return found


def join_files(files: Sequence[TableFile]) -> JoinedTable:
    """Join a table's files.

    Raises:
        CatalogError: They have not the same columns.
    """
    if len(files) == 1:
        return JoinedTable(files[0].table, files)
    if any(set(file.table.columns) != set(files[0].table.columns) for file in files):
        raise make_several_error([file.path for file in files], "Their columns differ, so they are not one table. ")
    return JoinedTable(_join(files), files)


def make_several_error(paths: Sequence[str], reason: str = "") -> CatalogError:
    """Build the error for tables of which one must be named."""
    return CatalogError(
        "The catalogue has several tables.", hint=f"{reason}Name one with --table.", received=sorted(paths)[:5]
    )


def _join(files: Sequence[TableFile]) -> Table:
    tables = [file.table for file in files]
    columns = tables[0].columns
    cells = [[cell for table in tables for cell in table.cells[table.columns.index(name)]] for name in columns]
    added = {name: made for name, made in _describe_splits(files).items() if name not in columns}
    return Table(
        (*columns, *added),
        [*cells, *added.values()],
        array("q", [line for table in tables for line in table.lines]),
        [_name_file(repair, file) for file in files for repair in file.table.repairs],
        [(line, f"{reason} ({file.path})") for file in files for line, reason in file.table.broken],
        [file.start + row for file in files for row in file.table.repaired_rows],
        inferred_encoding=", ".join(dict.fromkeys(filter(None, (table.inferred_encoding for table in tables)))),
        list_columns=frozenset().union(*(table.list_columns for table in tables)),
        doubled=set().union(*(table.doubled for table in tables)),
        pictures=tables[0].pictures,
    )


def _name_file(repair: Repair, file: TableFile) -> Repair:
    return repair._replace(reason=f"{repair.reason} ({file.path})")


def _describe_splits(files: Sequence[TableFile]) -> dict[str, list[str]]:
    """Return the cells of the columns that tables of splits get; none where the files are no splits."""
    paths = [PurePosixPath(file.path) for file in files]
    are_folders = len({path.parent for path in paths}) > 1
    parts = [_PART.fullmatch(path.name) for path in paths]
    stems = [part["start"] if part else path.stem for path, part in zip(paths, parts, strict=True)]
    names = [path.parent.name for path in paths] if are_folders else stems
    # The parts of `train` alone are no splits.
    if not all(map(find_split, names)) or len(set(map(find_split, names))) == 1:
        return {}
    counts = [len(file.table.rows) for file in files]
    added = {SPLIT_NAME: [name for name, count in zip(names, counts, strict=True) for _ in range(count)]}
    if are_folders and FILE_NAME in files[0].table.columns:
        added[SPLIT_PATH] = [
            f"{name}/{cell}" if cell.strip() else ""
            for name, file in zip(names, files, strict=True)
            for cell in file.table.cells[file.table.columns.index(FILE_NAME)]
        ]
    return added


def check_items(joined: JoinedTable, arranged: Arranged) -> None:
    """Refuse files that have items in common: they are exports of two days, or copies, and no parts of one.

    The rows of one product may end one file and begin the next.

    Raises:
        CatalogError: An item is in several files.
    """
    if len(joined.files) == 1:
        return
    ids = arranged.cells[arranged.schema.columns.index(arranged.schema.id)]
    first: dict[str, str] = {}
    both: list[str] = []
    for position, item in enumerate(map(read_id, ids)):
        rows = arranged.list_rows(position)
        paths = {joined.find_file(row)[0].path for row in rows}
        if item and (
            (len(paths) > 1 and rows[-1] - rows[0] >= len(rows)) or first.setdefault(item, min(paths)) not in paths
        ):
            both.append(item)
    if both:
        raise CatalogError(
            f"The catalogue has several tables with the same columns, and {len(both):,} items are in more than one.",
            allowed="Allowed: the parts of one export, or one table.",
            received=both[:3],
            hint="Name one with --table.",
        )
