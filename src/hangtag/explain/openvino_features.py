"""Read the feature maps of an exported network from nodes that are already in its graph."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hangtag.explain.grad_cam import Evidence, Floats, Mask, Values, sum_evidence

if TYPE_CHECKING:
    import openvino

# What only rounds, stores or moves numbers on their way.
TRANSPARENT = ("FakeQuantize", "Convert", "Reshape", "Squeeze")


@dataclass(frozen=True)
class _Tap:
    """The parts of a member's head in the graph: the output indices of its feature maps and logits, and its weights."""

    maps: int
    logits: int
    weights: Floats
    is_channel_first: bool


class OpenvinoFeatures:
    """A second copy of an exported network with feature maps as outputs, compiled at its first use.

    The usual one is left as it is, so that this costs nothing where nobody asks.

    Args:
        network: The network as it was read.
        compile_network: Makes it ready for this machine.
    """

    def __init__(self, network: "openvino.Model", compile_network: Any) -> None:
        self._network, self._compile = network, compile_network
        self._lock, self._own, self._is_warm = threading.RLock(), threading.local(), False

    def look(self, inputs: dict[str, npt.NDArray[Any]], head: str, is_wanted: Mask) -> Values:
        """Compute the evidence as `sum_evidence` does, for one of the heads of `heads`."""
        with self._lock:
            if not hasattr(self._own, "request"):
                self._own.request = self._compiled.create_infer_request()
            # The first call builds static tables of the engine's binding: no other thread may be in there.
            if not self._is_warm:
                self._own.request.infer(inputs)
                self._is_warm = True
            outputs, taps = self._compiled.outputs, self._taps[0][head]
        found = self._own.request.infer(inputs)
        results = [np.asarray(found[output], np.float32) for output in outputs]
        return sum_evidence([_read_evidence(tap, results) for tap in taps], is_wanted)

    @property
    def heads(self) -> tuple[str, ...]:
        """The heads that read means of feature maps; of others no map can be made."""
        with self._lock:
            return tuple(self._taps[0])

    @cached_property
    def _compiled(self) -> Any:
        import openvino  # noqa: PLC0415  (it is loaded already)

        ends = [openvino.opset13.result(end) for end in self._taps[1]]
        return self._compile(openvino.Model(ends, self._network.get_parameters(), "feature_reader"))

    @cached_property
    def _taps(self) -> tuple[dict[str, list[_Tap]], list[Any]]:
        """Return the members' taps of every head, and the ends of the graph that they read."""
        ends: list[Any] = []
        heads = {}
        for output in self._network.outputs:
            softmaxes = list(_find_softmaxes(output.get_node()))
            taps = [_trace_head(each, ends) for each in softmaxes]
            if taps and None not in taps:
                heads[output.any_name] = [tap for tap in taps if tap]
        return heads, ends


def _read_evidence(tap: _Tap, results: Sequence[npt.NDArray[np.float32]]) -> Evidence:
    maps = results[tap.maps]
    return Evidence(maps.transpose(0, 2, 3, 1) if tap.is_channel_first else maps, results[tap.logits], tap.weights)


def _find_softmaxes(node: Any) -> Iterator[Any]:
    """Return the members' softmaxes that an output is the mean of, or its own; the factor of a name is passed over."""
    if node.get_type_name() == "Softmax":
        photograph = _go_back(_see_through(node.input(0)).get_node(), "Add", "Log")
        if photograph is None:
            yield node
        else:
            yield from _find_softmaxes(_see_through(photograph.input(0)).get_node())
    elif node.get_type_name() in ("Result", "ReduceMean", "Concat", "Unsqueeze", "Maximum", *TRANSPARENT):
        sources = [each.get_source_output().get_node() for each in node.inputs()]
        for source in sources if node.get_type_name() == "Concat" else sources[:1]:
            yield from _find_softmaxes(source)


def _trace_head(softmax: Any, ends: list[Any]) -> _Tap | None:
    """Follow a softmax back to the feature maps, if it is that of a matrix times the maps' means, plus a bias."""
    logits = _see_through(softmax.input(0))
    product = _go_back(logits.get_node(), "Add", "MatMul")
    if product is None:
        return None
    features, weights = _see_through(product.input(0)), _see_through(product.input(1)).get_node()
    pooling = features.get_node()
    is_known = pooling.get_type_name() == "ReduceMean" and weights.get_type_name() == "Constant"
    if not is_known or len(pooling.input(0).get_partial_shape()) != 4:
        return None
    axes = sorted(int(axis) % 4 for axis in _see_through(pooling.input(1)).get_node().get_data().ravel())
    if axes not in ([1, 2], [2, 3]):
        return None
    matrix = np.asarray(weights.get_data(), np.float32)
    matrix = matrix.T if product.get_attributes()["transpose_b"] else matrix
    maps, channels = pooling.input(0).get_source_output(), features.get_partial_shape()[1].get_length()
    return _Tap(_add_output(maps, ends), _add_output(logits, ends), matrix[:channels], axes == [2, 3])


def _go_back(node: Any, *kinds: str) -> Any | None:
    """Return the node before one of the first kind, if it is of the second; `None` where either is another."""
    first, second = kinds
    if node.get_type_name() != first:
        return None
    sources = [_see_through(each).get_node() for each in node.inputs()]
    return next((each for each in sources if each.get_type_name() == second), None)


def _see_through(index: Any) -> Any:
    source = index.get_source_output()
    while source.get_node().get_type_name() in TRANSPARENT:
        source = source.get_node().input(0).get_source_output()
    return source


def _add_output(end: Any, ends: list[Any]) -> int:
    """Return the index of a graph output among those that are read; each is added once."""
    for index, known in enumerate(ends):
        if (known.get_node().get_friendly_name(), known.get_index()) == (
            end.get_node().get_friendly_name(),
            end.get_index(),
        ):
            return index
    ends.append(end)
    return len(ends) - 1
