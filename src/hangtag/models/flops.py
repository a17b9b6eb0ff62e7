"""Count parameters and operations of one pass over one photograph, for every architecture."""

import math
from typing import Any

from hangtag.config import ColorMode
from hangtag.errors import SettingsError
from hangtag.models.layers import import_keras, list_transformer_blocks
from hangtag.models.registry import ARCHITECTURES, SMALLEST_SIDE, build_model

# As many as the capstone's catalogue has; the heads are a small part of every network.
NUM_CLASSES = 30
# The capstone's dense layer grows with the pixels: from here on it would fill the memory.
LARGEST_SIDE = 320
BYTES_A_WEIGHT = 4


def count_flops(model: Any) -> int:
    """Count the floating-point operations of one pass forward over one photograph.

    Counted are the products of convolutions (depthwise and grouped ones too), of dense layers, on feature maps
    too, and of attention: a multiplication and its addition are two operations. Nothing else is: no bias, activation,
    normalisation, sum or pooling, as is usual in papers, so that it does not matter whether a ReLU is a layer of its
    own.
    TensorFlow's profiler, which counts some of these, finds less than a percent more in the registered networks.

    Args:
        model: A built `keras.Model` on images of known sides, each layer called once. Models inside it count.
    """
    layers = import_keras().layers
    counted = (layers.Conv2D, layers.DepthwiseConv2D, layers.Dense)
    flops = 0
    for layer in model.layers:
        if isinstance(layer, import_keras().Model):
            flops += count_flops(layer)
        elif isinstance(layer, counted):
            flops += 2 * math.prod(layer.kernel.shape) * _count_places(layer)
        elif hasattr(layer, "count_flops"):
            flops += layer.count_flops()
        else:
            flops += _count_tokens(layer)
    return flops


def read_output_shape(layer: Any) -> tuple[Any, ...]:
    """Return the shape of a layer's output, of the first if there are several."""
    return tuple(import_keras().tree.flatten(layer.output)[0].shape)


def _count_tokens(layer: Any) -> int:
    """Count a layer of KerasHub whose output is tokens, (n, tokens, width): its kernels, and its blocks' attention.

    Scores and their sums over values are tokens * tokens * width products each.
    """
    kernels = [weight.shape for weight in layer.weights if weight.path.endswith("kernel")]
    shape = read_output_shape(layer) if kernels else ()
    if len(shape) != 3:
        return 0
    _, tokens, width = shape
    # CLIP's and SigLIP's blocks are layers of the network itself.
    blocks = len(list_transformer_blocks(layer)) or int("encoder_block" in layer.name)
    attention = 2 * tokens**2 * width * blocks
    return int(2 * (tokens * sum(map(math.prod, kernels)) + attention))


def _count_places(layer: Any) -> int:
    """Return how often a layer's kernel is applied: once, or once for each cell of its output map."""
    sides = layer.output.shape[1:]
    is_channels_first = getattr(layer, "data_format", None) == "channels_first"
    return math.prod(sides[1:] if is_channels_first else sides[:-1])


def describe_architectures(image_size: tuple[int, int], color_mode: ColorMode) -> list[dict[str, Any]]:
    """Describe what every registered architecture costs, with one head of 30 classes.

    Args:
        image_size: (height, width) of the pixels.
        color_mode: `color` or `gray`.

    Returns:
        A row an architecture: `name`, `parameters`, `flops` (see `count_flops`), `bytes` of its weights in float32
        without the header of their file (some kB), and `purpose`. Those that need larger photographs are left out.

    Raises:
        SettingsError: The image size is too small or too large for the networks to be built.
        MissingExtraError: Keras is not installed.
    """
    if not all(SMALLEST_SIDE <= side <= LARGEST_SIDE for side in image_size):
        allowed = f"Allowed: HEIGHTxWIDTH, each {SMALLEST_SIDE} to {LARGEST_SIDE}, as in 80x60."
        raise SettingsError("The networks cannot be built for this image size.", allowed=allowed, received=image_size)
    fitting = [name for name, each in ARCHITECTURES.items() if each.smallest_side <= min(image_size)]
    return [_describe_architecture(name, image_size, color_mode) for name in fitting]


def _describe_architecture(name: str, image_size: tuple[int, int], color_mode: ColorMode) -> dict[str, Any]:
    model = build_model(name, image_size=image_size, heads={"category_path": NUM_CLASSES}, color_mode=color_mode)
    parameters = model.count_params()
    return {
        "name": name,
        "parameters": parameters,
        "flops": count_flops(model),
        "bytes": BYTES_A_WEIGHT * parameters,
        "purpose": ARCHITECTURES[name].purpose,
    }
