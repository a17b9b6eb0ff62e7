"""Test predictions of a loaded classifier for any number of photographs, and the checks of its input."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stub_runs import CLASS_NAMES, IMAGE_SIZE, StubModel, draw_image, make_classifier

from hangtag.errors import ModelError
from hangtag.inference.classifier import Classifier
from hangtag.models.batch_predict import BATCH
from hangtag.models.checkpoint import read_weights, save_model
from hangtag.models.label_space import CATEGORY_PATH, LabelSpace
from hangtag.models.registry import build_model
from hangtag.models.text import Vocabulary

LABEL_SPACE = LabelSpace(
    {"kind": ("Goods", "Wear"), "label": CLASS_NAMES},
    ((0, 0), (1, 1), (1, 2)),
    {"season": ("Summer", "Winter")},
    "label",
)


def draw_many(count: int) -> Any:
    return np.array([draw_image(number % 3, 0.4 + number % 50 / 100) for number in range(count)], np.uint8).reshape(
        -1, *IMAGE_SIZE, 3
    )


@pytest.mark.parametrize("count", [0, 1, 2, 3, BATCH - 1, BATCH, BATCH + 1, 2 * BATCH + 5])
def test_any_number_of_photographs_is_predicted_in_order(count: int) -> None:
    model = StubModel()
    probs = make_classifier(model).predict_proba(draw_many(count))
    assert probs.shape == (count, 3)
    assert probs.dtype == np.float32
    np.testing.assert_array_equal(probs.argmax(axis=1), np.arange(count) % 3)
    np.testing.assert_allclose(probs.max(axis=1), 0.4 + np.arange(count) % 50 / 100, rtol=1e-6)
    np.testing.assert_allclose(probs.sum(axis=1), 1, rtol=1e-6)
    assert sum(model.batch_sizes) >= count


def test_batches_are_padded_to_few_sizes_and_one_photograph_is_not_padded_to_a_batch() -> None:
    model = StubModel()
    classifier = make_classifier(model)
    images = draw_many(BATCH + 70)
    for count in range(1, len(images), 7):
        classifier.predict_proba(images[:count])
    assert model.batch_sizes[0] == 1
    assert set(model.batch_sizes) <= {1 << power for power in range(9)}


def test_rows_of_a_read_only_memory_map_are_predicted_in_the_requested_order(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", draw_many(BATCH + 40))
    images = np.load(tmp_path / "images.npy", mmap_mode="r")
    rows = np.array([5, 3, 3, *range(BATCH + 39, 0, -1)], np.int64)
    predictions = make_classifier(StubModel()).predict_rows(images, rows, "Predicting")
    assert len(predictions) == len(rows)
    np.testing.assert_array_equal(predictions.probs.argmax(axis=1), rows % 3)
    np.testing.assert_array_equal(
        make_classifier(StubModel()).predict_proba(images[:9]).argmax(axis=1), np.arange(9) % 3
    )


def test_no_rows_return_empty_probabilities() -> None:
    predictions = make_classifier(StubModel()).predict_rows(draw_many(2), np.empty(0, np.int64), "Predicting")
    assert len(predictions) == 0
    assert predictions.probs.shape == (0, 3)


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, 6, 8, 3), np.uint8),
        np.zeros((2, 8, 6, 1), np.uint8),
        np.zeros((8, 6, 3), np.uint8),
        np.zeros((0, 8, 7, 3), np.uint8),
        np.zeros((2, 8, 6, 3), np.float32),
        np.zeros((2, 8, 6, 3), np.int64),
    ],
    ids=lambda images: f"{images.dtype}-{images.shape}",
)
def test_pixels_of_another_shape_or_type_are_refused(images: Any) -> None:
    with pytest.raises(ModelError, match=r"Allowed: uint8 \(n, 8, 6, 3\)\. Received: ") as caught:
        make_classifier(StubModel()).predict_proba(images)
    assert str(images.shape) in str(caught.value)


@pytest.mark.parametrize("count", [0, 2, 4])
def test_different_numbers_of_names_and_photographs_are_refused(count: int) -> None:
    with pytest.raises(ModelError, match=rf"Allowed: 3 names.*Received: {count}"):
        make_classifier(StubModel()).predict_heads(draw_many(3), ["Blue shirt"] * count)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_probabilities_that_are_not_finite_are_refused(value: float) -> None:
    class Astray(StubModel):
        def predict_on_batch(self, inputs: Any) -> Any:
            answers = super().predict_on_batch(inputs)
            answers[CATEGORY_PATH][-1, -1] = value
            return answers

    with pytest.raises(ModelError, match="not finite"):
        make_classifier(Astray()).predict_proba(draw_many(4))


def test_padding_of_a_batch_has_no_effect() -> None:
    """Three photographs are filled up to four; only the fourth, which nobody asked for, is no number."""
    filled: list[int] = []

    class AstrayOnBlack(StubModel):
        def predict_on_batch(self, inputs: Any) -> Any:
            answers = super().predict_on_batch(inputs)
            is_black = inputs["pixels"].sum(axis=(1, 2, 3)) == 0
            answers[CATEGORY_PATH][is_black] = np.nan
            filled.append(int(is_black.sum()))
            return answers

    assert make_classifier(AstrayOnBlack()).predict_proba(draw_many(3)).shape == (3, 3)
    assert filled == [1]


def test_temperature_and_threshold_are_those_of_the_inputs_used() -> None:
    calibration = {
        "photograph": {"temperatures": {CATEGORY_PATH: 0.5}, "thresholds": {"0.9": 0.6, "0.95": 0.8, "0.98": None}},
        "photograph_and_name": {"thresholds": {"0.95": 0.7}},
    }
    classifier = Classifier(
        StubModel(),
        LabelSpace.of_classes(CLASS_NAMES),
        IMAGE_SIZE,
        {"calibration": calibration},
        Vocabulary(("shirt",)),
    )
    # At a temperature of one half every probability counts with its square.
    squares = np.array([0.6, 0.2, 0.2]) ** 2
    probs = classifier.predict_proba(draw_image(0, 0.6)[None])
    np.testing.assert_allclose(probs, [squares / squares.sum()], rtol=1e-5)
    with_names = classifier.predict_proba(draw_image(0, 0.6)[None], ["Shirt"])
    np.testing.assert_allclose(with_names, [[0.6, 0.2, 0.2]], rtol=1e-5)
    assert [classifier.find_threshold(precision) for precision in (0.9, 0.95, 0.98, 0.99)] == [0.6, 0.8, None, None]
    assert classifier.find_threshold(0.95, with_names=True) == 0.7
    assert make_classifier(StubModel()).find_threshold(0.95) is None


def save(folder: Path, vocabulary: Vocabulary | None = None, **more: Any) -> Any:
    """Save a fresh small network and give it."""
    model = build_model(
        "capstone",
        image_size=(16, 12),
        heads=LABEL_SPACE.heads,
        color_mode="gray",
        num_words=len(vocabulary.words) if vocabulary else 0,
    )
    random = np.random.default_rng(1)
    # Names say nothing in a fresh network.
    for weight in model.weights:
        if "_with_name/" in weight.path:
            weight.assign(random.uniform(0.5, 2, weight.shape))
    save_model(
        folder,
        model,
        read_weights(model),
        architecture="capstone",
        image_size=(16, 12),
        color_mode="gray",
        label_space=LABEL_SPACE,
        vocabulary=vocabulary,
        **more,
    )
    return model


def test_a_loaded_keras_model_predicts_in_inference_mode(tmp_path: Path) -> None:
    model = save(tmp_path)
    classifier = Classifier.load(tmp_path)
    assert (classifier.class_names, classifier.image_size) == (CLASS_NAMES, (16, 12))
    assert not classifier.reads_names
    images = np.random.default_rng(0).integers(0, 256, (37, 16, 12, 3), np.uint8)
    predictions = classifier.predict_heads(images)
    again, wanted = classifier.predict_heads(images), model({"pixels": images}, training=False)
    for head, probs in predictions.by_head.items():
        np.testing.assert_array_equal(probs, again.by_head[head])
        np.testing.assert_allclose(probs, np.asarray(wanted[head]), atol=1e-6)
    probs = predictions.probs
    np.testing.assert_allclose(probs, predictions.by_head[CATEGORY_PATH])
    np.testing.assert_allclose(predictions.read_probs("season"), np.asarray(wanted["attribute_0"]), atol=1e-6)
    # Neither dropout nor the other photographs of the batch have a part in an answer.
    np.testing.assert_allclose(probs[30:31], classifier.predict_proba(images[30:31]), atol=1e-6)
    assert np.ptp(probs, axis=0).max() > 0


def test_a_loaded_model_uses_names_and_tta_as_its_description_sets(tmp_path: Path) -> None:
    vocabulary = Vocabulary(("blue", "shirt", "shoe"))
    model = save(tmp_path, vocabulary, tta_flip=True)
    classifier = Classifier.load(tmp_path)
    assert classifier.reads_names
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 12, 3), np.uint8)
    names = ["Blue shirt", None]

    def ask(pixels: Any, texts: list[Any]) -> Any:
        answers = model({"pixels": pixels, "words": vocabulary.encode(texts)}, training=False)
        return np.asarray(answers[CATEGORY_PATH])

    wanted = (ask(images, names) + ask(images[:, :, ::-1], names)) / 2
    np.testing.assert_allclose(classifier.predict_proba(images, names), wanted, atol=1e-6)
    hidden = classifier.predict_proba(images)
    np.testing.assert_allclose(hidden, (ask(images, [None] * 2) + ask(images[:, :, ::-1], [None] * 2)) / 2, atol=1e-6)
    assert not np.allclose(hidden[0], wanted[0], atol=1e-4)
    np.testing.assert_allclose(hidden[1], wanted[1], atol=1e-6)
