"""The import of Keras, the layers that all architectures share, and the division into backbone and heads.

The layers are batch normalisation and the preprocessing of pixels. The preprocessing is part of the network, so that
training, evaluation and serving cannot differ in it.
"""

import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

from hangtag.errors import MissingExtraError, SettingsError
from hangtag.models.label_space import CATEGORY_PATH
from hangtag.train_config import ColorMode

if TYPE_CHECKING:
    from keras import KerasTensor, Layer, Model

# ITU-R 601 luma, by which Pillow and Keras convert RGB to gray.
LUMA = (0.299, 0.587, 0.114)
RESCALE = 1.0 / 255.0
# The mean and standard deviation of the channels in ImageNet, 0 to 1.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
# The block of a layer in the naming schemes of the networks: block3_2 of block3_2_expand_conv, conv2_block1 of
# conv2_block1_1_conv, block2a of block2a_expand_conv. The prefix of an ensemble member is ignored.
BLOCK = re.compile(r"(?:member\d+_)?(stem|top|[a-z_]*?\d+(?:[a-z](?=_)|_block\d+|_\d+)?|[a-z]+)")


def import_keras() -> "KerasTensor":
    """Import Keras without its log messages, with the TensorFlow backend unless `KERAS_BACKEND` names another.

    Keras is imported only here, when it is needed, because the import takes seconds.

    Raises:
        MissingExtraError: The `train` extra is not installed.
    """
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # TensorFlow uses oneDNN by default only on processors with certain instructions, but it is faster on all.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    # TensorFlow warns whenever a network is compiled for another batch size, which is intended here.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    try:
        with _silence_stderr():
            import keras  # noqa: PLC0415  (slow to import)
    except ImportError as error:
        raise MissingExtraError(
            f"This needs Keras, which cannot be imported: {error}.",
            hint='Install it with `pip install "hangtag[train]"`.',
        ) from error
    return keras


@contextmanager
def _silence_stderr() -> Iterator[None]:
    """Discard stderr, because TensorFlow's C++ code writes messages to it before its log level is set."""
    saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)


@cache
def _get_batch_norm_class() -> "type[Layer]":
    """Return Keras's batch normalisation layer, on TensorFlow with a fused kernel for training.

    In bfloat16 on a CPU, the forward and backward pass then take a fifth of the time (docs/experiments.md).
    """
    keras = import_keras()
    if keras.backend.backend() != "tensorflow":
        plain: type[Layer] = keras.layers.BatchNormalization
        return plain
    import tensorflow as tf  # noqa: PLC0415  (already imported by Keras)

    class BatchNormalization(keras.layers.BatchNormalization):  # type: ignore[name-defined, misc]
        """Keras's layer with a fused kernel in training; its weights and outputs are the same."""

        def call(
            self, inputs: "KerasTensor", training: bool | None = None, mask: "KerasTensor | None" = None
        ) -> "KerasTensor":
            is_plain = len(inputs.shape) == 4 and mask is None and not self.synchronized
            if not (training and self.trainable and is_plain):
                return super().call(inputs, training=training, mask=mask)
            outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
                x=inputs,
                # The kernel needs these in float32 for every type of inputs.
                scale=tf.cast(self.gamma, "float32"),
                offset=tf.cast(self.beta, "float32"),
                mean=tf.zeros([0]),
                variance=tf.zeros([0]),
                epsilon=self.epsilon,
                is_training=True,
            )
            for moving, batch_value in ((self.moving_mean, mean), (self.moving_variance, variance)):
                moving.assign(moving * self.momentum + batch_value * (1 - self.momentum))
            return outputs

    return BatchNormalization


def normalize(
    inputs: "KerasTensor",
    *,
    name: str,
    dtype: str | None = None,
    momentum: float = 0.99,
    epsilon: float = 1e-3,
) -> "KerasTensor":
    """Normalize each channel over the batch, then scale and shift it.

    Args:
        inputs: A Keras tensor (n, ..., channels).
        name: The name of the layer.
        dtype: The dtype policy of the layer.
        momentum: The momentum of the moving mean and variance, which are used at prediction.
        epsilon: The constant added to the variance. Pretrained weights need the value they were trained with.
    """
    return _get_batch_norm_class()(name=name, dtype=dtype, momentum=momentum, epsilon=epsilon)(inputs)


