"""Test the out-of-distribution score, a Mahalanobis distance to the nearest class."""

import numpy as np
import pytest

from hangtag.models.keras_applications import APPLICATIONS
from hangtag.models.layers import import_keras
from hangtag.models.out_of_distribution import OOD_SCORE, add_ood_score, find_limit
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
