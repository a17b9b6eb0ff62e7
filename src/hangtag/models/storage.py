"""Save and load models as safetensors and JSON, which cannot run code."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from hangtag.artifacts import hash_file, read_json, write_json, write_whole
from hangtag.config import ColorMode
from hangtag.errors import ModelError
from hangtag.models.preprocessing import RESCALE
from hangtag.models.registry import build_model

FORMAT = 1
LARGEST_SIDE = 2048
WEIGHTS, DESCRIPTION = "model.safetensors", "model.json"
Weights = dict[str, npt.NDArray[np.float32]]


@dataclass(frozen=True)
class SavedModel:
    """A model as it was loaded.

    Attributes:
        model: The `keras.Model`, from pixels (n, H, W, 3) to probabilities (n, num_classes).
        class_names: What the outputs stand for.
        image_size: (height, width).
        description: All of `model.json`.
    """

    model: Any
    class_names: tuple[str, ...]
    image_size: tuple[int, int]
    description: dict[str, Any]


def read_weights(model: Any) -> Weights:
    """Give a copy of all of a model's weights, float32, by their path in the model."""
    return {weight.path: np.array(weight.numpy(), np.float32) for weight in _list_weights(model)}


def assign_weights(model: Any, weights: Mapping[str, npt.NDArray[np.float32]]) -> None:
    """Put weights back by their paths, once all names and shapes fit.

    Raises:
        ModelError: A weight is missing, unknown, or has another shape or type.
    """
    wanted = {weight.path: weight for weight in _list_weights(model)}
    if wanted.keys() != weights.keys():
        names = sorted(wanted.keys() ^ weights.keys())[:5]
        raise ModelError("The weights belong to another architecture; these names differ.", received=names)
    for path, weight in wanted.items():
        found = weights[path]
        if tuple(weight.shape) != found.shape or found.dtype != np.float32:
            raise ModelError(
                f"The weight {path} has the wrong shape or type.",
                allowed=f"Allowed: float32 {tuple(weight.shape)}.",
                received=f"{found.dtype} {found.shape}",
            )
    for path, weight in wanted.items():
        weight.assign(weights[path])


def _list_weights(model: Any) -> list[Any]:
    """Give the trained and the moving weights; the state of dropout's random numbers is none."""
    return [weight for weight in model.weights if "seed_generator" not in weight.path]


def describe_model(model: Any) -> dict[str, Any]:
    """Give a model's layers and its numbers of parameters, for people and for `model.json`."""
    layers = [
        {
            "name": layer.name,
            "type": type(layer).__name__,
            "output_shape": list(layer.output.shape[1:]),
            "parameters": layer.count_params(),
        }
        for layer in model.layers
    ]
    trainable = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    total = sum(int(np.prod(weight.shape)) for weight in _list_weights(model))
    parameters = {"total": total, "trainable": trainable, "non_trainable": total - trainable}
    return {"parameters": parameters, "layers": layers}


def save_model(
    folder: Path,
    model: Any,
    weights: Weights,
    *,
    architecture: str,
    arguments: Mapping[str, Any],
    class_names: tuple[str, ...],
    **more: Any,
) -> list[Path]:
    """Write `model.safetensors`, then `model.json` with its hash, so that a kill between them is noticed.

    Args:
        folder: Where to.
        model: The `keras.Model`, for its description.
        weights: Its weights, as `read_weights` gives them.
        architecture: Its registered name.
        arguments: `image_size`, `num_classes` and `color_mode` that built it.
        class_names: What its outputs stand for.
        **more: Further entries of `model.json`.

    Returns:
        The two paths.
    """
    with write_whole(folder / WEIGHTS) as temporary:
        save_file(weights, temporary)
    description = {
        "format": FORMAT,
        "architecture": architecture,
        "arguments": {**arguments, "image_size": list(arguments["image_size"])},
        "class_names": list(class_names),
        "image_size": list(arguments["image_size"]),
        "preprocessing": {"color_mode": arguments["color_mode"], "rescale": RESCALE},
        **describe_model(model),
        "weights": {"file": WEIGHTS, "sha256": hash_file(folder / WEIGHTS)},
        **more,
    }
    write_json(folder / DESCRIPTION, description)
    return [folder / WEIGHTS, folder / DESCRIPTION]


def load_saved(folder: Path) -> SavedModel:
    """Load a model from its folder; only numbers are read, nothing in it is run.

    Raises:
        ModelError: A file is missing, damaged, changed, or does not fit its description.
    """
    description = _read_description(folder)
    arguments = dict(description["arguments"])
    arguments["image_size"] = tuple(arguments["image_size"])
    if arguments["num_classes"] != len(description["class_names"]):
        raise ModelError("The model's description names another number of classes.", received=str(folder))
    weights = _load_weights(folder, description["weights"]["sha256"])
    model = build_model(description["architecture"], dtype="float32", **arguments)
    assign_weights(model, weights)
    return SavedModel(model, tuple(description["class_names"]), arguments["image_size"], description)


def _read_description(folder: Path) -> dict[str, Any]:
    path = folder / DESCRIPTION
    if not path.is_file():
        raise ModelError("There is no model in this folder.", allowed=f"Wanted: {DESCRIPTION}.", received=str(folder))
    try:
        description = read_json(path)
        is_readable = description["format"] == FORMAT and _is_complete(description)
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError("The model's description is damaged.", received=str(path)) from error
    if not is_readable:
        raise ModelError(
            "The model's description is not one that this version reads.",
            allowed=f"Allowed: format {FORMAT}, complete.",
            received=str(path),
        )
    return dict(description)


def _is_complete(description: Mapping[str, Any]) -> bool:
    """Say whether all that loading needs is there and of the right type; a file from elsewhere may hold anything."""
    arguments = description["arguments"]
    size, names = arguments["image_size"], description["class_names"]
    return (
        set(arguments) == {"image_size", "num_classes", "color_mode"}
        and isinstance(description["architecture"], str)
        and isinstance(description["weights"]["sha256"], str)
        and arguments["color_mode"] in get_args(ColorMode)
        and isinstance(size, list)
        and len(size) == 2
        # A network for larger sides would fill the memory before its weights are compared.
        and all(type(number) is int and number <= LARGEST_SIDE for number in size)
        and type(arguments["num_classes"]) is int
        and isinstance(names, list)
        and all(isinstance(name, str) for name in names)
    )


def _load_weights(folder: Path, sha256: str) -> Weights:
    path = folder / WEIGHTS
    if not path.is_file():
        raise ModelError("The model has no weights.", allowed=f"Wanted: {WEIGHTS}.", received=str(folder))
    if hash_file(path) != sha256:
        raise ModelError(
            "The model's weights are not those that its description names: changed, or written half.",
            hint="Train or copy the model again.",
            received=str(path),
        )
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"The model's weights cannot be read: {error}.", received=str(path)) from error
