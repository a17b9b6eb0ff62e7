"""Test that valid pretrained weights are loaded, and damaged files change and run nothing."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from hangtag.errors import ModelError
from hangtag.io import hash_file
from hangtag.models.checkpoint import Weights, read_weights
from hangtag.models.layers import cut_backbone, import_keras, list_blocks
from hangtag.models.pretrained import STARTS, hash_source, hash_weights, load_pretrained
from hangtag.models.registry import build_model
from hangtag.train_config import TrainConfig

ARCHITECTURE = "residual-tiny"
PIXELS = np.random.default_rng(0).integers(0, 256, (3, 16, 12, 3), dtype=np.uint8)


def build(architecture: str = ARCHITECTURE, seed: int = 0, classes: int = 3) -> Any:
    import_keras().utils.set_random_seed(seed)
    heads = {"category_path": classes, "attribute_0": 2}
    return build_model(architecture, image_size=(16, 12), heads=heads, color_mode="color", num_words=4)


@pytest.fixture(scope="module")
def model() -> Any:
    return build()


@pytest.fixture(scope="module")
def weights(model: Any) -> Weights:
    random = np.random.default_rng(1)
    own = read_weights(cut_backbone(model))
    return {name: random.uniform(0.5, 1.5, value.shape).astype(np.float32) for name, value in own.items()}


@pytest.fixture
def path(weights: Weights, tmp_path: Path) -> Path:
    path = tmp_path / "weights.safetensors"
    save_file(weights, path, metadata={"sha256": hash_weights(weights)})
    return path


def load(model: Any, path: Path) -> dict[str, str]:
    return load_pretrained(model, ARCHITECTURE, str(path))


def refuse(model: Any, path: Path, match: str) -> None:
    """Load what cannot be loaded, and see that no weight has moved."""
    before = read_weights(model)
    with pytest.raises(ModelError, match=match):
        load(model, path)
    for name, value in read_weights(model).items():
        np.testing.assert_array_equal(value, before[name])


def test_weights_of_a_file_replace_the_backbone_but_not_the_heads(path: Path, weights: Weights) -> None:
    model, untouched = build(), read_weights(build())
    assert load(model, path) == {"file": path.name, "sha256": hash_file(path)}
    found = read_weights(model)
    for name, value in weights.items():
        np.testing.assert_array_equal(found[name], value)
    heads = found.keys() - weights.keys()
    assert {name.partition("/")[0] for name in heads} == {
        "category_path",
        "attribute_0",
        "category_path_with_name",
        "attribute_0_with_name",
    }
    for name in heads:
        np.testing.assert_array_equal(found[name], untouched[name])


def test_the_weights_of_a_run_can_be_used_for_other_classes(tmp_path: Path) -> None:
    source = build(seed=1, classes=7)
    save_file(read_weights(source), tmp_path / "model.safetensors")
    model = build(classes=3)
    load(model, tmp_path / "model.safetensors")
    wanted, found = (cut_backbone(each)({"pixels": PIXELS}, training=False)["features1"] for each in (source, model))
    np.testing.assert_array_equal(found, wanted)


def test_half_precision_is_read_as_float32(path: Path, weights: Weights) -> None:
    halves = {name: value.astype(np.float16) for name, value in weights.items()}
    save_file(halves, path, metadata={"sha256": hash_weights(halves)})
    model = build()
    load(model, path)
    found = read_weights(model)
    for name, value in halves.items():
        assert found[name].dtype == np.float32
        np.testing.assert_array_equal(found[name], value.astype(np.float32))


def test_the_weights_that_come_with_hangtag_fit_their_networks() -> None:
    for architecture, path in STARTS.items():
        model, untouched = build(architecture), read_weights(build(architecture))
        assert load_pretrained(model, architecture, "start") == {"file": path.name, "sha256": hash_file(path)}
        assert hash_source("start", architecture) == {"weights": hash_file(path)}
        found, stored = read_weights(model), load_file(path)
        assert {
            name for name in stored if "gamma" not in name and np.array_equal(found[name], untouched[name])
        } == set()
        with safe_open(path, framework="numpy") as file:
            assert file.metadata()["sha256"] == hash_weights(stored)
        assert path.stat().st_size < 6_000_000
        assert f"# {path.name}" in (path.parent / "README.md").read_text(encoding="utf-8")


def test_architectures_without_such_weights_are_named(model: Any) -> None:
    with pytest.raises(
        ModelError, match=r"No weights.*come with hangtag.*--weights start: mobilenet-v2.*'residual-tiny'"
    ):
        load_pretrained(model, ARCHITECTURE, "start")


@pytest.mark.parametrize(
    ("settings", "pretrained"),
    [
        ({}, "start"),
        ({"architecture": "residual"}, ""),
        ({"weights": "none"}, ""),
        # Settings of before there was a name for it.
        ({"weights": ""}, ""),
        ({"weights": "start", "architecture": "residual"}, "start"),
        ({"weights": "imagenet"}, "start"),
        ({"weights": "imagenet", "architecture": "resnet50"}, "imagenet"),
        ({"weights": "start.safetensors"}, "start.safetensors"),
    ],
)
def test_the_weights_of_a_setting(settings: dict[str, str], pretrained: str) -> None:
    assert TrainConfig(**settings).pretrained == pretrained  # type: ignore[arg-type]


def test_a_wrong_shape_is_named(model: Any, path: Path, weights: Weights) -> None:
    name = "stem_conv1/kernel"
    save_file(weights | {name: weights[name][..., :-1].copy()}, path)
    refuse(model, path, rf"does not fit.*{name}.*wrong shape.*\(3, 3, 3, 16\)")


def test_another_data_type_is_refused(model: Any, path: Path, weights: Weights) -> None:
    name = "stem_conv1/kernel"
    save_file(weights | {name: weights[name].astype(np.float64)}, path)
    refuse(model, path, "wrong shape or type.*float64")


def test_a_missing_and_an_unknown_name_are_named(model: Any, path: Path, weights: Weights) -> None:
    name = "stem_conv1/kernel"
    save_file({("stem_other" if key == name else key): value for key, value in weights.items()}, path)
    refuse(model, path, "names differ.*stem_conv1/kernel.*stem_other")


def test_weights_of_another_network_are_refused(model: Any, path: Path) -> None:
    save_file({"encoder/kernel": np.zeros((2, 2), np.float32)}, path)
    refuse(model, path, "belong to another architecture")


@pytest.mark.parametrize("kept", [0, 4, 8, 100, -1])
def test_a_truncated_file_is_refused(model: Any, path: Path, kept: int) -> None:
    path.write_bytes(path.read_bytes()[:kept])
    refuse(model, path, "cannot be read, it may be truncated")


def test_a_tampered_file_is_refused(model: Any, path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    refuse(model, path, "numbers have changed")


def test_a_header_with_a_wrong_length_is_refused(model: Any, path: Path) -> None:
    path.write_bytes((2**62).to_bytes(8, "little") + path.read_bytes()[8:])
    refuse(model, path, "cannot be read")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(model: Any, path: Path, weights: Weights, value: float) -> None:
    name = "stem_conv1/kernel"
    save_file(weights | {name: np.full_like(weights[name], value)}, path)
    refuse(model, path, f"{name} has values that are no numbers")


class Bomb:
    """Leaves a mark where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (Path.touch, (self.mark,))


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors", "weights.h5"])
@pytest.mark.parametrize("is_zip", [False, True])
def test_a_pickle_is_not_opened_under_any_name(model: Any, tmp_path: Path, name: str, is_zip: bool) -> None:
    path, mark = tmp_path / name, tmp_path / "mark"
    content = pickle.dumps({"weight": Bomb(mark)})
    if is_zip:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", content)
    else:
        path.write_bytes(content)
    refuse(model, path, "not opened|does not serve for this network")
    assert not mark.exists()
    pickle.loads(content)
    assert mark.exists()


