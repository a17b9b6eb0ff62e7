"""Test that damaged, changed or invalid model folders are refused with a ModelError before anything is loaded."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from hangtag.errors import ModelError
from hangtag.io import hash_file, read_json, write_json
from hangtag.models.checkpoint import WEIGHTS, assign_weights, load_saved, read_weights, save_model
from hangtag.models.description import DESCRIPTION
from hangtag.models.label_space import LabelSpace
from hangtag.models.registry import build_model
from hangtag.models.text import Vocabulary
from hangtag.train_config import ColorMode

IMAGE_SIZE = (16, 12)
LABEL_SPACE = LabelSpace(
    {"kind": ("a", "b"), "label": ("x", "y", "z")}, ((0, 0), (0, 1), (1, 2)), {"season": ("cold", "warm")}, "label"
)
DESCRIBED = LABEL_SPACE.to_json()
VOCABULARY = Vocabulary(("blue", "shirt"))


def build(color_mode: ColorMode = "color") -> Any:
    return build_model(
        "capstone",
        image_size=IMAGE_SIZE,
        heads=LABEL_SPACE.heads,
        color_mode=color_mode,
        num_words=len(VOCABULARY.words),
    )


def save(folder: Path, model: Any, color_mode: ColorMode = "color") -> None:
    save_model(
        folder,
        model,
        read_weights(model),
        architecture="capstone",
        image_size=IMAGE_SIZE,
        color_mode=color_mode,
        label_space=LABEL_SPACE,
        vocabulary=VOCABULARY,
    )


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    save(folder, build())
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy of a saved model, to be spoilt."""
    return Path(shutil.copytree(saved, tmp_path / "model"))


def describe_otherwise(folder: Path, **changes: object) -> None:
    write_json(folder / DESCRIPTION, read_json(folder / DESCRIPTION) | changes)


