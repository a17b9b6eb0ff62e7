"""Keras itself, the layers that all architectures share, and the cut between backbone and heads."""

import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

from hangtag.config import ColorMode
from hangtag.errors import MissingExtraError
from hangtag.models.label_space import CATEGORY_PATH

# Bring Keras in, on the TensorFlow backend unless the environment names another.


def import_keras() -> Any:
    """Import Keras, quietly; the one place that does.

    Raises:
        MissingExtraError: The `train` extra is not installed.
    """
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # A new shape compiles the network anew, which TensorFlow takes for a mistake and warns of.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    try:
        with _quiet():
            import keras  # noqa: PLC0415  (takes seconds; only stages that train or predict pay for it)
    except ImportError as error:
        raise MissingExtraError(
            f"This needs Keras, which cannot be imported: {error}.",
            hint='Install it with `pip install "hangtag[train]"`.',
        ) from error
    return keras


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep TensorFlow's greeting off stderr; it comes from C++ before any setting of its log is read."""
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


# Batch normalisation, by the backend's own fused kernel where it has one.


@cache
def _find_class() -> Any:
    """Return Keras's layer, on TensorFlow with its training step through one kernel in the place of some twenty.

    In bfloat16 on a CPU forward and backward then take a fifth of the time (docs/experiments.md).
    """
    keras = import_keras()
    if keras.backend.backend() != "tensorflow":
        return keras.layers.BatchNormalization
    import tensorflow as tf  # noqa: PLC0415  (it is loaded already)

    class BatchNormalization(keras.layers.BatchNormalization):  # type: ignore[name-defined, misc]
        """Keras's layer with the same weights and the same figures."""

        def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
            if not (training and self.trainable) or len(inputs.shape) != 4 or mask is not None:
                return super().call(inputs, training=training, mask=mask)
            outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
                x=inputs,
                # The kernel takes these in float32 whatever the pixels are in.
                scale=tf.cast(self.gamma, "float32"),
                offset=tf.cast(self.beta, "float32"),
                mean=tf.zeros([0]),
                variance=tf.zeros([0]),
                epsilon=self.epsilon,
                is_training=True,
            )
            for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
                moving.assign(moving * self.momentum + batch * (1 - self.momentum))
            return outputs

    return BatchNormalization


def normalize(inputs: Any, *, name: str, dtype: Any = None, momentum: float = 0.99, epsilon: float = 1e-3) -> Any:
    """Normalize each channel over the batch, then scale and shift it.

    Args:
        inputs: A Keras tensor (n, ..., channels).
        name: Of the layer.
        dtype: The policy of the layer.
        momentum: The share that the moving figures, which stand in for the batch's at prediction, keep a step.
        epsilon: What is added to the variance; weights from elsewhere want the one that they were learnt with.
    """
    return _find_class()(name=name, dtype=dtype, momentum=momentum, epsilon=epsilon)(inputs)


# The layers every network starts with, so that training, evaluation and serving cannot differ.

# ITU-R 601 luma, as Pillow and Keras make gray from RGB.
LUMA = (0.299, 0.587, 0.114)
RESCALE = 1.0 / 255.0
# Of the channels of ImageNet's photographs, from 0 to 1.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


def build_preprocessing(inputs: Any, color_mode: ColorMode) -> Any:
    """Build the layers that turn pixels, 0 to 255 in RGB, into 0 to 1, in RGB or in one gray channel.

    Gray is a fixed sum of channels with no weight to learn or to store.

    Args:
        inputs: A Keras tensor (n, H, W, 3) of uint8 or float pixels.
        color_mode: `color` or `gray`.
    """
    keras = import_keras()
    # Always in float32: in bfloat16 1/255 is 0.4 % too large and neighbouring shades fall together, so that a
    # network trained there would see other pixels than the same one evaluated in float32.
    dtype = "float32"
    if color_mode == "color":
        return keras.layers.Rescaling(RESCALE, name="rescale", dtype=dtype)(inputs)
    scaled = keras.layers.Rescaling([weight * RESCALE for weight in LUMA], name="rescale_luma", dtype=dtype)(inputs)
    red, green, blue = (scaled[..., channel : channel + 1] for channel in range(3))
    return keras.layers.Add(name="gray", dtype=dtype)([red, green, blue])


def rescale_channels(pixels: Any, scales: Sequence[float], offsets: Sequence[float]) -> Any:
    """Rescale pixels to the range that pretrained weights expect, gray ones repeated in all three channels.

    Args:
        pixels: A Keras tensor (n, H, W, 3 or 1), 0 to 1.
        scales: What each channel is multiplied with.
        offsets: What is added then.
    """
    layers = import_keras().layers
    if pixels.shape[-1] == 1:
        pixels = layers.Concatenate(name="three_channels", dtype="float32")([pixels] * 3)
    # In float32 for the reason above.
    return layers.Rescaling(list(scales), list(offsets), name="rescale_channels", dtype="float32")(pixels)


# What a layer's block is called in the names that networks give their layers: block3_2 of block3_2_expand_conv,
# conv2_block1 of conv2_block1_1_conv, block2a of block2a_expand_conv; members lie side by side.
BLOCK = re.compile(r"(?:member\d+_)?(stem|top|[a-z_]*?\d+(?:[a-z](?=_)|_block\d+|_\d+)?|[a-z]+)")


def find_features(model: Any) -> list[Any]:
    """Return what the pixels' heads of a network of `build_model` read, (n, width) of each member."""
    dense = import_keras().layers.Dense
    heads = [layer for layer in model.layers if layer.name.partition("_member")[0] == CATEGORY_PATH]
    return [layer.input for layer in heads if isinstance(layer, dense)]


def cut_backbone(model: Any) -> Any:
    """Return the backbone, sharing the network's weights: from `pixels` to `features1`, `features2`, ... by member."""
    outputs = {f"features{index}": end for index, end in enumerate(find_features(model), start=1)}
    return import_keras().Model({"pixels": model.input["pixels"]}, outputs, name="backbone")


def list_blocks(model: Any) -> list[list[Any]]:
    """Return the layers of the backbone that have weights, block by block, those next to the pixels first."""
    blocks: dict[str, list[Any]] = {}
    layers = [part for layer in cut_backbone(model).layers for part in _unfold(layer)]
    for layer in layers:
        found = BLOCK.match(layer.name)
        if layer.weights:
            blocks.setdefault(found[1] if found else layer.name, []).append(layer)
    return list(blocks.values())


def _unfold(layer: Any) -> list[Any]:
    """Return the blocks of a layer that holds a whole transformer, as KerasHub's ViT has it; else the layer itself."""
    blocks = list_transformer_blocks(layer)
    return [*blocks, layer.layer_norm] if blocks and hasattr(layer, "layer_norm") else blocks or [layer]


def list_transformer_blocks(layer: Any) -> list[Any]:
    """Return the blocks of a layer that holds a whole transformer, as KerasHub's ViT and DINOv2 have it; else none."""
    if isinstance(layer, import_keras().Model):
        return []
    return list(getattr(layer, "encoder_layers", None) or getattr(layer, "layers", None) or [])


def cut_heads(model: Any) -> Any:
    """Return the heads, sharing their weights: from the members' features, in the order of `cut_backbone`."""
    # Keras wants tensors that stand in a mapping of inputs to stand there by their own names.
    inputs = {end.name: end for end in find_features(model)}
    return import_keras().Model(inputs, model.output, name="heads")
