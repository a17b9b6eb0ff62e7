"""Read an OpenVINO network from its two files, and check it before the engine uses it.

Each file is read once and hashed, so that exactly the checked content is used. Operations that could open other files
or keep state are refused, and the inputs and outputs must be those of the model's description.
"""

import hashlib
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.parsers import expat

from hangtag.errors import ModelError
from hangtag.models.description import AGAIN, Description, escape, read_bytes
from hangtag.models.out_of_distribution import OOD_SCORE, OUT_OF_DISTRIBUTION
from hangtag.models.text import MAX_WORDS

if TYPE_CHECKING:
    import openvino

NETWORK, NETWORK_WEIGHTS = "network.xml", "network.bin"
# Limits of both files, in bytes, and of the number and nesting of the graph's elements.
LARGEST_GRAPH, LARGEST_WEIGHTS = 64 << 20, 4 << 30
MOST_LAYERS, DEEPEST = 100_000, 40
BEGINNINGS = (b"<?xml ", b"<net ")
OPERATIONS = re.compile(r"opset\d{1,2}")
# Operations that contain a network, which may loop for ever, and operations that keep state between predictions.
REFUSED = {"TensorIterator", "Loop", "If", "ReadValue", "Assign"}
WHOLE = re.compile(r"\d{1,18}")

# None stands for a dimension of any length.
Shape = tuple[int | None, ...]
# The type and shape of each input or output by its name.
Signature = Mapping[str, tuple[str, Shape]]


def check_signature(described: Description, inputs: Signature, outputs: Signature) -> None:
    """Check that a network's inputs and outputs are those of its description.

    Args:
        described: The description.
        inputs: The type, such as `uint8`, and the shape of each input by its name.
        outputs: The type and the shape of each output by its name.

    Raises:
        ModelError: An input or output is missing, unknown, or has another type or shape.
    """
    expected_inputs: Signature = {"pixels": ("uint8", (None, *described.network_size, 3))}
    if described.vocabulary:
        expected_inputs = {**expected_inputs, "words": ("int32", (None, MAX_WORDS))}
    expected_outputs: Signature = {
        head: ("float32", (None, size)) for head, size in described.label_space.heads.items()
    }
    # During an export the network has this output before the description has its limit.
    if OUT_OF_DISTRIBUTION in described.content or OOD_SCORE in outputs:
        expected_outputs = {**expected_outputs, OOD_SCORE: ("float32", (None,))}
    # A network for photographs of every size also accepts those of the described size.
    filled = {name: (dtype, _fill_shape(shape, expected_inputs.get(name))) for name, (dtype, shape) in inputs.items()}
    for verb, expected, actual in (("takes", expected_inputs, filled), ("returns", expected_outputs, outputs)):
        if actual != expected:
            names = sorted(name for name in actual.keys() | expected.keys() if actual.get(name) != expected.get(name))
            raise ModelError(
                f"The model's network {verb} other tensors than its description states: {described.path}.",
                allowed=f"Allowed: {_describe_signature(expected, names)}.",
                received=_describe_signature(actual, names),
                hint=AGAIN,
            )


def _fill_shape(shape: Shape, expected: tuple[str, Shape] | None) -> Shape:
    """Replace dimensions of any length by those of the expected shape."""
    if expected is None or len(expected[1]) != len(shape):
        return shape
    return tuple(other if side is None else side for side, other in zip(shape, expected[1], strict=True))


def _describe_signature(signature: Signature, names: list[str]) -> str:
    shown = [f"{name} {signature[name][0]} {signature[name][1]}" for name in names[:3] if name in signature]
    return escape(", ".join(shown) or f"no {', '.join(names[:3])}", 200)


def read_network(core: Any, path: Path, described: Description | None = None) -> "openvino.Model":
    """Read a network for the engine after checking the hashes and the content of both files.

    Without these checks the engine would accept other formats under the same name, such as ONNX, which may refer to
    further files.

    Args:
        core: The `openvino.Core` that reads the network.
        path: The path of `network.xml`; `network.bin` is in the same folder.
        described: The description whose hashes, inputs and outputs the network must have; None skips this check.

    Raises:
        ModelError: A file is missing or damaged, has another hash, or contains something that is refused, or the
            inputs or outputs differ from the description.
    """
    files = {"sha256": path, "weights_sha256": path.with_name(NETWORK_WEIGHTS)}
    contents = {
        key: _read_file(file, described.read("network", key) if described else None) for key, file in files.items()
    }
    graph, weights = contents["sha256"], contents["weights_sha256"]
    reason = find_fault(graph, len(weights))
    if reason:
        raise ModelError(
            f"The model's network cannot be read: {reason}.",
            allowed="Allowed: a graph of OpenVINO, as `hangtag export` writes it.",
            hint=AGAIN,
            received=str(path),
        )
    try:
        network = core.read_model(graph, weights)
    except (RuntimeError, ValueError, TypeError) as error:
        raise ModelError("The model's network cannot be read.", hint=AGAIN, received=str(path)) from error
    if described:
        check_signature(described, _read_signature(network.inputs), _read_signature(network.outputs))
    return network


