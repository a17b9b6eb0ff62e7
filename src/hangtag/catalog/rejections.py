"""List what cannot be used, and photographs that no row names, with a code and a reason: `rejected.csv`."""

import posixpath
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path, PurePosixPath
from typing import NamedTuple, overload

import numpy as np
import polars as pl

from hangtag.catalog.column_kinds import find_list_mark, propose_pattern
from hangtag.catalog.images import PICTURE_SUFFIXES
from hangtag.catalog.name_index import fold_path
from hangtag.catalog.photograph_table import collect_texts
from hangtag.catalog.reader import RawCatalog
from hangtag.catalog.schema import read_id
from hangtag.catalog.table import Rows
from hangtag.errors import CatalogError
from hangtag.io import write_csv
from hangtag.workspace import MANIFEST

# Photographs that no row names have a line each in `rejected.csv`, up to so many.
MAX_UNUSED_LINES = 1000
REJECTED = {"item_id": pl.String, "image_path": pl.String, "code": pl.String, "reason": pl.String}


class Rejection(NamedTuple):
    """A line of `rejected.csv`."""

    item_id: str
    image_path: str
    code: str
    reason: str


class Candidate(NamedTuple):
    """A photograph that is to be decoded: its row's position and id, its path, and its place in the product, from 1."""

    row: int
    item_id: str
    path: str
    order: int


class Candidates(Sequence[Candidate]):
    """The photographs that are to be decoded, by columns; those of a row follow each other.

    Args:
        raw: The catalogue.
        places: The row's position of each photograph, its path, and its place in the product.

    Attributes:
        rows: The positions, (n,).
        paths: The paths, String (n,).
        orders: The places, (n,).
    """

    def __init__(self, raw: RawCatalog, places: Iterable[tuple[int, str, int]]) -> None:
        self._raw = raw
        rows, orders = array("i"), array("i")

        def list_paths() -> Iterator[str]:
            for row, path, order in places:
                rows.append(row)
                orders.append(order)
                yield path

        self.paths = collect_texts(list_paths())
        self.rows, self.orders = np.array(rows, np.int32), np.array(orders, np.int32)

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Candidate: ...
    @overload
    def __getitem__(self, index: slice) -> list[Candidate]: ...
    def __getitem__(self, index: int | slice) -> Candidate | list[Candidate]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        row = int(self.rows[index])
        item_id = read_id(self._raw.rows[row][self._raw.schema.id])
        return Candidate(row, item_id, self.paths[index], int(self.orders[index]))


def check_rows(raw: RawCatalog, most: int | None = None) -> tuple[Candidates, list[Rejection]]:
    """Return the photographs to decode, and a line for each rejected row.

    Args:
        raw: The catalogue.
        most: The number of rows to look at, from the first; None for all, and for what is no row too.
    """
    rejected: list[Rejection] = []
    if most is None:
        rejected += [Rejection(f"line {line}", "", "bad_row", reason) for line, reason in raw.broken]
        rejected += [Rejection("", *passed_over) for passed_over in raw.skipped_folders]
        rejected += [Rejection(f"line {line}", "", "skipped_row", reason) for line, reason in raw.skipped]
    ids = collect_texts(read_id(row[raw.schema.id]) for row in islice(raw.rows, most))
    is_first = ids.is_first_distinct()
    twice = ids.filter(~is_first).unique()
    is_earlier = is_first & ids.is_in(twice.implode())
    first = dict(zip(ids.filter(is_earlier), is_earlier.arg_true(), strict=True))
    return Candidates(raw, _check_each(raw, ids, first, rejected)), rejected


def _check_each(
    raw: RawCatalog, ids: pl.Series, first: Mapping[str, int], rejected: list[Rejection]
) -> Iterator[tuple[int, str, int]]:
    """Yield the row, the path and the place of each photograph of rows that are not rejected; add a line for others.

    Args:
        raw: The catalogue.
        ids: The ids of the rows.
        first: The first row with each id that several have.
        rejected: The list that lines are added to.
    """
    for position, (row, item_id) in enumerate(zip(raw.rows, ids, strict=False)):
        paths = raw.locate_photographs(position, row) or [""]
        if not item_id:
            rejected.append(Rejection(raw.find_line(position), paths[0], "missing_id", "the row has no id"))
        elif first.get(item_id, position) != position:
            reason = f"{raw.find_line(position)}: an earlier row has the same id, {raw.find_line(first[item_id])}"
            rejected.append(Rejection(item_id, paths[0], "duplicate_id", reason))
        else:
            yield from ((position, path, order) for order, path in enumerate(paths, 1))


