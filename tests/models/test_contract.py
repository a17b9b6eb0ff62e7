"""What every architecture of the registry has to do, and the capstone's own figures."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hangtag.config import ColorMode
from hangtag.models.backend import import_keras
from hangtag.models.registry import ARCHITECTURES, build_model
from hangtag.models.storage import assign_weights, describe_model, load_saved, read_weights, save_model

IMAGE_SIZE = (16, 12)
PIXELS = np.random.default_rng(0).integers(0, 256, (5, *IMAGE_SIZE, 3), dtype=np.uint8)
MODES: tuple[ColorMode, ...] = ("color", "gray")


def build(architecture: str, color_mode: ColorMode, dtype: str | None = None) -> Any:
    return build_model(architecture, image_size=IMAGE_SIZE, num_classes=4, color_mode=color_mode, dtype=dtype)


@pytest.mark.parametrize("color_mode", MODES)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_saved_model_comes_back_the_same(architecture: str, color_mode: ColorMode, tmp_path: Path) -> None:
    model = build(architecture, color_mode)
    # Moved off their initial values, the normalisation's statistics count in the comparison too.
    random = np.random.default_rng(1)
    weights = {
        path: (value + random.uniform(0.1, 0.2, value.shape)).astype(np.float32)
        for path, value in read_weights(model).items()
    }
    assign_weights(model, weights)
    arguments = {"image_size": IMAGE_SIZE, "num_classes": 4, "color_mode": color_mode}
    names = ("a", "b", "c", "d")
    paths = save_model(
        tmp_path, model, weights, architecture=architecture, arguments=arguments, class_names=names, note=1
    )
    saved = load_saved(tmp_path)
    assert sorted(path.name for path in paths) == sorted(path.name for path in tmp_path.iterdir())
    assert (saved.class_names, saved.image_size, saved.description["note"]) == (names, IMAGE_SIZE, 1)
    assert saved.description["parameters"] == describe_model(model)["parameters"]
    np.testing.assert_array_equal(saved.model.predict_on_batch(PIXELS), model.predict_on_batch(PIXELS))


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_model_gives_float32_probabilities_from_pixels(architecture: str, dtype: str) -> None:
    model = build(architecture, "color", dtype)
    probs = np.asarray(model.predict_on_batch(PIXELS))
    assert (probs.shape, str(probs.dtype)) == ((5, 4), "float32")
    np.testing.assert_allclose(probs.sum(axis=1), 1, atol=1e-5)
    assert {str(weight.dtype) for weight in model.trainable_weights} == {"float32"}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_precision_leaves_no_policy_behind(architecture: str) -> None:
    keras = import_keras()
    build(architecture, "color", "mixed_bfloat16")
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_layers_account_for_all_parameters(architecture: str) -> None:
    described = describe_model(build(architecture, "color"))
    parameters = described["parameters"]
    assert sum(layer["parameters"] for layer in described["layers"]) == parameters["total"]
    assert parameters["trainable"] + parameters["non_trainable"] == parameters["total"]


@pytest.mark.parametrize(("color_mode", "total"), [("color", 9_914_686), ("gray", 9_914_110)])
def test_the_capstone_has_the_parameters_of_its_summary_table(color_mode: ColorMode, total: int) -> None:
    model = build_model("capstone", image_size=(80, 60), num_classes=30, color_mode=color_mode)
    assert describe_model(model)["parameters"] == {
        "total": total,
        "trainable": total - 1_408,
        "non_trainable": 1_408,
    }


def test_the_capstone_has_the_shapes_of_its_summary_table() -> None:
    model = build_model("capstone", image_size=(80, 60), num_classes=30, color_mode="color")
    layers = {layer["name"]: layer for layer in describe_model(model)["layers"]}
    shapes = {name: layers[name]["output_shape"] for name in ("dropout1", "dropout2", "flatten", "dense")}
    assert shapes == {"dropout1": [40, 30, 32], "dropout2": [20, 15, 64], "flatten": [19_200], "dense": [512]}
    assert layers["dense"]["parameters"] == 9_830_912
    rates = [layer.rate for layer in model.layers if type(layer).__name__ == "Dropout"]
    assert rates == [0.2, 0.2, 0.25]


def look_behind(model: Any, layer: str) -> Any:
    keras = import_keras()
    return np.asarray(keras.Model(model.input, model.get_layer(layer).output).predict_on_batch(PIXELS))


def test_color_is_rescaled_inside_the_model() -> None:
    np.testing.assert_allclose(look_behind(build("capstone", "color"), "rescale"), PIXELS / 255, atol=1e-6)


def test_gray_is_the_luma_of_itu_r_601() -> None:
    wanted = (PIXELS @ np.array([0.299, 0.587, 0.114]))[..., np.newaxis] / 255
    np.testing.assert_allclose(look_behind(build("capstone", "gray"), "gray"), wanted, atol=1e-6)