def change_weights(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change the tensors and put the right hash into the description, as a forger would."""
    weights = load_file(folder / WEIGHTS)
    change(weights)
    save_file(weights, folder / WEIGHTS)
    description = read_json(folder / DESCRIPTION)
    description["weights"]["sha256"] = hash_file(folder / WEIGHTS)
    write_json(folder / DESCRIPTION, description)


@pytest.mark.parametrize("name", [WEIGHTS, DESCRIPTION])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ModelError, match=name):
        load_saved(folder)


@pytest.mark.parametrize("name", [WEIGHTS, DESCRIPTION])
@pytest.mark.parametrize("size", [0, 5, 100])
def test_a_truncated_file_is_refused(folder: Path, name: str, size: int) -> None:
    path = folder / name
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ModelError):
        load_saved(folder)


def test_one_changed_byte_is_detected(folder: Path) -> None:
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (folder / WEIGHTS).write_bytes(content)
    with pytest.raises(ModelError, match="not those that its description names"):
        load_saved(folder)


def test_an_interruption_between_the_two_files_is_detected(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def kill(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("hangtag.models.checkpoint.write_json", kill)
    with pytest.raises(KeyboardInterrupt):
        save(folder, build())
    with pytest.raises(ModelError, match="not those that its description names"):
        load_saved(folder)


def test_weights_in_another_format_are_refused(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes(b"\x80\x04 a pickle")
    description = read_json(folder / DESCRIPTION)
    description["weights"]["sha256"] = hash_file(folder / WEIGHTS)
    write_json(folder / DESCRIPTION, description)
    with pytest.raises(ModelError, match="cannot be read"):
        load_saved(folder)


def drop(weights: dict[str, Any]) -> None:
    del weights["dense/bias"]


def add(weights: dict[str, Any]) -> None:
    weights["extra"] = np.zeros(1, np.float32)


def reshape(weights: dict[str, Any]) -> None:
    weights["dense/bias"] = np.zeros(511, np.float32)


def widen(weights: dict[str, Any]) -> None:
    weights["dense/bias"] = weights["dense/bias"].astype(np.float64)


@pytest.mark.parametrize(
    ("change", "match"), [(drop, "dense/bias"), (add, "extra"), (reshape, r"\(512,\)"), (widen, "float64")]
)
def test_tensors_that_do_not_fit_are_refused(
    folder: Path, change: Callable[[dict[str, Any]], None], match: str
) -> None:
    change_weights(folder, change)
    with pytest.raises(ModelError, match=match):
        load_saved(folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", 1),
        ("format", 3),
        ("format", "2"),
        ("format", None),
        ("architecture", "os.system"),
        ("architecture", ["capstone"]),
        ("preprocessing", {"rescale": 1 / 255}),
        ("preprocessing", {"color_mode": "sepia"}),
        ("preprocessing", {"color_mode": ["color"]}),
        ("preprocessing", "color"),
        ("image_size", 16),
        ("image_size", [16]),
        ("image_size", [16, 12, 3]),
        ("image_size", [16, "12"]),
        ("image_size", [16, 12.0]),
        ("image_size", [16, True]),
        ("image_size", [16, 0]),
        ("image_size", [-16, 12]),
        ("image_size", {"16": 1, "12": 2}),
        ("image_size", [10**9, 10**9]),
        ("image_size", [2049, 12]),
        ("class_names", ["x", "y"]),
        ("class_names", ["x", "z", "y"]),
        ("class_names", ["x", "y", "Z"]),
        ("class_names", [1, 2, 3]),
        ("class_names", "xyz"),
        ("class_names", None),
        ("label_space", None),
        ("label_space", {}),
        ("label_space", [DESCRIBED]),
        ("label_space", "label"),
        ("label_space", DESCRIBED | {"levels": ["label"]}),
        ("label_space", DESCRIBED | {"category_paths": [[0, 0], [0, 1], [1, 3]]}),
        ("label_space", DESCRIBED | {"category_paths": [[0, 0], [0, 1]]}),
        ("label_space", DESCRIBED | {"category_paths": [[0, 0]]}),
        ("label_space", DESCRIBED | {"category_paths": []}),
        ("label_space", DESCRIBED | {"primary": "kind"}),
        ("label_space", DESCRIBED | {"primary": "season"}),
        ("label_space", DESCRIBED | {"attributes": {}}),
        ("label_space", DESCRIBED | {"attributes": {"season": []}}),
        ("label_space", DESCRIBED | {"attributes": {"season": ["cold", "warm", "wet"]}}),
        ("words", "blue shirt"),
        ("words", ["blue", 2]),
        ("words", {"blue": 1, "shirt": 2}),
        ("words", 2),
        ("words", []),
        ("words", ["blue"]),
        ("words", None),
        ("weights", {}),
        ("weights", {"sha256": None}),
        ("weights", "model.safetensors"),
    ],
    ids=repr,
)
def test_a_description_of_another_structure_is_refused(folder: Path, key: str, value: object) -> None:
    describe_otherwise(folder, **{key: value})
    with pytest.raises(ModelError):
        load_saved(folder)


KEYS = ("format", "architecture", "class_names", "image_size", "preprocessing", "label_space", "words", "weights")


@pytest.mark.parametrize("key", KEYS)
def test_a_description_without_an_entry_is_refused(folder: Path, key: str) -> None:
    description = read_json(folder / DESCRIPTION)
    del description[key]
    write_json(folder / DESCRIPTION, description)
    with pytest.raises(ModelError, match="description"):
        load_saved(folder)


def test_the_error_of_an_earlier_format_names_the_supported_one(folder: Path) -> None:
    describe_otherwise(folder, format=1)
    with pytest.raises(ModelError, match=r"not one that this version reads\. Allowed: format 2\. Received: 1\."):
        load_saved(folder)


def test_the_error_of_a_wrong_entry_has_its_path_the_allowed_values_and_the_value(folder: Path) -> None:
    describe_otherwise(folder, class_names=["z", "y", "x"])
    allowed = "Allowed: the classes of the level that label_space.primary names"
    with pytest.raises(
        ModelError, match=rf"wrong at class_names in .*model\.json\. {allowed}\. Received: \['z', 'y', 'x'\]"
    ):
        load_saved(folder)
    describe_otherwise(
        folder, class_names=["x", "y", "z"], label_space=DESCRIBED | {"category_paths": [[0, 0], [0, "1"]]}
    )
    with pytest.raises(
        ModelError, match=r"label_space\.category_paths\.1\.1 in .* Allowed: a valid integer\. Received: '1'\. Export"
    ):
        load_saved(folder)
    describe_otherwise(folder, label_space={})
    with pytest.raises(ModelError, match=r"label_space\.levels in .* Wanted: this entry\. Received: nothing\."):
        load_saved(folder)


def test_no_network_is_built_for_a_refused_description(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def build(*_: object, **__: object) -> None:
        pytest.fail("a network was built")

    monkeypatch.setattr("hangtag.models.checkpoint.build_model", build)
    describe_otherwise(folder, image_size=[10**6, 10**6])
    with pytest.raises(ModelError, match="description"):
        load_saved(folder)


@pytest.mark.parametrize("text", ["[]", "3", '"model"', "null"])
def test_a_description_that_is_not_an_object_is_refused(folder: Path, text: str) -> None:
    (folder / DESCRIPTION).write_text(text)
    with pytest.raises(ModelError, match="description"):
        load_saved(folder)


def test_an_architecture_that_does_not_fit_the_weights_is_refused(folder: Path) -> None:
    describe_otherwise(folder, preprocessing={"color_mode": "gray"})
    with pytest.raises(ModelError, match="conv1_1/kernel"):
        load_saved(folder)


def test_a_vocabulary_that_does_not_fit_the_weights_is_refused(folder: Path) -> None:
    describe_otherwise(folder, words=["blue", "shirt", "shoe"])
    with pytest.raises(ModelError, match=r"with_name/words.*\(4, \d\).*\(3, \d\)"):
        load_saved(folder)


def test_an_unknown_color_mode_is_refused(tmp_path: Path) -> None:
    save(tmp_path, build("gray"), "gray")
    load_saved(tmp_path)
    describe_otherwise(tmp_path, preprocessing={"color_mode": "sepia"})
    with pytest.raises(ModelError):
        load_saved(tmp_path)


def test_a_refused_weight_leaves_all_weights_unchanged() -> None:
    model = build()
    before = read_weights(model)
    others = {path: value + 1 for path, value in before.items()}
    others["category_path/bias"] = np.zeros(7, np.float32)
    with pytest.raises(ModelError, match="category_path/bias"):
        assign_weights(model, others)
    for path, value in read_weights(model).items():
        np.testing.assert_array_equal(value, before[path], err_msg=path)


def test_read_weights_are_copies() -> None:
    model = build()
    weights = read_weights(model)
    kept = {path: value.copy() for path, value in weights.items()}
    assign_weights(model, {path: value + 1 for path, value in weights.items()})
    for path, value in weights.items():
        np.testing.assert_array_equal(value, kept[path], err_msg=path)
