"""Test presets of KerasHub: allowed classes and values, and runs that are loaded without their preset."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hub_presets import KINDS, OFFSET, SCALE, VIT, write_config, write_preset

from hangtag.errors import MissingExtraError, ModelError
from hangtag.models.checkpoint import describe_model
from hangtag.models.flops import count_flops
from hangtag.models.keras_hub import build_backbone, check_preset, find_shape, read_preset
from hangtag.models.layers import cut_backbone, import_keras, list_blocks
from hangtag.models.pretrained import hash_source, load_pretrained
from hangtag.models.registry import build_model

# What h5py does with NumPy's arrays.
pytestmark = pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning", "ignore::DeprecationWarning")


def build(preset: str, image_size: tuple[int, int] = (16, 12)) -> Any:
    return build_model(
        "hub", image_size=image_size, heads={"category_path": 3}, color_mode="color", hub=read_preset(preset)
    )


def test_a_preset_is_described_by_plain_values(tmp_path: Path) -> None:
    preset = write_config(tmp_path, **VIT, converter={"scale": 0.5, "offset": OFFSET})
    wanted = {"class": "ViTBackbone", "config": VIT, "scale": [0.5] * 3, "offset": OFFSET}
    assert read_preset(preset) == wanted
    encoder = {"class_name": "CLIPVisionEncoder", "config": {"image_shape": [16, 16, 3], "hidden_dim": 16}}
    pair = write_config(tmp_path / "pair", "CLIPBackbone", vision_encoder=encoder, text_encoder={"class_name": "any"})
    assert read_preset(pair)["class"] == "CLIPVisionEncoder"
    # As KerasHub does without a converter: pixels of 0 to 255.
    assert read_preset(pair)["scale"] == [1, 1, 1]


@pytest.mark.parametrize("name", ["Functional", "BertBackbone", "CLIPBackbone", "Lambda", None, ["ViTBackbone"]])
def test_a_class_that_is_not_allowed_is_refused(name: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no image backbone that can be used\. Allowed: ResNetBackbone"):
        read_preset(write_config(tmp_path, name, **VIT))


def test_a_nested_class_is_refused(tmp_path: Path) -> None:
    encoder = {"class_name": "Lambda", "config": VIT}
    with pytest.raises(ModelError, match="no image backbone"):
        read_preset(write_config(tmp_path, "CLIPBackbone", vision_encoder=encoder))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_heads", {"class_name": "Lambda", "config": {}}),
        ("patch_size", [8, [8]]),
        ("hidden_dim", 10**9),
        ("num_layers", 129),
        ("mlp_dim", "os.system"),
        ("image_shape", [None, None, 3]),
        ("image_shape", [16, 16, 4]),
        ("patch_size", 0),
        ("patch_size", 8192),
        ("patch_size", "gelu"),
        ("position_embedding_shape", [8192, 8192]),
    ],
)
def test_values_that_are_not_plain_are_refused(key: str, value: Any, tmp_path: Path) -> None:
    name = "DINOV2Backbone" if key == "position_embedding_shape" else "ViTBackbone"
    with pytest.raises(ModelError, match=rf"nothing is built from.*{key}"):
        read_preset(write_config(tmp_path, name, **VIT | {key: value}))


@pytest.mark.parametrize("converter", [{"scale": "1"}, {"offset": [1, 2]}, {"scale": {"class_name": "Lambda"}}])
def test_a_pixel_range_without_one_value_per_channel_is_refused(converter: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nothing is built from"):
        read_preset(write_config(tmp_path, **VIT, converter=converter))


@pytest.mark.parametrize("text", [None, "", "[]", '{"class_name": ', "\x80\x04", "[" * 100_000])
def test_a_folder_without_a_preset_is_refused(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ModelError, match=r"no preset.*Wanted: config.json"):
        read_preset(str(tmp_path))


@pytest.mark.parametrize("described", [None, {}, {"class": "Lambda"}, {"class": "ViTBackbone", "config": []}])
def test_a_damaged_description_of_a_run_is_refused(described: Any) -> None:
    with pytest.raises(ModelError, match="damaged"):
        check_preset(described)


def test_the_error_without_kerashub_names_the_package_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    for action in (lambda: read_preset("vit_base"), lambda: build(write_config(tmp_path, **VIT))):
        with pytest.raises(MissingExtraError, match="pip install keras-hub"):
            action()
    with pytest.raises(ModelError, match="needs the name or folder of a preset"):
        read_preset("")


def test_the_error_without_network_access_names_the_files_and_their_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("keras_hub")
    kagglehub = pytest.importorskip("kagglehub")

    def fail(*_: object, **__: object) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr(kagglehub, "model_download", fail)
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError) as caught:
        read_preset("resnet_50_imagenet")
    for part in ("cannot be fetched", "config.json", "model.weights.h5", f"{tmp_path}/models/keras/", "FOLDER"):
        assert part in str(caught.value)
    with pytest.raises(ModelError, match=r"no such preset.*Received: 'unheard_of'"):
        read_preset("unheard_of")


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_predicts_like_kerashub(kind: str, tmp_path: Path) -> None:
    preset = write_preset(tmp_path / "p", kind)
    model = build(preset, (16, 16))
    assert load_pretrained(model, "hub", preset) == {"file": "p", "sha256": hash_source(preset, "hub")["weights"]}
    pixels = np.random.default_rng(1).integers(0, 256, (2, 16, 16, 3)).astype(np.float32)
    found = cut_backbone(model)({"pixels": pixels}, training=False)["features1"]
    size = {"image_shape": (16, 16, 3)} if kind == "DINOV2Backbone" else {}
    whole = pytest.importorskip("keras_hub").models.Backbone.from_preset(preset, **size)
    if kind == "SigLIPBackbone":
        encoder = whole.vision_encoder
        whole.vision_encoder = import_keras().Model(encoder.input, encoder.layers[-2].output)
    x = pixels * SCALE + OFFSET
    reference = getattr(whole, "vision_encoder", whole)(x if kind[0] in "RV" else {"images": x}, training=False)
    wanted = np.asarray(reference)
    wanted = wanted.mean(axis=tuple(range(1, wanted.ndim - 1))) if wanted.ndim > 2 else wanted
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("sides", "wanted"), [((16, 12), (16, 16)), ((17, 30), (32, 32)), ((80, 60), (80, 80))])
def test_dinov2_reads_the_smallest_square_of_whole_patches(
    sides: tuple[int, int], wanted: tuple[int, int], tmp_path: Path
) -> None:
    described = read_preset(write_config(tmp_path, "DINOV2Backbone", **VIT, position_embedding_shape=[32, 32]))
    assert find_shape(described, (*sides, 3)) == (*wanted, 3)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "ResNet" not in kind])
def test_operations_inside_transformer_layers_are_counted(kind: str, tmp_path: Path) -> None:
    model = build(write_preset(tmp_path, kind))
    # Beside four patches a class token (KerasHub says so of SigLIP too, which has none); DINOv2 has one more here.
    tokens = 6 if kind == "DINOV2Backbone" else 5
    # Projections, the two dense layers, and attention, in each of two blocks.
    block = tokens * (4 * 16 * 16 + 2 * 16 * 32) + 2 * tokens * tokens * 16
    patches = tokens * 8 * 8 * 3 * 16
    assert count_flops(model) == 2 * (patches + 2 * block + 16 * 3)


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_are_distinguished(kind: str, tmp_path: Path) -> None:
    model = build(write_preset(tmp_path, kind))
    blocks = list_blocks(model)
    assert len(blocks) >= 3
    paths = [weight.path for block in blocks for layer in block for weight in layer.trainable_weights]
    assert len(paths) == len(set(paths))
    heads = {weight.path for weight in model.trainable_weights if weight.path.startswith("category_path")}
    missing = {weight.path for weight in model.trainable_weights} - heads - set(paths)
    assert not missing
    described = describe_model(model)
    assert sum(layer["parameters"] for layer in described["layers"]) == described["parameters"]["total"]


@pytest.mark.parametrize("damage", ["cut", "missing", "other"])
def test_weights_that_are_damaged_or_of_another_network_are_refused(damage: str, tmp_path: Path) -> None:
    preset = write_preset(tmp_path / "p", "ViTBackbone")
    model, path = build(preset), tmp_path / "p" / "model.weights.h5"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:3000])
    elif damage == "missing":
        path.unlink()
    else:
        described = read_preset(preset)
        described["config"] = described["config"] | {"mlp_dim": 24}
        build_backbone(described, (16, 16, 3)).save_weights(path)
    said = {
        "cut": "The file of weights cannot be read: .*",
        "missing": "There is no such file of weights.*",
        "other": "cannot be read, or are not its network's.*",
    }[damage]
    with pytest.raises(ModelError, match=said + r"model\.weights\.h5"):
        load_pretrained(model, "hub", preset)
