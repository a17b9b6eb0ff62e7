"""Product names are classified by the words that names of each class have in common."""

import numpy as np
import pytest

from hangtag.labels.name_classifier import NameClassifier

NAMES = ["Red shirt", "Blue shirt", "Shirt, striped", "Brown shoe", "Shoe in black", "Running shoe"]
CLASSES = ["Shirts"] * 3 + ["Shoes"] * 3


@pytest.fixture(scope="module")
def classifier() -> NameClassifier:
    return NameClassifier(50).fit(NAMES, CLASSES)


def test_unseen_names_are_classified_by_their_words(classifier: NameClassifier) -> None:
    probs = classifier.predict_proba(["Green SHIRT", "old shoe"])
    assert classifier.classes_[probs.argmax(axis=1)].tolist() == ["Shirts", "Shoes"]
    np.testing.assert_allclose(probs.sum(axis=1), 1, rtol=1e-5)


def test_a_name_without_a_known_word_has_no_probabilities(classifier: NameClassifier) -> None:
    assert classifier.predict_proba(["unheard words", ""]).tolist() == [[0, 0], [0, 0]]
    assert classifier.predict_proba([]).shape == (0, 2)


def test_only_the_most_frequent_words_are_kept() -> None:
    classifier = NameClassifier(50, max_words=2).fit(NAMES, CLASSES)
    assert classifier.predict_proba(["red"]).tolist() == [[0, 0]]
    assert classifier.predict_proba(["shoe"]).argmax() == 1
