"""Count the parameters and the floating-point operations (FLOPs) of a forward pass, for every architecture."""

import math
from typing import TYPE_CHECKING, Any

from hangtag.errors import SettingsError
from hangtag.io import JsonObject
from hangtag.models.layers import import_keras, list_transformer_blocks
from hangtag.models.registry import ARCHITECTURES, SMALLEST_SIDE, build_model
from hangtag.train_config import ColorMode

if TYPE_CHECKING:
    from keras import Layer, Model

# The number of classes in the capstone's catalogue. The head is a small part of every network.
NUM_CLASSES = 30
# The capstone's dense layer grows with the number of pixels, and fills the memory for larger images.
LARGEST_SIDE = 320
BYTES_A_WEIGHT = 4


def count_flops(model: "Model") -> int:
    """Count the floating-point operations of a forward pass over one photograph.

    The matrix products of convolutions (also depthwise and grouped ones), dense layers (also on feature maps) and
    attention are counted; a multiplication and its addition are two operations. As is usual in papers, biases,
    activations, normalisation, sums and pooling are not counted, so that the result does not depend on whether a ReLU
    is a layer of its own. TensorFlow's profiler counts some of these, and finds less than 1 % more for the registered
    networks.

    Args:
        model: A built `keras.Model` for a fixed image size, each layer called once. Nested models are included.
    """
    layers = import_keras().layers
    kernel_layers = (layers.Conv2D, layers.DepthwiseConv2D, layers.Dense)
    flops = 0
    for layer in model.layers:
        if isinstance(layer, import_keras().Model):
            flops += count_flops(layer)
        elif isinstance(layer, kernel_layers):
            flops += 2 * math.prod(layer.kernel.shape) * _count_positions(layer)
        elif hasattr(layer, "count_flops"):
            flops += layer.count_flops()
        else:
            flops += _count_token_flops(layer)
    return flops


def read_output_shape(layer: "Layer") -> tuple[Any, ...]:
    """Return the shape of a layer's output, or of its first output if there are several."""
    return tuple(import_keras().tree.flatten(layer.output)[0].shape)


def _count_token_flops(layer: "Layer") -> int:
    """Count the FLOPs of a KerasHub layer that returns tokens, (n, tokens, width): its kernels and its attention.

    In each block, the attention scores and the weighted sums of values need tokens * tokens * width products each. The
    result is 0 for every other layer.
    """
    kernels = [weight.shape for weight in layer.weights if weight.path.endswith("kernel")]
    shape = read_output_shape(layer) if kernels else ()
    if len(shape) != 3:
        return 0
    _, tokens, width = shape
    # The transformer blocks of CLIP and SigLIP are layers of the network itself.
    blocks = len(list_transformer_blocks(layer)) or int("encoder_block" in layer.name)
    attention = 2 * tokens**2 * width * blocks
    return int(2 * (tokens * sum(map(math.prod, kernels)) + attention))


def _count_positions(layer: "Layer") -> int:
    """Return how often a layer's kernel is applied: once, or once for each position of its feature map."""
    sides = layer.output.shape[1:]
    is_channels_first = getattr(layer, "data_format", None) == "channels_first"
    return math.prod(sides[1:] if is_channels_first else sides[:-1])


def describe_architectures(image_size: tuple[int, int], color_mode: ColorMode) -> list[JsonObject]:
    """Return the size and the cost of every registered architecture, with one head of 30 classes.

    Args:
        image_size: (height, width) of the photographs.
        color_mode: `color` or `gray`.

    Returns:
        A dict for each architecture: `name`, `parameters`, `flops` (see `count_flops`), `bytes` (of its weights in
        float32, without some kB for the header of their file) and `purpose`. Architectures that need larger photographs
        are left out.

    Raises:
        SettingsError: The image size is too small or too large for the networks to be built.
        MissingExtraError: Keras is not installed.
    """
    if not all(SMALLEST_SIDE <= side <= LARGEST_SIDE for side in image_size):
        allowed = f"Allowed: HEIGHTxWIDTH, each {SMALLEST_SIDE} to {LARGEST_SIDE}, as in 80x60."
        raise SettingsError("The networks cannot be built for this image size.", allowed=allowed, received=image_size)
    fitting = [name for name, entry in ARCHITECTURES.items() if entry.smallest_side <= min(image_size)]
    return [_describe_architecture(name, image_size, color_mode) for name in fitting]


def _describe_architecture(name: str, image_size: tuple[int, int], color_mode: ColorMode) -> JsonObject:
    model = build_model(name, image_size=image_size, heads={"category_path": NUM_CLASSES}, color_mode=color_mode)
    parameters = model.count_params()
    return {
        "name": name,
        "parameters": parameters,
        "flops": count_flops(model),
        "bytes": BYTES_A_WEIGHT * parameters,
        "purpose": ARCHITECTURES[name].purpose,
    }
