"""The registry of architectures, and the heads and the averaging of ensemble members that all of them share."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from hangtag.errors import ModelError
from hangtag.models.capstone import build_capstone
from hangtag.models.keras_applications import APPLICATIONS, build_application
from hangtag.models.keras_applications import SMALLEST_SIDE as SMALLEST_LIBRARY_SIDE
from hangtag.models.keras_hub import HUB, build_hub
from hangtag.models.layers import build_preprocessing, import_keras
from hangtag.models.mobile import build_efficientnet_lite, build_mobilenet_v2
from hangtag.models.resnet import build_residual
from hangtag.models.text import MAX_WORDS, fuse_name
from hangtag.models.vit import build_vit
from hangtag.train_config import ColorMode

if TYPE_CHECKING:
    from keras import KerasTensor, Layer, Model


@dataclass(frozen=True)
class Architecture:
    """An architecture in the registry.

    Attributes:
        build: A function of the pixels, 0 to 1, and the dtype policy of the layers. It returns the features that the
            heads read, (n, width), one tensor for each member of an ensemble.
        purpose: A short description, as `hangtag models` shows it.
        takes_any_size: Whether the same weights fit photographs of every size.
        smallest_side: The smallest height and width of the photographs, in pixels.
    """

    build: "Callable[..., list[KerasTensor]]"
    purpose: str
    takes_any_size: bool = True
    smallest_side: int = 8


SMALLEST_SIDE = 8
# A Vision Transformer needs two patches or more.
SMALLEST_PATCHED_SIDE = 12
# A lower bound of probabilities before their logarithm. A softmax in float32 can return 0.
LEAST = 1e-30
ARCHITECTURES: dict[str, Architecture] = {
    "residual": Architecture(
        partial(
            build_residual,
            stem=((16, 1), (24, 1), (48, 2)),
            widths=(48, 96, 192, 288),
            depths=(1, 1, 1, 1),
            dropout=0.1,
            members=2,
            shared=1,
        ),
        "from random weights: an ensemble of two, four wide blocks each",
    ),
    "residual-small": Architecture(
        partial(
            build_residual,
            stem=((16, 1), (32, 2)),
            widths=(32, 64, 128, 192),
            depths=(1, 1, 1, 1),
            dropout=0.1,
            members=2,
            shared=1,
        ),
        "small and fast: an ensemble of two, four narrow blocks each",
    ),
    "residual-tiny": Architecture(
        partial(
            build_residual,
            stem=((16, 1), (32, 2)),
            widths=(32, 64, 128, 192),
            depths=(1, 1, 1, 1),
            dropout=0.1,
        ),
        "small: four narrow blocks",
    ),
    "residual-fast": Architecture(
        partial(
            build_residual,
            stem=((16, 1), (32, 2), (64, 2)),
            widths=(128, 256),
            depths=(1, 1),
            dropout=0.1,
            first_strides=2,
        ),
        "fastest: two wide blocks behind three convolutions",
    ),
    "vit": Architecture(
        partial(build_vit, width=192, depth=4, heads=3, patch=10, dropout=0.1),
        "a Vision Transformer over patches of 10 x 10",
        smallest_side=SMALLEST_PATCHED_SIDE,
    ),
    "vit-stem": Architecture(
        partial(build_vit, width=128, depth=4, heads=4, stem=(32, 64, 128), dropout=0.1),
        "a Vision Transformer behind convolutions",
        smallest_side=SMALLEST_PATCHED_SIDE,
    ),
    "efficientnet-lite0": Architecture(build_efficientnet_lite, "for ImageNet weights: fast, 1280 features"),
    "efficientnet-lite1": Architecture(partial(build_efficientnet_lite, depth=1.1), "efficientnet-lite0, deeper"),
    "efficientnet-lite2": Architecture(
        partial(build_efficientnet_lite, width=1.1, depth=1.2), "efficientnet-lite0, deeper and wider"
    ),
    "mobilenet-v2": Architecture(build_mobilenet_v2, "the default, from ImageNet weights: 1280 features"),
    **{
        name: Architecture(
            partial(build_application, name=name),
            "for ImageNet weights, from keras.applications",
            smallest_side=SMALLEST_LIBRARY_SIDE,
        )
        for name in APPLICATIONS
    },
    "capstone": Architecture(build_capstone, "to reproduce the capstone report", takes_any_size=False),
}


def find_architecture(architecture: str, hub: Mapping[str, Any] | None = None) -> Architecture:
    """Look up an architecture by its name.

    Args:
        architecture: One of `ARCHITECTURES`, or `hub` for a preset of KerasHub.
        hub: The preset, as `read_preset` returns it, for `hub`.

    Raises:
        ModelError: There is no such architecture.
    """
    if architecture == HUB:
        build = partial(build_hub, described=hub)
        return Architecture(build, "a preset of KerasHub", takes_any_size=False)
    if architecture not in ARCHITECTURES:
        allowed = f"Allowed: {', '.join([*ARCHITECTURES, HUB])}."
        raise ModelError("There is no such architecture.", allowed=allowed, received=architecture)
    return ARCHITECTURES[architecture]


def build_model(
    architecture: str,
    *,
    image_size: tuple[int, int] | None,
    heads: Mapping[str, int],
    color_mode: ColorMode,
    num_words: int = 0,
    dtype: str | None = None,
    hub: Mapping[str, Any] | None = None,
) -> "Model":
    """Build a network by its registered name, with randomly initialized weights.

    Args:
        architecture: One of `ARCHITECTURES`, or `hub`.
        image_size: (height, width) of the pixels; None builds a network for every size, if the architecture allows it.
        heads: The number of classes of each head by its name, one head or more.
        color_mode: `color` or `gray`.
        num_words: The size of the vocabulary of names; 0 builds a network that reads images alone.
        dtype: The dtype policy of the layers. The weights are float32 under every policy that hangtag offers.
        hub: The preset, as `read_preset` returns it, for the architecture `hub`.

    Returns:
        A `keras.Model`. Its inputs are `pixels`, uint8 (n, H, W, 3), and, if it reads names, `words`, int32
        (n, MAX_WORDS). Its outputs map each head to its probabilities, float32 (n, classes).

    Raises:
        ModelError: There is no such architecture, or it cannot be built for this image size or these heads.
    """
    entry = find_architecture(architecture, hub)
    fits_size = entry.takes_any_size if image_size is None else min(image_size) >= entry.smallest_side
    if not (heads and min(heads.values()) >= 1 and next(iter(heads.values())) >= 2 and fits_size):
        raise ModelError(
            "No network can be built for this.",
            allowed=f"Allowed: two classes or more, sides of {entry.smallest_side} pixels or more.",
            received={"classes": dict(heads), "image_size": image_size},
        )
    keras = import_keras()
    inputs = {"pixels": keras.Input((*(image_size or (None, None)), 3), dtype="uint8", name="pixels")}
    members = entry.build(build_preprocessing(inputs["pixels"], color_mode), dtype)
    outputs = {head: build_head(members, head, size) for head, size in heads.items()}
    if num_words:
        inputs["words"] = keras.Input((MAX_WORDS,), dtype="int32", name="words")
        outputs = {head: fuse_name(probs, inputs["words"], num_words, head) for head, probs in outputs.items()}
    return keras.Model(inputs, outputs, name=architecture)


def build_head(members: "Sequence[KerasTensor]", head: str, size: int) -> "KerasTensor":
    """Build a classifier head for each member, and the mean of their probabilities.

    Args:
        members: The features of each member, (n, width).
        head: The name of the head.
        size: The number of classes.
    """
    dense = import_keras().layers.Dense
    # The softmax is computed in float32, because the eight bits of bfloat16 are too few for a loss.
    probs = [
        dense(size, activation="softmax", name="_".join([head, *_get_suffix(index, members)]), dtype="float32")(
            features
        )
        for index, features in enumerate(members, start=1)
    ]
    return average_members(probs, head)


def _get_suffix(index: int, members: "Sequence[KerasTensor]") -> list[str]:
    """Return the suffix of a member's layer names, or an empty list if there is only one member."""
    return [f"member{index}"] if len(members) > 1 else []


