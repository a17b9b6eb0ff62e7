"""Load pretrained weights into the backbone of a network, from files that are checked and cannot run code."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from safetensors import safe_open

from hangtag.errors import ModelError
from hangtag.io import expand_home, hash_file
from hangtag.models.checkpoint import Weights, assign_weights, read_weights
from hangtag.models.description import escape
from hangtag.models.keras_applications import load_imagenet, load_library_file
from hangtag.models.keras_hub import HUB, load_preset
from hangtag.models.keras_hub import WEIGHTS as PRESET_WEIGHTS
from hangtag.models.layers import cut_backbone
from hangtag.train_config import IMAGENET, START, STARTED

if TYPE_CHECKING:
    from keras import Model

# The weights that come with hangtag, by architecture; the README.md beside them says where they come from.
STARTS = {name: Path(__file__).parent / "start" / f"{name}.safetensors" for name in STARTED}
SUFFIX, LIBRARY_SUFFIX = ".safetensors", ".h5"
# The first bytes of formats that can run code when they are loaded.
REFUSED = {
    b"PK\x03\x04": "a zip archive, as PyTorch and Keras write them",
    b"\x80": "a pickle, as PyTorch writes it",
}
CONVERT = "Convert it to safetensors with the names of the network; see docs/models.md."
AGAIN = "Copy or convert it again."


def load_pretrained(model: "Model", architecture: str, source: str) -> dict[str, str]:
    """Load pretrained weights into a network's backbone; its heads remain unchanged.

    Args:
        model: A network of `build_model`.
        architecture: Its name.
        source: The weights of `--weights`: `start` for those that come with hangtag; `imagenet` for those of Keras;
            a safetensors file of float32 or float16 arrays, named like the weights of the backbone; for
            architectures of `keras.applications`, one of Keras's own .h5 files; or, for `hub`, a preset.

    Returns:
        The name of the `file` and its `sha256`, for `model.json`.

    Raises:
        ModelError: The file is missing, damaged or changed, has a format that is refused, or does not fit the network.
    """
    path = expand_home(source)
    if architecture == HUB:
        path = load_preset(model, source)
        return {"file": Path(source).name, "sha256": hash_file(path)}
    if source == START:
        path = find_start(architecture)
        _assign_backbone(model, path)
    elif source == IMAGENET:
        path = load_imagenet(model, architecture)
    elif path.suffix == LIBRARY_SUFFIX and path.is_file():
        load_library_file(model, architecture, path)
    else:
        _assign_backbone(model, path)
    return {"file": path.name, "sha256": hash_file(path)} if path.is_file() else {"file": path.name}


def find_start(architecture: str) -> Path:
    """Return the file of the weights that come with hangtag for an architecture.

    Raises:
        ModelError: There are none for it.
    """
    if architecture not in STARTS:
        raise ModelError(
            "No weights for this architecture come with hangtag.",
            allowed=f"Allowed with --weights {START}: {', '.join(STARTS)}.",
            hint="Train it from random weights with --preset scratch, or name a file with --weights.",
            received=architecture,
        )
    return STARTS[architecture]


def find_file(source: str) -> Path | None:
    """Return the absolute path of pretrained weights, or of a preset; None if they are none of the user's files."""
    path = expand_home(source).absolute()
    return path if source not in ("", START, IMAGENET) and path.exists() else None


def hash_source(source: str, architecture: str) -> dict[str, str]:
    """Return the SHA-256 of the file of pretrained weights, as an input of the training; empty if there is none."""
    if source in ("", IMAGENET):
        return {}
    path = find_start(architecture) if source == START else expand_home(source)
    path = path / PRESET_WEIGHTS if path.is_dir() else path
    return {"weights": hash_file(path)} if path.is_file() else {}


def _assign_backbone(model: "Model", path: Path) -> None:
    weights = read_pretrained(path)
    backbone = cut_backbone(model)
    # The file of a whole model also has the weights of its heads, which are of other classes.
    names = read_weights(backbone).keys()
    heads = {name for name in weights if name not in names and name.startswith(("category_path", "attribute_"))}
    chosen = {name: value for name, value in weights.items() if name not in heads}
    if not chosen.keys() & names:
        raise ModelError("The weights belong to another architecture.", hint=CONVERT, received=str(path))
    try:
        assign_weights(backbone, chosen)
    except ModelError as error:
        raise ModelError(f"The file of weights does not fit the network. {error}", hint=f"File: {path}.") from error


def read_pretrained(path: Path) -> Weights:
    """Read a safetensors file of weights as float32, and compare it with the hash in its metadata if there is one.

    Raises:
        ModelError: The file is missing, damaged, changed or not in safetensors format, or has values that are not
            finite.
    """
    _check_kind(path)
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except Exception as error:  # a damaged header, or a type that numpy lacks, raises many types of exceptions
        raise ModelError(
            f"The file of weights cannot be read, it may be truncated: {escape(str(error))}.",
            hint=AGAIN,
            received=str(path),
        ) from error
    if "sha256" in metadata and metadata["sha256"] != hash_weights(weights):
        raise ModelError(
            "The file of weights is not the one that was written: its numbers have changed.",
            hint=AGAIN,
            received=str(path),
        )
    for name, values in weights.items():
        if not np.issubdtype(values.dtype, np.floating) or not np.isfinite(values).all():
            raise ModelError(f"The weight {name} has values that are no numbers.", hint=AGAIN, received=str(path))
    # Half precision is enough to start from, at half the size.
    return {name: _widen(values) for name, values in weights.items()}


def _widen(values: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    return values.astype(np.float32) if values.dtype == np.float16 else values


def hash_weights(weights: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the names, shapes, types and values of weights, which a file can have in its metadata."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        values = np.ascontiguousarray(weights[name])
        digest.update(json.dumps([name, list(values.shape), str(values.dtype)]).encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def _check_kind(path: Path) -> None:
    if not path.is_file():
        raise ModelError("There is no such file of weights.", received=str(path))
    with path.open("rb") as file:
        beginning = file.read(9)
    for signature, kind in REFUSED.items():
        # A safetensors file starts with eight bytes of a number, which may be any bytes, followed by JSON.
        if beginning.startswith(signature) and beginning[8:] != b"{":
            raise ModelError(
                f"The file of weights is {kind}: it is not opened, for reading it could run code.",
                allowed=f"Allowed: {SUFFIX}.",
                hint=CONVERT,
                received=str(path),
            )
