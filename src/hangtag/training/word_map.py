"""Learn a linear map from the features of photographs to the words of product names, to find photographs by words."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hangtag.models.label_space import Indices
from hangtag.models.text import split_words

# A word needs so many names that its look can be learned.
MIN_COUNT = 10
# The penalty of the weights, in squared deviations of the targets; chosen on val (docs/experiments.md).
PENALTY = 64.0
# Dimensions of the space in which photographs are compared; chosen on val.
COMPONENTS = 128
CHUNK = 4096
Features = npt.NDArray[np.float16]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class WordMap:
    """A linear map from d features of a photograph to its words, and to the space in which photographs are compared.

    Attributes:
        counts: How many names have each word, of all words of the names.
        words: The words that are learned, those of `MIN_COUNT` names or more, in alphabetical order.
        weights: float32 (d, words). The features times the weights, plus `bias`, estimate the share of names with a
            word among products with such photographs.
        bias: float32 (words,).
        components: float32 (d, up to COMPONENTS). The centered features times the components are the estimates of all
            words along their principal components, or, without any word, the features along theirs.
        mean: float32 (d,), the mean of the features.
    """

    counts: dict[str, int]
    words: tuple[str, ...]
    weights: Floats
    bias: Floats
    components: Floats
    mean: Floats


def learn_word_map(features: Features, rows: Indices, names: Sequence[str | None]) -> WordMap:
    """Learn a map by ridge regression of the words' presence on standardized features, in closed form.

    Args:
        features: Of all photographs, float16 (n, d).
        rows: The rows of those to learn from, int64 (k,).
        names: Their k product names; None and names without a word count as no evidence against a word.
    """
    counts = Counter(word for name in names for word in set(split_words(name or "")))
    words = tuple(sorted(word for word, count in counts.items() if count >= MIN_COUNT))
    named = [index for index, name in enumerate(names) if split_words(name or "")]
    # Without names, photographs can still be compared.
    used = rows[named] if words else rows
    mean, deviation = _measure(features, used)
    covariance, products, shares = _sum_up(features, used, [names[index] for index in named], words, mean, deviation)
    values, vectors = np.linalg.eigh(covariance)
    penalty = PENALTY / max(len(used), 1)
    weights = vectors @ ((vectors.T @ products) / (values.clip(min=0) + penalty)[:, None])
    components = _find_components(weights, covariance) if words else vectors[:, ::-1][:, :COMPONENTS]
    scaled = weights / deviation[:, None]
    return WordMap(
        dict(sorted(counts.items())),
        words,
        np.asarray(scaled, np.float32),
        np.asarray(shares - mean @ scaled, np.float32),
        np.asarray(components / deviation[:, None], np.float32),
        np.asarray(mean, np.float32),
    )


def _measure(features: Features, rows: Indices) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the mean and standard deviation of each feature; those that never vary have the deviation 1."""
    total, squares = np.zeros(features.shape[1]), np.zeros(features.shape[1])
    for chunk in _iterate_chunks(features, rows):
        total += chunk.sum(axis=0)
        squares += np.square(chunk).sum(axis=0)
    mean = total / max(len(rows), 1)
    deviation = np.sqrt((squares / max(len(rows), 1) - mean**2).clip(min=0))
    deviation[deviation < 1e-6] = 1
    return mean, deviation


def _sum_up(
    features: Features,
    rows: Indices,
    names: Sequence[str | None],
    words: tuple[str, ...],
    mean: npt.NDArray[np.float64],
    deviation: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the features' covariance (d, d), their covariance with the words (d, words), and the words' shares."""
    places = {word: place for place, word in enumerate(words)}
    covariance = np.zeros((features.shape[1], features.shape[1]))
    products, shares = np.zeros((features.shape[1], len(words))), np.zeros(len(words))
    for start, chunk in zip(range(0, len(rows), CHUNK), _iterate_chunks(features, rows), strict=True):
        standardized = ((chunk - mean) / deviation).astype(np.float32)
        covariance += standardized.T @ standardized
        if words:
            present = np.zeros((len(chunk), len(words)), np.float32)
            for index, name in enumerate(names[start : start + CHUNK]):
                present[index, [places[word] for word in split_words(name or "") if word in places]] = 1
            products += standardized.T @ present
            shares += present.sum(axis=0)
    size = max(len(rows), 1)
    return covariance / size, products / size, shares / size


def _iterate_chunks(features: Features, rows: Indices) -> Iterator[npt.NDArray[np.float64]]:
    for start in range(0, len(rows), CHUNK):
        yield features[rows[start : start + CHUNK]].astype(np.float64)


def _find_components(weights: npt.NDArray[np.float64], covariance: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the weights along the principal components of the words' estimates, (d, up to COMPONENTS)."""
    _, vectors = np.linalg.eigh(weights.T @ covariance @ weights)
    return np.asarray(weights @ vectors[:, ::-1][:, :COMPONENTS])
