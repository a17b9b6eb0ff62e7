"""Read the feature maps of Keras and exported networks, from which Grad-CAM heatmaps are computed."""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hangtag.explain.grad_cam import Evidence, Floats, Mask, Values, contrast_classes, sum_evidence
from hangtag.models.batch_predict import Inputs
from hangtag.models.layers import import_keras

if TYPE_CHECKING:
    import openvino
    from keras import KerasTensor, Layer, Model

# Node types that only quantize, convert or reshape values.
TRANSPARENT = ("FakeQuantize", "Convert", "Reshape", "Squeeze")


class KerasFeatures:
    """The feature maps of a Keras network.

    Args:
        model: A network of `build_model`.
    """

    def __init__(self, model: "Model") -> None:
        self._model = model

    def compute_evidence(self, inputs: Inputs, head: str, is_wanted: Mask) -> Values:
        """Compute the evidence of each cell for the wanted classes, for one of `heads`; see `sum_evidence`."""
        if self._pooled_maps:
            return sum_evidence(self._read_members(inputs, head), is_wanted)
        return self._follow_gradient(inputs, head, is_wanted)

    @property
    def heads(self) -> tuple[str, ...]:
        """The heads that heatmaps can be computed for."""
        return tuple(self._dense_layers) if self._pooled_maps or self._split_network is not None else ()

    @cached_property
    def _dense_layers(self) -> "dict[str, list[Layer]]":
        """Return the last dense layer of each ensemble member, by head."""
        keras = import_keras()
        found: dict[str, list[Layer]] = {head: [] for head in getattr(self._model, "output", {})}
        for layer in getattr(self._model, "layers", []):
            head = layer.name.partition("_member")[0]
            if isinstance(layer, keras.layers.Dense) and head in found:
                found[head].append(layer)
        return found if found and all(found.values()) else {}

    @cached_property
    def _pooled_maps(self) -> "dict[str, list[KerasTensor]]":
        """Return the maps before each member's average pooling, by head; empty unless all heads follow a pooling."""
        found = {head: [_find_pooled(layer.input) for layer in layers] for head, layers in self._dense_layers.items()}
        return {} if any(each is None for maps in found.values() for each in maps) else found

    @cached_property
    def _feature_model(self) -> "Model":
        outputs = {
            f"{head} {index} {kind}": tensor
            for head, layers in self._dense_layers.items()
            for index, layer in enumerate(layers)
            for kind, tensor in (("maps", self._pooled_maps[head][index]), ("features", layer.input))
        }
        return import_keras().Model(self._model.input, outputs)

    def _read_members(self, inputs: Inputs, head: str) -> list[Evidence]:
        found = {
            name: np.asarray(each, np.float32) for name, each in self._feature_model.predict_on_batch(inputs).items()
        }
        members = []
        for index, layer in enumerate(self._dense_layers[head]):
            kernel, bias = (np.asarray(each, np.float32) for each in layer.get_weights())
            maps, features = found[f"{head} {index} maps"], found[f"{head} {index} features"]
            members.append(Evidence(maps, features @ kernel + bias, kernel[: maps.shape[-1]]))
        return members

    @cached_property
    def _split_network(self) -> "tuple[Model, dict[str, Model]] | None":
        """Return the network up to its last convolution and the rest for each head; None if it cannot be split so."""
        keras = import_keras()
        if keras.backend.backend() != "tensorflow" or any(len(layers) != 1 for layers in self._dense_layers.values()):
            return None
        last_maps = {head: _find_convolved(layers[0].input) for head, layers in self._dense_layers.items()}
        maps = next(iter(last_maps.values()), None)
        if maps is None or any(each is not maps for each in last_maps.values()):
            return None
        others = [each for name, each in self._model.input.items() if name != "pixels"]
        behind = {head: keras.Model([maps, *others], self._dense_layers[head][0].input) for head in last_maps}
        return keras.Model(self._model.input, maps), behind

    def _follow_gradient(self, inputs: Inputs, head: str, is_wanted: Mask) -> Values:
        """Compute general Grad-CAM: weight each map by the mean gradient of the probability with respect to it."""
        import tensorflow as tf  # noqa: PLC0415  (the network has loaded it already)

        assert self._split_network is not None
        before, behind = self._split_network
        kernel, bias = (np.asarray(each, np.float32) for each in self._dense_layers[head][0].get_weights())
        maps = tf.convert_to_tensor(before.predict_on_batch(inputs))
        others = [tf.convert_to_tensor(inputs[name]) for name in self._model.input if name != "pixels"]
        with tf.GradientTape() as tape:
            tape.watch(maps)
            logits = tf.matmul(behind[head]([maps, *others], training=False), kernel) + bias
            contrast, slope = contrast_classes(logits.numpy(), is_wanted)
            score = tf.reduce_sum(logits * contrast.astype(np.float32))
        channels = tape.gradient(score, maps).numpy().astype(np.float64).mean(axis=(1, 2))
        return np.asarray(slope[:, None, None] * np.einsum("nrkc,nc->nrk", maps.numpy(), channels))


