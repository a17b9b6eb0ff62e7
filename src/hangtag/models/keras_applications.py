"""Networks of `keras.applications`, each with the preprocessing that its ImageNet weights want."""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hangtag.errors import ModelError
from hangtag.models.description import AGAIN, escape
from hangtag.models.layers import import_keras

# Check a file of weights in HDF5 before Keras reads it: its numbers are all in it, as many as it says.


def check_h5(path: Path) -> None:
    """Check that a file is HDF5 whose numbers are all in it.

    HDF5 can refer to other files, whose content would then be read as weights, and can declare arrays far larger than
    what is stored, which would fill the memory. The library's older reader follows both.

    Raises:
        ModelError: There is no such file, it cannot be read, or it refers to others, or to more than it holds.
    """
    import h5py  # noqa: PLC0415  (comes with Keras)

    if not path.is_file():
        raise ModelError("There is no such file of weights.", received=str(path))
    try:
        with h5py.File(path, "r") as file:
            fault = _find_fault(file, h5py)
    except Exception as error:  # it raises many kinds on a file from elsewhere
        fault = escape(str(error))
    if fault:
        raise ModelError(
            f"The file of weights cannot be read: {fault}.",
            allowed="Allowed: HDF5 whose numbers are all in it, not compressed.",
            hint=AGAIN,
            received=str(path),
        )


def _find_fault(file: Any, h5py: Any) -> str:
    groups, known = [file], {h5py.h5o.get_info(file.id).addr}
    while groups:
        group = groups.pop()
        for name in group:
            # Links may lead to other files, or in a circle; Keras writes none.
            if type(group.get(name, getlink=True)) is not h5py.HardLink:
                return "it has a link, which may lead to other files"
            found = group[name]
            index = h5py.h5o.get_info(found.id).addr
            if index in known:
                return "it has the same entry in two places"
            known.add(index)
            if isinstance(found, h5py.Group):
                groups.append(found)
            elif fault := _find_dataset_fault(found):
                return fault
    return ""


def _find_dataset_fault(dataset: Any) -> str:
    if dataset.external or dataset.is_virtual:
        return "it refers to other files"
    if math.prod(dataset.shape or (0,)) * dataset.dtype.itemsize > max(dataset.id.get_storage_size(), 64):
        return "it declares more numbers than it holds"
    return ""


DROPOUT = 0.2
# Of ImageNet's photographs, 0 to 255, blue first, as Caffe had it.
CAFFE_MEAN = (103.939, 116.779, 123.68)
# The smallest sides that leave something to pool.
SMALLEST_SIDE = 32


@dataclass(frozen=True)
class Application:
    """A network of the library.

    Attributes:
        builder: The function that builds it.
        file: The file of its ImageNet weights, without their classes, in the library's cache.
        md5: Its hash, as the library checks it.
        is_caffe: Whether it wants pixels less their mean, blue first; others bring their own preprocessing along.
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


def build_application(pixels: Any, dtype: Any = None, *, name: str) -> list[Any]:
    """Build a network without its ImageNet classes, with fresh weights.

    Args:
        pixels: A Keras tensor (n, H, W, 3 or 1), 0 to 1.
        dtype: The policy of the layers, such as `mixed_bfloat16`; None takes Keras's default.
        name: One of `APPLICATIONS`.

    Returns:
        The features that a head reads, (n, width), of its one member.
    """
    keras = import_keras()
    layers = keras.layers
    if pixels.shape[-1] == 1:
        pixels = layers.Concatenate(name="three_channels", dtype="float32")([pixels] * 3)
    if APPLICATIONS[name].is_caffe:
        pixels = layers.Rescaling(255.0, [-mean for mean in CAFFE_MEAN[::-1]], name="caffe", dtype="float32")(pixels)
        pixels = pixels[..., ::-1]
    else:
        # These have the rest in layers of their own.
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


def load_imagenet(model: Any, name: str) -> Path:
    """Put ImageNet weights, from the library's cache or by its download, into a network of this name.

    Returns:
        The file that they came from.

    Raises:
        ModelError: There are none for it, or they are not in the cache and cannot be fetched; the error says which
            file to put where.
    """
    if name not in APPLICATIONS:
        allowed = f"Allowed: {', '.join(APPLICATIONS)}; for other networks a file."
        raise ModelError("The library has no ImageNet weights for this network.", allowed=allowed, received=name)
    application = APPLICATIONS[name]
    path = _find_cache() / application.file
    try:
        reference = _find_builder(name)(include_top=False, weights="imagenet")
    except Exception as error:  # it raises whatever its way over the network raises
        raise ModelError(
            f"The ImageNet weights of {name} are not on this machine, and cannot be fetched or read: {error}.",
            hint=f"Put the file {application.file}, with the MD5 {application.md5}, into {path.parent}.",
        ) from error
    _copy_weights(reference, model)
    return path


def load_library_file(model: Any, name: str, path: Path) -> None:
    """Put the numbers of one of the library's files of weights (.h5) into a network of this name.

    Raises:
        ModelError: The network is not the library's, or the file does not fit it or cannot be read.
    """
    if name not in APPLICATIONS:
        allowed = f"Allowed: .h5 for {', '.join(APPLICATIONS)}; for other networks safetensors."
        raise ModelError("A file of this kind does not serve for this network.", allowed=allowed, received=str(path))
    check_h5(path)
    try:
        # By the shapes of weights alone; a layer that is described in the file is not made.
        reference = _find_builder(name)(include_top=False, weights=str(path))
    except Exception as error:  # h5py and Keras raise many kinds on a file from elsewhere
        raise ModelError(
            f"The file of weights cannot be read, or is not one of {name}: {error}.", received=str(path)
        ) from error
    _copy_weights(reference, model)


def _find_cache() -> Path:
    """Return the folder that the library keeps its files in; it has no function for that."""
    home = Path.home() if os.access(Path.home(), os.W_OK) else Path("/tmp")
    return Path(os.environ.get("KERAS_HOME", home / ".keras")) / "models"


def _copy_weights(reference: Any, model: Any) -> None:
    for layer in reference.layers:
        if layer.weights:
            model.get_layer(layer.name).set_weights(layer.get_weights())


def _find_builder(name: str) -> Callable[..., Any]:
    return getattr(import_keras().applications, APPLICATIONS[name].builder)  # type: ignore[no-any-return]
