"""Test the requirements on every architecture of the registry, and the capstone's network."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hangtag.models.checkpoint import assign_weights, describe_model, load_saved, read_weights, save_model
from hangtag.models.keras_applications import APPLICATIONS
from hangtag.models.label_space import LabelSpace
from hangtag.models.layers import import_keras
from hangtag.models.registry import ARCHITECTURES, build_model
from hangtag.models.text import MAX_WORDS, Vocabulary
from hangtag.train_config import ColorMode

IMAGE_SIZE = (16, 12)
RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (5, *IMAGE_SIZE, 3), dtype=np.uint8)
VOCABULARY = Vocabulary(("blue", "shirt", "shoe"))
WORDS = VOCABULARY.encode(["Blue shirt", "shoe", None, "shirt shirt", "unheard of"])
# Those of Keras are large and need larger photographs: see tests/models/test_keras_applications.py. Two more are
# efficientnet-lite0 with more blocks.
OWN = [name for name in ARCHITECTURES if name not in APPLICATIONS and not name.endswith(("-lite1", "-lite2"))]
MODES: tuple[ColorMode, ...] = ("color", "gray")
LABEL_SPACE = LabelSpace(
    {"kind": ("Goods", "Wear"), "label": ("Bag", "Shirt", "Shoe")},
    ((0, 0), (1, 1), (1, 2), (-1, 2)),
    {"season": ("Summer", "Winter"), "base colour": ("Blue", "Red", "White")},
    "label",
)


def build(architecture: str, color_mode: ColorMode, dtype: str | None = None, num_words: int = 0) -> Any:
    return build_model(
        architecture,
        image_size=IMAGE_SIZE,
        heads=LABEL_SPACE.heads,
        color_mode=color_mode,
        num_words=num_words,
        dtype=dtype,
    )


def answer(model: Any, rows: slice = slice(None)) -> dict[str, Any]:
    """Call the network at once: to compile it first, as `predict_on_batch` does, takes most of a test's time."""
    inputs = {"pixels": PIXELS[rows], "words": WORDS[rows]}
    answers = model({name: inputs[name] for name in model.input}, training=False)
    return {head: np.asarray(probs) for head, probs in answers.items()}


@pytest.mark.parametrize(("color_mode", "vocabulary"), [("color", None), ("gray", None), ("color", VOCABULARY)])
@pytest.mark.parametrize("architecture", OWN)
def test_a_saved_model_is_loaded_unchanged(
    architecture: str, color_mode: ColorMode, vocabulary: Vocabulary | None, tmp_path: Path
) -> None:
    model = build(architecture, color_mode, num_words=len(vocabulary.words) if vocabulary else 0)
    # Moved off their initial values, the normalisation's statistics count in the comparison too.
    random = np.random.default_rng(1)
    weights = {
        path: (value + random.uniform(0.1, 0.2, value.shape)).astype(np.float32)
        for path, value in read_weights(model).items()
    }
    assign_weights(model, weights)
    paths = save_model(
        tmp_path,
        model,
        weights,
        architecture=architecture,
        image_size=IMAGE_SIZE,
        color_mode=color_mode,
        label_space=LABEL_SPACE,
        vocabulary=vocabulary,
        note=1,
    )
    saved = load_saved(tmp_path)
    assert sorted(path.name for path in paths) == sorted(path.name for path in tmp_path.iterdir())
    assert (saved.label_space, saved.vocabulary, saved.image_size) == (LABEL_SPACE, vocabulary, IMAGE_SIZE)
    assert list(saved.label_space.levels) == ["kind", "label"]
    assert saved.description["note"] == 1
    assert saved.description["class_names"] == ["Bag", "Shirt", "Shoe"]
    assert saved.description["parameters"] == describe_model(model)["parameters"]
    before, after = answer(model), answer(saved.model)
    assert list(after) == ["category_path", "attribute_0", "attribute_1"]
    for head, probs in before.items():
        np.testing.assert_array_equal(after[head], probs, err_msg=head)


@pytest.mark.parametrize("num_words", [0, 3])
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("architecture", OWN)
def test_every_head_returns_float32_probabilities(architecture: str, dtype: str, num_words: int) -> None:
    model = build(architecture, "color", dtype, num_words)
    answers = answer(model)
    assert {head: probs.shape for head, probs in answers.items()} == {
        head: (5, size) for head, size in LABEL_SPACE.heads.items()
    }
    for probs in answers.values():
        assert str(probs.dtype) == "float32"
        np.testing.assert_allclose(probs.sum(axis=1), 1, atol=1e-5)
        assert np.ptp(probs, axis=0).max() > 0
    assert {str(weight.dtype) for weight in model.weights if "seed_generator" not in weight.path} == {"float32"}
    assert [str(given.dtype) for given in model.input.values()] == ["uint8", "int32"][: len(model.input)]


@pytest.mark.parametrize("architecture", OWN)
def test_names_are_an_input_only_of_networks_that_read_them(architecture: str) -> None:
    assert list(build(architecture, "gray").input) == ["pixels"]
    model = build(architecture, "gray", num_words=3)
    assert {name: given.shape for name, given in model.input.items()} == {
        "pixels": (None, *IMAGE_SIZE, 3),
        "words": (None, MAX_WORDS),
    }


