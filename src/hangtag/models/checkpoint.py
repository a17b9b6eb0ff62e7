"""Save and load models as safetensors and JSON, formats that cannot run code, and check the files of a run."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load, save_file

from hangtag.errors import ModelError, WorkspaceError
from hangtag.io import JsonObject, hash_file, write_json, write_whole
from hangtag.manifest import require_manifest
from hangtag.models.description import AGAIN, DESCRIPTION, FORMAT, Description, escape, read_bytes, read_description
from hangtag.models.flops import count_flops, read_output_shape
from hangtag.models.keras_hub import HUB, check_hub_sizes, check_preset
from hangtag.models.label_space import LabelSpace
from hangtag.models.layers import RESCALE
from hangtag.models.network_file import Signature, check_signature
from hangtag.models.registry import build_model
from hangtag.models.seen_images import SeenPhotographs, read_seen
from hangtag.models.text import Vocabulary
from hangtag.train_config import ColorMode
from hangtag.workspace import Workspace

if TYPE_CHECKING:
    from keras import KerasTensor, Model, Variable

WEIGHTS = "model.safetensors"
# In bytes.
LARGEST_WEIGHTS = 4 << 30
# At least the number of members of every ensemble in the registry.
MOST_MEMBERS = 8
Weights = dict[str, npt.NDArray[np.float32]]


@dataclass(frozen=True)
class SavedModel:
    """A loaded model.

    Attributes:
        model: The `keras.Model`, or an exported network with the same methods; see `build_model` for its inputs and
            label_space.
        label_space: The label space of its heads.
        vocabulary: The vocabulary of product names, or None for a model that reads images alone.
        image_size: (height, width) of the photographs.
        network_size: (height, width) that photographs are resized to before the network.
        description: The content of `model.json`.
        seen: The photographs that it was trained on, or None if they were not recorded.
    """

    model: Any
    label_space: LabelSpace
    vocabulary: Vocabulary | None
    image_size: tuple[int, int]
    network_size: tuple[int, int]
    description: JsonObject
    seen: SeenPhotographs | None = None


def read_weights(model: "Model") -> Weights:
    """Return a copy of all weights of a model, float32, by their paths."""
    return {weight.path: np.array(weight.numpy(), np.float32) for weight in _list_weights(model)}


def assign_weights(model: "Model", weights: Mapping[str, npt.NDArray[np.float32]]) -> None:
    """Assign weights to a model by their paths. Nothing is assigned unless all names, shapes and types fit.

    Raises:
        ModelError: A weight is missing, unknown, or has another shape or type.
    """
    variables = {weight.path: weight for weight in _list_weights(model)}
    if variables.keys() != weights.keys():
        names = sorted(variables.keys() ^ weights.keys())[:5]
        raise ModelError("The weights belong to another architecture; these names differ.", received=names)
    for path, variable in variables.items():
        values = weights[path]
        if tuple(variable.shape) != values.shape or values.dtype != np.float32:
            raise ModelError(
                f"The weight {path} has the wrong shape or type.",
                allowed=f"Allowed: float32 {tuple(variable.shape)}.",
                received=f"{values.dtype} {values.shape}",
            )
    for path, variable in variables.items():
        variable.assign(weights[path])


def _list_weights(model: "Model") -> "list[Variable]":
    """Return all weights, including moving statistics, but not the states of the random generators of dropout."""
    return [weight for weight in model.weights if "seed_generator" not in weight.path]


def describe_model(model: "Model") -> JsonObject:
    """Return a model's `layers`, `parameters` and `flops`, the entries of `model.json` that describe its network."""
    layers = [
        {
            "name": layer.name,
            "type": type(layer).__name__,
            "output_shape": list(read_output_shape(layer)[1:]),
            "parameters": layer.count_params(),
        }
        for layer in model.layers
    ]
    trainable = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    total = sum(int(np.prod(weight.shape)) for weight in _list_weights(model))
    parameters = {"total": total, "trainable": trainable, "non_trainable": total - trainable}
    return {"parameters": parameters, "flops": count_flops(model), "layers": layers}


def save_model(
    folder: Path,
    model: Any,
    weights: Weights,
    *,
    architecture: str,
    image_size: tuple[int, int],
    network_size: tuple[int, int] | None = None,
    color_mode: ColorMode,
    label_space: LabelSpace,
    vocabulary: Vocabulary | None = None,
    **more: Any,
) -> list[Path]:
    """Write `model.safetensors`, then `model.json` with its hash, so that an interruption between them is detected.

    Args:
        folder: The folder to write to.
        model: The `keras.Model`, which is described in `model.json`.
        weights: Its weights, as `read_weights` returns them.
        architecture: Its registered name.
        image_size: (height, width) of the photographs.
        network_size: (height, width) that photographs are resized to before the network; None keeps their size.
        color_mode: The colour mode of its preprocessing, `color` or `gray`.
        label_space: The label space of its heads.
        vocabulary: The vocabulary of product names, for a model that reads them.
        **more: Further entries of `model.json`.

    Returns:
        The paths of both files.
    """
    with write_whole(folder / WEIGHTS) as temporary:
        save_file(weights, temporary)
    description = {
        "format": FORMAT,
        "architecture": architecture,
        "class_names": list(label_space.class_names),
        "image_size": list(image_size),
        "network_size": list(network_size or image_size),
        "preprocessing": {"color_mode": color_mode, "rescale": RESCALE},
        "label_space": label_space.to_json(),
        "words": list(vocabulary.words) if vocabulary else None,
        **describe_model(model),
        "weights": {"file": WEIGHTS, "sha256": hash_file(folder / WEIGHTS)},
        **more,
    }
    write_json(folder / DESCRIPTION, description)
    return [folder / WEIGHTS, folder / DESCRIPTION]


