"""Read the feature maps of a Keras network, and follow gradients back to them where its head reads no means of maps."""

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from hangtag.explain.grad_cam import Evidence, Mask, Values, contrast_classes, sum_evidence
from hangtag.models.layers import import_keras


class KerasFeatures:
    """Feature maps of a Keras network.

    Args:
        model: A network of `build_model`.
    """

    def __init__(self, model: Any) -> None:
        self._model = model

    def look(self, inputs: dict[str, npt.NDArray[Any]], head: str, is_wanted: Mask) -> Values:
        """Compute the evidence as `sum_evidence` does, for one of the heads of `heads`."""
        if self._pooled:
            return sum_evidence(self._read(inputs, head), is_wanted)
        return self._follow_gradient(inputs, head, is_wanted)

    @property
    def heads(self) -> tuple[str, ...]:
        """The heads that maps can be made of."""
        return tuple(self._denses) if self._pooled or self._cut is not None else ()

    @cached_property
    def _denses(self) -> dict[str, list[Any]]:
        """Return the last layers of every head's members."""
        keras = import_keras()
        found: dict[str, list[Any]] = {head: [] for head in getattr(self._model, "output", {})}
        for layer in getattr(self._model, "layers", []):
            head = layer.name.partition("_member")[0]
            if isinstance(layer, keras.layers.Dense) and head in found:
                found[head].append(layer)
        return found if found and all(found.values()) else {}

    @cached_property
    def _pooled(self) -> dict[str, list[Any]]:
        """Return the maps of every head's members, if all heads read the means of maps; else nothing."""
        found = {head: [_find_pooled(layer.input) for layer in layers] for head, layers in self._denses.items()}
        return {} if any(each is None for maps in found.values() for each in maps) else found

    @cached_property
    def _reader(self) -> Any:
        outputs = {
            f"{head} {index} {kind}": tensor
            for head, layers in self._denses.items()
            for index, layer in enumerate(layers)
            for kind, tensor in (("maps", self._pooled[head][index]), ("features", layer.input))
        }
        return import_keras().Model(self._model.input, outputs)

    def _read(self, inputs: dict[str, npt.NDArray[Any]], head: str) -> list[Evidence]:
        found = {name: np.asarray(each, np.float32) for name, each in self._reader.predict_on_batch(inputs).items()}
        members = []
        for index, layer in enumerate(self._denses[head]):
            kernel, bias = (np.asarray(each, np.float32) for each in layer.get_weights())
            maps, features = found[f"{head} {index} maps"], found[f"{head} {index} features"]
            members.append(Evidence(maps, features @ kernel + bias, kernel[: maps.shape[-1]]))
        return members

    @cached_property
    def _cut(self) -> tuple[Any, dict[str, Any]] | None:
        """Return the network up to its last convolution, and what comes behind for each head; None without such."""
        keras = import_keras()
        if keras.backend.backend() != "tensorflow" or any(len(layers) != 1 for layers in self._denses.values()):
            return None
        ends = {head: _find_convolved(layers[0].input) for head, layers in self._denses.items()}
        maps = next(iter(ends.values()), None)
        if maps is None or any(each is not maps for each in ends.values()):
            return None
        others = [each for name, each in self._model.input.items() if name != "pixels"]
        behind = {head: keras.Model([maps, *others], self._denses[head][0].input) for head in ends}
        return keras.Model(self._model.input, maps), behind

    def _follow_gradient(self, inputs: dict[str, npt.NDArray[Any]], head: str, is_wanted: Mask) -> Values:
        """Weight the maps by the mean gradient of the probability with respect to each, as general Grad-CAM does."""
        import tensorflow as tf  # noqa: PLC0415  (it is loaded already)

        assert self._cut is not None
        before, behind = self._cut
        kernel, bias = (np.asarray(each, np.float32) for each in self._denses[head][0].get_weights())
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
    """Return the layer that made a tensor, and the tensors that it was made from."""
    history = tensor._keras_history
    node = history.operation._inbound_nodes[history.node_index]
    return history.operation, list(node.input_tensors)


def _find_pooled(features: Any) -> Any | None:
    """Return the maps whose means a head reads, or None where it reads something else."""
    layers = import_keras().layers
    layer, sources = _get_layer_and_sources(features)
    while isinstance(layer, layers.Dropout):
        layer, sources = _get_layer_and_sources(sources[0])
    return sources[0] if isinstance(layer, layers.GlobalAveragePooling2D) else None


def _find_convolved(features: Any) -> Any | None:
    """Return what the last convolution made, or None where there is none on a straight way back."""
    layers = import_keras().layers
    tensor, (layer, sources) = features, _get_layer_and_sources(features)
    while not isinstance(layer, layers.Conv2D):
        if len(sources) != 1:
            return None
        tensor, (layer, sources) = sources[0], _get_layer_and_sources(sources[0])
    return tensor
