"""Product names as a second modality: the vocabulary of names, and late fusion of name and image probabilities.

A linear classifier predicts a class from the words of a name. Its probabilities, to the power of `name_weight`, are
multiplied with those of the image (`fuse_name` in a network, `fuse` on arrays).
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hangtag.models.label_space import Probs
from hangtag.models.layers import import_keras

if TYPE_CHECKING:
    from keras import KerasTensor, Layer

# Longer names are truncated. In a real catalogue fewer than one name in a thousand is longer.
MAX_WORDS = 24
# Single letters are words too, such as the T of "T-shirt".
WORD = re.compile(r"\w+")
# Lower bounds of the probabilities, so that neither modality alone can rule out a class.
LEAST_BY_NAME, LEAST_BY_PHOTOGRAPH = 1e-4, 1e-7
TINY = 1e-12
# The weights of the fusion layer, by the last parts of their paths, after `<head>_with_name/`.
PARTS = ("words", "idf", "bias", "name_weight")
# Encoded names, (n, MAX_WORDS): indices of words from 1, filled up with 0.
Words = npt.NDArray[np.int32]
NameWeights = dict[str, npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Vocabulary:
    """The vocabulary of product names. A word is encoded as its index, counted from 1; 0 stands for no word.

    Attributes:
        words: The known words in lower case, without duplicates.
    """

    words: tuple[str, ...]

    @classmethod
    def learn(cls, names: Iterable[str], min_count: int = 2) -> "Vocabulary":
        """Build the vocabulary of all words that occur in `min_count` names or more, in alphabetical order."""
        counts = Counter(word for name in names for word in set(split_words(name)))
        return cls(tuple(sorted(word for word, count in counts.items() if count >= min_count)))

    @cached_property
    def _index_of_word(self) -> dict[str, int]:
        return {word: index for index, word in enumerate(self.words, start=1)}

    def encode(self, names: Sequence[str | None]) -> Words:
        """Encode names as the indices of their known words, int32 (n, MAX_WORDS), filled up with 0.

        A repeated word counts once. A name that is None or empty, or that has no known word, becomes a row of zeros,
        and the prediction then depends on the image alone.
        """
        words = np.zeros((len(names), MAX_WORDS), np.int32)
        for row, name in enumerate(names):
            unique = dict.fromkeys(split_words(name or ""))
            known = [index for word in unique if (index := self._index_of_word.get(word))][:MAX_WORDS]
            words[row, : len(known)] = known
        return words


def split_words(name: str) -> list[str]:
    """Return the words of a name in lower case, in their order."""
    return WORD.findall(name.lower())


@cache
def _get_name_fusion_class() -> "type[Layer]":
    """Define the fusion layer on the first call, because importing Keras takes seconds."""
    keras = import_keras()
    ops = keras.ops

    class NameFusion(keras.layers.Layer):  # type: ignore[name-defined, misc]
        """Multiply the image probabilities with a power of the name's; a name without a known word has no effect.

        Args:
            classes: The number of classes.
            num_words: The size of the vocabulary.
            **options: The options of every Keras layer.
        """

        def __init__(self, classes: int, num_words: int, **options: Any) -> None:
            super().__init__(**options)
            shapes = {
                "words": (num_words + 1, classes),
                "idf": (num_words + 1,),
                "bias": (classes,),
                "name_weight": (1,),
            }
            for part, shape in shapes.items():
                # Not trainable: these weights are fitted in a step of their own (training/name_head.py).
                setattr(self, part, self.add_weight(name=part, shape=shape, initializer="zeros", trainable=False))

        def call(self, probs: "KerasTensor", words: "KerasTensor") -> "KerasTensor":
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

        # Keras passes the arguments by name.
        def compute_output_shape(
            self,
            probs_shape: tuple[int | None, ...],
            words_shape: tuple[int | None, ...],  # noqa: ARG002
        ) -> tuple[int | None, ...]:
            return probs_shape

    return NameFusion


def fuse_name(probs: "KerasTensor", words: "KerasTensor", num_words: int, head: str) -> "KerasTensor":
    """Build the layer that fuses the image probabilities of a head with the product name.

    A linear classifier scores every class by the words of the name, weighted by their inverse document frequency. The
    scores become probabilities, and these, to the power of `name_weight`, are multiplied with the image probabilities.
    Source: Hinton, *Training Products of Experts by Minimizing Contrastive Divergence*, 2002; with a power for each,
    Genest and Zidek, *Combining Probability Distributions*, 1986.

    Args:
        probs: A Keras tensor, the image probabilities, (n, classes).
        words: A Keras tensor of encoded names, (n, MAX_WORDS).
        num_words: The size of the vocabulary.
        head: The head's name.

    Returns:
        A Keras tensor, the fused probabilities, (n, classes).
    """
    layer = _get_name_fusion_class()(probs.shape[-1], num_words, name=f"{head}_with_name", dtype="float32")
    return layer(probs, words)


def read_names(words: Words, weights: NameWeights) -> Probs:
    """Compute the class probabilities from names alone, float32 (n, classes).

    A name without a known word has uniform probabilities.

    Args:
        words: Encoded names, (n, MAX_WORDS).
        weights: The weights `words`, `idf` and `bias` of a head's fusion layer.
    """
    idf = weights["idf"][words] * (words > 0)
    length = np.sqrt((idf**2).sum(axis=1, keepdims=True))
    # Row by row, because all rows at once would need as much memory as the images.
    summed = np.stack(
        [value @ weights["words"][row] for value, row in zip(idf, words, strict=True)]
        or [np.zeros_like(weights["bias"])]
    )[: len(words)]
    with np.errstate(over="ignore"):
        # An overflow of exp is intended: the probability then is 0.
        probs = 1 / (1 + np.exp(-(summed / np.maximum(length, TINY) + weights["bias"])))
    probs /= np.maximum(probs.sum(axis=1, keepdims=True), TINY)
    probs[~(words > 0).any(axis=1)] = 1 / probs.shape[1]
    return np.asarray(probs, np.float32)


def fuse(probs: Probs, by_name: Probs, name_weight: float) -> Probs:
    """Multiply image and name probabilities as the fusion layer does, float32 (n, classes).

    Args:
        probs: The image probabilities, (n, classes).
        by_name: The name probabilities, (n, classes), of `read_names`.
        name_weight: The exponent of the name probabilities.
    """
    logs = np.log(np.maximum(probs, LEAST_BY_PHOTOGRAPH)) + name_weight * np.log(np.maximum(by_name, LEAST_BY_NAME))
    products = np.exp(logs - logs.max(axis=1, keepdims=True))
    return np.asarray(products / products.sum(axis=1, keepdims=True), np.float32)
