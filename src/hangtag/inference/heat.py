"""Colour a map of where a model looked, and lay it over the photograph."""

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from hangtag.catalog.images import Pixels
from hangtag.models.activation_map import Maps

# From where nothing was found to where most was: (value, red, green, blue, opacity), the last as a share. The hue
# and the opacity both change, so that a red product shows it too, and those who see no colours.
STEPS = np.array(
    [
        (0.0, 255, 214, 0, 0.0),
        (0.25, 255, 214, 0, 0.12),
        (0.5, 255, 150, 0, 0.42),
        (0.75, 226, 40, 60, 0.55),
        (1.0, 122, 0, 140, 0.65),
    ]
)


def color_map(one: Maps) -> npt.NDArray[np.uint8]:
    """Give a map (rows, columns), 0 to 1, in colours, uint8 (rows, columns, 4): transparent where nothing was found."""
    channels = [np.interp(one, STEPS[:, 0], STEPS[:, place]) for place in range(1, 5)]
    channels[3] = channels[3] * 255
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def lay_over(photograph: Pixels, one: Maps) -> Pixels:
    """Give a photograph, uint8 (H, W, 3), with a map over it, which is brought to its size."""
    below = Image.fromarray(np.ascontiguousarray(photograph)).convert("RGBA")
    resized = Image.fromarray(one).resize(below.size, Image.Resampling.BICUBIC)
    above = Image.fromarray(color_map(np.asarray(resized).clip(0, 1)))
    return np.asarray(Image.alpha_composite(below, above).convert("RGB"))


def encode_png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Give pixels (H, W, 3 or 4) as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
