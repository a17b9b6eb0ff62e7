"""MobileNetV2 as it is trained with PyTorch, whose padding and normalisation Keras's own does not have."""

from typing import Any

from hangtag.models.inverted_residual import Stage, Style, build_inverted_residuals
from hangtag.models.preprocessing import IMAGENET_DEVIATION, IMAGENET_MEAN, rescale_channels

STAGES = (
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
    return build_inverted_residuals(pixels, STAGES, Style(1e-5, True, dtype), stem=32, top=1280)
