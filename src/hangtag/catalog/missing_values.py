"""Decide which cells count as missing, by one rule that every stage uses.

The catalogue's own files are never changed by it.
"""

from collections.abc import Iterable
from functools import lru_cache

# The label of an item that has none. A cell with this text counts as missing.
UNKNOWN = "Unknown"
# These count as missing in every catalogue.
ALWAYS = ("", UNKNOWN)
# These count as missing unless the catalogue's description lists others: programs and databases write them.
# `None`, `Other` and `-` are values unless a description lists them.
SPELLINGS = ("", "NA", "N/A", "#N/A", "NaN", "null", "\\N")
# Unicode white space and characters of zero width.
BLANK = "".join(filter(str.isspace, map(chr, range(0x3001)))) + "\u200b\u200c\u200d\u2060\ufeff"


def is_missing(value: str | None, spellings: Iterable[str] = SPELLINGS) -> bool:
    """Return whether a cell counts as missing.

    A cell is missing if it is None, empty, `Unknown` or one of `spellings`. Case and surrounding white space are
    ignored.

    Args:
        value: The cell's text, or None.
        spellings: Further texts that mean "missing", usually from the catalogue's description.
    """
    return value is None or _normalize(value) in _normalize_all(tuple(spellings))


@lru_cache(maxsize=64)
def _normalize_all(spellings: tuple[str, ...]) -> frozenset[str]:
    return frozenset(map(_normalize, (*ALWAYS, *spellings)))


def strip_blank(value: str) -> str:
    """Return a value without the white space, and what has no width, at its ends: as categories are compared."""
    return value.strip(BLANK)


def _normalize(value: str) -> str:
    return strip_blank(value).casefold()
