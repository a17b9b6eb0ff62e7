"""KerasHub presets: check their plain values, build their image backbone and load its weights, running no code."""

import math
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hangtag.errors import MissingExtraError, ModelError
from hangtag.models.description import read_table
from hangtag.models.keras_applications import check_h5
from hangtag.models.layers import RESCALE, import_keras, rescale_channels

HUB = "hub"
CONFIG, CONVERTER, WEIGHTS = "config.json", "image_converter.json", "model.weights.h5"
TRANSFORMER = "hidden_dim image_shape num_heads num_layers patch_size"
ENCODER = f"{TRANSFORMER} intermediate_activation intermediate_dim"
# What each class is built from; whatever else a preset says, such as names and policies, is the network's own.
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
# Those whose image encoder is one of these, and where its numbers lie in their file.
PAIRS = {"CLIPBackbone": "CLIPVisionEncoder", "SigLIPBackbone": "SigLIPVisionEncoder"}
VISION_LAYERS = {"CLIPBackbone": "layers/clip_vision_encoder", "SigLIPBackbone": "layers/sig_lip_vision_encoder"}
BLOCKS = {"basic_block", "basic_block_vd", "bottleneck_block", "bottleneck_block_vd"}
WORDS = BLOCKS | {"gelu", "gelu_approximate", "quick_gelu", "relu"}
# Its positions are stretched over any square; those of the others are for one size.
ANY_SQUARE = "DINOV2Backbone"
# A network of larger numbers would fill the memory before its weights are compared.
LARGEST_NUMBER, LONGEST_LIST = 8192, 16
LARGEST_PATCH = 64
DEPTHS, MOST_LAYERS = ("num_layers", "stackwise_num_blocks"), 128
POSITIONS = "position_embedding_shape"
SIDES = ("image_shape", POSITIONS)
INSTALL = "Install it with `pip install keras-hub`, without TensorFlow's own packages as docs/models.md says."


def import_hub() -> Any:
    """Import KerasHub, which is no dependency.

    Raises:
        MissingExtraError: It is not installed.
    """
    import_keras()
    try:
        import keras_hub  # noqa: PLC0415  (few need it, and it takes seconds)
    except ImportError as error:
        raise MissingExtraError(f"This needs KerasHub, which cannot be imported: {error}.", hint=INSTALL) from error
    return keras_hub


def find_preset(source: str) -> Path:
    """Return the folder of a preset: a folder itself, or what KerasHub's cache has by a name, or else its download.

    Raises:
        ModelError: There is none; the error says which files to put where.
        MissingExtraError: A name is given, and KerasHub is not installed.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    presets = import_hub().models.Backbone.presets
    if source not in presets:
        allowed = (
            "Allowed: with --weights, a folder of a preset, or a preset's name, such as vit_base_patch16_224_imagenet."
        )
        raise ModelError("KerasHub has no such preset, and there is no such folder.", allowed=allowed, received=source)
    handle = str(presets[source]["kaggle_handle"]).removeprefix("kaggle://")
    cache = Path(os.environ.get("KAGGLEHUB_CACHE") or "~/.cache/kagglehub").expanduser() / "models" / handle
    if (cache / CONFIG).is_file() and (cache / WEIGHTS).is_file():
        return cache
    try:
        import kagglehub  # noqa: PLC0415  (comes with KerasHub)

        return Path(str(kagglehub.model_download(handle)))
    except Exception as error:  # it raises whatever its way over the network raises
        raise ModelError(
            f"The preset {source} is not on this machine, and cannot be fetched: {error}.",
            hint=f"Put the files {CONFIG}, {CONVERTER} and {WEIGHTS} of {handle} into {cache}, or name a folder that "
            "has them: --weights FOLDER.",
        ) from error


def read_preset(source: str) -> dict[str, Any]:
    """Return what a network is built from: its `class`, `config`, and the `scale` and `offset` of pixels, 0 to 255.

    Raises:
        ModelError: There is no such preset, or it is not one that can be used.
        MissingExtraError: A name is given, and KerasHub is not installed.
    """
    if not source:
        allowed = "Allowed: with --weights, a preset's name or its folder."
        raise ModelError("A network of KerasHub is begun from a preset.", allowed=allowed)
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


def check_preset(described: Any) -> dict[str, Any]:
    """Return a description as it is, once it names an allowed class and holds plain values alone.

    Raises:
        ModelError: It does not.
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
    """Check the sizes of a network against the largest side of its weights, before it is built and fills the memory.

    Args:
        described: A description that `check_preset` took.
        largest: The side.

    Raises:
        ModelError: A size is far larger.
    """
    config = described["config"]
    # A position for each patch is learnt, and inside a gated layer may be half as much again.
    bad = [key for key, value in config.items() if key not in SIDES and _is_beyond(value, 2 * largest)]
    patch = config.get("patch_size")
    height, width = (config.get("image_shape") or [0, 0])[:2]
    if patch and described["class"] != ANY_SQUARE:
        tall, wide = patch if isinstance(patch, list) else [patch, patch]
        bad += ["image_shape"] if height // tall * (width // wide) > 2 * largest else []
    if bad:
        raise ModelError("The network of KerasHub is described larger than its weights are.", received=sorted(bad))


