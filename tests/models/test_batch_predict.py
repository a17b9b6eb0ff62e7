"""Test batched prediction: padding, product names and test-time augmentation."""

from typing import Any

import numpy as np
import pytest

from hangtag.errors import ModelError
from hangtag.models.batch_predict import BATCH, iterate_head_probs, join_head_probs
from hangtag.models.text import MAX_WORDS

HEADS = {"category_path": 2, "attribute_0": 2}


class Scale:
    """Predict the red value of the upper left pixel and the first word, each as a share of 255."""

    def __init__(self, *inputs: str) -> None:
        self.input = dict.fromkeys(inputs)
        self.asked: list[dict[str, Any]] = []

    def predict_on_batch(self, inputs: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(inputs)
        red = inputs["pixels"][:, 0, 0, 0] / 255
        word = inputs["words"][:, 0] / 255 if "words" in self.input else np.zeros(len(red))
        return {head: np.stack([share, 1 - share], axis=1) for head, share in zip(HEADS, (red, word), strict=True)}


IMAGES = np.zeros((BATCH + 9, 4, 3, 3), np.uint8)
IMAGES[:, 0, 0] = (np.arange(len(IMAGES)) % 200)[:, None]
IMAGES[:, 0, -1] = 255
WORDS = np.zeros((len(IMAGES), MAX_WORDS), np.int32)
WORDS[:, 0] = np.arange(len(IMAGES)) % 100


def ask(model: Scale, rows: Any, **more: Any) -> Any:
    return join_head_probs(list(iterate_head_probs(model, IMAGES, np.asarray(rows, np.int64), **more)), HEADS)


def test_probabilities_are_by_head_in_the_requested_order() -> None:
    rows = np.arange(len(IMAGES))[::-1]
    model = Scale("pixels", "words")
    answers = ask(model, rows, words=WORDS[rows])
    assert {head: (probs.shape, str(probs.dtype)) for head, probs in answers.items()} == {
        head: ((len(rows), 2), "float32") for head in HEADS
    }
    np.testing.assert_allclose(answers["category_path"][:, 0], rows % 200 / 255, rtol=1e-6)
    np.testing.assert_allclose(answers["attribute_0"][:, 0], rows % 100 / 255, rtol=1e-6)
    assert (
        [len(asked["pixels"]) for asked in model.asked] == [len(asked["words"]) for asked in model.asked] == [256, 16]
    )


def test_missing_names_are_zeros_and_a_network_without_text_input_gets_none() -> None:
    model = Scale("pixels", "words")
    ask(model, range(3))
    assert model.asked[0]["words"].shape == (4, MAX_WORDS)
    assert model.asked[0]["words"].dtype == np.int32
    assert not model.asked[0]["words"].any()
    model = Scale("pixels")
    ask(model, range(3), words=WORDS[:3])
    assert list(model.asked[0]) == ["pixels"]


def test_a_photograph_and_its_mirror_image_have_equal_weight() -> None:
    answers = ask(Scale("pixels", "words"), range(10), words=WORDS[:10], tta_flip=True)
    np.testing.assert_allclose(answers["category_path"][:, 0], (np.arange(10) / 255 + 1) / 2, rtol=1e-6)
    # The name is the same for both.
    np.testing.assert_allclose(answers["attribute_0"][:, 0], np.arange(10) / 255, rtol=1e-6)


def test_no_rows_return_empty_arrays_of_the_right_width() -> None:
    answers = ask(Scale("pixels"), [])
    assert [(head, probs.shape, str(probs.dtype)) for head, probs in answers.items()] == [
        (head, (0, 2), "float32") for head in HEADS
    ]


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("tta_flip", [False, True])
def test_values_that_are_not_finite_in_any_head_are_an_error(head: str, tta_flip: bool) -> None:
    class Astray(Scale):
        def predict_on_batch(self, inputs: dict[str, Any]) -> dict[str, Any]:
            answers = super().predict_on_batch(inputs)
            answers[head][0, 0] = np.nan
            return answers

    with pytest.raises(ModelError, match=r"not finite.*smaller --learning-rate"):
        ask(Astray("pixels"), range(2), tta_flip=tta_flip)
