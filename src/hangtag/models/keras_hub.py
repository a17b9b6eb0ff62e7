"""Presets of KerasHub: check their configuration, build their image backbone and load its weights.

A preset may come from anywhere, so only known classes and plain values are accepted, and no code in it is run. A
checked preset is a mapping with the entries `class`, `config`, `scale` and `offset` (see `read_preset`).
"""

import math
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from hangtag.errors import MissingExtraError, ModelError
from hangtag.io import JsonObject, expand_home
from hangtag.models.description import read_table
from hangtag.models.keras_applications import check_h5
from hangtag.models.layers import RESCALE, import_keras, rescale_channels

if TYPE_CHECKING:
    from keras import KerasTensor, Model

HUB = "hub"
CONFIG, CONVERTER, WEIGHTS = "config.json", "image_converter.json", "model.weights.h5"
TRANSFORMER = "hidden_dim image_shape num_heads num_layers patch_size"
ENCODER = f"{TRANSFORMER} intermediate_activation intermediate_dim"
# The settings that each backbone class is built from. All other settings of a preset, such as names, are ignored.
BACKBONES = {
    "ResNetBackbone": "block_type input_conv_filters input_conv_kernel_sizes stackwise_num_blocks "
    "stackwise_num_filters stackwise_num_strides use_pre_activation",
    "ViTBackbone": f"{TRANSFORMER} attention_dropout dropout_rate layer_norm_epsilon mlp_dim use_class_token "
    "use_mha_bias use_mlp_bias use_patch_bias",
    "DINOV2Backbone": f"{TRANSFORMER} antialias_in_interpolation drop_path_rate dropout_rate intermediate_dim "
    "layer_scale_init_value num_register_tokens position_embedding_shape use_mask_token use_swiglu_ffn",
    "CLIPVisionEncoder": ENCODER,
    "SigLIPVisionEncoder": f"{ENCODER} layer_norm_epsilon",
}
# Models of images and texts: the class of their image encoder, and the group of its weights in their HDF5 file.
PAIRS = {"CLIPBackbone": "CLIPVisionEncoder", "SigLIPBackbone": "SigLIPVisionEncoder"}
VISION_LAYERS = {"CLIPBackbone": "layers/clip_vision_encoder", "SigLIPBackbone": "layers/sig_lip_vision_encoder"}
BLOCKS = {"basic_block", "basic_block_vd", "bottleneck_block", "bottleneck_block_vd"}
WORDS = BLOCKS | {"gelu", "gelu_approximate", "quick_gelu", "relu"}
# This backbone interpolates its position embeddings for any square image; the others accept one size.
ANY_SQUARE = "DINOV2Backbone"
# Limits of numbers, lists, patch sizes and depths: a larger network would fill the memory before its weights are
# compared.
LARGEST_NUMBER, LONGEST_LIST = 8192, 16
LARGEST_PATCH = 64
DEPTHS, MOST_LAYERS = ("num_layers", "stackwise_num_blocks"), 128
POSITIONS = "position_embedding_shape"
SIDES = ("image_shape", POSITIONS)
DROPOUT = 0.2
# Layers of a SigLIP encoder: the last one before its pooling, and the pooling itself.
LAST_TOKENS, POOLING = "post_layer_norm", "head"
INSTALL = "Install it with `pip install keras-hub`, without TensorFlow's own packages as docs/models.md says."


def import_hub() -> Any:
    """Import KerasHub, an optional package that no extra installs.

    Raises:
        MissingExtraError: It is not installed.
    """
    import_keras()
    try:
        import keras_hub  # noqa: PLC0415  (optional, and slow to import)
    except ImportError as error:
        raise MissingExtraError(f"This needs KerasHub, which cannot be imported: {error}.", hint=INSTALL) from error
    return keras_hub


