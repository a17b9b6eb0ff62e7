"""The words of product names: a vocabulary, its numbers, and the layers that read them."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from hangtag.models.backend import import_keras

# Longer names are cut: of the real catalogue's, none in a thousand is longer.
MAX_WORDS = 24
WIDTH = 256
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
        """Give each name's known words as numbers, int32 (n, MAX_WORDS), filled up with 0.

        A name that is None, empty, or without a known word gives zeros alone: the photograph then speaks alone.
        """
        words = np.zeros((len(names), MAX_WORDS), np.int32)
        for row, name in enumerate(names):
            known = [place for word in _split(name or "") if (place := self._places.get(word))][:MAX_WORDS]
            words[row, : len(known)] = known
        return words


def _split(name: str) -> list[str]:
    return WORD.findall(name.lower())


def build_word_features(words: Any, num_words: int) -> Any:
    """Read a name as the mean of its words' vectors, zero where there is none.

    Source: Joulin et al., *Bag of Tricks for Efficient Text Classification*, 2017.

    Args:
        words: A Keras tensor (n, MAX_WORDS) of word numbers, 0 for none.
        num_words: The size of the vocabulary.

    Returns:
        (n, WIDTH).
    """
    keras = import_keras()
    vectors = keras.layers.Embedding(num_words + 1, WIDTH, name="words_vectors", dtype="float32")(words)
    is_word = keras.ops.cast(keras.ops.expand_dims(words > 0, -1), "float32")
    counts = keras.ops.maximum(keras.ops.sum(is_word, axis=1), 1.0)
    return keras.ops.sum(vectors * is_word, axis=1) / counts
