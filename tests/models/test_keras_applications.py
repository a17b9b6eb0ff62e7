"""Test the networks of Keras Applications with and without their weights files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hangtag.errors import ModelError
from hangtag.models.keras_applications import APPLICATIONS
from hangtag.models.layers import cut_backbone, import_keras
from hangtag.models.pretrained import load_pretrained
from hangtag.models.registry import build_model

# The one that is quickest to build.
NAME = "vgg16"
# What h5py does with NumPy's arrays.
pytestmark = pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")
PIXELS = np.random.default_rng(0).integers(0, 256, (2, 32, 40, 3), dtype=np.uint8)
# Widths of features as the papers have them.
WIDTHS = {"resnet50": 2048, "vgg16": 512, "mobilenet-v3-large": 960, "efficientnet-v2-b0": 1280}
MODULES = {"resnet50": "resnet50", "vgg16": "vgg16", "mobilenet-v3-large": "mobilenet_v3"} | {
    "efficientnet-v2-b0": "efficientnet_v2"
}


def build(name: str, color_mode: Any = "color") -> Any:
    return build_model(name, image_size=(32, 40), heads={"category_path": 3}, color_mode=color_mode)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The library's cache, empty, on a machine without a network."""

    def fail(*_: object, **__: object) -> None:
        raise OSError("Name or service not known")

    # It reads the variable once, when it is imported.
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path))
    monkeypatch.setattr("keras.src.utils.file_utils.urlretrieve", fail)
    return tmp_path / "models"


@pytest.mark.parametrize("name", APPLICATIONS)
def test_a_network_predicts_like_the_library_with_its_preprocessing(name: str) -> None:
    keras = import_keras()
    model = build(name)
    backbone = cut_backbone(model)
    found = backbone({"pixels": PIXELS}, training=False)["features1"]
    reference = getattr(keras.applications, APPLICATIONS[name].builder)(include_top=False, weights=None, pooling="avg")
    for layer in reference.layers:
        if layer.weights:
            layer.set_weights(model.get_layer(layer.name).get_weights())
    module = getattr(keras.applications, MODULES[name])
    wanted = reference(module.preprocess_input(PIXELS.astype(np.float32)), training=False)
    assert found.shape == (2, WIDTHS[name])
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-5)


def test_gray_photographs_use_the_same_weights() -> None:
    assert build(NAME, "gray").count_params() == build(NAME).count_params()


@pytest.mark.parametrize("name", APPLICATIONS)
def test_the_error_without_network_access_names_the_file_and_its_folder(name: str, cache: Path) -> None:
    with pytest.raises(ModelError) as caught:
        load_pretrained(build(name), name, "imagenet")
    for part in (name, APPLICATIONS[name].file, APPLICATIONS[name].md5, str(cache), "cannot be fetched"):
        assert part in str(caught.value)


def test_hangtags_own_networks_have_no_imagenet_weights() -> None:
    model = build_model("residual-tiny", image_size=(16, 12), heads={"category_path": 3}, color_mode="color")
    with pytest.raises(ModelError, match=r"no ImageNet weights.*resnet50.*Received: 'residual-tiny'"):
        load_pretrained(model, "residual-tiny", "imagenet")


@pytest.fixture
def library_file(tmp_path: Path) -> Path:
    path = tmp_path / "vgg16.weights.h5"
    import_keras().applications.VGG16(include_top=False, weights=None).save_weights(path)
    return path


def test_the_cache_of_the_library_is_used(cache: Path, library_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As if the network had brought it: the library would hold its own file's hash against it.
    monkeypatch.setattr("keras.src.utils.file_utils.get_file", lambda *_, **__: str(library_file))
    cache.mkdir()
    model = build(NAME)
    assert load_pretrained(model, NAME, "imagenet") == {"file": APPLICATIONS[NAME].file}
    other = build(NAME)
    load_pretrained(other, NAME, str(library_file))
    found, wanted = (each.get_layer("block1_conv1").get_weights()[0] for each in (model, other))
    np.testing.assert_array_equal(found, wanted)


def test_a_weights_file_of_the_library_is_loaded(library_file: Path) -> None:
    models = [build(NAME) for _ in range(2)]
    for model in models:
        assert load_pretrained(model, NAME, str(library_file))["file"] == library_file.name
    first, second = (model.get_layer("block5_conv3").get_weights()[0] for model in models)
    np.testing.assert_array_equal(first, second)


def test_a_damaged_weights_file_of_the_library_is_refused(library_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.h5"
    path.write_bytes(library_file.read_bytes()[:1000])
    with pytest.raises(ModelError, match=r"cannot be read.*cut.h5"):
        load_pretrained(build(NAME), NAME, str(path))


def test_a_weights_file_of_another_network_is_refused(library_file: Path) -> None:
    with pytest.raises(ModelError, match="is not one of mobilenet-v3-large"):
        load_pretrained(build("mobilenet-v3-large"), "mobilenet-v3-large", str(library_file))