@cache
def _get_mean_class() -> "type[Layer]":
    """Define the averaging layer on the first call, because importing Keras takes seconds."""
    keras = import_keras()
    ops = keras.ops

    class Mean(keras.layers.Layer):  # type: ignore[name-defined, misc]
        """Average probabilities: the arithmetic mean at prediction, the geometric mean in training.

        The cross-entropy of a geometric mean that is not normalized is the mean of the members' cross-entropies, so
        each member is trained independently. With the arithmetic mean the members would adapt to each other and make
        the same errors.
        """

        def call(self, probs: "KerasTensor", training: bool = False) -> "KerasTensor":
            stacked = ops.stack(probs, axis=1)
            if not training:
                return ops.mean(stacked, axis=1)
            return ops.exp(ops.mean(ops.log(ops.maximum(stacked, LEAST)), axis=1))

        def compute_output_shape(self, shapes: Sequence[tuple[int | None, ...]]) -> tuple[int | None, ...]:
            return shapes[0]

    return Mean


def average_members(probs: "Sequence[KerasTensor]", name: str) -> "KerasTensor":
    """Build the layer that averages the probabilities of a deep ensemble's members, (n, classes) each.

    Source: Lakshminarayanan et al., *Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles*,
    2017.
    """
    return _get_mean_class()(name=name, dtype="float32")(list(probs)) if len(probs) > 1 else probs[0]
