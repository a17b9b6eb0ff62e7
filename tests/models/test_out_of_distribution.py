"""Test the out-of-distribution score, a Mahalanobis distance to the nearest class."""

import numpy as np
import pytest

from hangtag.models.keras_applications import APPLICATIONS
from hangtag.models.layers import import_keras
from hangtag.models.out_of_distribution import (
    OOD_SCORE,
    PixelStatistics,
    add_ood_score,
    compute_pixel_statistics,
    find_limit,
)
from hangtag.models.registry import ARCHITECTURES, build_model
from hangtag.models.text import MAX_WORDS

IMAGES = np.random.default_rng(0).integers(0, 256, (90, 16, 12, 3), dtype=np.uint8)


@pytest.mark.parametrize("num_words", [0, 3])
@pytest.mark.parametrize("architecture", [name for name in ARCHITECTURES if name not in APPLICATIONS])
def test_every_architecture_has_a_score_from_pixels_alone(architecture: str, num_words: int) -> None:
    import_keras().utils.set_random_seed(0)
    model = build_model(
        architecture, image_size=(16, 12), heads={"category_path": 3}, color_mode="color", num_words=num_words
    )
    told = add_ood_score(model, IMAGES, np.arange(90))
    words = np.zeros((90, MAX_WORDS), np.int32)
    inputs = {"pixels": IMAGES, "words": words}
    before, after = (each({name: inputs[name] for name in model.input}, training=False) for each in (model, told))
    np.testing.assert_array_equal(np.asarray(after["category_path"]), np.asarray(before["category_path"]))
    ood_scores = np.asarray(after[OOD_SCORE])
    assert ood_scores.shape == (90,)
    assert (ood_scores > -0.01).all()
    if num_words:
        named = told({"pixels": IMAGES, "words": words + 1}, training=False)
        np.testing.assert_array_equal(np.asarray(named[OOD_SCORE]), ood_scores)


def test_the_score_equals_the_distance_computed_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    keras = import_keras()
    from hangtag.models.registry import Architecture

    def build(pixels: object, _dtype: object) -> list[object]:
        return [keras.layers.GlobalAveragePooling2D()(pixels)]

    monkeypatch.setitem(ARCHITECTURES, "mean", Architecture(build, "a test"))
    model = build_model("mean", image_size=(16, 12), heads={"category_path": 2}, color_mode="color")
    told = add_ood_score(model, IMAGES, np.arange(90))
    features = IMAGES.mean(axis=(1, 2)) / 255
    answers = told({"pixels": IMAGES}, training=False)
    classes = np.asarray(answers["category_path"]).argmax(axis=1)
    means = [features[classes == place].mean(axis=0) for place in np.unique(classes)]
    within = features - np.stack([means[list(np.unique(classes)).index(place)] for place in classes])
    spread = np.cov(within.T)
    spread += 1e-3 * np.trace(spread) / 3 * np.eye(3) + 1e-9 * np.eye(3)
    wanted = [min((row - mean) @ np.linalg.inv(spread) @ (row - mean) for mean in means) for row in features]
    np.testing.assert_allclose(np.asarray(answers[OOD_SCORE]), wanted, rtol=0.02, atol=0.02)


def test_the_limit_accepts_99_percent_of_photographs() -> None:
    ood_scores = np.arange(1000, dtype=np.float32)
    assert (ood_scores <= find_limit(ood_scores)).mean() == pytest.approx(0.99, abs=0.002)


def draw_products(count: int, random: np.random.Generator, *, is_plain: bool) -> np.ndarray:
    """Draw rectangles of random colours on white, or on a background of stripes."""
    images = np.full((count, 80, 60, 3), 255, np.uint8)
    if not is_plain:
        stripes = random.integers(60, 200, (count, 80, 1, 3), dtype=np.uint8)
        images[:] = stripes
    for image in images:
        top, left = random.integers(5, 20, 2)
        height, width = random.integers(30, 55), random.integers(15, 35)
        image[top : top + height, left : left + width] = random.integers(0, 256, 3)
    return images


def test_photographs_on_another_background_are_out_of_distribution() -> None:
    random = np.random.default_rng(0)
    images = draw_products(900, random, is_plain=True)
    statistics = PixelStatistics.fit(images, np.arange(600), np.arange(600, 800))
    others = draw_products(100, random, is_plain=False)

    def find_inside(pixels: np.ndarray) -> np.ndarray:
        return statistics.measure(compute_pixel_statistics(pixels, np.arange(len(pixels)))) <= statistics.limit

    assert find_inside(images[800:]).mean() > 0.95
    assert not find_inside(others).any()
    stored = PixelStatistics.from_json(statistics.to_json())
    np.testing.assert_allclose(stored.whitening, statistics.whitening, atol=1e-6)


def test_the_statistics_of_pixels_are_those_of_the_brightness() -> None:
    checks = np.zeros((2, 80, 60, 3), np.uint8)
    checks[1, :, ::2] = 255
    dark, striped = compute_pixel_statistics(checks, np.arange(2))
    # Means of differences in rows and columns, shares of even ones, of white pixels, and the border's statistics.
    np.testing.assert_allclose(dark, [0, 0, 1, 1, 0, 0, 0, 0])
    np.testing.assert_allclose(striped, [1, 0, 0, 1, 0.5, 0.5, 0.5, 0.5], atol=1e-6)
    assert compute_pixel_statistics(checks, np.arange(0)).shape == (0, 8)


def test_the_limit_of_the_statistics_accepts_98_5_percent_of_validation_photographs() -> None:
    images = draw_products(1_500, np.random.default_rng(1), is_plain=True)
    statistics = PixelStatistics.fit(images, np.arange(500), np.arange(500, 1_500))
    distances = statistics.measure(compute_pixel_statistics(images, np.arange(500, 1_500)))
    assert (distances <= statistics.limit).mean() == pytest.approx(0.985, abs=0.002)