def find_unused(raw: RawCatalog, candidates: Candidates, rejected: Sequence[Rejection]) -> list[str]:
    """Return the photographs of a catalogue with a table that no row names, in order."""
    if not raw.schema.table:
        return []
    named = chain(candidates.paths, (line.image_path for line in rejected))
    used = collect_texts(posixpath.normpath(path) for path in named if path)
    files = collect_texts(name for name in raw.source.names() if name.startswith(raw.base))
    not_named = files.to_frame("path").join(used.to_frame("path"), on="path", how="anti", maintain_order="left")
    left = [name for name in not_named["path"] if PurePosixPath(name).suffix.lower() in PICTURE_SUFFIXES]
    wanted = {fold_path(name) for name in left}
    folded = {each for path in used if (each := fold_path(path.replace("\\", "/"))) in wanted} if left else set()
    return [name for name in left if fold_path(name) not in folded]


def tabulate_rejections(lines: Sequence[Rejection]) -> pl.DataFrame:
    """Return the table `rejected.csv`."""
    # By columns, since there may be millions.
    return pl.DataFrame({name: [getattr(line, name) for line in lines] for name in REJECTED}, schema=REJECTED)


def describe_unused(unused: Sequence[str]) -> list[Rejection]:
    """Return a line for each photograph that no row names, up to `MAX_UNUSED_LINES`, and one for all others."""
    lines = [
        Rejection("", path, "unused_photograph", "no row that was read names it") for path in unused[:MAX_UNUSED_LINES]
    ]
    if more := len(unused) - len(lines):
        lines.append(
            Rejection(
                "", unused[-1], "unused_photograph", f"no row that was read names this one and {more - 1:,} others"
            )
        )
    return lines


def explain_list(path: str, code: str) -> str:
    """Return what to add to the reason of a missing photograph, where its path looks like several of them."""
    is_list = code == "missing_photograph" and find_list_mark(path)
    return "; if it is several, name what stands between them with --image-separator" if is_list else ""


def explain_nothing_usable(raw: RawCatalog, folder: Path, rejected: Sequence[Rejection]) -> CatalogError:
    """Write `rejected.csv`, and return an error with the first path that was tried and a file that is there."""
    # An earlier result keeps its own list.
    path = (folder.parent if (folder / MANIFEST).exists() else folder) / "rejected.csv"
    write_csv(path, tabulate_rejections(rejected))
    files = [name.removeprefix(raw.base) for name in raw.source.names() if name.startswith(raw.base)]
    pictures = [name for name in files if PurePosixPath(name).suffix.lower() in PICTURE_SUFFIXES]
    tried = next((line.image_path for line in rejected if line.image_path), "")
    found = f"The catalogue has {pictures[0]}." if pictures else "The catalogue's folder has no photographs."
    hint = f"Every row has a reason in {path}."
    if isinstance(raw.rows, Rows) and raw.schema.table:
        cells = dict(zip(raw.schema.headings, raw.rows.cells, strict=False))
        if mark := find_list_mark(tried):
            hint = f"Try --image-separator '{mark}', if it is several. {hint}"
        elif pattern := propose_pattern(list(cells), cells, files):
            hint = f"Try --image '{pattern}'. {hint}"
    if any(line.code == "url_not_allowed" for line in rejected):
        hint = f"--allow-private-addresses downloads from all addresses. {hint}"
    reasons = ", ".join(sorted({line.reason for line in rejected})[:3])
    if rejected and all(line.code == "bad_row" for line in rejected):
        return CatalogError(
            f"Not one row of the table can be read ({reasons}).",
            allowed="Allowed: rows with a cell for every heading.",
            hint=f"Is a heading missing, or one too many? {hint}",
        )
    return CatalogError(
        f"Not one photograph of the catalogue can be used ({reasons}).",
        allowed=f"The first path tried: {tried or 'none, no row names one'}. {found}",
        hint=hint,
    )
