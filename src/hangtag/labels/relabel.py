"""Match ambiguous items to labels, by the words of class names or by name, level and photograph of labelled items."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import polars as pl
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import KFold
from snowballstemmer import stemmer

from hangtag.labels.name_classifier import NameClassifier, fit_temperature, soften

WORD = re.compile(r"\w+")
FOLDS = 5
# With fewer named items than this the classifier of names is not used.
MIN_NAMED_ITEMS = 50
MAX_ITER, TOL = 200, 1e-3
_porter = stemmer("english")


@dataclass(frozen=True)
class Match:
    """What an item was matched to.

    Attributes:
        label: The label, or None where no source was confident enough.
        matched_by: What decided: `class-words`, or `name`, `level`, `photograph` and their sums.
        score: How sure it is, 0 to 1: a cosine for class words, else a probability.
    """

    label: str | None
    matched_by: str
    score: float


@cache
def _stem_words(word: str) -> str:
    # Porter's second stemmer. His first one stems "ties" to "ti" and would miss "tie"; the later one and the
    # capstone's (NLTK's extended first one) give the same 79 matches.
    return str(_porter.stemWord(word))


def split_words(text: str) -> list[str]:
    """Return the stems of a text's words, in lower case."""
    return [_stem_words(word) for word in WORD.findall(text.lower())]


def match_class_words(names: Sequence[str], class_names: Sequence[str], candidates: Sequence[str]) -> list[Match]:
    """Match names to class names by cosine similarity of their stemmed words, weighted by TF-IDF.

    The weights come from the names and all class names together. The most similar candidate wins, the first
    in order on a tie; a name that shares no word with any has no match. Source: section 2.3 of the capstone report.

    Args:
        names: The products' names.
        class_names: All labels before the relabelling.
        candidates: Those of them that may be given.
    """
    if not names or not candidates:
        return [Match(None, "class-words", 0.0) for _ in names]
    vectorizer = TfidfVectorizer(tokenizer=split_words, token_pattern=None)
    weights = vectorizer.fit_transform([*names, *class_names])
    columns = [len(names) + list(class_names).index(candidate) for candidate in candidates]
    similarity = (weights[: len(names)] @ weights[columns].T).toarray()
    best = similarity.argmax(axis=1)
    scores = similarity[np.arange(len(names)), best]
    return [
        Match(candidates[index] if score > 0 else None, "class-words", round(float(score), 4))
        for index, score in zip(best, scores, strict=True)
    ]


@dataclass(frozen=True)
class Vote:
    """The label that one source of evidence suggests for an item, None if it has none, and its probability."""

    label: str | None
    probability: float


NOTHING = Vote(None, 0.0)


def match_by_votes(
    unclear: pl.DataFrame, labelled: pl.DataFrame, name: str | None, level: str, min_confidence: float
) -> tuple[list[Match], dict[str, float]]:
    """Match unclear items by three sources of evidence; by none if they are not confident or contradict each other.

    - `name`: a classifier of the words of the names, trained on the labelled items;
    - `level`: the label that nearly all labelled items with the same finest level have;
    - `photograph`: the label of a labelled item with the same pixels.

    Sources whose probability reaches `min_confidence` count, and all of them must agree.

    Args:
        unclear: The items to match, with `pixel_hash`, the level and the name column, null where one is missing.
        labelled: The others, with `label` beside these.
        name: The column of the product's name, or None.
        level: The column of the finest level.
        min_confidence: 0 to 1.

    Returns:
        A match an item, and figures of the names' classifier on labelled items it had not seen: `accuracy`,
        and `coverage` and `precision` at `min_confidence`.
    """
    votes: dict[str, list[Vote]] = {
        "photograph": _vote_by_share(unclear, labelled, "pixel_hash", prior=0.0),
        "level": _vote_by_share(unclear, labelled, level, prior=1.0),
    }
    figures: dict[str, float] = {}
    if name and len(labelled) >= MIN_NAMED_ITEMS and labelled["label"].n_unique() > 1:
        votes["name"], figures = _vote_by_name(unclear, labelled, name, min_confidence)
    return [
        _settle_votes({source: given[row] for source, given in votes.items()}, min_confidence)
        for row in range(len(unclear))
    ], figures


