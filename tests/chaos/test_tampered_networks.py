"""Files of weights and networks that somebody made up are refused: whatever they hold, and wherever it would lead."""

import json
import os
import shutil
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import openvino
import pytest
from onnx_file import write_onnx

from hangtag.errors import HangtagError, ModelError
from hangtag.inference.classifier import Classifier
from hangtag.io import hash_file, read_json, write_json
from hangtag.models.checkpoint import WEIGHTS, load_weights
from hangtag.models.description import DESCRIPTION
from hangtag.models.keras_applications import check_h5
from hangtag.models.keras_hub import check_hub_sizes, check_preset, read_preset
from hangtag.models.network_file import NETWORK, NETWORK_WEIGHTS, find_fault
from hangtag.models.openvino import ExportedNetwork
from hangtag.models.pretrained import read_pretrained
from hangtag.models.shipped import SHIPPED

TEXT = (SHIPPED / NETWORK).read_text(encoding="utf-8")
SIZE = (SHIPPED / NETWORK_WEIGHTS).stat().st_size
LAYER = '<layer id="2" '


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    ignored = shutil.ignore_patterns("*.py", "__pycache__")
    return Path(shutil.copytree(SHIPPED, tmp_path / "model", ignore=ignored))


def hash_anew(folder: Path) -> None:
    """Put the right hashes into the description, as a forger would."""
    description = read_json(folder / DESCRIPTION)
    description["network"] |= {
        "sha256": hash_file(folder / NETWORK),
        "weights_sha256": hash_file(folder / NETWORK_WEIGHTS),
    }
    write_json(folder / DESCRIPTION, description)


def test_onnx_under_the_name_of_the_network_is_refused(folder: Path) -> None:
    """The engine itself would read it, and with it the numbers of a file whose hash nobody knows."""
    write_onnx(folder / NETWORK, "third.bin")
    assert openvino.Core().read_model(folder / NETWORK).outputs[0].any_name == "category_path"
    hash_anew(folder)
    with pytest.raises(ModelError, match=r"it is no XML\. Allowed: a graph of OpenVINO"):
        Classifier.load(folder)
    with pytest.raises(ModelError, match="it is no XML"):
        ExportedNetwork(folder / NETWORK)


