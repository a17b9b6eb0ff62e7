"""Test the classifiers of product names and the choice of the name weight."""

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from hangtag.models.label_space import CATEGORY_PATH, LabelSpace
from hangtag.models.text import Vocabulary, fuse, read_names
from hangtag.training.name_head import ABSENT_CLASS_SCORE, choose_name_weight, train_names

KINDS = ("shirt", "shoe", "bag")
RANDOM = np.random.default_rng(0)
CLASSES = RANDOM.integers(0, 3, 300)
NAMES = [f"{RANDOM.choice(['blue', 'red', 'new'])} {KINDS[place]} brand{RANDOM.integers(9)}" for place in CLASSES]
VOCABULARY = Vocabulary.learn(NAMES)
WORDS = VOCABULARY.encode(NAMES)
NUM_WORDS = len(VOCABULARY.words)


def test_name_heads_classify_by_distinctive_words() -> None:
    name_weights = train_names(WORDS, {CATEGORY_PATH: CLASSES}, {CATEGORY_PATH: 3}, NUM_WORDS, 0)[CATEGORY_PATH]
    assert {part: value.shape for part, value in name_weights.items()} == {
        "words": (NUM_WORDS + 1, 3),
        "idf": (NUM_WORDS + 1,),
        "bias": (3,),
    }
    unseen = VOCABULARY.encode(["red bag", "a shoe of no brand", "shirt brand3 new"])
    assert read_names(unseen, name_weights).argmax(axis=1).tolist() == [2, 1, 0]


def test_idf_equals_that_of_scikit_learn() -> None:
    name_weights = train_names(WORDS, {CATEGORY_PATH: CLASSES}, {CATEGORY_PATH: 3}, NUM_WORDS, 0)[CATEGORY_PATH]
    vectorizer = TfidfVectorizer(binary=True).fit(NAMES)
    wanted = [vectorizer.idf_[vectorizer.vocabulary_[word]] for word in VOCABULARY.words]
    np.testing.assert_allclose(name_weights["idf"][1:], wanted, rtol=1e-6)


@pytest.mark.parametrize("present", [[0, 2], [1]])
def test_classes_without_a_training_name_are_never_predicted(present: list[int]) -> None:
    chosen = np.isin(CLASSES, present)
    name_weights = train_names(WORDS[chosen], {CATEGORY_PATH: CLASSES[chosen]}, {CATEGORY_PATH: 3}, NUM_WORDS, 0)[
        CATEGORY_PATH
    ]
    absent = [place for place in range(3) if place not in present]
    assert (name_weights["bias"][absent] == ABSENT_CLASS_SCORE).all()
    found = read_names(WORDS[chosen], name_weights)
    assert found[:, absent].max() < 1e-4
    assert (found.argmax(axis=1) == CLASSES[chosen]).all()


def test_items_without_a_value_or_a_known_word_are_not_trained_on() -> None:
    more = np.concatenate([WORDS, WORDS[:20], np.zeros_like(WORDS[:5])])
    classes = np.concatenate([CLASSES, np.full(20, -1), np.zeros(5, np.int64)])
    name_weights = train_names(more, {CATEGORY_PATH: classes}, {CATEGORY_PATH: 3}, NUM_WORDS, 0)[CATEGORY_PATH]
    assert (read_names(WORDS, name_weights).argmax(axis=1) == CLASSES).all()


@pytest.mark.parametrize("is_true", [True, False])
def test_the_name_weight_is_high_only_for_useful_names(is_true: bool) -> None:
    label_space = LabelSpace.of_classes(KINDS)
    name_weights = train_names(WORDS, {CATEGORY_PATH: CLASSES}, {CATEGORY_PATH: 3}, NUM_WORDS, 0)
    truth = CLASSES if is_true else RANDOM.permutation(CLASSES)
    photographs = np.full((len(truth), 3), 0.15, np.float32)
    photographs[np.arange(len(truth)), truth] = 0.7
    wrong = RANDOM.random(len(truth)) < 0.2
    photographs[wrong] = photographs[wrong][:, [1, 2, 0]]
    name_weight = choose_name_weight(
        {CATEGORY_PATH: photographs}, WORDS, {CATEGORY_PATH: truth}, label_space, name_weights
    )[CATEGORY_PATH]
    assert (name_weight >= 1) is is_true
    if is_true:
        both = fuse(photographs, read_names(WORDS, name_weights[CATEGORY_PATH]), name_weight)
        assert (both.argmax(axis=1) == truth).mean() > (photographs.argmax(axis=1) == truth).mean() + 0.1
