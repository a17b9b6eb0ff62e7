"""Find the photograph files that a person means by files and folders."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from hangtag.catalog.files import is_inside, walk
from hangtag.errors import CatalogError
from hangtag.inference.stream import Failure

SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
OUTSIDE = Failure("outside_folder", "the link leads out of the folder; name what it leads to by itself")


class Listed(NamedTuple):
    """A photograph's file, or what a folder has that is not read.

    Attributes:
        path: Where it is.
        failure: Why it is not read; None for what is.
    """

    path: Path
    failure: Failure | None = None


def list_photographs(places: Sequence[Path]) -> Iterator[Path]:
    """Give the files of `list_entries` that are to be read."""
    entries = list_entries(places)
    return (entry.path for entry in entries if entry.failure is None)


def list_entries(places: Sequence[Path]) -> Iterator[Listed]:
    """Yield files as they are named, and of folders all files below that are called like photographs.

    A folder's files come in the order of their names, its subfolders after them; hidden ones are passed over. Links
    that are named are followed. Of those in a folder, what leads out of it is not read and comes with the reason, and
    links to its own subfolders are passed over, since their photographs are listed there.

    Raises:
        CatalogError: A place does not exist, or a folder cannot be read; said before the first file is given.
    """
    for place in places:
        # Unlike Path.exists, it raises nothing, whatever the name.
        if not os.path.exists(place):  # noqa: PTH110
            raise CatalogError("There is no such file or folder.", received=str(place))
        if place.is_dir() and not os.access(place, os.R_OK | os.X_OK):
            raise CatalogError("The folder cannot be read.", received=str(place))
    return _list(places)


def _list(places: Iterable[Path]) -> Iterator[Listed]:
    for place in places:
        if place.is_dir():
            yield from _list_folder(place)
        else:
            yield Listed(place)


def _list_folder(place: Path) -> Iterator[Listed]:
    for found in walk(place):
        path = place / found.name
        if found.error is not None and not found.is_link:
            yield Listed(path, Failure(found.error.code, f"the folder cannot be read ({found.error.reason})"))
        elif found.error is not None or found.name.lower().endswith(SUFFIXES):
            if found.is_link and not is_inside(path, place):
                yield Listed(path, OUTSIDE)
            elif found.error is None:
                yield Listed(path)
