"""Test the text input: name probabilities and their fusion with image probabilities."""

from typing import Any

import numpy as np
import pytest

from hangtag.models.layers import import_keras
from hangtag.models.text import MAX_WORDS, NameWeights, Vocabulary, fuse, fuse_name, read_names

VOCABULARY = Vocabulary(("blue", "shirt", "shoe"))
NAMES = ["Blue shirt", "shoe", None, "shirt shirt", "unheard of", "shoe shirt blue"]
WORDS = VOCABULARY.encode(NAMES)
RANDOM = np.random.default_rng(0)
PROBS = RANDOM.dirichlet([1] * 4, len(NAMES)).astype(np.float32)
NAME_WEIGHT = 1.5


@pytest.fixture(scope="module")
def weights() -> NameWeights:
    return {
        "words": RANDOM.normal(size=(4, 4)).astype(np.float32),
        "idf": np.array([9, 1, 2, 3], np.float32),
        "bias": RANDOM.normal(size=4).astype(np.float32),
    }


@pytest.fixture(scope="module")
def fused(weights: NameWeights) -> Any:
    keras = import_keras()
    probs, words = keras.Input((4,)), keras.Input((MAX_WORDS,), dtype="int32")
    model = keras.Model([probs, words], fuse_name(probs, words, 3, "category_path"))
    found = {weight.path.rsplit("/", 1)[-1]: weight for weight in model.weights}
    for part, value in (weights | {"name_weight": np.array([NAME_WEIGHT], np.float32)}).items():
        found[part].assign(value)
    return np.asarray(model([PROBS, WORDS]))


def test_name_logits_use_the_tf_idf_of_words(weights: NameWeights) -> None:
    found = read_names(WORDS, weights)
    scores = (weights["words"][1] * 1 + weights["words"][2] * 2) / np.sqrt(5) + weights["bias"]
    wanted = 1 / (1 + np.exp(-scores))
    np.testing.assert_allclose(found[0], wanted / wanted.sum(), rtol=1e-5)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(found[[2, 4]], 0.25)


def test_the_layer_equals_numpy(weights: NameWeights, fused: Any) -> None:
    np.testing.assert_allclose(fused, fuse(PROBS, read_names(WORDS, weights), NAME_WEIGHT), atol=1e-6)
    wanted = PROBS[0] * read_names(WORDS, weights)[0] ** NAME_WEIGHT
    np.testing.assert_allclose(fused[0], wanted / wanted.sum(), atol=1e-6)
    assert np.abs(fused[0] - PROBS[0]).max() > 0.01


def test_without_a_known_word_only_the_image_counts(fused: Any) -> None:
    np.testing.assert_allclose(fused[[2, 4]], PROBS[[2, 4]], atol=1e-6)


def test_the_order_of_the_words_does_not_matter(weights: NameWeights) -> None:
    np.testing.assert_allclose(read_names(WORDS, weights), read_names(WORDS[:, ::-1], weights), atol=1e-6)


def test_classes_without_names_have_probability_zero_and_no_warning(weights: NameWeights) -> None:
    bias = weights["bias"].copy()
    bias[2] = -1000
    probs = read_names(WORDS[:2], weights | {"bias": bias})
    assert (probs[:, 2] == 0).all()
    np.testing.assert_allclose(probs.sum(axis=1), 1, rtol=1e-6)


def test_no_names_return_no_rows(weights: NameWeights) -> None:
    assert read_names(WORDS[:0], weights).shape == (0, 4)


def test_the_name_weight_decides_between_a_photograph_and_a_contradicting_name() -> None:
    sure, other = np.array([[1, 0]], np.float32), np.array([[0, 1]], np.float32)
    assert fuse(sure, other, 3.0)[0, 1] > 0.9
    assert fuse(sure, other, 1.0)[0, 0] > 0.9
    np.testing.assert_allclose(fuse(sure, other, 0.0), sure, atol=1e-6)
