"""Test that a photograph of any training class is in distribution: its distance is that to the nearest class."""

import numpy as np
import pytest

from hangtag.models.layers import import_keras
from hangtag.models.out_of_distribution import OOD_SCORE, add_ood_score, find_limit
from hangtag.models.registry import ARCHITECTURES, Architecture, build_model

SHAPE = (16, 12, 3)


def shade(values: list[int], spread: int) -> np.ndarray:
    """Return photographs of one shade each, plus a part of their own of each channel."""
    own = np.random.default_rng(0).integers(-spread, spread + 1, (len(values), 1, 1, 3))
    return np.broadcast_to(np.array(values)[:, None, None, None] + own, (len(values), *SHAPE)).astype(np.uint8)


def test_photographs_of_every_class_are_nearer_than_those_between_the_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    keras = import_keras()

    def build(pixels: object, _dtype: object) -> list[object]:
        return [keras.layers.GlobalAveragePooling2D()(pixels)]

    monkeypatch.setitem(ARCHITECTURES, "mean", Architecture(build, "a test"))
    model = build_model("mean", image_size=SHAPE[:2], heads={"category_path": 2}, color_mode="color")
    # The second class is that of the light photographs.
    model.get_layer("category_path").set_weights(
        [np.tile(np.array([-9, 9], np.float32), (3, 1)), np.array([13.5, -13.5], np.float32)]
    )
    images = shade([50, 200] * 100, spread=10)
    scored = add_ood_score(model, images, np.arange(200))
    answers = scored({"pixels": images}, training=False)
    assert np.asarray(answers["category_path"]).argmax(axis=1).tolist() == [0, 1] * 100
    known = np.asarray(answers[OOD_SCORE])
    # The mean squared distance to the own class is the number of features.
    assert known.mean() == pytest.approx(3, rel=0.05)
    between = np.asarray(scored({"pixels": shade([125], spread=0)}, training=False)[OOD_SCORE])
    assert between[0] > 10 * find_limit(known)
