"""Backbones of `keras.applications` with the preprocessing and the ImageNet weights that belong to them.

A file of weights in HDF5 is checked before Keras reads it.
"""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hangtag.errors import ModelError
from hangtag.models.description import AGAIN, escape
from hangtag.models.layers import import_keras
from hangtag.train_config import STARTED

if TYPE_CHECKING:
    from keras import KerasTensor, Model

DROPOUT = 0.2
# The channel means of ImageNet, 0 to 255, in the order blue, green, red that Caffe uses.
CAFFE_MEAN = (103.939, 116.779, 123.68)
# The smallest height and width of a photograph for which the last feature map is not empty.
SMALLEST_SIDE = 32


def check_h5(path: Path) -> None:
    """Check that a file is HDF5 and stores all of its arrays itself.

    HDF5 can refer to other files, whose content would then be read as weights. It can also declare arrays far larger
    than what is stored, which would fill the memory. Keras's reader of older files allows both.

    Raises:
        ModelError: There is no such file, it cannot be read, it refers to other files, or it declares arrays larger
            than what it stores.
    """
    import h5py  # noqa: PLC0415  (comes with Keras)

    if not path.is_file():
        raise ModelError("There is no such file of weights.", received=str(path))
    try:
        with h5py.File(path, "r") as file:
            fault = _find_fault(file, h5py)
    except Exception as error:  # h5py raises many types of exceptions on damaged files
        fault = escape(str(error))
    if fault:
        raise ModelError(
            f"The file of weights cannot be read: {fault}.",
            allowed="Allowed: uncompressed HDF5 without links to other files.",
            hint=AGAIN,
            received=str(path),
        )


def _find_fault(file: Any, h5py: Any) -> str:
    """Return why a file is refused, in a few words; an empty text if it is accepted."""
    groups, addresses = [file], {h5py.h5o.get_info(file.id).addr}
    while groups:
        group = groups.pop()
        for name in group:
            # A soft or external link may lead to another file or back to a parent group. Keras writes none.
            if type(group.get(name, getlink=True)) is not h5py.HardLink:
                return "it has a link, which may lead to other files"
            entry = group[name]
            address = h5py.h5o.get_info(entry.id).addr
            if address in addresses:
                return "it has the same entry in two places"
            addresses.add(address)
            if isinstance(entry, h5py.Group):
                groups.append(entry)
            elif fault := _find_dataset_fault(entry):
                return fault
    return ""


def _find_dataset_fault(dataset: Any) -> str:
    if dataset.external or dataset.is_virtual:
        return "it refers to other files"
    if math.prod(dataset.shape or (0,)) * dataset.dtype.itemsize > max(dataset.id.get_storage_size(), 64):
        return "it declares more numbers than it holds"
    return ""


@dataclass(frozen=True)
class Application:
    """A network of `keras.applications`.

    Attributes:
        builder: The name of the function that builds it.
        file: The name of the file with its ImageNet weights, without the top layer, in Keras's cache.
        md5: The MD5 of that file, which Keras checks.
        is_caffe: Whether its weights need Caffe's preprocessing: channels in the order blue, green, red, and the
            mean of each subtracted. The other networks have layers that preprocess the pixels.
    """

    builder: str
    file: str
    md5: str
    is_caffe: bool = False


APPLICATIONS = {
    "resnet50": Application(
        "ResNet50",
        "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "4d473c1dd8becc155b73f8504c6f6626",
        is_caffe=True,
    ),
    "vgg16": Application(
        "VGG16",
        "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "6d6bbae143d832006294945121d1f1fc",
        is_caffe=True,
    ),
    "mobilenet-v3-large": Application(
        "MobileNetV3Large",
        "weights_mobilenet_v3_large_224_1.0_float_no_top_v2.h5",
        "07fb09a5933dd0c8eaafa16978110389",
    ),
    "efficientnet-v2-b0": Application(
        "EfficientNetV2B0", "efficientnetv2-b0_notop.h5", "893217f2bb855e2983157299931e43ff"
    ),
}