@pytest.mark.parametrize("architecture", OWN)
def test_building_in_a_precision_restores_the_global_policy(architecture: str) -> None:
    keras = import_keras()
    build(architecture, "color", "mixed_bfloat16", num_words=3)
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.parametrize("num_words", [0, 3])
@pytest.mark.parametrize("architecture", OWN)
def test_the_parameters_of_layers_add_up_to_the_total(architecture: str, num_words: int) -> None:
    described = describe_model(build(architecture, "color", num_words=num_words))
    parameters = described["parameters"]
    assert sum(layer["parameters"] for layer in described["layers"]) == parameters["total"]
    assert parameters["trainable"] + parameters["non_trainable"] == parameters["total"]
    # Moving figures, which a network without normalisation over the batch does not have, and what names say.
    assert (parameters["non_trainable"] > 0) == (architecture != "vit" or num_words > 0)


@pytest.mark.parametrize("architecture", OWN)
def test_predictions_do_not_depend_on_other_items_of_the_batch(architecture: str) -> None:
    model = build(architecture, "color")
    alone = answer(model, slice(2, 3))
    for head, probs in answer(model).items():
        np.testing.assert_allclose(probs[2:3], alone[head], atol=1e-6)


def test_a_compiled_network_predicts_like_a_called_one() -> None:
    model = build("residual-small", "color", num_words=3)
    compiled = model.predict_on_batch({"pixels": PIXELS, "words": WORDS})
    for head, probs in answer(model).items():
        np.testing.assert_allclose(compiled[head], probs, atol=1e-6)


@pytest.mark.parametrize(("color_mode", "total"), [("color", 9_914_686), ("gray", 9_914_110)])
def test_the_capstone_has_the_parameters_of_its_summary_table(color_mode: ColorMode, total: int) -> None:
    model = build_model("capstone", image_size=(80, 60), heads={"category_path": 30}, color_mode=color_mode)
    assert describe_model(model)["parameters"] == {
        "total": total,
        "trainable": total - 1_408,
        "non_trainable": 1_408,
    }


def test_the_capstone_has_the_shapes_of_its_summary_table() -> None:
    model = build_model("capstone", image_size=(80, 60), heads={"category_path": 30}, color_mode="color")
    layers = {layer["name"]: layer for layer in describe_model(model)["layers"]}
    shapes = {name: layers[name]["output_shape"] for name in ("dropout1", "dropout2", "flatten", "dense")}
    assert shapes == {"dropout1": [40, 30, 32], "dropout2": [20, 15, 64], "flatten": [19_200], "dense": [512]}
    assert layers["dense"]["parameters"] == 9_830_912
    rates = [layer.rate for layer in model.layers if type(layer).__name__ == "Dropout"]
    assert rates == [0.2, 0.2, 0.25]


@pytest.mark.parametrize(
    ("architecture", "stem", "widths"),
    [
        ("residual", [16, 24], (48, 96, 192, 288)),
        ("residual-small", [16], (32, 64, 128, 192)),
        ("residual-tiny", [16], (32, 64, 128, 192)),
    ],
)
def test_a_residual_network_has_four_stages_of_its_widths(
    architecture: str, stem: list[int], widths: tuple[int, ...]
) -> None:
    model = build_model(architecture, image_size=(80, 60), heads={"category_path": 30}, color_mode="color")
    layers = {layer["name"]: layer for layer in describe_model(model)["layers"]}
    for place, width in enumerate(stem, start=1):
        assert layers[f"stem_relu{place}"]["output_shape"] == [80, 60, width]
    assert layers[f"stem_relu{len(stem) + 1}"]["output_shape"] == [40, 30, widths[0]]
    sides = ([40, 30], [20, 15], [10, 8], [5, 4])
    wanted = [[*side, width] for side, width in zip(sides, widths, strict=True)]
    # Members have the first stage in common.
    members = [""] if architecture == "residual-tiny" else ["member1_", "member2_"]
    for member in members:
        names = ["stage1_1_relu2", *(f"{member}stage{stage}_1_relu2" for stage in (2, 3, 4))]
        assert [layers[name]["output_shape"] for name in names] == wanted
        head = f"category_path_{member.rstrip('_')}".rstrip("_")
        assert layers[head]["parameters"] == widths[-1] * 30 + 30
    assert not [name for name in layers if "stage" in name and "_2_" in name]


@pytest.mark.parametrize("more", [(0, 0), (1, 5), (9, 23)])
@pytest.mark.parametrize("architecture", OWN)
def test_small_and_odd_image_sizes_work(architecture: str, more: tuple[int, int]) -> None:
    smallest = ARCHITECTURES[architecture].smallest_side
    image_size = (smallest + more[0], smallest + more[1])
    model = build_model(architecture, image_size=image_size, heads={"category_path": 2}, color_mode="color")
    assert model.compute_output_shape({"pixels": (7, *image_size, 3)}) == {"category_path": (7, 2)}


def look_behind(model: Any, layer: str) -> Any:
    keras = import_keras()
    return np.asarray(keras.Model(model.input, model.get_layer(layer).output).predict_on_batch({"pixels": PIXELS}))


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_color_is_rescaled_inside_the_model(dtype: str) -> None:
    np.testing.assert_allclose(look_behind(build("capstone", "color", dtype), "rescale"), PIXELS / 255, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_gray_is_the_luma_of_itu_r_601(dtype: str) -> None:
    wanted = (PIXELS @ np.array([0.299, 0.587, 0.114]))[..., np.newaxis] / 255
    np.testing.assert_allclose(look_behind(build("capstone", "gray", dtype), "gray"), wanted, atol=1e-6)
