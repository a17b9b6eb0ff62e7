"""The words of product names: a vocabulary, and its numbers."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

# Longer names are cut: of the real catalogue's, none in a thousand is longer.
MAX_WORDS = 24
# Single letters count: the T of "T-shirt".
WORD = re.compile(r"\w+")
Words = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Vocabulary:
    """The words a network knows, each by its place from 1; 0 is no word.

    Attributes:
        words: The known words, lower case, each once.
    """

    words: tuple[str, ...]

    @classmethod
    def learn(cls, names: Iterable[str], min_count: int = 2) -> "Vocabulary":
        """Take every word that occurs in `min_count` names or more, in alphabetical order."""
        counts = Counter(word for name in names for word in set(_split(name)))
        return cls(tuple(sorted(word for word, count in counts.items() if count >= min_count)))

    @cached_property
    def _places(self) -> dict[str, int]:
        return {word: place for place, word in enumerate(self.words, start=1)}

    def encode(self, names: Sequence[str | None]) -> Words:
        """Give each name's known words, each once, as numbers, int32 (n, MAX_WORDS), filled up with 0.

        A name that is None, empty, or without a known word gives zeros alone: the photograph then speaks alone.
        """
        words = np.zeros((len(names), MAX_WORDS), np.int32)
        for row, name in enumerate(names):
            found = dict.fromkeys(_split(name or ""))
            known = [place for word in found if (place := self._places.get(word))][:MAX_WORDS]
            words[row, : len(known)] = known
        return words


def _split(name: str) -> list[str]:
    return WORD.findall(name.lower())
