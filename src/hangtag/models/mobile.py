"""Networks of inverted residual blocks, as MobileNetV2 and EfficientNet-Lite have them, to be begun from weights."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hangtag.models.layers import IMAGENET_DEVIATION, IMAGENET_MEAN, import_keras, normalize, rescale_channels

DROPOUT = 0.2
# Trainings from weights are short, and the moving figures must follow.
MOMENTUM = 0.9


@dataclass(frozen=True)
class Stage:
    """Blocks of one width.

    Attributes:
        depth: How many.
        width: Channels that each gives.
        strides: Of the first of them.
        expansion: How many times as many channels it has inside.
        kernel: Sides of the depthwise convolution.
    """

    depth: int
    width: int
    strides: int
    expansion: int
    kernel: int = 3


@dataclass(frozen=True)
class Style:
    """Where the networks of this kind differ.

    Attributes:
        epsilon: Of the normalisation.
        is_symmetric: Whether a convolution with strides pads both sides alike, as PyTorch does, and not the far side
            first, as TensorFlow does.
        dtype: The policy of the layers.
    """

    epsilon: float
    is_symmetric: bool
    dtype: Any


def build_inverted_residuals(pixels: Any, stages: Sequence[Stage], style: Style, *, stem: int, top: int) -> list[Any]:
    """Build a stem of half the sides, stages of inverted residual blocks, a wide layer, and global pooling.

    Source: Sandler et al., *MobileNetV2: Inverted Residuals and Linear Bottlenecks*, 2018.

    Args:
        pixels: A Keras tensor (n, H, W, 3), normalised as the weights want it.
        stages: From the first to the last.
        style: What is common to all layers.
        stem: Channels of the first convolution.
        top: Width of the features.

    Returns:
        The features that a head reads, (n, top), of its one member.
    """
    layers = import_keras().layers
    x = _conv_norm(pixels, stem, 3, 2, "stem", style)
    for index, stage in enumerate(stages, start=1):
        for block in range(1, stage.depth + 1):
            x = _build_block(x, stage, stage.strides if block == 1 else 1, f"block{index}_{block}", style)
    x = _conv_norm(x, top, 1, 1, "top", style)
    x = layers.GlobalAveragePooling2D(name="pool", dtype="float32")(x)
    return [layers.Dropout(DROPOUT, name="dropout", dtype="float32")(x)]


def _build_block(x: Any, stage: Stage, strides: int, name: str, style: Style) -> Any:
    keras = import_keras()
    layers = keras.layers
    width, inputs = x.shape[-1], x
    if stage.expansion > 1:
        x = _conv_norm(x, width * stage.expansion, 1, 1, f"{name}_expand", style)
    x, padding = _pad_same(x, stage.kernel, strides, f"{name}_depthwise", style)
    depthwise = layers.DepthwiseConv2D(
        stage.kernel,
        strides=strides,
        padding=padding,
        use_bias=False,
        # Keras counts the inputs of all channels, of which each filter sees one: it would give nearly nothing.
        depthwise_initializer=keras.initializers.RandomNormal(stddev=math.sqrt(2) / stage.kernel),
        name=f"{name}_depthwise_conv",
        # In bfloat16 a processor takes ten times as long for those of 5 x 5.
        dtype="float32",
    )
    x = _batch_norm(depthwise(x), f"{name}_depthwise", style)
    x = _conv_norm(x, stage.width, 1, 1, f"{name}_project", style, is_linear=True)
    if strides > 1 or width != stage.width:
        return x
    return layers.Add(name=f"{name}_add", dtype=style.dtype)([inputs, x])


def _conv_norm(
    x: Any, width: int, kernel: int, strides: int, name: str, style: Style, *, is_linear: bool = False
) -> Any:
    x, padding = _pad_same(x, kernel, strides, name, style)
    convolution = import_keras().layers.Conv2D(
        width,
        kernel,
        strides=strides,
        padding=padding,
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
        dtype=style.dtype,
    )
    return _batch_norm(convolution(x), name, style, is_linear=is_linear)


def _pad_same(x: Any, kernel: int, strides: int, name: str, style: Style) -> tuple[Any, str]:
    """Return the padded input and what the convolution itself is to pad; without strides both styles are the same."""
    if strides == 1 or not style.is_symmetric:
        return x, "same"
    padding = import_keras().layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad", dtype=style.dtype)
    return padding(x), "valid"


def _batch_norm(x: Any, name: str, style: Style, *, is_linear: bool = False) -> Any:
    x = normalize(x, name=f"{name}_norm", dtype=style.dtype, momentum=MOMENTUM, epsilon=style.epsilon)
    if is_linear:
        return x
    return import_keras().layers.ReLU(6.0, name=f"{name}_relu", dtype=style.dtype)(x)


# MobileNetV2 as it is trained with PyTorch, whose padding and normalisation Keras's own does not have.

MOBILENET_V2_STAGES = (
    Stage(1, 16, 1, 1),
    Stage(2, 24, 2, 6),
    Stage(3, 32, 2, 6),
    Stage(4, 64, 2, 6),
    Stage(3, 96, 1, 6),
    Stage(3, 160, 2, 6),
    Stage(1, 320, 1, 6),
)


def build_mobilenet_v2(pixels: Any, dtype: Any = None) -> list[Any]:
    """Build it with features of 1280 values.

    Source: Sandler et al., *MobileNetV2: Inverted Residuals and Linear Bottlenecks*, 2018.

    Args:
        pixels: A Keras tensor (n, H, W, 3 or 1), 0 to 1.
        dtype: The policy of the layers, such as `mixed_bfloat16`; None takes Keras's default.

    Returns:
        The features that a head reads, (n, 1280), of its one member.
    """
    scales = [1 / deviation for deviation in IMAGENET_DEVIATION]
    offsets = [-mean / deviation for mean, deviation in zip(IMAGENET_MEAN, IMAGENET_DEVIATION, strict=True)]
    pixels = rescale_channels(pixels, scales, offsets)
    return build_inverted_residuals(pixels, MOBILENET_V2_STAGES, Style(1e-5, True, dtype), stem=32, top=1280)


# EfficientNet-Lite: EfficientNet without what small processors are slow at.

# The stages of the smallest; larger ones are wider and deeper by a factor.
EFFICIENTNET_LITE0_STAGES = (
    Stage(1, 16, 1, 1),
    Stage(2, 24, 2, 6),
    Stage(2, 40, 2, 6, 5),
    Stage(3, 80, 2, 6),
    Stage(3, 112, 1, 6, 5),
    Stage(4, 192, 2, 6, 5),
    Stage(1, 320, 1, 6),
)
# Widths are multiples of so many channels.
DIVISOR = 8


def build_efficientnet_lite(pixels: Any, dtype: Any = None, *, width: float = 1.0, depth: float = 1.0) -> list[Any]:
    """Build it with features of 1280 values.

    Source: Tan and Le, *EfficientNet: Rethinking Model Scaling*, 2019, without its squeeze-and-excitation, with ReLU6,
    and with stem and top of one size, as the authors published it for the edge in 2020.

    Args:
        pixels: A Keras tensor (n, H, W, 3 or 1), 0 to 1.
        dtype: The policy of the layers, such as `mixed_bfloat16`; None takes Keras's default.
        width: The factor of the channels.
        depth: The factor of the blocks; the first and the last stage have one in any case.

    Returns:
        The features that a head reads, (n, 1280), of its one member.
    """
    scaled = []
    for index, stage in enumerate(EFFICIENTNET_LITE0_STAGES):
        is_fixed = index in (0, len(EFFICIENTNET_LITE0_STAGES) - 1)
        blocks = stage.depth if is_fixed else math.ceil(stage.depth * depth)
        scaled.append(Stage(blocks, _round_width(stage.width * width), stage.strides, stage.expansion, stage.kernel))
    # (x - 127) / 128 of pixels from 0 to 255.
    pixels = rescale_channels(pixels, [255 / 128] * 3, [-127 / 128] * 3)
    return build_inverted_residuals(pixels, scaled, Style(1e-3, False, dtype), stem=32, top=1280)


def _round_width(width: float) -> int:
    """Return the nearest multiple, but one that is not more than a tenth smaller."""
    rounded = max(DIVISOR, int(width + DIVISOR / 2) // DIVISOR * DIVISOR)
    return rounded + DIVISOR if rounded < 0.9 * width else rounded