def _get_layer_and_sources(tensor: "KerasTensor") -> "tuple[Layer, list[KerasTensor]]":
    """Return the layer that computed a tensor, and its input tensors."""
    history = tensor._keras_history
    node = history.operation._inbound_nodes[history.node_index]
    return history.operation, list(node.input_tensors)


def _find_pooled(features: "KerasTensor") -> "KerasTensor | None":
    """Return the input of the global average pooling before a head, or None where there is no such pooling."""
    layers = import_keras().layers
    layer, sources = _get_layer_and_sources(features)
    while isinstance(layer, layers.Dropout):
        layer, sources = _get_layer_and_sources(sources[0])
    return sources[0] if isinstance(layer, layers.GlobalAveragePooling2D) else None


def _find_convolved(features: "KerasTensor") -> "KerasTensor | None":
    """Return the output of the last convolution before a head, or None if a layer between them has several inputs."""
    layers = import_keras().layers
    tensor, (layer, sources) = features, _get_layer_and_sources(features)
    while not isinstance(layer, layers.Conv2D):
        if len(sources) != 1:
            return None
        tensor, (layer, sources) = sources[0], _get_layer_and_sources(sources[0])
    return tensor


@dataclass(frozen=True)
class _MemberHead:
    """A member's head in the graph: the output indices of its feature maps and logits, and its weights."""

    maps: int
    logits: int
    weights: Floats
    is_channel_first: bool


class OpenvinoFeatures:
    """A second copy of an exported network with feature maps as outputs, compiled at its first use.

    The copy used for predictions is left unchanged, so this costs nothing until a heatmap is requested.

    Args:
        network: The network as read from its file.
        compile_network: Compiles a network for this machine.
    """

    def __init__(
        self, network: "openvino.Model", compile_network: "Callable[[openvino.Model], openvino.CompiledModel]"
    ) -> None:
        self._network, self._compile = network, compile_network
        self._lock, self._local, self._is_warm = threading.RLock(), threading.local(), False

    def compute_evidence(self, inputs: Inputs, head: str, is_wanted: Mask) -> Values:
        """Compute the evidence of each cell for the wanted classes, for one of `heads`; see `sum_evidence`."""
        with self._lock:
            if not hasattr(self._local, "request"):
                self._local.request = self._compiled.create_infer_request()
            # The first call initializes static tables of OpenVINO's Python binding, which is not thread-safe.
            if not self._is_warm:
                self._local.request.infer(inputs)
                self._is_warm = True
            outputs, member_heads = self._compiled.outputs, self._member_heads[0][head]
        found = self._local.request.infer(inputs)
        results = [np.asarray(found[output], np.float32) for output in outputs]
        return sum_evidence([_read_evidence(member_head, results) for member_head in member_heads], is_wanted)

    @property
    def heads(self) -> tuple[str, ...]:
        """The heads after global average pooling, the only ones that heatmaps can be computed for."""
        with self._lock:
            return tuple(self._member_heads[0])

    @cached_property
    def _compiled(self) -> "openvino.CompiledModel":
        import openvino  # noqa: PLC0415  (the network has loaded it already)

        ends = [openvino.opset13.result(end) for end in self._member_heads[1]]
        return self._compile(openvino.Model(ends, self._network.get_parameters(), "feature_reader"))

    @cached_property
    def _member_heads(self) -> "tuple[dict[str, list[_MemberHead]], list[openvino.Output]]":
        """Return the member heads by head name, and the graph outputs that they index."""
        ends: list[openvino.Output] = []
        heads = {}
        for output in self._network.outputs:
            softmaxes = list(_find_softmaxes(output.get_node()))
            members = [_trace_head(softmax, ends) for softmax in softmaxes]
            if members and None not in members:
                heads[output.any_name] = [member for member in members if member]
        return heads, ends