def load_saved(folder: Path) -> SavedModel:
    """Load a Keras model from its folder. No code in the folder is run.

    Raises:
        ModelError: A file is missing, damaged or changed, or does not fit the description.
    """
    described = read_description(folder)
    if "weights" not in described.content:
        raise ModelError("The model has no network.", hint="Export or copy the model again.", received=str(folder))
    description, label_space, vocabulary = described.content, described.label_space, described.vocabulary
    seen = read_seen(folder, description)
    weights = load_weights(folder, description["weights"]["sha256"])
    _check_sizes(weights, described)
    model = build_model(
        description["architecture"],
        image_size=described.network_size,
        heads=label_space.heads,
        color_mode=description["preprocessing"]["color_mode"],
        num_words=len(vocabulary.words) if vocabulary else 0,
        dtype="float32",
        hub=description.get("hub"),
    )
    assign_weights(model, weights)
    check_signature(described, _read_signature(model.input), _read_signature(model.output))
    return SavedModel(model, label_space, vocabulary, described.image_size, described.network_size, description, seen)


def _read_signature(tensors: "Mapping[str, KerasTensor]") -> Signature:
    """Return the type and shape of each input or output."""
    return {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()}


def _check_sizes(weights: Weights, described: Description) -> None:
    """Check the shapes of those weights that grow with the sizes in a description.

    This is done before the network is built, because a network of manipulated sizes could fill the memory.

    Raises:
        ModelError: A weight has another shape.
    """
    num_words = len(described.vocabulary.words) if described.vocabulary else 0
    height, width = described.network_size
    expected: dict[str, tuple[int, ...]] = {}
    for head, size in described.label_space.heads.items():
        biases = [f"{head}/bias", *(f"{head}_member{number}/bias" for number in range(1, MOST_MEMBERS + 1))]
        expected |= dict.fromkeys(biases, (size,)) | {f"{head}_with_name/words": (num_words + 1, size)}
    if described.content["architecture"] == "capstone":
        expected["dense/kernel"] = (height // 4 * (width // 4) * 64, 512)
    if described.content["architecture"] == HUB:
        largest = max((side for values in weights.values() for side in values.shape), default=0)
        check_hub_sizes(check_preset(described.content.get("hub")), largest)
    for path in expected.keys() & weights.keys():
        if weights[path].shape != expected[path]:
            raise ModelError(
                f"The weight {path} has another shape than the description asks for: {described.path}.",
                allowed=f"Allowed: float32 {expected[path]}.",
                hint=AGAIN,
                received=f"{weights[path].dtype} {weights[path].shape}",
            )


def load_weights(folder: Path, sha256: str) -> Weights:
    """Load the weights of the model in a folder.

    Args:
        folder: The folder with `model.safetensors`.
        sha256: The hash in its description.

    Raises:
        ModelError: The file is missing or damaged, or has another hash.
    """
    path = folder / WEIGHTS
    if not path.exists():
        raise ModelError("The model has no weights.", allowed=f"Wanted: {WEIGHTS}.", received=str(folder))
    # The file is read once, so that the content that was hashed is the content that is loaded.
    content = read_bytes(path, LARGEST_WEIGHTS)
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ModelError(
            "The model's weights are not those that its description names: changed, or written half.",
            hint="Train or copy the model again.",
            received=str(path),
        )
    try:
        return load(content)
    except Exception as error:  # a damaged header, or a type that numpy lacks, raises many types of exceptions
        raise ModelError(
            f"The model's weights cannot be read: {escape(str(error))}.", hint=AGAIN, received=str(path)
        ) from error


def hash_run(workspace: Workspace, run_id: str) -> str:
    """Return the SHA-256 of a finished run's `model.json`, which contains the hash of its weights.

    Raises:
        WorkspaceError: The run's files were changed or damaged after its training.
    """
    folder, hint = workspace.run(run_id), make_hint(run_id)
    outputs = require_manifest(folder, hint)["outputs"]
    if DESCRIPTION not in outputs:
        raise WorkspaceError(f"The run {run_id} has no {DESCRIPTION}.", hint=hint)
    return str(outputs[DESCRIPTION]["sha256"])


def make_hint(run_id: str) -> str:
    """Return the hint of errors about a run whose files are damaged."""
    return f"Train it again (`hangtag train --run-id {run_id}`, with its settings), or move its folder away."