def find_preset(source: str) -> Path:
    """Return the folder of a preset, and download the preset if necessary.

    Args:
        source: A folder with a preset's files, or the name of a preset, which is looked up in KerasHub's cache first.

    Raises:
        ModelError: There is no such preset, or it cannot be downloaded. The error names the files that are needed and
            the folder for them.
        MissingExtraError: `source` is a name, and KerasHub is not installed.
    """
    folder = expand_home(source)
    if folder.is_dir():
        return folder
    presets = import_hub().models.Backbone.presets
    if source not in presets:
        allowed = (
            "Allowed: with --weights, a folder of a preset, or a preset's name, such as vit_base_patch16_224_imagenet."
        )
        raise ModelError("KerasHub has no such preset, and there is no such folder.", allowed=allowed, received=source)
    handle = str(presets[source]["kaggle_handle"]).removeprefix("kaggle://")
    cache = expand_home(os.environ.get("KAGGLEHUB_CACHE") or "~/.cache/kagglehub") / "models" / handle
    if (cache / CONFIG).is_file() and (cache / WEIGHTS).is_file():
        return cache
    try:
        import kagglehub  # noqa: PLC0415  (comes with KerasHub)

        return Path(str(kagglehub.model_download(handle)))
    except Exception as error:  # a download can raise any type of exception
        raise ModelError(
            f"The preset {source} is not on this machine, and cannot be fetched: {error}.",
            hint=f"Put the files {CONFIG}, {CONVERTER} and {WEIGHTS} of {handle} into {cache}, or name a folder that "
            "has them: --weights FOLDER.",
        ) from error


def read_preset(source: str) -> JsonObject:
    """Read and check the configuration of a preset's image backbone.

    Args:
        source: See `find_preset`.

    Returns:
        `class`, the backbone's class name; `config`, its settings; `scale` and `offset`, by which each channel of the
        pixels, 0 to 255, is multiplied and what is then added to it.

    Raises:
        ModelError: There is no such preset, or its backbone is not supported.
        MissingExtraError: `source` is a name, and KerasHub is not installed.
    """
    if not source:
        allowed = "Allowed: with --weights, a preset's name or its folder."
        raise ModelError("The architecture hub needs the name or folder of a preset.", allowed=allowed)
    folder = find_preset(source)
    content = read_part(folder / CONFIG)
    config = content.get("config")
    name = content.get("class_name")
    if (
        isinstance(name, str)
        and name in PAIRS
        and isinstance(config, dict)
        and isinstance(config.get("vision_encoder"), dict)
    ):
        name, config = config["vision_encoder"].get("class_name"), config["vision_encoder"].get("config")
        if name != PAIRS[content["class_name"]]:
            name = None
    if not (isinstance(name, str) and name in BACKBONES and isinstance(config, dict)):
        allowed = f"Allowed: {', '.join([*BACKBONES, *PAIRS])}."
        raise ModelError(
            "The preset is no image backbone that can be used.", allowed=allowed, received=content.get("class_name")
        )
    known = {key: config[key] for key in BACKBONES[name].split() if key in config}
    return check_preset({"class": name, "config": known, **_read_range(folder / CONVERTER)})


def check_preset(described: Any) -> JsonObject:
    """Check that a preset has a known class and plain values within the limits, and return it as a dict.

    Args:
        described: As `read_preset` returns it, or the entry `hub` of a `model.json`.

    Raises:
        ModelError: The class is unknown, an entry is missing, or a value is not allowed.
    """
    try:
        keys = BACKBONES[described["class"]].split()
        bad = [key for key, value in described["config"].items() if key not in keys or not _is_plain(value)]
        bad += [key for key in ("scale", "offset") if not _is_range(described[key])]
        if "Res" not in described["class"]:
            bad += _find_bad_sides(described["class"], described["config"])
        bad += [key for key in DEPTHS if _is_beyond(described["config"].get(key), MOST_LAYERS)]
    except (KeyError, TypeError, AttributeError) as error:
        raise ModelError("The description of the network of KerasHub is damaged.", received=described) from error
    if bad:
        allowed = f"Allowed: numbers up to {LARGEST_NUMBER}, lists of them, known words."
        raise ModelError("The preset has values that nothing is built from.", allowed=allowed, received=bad)
    return dict(described)


