"""Product names as a second modality: the vocabulary, and the layer that multiplies name and image probabilities."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from hangtag.models.label_space import Probs
from hangtag.models.layers import import_keras

# The words of product names: a vocabulary, and its numbers.

# Longer names are cut: of the real catalogue's, none in a thousand is longer.
MAX_WORDS = 24
# Single letters count: the T of "T-shirt".
WORD = re.compile(r"\w+")
Words = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Vocabulary:
    """The words that a network knows, each by its index from 1; 0 is an unknown word.

    Attributes:
        words: The known words, lower case, each once.
    """

    words: tuple[str, ...]

    @classmethod
    def learn(cls, names: Iterable[str], min_count: int = 2) -> "Vocabulary":
        """Build the vocabulary of all words that occur in `min_count` names or more, in alphabetical order."""
        counts = Counter(word for name in names for word in set(_split_words(name)))
        return cls(tuple(sorted(word for word, count in counts.items() if count >= min_count)))

    @cached_property
    def _places(self) -> dict[str, int]:
        return {word: index for index, word in enumerate(self.words, start=1)}

    def encode(self, names: Sequence[str | None]) -> Words:
        """Return each name's known words, each once, as numbers, int32 (n, MAX_WORDS), filled up with 0.

        A name that is None, empty, or without a known word gives zeros only: then the image decides alone.
        """
        words = np.zeros((len(names), MAX_WORDS), np.int32)
        for row, name in enumerate(names):
            found = dict.fromkeys(_split_words(name or ""))
            known = [index for word in found if (index := self._places.get(word))][:MAX_WORDS]
            words[row, : len(known)] = known
        return words


def _split_words(name: str) -> list[str]:
    return WORD.findall(name.lower())


# Added to both, so that neither modality rules a class out.
LEAST_BY_NAME, LEAST_BY_PHOTOGRAPH = 1e-4, 1e-7
TINY = 1e-12
# The last parts of the paths of the layer's weights, after `<head>_with_name/`.
PARTS = ("words", "idf", "bias", "name_weight")
NameWeights = dict[str, np.typing.NDArray[np.float32]]


@cache
def _find_class() -> Any:
    keras = import_keras()
    ops = keras.ops

    class NameFusion(keras.layers.Layer):  # type: ignore[name-defined, misc]
        """Multiplies the image probabilities with a power of the name's; a name without a known word has no effect.

        Args:
            classes: The number of classes.
            num_words: The size of the vocabulary.
        """

        def __init__(self, classes: int, num_words: int, **more: Any) -> None:
            super().__init__(**more)
            shapes = {
                "words": (num_words + 1, classes),
                "idf": (num_words + 1,),
                "bias": (classes,),
                "name_weight": (1,),
            }
            for part, shape in shapes.items():
                # They are learnt by themselves, not by the steps of the network: see training/names.py.
                setattr(self, part, self.add_weight(name=part, shape=shape, initializer="zeros", trainable=False))

        def call(self, probs: Any, words: Any) -> Any:
            is_word = ops.cast(words > 0, "float32")
            idf = ops.take(self.idf, words, axis=0) * is_word
            length = ops.sqrt(ops.sum(ops.square(idf), axis=1, keepdims=True))
            summed = ops.sum(ops.take(self.words, words, axis=0) * ops.expand_dims(idf, -1), axis=1)
            by_name = ops.sigmoid(summed / ops.maximum(length, TINY) + self.bias)
            by_name = by_name / ops.maximum(ops.sum(by_name, axis=1, keepdims=True), TINY)
            name_weight = self.name_weight * ops.max(is_word, axis=1, keepdims=True)
            return ops.softmax(
                ops.log(ops.maximum(probs, LEAST_BY_PHOTOGRAPH))
                + name_weight * ops.log(ops.maximum(by_name, LEAST_BY_NAME))
            )

        def compute_output_shape(self, probs_shape: Any, words_shape: Any) -> Any:  # noqa: ARG002  (Keras goes by names)
            return probs_shape

    return NameFusion


def fuse_name(probs: Any, words: Any, num_words: int, head: str) -> Any:
    """Return a head's probabilities by photograph and name, (n, classes).

    A linear classifier for every class scores the words, weighed by how rare they are; the scores become
    probabilities, and these, to the power of `name_weight`, a factor. Source: Hinton, *Training Products of Experts by
    Minimizing Contrastive Divergence*, 2002; with a power for each, Genest and Zidek, *Combining Probability
    Distributions*, 1986.

    Args:
        probs: A Keras tensor, the photograph's probabilities, (n, classes).
        words: A Keras tensor (n, MAX_WORDS) of word numbers, 0 for none.
        num_words: The size of the vocabulary.
        head: The head's name.
    """
    layer = _find_class()(probs.shape[-1], num_words, name=f"{head}_with_name", dtype="float32")
    return layer(probs, words)


def read_names(words: Words, weights: NameWeights) -> Probs:
    """Return the probabilities from names alone, float32 (n, classes); uniform without a known word.

    Args:
        words: (n, MAX_WORDS).
        weights: `words`, `idf` and `bias` of a head.
    """
    idf = weights["idf"][words] * (words > 0)
    length = np.sqrt((idf**2).sum(axis=1, keepdims=True))
    # A row at a time: all rows at once would take as much memory as the photographs.
    summed = np.stack(
        [value @ weights["words"][row] for value, row in zip(idf, words, strict=True)]
        or [np.zeros_like(weights["bias"])]
    )[: len(words)]
    with np.errstate(over="ignore"):
        # exp of a large number is infinite, and the probability 0, as it should be.
        probs = 1 / (1 + np.exp(-(summed / np.maximum(length, TINY) + weights["bias"])))
    probs /= np.maximum(probs.sum(axis=1, keepdims=True), TINY)
    probs[~(words > 0).any(axis=1)] = 1 / probs.shape[1]
    return np.asarray(probs, np.float32)


def fuse(probs: Probs, by_name: Probs, name_weight: float) -> Probs:
    """Return the product of image and name probabilities, float32 (n, classes), as the layer computes it."""
    logs = np.log(np.maximum(probs, LEAST_BY_PHOTOGRAPH)) + name_weight * np.log(np.maximum(by_name, LEAST_BY_NAME))
    raised = np.exp(logs - logs.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True), np.float32)