def _is_beyond(value: Any, most: int) -> bool:
    return any(_is_number(each) and each > most for each in (value if isinstance(value, list) else [value]))


def read_part(path: Path) -> dict[str, Any]:
    """Read one of a preset's files of JSON.

    Raises:
        ModelError: It is missing or holds something else.
    """
    try:
        return read_table(path)
    except ModelError as error:
        wanted = f"Wanted: {CONFIG} and {WEIGHTS}, as KerasHub writes them."
        raise ModelError(f"The folder is no preset. {error}", hint=wanted) from error


def _read_range(path: Path) -> dict[str, Any]:
    """Return the scale and offset that the preset's image converter applies to pixels of 0 to 255."""
    config = read_part(path).get("config") if path.exists() else {}
    if not isinstance(config, dict) or "mean" in config:
        raise ModelError("The preset's converter of images is of an older form.", received=str(path))
    scale, offset = config.get("scale"), config.get("offset")
    scale, offset = 1.0 if scale is None else scale, 0.0 if offset is None else offset
    return {
        "scale": scale if isinstance(scale, list) else [scale] * 3,
        "offset": offset if isinstance(offset, list) else [offset] * 3,
    }


def _is_range(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(_is_number(each) for each in value)


def _is_shape(value: Any) -> bool:
    is_list = isinstance(value, list) and len(value) == 3 and value[2] == 3
    return is_list and all(type(each) is int and 8 <= each <= 2048 for each in value[:2])


def _find_bad_sides(name: str, config: Mapping[str, Any]) -> list[str]:
    """Return the settings of a transformer's sides, in pixels, that nothing can be built from."""
    patch = config["patch_size"] if name == ANY_SQUARE else config.get("patch_size", 1)
    # A ViT's may have a height and a width.
    sides = patch if isinstance(patch, list) and len(patch) == 2 and name != ANY_SQUARE else [patch]
    are_fine = {
        "image_shape": _is_shape(config["image_shape"]),
        POSITIONS: _is_shape([*config.get(POSITIONS, config["image_shape"])[:2], 3]),
        "patch_size": all(type(each) is int and 1 <= each <= LARGEST_PATCH for each in sides),
    }
    return [key for key, is_fine in are_fine.items() if not is_fine]


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and abs(value) <= LARGEST_NUMBER


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return len(value) <= LONGEST_LIST and all(_is_number(each) for each in value)
    return value is None or value in (True, False) or _is_number(value) or (isinstance(value, str) and value in WORDS)


# Networks of KerasHub's presets: built from plain values, filled with numbers out of the preset's file of weights.

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
    """Return the (height, width, 3) that a preset's backbone reads where photographs have another.

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
    """Load a preset's weights into the network built from it, and return their file.

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
    """Return the file of an image encoder's numbers alone, out of one that has those of a text's too."""
    if name not in VISION_LAYERS:
        return path
    import h5py  # noqa: PLC0415  (comes with Keras)

    with h5py.File(path) as whole, h5py.File(target, "w") as part:
        for key in whole[VISION_LAYERS[name]]:
            whole.copy(f"{VISION_LAYERS[name]}/{key}", part)
    return target