def check_hub_sizes(described: Mapping[str, Any], largest: int) -> None:
    """Check the sizes in a preset against its weights, before the network is built and could fill the memory.

    Args:
        described: A preset that `check_preset` accepted.
        largest: The largest dimension of all weights.

    Raises:
        ModelError: A size in the preset is more than twice as large.
    """
    config = described["config"]
    # Twice, because a gated layer can be half as wide again as the weights show. Each patch has a position embedding.
    bad = [key for key, value in config.items() if key not in SIDES and _is_beyond(value, 2 * largest)]
    patch = config.get("patch_size")
    height, width = (config.get("image_shape") or [0, 0])[:2]
    if patch and described["class"] != ANY_SQUARE:
        patch_height, patch_width = patch if isinstance(patch, list) else [patch, patch]
        bad += ["image_shape"] if height // patch_height * (width // patch_width) > 2 * largest else []
    if bad:
        raise ModelError("The network of KerasHub is described larger than its weights are.", received=sorted(bad))


def _is_beyond(value: object, limit: int) -> bool:
    """Return whether a number, or any number of a list, is larger than a limit."""
    return any(_is_number(item) and item > limit for item in (value if isinstance(value, list) else [value]))


def read_part(path: Path) -> JsonObject:
    """Read one of the JSON files of a preset.

    Raises:
        ModelError: The file is missing, or it is not a JSON object.
    """
    try:
        return read_table(path)
    except ModelError as error:
        hint = f"Wanted: {CONFIG} and {WEIGHTS}, as KerasHub writes them."
        raise ModelError(f"The folder is no preset. {error}", hint=hint) from error


def _read_range(path: Path) -> JsonObject:
    """Return the `scale` and `offset` by which a preset's image converter rescales pixels of 0 to 255."""
    config = read_part(path).get("config") if path.exists() else {}
    if not isinstance(config, dict) or "mean" in config:
        raise ModelError("The preset's image converter has an older format.", received=str(path))
    scale, offset = config.get("scale"), config.get("offset")
    scale, offset = 1.0 if scale is None else scale, 0.0 if offset is None else offset
    return {
        "scale": scale if isinstance(scale, list) else [scale] * 3,
        "offset": offset if isinstance(offset, list) else [offset] * 3,
    }


def _is_range(value: object) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(_is_number(item) for item in value)


def _is_shape(value: object) -> bool:
    if not isinstance(value, list) or len(value) != 3 or value[2] != 3:
        return False
    return all(type(side) is int and 8 <= side <= 2048 for side in value[:2])


def _find_bad_sides(name: str, config: Mapping[str, Any]) -> list[str]:
    """Return the names of a transformer's settings in pixels that are out of range."""
    patch = config["patch_size"] if name == ANY_SQUARE else config.get("patch_size", 1)
    # The patches of a ViT can have a height and a width.
    sides = patch if isinstance(patch, list) and len(patch) == 2 and name != ANY_SQUARE else [patch]
    are_fine = {
        "image_shape": _is_shape(config["image_shape"]),
        POSITIONS: _is_shape([*config.get(POSITIONS, config["image_shape"])[:2], 3]),
        "patch_size": all(type(side) is int and 1 <= side <= LARGEST_PATCH for side in sides),
    }
    return [key for key, is_fine in are_fine.items() if not is_fine]


def _is_number(value: object) -> TypeGuard[float]:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
        and abs(value) <= LARGEST_NUMBER
    )


def _is_plain(value: object) -> bool:
    """Return whether a value is a number, a list of numbers, a known word, a boolean or None."""
    if isinstance(value, list):
        return len(value) <= LONGEST_LIST and all(_is_number(item) for item in value)
    return value is None or value in (True, False) or _is_number(value) or (isinstance(value, str) and value in WORDS)


