"""Networks of KerasHub's presets: built from plain values, filled with numbers out of the preset's file of weights."""

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hangtag.errors import ModelError
from hangtag.models.backend import import_keras
from hangtag.models.h5_file import check_h5
from hangtag.models.hub_preset import (
    ANY_SQUARE,
    CONFIG,
    PLACES,
    WEIGHTS,
    check_preset,
    find_preset,
    import_hub,
    read_part,
    read_preset,
)
from hangtag.models.preprocessing import RESCALE, rescale_channels

DROPOUT = 0.2
LAST_TOKENS, POOLING = "post_layer_norm", "head"


def build_hub(pixels: Any, dtype: Any = None, *, described: Mapping[str, Any] | None) -> list[Any]:
    """Build the network of a preset, with fresh weights; photographs are brought to the size that it is for.

    Args:
        pixels: A Keras tensor (n, H, W, 3 or 1), 0 to 1.
        dtype: The policy of the layers; None takes Keras's default.
        described: What `read_preset` gives.

    Returns:
        The features that a head reads, (n, width), of its one member.

    Raises:
        ModelError: It cannot be built.
        MissingExtraError: KerasHub is not installed.
    """
    described = check_preset(described)
    keras = import_keras()
    x = rescale_channels(pixels, [each / RESCALE for each in described["scale"]], described["offset"])
    height, width, _ = shape = find_shape(described, x.shape[1:])
    if x.shape[1:3] != (height, width):
        x = keras.layers.Resizing(height, width, name="to_size", dtype="float32")(x)
    backbone = build_backbone(described, shape, dtype)
    if described["class"] == "SigLIPVisionEncoder":
        # Its pooling has a weight without a name of its own, which no file could tell again.
        backbone = keras.Model(backbone.input, backbone.get_layer(LAST_TOKENS).output)
    # Its layers become the network's own, which have steps of their own and are counted one by one.
    x = backbone.call({"images": x} if isinstance(backbone.input, dict) else x)
    if len(x.shape) == 4:
        x = keras.layers.GlobalAveragePooling2D(name="pool", dtype="float32")(x)
    elif len(x.shape) == 3:
        x = keras.layers.GlobalAveragePooling1D(name="pool", dtype="float32")(x)
    return [keras.layers.Dropout(DROPOUT, name="dropout", dtype="float32")(x)]


def find_shape(described: Mapping[str, Any], shape: tuple[int, ...]) -> tuple[int, ...]:
    """Give the (height, width, 3) that a preset's backbone reads where photographs have another.

    A DINOv2 reads the smallest square of whole patches that is nowhere smaller than the photograph.
    """
    config = described["config"]
    if described["class"] == ANY_SQUARE:
        patch = config["patch_size"]
        side = patch * math.ceil(max(shape[:2]) / patch)
        return side, side, 3
    return tuple(config.get("image_shape") or shape)


def build_backbone(described: Mapping[str, Any], shape: tuple[int, ...], dtype: Any = None) -> Any:
    """Build the backbone alone, for pixels (height, width, 3); see `build_hub`."""
    kind = getattr(import_hub().models, described["class"])
    try:
        config = {**described["config"], "image_shape": shape}
        return kind(**config, data_format="channels_last", dtype=dtype)
    except Exception as error:  # it raises many kinds on numbers that do not go together
        raise ModelError(f"No network can be built of the preset: {error}.", received=described["config"]) from error


def load_preset(model: Any, source: str) -> Path:
    """Put a preset's weights into a network that was built of it, and give their file.

    Raises:
        ModelError: The file is missing or damaged, or does not fit.
    """
    folder = find_preset(source)
    described, path = read_preset(source), folder / WEIGHTS
    shape = find_shape(described, model.input["pixels"].shape[1:])
    shape = shape if None not in shape else (64, 64, 3)
    check_h5(path)
    reference = build_backbone(described, shape, "float32")
    try:
        with tempfile.TemporaryDirectory() as scratch:
            reference.load_weights(
                _cut_encoder(path, Path(scratch) / WEIGHTS, read_part(folder / CONFIG)["class_name"])
            )
    except Exception as error:  # h5py and Keras raise many kinds on a file from elsewhere
        raise ModelError(
            f"The preset's weights cannot be read, or are not its network's: {str(error).partition(chr(10))[0]}",
            received=str(path),
        ) from error
    for layer in reference.layers:
        if layer.weights and layer.name != POOLING:
            model.get_layer(layer.name).set_weights(layer.get_weights())
    return path


def _cut_encoder(path: Path, target: Path, name: str) -> Path:
    """Give the file of an image encoder's numbers alone, out of one that has those of a text's too."""
    if name not in PLACES:
        return path
    import h5py  # noqa: PLC0415  (comes with Keras)

    with h5py.File(path) as whole, h5py.File(target, "w") as part:
        for key in whole[PLACES[name]]:
            whole.copy(f"{PLACES[name]}/{key}", part)
    return target
