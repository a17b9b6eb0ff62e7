"""List what cannot be used, and photographs that no row names, with a code and a reason: `rejected.csv`."""

import posixpath
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

import polars as pl

from hangtag.catalog.images import PICTURE_SUFFIXES
from hangtag.catalog.name_index import fold_path
from hangtag.catalog.reader import RawCatalog

# Photographs that no row names have a line each in `rejected.csv`, up to so many.
MAX_UNUSED_LINES = 1000
REJECTED = {"item_id": pl.String, "image_path": pl.String, "code": pl.String, "reason": pl.String}


class Rejection(NamedTuple):
    """A line of `rejected.csv`."""

    item_id: str
    image_path: str
    code: str
    reason: str


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
