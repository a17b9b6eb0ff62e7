"""Read a network of OpenVINO from its two files: what was hashed is what is read, and no file besides."""

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


# What a network takes and gives, held against what its description says.

# None for a side of any length.
Shape = tuple[int | None, ...]
Signature = Mapping[str, tuple[str, Shape]]


def check_signature(described: Description, inputs: Signature, outputs: Signature) -> None:
    """Check that a network's inputs and outputs are those of its description.

    Args:
        described: The description.
        inputs: The type of each input, as `uint8`, and its shape, by its name.
        outputs: The same of each output.

    Raises:
        ModelError: It takes or gives something else.
    """
    takes: Signature = {"pixels": ("uint8", (None, *described.network_size, 3))}
    if described.vocabulary:
        takes = {**takes, "words": ("int32", (None, MAX_WORDS))}
    gives: Signature = {head: ("float32", (None, size)) for head, size in described.outputs.heads.items()}
    # The description has a limit once an export is finished.
    if OUT_OF_DISTRIBUTION in described.content or OOD_SCORE in outputs:
        gives = {**gives, OOD_SCORE: ("float32", (None,))}
    # A network for photographs of every size takes those of this one too.
    found = {name: (kind, _fill_shape(shape, takes.get(name))) for name, (kind, shape) in inputs.items()}
    for what, wanted, own in (("takes", takes, found), ("gives", gives, outputs)):
        if own != wanted:
            names = sorted(name for name in own.keys() | wanted.keys() if own.get(name) != wanted.get(name))
            raise ModelError(
                f"The model's network {what} something else than its description says: {described.path}.",
                allowed=f"Allowed: {_describe_signature(wanted, names)}.",
                received=_describe_signature(own, names),
                hint=AGAIN,
            )


def _fill_shape(shape: Shape, wanted: tuple[str, Shape] | None) -> Shape:
    if wanted is None or len(wanted[1]) != len(shape):
        return shape
    return tuple(other if side is None else side for side, other in zip(shape, wanted[1], strict=True))


def _describe_signature(signature: Signature, names: list[str]) -> str:
    shown = [f"{name} {signature[name][0]} {signature[name][1]}" for name in names[:3] if name in signature]
    return escape(", ".join(shown) or f"no {', '.join(names[:3])}", 200)


NETWORK, NETWORK_WEIGHTS = "network.xml", "network.bin"
LARGEST_GRAPH, LARGEST_WEIGHTS = 64 << 20, 4 << 30
MOST_LAYERS, DEEPEST = 100_000, 40
BEGINNINGS = (b"<?xml ", b"<net ")
OPERATIONS = re.compile(r"opset\d{1,2}")
# Networks within networks, which may go round without end, and what keeps values from one photograph to the next.
REFUSED = {"TensorIterator", "Loop", "If", "ReadValue", "Assign"}
WHOLE = re.compile(r"\d{1,18}")


def read_network(core: Any, path: Path, described: Description | None = None) -> "openvino.Model":
    """Read a network for the engine, once both files are those of its description and hold nothing but a graph.

    The engine would take other formats under the same name, such as ONNX, whose numbers may lie in further files.

    Args:
        core: The `openvino.Core` to read with.
        path: Its `network.xml`, `network.bin` beside it.
        described: Whose hashes, inputs and outputs it must have; None holds it against nothing.

    Raises:
        ModelError: A file is missing, damaged or another one, or the network is not what its description says.
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
        check_signature(described, _list_ends(network.inputs), _list_ends(network.outputs))
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


def _list_ends(ends: Any) -> Signature:
    """Return the type and the shape of each input or output by its name."""
    found = {}
    for end in ends:
        sides = tuple(None if side.is_dynamic else side.get_length() for side in end.partial_shape)
        # An end without a name is one that no description has.
        name = end.any_name if end.names else ""
        found[name] = (end.element_type.to_dtype().name, sides)
    return found


def find_fault(graph: bytes, weights_size: int) -> str:
    """Return why a text is no graph for the engine, in a few words; nothing where it is one.

    Args:
        graph: The content of `network.xml`.
        weights_size: The bytes of `network.bin`, which its constants lie in.
    """
    if not graph.startswith(BEGINNINGS):
        return "it is no XML"
    reader = _GraphReader(weights_size)
    # Whatever encoding the text says it has: the engine reads it as UTF-8 too.
    parser = expat.ParserCreate("utf-8")
    parser.StartElementHandler, parser.EndElementHandler = reader.open, reader.close
    parser.StartDoctypeDeclHandler = reader.refuse_doctype
    try:
        parser.Parse(graph, True)
    except expat.ExpatError as error:
        return f"it is no XML, {error}"
    except _FaultError as error:
        return str(error)
    return ""


class _FaultError(Exception):
    """What a graph must not have."""


class _GraphReader:
    """Goes through the elements of a graph, and stops at the first that it must not have."""

    def __init__(self, weights_size: int) -> None:
        self._weights_size = weights_size
        self._open: list[str] = []
        self._layer, self._layers = "", 0

    def open(self, name: str, attributes: Mapping[str, str]) -> None:
        if not self._open and name != "net":
            raise _FaultError("it is XML of another kind")
        self._open.append(name)
        if len(self._open) > DEEPEST:
            raise _FaultError("it is nested too deeply")
        if name == "layer":
            self._open_layer(attributes)
        elif name == "data" and self._layer == "Const":
            self._check_constant(attributes)

    def close(self, _name: str) -> None:
        self._open.pop()

    def refuse_doctype(self, *_: object) -> None:
        raise _FaultError("it declares a type of its own")

    def _open_layer(self, attributes: Mapping[str, str]) -> None:
        self._layer = attributes.get("type", "")
        self._layers += 1
        if self._open != ["net", "layers", "layer"] or self._layer in REFUSED:
            raise _FaultError("it has a network within the network")
        if not OPERATIONS.fullmatch(attributes.get("version", "")):
            raise _FaultError("it has an operation that the engine does not have by itself")
        if self._layers > MOST_LAYERS:
            raise _FaultError(f"it has more than {MOST_LAYERS:,} layers")

    def _check_constant(self, attributes: Mapping[str, str]) -> None:
        sides = [side for side in attributes.get("shape", "").replace(" ", "").split(",") if side]
        values = [attributes.get("offset", ""), attributes.get("size", ""), *sides]
        if attributes.get("element_type") == "string" or not all(WHOLE.fullmatch(value) for value in values):
            raise _FaultError("it has a constant that is no array of numbers")
        offset, size, *shape = map(int, values)
        # No type has less than a bit a number.
        if offset + size > self._weights_size or math.prod(shape) > 8 * size:
            raise _FaultError(f"it has a constant that is not in {NETWORK_WEIGHTS}")
