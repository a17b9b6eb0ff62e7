"""Keep a catalogue's photographs, and what became of each, by columns: ten million objects would take gigabytes."""

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple, overload

import numpy as np
import numpy.typing as npt
import polars as pl

# Texts that are Python objects at a time, on their way into a column.
PART = 65_536
Indices = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Rejected:
    """The reason for leaving a photograph out: a stable code and a text for the user."""

    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Decoded:
    """The size and mode of a packed photograph's file, before resizing."""

    width: int
    height: int
    mode: str


Outcome = Decoded | Rejected


class Outcomes(Sequence[Outcome]):
    """The outcome of each photograph, 12 bytes each; those with the same reason share it."""

    def __init__(self) -> None:
        self._widths, self._heights, self._kinds = array("i"), array("i"), array("i")
        # The mode of a decoded photograph or the reason for leaving one out, by its number in `_kinds`.
        self._numbers: dict[str | Rejected, int] = {}
        self._found: list[str | Rejected] = []

    def __len__(self) -> int:
        return len(self._kinds)

    @overload
    def __getitem__(self, index: int) -> Outcome: ...
    @overload
    def __getitem__(self, index: slice) -> list[Outcome]: ...
    def __getitem__(self, index: int | slice) -> Outcome | list[Outcome]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        found = self._found[self._kinds[index]]
        return found if isinstance(found, Rejected) else Decoded(self._widths[index], self._heights[index], found)

    def append(self, outcome: Outcome) -> None:
        """Add the outcome of the next photograph."""
        if isinstance(outcome, Rejected):
            self._add(0, 0, outcome)
        else:
            self._add(outcome.width, outcome.height, outcome.mode)

    def reject(self, index: int, rejected: Rejected) -> None:
        """Leave out a photograph that was decoded."""
        self._kinds[index] = self._number(rejected)

    def find_decoded(self) -> npt.NDArray[np.bool_]:
        """Return which photographs are usable, (n,)."""
        usable = np.array([isinstance(found, str) for found in self._found], bool)
        return usable[np.array(self._kinds, np.int32)]

    def describe(self, indices: Indices) -> pl.DataFrame:
        """Return the `width`, `height` and `mode` of some photographs that were decoded, a row for each."""
        modes = pl.Series([found if isinstance(found, str) else None for found in self._found], dtype=pl.String)
        sizes = (np.array(sides, np.int32)[indices].astype(np.int64) for sides in (self._widths, self._heights))
        width, height = sizes
        return pl.DataFrame(
            {"width": width, "height": height, "mode": modes.gather(np.array(self._kinds, np.int32)[indices])}
        )

    def _add(self, width: int, height: int, found: str | Rejected) -> None:
        self._widths.append(width)
        self._heights.append(height)
        self._kinds.append(self._number(found))

    def _number(self, found: str | Rejected) -> int:
        number = self._numbers.setdefault(found, len(self._found))
        if number == len(self._found):
            self._found.append(found)
        return number


class Chunk(NamedTuple):
    """Photographs that are decoded at once: where each is, the name that it is kept under, and its stamp."""

    paths: Sequence[str | Path]
    names: Sequence[str]
    stamps: Sequence[str]


@dataclass(frozen=True)
class Photographs:
    """Photographs that are to be packed.

    Attributes:
        paths: Where each is, String (n,): a path inside the catalogue, or of a file elsewhere.
        is_elsewhere: Whether it is a file elsewhere, as a downloaded one, (n,).
        stamps: A text for each that changes when its file does, String (n,).
        items: The item of each, int (n,); those of an item follow each other.
    """

    paths: pl.Series
    is_elsewhere: npt.NDArray[np.bool_]
    stamps: pl.Series
    items: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, indices: Indices) -> Chunk:
        """Return some photographs, as objects."""
        names = self.paths.gather(indices).to_list()
        elsewhere = self.is_elsewhere[indices].tolist()
        paths = [Path(name) if is_file else name for name, is_file in zip(names, elsewhere, strict=True)]
        return Chunk(paths, names, self.stamps.gather(indices).to_list())


def collect_texts(texts: Iterable[str | None]) -> pl.Series:
    """Return a column of texts, String (n,), of which only some are Python objects at a time."""
    texts, parts = iter(texts), [pl.Series(dtype=pl.String)]
    while part := list(islice(texts, PART)):
        parts.append(pl.Series(part, dtype=pl.String))
    return pl.concat(parts, rechunk=True)