def test_a_missing_file_is_named(model: Any, tmp_path: Path) -> None:
    refuse(model, tmp_path / "none.safetensors", "no such file of weights.*none.safetensors")


def test_a_weights_file_is_an_input_of_the_training(path: Path) -> None:
    assert hash_source(str(path), "residual-tiny") == {"weights": hash_file(path)}
    assert hash_source("imagenet", "resnet50") == hash_source("", "residual-tiny") == {}


def test_weight_names_are_those_in_the_documentation() -> None:
    names = read_weights(cut_backbone(build("efficientnet-lite0"))).keys()
    assert {"stem_conv/kernel", "block3_2_depthwise_conv/kernel", "top_norm/moving_variance"} <= names
    assert len(names) == 245


@pytest.mark.parametrize(("architecture", "blocks"), [("efficientnet-lite0", 18), ("mobilenet-v2", 19)])
def test_a_network_is_divided_into_blocks(architecture: str, blocks: int) -> None:
    found = list_blocks(build(architecture))
    assert (len(found), found[0][0].name, found[-1][0].name) == (blocks, "stem_conv", "top_conv")
    assert {layer.name.partition("_")[0] for layer in found[3]} == {"block2"}


def test_parallel_ensemble_members_share_a_block() -> None:
    found = [{layer.name.removesuffix("_project") for layer in block} for block in list_blocks(build("residual-small"))]
    assert len(found) == 5
    assert {"member1_stage4_1_conv1", "member2_stage4_1_conv1"} <= found[-1]


def test_a_written_weights_file_is_read_back(path: Path, weights: Weights) -> None:
    assert hash_weights(load_file(path)) == hash_weights(weights)
    assert hash_weights(weights | {"more": np.zeros(1, np.float32)}) != hash_weights(weights)