def build_application(pixels: "KerasTensor", dtype: str | None = None, *, name: str) -> "list[KerasTensor]":
    """Build a network without its ImageNet head, with randomly initialized weights.

    Args:
        pixels: A Keras tensor (n, H, W, 3 or 1), 0 to 1.
        dtype: The dtype policy of the layers, such as `mixed_bfloat16`; None takes Keras's default.
        name: One of `APPLICATIONS`.

    Returns:
        A list of one tensor: the features that the heads read, (n, width).
    """
    keras = import_keras()
    layers = keras.layers
    if pixels.shape[-1] == 1:
        pixels = layers.Concatenate(name="three_channels", dtype="float32")([pixels] * 3)
    if APPLICATIONS[name].is_caffe:
        pixels = layers.Rescaling(255.0, [-mean for mean in CAFFE_MEAN[::-1]], name="caffe", dtype="float32")(pixels)
        pixels = pixels[..., ::-1]
    else:
        # The other networks have layers that do the rest of the preprocessing.
        pixels = layers.Rescaling(255.0, name="of_255", dtype="float32")(pixels)
    policy = keras.config.dtype_policy()
    try:
        if dtype is not None:
            keras.config.set_dtype_policy(dtype)
        x = _find_builder(name)(include_top=False, weights=None, input_tensor=pixels).output
    finally:
        keras.config.set_dtype_policy(policy)
    x = layers.GlobalAveragePooling2D(name="pool", dtype="float32")(x)
    return [layers.Dropout(DROPOUT, name="dropout", dtype="float32")(x)]


def load_imagenet(model: "Model", name: str) -> Path:
    """Load ImageNet weights into the backbone of a network, from Keras's cache or by a download through Keras.

    Args:
        model: A network of `build_model`.
        name: Its architecture.

    Returns:
        The path of the file of weights.

    Raises:
        ModelError: Keras has no ImageNet weights for this architecture, or they are not in the cache and cannot be
            downloaded. The error names the file to download and the folder for it.
    """
    if name not in APPLICATIONS:
        raise ModelError(
            "There are no ImageNet weights for this architecture.",
            allowed=f"Allowed: {', '.join([*STARTED, *APPLICATIONS])}; for others a file with --weights.",
            hint=f"Add --architecture {STARTED[0]}, for which they come with hangtag.",
            received=name,
        )
    application = APPLICATIONS[name]
    path = _find_cache() / application.file
    try:
        reference = _find_builder(name)(include_top=False, weights="imagenet")
    except Exception as error:  # a download can raise any type of exception
        raise ModelError(
            f"The ImageNet weights of {name} are not on this machine, and cannot be fetched or read: {error}.",
            hint=f"Put the file {application.file}, with the MD5 {application.md5}, into {path.parent}.",
        ) from error
    _copy_weights(reference, model)
    return path


def load_library_file(model: "Model", name: str, path: Path) -> None:
    """Load one of Keras's own files of weights (.h5) into the backbone of a network.

    Args:
        model: A network of `build_model`.
        name: Its architecture.
        path: The file.

    Raises:
        ModelError: The architecture is not one of `APPLICATIONS`, or the file does not fit it or cannot be read.
    """
    if name not in APPLICATIONS:
        allowed = f"Allowed: .h5 for {', '.join(APPLICATIONS)}; for other networks safetensors."
        raise ModelError("A file of this kind does not serve for this network.", allowed=allowed, received=str(path))
    check_h5(path)
    try:
        # Keras assigns the arrays by their shapes and builds no layer from the file.
        reference = _find_builder(name)(include_top=False, weights=str(path))
    except Exception as error:  # h5py and Keras raise many types of exceptions on damaged files
        raise ModelError(
            f"The file of weights cannot be read, or is not one of {name}: {error}.", received=str(path)
        ) from error
    _copy_weights(reference, model)


def _find_cache() -> Path:
    """Return the folder in which Keras caches weights; Keras has no public function for it."""
    home = Path.home() if os.access(Path.home(), os.W_OK) else Path("/tmp")
    return Path(os.environ.get("KERAS_HOME", home / ".keras")) / "models"


def _copy_weights(reference: "Model", model: "Model") -> None:
    for layer in reference.layers:
        if layer.weights:
            model.get_layer(layer.name).set_weights(layer.get_weights())


def _find_builder(name: str) -> "Callable[..., Model]":
    return getattr(import_keras().applications, APPLICATIONS[name].builder)  # type: ignore[no-any-return]