def _settle_votes(votes: dict[str, Vote], min_confidence: float) -> Match:
    confident = {
        source: vote
        for source, vote in sorted(votes.items())
        if vote.label is not None and vote.probability >= min_confidence
    }
    best = max(votes.values(), key=lambda vote: vote.probability)
    if not confident:
        likely = [source for source, vote in votes.items() if vote is best and vote.label is not None]
        return Match(None, "+".join(likely) or "none", round(best.probability, 4))
    matched_by = "+".join(confident)
    if len({vote.label for vote in confident.values()}) > 1:
        return Match(None, f"{matched_by} disagree", round(best.probability, 4))
    strongest = max(confident.values(), key=lambda vote: vote.probability)
    return Match(strongest.label, matched_by, round(strongest.probability, 4))


def _vote_by_share(unclear: pl.DataFrame, labelled: pl.DataFrame, column: str, prior: float) -> list[Vote]:
    """Vote for the most common label of the labelled items with the same value; `prior` counts against it.

    That two items lack a value says nothing: they have none in common.
    """
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for value, label in zip(labelled[column], labelled["label"], strict=True):
        if value is not None:
            counts[value][label] += 1
    votes = []
    for value in unclear[column]:
        if value not in counts:
            votes.append(NOTHING)
            continue
        label, count = max(counts[value].items(), key=lambda entry: (entry[1], entry[0]))
        votes.append(Vote(label, count / (counts[value].total() + prior)))
    return votes


def _vote_by_name(
    unclear: pl.DataFrame, labelled: pl.DataFrame, name: str, min_confidence: float
) -> tuple[list[Vote], dict[str, float]]:
    names, labels = labelled[name].fill_null("").to_list(), labelled["label"].to_numpy()
    unseen, classes = _predict_unseen(names, labels)
    temperature = fit_temperature(unseen, classes)
    metrics = _measure_accuracy(soften(unseen, temperature), classes, min_confidence)
    classifier = NameClassifier(MAX_ITER, tol=TOL).fit(names, labels)
    probs = soften(classifier.predict_proba(unclear[name].fill_null("").to_list()), temperature)
    votes = [Vote(str(classifier.classes_[row.argmax()]), float(row.max())) if row.any() else NOTHING for row in probs]
    return votes, metrics


def _predict_unseen(
    names: Sequence[str], labels: npt.NDArray[np.object_]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Return the probabilities of names by cross-validation, and their classes; without those of rare labels."""
    classes = np.unique(labels, return_inverse=True)[1]
    # A rare label may be missing from a fold's training part, and would get no probability there.
    common = np.bincount(classes)[classes] >= 2 * FOLDS
    names, classes = [name for name, keep in zip(names, common, strict=True) if keep], classes[common]
    classes = np.unique(classes, return_inverse=True)[1]
    probs = np.zeros((len(names), int(classes.max(initial=0)) + 1), np.float32)
    if probs.shape[1] > 1:
        for train, held_out in KFold(FOLDS, shuffle=True, random_state=0).split(names):
            classifier = NameClassifier(MAX_ITER, tol=TOL).fit([names[index] for index in train], classes[train])
            found = classifier.predict_proba([names[index] for index in held_out])
            probs[np.ix_(held_out, classifier.classes_)] = found
    return probs, classes


def _measure_accuracy(
    probs: npt.NDArray[np.float32], classes: npt.NDArray[np.int64], min_confidence: float
) -> dict[str, float]:
    """Return the accuracy of the classifier of names on unseen items, and that of its sure predictions."""
    if probs.shape[1] < 2:
        return {}
    correct = probs.argmax(axis=1) == classes
    sure = probs.max(axis=1) >= min_confidence
    return {
        "accuracy": round(float(correct.mean()), 4),
        "coverage": round(float(sure.mean()), 4),
        "precision": round(float(correct[sure].mean()), 4) if sure.any() else 0.0,
    }