def _read_evidence(member_head: _MemberHead, results: Sequence[npt.NDArray[np.float32]]) -> Evidence:
    maps = results[member_head.maps]
    maps = maps.transpose(0, 2, 3, 1) if member_head.is_channel_first else maps
    return Evidence(maps, results[member_head.logits], member_head.weights)


def _find_softmaxes(node: "openvino.Node") -> "Iterator[openvino.Node]":
    """Yield the softmax of each member behind an output; in a late fusion, only those of the image branch."""
    if node.get_type_name() == "Softmax":
        photograph = _find_source(_skip_transparent(node.input(0)).get_node(), "Add", "Log")
        if photograph is None:
            yield node
        else:
            yield from _find_softmaxes(_skip_transparent(photograph.input(0)).get_node())
    elif node.get_type_name() in ("Result", "ReduceMean", "Concat", "Unsqueeze", "Maximum", *TRANSPARENT):
        sources = [each.get_source_output().get_node() for each in node.inputs()]
        for source in sources if node.get_type_name() == "Concat" else sources[:1]:
            yield from _find_softmaxes(source)


def _trace_head(softmax: "openvino.Node", ends: "list[openvino.Output]") -> _MemberHead | None:
    """Return the head before a softmax, or None unless it is a dense layer with bias after average pooling."""
    logits = _skip_transparent(softmax.input(0))
    product = _find_source(logits.get_node(), "Add", "MatMul")
    if product is None:
        return None
    features, weights = _skip_transparent(product.input(0)), _skip_transparent(product.input(1)).get_node()
    pooling = features.get_node()
    is_known = pooling.get_type_name() == "ReduceMean" and weights.get_type_name() == "Constant"
    if not is_known or len(pooling.input(0).get_partial_shape()) != 4:
        return None
    axes = sorted(int(axis) % 4 for axis in _skip_transparent(pooling.input(1)).get_node().get_data().ravel())
    if axes not in ([1, 2], [2, 3]):
        return None
    matrix = np.asarray(weights.get_data(), np.float32)
    matrix = matrix.T if product.get_attributes()["transpose_b"] else matrix
    maps, channels = pooling.input(0).get_source_output(), features.get_partial_shape()[1].get_length()
    return _MemberHead(_add_output(maps, ends), _add_output(logits, ends), matrix[:channels], axes == [2, 3])


def _find_source(node: "openvino.Node", *kinds: str) -> "openvino.Node | None":
    """Return the source of type `kinds[1]` of a node of type `kinds[0]`, or None if the types differ."""
    first, second = kinds
    if node.get_type_name() != first:
        return None
    sources = [_skip_transparent(each).get_node() for each in node.inputs()]
    return next((each for each in sources if each.get_type_name() == second), None)


def _skip_transparent(port: "openvino.Output") -> "openvino.Output":
    """Return the output that feeds an input port, past nodes of TRANSPARENT types."""
    source = port.get_source_output()
    while source.get_node().get_type_name() in TRANSPARENT:
        source = source.get_node().input(0).get_source_output()
    return source


def _add_output(end: "openvino.Output", ends: "list[openvino.Output]") -> int:
    """Return the index of an output in `ends`, after appending it if it is new."""
    for index, known in enumerate(ends):
        if (known.get_node().get_friendly_name(), known.get_index()) == (
            end.get_node().get_friendly_name(),
            end.get_index(),
        ):
            return index
    ends.append(end)
    return len(ends) - 1