def build_hub(
    pixels: "KerasTensor", dtype: str | None = None, *, described: Mapping[str, Any] | None
) -> "list[KerasTensor]":
    """Build the network of a preset with randomly initialized weights, and resize photographs to its input size.

    Args:
        pixels: A Keras tensor (n, H, W, 3 or 1), 0 to 1.
        dtype: The dtype policy of the layers; None takes Keras's default.
        described: The preset, as `read_preset` returns it.

    Returns:
        A list of one tensor: the features that the heads read, (n, width).

    Raises:
        ModelError: The preset's values do not fit together.
        MissingExtraError: KerasHub is not installed.
    """
    described = check_preset(described)
    keras = import_keras()
    x = rescale_channels(pixels, [scale / RESCALE for scale in described["scale"]], described["offset"])
    height, width, _ = shape = find_shape(described, x.shape[1:])
    if x.shape[1:3] != (height, width):
        x = keras.layers.Resizing(height, width, name="to_size", dtype="float32")(x)
    backbone = build_backbone(described, shape, dtype)
    if described["class"] == "SigLIPVisionEncoder":
        # Its pooling has a weight without a unique name, which could not be loaded from a file again.
        backbone = keras.Model(backbone.input, backbone.get_layer(LAST_TOKENS).output)
    # Called like this, its layers become layers of the network: each has its learning rate and its FLOPs.
    x = backbone.call({"images": x} if isinstance(backbone.input, dict) else x)
    if len(x.shape) == 4:
        x = keras.layers.GlobalAveragePooling2D(name="pool", dtype="float32")(x)
    elif len(x.shape) == 3:
        x = keras.layers.GlobalAveragePooling1D(name="pool", dtype="float32")(x)
    return [keras.layers.Dropout(DROPOUT, name="dropout", dtype="float32")(x)]


def find_shape(described: Mapping[str, Any], shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the input shape of a preset's backbone, (height, width, 3).

    For DINOv2 this is the smallest square of whole patches that covers the photograph.

    Args:
        described: The preset, as `read_preset` returns it.
        shape: (height, width, channels) of the photographs.
    """
    config = described["config"]
    if described["class"] == ANY_SQUARE:
        patch = config["patch_size"]
        side = patch * math.ceil(max(shape[:2]) / patch)
        return side, side, 3
    return tuple(config.get("image_shape") or shape)


def build_backbone(described: Mapping[str, Any], shape: tuple[int, ...], dtype: str | None = None) -> "Model":
    """Build the backbone of a preset for images of `shape` (height, width, 3); see `build_hub`."""
    backbone_class = getattr(import_hub().models, described["class"])
    try:
        config = {**described["config"], "image_shape": shape}
        return backbone_class(**config, data_format="channels_last", dtype=dtype)
    except Exception as error:  # KerasHub raises many types of exceptions for settings that do not fit together
        raise ModelError(f"The preset's network cannot be built: {error}.", received=described["config"]) from error


def load_preset(model: "Model", source: str) -> Path:
    """Load a preset's weights into the network built from it.

    Args:
        model: A network of `build_model` with the architecture `hub`.
        source: See `find_preset`.

    Returns:
        The path of the file of weights.

    Raises:
        ModelError: The file is missing or damaged, or does not fit the network.
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
                _extract_encoder(path, Path(scratch) / WEIGHTS, read_part(folder / CONFIG)["class_name"])
            )
    except Exception as error:  # h5py and Keras raise many types of exceptions on damaged files
        raise ModelError(
            f"The preset's weights cannot be read, or are not its network's: {str(error).partition(chr(10))[0]}",
            received=str(path),
        ) from error
    for layer in reference.layers:
        if layer.weights and layer.name != POOLING:
            model.get_layer(layer.name).set_weights(layer.get_weights())
    return path


def _extract_encoder(path: Path, target: Path, name: str) -> Path:
    """Copy the image encoder's weights of a model of images and texts to `target`, and return their path.

    For a backbone of images alone, return `path` itself.
    """
    if name not in VISION_LAYERS:
        return path
    import h5py  # noqa: PLC0415  (comes with Keras)

    with h5py.File(path) as whole, h5py.File(target, "w") as part:
        for key in whole[VISION_LAYERS[name]]:
            whole.copy(f"{VISION_LAYERS[name]}/{key}", part)
    return target
