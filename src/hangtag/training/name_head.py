"""Train the classifier of product names for each head, and choose its weight relative to the image."""

from collections.abc import Mapping

import numpy as np
from scipy.sparse import csr_matrix

from hangtag.console import show_progress
from hangtag.labels.name_classifier import build_regression
from hangtag.models.batch_predict import ProbsByHead, apply_temperature
from hangtag.models.label_space import NO_VALUE, Indices, LabelSpace, Probs
from hangtag.models.text import NameWeights, Words, fuse, read_names
from hangtag.training.calibration import fit_temperatures
from hangtag.training.losses import LEAST_PROBABILITY

# The number of passes over the names, chosen on val (docs/experiments.md).
PASSES = 8
NAME_WEIGHTS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0)
# The default where there are no validation items to choose it on.
NAME_WEIGHT = 1.5
# The logit of a class without a training name.
ABSENT_CLASS_SCORE = -20.0


def train_names(
    words: Words, classes: Mapping[str, Indices], heads: Mapping[str, int], num_words: int, seed: int
) -> dict[str, NameWeights]:
    """Train a classifier of product names for each head: logistic regressions on the TF-IDF weights of words.

    Args:
        words: The encoded training names, (n, MAX_WORDS).
        classes: The class indices of each head, int64 (n,); `NO_VALUE` for an item without a value.
        heads: The number of classes of each head.
        num_words: The size of the vocabulary.
        seed: The seed of the order of the names.

    Returns:
        For each head the arrays `words` (num_words + 1, classes), `idf` (num_words + 1,) and `bias` (classes,); see
        `read_names` in `models/text.py`.
    """
    counts = np.bincount(words[words > 0], minlength=num_words + 1)
    idf = (np.log((1 + len(words)) / (1 + counts)) + 1).astype(np.float32)
    rows, indices = np.nonzero(words)
    values = idf[words[rows, indices]]
    lengths = np.sqrt(np.bincount(rows, values.astype(np.float64) ** 2, minlength=len(words)))
    table = csr_matrix((values / lengths[rows], (rows, words[rows, indices])), (len(words), num_words + 1))
    weights = {}
    with show_progress("Training on names", len(heads), "heads") as bar:
        for head, size in heads.items():
            usable = np.flatnonzero((classes[head] != NO_VALUE) & (words > 0).any(axis=1))
            weights[head] = _train_head(table[usable], classes[head][usable], size, seed) | {"idf": idf}
            bar.advance()
    return weights


def _train_head(table: csr_matrix, classes: Indices, size: int, seed: int) -> NameWeights:
    weights, bias = np.zeros((table.shape[1], size), np.float32), np.full(size, ABSENT_CLASS_SCORE, np.float32)
    present = np.unique(classes)
    if len(present) < 2:
        bias[present] = 0
        return {"words": weights, "bias": bias}
    model = build_regression(PASSES, seed=seed).fit(table, classes)
    # With two classes scikit-learn fits one row of coefficients, for the second class.
    slopes, starts = (model.coef_, model.intercept_)
    if len(present) == 2:
        slopes, starts = np.concatenate([-slopes, slopes]), np.concatenate([-starts, starts])
    weights[:, present], bias[present] = slopes.T, starts
    return {"words": weights, "bias": bias}


def choose_name_weight(
    probs_by_head: ProbsByHead,
    words: Words,
    classes: Mapping[str, Indices],
    label_space: LabelSpace,
    name_weights: Mapping[str, NameWeights],
) -> dict[str, float]:
    """Choose for each head the name weight, the exponent of the name probabilities, with the lowest loss on val.

    Args:
        probs_by_head: The image probabilities on val, by head.
        words: The encoded names of the same items.
        classes: Their class indices.
        label_space: The classes of the heads.
        name_weights: The result of `train_names`.
    """
    chosen = {}
    for head, probs in probs_by_head.items():
        by_name = read_names(words, name_weights[head])
        losses = [
            _measure_cross_entropy(head, fuse(probs, by_name, name_weight), classes, label_space)
            for name_weight in NAME_WEIGHTS
        ]
        chosen[head] = NAME_WEIGHTS[int(np.argmin(losses))]
    return chosen


def _measure_cross_entropy(head: str, probs: Probs, classes: Mapping[str, Indices], label_space: LabelSpace) -> float:
    """Return the cross-entropy at the best temperature, so that miscalibration has no effect on the choice."""
    temperature = fit_temperatures({head: probs}, dict(classes), label_space)[head]
    known = np.flatnonzero(classes[head] != NO_VALUE)
    own = apply_temperature(probs[known], temperature)[np.arange(len(known)), classes[head][known]]
    return float(-np.log(own.clip(LEAST_PROBABILITY, 1)).mean()) if len(known) else 0.0
