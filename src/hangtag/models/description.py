"""The description beside a saved model, `model.json`: what it has to hold, and what is made of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from hangtag.artifacts import read_json
from hangtag.config import ColorMode
from hangtag.errors import ModelError
from hangtag.models.outputs import Outputs
from hangtag.models.words import Vocabulary

FORMAT = 2
LARGEST_SIDE = 2048
DESCRIPTION = "model.json"


@dataclass(frozen=True)
class Description:
    """What a folder says of its model.

    Attributes:
        content: All of `model.json`.
        outputs: What the model's heads stand for.
        vocabulary: The words of names that it knows, or None where it reads pixels alone.
        image_size: (height, width) of the photographs that it is asked about.
        network_size: (height, width) that they are shrunk to first.
    """

    content: dict[str, Any]
    outputs: Outputs
    vocabulary: Vocabulary | None
    image_size: tuple[int, int]
    network_size: tuple[int, int]


def read_description(folder: Path) -> Description:
    """Read the description of the model in a folder.

    Raises:
        ModelError: There is none, or it is damaged, incomplete, or of another version.
    """
    content = _read_content(folder)
    try:
        outputs = Outputs.from_json(content["outputs"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError("The model's description of its outputs is damaged.", received=str(folder)) from error
    if list(outputs.class_names) != content["class_names"]:
        raise ModelError("The model's description names its classes in two ways.", received=str(folder))
    words = content["words"]
    vocabulary = None if words is None else Vocabulary(tuple(words))
    height, width = content["image_size"]
    network_height, network_width = content.get("network_size", (height, width))
    return Description(content, outputs, vocabulary, (height, width), (network_height, network_width))


def _read_content(folder: Path) -> dict[str, Any]:
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
    words = description["words"]
    return (
        isinstance(description["architecture"], str)
        and _names_its_files(description)
        and description["preprocessing"]["color_mode"] in get_args(ColorMode)
        and _is_size(description["image_size"])
        and _is_size(description.get("network_size", description["image_size"]))
        and isinstance(description["class_names"], list)
        and isinstance(description["outputs"], dict)
        and (
            words is None or (isinstance(words, list) and words != [] and all(isinstance(word, str) for word in words))
        )
    )


def _is_size(value: Any) -> bool:
    # A network for larger sides would fill the memory before its weights are compared.
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(type(number) is int and 1 <= number <= LARGEST_SIDE for number in value)
    )


def _names_its_files(description: Mapping[str, Any]) -> bool:
    """Say whether the hashes of its weights, or of its exported network, are there."""
    if "network" in description:
        return all(isinstance(description["network"][key], str) for key in ("sha256", "weights_sha256"))
    return isinstance(description["weights"]["sha256"], str)
