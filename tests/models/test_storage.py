"""A model folder that is damaged, changed or made up is refused with a ModelError, never run or half loaded."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from hangtag.artifacts import hash_file, read_json, write_json
from hangtag.errors import ModelError
from hangtag.models.registry import build_model
from hangtag.models.storage import DESCRIPTION, WEIGHTS, load_saved, read_weights, save_model

ARGUMENTS: dict[str, Any] = {"image_size": (16, 12), "num_classes": 3, "color_mode": "color"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model = build_model("capstone", **ARGUMENTS)
    weights = read_weights(model)
    save_model(tmp_path, model, weights, architecture="capstone", arguments=ARGUMENTS, class_names=("x", "y", "z"))
    return tmp_path


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
def test_a_cut_file_is_refused(folder: Path, name: str, size: int) -> None:
    path = folder / name
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ModelError):
        load_saved(folder)


def test_one_changed_byte_is_noticed(folder: Path) -> None:
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (folder / WEIGHTS).write_bytes(content)
    with pytest.raises(ModelError, match="not those that its description names"):
        load_saved(folder)


def test_a_kill_between_the_two_files_is_noticed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def kill(*_: object) -> None:
        raise KeyboardInterrupt

    model = build_model("capstone", **ARGUMENTS)
    monkeypatch.setattr("hangtag.models.storage.write_json", kill)
    with pytest.raises(KeyboardInterrupt):
        save_model(
            folder,
            model,
            read_weights(model),
            architecture="capstone",
            arguments=ARGUMENTS,
            class_names=("x", "y", "z"),
        )
    with pytest.raises(ModelError, match="not those that its description names"):
        load_saved(folder)


def test_weights_that_are_no_safetensors_are_refused(folder: Path) -> None:
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
        ("format", 2),
        ("format", None),
        ("architecture", "os.system"),
        ("architecture", ["capstone"]),
        ("arguments", {"image_size": [16, 12], "num_classes": 3}),
        ("arguments", {"image_size": [16, 12], "num_classes": "3", "color_mode": "color"}),
        ("arguments", {"image_size": [16, 12], "num_classes": 3.0, "color_mode": "color"}),
        ("arguments", {"image_size": 16, "num_classes": 3, "color_mode": "color"}),
        ("arguments", {"image_size": [16, "12"], "num_classes": 3, "color_mode": "color"}),
        ("arguments", {"image_size": [10**9, 10**9], "num_classes": 3, "color_mode": "color"}),
        ("arguments", {"image_size": [16, 12], "num_classes": 3, "color_mode": "color", "more": 1}),
        ("class_names", ["x", "y"]),
        ("class_names", [1, 2, 3]),
        ("class_names", "xyz"),
        ("weights", {}),
        ("weights", "model.safetensors"),
    ],
)
def test_a_description_of_another_form_is_refused(folder: Path, key: str, value: object) -> None:
    description = read_json(folder / DESCRIPTION)
    write_json(folder / DESCRIPTION, description | {key: value})
    with pytest.raises(ModelError):
        load_saved(folder)


@pytest.mark.parametrize("text", ["[]", "3", '"model"', "null"])
def test_a_description_that_is_no_table_is_refused(folder: Path, text: str) -> None:
    (folder / DESCRIPTION).write_text(text)
    with pytest.raises(ModelError, match="description"):
        load_saved(folder)


def test_the_architecture_of_other_weights_is_refused(folder: Path) -> None:
    description = read_json(folder / DESCRIPTION)
    description["arguments"]["color_mode"] = "gray"
    write_json(folder / DESCRIPTION, description)
    with pytest.raises(ModelError, match="conv1_1/kernel"):
        load_saved(folder)


def test_a_color_mode_that_does_not_exist_is_not_taken_for_gray(tmp_path: Path) -> None:
    arguments = ARGUMENTS | {"color_mode": "gray"}
    model = build_model("capstone", **arguments)
    names = ("x", "y", "z")
    save_model(tmp_path, model, read_weights(model), architecture="capstone", arguments=arguments, class_names=names)
    description = read_json(tmp_path / DESCRIPTION)
    description["arguments"]["color_mode"] = "sepia"
    write_json(tmp_path / DESCRIPTION, description)
    with pytest.raises(ModelError):
        load_saved(tmp_path)
