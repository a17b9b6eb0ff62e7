"""Missing values: one rule for what counts as a missing cell, used by every stage.

What a catalogue delivered stays as it is on disk.
"""

from collections.abc import Iterable
from functools import lru_cache

# The label of an item without one. As a cell it counts as missing.
UNKNOWN = "Unknown"
# Missing in every catalogue.
ALWAYS = ("", UNKNOWN)
# Missing unless the catalogue's description names other spellings: what spreadsheets and programs write. `None`,
# `Other` and `-` are values unless a description names them.
SPELLINGS = ("", "NA", "N/A", "#N/A", "NaN", "null")
# Unicode's white space, and what has no width at all.
BLANK = "".join(filter(str.isspace, map(chr, range(0x3001)))) + "\u200b\u200c\u200d\u2060\ufeff"


def is_missing(value: str | None, spellings: Iterable[str] = SPELLINGS) -> bool:
    """Return whether a cell counts as missing.

    That is a cell that is empty, is `Unknown`, or is one of the spellings, whatever its case and the white space around
    it.

    Args:
        value: The cell's text, or None.
        spellings: Those that the catalogue's description names beside these two.
    """
    return value is None or _fold(value) in _fold_all(tuple(spellings))


@lru_cache(maxsize=64)
def _fold_all(spellings: tuple[str, ...]) -> frozenset[str]:
    return frozenset(map(_fold, (*ALWAYS, *spellings)))


def strip_blank(value: str) -> str:
    """Return a value without the white space, and what has no width, at its ends: as categories are compared."""
    return value.strip(BLANK)


def _fold(value: str) -> str:
    return strip_blank(value).casefold()
