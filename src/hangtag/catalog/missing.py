"""What counts as a missing cell: one rule that every stage, from the reader to the report, goes by."""

from collections.abc import Iterable
from functools import lru_cache

# The label of an item that has none. As a cell it says no more than an empty one.
UNKNOWN = "Unknown"
# Missing whatever a catalogue's description says.
ALWAYS = ("", UNKNOWN)
# What else is, unless the description says otherwise: what spreadsheets and programs write. No word that people use
# for a thing is among them: `None`, `Other` and `-` are values until a description calls them missing.
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


def _fold(value: str) -> str:
    return value.strip(BLANK).casefold()
