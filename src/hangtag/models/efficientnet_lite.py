"""EfficientNet-Lite: EfficientNet without what small processors are slow at."""

import math
from typing import Any

from hangtag.models.inverted_residual import Stage, Style, build_inverted_residuals
from hangtag.models.preprocessing import rescale_channels

# The stages of the smallest; larger ones are wider and deeper by a factor.
STAGES = (
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
    for place, stage in enumerate(STAGES):
        is_fixed = place in (0, len(STAGES) - 1)
        blocks = stage.depth if is_fixed else math.ceil(stage.depth * depth)
        scaled.append(Stage(blocks, _round(stage.width * width), stage.strides, stage.expansion, stage.kernel))
    # (x - 127) / 128 of pixels from 0 to 255.
    pixels = rescale_channels(pixels, [255 / 128] * 3, [-127 / 128] * 3)
    return build_inverted_residuals(pixels, scaled, Style(1e-3, False, dtype), stem=32, top=1280)


def _round(width: float) -> int:
    """Give the nearest multiple, but one that is not more than a tenth smaller."""
    rounded = max(DIVISOR, int(width + DIVISOR / 2) // DIVISOR * DIVISOR)
    return rounded + DIVISOR if rounded < 0.9 * width else rounded
