"""Test the FLOPs of layers against values computed by hand, and those of the capstone's network."""

import math
from collections.abc import Callable
from typing import Any

import pytest

from hangtag.errors import SettingsError
from hangtag.models.checkpoint import describe_model
from hangtag.models.flops import count_flops, describe_architectures
from hangtag.models.keras_applications import APPLICATIONS
from hangtag.models.layers import import_keras
from hangtag.models.registry import ARCHITECTURES, build_model

Layer = Callable[[Any], Any]
LAYERS: dict[str, tuple[Layer, int]] = {
    # 3 x 3 x 3 products for each of 5 values at 8 x 6 places; the bias and the ReLU cost nothing here.
    "convolution": (lambda layers: layers.Conv2D(5, 3, padding="same", activation="relu"), 2 * 27 * 5 * 48),
    "strides": (lambda layers: layers.Conv2D(5, 3, strides=2, padding="same"), 2 * 27 * 5 * 12),
    "no padding": (lambda layers: layers.Conv2D(5, 3), 2 * 27 * 5 * (6 * 4)),
    # Each of 6 values sees one of the three channels.
    "groups": (lambda layers: layers.Conv2D(6, 3, padding="same", groups=3), 2 * 9 * 6 * 48),
    "depthwise": (lambda layers: layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2), 2 * 9 * 6 * 48),
    "dense on a map": (lambda layers: layers.Dense(5), 2 * 3 * 5 * 48),
    "normalisation": (lambda layers: layers.BatchNormalization(), 0),
    "pooling": (lambda layers: layers.MaxPooling2D(), 0),
}


@pytest.mark.parametrize(("make", "flops"), LAYERS.values(), ids=LAYERS)
def test_a_layer_counts_two_operations_per_multiplication(make: Layer, flops: int) -> None:
    keras = import_keras()
    inputs = keras.Input((8, 6, 3))
    assert count_flops(keras.Model(inputs, make(keras.layers)(inputs))) == flops


def test_dense_layers_and_nested_models_are_counted() -> None:
    keras = import_keras()
    inputs = keras.Input((7,))
    inner = keras.Sequential([keras.Input((7,)), keras.layers.Dense(5), keras.layers.ReLU()])
    assert count_flops(inner) == 70
    assert count_flops(keras.Model(inputs, keras.layers.Dense(2)(inner(inputs)))) == 70 + 20


def test_the_flops_of_the_capstone_are_known() -> None:
    model = build_model("capstone", image_size=(80, 60), heads={"category_path": 30}, color_mode="color")
    convolutions = 4800 * 32 * (27 + 288) + 1200 * 64 * (288 + 576)
    assert count_flops(model) == 2 * (convolutions + 19_200 * 512 + 512 * 30) == 249_169_920


@pytest.mark.parametrize("architecture", [name for name in ARCHITECTURES if name not in APPLICATIONS])
def test_every_kernel_of_the_registry_is_counted(architecture: str) -> None:
    layers = import_keras().layers
    model = build_model(architecture, image_size=(16, 12), heads={"category_path": 4}, color_mode="gray", num_words=9)
    with_kernel = [layer for layer in model.layers if any(len(weight.shape) > 1 for weight in layer.weights)]
    counted = (layers.Conv2D, layers.DepthwiseConv2D, layers.Dense)
    # Words are looked up and added: next to nothing.
    assert [type(layer).__name__ for layer in with_kernel if not isinstance(layer, counted)] == ["NameFusion"]


def test_the_description_of_a_model_has_its_flops() -> None:
    model = build_model("residual-small", image_size=(16, 12), heads={"category_path": 4}, color_mode="color")
    described = describe_model(model)
    assert list(described) == ["parameters", "flops", "layers"]
    assert described["flops"] == count_flops(model)


def test_every_architecture_is_described() -> None:
    rows = {row["name"]: row for row in describe_architectures((80, 60), "color")}
    assert list(rows) == list(ARCHITECTURES)
    capstone = rows["capstone"]
    assert (capstone["parameters"], capstone["flops"], capstone["bytes"]) == (9_914_686, 249_169_920, 39_658_744)
    assert all(row["purpose"] and math.isfinite(row["flops"]) for row in rows.values())


def test_gray_and_smaller_photographs_need_fewer_flops() -> None:
    color, gray = (describe_architectures((16, 12), mode)[0] for mode in ("color", "gray"))
    # The stem begins with 3 x 3 x 16 products less for each of two channels, at every place.
    assert color["flops"] - gray["flops"] == 2 * (9 * 16 * 2) * (16 * 12)
    assert color["parameters"] - gray["parameters"] == 9 * 16 * 2


@pytest.mark.parametrize("image_size", [(7, 60), (80, 321)])
def test_image_sizes_without_a_network_are_refused(image_size: tuple[int, int]) -> None:
    with pytest.raises(SettingsError, match="Allowed: HEIGHTxWIDTH, each 8 to 320, as in 80x60"):
        describe_architectures(image_size, "color")