def build_preprocessing(inputs: "KerasTensor", color_mode: ColorMode) -> "KerasTensor":
    """Build the layers that rescale RGB pixels of 0 to 255 to 0 to 1, and convert them to gray if required.

    Gray is a fixed weighted sum of the channels, without trainable weights.

    Args:
        inputs: A Keras tensor (n, H, W, 3) of uint8 or float pixels.
        color_mode: `color` or `gray`.
    """
    keras = import_keras()
    # Always in float32. In bfloat16, 1/255 is 0.4 % too large and similar shades become equal, so a network trained in
    # bfloat16 would get other pixels than the same network evaluated in float32.
    dtype = "float32"
    if color_mode == "color":
        return keras.layers.Rescaling(RESCALE, name="rescale", dtype=dtype)(inputs)
    scaled = keras.layers.Rescaling([weight * RESCALE for weight in LUMA], name="rescale_luma", dtype=dtype)(inputs)
    red, green, blue = (scaled[..., channel : channel + 1] for channel in range(3))
    return keras.layers.Add(name="gray", dtype=dtype)([red, green, blue])


def rescale_channels(pixels: "KerasTensor", scales: Sequence[float], offsets: Sequence[float]) -> "KerasTensor":
    """Rescale pixels to the range that pretrained weights expect; repeat a gray channel three times.

    Args:
        pixels: A Keras tensor (n, H, W, 3 or 1), 0 to 1.
        scales: The factor of each channel.
        offsets: The summand of each channel, added after the multiplication.
    """
    layers = import_keras().layers
    if pixels.shape[-1] == 1:
        pixels = layers.Concatenate(name="three_channels", dtype="float32")([pixels] * 3)
    # In float32 for the same reason as in `build_preprocessing`.
    return layers.Rescaling(list(scales), list(offsets), name="rescale_channels", dtype="float32")(pixels)


def find_features(model: "Model") -> "list[KerasTensor]":
    """Return the image features that the heads of a network of `build_model` read, (n, width) for each member."""
    dense = import_keras().layers.Dense
    heads = [layer for layer in model.layers if layer.name.partition("_member")[0] == CATEGORY_PATH]
    return [layer.input for layer in heads if isinstance(layer, dense)]


def cut_backbone(model: "Model") -> "Model":
    """Return the backbone of a network as a model that shares its weights.

    Its input is `pixels`, its outputs are `features1`, `features2` and so on, one for each member.
    """
    outputs = {f"features{index}": features for index, features in enumerate(find_features(model), start=1)}
    return import_keras().Model({"pixels": model.input["pixels"]}, outputs, name="backbone")


def list_blocks(model: "Model") -> "list[list[Layer]]":
    """Return the layers of the backbone that have weights, grouped by block, from the input to the features."""
    blocks: dict[str, list[Layer]] = {}
    layers = [part for layer in cut_backbone(model).layers for part in _unfold(layer)]
    for layer in layers:
        match = BLOCK.match(layer.name)
        if layer.weights:
            blocks.setdefault(match[1] if match else layer.name, []).append(layer)
    return list(blocks.values())


def freeze_blocks(model: "Model", count: int) -> None:
    """Freeze the weights of the first blocks, and the moving averages of their batch normalization.

    Raises:
        SettingsError: The network has no more blocks than that.
    """
    blocks = list_blocks(model) if count else []
    if count and count >= len(blocks):
        raise SettingsError(
            "The network has too few blocks.",
            allowed=f"Allowed: --frozen-blocks 0 to {len(blocks) - 1}.",
            received=count,
        )
    for block in blocks[:count]:
        for layer in block:
            layer.trainable = False


def _unfold(layer: "Layer") -> "list[Layer]":
    """Return the blocks of a layer that contains a whole transformer, as in KerasHub's ViT, or else the layer."""
    blocks = list_transformer_blocks(layer)
    return [*blocks, layer.layer_norm] if blocks and hasattr(layer, "layer_norm") else blocks or [layer]


def list_transformer_blocks(layer: "Layer") -> "list[Layer]":
    """Return the blocks of a layer that contains a whole transformer, as in KerasHub's ViT and DINOv2, or else none."""
    if isinstance(layer, import_keras().Model):
        return []
    return list(getattr(layer, "encoder_layers", None) or getattr(layer, "layers", None) or [])


def cut_heads(model: "Model") -> "Model":
    """Return the heads of a network as a model that shares their weights.

    Its inputs are the features of the members, in the order of `cut_backbone`.
    """
    # Keras requires the keys of a mapping of inputs to be the names of the tensors.
    inputs = {features.name: features for features in find_features(model)}
    return import_keras().Model(inputs, model.output, name="heads")
