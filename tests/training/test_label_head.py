"""Test the rescaling of the label head after training."""

import numpy as np
import pytest

from hangtag.models.checkpoint import Weights
from hangtag.training.calibration import normalize_label_head


@pytest.fixture
def weights() -> Weights:
    random = np.random.default_rng(0)
    sizes = np.array([4.0, 1.0, 0.5, 0.0], np.float32)
    return {
        "category_path_member1/kernel": random.normal(size=(6, 4)).astype(np.float32) * sizes,
        "category_path_member2/kernel": random.normal(size=(6, 4)).astype(np.float32) * sizes * 3,
        "category_path_member1/bias": np.arange(4, dtype=np.float32),
        "category_path_with_name/words": np.ones((3, 4), np.float32),
        "attribute_0/kernel": random.normal(size=(6, 2)).astype(np.float32),
    }


def test_all_category_paths_get_the_mean_norm_and_keep_their_direction(weights: Weights) -> None:
    scaled = normalize_label_head(weights, 1.0)
    for path in ("category_path_member1/kernel", "category_path_member2/kernel"):
        norms, before = (np.linalg.norm(each[path], axis=0)[:3] for each in (scaled, weights))
        # A category path without weights counts as one of norm 1.
        np.testing.assert_allclose(norms, (before.sum() + 1) / 4, rtol=1e-5)
        np.testing.assert_allclose(scaled[path][:, :3] / norms, weights[path][:, :3] / before, rtol=1e-4)
        assert not scaled[path][:, 3].any()
        assert scaled[path].dtype == np.float32


def test_half_the_power_moves_norms_half_of_the_way_in_logarithms(weights: Weights) -> None:
    path = "category_path_member1/kernel"
    norms = {tau: np.linalg.norm(normalize_label_head(weights, tau)[path], axis=0)[:3] for tau in (0.0, 0.5, 1.0)}
    np.testing.assert_allclose(norms[0.5] ** 2, norms[0.0] * norms[1.0], rtol=1e-5)


def test_nothing_else_changes(weights: Weights) -> None:
    copies = {path: value.copy() for path, value in weights.items()}
    scaled = normalize_label_head(weights, 1.0)
    assert list(scaled) == list(weights)
    for path, value in copies.items():
        np.testing.assert_array_equal(weights[path], value)
        assert (path.endswith("kernel") and path.startswith("category_path")) or scaled[path] is weights[path]


def test_without_power_all_weights_stay_as_they_are(weights: Weights) -> None:
    scaled = normalize_label_head(weights, 0.0)
    assert all(scaled[path] is value for path, value in weights.items())
