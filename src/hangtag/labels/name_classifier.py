"""Classify products by the words of their names: logistic regressions on TF-IDF weights."""

from collections.abc import Sequence
from typing import Self

import numpy as np
import numpy.typing as npt
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import SGDClassifier

# How strongly the weights of words are drawn to zero; chosen on val (docs/experiments.md).
ALPHA = 1e-6


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