def _read_file(path: Path, sha256: str | None) -> bytes:
    if not path.exists():
        raise ModelError("The model has no network.", allowed=f"Wanted: {path.name}.", received=str(path.parent))
    content = read_bytes(path, LARGEST_GRAPH if path.suffix == ".xml" else LARGEST_WEIGHTS)
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise ModelError(
            "The model's network is not the one that its description names: changed, or written half.",
            hint=AGAIN,
            received=str(path),
        )
    return content


def _read_signature(ports: Any) -> Signature:
    """Return the type and the shape of each input or output by its name."""
    signature = {}
    for port in ports:
        shape = tuple(None if side.is_dynamic else side.get_length() for side in port.partial_shape)
        # No description has an input or output without a name, so the check of the signature refuses it.
        name = port.any_name if port.names else ""
        signature[name] = (port.element_type.to_dtype().name, shape)
    return signature


def find_fault(graph: bytes, weights_size: int) -> str:
    """Return why a graph is refused, in a few words; an empty text if it is accepted.

    Args:
        graph: The content of `network.xml`.
        weights_size: The size in bytes of `network.bin`, which stores the constants.
    """
    if not graph.startswith(BEGINNINGS):
        return "it is no XML"
    checker = _GraphChecker(weights_size)
    # UTF-8 whatever encoding the file declares, as the engine does.
    parser = expat.ParserCreate("utf-8")
    parser.StartElementHandler, parser.EndElementHandler = checker.open, checker.close
    parser.StartDoctypeDeclHandler = checker.refuse_doctype
    try:
        parser.Parse(graph, True)
    except expat.ExpatError as error:
        return f"it is no XML, {error}"
    except _FaultError as error:
        return str(error)
    return ""


class _FaultError(Exception):
    """A graph contains something that is refused."""


class _GraphChecker:
    """Check the elements of a graph as the XML parser reads them; raise `_FaultError` for the first refused one."""

    def __init__(self, weights_size: int) -> None:
        self._weights_size = weights_size
        self._open_elements: list[str] = []
        self._layer_type, self._layer_count = "", 0

    def open(self, name: str, attributes: Mapping[str, str]) -> None:
        if not self._open_elements and name != "net":
            raise _FaultError("it is XML of another kind")
        self._open_elements.append(name)
        if len(self._open_elements) > DEEPEST:
            raise _FaultError("it is nested too deeply")
        if name == "layer":
            self._open_layer(attributes)
        elif name == "data" and self._layer_type == "Const":
            self._check_constant(attributes)

    def close(self, _name: str) -> None:
        self._open_elements.pop()

    def refuse_doctype(self, *_: object) -> None:
        raise _FaultError("it declares a type of its own")

    def _open_layer(self, attributes: Mapping[str, str]) -> None:
        self._layer_type = attributes.get("type", "")
        self._layer_count += 1
        if self._open_elements != ["net", "layers", "layer"] or self._layer_type in REFUSED:
            raise _FaultError("it has a network within the network")
        if not OPERATIONS.fullmatch(attributes.get("version", "")):
            raise _FaultError("it has an operation that the engine does not have by itself")
        if self._layer_count > MOST_LAYERS:
            raise _FaultError(f"it has more than {MOST_LAYERS:,} layers")

    def _check_constant(self, attributes: Mapping[str, str]) -> None:
        sides = [side for side in attributes.get("shape", "").replace(" ", "").split(",") if side]
        values = [attributes.get("offset", ""), attributes.get("size", ""), *sides]
        if attributes.get("element_type") == "string" or not all(WHOLE.fullmatch(value) for value in values):
            raise _FaultError("it has a constant that is no array of numbers")
        offset, size, *shape = map(int, values)
        # Every type needs at least one bit for a number.
        if offset + size > self._weights_size or math.prod(shape) > 8 * size:
            raise _FaultError(f"it has a constant that is not in {NETWORK_WEIGHTS}")
