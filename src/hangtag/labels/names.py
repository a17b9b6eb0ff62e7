"""Match items to labels by the words of the label, as the capstone did."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from snowballstemmer import stemmer

WORD = re.compile(r"\w+")
_porter = stemmer("english")


@dataclass(frozen=True)
class Match:
    """What an item was matched to.

    Attributes:
        label: The label, or None where no witness was sure enough.
        witness: What decided: `class-words`, or `name`, `level`, `photograph` and their sums.
        score: How sure it is, 0 to 1: a cosine for class words, else a probability.
    """

    label: str | None
    witness: str
    score: float


@cache
def _stem(word: str) -> str:
    # Porter's second stemmer. His first one stems "ties" to "ti" and would miss "tie"; the later one and the
    # capstone's (NLTK's extended first one) give the same 79 matches.
    return str(_porter.stemWord(word))


def split_words(text: str) -> list[str]:
    """Give the stems of a text's words, in lower case."""
    return [_stem(word) for word in WORD.findall(text.lower())]


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
