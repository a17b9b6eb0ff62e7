"""A classifier takes any number of photographs, always answers the same, and refuses what it cannot take."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hangtag.errors import ModelError
from hangtag.inference.classifier import BATCH, Classifier
from hangtag.models.registry import build_model
from hangtag.models.storage import read_weights, save_model
from stub_runs import CLASS_NAMES, IMAGE_SIZE, StubModel, draw_image, make_classifier


def draw_many(count: int) -> Any:
    return np.array([draw_image(number % 3, 0.4 + number % 50 / 100) for number in range(count)], np.uint8).reshape(
        -1, *IMAGE_SIZE, 3
    )


@pytest.mark.parametrize("count", [0, 1, 2, 3, BATCH - 1, BATCH, BATCH + 1, 2 * BATCH + 5])
def test_any_number_of_photographs_is_answered_in_order(count: int) -> None:
    model = StubModel()
    probs = make_classifier(model).predict_probs(draw_many(count))
    assert probs.shape == (count, 3)
    assert probs.dtype == np.float32
    np.testing.assert_array_equal(probs.argmax(axis=1), np.arange(count) % 3)
    np.testing.assert_allclose(probs.max(axis=1), 0.4 + np.arange(count) % 50 / 100, rtol=1e-6)
    np.testing.assert_allclose(probs.sum(axis=1), 1, rtol=1e-6)
    assert sum(model.batch_sizes) >= count


def test_few_shapes_reach_the_network_and_one_photograph_does_not_cost_a_batch() -> None:
    model = StubModel()
    classifier = make_classifier(model)
    images = draw_many(BATCH + 70)
    for count in range(1, len(images), 7):
        classifier.predict_probs(images[:count])
    assert model.batch_sizes[0] == 1
    assert set(model.batch_sizes) <= {1 << power for power in range(9)}


def test_rows_of_a_read_only_memory_map_are_answered_in_the_order_asked(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", draw_many(BATCH + 40))
    images = np.load(tmp_path / "images.npy", mmap_mode="r")
    rows = np.array([5, 3, 3, *range(BATCH + 39, 0, -1)], np.int64)
    probs = make_classifier(StubModel()).predict_rows(images, rows, "Predicting")
    np.testing.assert_array_equal(probs.argmax(axis=1), rows % 3)
    np.testing.assert_array_equal(
        make_classifier(StubModel()).predict_probs(images[:9]).argmax(axis=1), np.arange(9) % 3
    )


def test_no_rows_give_no_probabilities() -> None:
    probs = make_classifier(StubModel()).predict_rows(draw_many(2), np.empty(0, np.int64), "Predicting")
    assert probs.shape == (0, 3)


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
        make_classifier(StubModel()).predict_probs(images)
    assert str(images.shape) in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_model_that_gives_no_numbers_is_refused(value: float) -> None:
    class Astray(StubModel):
        def predict_on_batch(self, images: Any) -> Any:
            probs = super().predict_on_batch(images)
            probs[-1, -1] = value
            return probs

    with pytest.raises(ModelError, match="gives no numbers"):
        make_classifier(Astray()).predict_probs(draw_many(4))


def test_what_fills_a_batch_up_does_not_count() -> None:
    """Three photographs are filled up to four; only the fourth, which nobody asked for, is no number."""

    class AstrayOnBlack(StubModel):
        def predict_on_batch(self, images: Any) -> Any:
            probs = super().predict_on_batch(images)
            probs[images.sum(axis=(1, 2, 3)) == 0] = np.nan
            return probs

    assert make_classifier(AstrayOnBlack()).predict_probs(draw_many(3)).shape == (3, 3)


def test_a_saved_keras_model_answers_as_it_does_in_inference(tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"image_size": (16, 12), "num_classes": 3, "color_mode": "gray"}
    model = build_model("capstone", **arguments)
    save_model(
        tmp_path, model, read_weights(model), architecture="capstone", arguments=arguments, class_names=CLASS_NAMES
    )
    classifier = Classifier.load(tmp_path)
    assert (classifier.class_names, classifier.image_size) == (CLASS_NAMES, (16, 12))
    images = np.random.default_rng(0).integers(0, 256, (37, 16, 12, 3), np.uint8)
    probs = classifier.predict_probs(images)
    np.testing.assert_array_equal(probs, classifier.predict_probs(images))
    np.testing.assert_allclose(probs, np.asarray(model(images, training=False)), atol=1e-6)
    # Neither dropout nor the other photographs of the batch have a part in an answer.
    np.testing.assert_allclose(probs[30:31], classifier.predict_probs(images[30:31]), atol=1e-6)
    assert np.ptp(probs, axis=0).max() > 0
