"""The bytes of a tiny network in ONNX whose numbers lie in another file, written by hand: no library is needed."""

from pathlib import Path

import numpy as np


def write_onnx(path: Path, weights_name: str) -> None:
    """Write a network without inputs that gives three numbers, `product`, out of a file beside it."""
    np.array([1, 2, 3], np.float32).tofile(path.parent / weights_name)
    place = _field(1, "location") + _field(2, weights_name)
    tensor = _field(1, 3) + _field(2, 1) + _field(8, "w") + _field(13, place) + _field(14, 1)
    node = _field(1, "w") + _field(2, "product") + _field(4, "Identity")
    shape = _field(2, _field(1, _field(1, 3)))
    output = _field(1, "product") + _field(2, _field(1, _field(1, 1) + shape))
    graph = _field(1, node) + _field(2, "graph") + _field(5, tensor) + _field(12, output)
    path.write_bytes(_field(1, 8) + _field(7, graph) + _field(8, _field(2, 13)))


def _field(number: int, value: int | str | bytes) -> bytes:
    """Return a field of a protocol buffer: a whole number, or bytes with their length."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    content = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])
