"""Read the feature maps of a Keras network, and compute Grad-CAM by gradients where its head needs them."""

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from hangtag.explain.grad_cam import Evidence, Mask, Values, contrast_classes, sum_evidence
from hangtag.models.layers import import_keras


class KerasFeatures:
    """The feature maps of a Keras network.

    Args:
        model: A network of `build_model`.
    """

    def __init__(self, model: Any) -> None:
        self._model = model

    def compute_evidence(self, inputs: dict[str, npt.NDArray[Any]], head: str, is_wanted: Mask) -> Values:
        """Compute the evidence of each cell for the wanted classes, for one of `heads`; see `sum_evidence`."""
        if self._pooled_maps:
            return sum_evidence(self._read_members(inputs, head), is_wanted)
        return self._follow_gradient(inputs, head, is_wanted)

    @property
    def heads(self) -> tuple[str, ...]:
        """The heads that heatmaps can be computed for."""
        return tuple(self._dense_layers) if self._pooled_maps or self._split_network is not None else ()

    @cached_property
    def _dense_layers(self) -> dict[str, list[Any]]:
        """Return the last dense layer of each ensemble member, by head."""
        keras = import_keras()
        found: dict[str, list[Any]] = {head: [] for head in getattr(self._model, "output", {})}
        for layer in getattr(self._model, "layers", []):
            head = layer.name.partition("_member")[0]
            if isinstance(layer, keras.layers.Dense) and head in found:
                found[head].append(layer)
        return found if found and all(found.values()) else {}

    @cached_property
    def _pooled_maps(self) -> dict[str, list[Any]]:
        """Return the maps before each member's average pooling, by head; empty unless all heads follow a pooling."""
        found = {head: [_find_pooled(layer.input) for layer in layers] for head, layers in self._dense_layers.items()}
        return {} if any(each is None for maps in found.values() for each in maps) else found

    @cached_property
    def _feature_model(self) -> Any:
        outputs = {
            f"{head} {index} {kind}": tensor
            for head, layers in self._dense_layers.items()
            for index, layer in enumerate(layers)
            for kind, tensor in (("maps", self._pooled_maps[head][index]), ("features", layer.input))
        }
        return import_keras().Model(self._model.input, outputs)

    def _read_members(self, inputs: dict[str, npt.NDArray[Any]], head: str) -> list[Evidence]:
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
    def _split_network(self) -> tuple[Any, dict[str, Any]] | None:
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

    def _follow_gradient(self, inputs: dict[str, npt.NDArray[Any]], head: str, is_wanted: Mask) -> Values:
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


def _get_layer_and_sources(tensor: Any) -> tuple[Any, list[Any]]:
    """Return the layer that computed a tensor, and its input tensors."""
    history = tensor._keras_history
    node = history.operation._inbound_nodes[history.node_index]
    return history.operation, list(node.input_tensors)


def _find_pooled(features: Any) -> Any | None:
    """Return the input of the global average pooling before a head, or None where there is no such pooling."""
    layers = import_keras().layers
    layer, sources = _get_layer_and_sources(features)
    while isinstance(layer, layers.Dropout):
        layer, sources = _get_layer_and_sources(sources[0])
    return sources[0] if isinstance(layer, layers.GlobalAveragePooling2D) else None


def _find_convolved(features: Any) -> Any | None:
    """Return the output of the last convolution before a head, or None if a layer between them has several inputs."""
    layers = import_keras().layers
    tensor, (layer, sources) = features, _get_layer_and_sources(features)
    while not isinstance(layer, layers.Conv2D):
        if len(sources) != 1:
            return None
        tensor, (layer, sources) = sources[0], _get_layer_and_sources(sources[0])
    return tensor
