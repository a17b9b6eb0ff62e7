"""Heatmaps equal Grad-CAM computed by hand and by gradients, for Keras and exported networks."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from hangtag.explain.grad_cam import Evidence, contrast_classes, enlarge, rectify, sum_evidence
from hangtag.explain.heatmap import compute_heatmaps, open_feature_reader
from hangtag.models.checkpoint import assign_weights, read_weights
from hangtag.models.layers import import_keras
from hangtag.models.network_file import NETWORK
from hangtag.models.openvino import ExportedNetwork, save_network
from hangtag.models.out_of_distribution import add_ood_score
from hangtag.models.registry import build_model
from hangtag.models.text import MAX_WORDS

SIZE = (32, 24)
PIXELS = np.random.default_rng(0).integers(0, 256, (3, *SIZE, 3), dtype=np.uint8)
WORDS = np.random.default_rng(1).integers(0, 4, (3, MAX_WORDS), dtype=np.int32)
WANTED = np.array([[1, 1, 0, 0, 0], [0, 0, 1, 0, 0], [1, 0, 0, 1, 1]], bool)


def build(architecture: str, num_words: int = 0) -> Any:
    import_keras().utils.set_random_seed(3)
    model = build_model(
        architecture,
        image_size=SIZE,
        heads={"category_path": 5, "attribute_0": 2},
        color_mode="color",
        num_words=num_words,
    )
    # Off their initial values, so that every channel and every bias counts.
    random = np.random.default_rng(2)
    weights = read_weights(model)
    moved = {
        path: (each + random.uniform(-0.05, 0.05, each.shape)).astype(np.float32) for path, each in weights.items()
    }
    assign_weights(model, moved)
    return model


def follow(model: Any, last_maps: list[str]) -> npt.NDArray[np.float32]:
    """Return Grad-CAM of the wanted classes' probability, by TensorFlow's gradients, over all maps at once."""
    import tensorflow as tf

    keras = import_keras()
    ends = [model.get_layer(name).output for name in last_maps]
    reader = keras.Model(model.input, [*ends, model.output["category_path"]])
    with tf.GradientTape() as tape:
        *maps, probs = reader({"pixels": PIXELS, "words": WORDS} if "words" in model.input else {"pixels": PIXELS})
        score = tf.math.log(tf.reduce_sum(tf.where(WANTED, probs, 0), axis=1))
    gradients = tape.gradient(score, maps)
    parts = [
        np.einsum("nrkc,nc->nrk", own.numpy().astype(float), gradient.numpy().astype(float).mean(axis=(1, 2)))
        for own, gradient in zip(maps, gradients, strict=True)
    ]
    return rectify(np.sum(parts, axis=0))


@pytest.mark.parametrize(
    ("architecture", "num_words", "last_maps"),
    [
        ("residual-tiny", 0, ["stage4_1_relu2"]),
        ("residual-small", 3, ["member1_stage4_1_relu2", "member2_stage4_1_relu2"]),
        ("capstone", 0, ["conv2_2"]),
        ("capstone", 3, ["conv2_2"]),
    ],
)
def test_heatmaps_equal_grad_cam_by_gradients(architecture: str, num_words: int, last_maps: list[str]) -> None:
    model = build(architecture, num_words)
    words = WORDS if num_words else None
    found = compute_heatmaps(
        model, open_feature_reader(model), PIXELS, "category_path", WANTED, words=words, tta_flip=False
    )
    wanted = follow(model, last_maps)
    assert np.ptp(wanted, axis=(1, 2)).max() > 0.1
    np.testing.assert_allclose(found, wanted, atol=2e-3)


@pytest.mark.parametrize(("architecture", "num_words"), [("residual-tiny", 3), ("residual-small", 0)])
def test_an_exported_network_has_the_heatmaps_of_the_keras_network(
    architecture: str, num_words: int, tmp_path: Path
) -> None:
    model = build(architecture, num_words)
    save_network(tmp_path, add_ood_score(model, PIXELS, np.arange(3)))
    network = ExportedNetwork(tmp_path / NETWORK, exact=True)
    words = WORDS if num_words else None
    for head, mask in (("category_path", WANTED), ("attribute_0", WANTED[:, 1:3])):
        wanted, found = (
            compute_heatmaps(each, open_feature_reader(each), PIXELS, head, mask, words=words, tta_flip=True)
            for each in (model, network)
        )
        np.testing.assert_allclose(found, wanted, atol=2e-3)
    assert set(open_feature_reader(network).heads) == {"category_path", "attribute_0"}


def test_an_exported_network_without_maps_says_that_it_has_none(tmp_path: Path) -> None:
    save_network(tmp_path, build("capstone"))
    assert open_feature_reader(ExportedNetwork(tmp_path / NETWORK)).heads == ()


def test_an_object_that_is_no_network_has_no_maps() -> None:
    assert open_feature_reader(object()).heads == ()


def test_a_mirror_image_is_turned_back() -> None:
    model = build("residual-tiny")
    feature_reader = open_feature_reader(model)
    both = compute_heatmaps(model, feature_reader, PIXELS, "category_path", WANTED, words=None, tta_flip=True)
    turned = compute_heatmaps(
        model, feature_reader, PIXELS[:, :, ::-1], "category_path", WANTED, words=None, tta_flip=True
    )
    np.testing.assert_allclose(turned, both[:, :, ::-1], atol=1e-4)


def test_a_saturated_probability_still_has_evidence_for_a_class() -> None:
    contrast, slope = contrast_classes(np.array([[200.0, 0.0, 1.0]]), np.array([[True, False, False]]))
    share = float(1 / (1 + np.e))
    np.testing.assert_allclose(contrast, np.array([[1.0, -share, share - 1]]))
    assert 0 < slope[0] < 1e-80
    everything = contrast_classes(np.array([[3.0, 1.0]]), np.array([[True, True]]))
    nothing = contrast_classes(np.array([[3.0, 1.0]]), np.array([[False, False]]))
    assert everything[1] == nothing[1] == 0


def test_the_evidence_of_a_cell_is_its_channels_times_the_head_weights() -> None:
    maps = np.zeros((1, 2, 2, 2))
    maps[0, 0, 0], maps[0, 1, 1] = (3, 0), (0, 2)
    weights = np.array([[1.0, 0.0], [0.0, 1.0]])
    first = np.array([[True, False]])
    sums = sum_evidence([Evidence(maps, maps.mean(axis=(1, 2)) @ weights, weights)], first)
    np.testing.assert_allclose(sums[0] / sums[0, 0, 0], np.array([[1.0, 0.0], [0.0, -2 / 3]]))
    assert rectify(sums)[0].tolist() == [[1, 0], [0, 0]]
    assert not rectify(-np.abs(sums)).any()


def test_an_enlarged_map_stays_within_its_range_and_place() -> None:
    small = np.zeros((1, 5, 4), np.float32)
    small[0, 1, 3] = 1
    large = enlarge(small, (80, 60))
    assert large.shape == (1, 80, 60)
    assert (str(large.dtype), float(large.min())) == ("float32", 0.0)
    row, column = np.unravel_index(large[0].argmax(), (80, 60))
    assert 16 <= row < 32
    assert 45 <= column < 60
    assert enlarge(small[:0], (8, 6)).shape == (0, 8, 6)
