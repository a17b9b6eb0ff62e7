"""Classify products by the words of their names: logistic regressions on TF-IDF weights."""

from collections.abc import Sequence
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import SGDClassifier

# How strongly the weights of words are drawn to zero; chosen on val (docs/experiments.md).
ALPHA = 1e-6
# With fewer names the probabilities are too high: of those above .9 some .75 are right (benchmarks/name_confidence.py).
FEW_NAMES = 2000
MOST_TEMPERATURE, LEAST_PROBABILITY = 20.0, 1e-6


class NameClassifier:
    """A classifier of product names, one logistic regression for each class.

    Stochastic gradient descent takes a third of the time of L-BFGS, with .979 against .974 of unseen names right
    (docs/experiments.md).

    Attributes:
        classes_: The classes in sorted order, after `fit`.
    """

    def __init__(self, max_iter: int, *, tol: float | None = None, max_words: int | None = None) -> None:
        """Set up a classifier.

        Args:
            max_iter: Passes over the names.
            tol: Stop earlier when the loss improves by less; None makes every pass.
            max_words: Keep only so many words, the most frequent; None keeps all.
        """
        self._vectorizer = TfidfVectorizer(
            token_pattern=r"(?u)\b\w+\b", sublinear_tf=True, dtype=np.float32, max_features=max_words
        )
        self._model = build_regression(max_iter, tol=tol)

    def fit(self, names: Sequence[str], classes: Sequence[object] | npt.NDArray[np.generic]) -> Self:
        """Train on names and their classes, at least two of them."""
        self._model.fit(self._vectorizer.fit_transform(names), classes)
        self.classes_ = self._model.classes_
        return self

    def predict_proba(self, names: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return the probabilities of the classes, float32 (n, classes); zeros where no word of a name is known."""
        if not names:
            return np.zeros((0, len(self.classes_)), np.float32)
        words = self._vectorizer.transform(names)
        probs = self._model.predict_proba(words).astype(np.float32)
        # Without a known word the regressions return the frequencies of the classes, which is no evidence.
        probs[np.diff(words.indptr) == 0] = 0
        return np.asarray(probs)


def build_regression(max_iter: int, *, tol: float | None = None, seed: int = 0) -> SGDClassifier:
    """Return the logistic regression of word weights, not trained yet."""
    return SGDClassifier(loss="log_loss", alpha=ALPHA, max_iter=max_iter, tol=tol, random_state=seed, n_jobs=-1)


def fit_temperature(probs: npt.NDArray[np.float32], classes: npt.NDArray[np.int64]) -> float:
    """Return the temperature with which the probabilities of the likeliest classes say how often these are right.

    It is that of the least binary cross-entropy, and 1 for `FEW_NAMES` and more, and where nothing can be measured. It
    is at least 1: labels that are wrong make right predictions look wrong, never the reverse.

    Args:
        probs: Probabilities from classifiers that have not seen the names, (n, classes); zeros where no word is known.
        classes: The class of each name, (n,).
    """
    known = probs.sum(axis=1) > 0
    if len(probs) >= FEW_NAMES or not known.any():
        return 1.0
    is_right = (probs.argmax(axis=1) == classes)[known]

    def measure(log_temperature: float) -> float:
        top = (
            soften(probs[known], float(np.exp(log_temperature)))
            .max(axis=1)
            .clip(LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
        )
        return -float(np.log(np.where(is_right, top, 1 - top)).sum())

    found = minimize_scalar(measure, bounds=(0.0, float(np.log(MOST_TEMPERATURE))), method="bounded")
    return float(np.exp(found.x))


def soften(probs: npt.NDArray[np.float32], temperature: float) -> npt.NDArray[np.float32]:
    """Return probabilities scaled by a temperature, (n, classes); rows of zeros stay as they are."""
    if temperature == 1:
        return probs
    scaled = probs.astype(np.float64) ** (1 / temperature)
    return np.asarray(scaled / np.maximum(scaled.sum(axis=1, keepdims=True), np.finfo(float).tiny), np.float32)
