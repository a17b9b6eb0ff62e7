"""Test the Vision Transformer: position embeddings, attention weights and image sizes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hangtag.models.checkpoint import assign_weights, read_weights
from hangtag.models.flops import count_flops
from hangtag.models.layers import import_keras
from hangtag.models.openvino import ExportedNetwork, save_network
from hangtag.models.registry import build_model
from hangtag.models.vit import build_vit
from hangtag.training.optimizers import make_muon_class

NAMES = ["vit", "vit-stem"]
PIXELS = np.random.default_rng(0).integers(0, 256, (3, 80, 60, 3), dtype=np.uint8)


def build(name: str, image_size: tuple[int, int] | None = (80, 60), dtype: str = "float32") -> Any:
    return build_model(name, image_size=image_size, heads={"category_path": 4}, color_mode="color", dtype=dtype)


def look_behind(model: Any, layer: str, pixels: Any = PIXELS) -> Any:
    return np.asarray(import_keras().Model(model.input, model.get_layer(layer).output)({"pixels": pixels}))


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize(("name", "patches"), [("vit", 8 * 6), ("vit-stem", 10 * 8)])
def test_attention_weights_are_float32_shares_of_all_patches(name: str, patches: int, dtype: str) -> None:
    attention = look_behind(build(name, dtype=dtype), "block2_attention")
    assert (attention.ndim, attention.shape[0], attention.shape[2:]) == (4, 3, (patches, patches))
    assert str(attention.dtype) == "float32"
    np.testing.assert_allclose(attention.sum(axis=-1), 1, atol=1e-5)
    assert attention.min() >= 0
    assert np.ptp(attention) > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_the_same_weights_work_for_every_image_size(name: str) -> None:
    fixed, free = build(name), build(name, None)
    assign_weights(free, read_weights(fixed))
    np.testing.assert_allclose(
        free({"pixels": PIXELS})["category_path"], fixed({"pixels": PIXELS})["category_path"], atol=1e-5
    )
    # Sides that no patch divides.
    odd = np.asarray(free({"pixels": PIXELS[:, :43, :31]})["category_path"])
    np.testing.assert_allclose(odd.sum(axis=1), 1, atol=1e-5)


def test_position_embeddings_distinguish_patches() -> None:
    keras = import_keras()
    inputs = keras.Input((None, None, 3))
    places = keras.Model(inputs, build(NAMES[0]).get_layer("positions")(keras.layers.Dense(192)(inputs)))
    places.layers[1].set_weights([np.zeros((3, 192), np.float32), np.zeros(192, np.float32)])
    small, large = (np.asarray(places(np.zeros((1, *sides, 3), np.float32)))[0] for sides in ((4, 3), (12, 9)))
    # The middle of a part of the picture has the same place at every size.
    np.testing.assert_allclose(small, large[1::3, 1::3], atol=1e-5)
    flat = large.reshape(-1, 192)
    distances = np.linalg.norm(flat[:, None] - flat[None], axis=-1) + 1e9 * np.eye(len(flat))
    assert distances.min() > 1


def test_the_order_of_patches_changes_the_prediction() -> None:
    model = build("vit")
    turned = np.roll(PIXELS, 10, axis=1)
    assert (
        np.abs(
            np.asarray(model({"pixels": PIXELS})["category_path"] - model({"pixels": turned})["category_path"])
        ).max()
        > 1e-4
    )


def test_heads_are_linear_in_the_last_feature_map() -> None:
    """What a class activation map reads: the features are the mean of the map before them."""
    model = build("vit")
    last, pooled = look_behind(model, "last_norm"), look_behind(model, "pool")
    assert last.shape == (3, 8, 6, 192)
    np.testing.assert_allclose(last.mean(axis=(1, 2)), pooled, atol=1e-5)


def test_the_flops_of_a_block_equal_a_computation_by_hand() -> None:
    keras = import_keras()
    inputs = keras.Input((20, 10, 3))
    (features,) = build_vit(inputs, width=8, depth=1, heads=2, patch=5, dropout=0.0)
    patches, width = 4 * 2, 8
    products = patches * 75 * width + 4 * patches * width**2 + 2 * patches * 4 * width**2 + 2 * patches**2 * width
    assert count_flops(keras.Model(inputs, features)) == 2 * products


def test_muon_updates_the_matrices_of_blocks_and_no_other_matrices() -> None:
    model, optimizer = build("vit"), make_muon_class()(0.01)
    optimizer.build(model.trainable_variables)
    by_muon = {
        weight.path
        for weight, velocity in zip(model.trainable_variables, optimizer.adam_velocities, strict=True)
        if velocity is None
    }
    depth = sum(layer.name.endswith("_attention") for layer in model.layers)
    parts = ("query", "key", "value", "output", "grow", "shrink")
    assert by_muon == {f"block{place}_{part}/kernel" for place in range(1, depth + 1) for part in parts}


@pytest.mark.parametrize("name", NAMES)
def test_the_engine_predicts_like_keras(name: str, tmp_path: Path) -> None:
    model = build(name)
    save_network(tmp_path, model)
    found = ExportedNetwork(tmp_path / "network.xml", exact=True).predict_on_batch({"pixels": PIXELS})
    np.testing.assert_allclose(found["category_path"], model({"pixels": PIXELS})["category_path"], atol=1e-5)
