"""Product names are classified by the words that names of each class have in common."""

import numpy as np
import polars as pl
import pytest

from hangtag.auditing.evidence import predict_from_names
from hangtag.labels.name_classifier import FEW_NAMES, NameClassifier, fit_temperature, soften
from hangtag.models.label_space import LabelSpace

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


@pytest.mark.parametrize("wanted", [1.5, 3.0])
def test_probabilities_that_are_too_sure_are_softened_to_what_is_right(wanted: float) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (1500, 4))
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    classes = np.array([rng.choice(4, p=row) for row in probs])
    sharp = (probs**wanted / (probs**wanted).sum(axis=1, keepdims=True)).astype(np.float32)
    assert fit_temperature(sharp, classes) == pytest.approx(wanted, rel=0.15)
    np.testing.assert_allclose(soften(sharp, wanted), probs, atol=1e-4)
    # Never sharper, and as they are where there are many.
    assert fit_temperature(soften(sharp, 4 * wanted), classes) == pytest.approx(1, abs=0.01)
    many = np.concatenate([sharp, sharp[: FEW_NAMES - len(sharp)]])
    assert fit_temperature(many, np.concatenate([classes, classes[: len(many) - len(sharp)]])) == 1


def test_names_without_known_words_stay_without_probabilities() -> None:
    probs = np.array([[0, 0], [0.9, 0.1]], np.float32)
    assert soften(probs, 2.0)[0].tolist() == [0, 0]
    assert fit_temperature(np.zeros((3, 2), np.float32), np.zeros(3, np.int64)) == 1


def test_softened_probabilities_of_a_small_catalogue_say_how_often_such_names_are_right() -> None:
    rng = np.random.default_rng(1)
    words = [f"word{number}" for number in range(90)]
    classes = rng.integers(0, 6, 200)
    # A word of the class, or of any class, among words of all.
    own = np.where(rng.random(200) < 0.7, classes * 15 + rng.integers(0, 15, 200), rng.integers(0, 90, 200))
    names = [" ".join([words[each], *rng.choice(["by", "for", "in", "new", "set", "size"], 2)]) for each in own]
    space = LabelSpace({"type": tuple("abcdef")}, tuple((number,) for number in range(6)), {}, "type")
    groups = [str(row) for row in range(200)]
    found = predict_from_names(pl.Series(names), classes, space, ["abcdef"[each] for each in classes], groups)
    is_right = found.pred_probs.argmax(axis=1) == found.given
    assert found.pred_probs.max(axis=1).mean() > is_right.mean() + 0.15
    softened = soften(found.pred_probs, fit_temperature(found.pred_probs, found.given))
    assert softened.max(axis=1).mean() == pytest.approx(is_right.mean(), abs=0.06)
