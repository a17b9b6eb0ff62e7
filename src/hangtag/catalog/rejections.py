"""List what cannot be used, and photographs that no row names, with a code and a reason: `rejected.csv`."""

import posixpath
from collections.abc import Sequence
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import polars as pl

from hangtag.catalog.column_kinds import find_list_mark, propose_pattern
from hangtag.catalog.images import PICTURE_SUFFIXES
from hangtag.catalog.name_index import fold_path
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


def check_rows(raw: RawCatalog, most: int | None = None) -> tuple[list[Candidate], list[Rejection]]:
    """Return the photographs to decode, and a line for each rejected row.

    Args:
        raw: The catalogue.
        most: The number of rows to look at, from the first; None for all, and for what is no row too.
    """
    candidates: list[Candidate] = []
    rejected: list[Rejection] = []
    if most is None:
        rejected += [Rejection(f"line {line}", "", "bad_row", reason) for line, reason in raw.broken]
        rejected += [Rejection("", *passed_over) for passed_over in raw.skipped_folders]
        rejected += [Rejection(f"line {line}", "", "skipped_row", reason) for line, reason in raw.skipped]
    seen: dict[str, int] = {}
    for position, row in enumerate(islice(raw.rows, most)):
        item_id, paths = read_id(row[raw.schema.id]), raw.locate_photographs(position, row) or [""]
        path = paths[0]
        if not item_id:
            rejected.append(Rejection(raw.find_line(position), path, "missing_id", "the row has no id"))
        elif item_id in seen:
            reason = f"{raw.find_line(position)}: an earlier row has the same id, {raw.find_line(seen[item_id])}"
            rejected.append(Rejection(item_id, path, "duplicate_id", reason))
        else:
            seen[item_id] = position
            candidates += [Candidate(position, item_id, each, order) for order, each in enumerate(paths, 1)]
    return candidates, rejected


def find_unused(raw: RawCatalog, named: Sequence[str]) -> list[str]:
    """Return the photographs of a catalogue with a table that no row names, in order."""
    if not raw.schema.table:
        return []
    used = {posixpath.normpath(path) for path in named if path}
    files = (name for name in raw.source.names() if name.startswith(raw.base))
    left = [name for name in files if name not in used and PurePosixPath(name).suffix.lower() in PICTURE_SUFFIXES]
    folded = {fold_path(path.replace("\\", "/")) for path in used} if left else set()
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
