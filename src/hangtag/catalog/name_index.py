"""Find a file whose name is written in another way: by another system, or by hand in a table."""

import posixpath
import unicodedata
from collections import defaultdict
from collections.abc import Iterable


class NameIndex:
    """Find a file whose name is written in another way: by another system, or by hand in a table.

    Names are compared without their case, white space at the ends of their parts, and the way in which accents are
    written (a Mac takes them apart). A name stands for a file where exactly one is left.

    Args:
        names: The names of all files.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names: dict[str, str] = {}
        self._more: dict[str, list[str]] = defaultdict(list)
        for name in names:
            folded = fold_path(name)
            # Most names are their own: one text in memory is enough.
            if self._names.setdefault(name if folded == name else folded, name) != name:
                self._more[folded].append(name)

    def find(self, name: str) -> str | None:
        """Return the only file that a name can stand for, or None."""
        for written in dict.fromkeys((name, name.replace("\\", "/"))):
            folded = fold_path(written)
            if (first := self._names.get(folded)) is None:
                continue
            found = [first, *self._more.get(folded, ())]
            # Files that differ in their case are told apart where the case is that of one of them.
            same_case = [each for each in found if _tidy_path(each) == _tidy_path(written)]
            return (same_case or found)[0] if len(same_case or found) == 1 else None
        return None


def _tidy_path(name: str) -> str:
    parts = posixpath.normpath(unicodedata.normalize("NFC", name)).split("/")
    stem, dot, suffix = parts[-1].rpartition(".")
    last = stem.strip() + dot + suffix.strip() if stem.strip() else parts[-1].strip()
    return "/".join([*(part.strip() for part in parts[:-1]), last])


def fold_path(name: str) -> str:
    """Return a path as names are compared; see `NameIndex`."""
    # Composed again, since a capital may be a letter and an accent where the small one is a single letter.
    return unicodedata.normalize("NFC", _tidy_path(name).lower())