GRAPHS: dict[str, tuple[Callable[[str], str], str]] = {
    "other-root": (lambda _: "<?xml version='1.0'?><score/>", "another kind"),
    "space-before": (lambda text: "\n" + text, "no XML"),
    "not-closed": (lambda text: text[:-20], "no XML"),
    "two-roots": (lambda text: text + "<net/>", "no XML"),
    "doctype": (lambda text: text.replace("<net", '<!DOCTYPE net [<!ENTITY a "b">]><net', 1), "a type of its own"),
    "external": (lambda text: text.replace("<net", '<!DOCTYPE net SYSTEM "/etc/passwd"><net', 1), "a type of its own"),
    "deep": (lambda text: text.replace("<layers>", "<a>" * 9000 + "</a>" * 9000 + "<layers>", 1), "nested too deeply"),
    "extension": (lambda text: text.replace('version="opset8"', 'version="extension"'), "by itself"),
    "no-version": (lambda text: text.replace('version="opset8"', ""), "by itself"),
    "loop": (lambda text: text.replace('type="Transpose"', 'type="Loop"', 1), "network within"),
    "state": (lambda text: text.replace('type="Transpose"', 'type="ReadValue"', 1), "network within"),
    "body": (lambda text: text.replace("<output>", "<output><body><layers><layer/></layers></body>", 1), "within"),
    "far-constant": (lambda text: text.replace('offset="4"', f'offset="{SIZE}"', 1), "not in network.bin"),
    "wrapping-constant": (lambda text: text.replace('offset="4"', f'offset="{2**64 - 4}"', 1), "no array of numbers"),
    "negative-constant": (lambda text: text.replace('offset="4"', 'offset="-4"', 1), "no array of numbers"),
    "wide-constant": (lambda text: text.replace('shape="" offset="4"', 'shape="9999999" offset="4"', 1), "not in"),
    "text-constant": (
        lambda text: text.replace('element_type="f32" shape=""', 'element_type="string" shape=""', 1),
        "no array",
    ),
    "utf-16": (lambda text: text.replace("?>", ' encoding="utf-16"?>', 1).replace("<net", "<nét", 1), "another kind"),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_of_another_form_is_refused_before_the_engine_sees_it(folder: Path, name: str) -> None:
    change, reason = GRAPHS[name]
    assert change(TEXT) != TEXT
    (folder / NETWORK).write_text(change(TEXT), encoding="utf-8")
    hash_anew(folder)
    with pytest.raises(ModelError, match=reason):
        Classifier.load(folder)


def test_a_graph_that_was_written_has_no_fault() -> None:
    assert find_fault((SHIPPED / NETWORK).read_bytes(), SIZE) == ""
    assert find_fault((SHIPPED / NETWORK).read_bytes(), SIZE - 1) != ""


def test_another_operation_or_size_in_the_graph_is_refused(folder: Path) -> None:
    for change in (
        TEXT.replace('names="attribute_3"', 'names="attribute_9"'),
        TEXT.replace('type="SoftMax"', 'type="SoftMix"', 1),
        TEXT.replace('shape="?,80,60,3"', 'shape="?,40,30,3"', 1),
        TEXT.replace('element_type="u8"', 'element_type="f32"', 1),
    ):
        (folder / NETWORK).write_text(change, encoding="utf-8")
        hash_anew(folder)
        with pytest.raises(ModelError, match="network"):
            Classifier.load(folder)


def test_changes_of_bytes_end_in_an_error_or_in_an_answer(folder: Path) -> None:
    random = np.random.default_rng(0)
    for name in (NETWORK, NETWORK_WEIGHTS):
        whole = (SHIPPED / name).read_bytes()
        for _ in range(15):
            content = bytearray(whole)
            for place in random.integers(0, len(content), 20):
                content[place] ^= 1 << int(random.integers(8))
            (folder / name).write_bytes(content[: int(random.integers(len(content) // 2, len(content) + 1))])
            hash_anew(folder)
            with suppress(HangtagError):
                Classifier.load(folder).predict_heads(np.zeros((1, 80, 60, 3), np.uint8))
        (folder / name).write_bytes(whole)


def test_the_map_of_where_it_looked_is_of_the_network_that_was_loaded(folder: Path) -> None:
    classifier = Classifier.load(folder)
    (folder / NETWORK_WEIGHTS).write_bytes(bytes(SIZE))
    with pytest.raises(ModelError, match="changed, or written half"):
        classifier.explain(np.zeros((1, 80, 60, 3), np.uint8))


@pytest.mark.parametrize("name", [NETWORK, NETWORK_WEIGHTS])
def test_what_is_no_file_is_refused_at_once(folder: Path, name: str) -> None:
    (folder / name).unlink()
    (folder / name).mkdir()
    with pytest.raises(ModelError, match=r"no network|cannot be read|is no file"):
        Classifier.load(folder)
    (folder / name).rmdir()
    os.mkfifo(folder / name)
    with pytest.raises(ModelError, match=r"no network|is no file"):
        Classifier.load(folder)


def pack(header: bytes | dict[str, Any], data: bytes = b"") -> bytes:
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(content)) + content + data


def one(kind: str, shape: list[int], size: int) -> bytes:
    return pack({"w": {"dtype": kind, "shape": shape, "data_offsets": [0, size]}}, bytes(size))


TENSORS = {
    "empty": b"",
    "no-header": b"\x00" * 8,
    "huge-header": struct.pack("<Q", 2**63) + b"{}",
    "long-header": struct.pack("<Q", 1 << 27) + b"{}",
    "deep-header": pack(b"[" * 9000 + b"]" * 9000),
    "bfloat16": one("BF16", [1], 2),
    "float8": one("F8_E4M3", [1], 1),
    "no-such-type": one("F33", [1], 4),
    "overflow": one("F32", [2**62, 4], 0),
    "negative": one("F32", [-1], 0),
    "beyond": pack({"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}, bytes(8)),
    "hole": pack({"w": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, bytes(8)),
    "pickle": b"\x80\x04\x95" + bytes(100),
    "zip": b"PK\x03\x04" + bytes(100),
}


@pytest.mark.parametrize("name", TENSORS)
def test_safetensors_of_another_form_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / WEIGHTS
    path.write_bytes(TENSORS[name])
    with pytest.raises(ModelError, match="cannot be read"):
        load_weights(tmp_path, hash_file(path))
    with pytest.raises(ModelError, match="weight"):
        read_pretrained(path)


def link_outside(file: Any, secret: Path) -> None:
    file["w"] = h5py.ExternalLink(str(secret), "/w")


def link_softly(file: Any, _: Path) -> None:
    file["w"] = h5py.SoftLink("/w")


def point_outside(file: Any, secret: Path) -> None:
    file.create_dataset("w", (4,), np.uint8, external=[(str(secret), 0, 4)])


def show_outside(file: Any, secret: Path) -> None:
    layout = h5py.VirtualLayout((1,), np.float32)
    layout[:] = h5py.VirtualSource(str(secret), "w", (1,))
    file.create_virtual_dataset("w", layout)


def declare_much(file: Any, _: Path) -> None:
    file.create_dataset("w", (10**15,), np.float32, chunks=(1024,))


def go_round(file: Any, _: Path) -> None:
    file.create_group("a")["a"] = file["/"]


@pytest.mark.parametrize("change", [link_outside, link_softly, point_outside, show_outside, declare_much, go_round])
def test_hdf5_that_leads_elsewhere_is_refused(tmp_path: Path, change: Callable[[Any, Path], None]) -> None:
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["w"] = np.ones(1, np.float32)
    check_h5(tmp_path / "secret.h5")
    with h5py.File(tmp_path / "w.h5", "w") as file:
        change(file, tmp_path / "secret.h5")
    with pytest.raises(
        ModelError, match=r"which may lead to other|it refers to other files|more numbers than|in two places"
    ):
        check_h5(tmp_path / "w.h5")


@pytest.mark.parametrize("content", [b"", b"\x89HDF\r\n\x1a\n" + bytes(100), b"PK\x03\x04"])
def test_what_is_no_hdf5_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.h5").write_bytes(content)
    with pytest.raises(ModelError, match="cannot be read"):
        check_h5(tmp_path / "w.h5")


def test_a_network_of_kerashub_that_is_larger_than_its_weights_is_refused_before_it_is_built() -> None:
    numbers: dict[str, Any] = {"image_shape": [16, 16, 3], "patch_size": 8, "num_layers": 2, "hidden_dim": 16}
    described = {"class": "ViTBackbone", "config": numbers, "scale": [1.0] * 3, "offset": [0.0] * 3}
    check_hub_sizes(check_preset(described), 64)
    for key, value in {"hidden_dim": 8192, "image_shape": [2048, 2048, 3]}.items():
        larger = check_preset({**described, "config": numbers | {key: value}})
        with pytest.raises(ModelError, match=rf"larger than its weights are\. Received: \['{key}'\]"):
            check_hub_sizes(larger, 64)


@pytest.mark.parametrize("text", ["[" * 9000, "{}", "\ud800", '{"class_name": "ViTBackbone", "config": {"x": NaN}}'])
def test_a_preset_of_another_form_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ModelError):
        read_preset(str(tmp_path))
    (tmp_path / "config.json").unlink()
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(ModelError, match="is no file"):
        read_preset(str(tmp_path))
