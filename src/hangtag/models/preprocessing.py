"""The layers every network starts with, so that training, evaluation and serving cannot differ."""

from typing import Any

from hangtag.config import ColorMode
from hangtag.models.backend import import_keras

# ITU-R 601 luma, as Pillow and Keras make gray from RGB.
LUMA = (0.299, 0.587, 0.114)
RESCALE = 1.0 / 255.0


def build_preprocessing(inputs: Any, color_mode: ColorMode) -> Any:
    """Turn pixels, 0 to 255 in RGB, into 0 to 1, in RGB or in one gray channel.

    Gray is a fixed sum of channels with no weight to learn or to store.

    Args:
        inputs: A Keras tensor (n, H, W, 3) of uint8 or float pixels.
        color_mode: `color` or `gray`.
    """
    keras = import_keras()
    # Always in float32: in bfloat16 1/255 is 0.4 % too large and neighbouring shades fall together, so that a
    # network trained there would see other pixels than the same one judged in float32.
    dtype = "float32"
    if color_mode == "color":
        return keras.layers.Rescaling(RESCALE, name="rescale", dtype=dtype)(inputs)
    scaled = keras.layers.Rescaling([weight * RESCALE for weight in LUMA], name="rescale_luma", dtype=dtype)(inputs)
    red, green, blue = (scaled[..., channel : channel + 1] for channel in range(3))
    return keras.layers.Add(name="gray", dtype=dtype)([red, green, blue])
