"""Names become the numbers of their known words, and a name without any says nothing at all."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hangtag.models.backend import import_keras
from hangtag.models.words import MAX_WORDS, WIDTH, Vocabulary, build_word_features

VOCABULARY = Vocabulary(("blue", "t", "shirt", "für"))


def test_words_of_two_names_or_more_are_learnt_in_alphabetical_order() -> None:
    names = ["Blue T-Shirt", "blue shoe", "Red SHIRT", "Red, red; red", "jeans jeans jeans", ""]
    assert Vocabulary.learn(names).words == ("blue", "red", "shirt")
    assert Vocabulary.learn(names, min_count=1).words == ("blue", "jeans", "red", "shirt", "shoe", "t")
    assert Vocabulary.learn(names, min_count=3).words == ()
    assert Vocabulary.learn([]).words == ()


def test_the_order_of_the_names_does_not_matter() -> None:
    names = ["a b", "b c", "c d", "d a", "e"]
    assert Vocabulary.learn(names) == Vocabulary.learn(reversed(names)) == Vocabulary(("a", "b", "c", "d"))


def test_known_words_become_their_places_and_the_others_are_passed_over() -> None:
    words = VOCABULARY.encode(["A blue T-shirt", "SHIRT für Für", "unheard of", "", None])
    assert (words.shape, str(words.dtype)) == ((5, MAX_WORDS), "int32")
    assert words[:, :4].tolist() == [[1, 2, 3, 0], [3, 4, 4, 0], [0] * 4, [0] * 4, [0] * 4]
    assert not words[:, 4:].any()


def test_no_names_give_no_rows() -> None:
    assert VOCABULARY.encode([]).shape == (0, MAX_WORDS)


def test_of_a_long_name_the_first_known_words_count() -> None:
    long = "new " * 50 + "blue " * (MAX_WORDS - 1) + "shirt t t t"
    assert VOCABULARY.encode([long])[0].tolist() == [1] * (MAX_WORDS - 1) + [3]


@given(st.lists(st.text(max_size=60), max_size=8))
def test_any_text_can_be_learnt_and_encoded(names: list[str]) -> None:
    vocabulary = Vocabulary.learn(names, min_count=1)
    assert list(vocabulary.words) == sorted(set(vocabulary.words))
    words = vocabulary.encode(names)
    assert words.min(initial=0) >= 0
    assert set(words[words > 0].tolist()) <= set(range(1, len(vocabulary.words) + 1))
    for name, row in zip(names, words, strict=True):
        found = {vocabulary.words[place - 1] for place in row if place}
        own = set(Vocabulary.learn([name], min_count=1).words)
        assert found <= own
        assert found == own or row.all()


@pytest.fixture(scope="module")
def features() -> tuple[Any, Any]:
    """The layers that read names, as a network of their own, and its vectors."""
    keras = import_keras()
    inputs = keras.Input((MAX_WORDS,), dtype="int32")
    model = keras.Model(inputs, build_word_features(inputs, len(VOCABULARY.words)))
    vectors = np.random.default_rng(0).normal(size=(len(VOCABULARY.words) + 1, WIDTH)).astype(np.float32)
    model.get_layer("words_vectors").set_weights([vectors])
    return model, vectors


def test_a_name_is_the_mean_of_its_words(features: tuple[Any, Any]) -> None:
    model, vectors = features
    found = np.asarray(model(VOCABULARY.encode(["Blue shirt", "t", "shirt shirt blue"])))
    wanted = [vectors[[1, 3]].mean(axis=0), vectors[2], vectors[[3, 3, 1]].mean(axis=0)]
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_a_name_without_known_words_is_zero(features: tuple[Any, Any]) -> None:
    model, vectors = features
    # The vector that stands for no word is not zero, and must not count.
    assert np.abs(vectors[0]).max() > 0.1
    np.testing.assert_array_equal(np.asarray(model(VOCABULARY.encode([None, "unheard of"]))), np.zeros((2, WIDTH)))


def test_what_a_name_is_filled_up_with_does_not_count(features: tuple[Any, Any]) -> None:
    model, _ = features
    words = VOCABULARY.encode(["blue shirt"])
    np.testing.assert_allclose(np.asarray(model(words)), np.asarray(model(words[:, ::-1])), atol=1e-6)
