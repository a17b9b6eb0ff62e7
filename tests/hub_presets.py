"""Presets of KerasHub, tiny and with weights of no meaning, to read in tests."""

import json
from pathlib import Path
from typing import Any

import pytest

from hangtag.models.backend import import_keras

KINDS = ("ResNetBackbone", "ViTBackbone", "DINOV2Backbone", "CLIPBackbone", "SigLIPBackbone")
VIT: dict[str, Any] = {
    "image_shape": [16, 16, 3],
    "patch_size": 8,
    "num_layers": 2,
    "num_heads": 2,
    "hidden_dim": 16,
    "mlp_dim": 32,
}
SCALE, OFFSET = [0.02, 0.02, 0.03], [-2.0, -2.1, -1.9]


def write_config(folder: Path, name: str = "ViTBackbone", converter: Any = None, **config: Any) -> str:
    """Write a preset without its weights, as KerasHub writes it."""
    folder.mkdir(exist_ok=True)
    dtype = {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "float32"}, "registered_name": None}
    content = {"class_name": name, "config": {"name": "any", "trainable": True, "dtype": dtype, **config}}
    (folder / "config.json").write_text(json.dumps(content), "utf-8")
    if converter is not None:
        (folder / "image_converter.json").write_text(json.dumps({"config": converter}), "utf-8")
    return str(folder)


def write_preset(folder: Path, kind: str) -> str:
    """Write a whole preset, tiny and with weights of no meaning, by KerasHub itself."""
    models = pytest.importorskip("keras_hub").models
    import_keras().utils.set_random_seed(3)
    tower = {"patch_size": 8, "hidden_dim": 16, "num_layers": 2, "num_heads": 2, "intermediate_dim": 32}
    text = {key: value for key, value in tower.items() if key != "patch_size"} | {"embedding_dim": 16}
    if kind == "ResNetBackbone":
        net = models.ResNetBackbone([64], [7], [64, 64], [1, 1], [1, 2], "basic_block", image_shape=(None, None, 3))
    elif kind == "ViTBackbone":
        net = models.ViTBackbone(**VIT)
    elif kind == "DINOV2Backbone":
        sides = {"image_shape": (32, 32, 3), "position_embedding_shape": (32, 32)}
        net = models.DINOV2Backbone(**tower, **sides, num_register_tokens=1)
    elif kind == "CLIPBackbone":
        encoder = models.CLIPVisionEncoder(**tower, image_shape=(16, 16, 3))
        net = models.CLIPBackbone(encoder, models.CLIPTextEncoder(vocabulary_size=9, **text), 8)
    else:
        encoder = models.SigLIPVisionEncoder(**tower, image_shape=(16, 16, 3))
        net = models.SigLIPBackbone(encoder, models.SigLIPTextEncoder(9, max_sequence_length=4, **text))
    net.save_to_preset(str(folder))
    converter = {"image_size": [16, 16], "scale": SCALE, "offset": OFFSET}
    (folder / "image_converter.json").write_text(json.dumps({"config": converter}), "utf-8")
    return str(folder)
