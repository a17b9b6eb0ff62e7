"""The layers every network starts with, so that training, evaluation and serving cannot differ."""

from collections.abc import Sequence
from typing import Any

from hangtag.config import ColorMode
from hangtag.models.backend import import_keras

# ITU-R 601 luma, as Pillow and Keras make gray from RGB.
LUMA = (0.299, 0.587, 0.114)
RESCALE = 1.0 / 255.0
# Of the channels of ImageNet's photographs, from 0 to 1.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


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


def rescale_channels(pixels: Any, scales: Sequence[float], offsets: Sequence[float]) -> Any:
    """Give pixels the range that weights from elsewhere were learnt with, gray ones in all three channels.

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
