"""Networks of inverted residual blocks, MobileNetV2 and EfficientNet-Lite, for training from pretrained weights.

MobileNetV2 is built as in PyTorch, whose padding and normalisation differ from those of `keras.applications`.
EfficientNet-Lite is EfficientNet without the operations that are slow on mobile processors.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hangtag.models.layers import IMAGENET_DEVIATION, IMAGENET_MEAN, import_keras, normalize, rescale_channels

if TYPE_CHECKING:
    from keras import KerasTensor

DROPOUT = 0.2
# Low, because fine-tuning is short and the moving statistics must follow quickly.
MOMENTUM = 0.9
# The width of a scaled stage is a multiple of this.
DIVISOR = 8


@dataclass(frozen=True)
class Stage:
    """A stage of inverted residual blocks of one width.

    Attributes:
        depth: The number of blocks.
        width: The output channels of each block.
        strides: The strides of the first block.
        expansion: The factor by which a block expands its channels for the depthwise convolution.
        kernel: The kernel size of the depthwise convolution.
    """

    depth: int
    width: int
    strides: int
    expansion: int
    kernel: int = 3


@dataclass(frozen=True)
class Style:
    """The properties of the layers in which the networks differ.

    Attributes:
        epsilon: The epsilon of batch normalisation.
        is_symmetric: Whether a convolution with strides pads both sides equally, as in PyTorch. TensorFlow pads more
            at the bottom and right.
        dtype: The dtype policy of the layers.
    """

    epsilon: float
    is_symmetric: bool
    dtype: str | None


MOBILENET_V2_STAGES = (
    Stage(1, 16, 1, 1),
    Stage(2, 24, 2, 6),
    Stage(3, 32, 2, 6),
    Stage(4, 64, 2, 6),
    Stage(3, 96, 1, 6),
    Stage(3, 160, 2, 6),
    Stage(1, 320, 1, 6),
)
# The larger variants scale the widths and depths.
EFFICIENTNET_LITE0_STAGES = (
    Stage(1, 16, 1, 1),
    Stage(2, 24, 2, 6),
    Stage(2, 40, 2, 6, 5),
    Stage(3, 80, 2, 6),
    Stage(3, 112, 1, 6, 5),
    Stage(4, 192, 2, 6, 5),
    Stage(1, 320, 1, 6),
)


def build_inverted_residuals(
    pixels: "KerasTensor", stages: Sequence[Stage], style: Style, *, stem: int, top: int
) -> "list[KerasTensor]":
    """Build a stem that halves the height and width, stages of blocks, a 1 x 1 convolution and global pooling.

    Source: Sandler et al., *MobileNetV2: Inverted Residuals and Linear Bottlenecks*, 2018.

    Args:
        pixels: A Keras tensor (n, H, W, 3), rescaled as the pretrained weights expect.
        stages: The stages in order.
        style: The properties of all layers.
        stem: The channels of the first convolution.
        top: The channels of the last convolution, which is the width of the features.

    Returns:
        A list of one tensor: the features that the heads read, (n, top).
    """
    layers = import_keras().layers
    x = _conv_norm(pixels, stem, 3, 2, "stem", style)
    for index, stage in enumerate(stages, start=1):
        for block in range(1, stage.depth + 1):
            x = _build_block(x, stage, stage.strides if block == 1 else 1, f"block{index}_{block}", style)
    x = _conv_norm(x, top, 1, 1, "top", style)
    x = layers.GlobalAveragePooling2D(name="pool", dtype="float32")(x)
    return [layers.Dropout(DROPOUT, name="dropout", dtype="float32")(x)]


def _build_block(x: "KerasTensor", stage: Stage, strides: int, name: str, style: Style) -> "KerasTensor":
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
        # Keras's He initializer counts the inputs of all channels, but each filter reads one: its values are too small.
        depthwise_initializer=keras.initializers.RandomNormal(stddev=math.sqrt(2) / stage.kernel),
        name=f"{name}_depthwise_conv",
        # In float32, because 5 x 5 depthwise convolutions take ten times as long in bfloat16 on a CPU.
        dtype="float32",
    )
    x = _batch_norm(depthwise(x), f"{name}_depthwise", style)
    x = _conv_norm(x, stage.width, 1, 1, f"{name}_project", style, is_linear=True)
    if strides > 1 or width != stage.width:
        return x
    return layers.Add(name=f"{name}_add", dtype=style.dtype)([inputs, x])


def _conv_norm(
    x: "KerasTensor", width: int, kernel: int, strides: int, name: str, style: Style, *, is_linear: bool = False
) -> "KerasTensor":
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


def _pad_same(x: "KerasTensor", kernel: int, strides: int, name: str, style: Style) -> "tuple[KerasTensor, str]":
    """Pad the input if the style requires it; return it and the `padding` argument of the convolution.

    Without strides, both styles pad equally.
    """
    if strides == 1 or not style.is_symmetric:
        return x, "same"
    padding = import_keras().layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad", dtype=style.dtype)
    return padding(x), "valid"


def _batch_norm(x: "KerasTensor", name: str, style: Style, *, is_linear: bool = False) -> "KerasTensor":
    x = normalize(x, name=f"{name}_norm", dtype=style.dtype, momentum=MOMENTUM, epsilon=style.epsilon)
    if is_linear:
        return x
    return import_keras().layers.ReLU(6.0, name=f"{name}_relu", dtype=style.dtype)(x)


def build_mobilenet_v2(pixels: "KerasTensor", dtype: str | None = None) -> "list[KerasTensor]":
    """Build MobileNetV2 as trained with PyTorch.

    Source: Sandler et al., *MobileNetV2: Inverted Residuals and Linear Bottlenecks*, 2018.

    Args:
        pixels: A Keras tensor (n, H, W, 3 or 1), 0 to 1.
        dtype: The dtype policy of the layers, such as `mixed_bfloat16`; None takes Keras's default.

    Returns:
        A list of one tensor: the features that the heads read, (n, 1280).
    """
    scales = [1 / deviation for deviation in IMAGENET_DEVIATION]
    offsets = [-mean / deviation for mean, deviation in zip(IMAGENET_MEAN, IMAGENET_DEVIATION, strict=True)]
    pixels = rescale_channels(pixels, scales, offsets)
    return build_inverted_residuals(pixels, MOBILENET_V2_STAGES, Style(1e-5, True, dtype), stem=32, top=1280)


def build_efficientnet_lite(
    pixels: "KerasTensor", dtype: str | None = None, *, width: float = 1.0, depth: float = 1.0
) -> "list[KerasTensor]":
    """Build EfficientNet-Lite.

    Source: Tan and Le, *EfficientNet: Rethinking Model Scaling*, 2019. As in the Lite variants that Google published
    in 2020, it has no squeeze-and-excitation, its activation is ReLU6, and stem and top are not scaled.

    Args:
        pixels: A Keras tensor (n, H, W, 3 or 1), 0 to 1.
        dtype: The dtype policy of the layers, such as `mixed_bfloat16`; None takes Keras's default.
        width: The factor of the channels.
        depth: The factor of the number of blocks. The first and the last stage always have one block.

    Returns:
        A list of one tensor: the features that the heads read, (n, 1280).
    """
    scaled = []
    for index, stage in enumerate(EFFICIENTNET_LITE0_STAGES):
        is_fixed = index in (0, len(EFFICIENTNET_LITE0_STAGES) - 1)
        blocks = stage.depth if is_fixed else math.ceil(stage.depth * depth)
        scaled.append(Stage(blocks, _round_width(stage.width * width), stage.strides, stage.expansion, stage.kernel))
    # For pixels of 0 to 255 this is (x - 127) / 128.
    pixels = rescale_channels(pixels, [255 / 128] * 3, [-127 / 128] * 3)
    return build_inverted_residuals(pixels, scaled, Style(1e-3, False, dtype), stem=32, top=1280)


def _round_width(width: float) -> int:
    """Round a width to the nearest multiple of `DIVISOR` that is not more than 10 % smaller."""
    rounded = max(DIVISOR, int(width + DIVISOR / 2) // DIVISOR * DIVISOR)
    return rounded + DIVISOR if rounded < 0.9 * width else rounded
