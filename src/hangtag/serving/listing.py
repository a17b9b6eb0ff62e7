"""Find the photograph files that a person means by files and folders."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from hangtag.errors import CatalogError

SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")


def list_photographs(places: Sequence[Path]) -> Iterator[Path]:
    """Give files as they are named, and of folders all files below that are called like photographs.

    A folder's files come in the order of their names, its subfolders after them; hidden ones are passed over.

    Raises:
        CatalogError: A place does not exist, or a folder cannot be read; said before the first file is given.
    """
    for place in places:
        if not place.exists():
            raise CatalogError("There is no such file or folder.", received=str(place))
        if place.is_dir() and not os.access(place, os.R_OK | os.X_OK):
            raise CatalogError("The folder cannot be read.", received=str(place))
    return _walk(places)


def _walk(places: Iterable[Path]) -> Iterator[Path]:
    for place in places:
        if not place.is_dir():
            yield place
            continue
        for folder, subfolders, files in os.walk(place):
            subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
            for name in sorted(files):
                if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                    yield Path(folder, name)
