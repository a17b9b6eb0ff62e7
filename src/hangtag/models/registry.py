"""The architectures by name, and the heads that every one of them gets."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from hangtag.config import ColorMode
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


@dataclass(frozen=True)
class Architecture:
    """An architecture in the registry.

    Attributes:
        build: Takes pixels, 0 to 1, and the policy of the layers, and gives the features that heads read, (n, width)
            for each member of an ensemble.
        purpose: What it is for, in a few words, as `hangtag models` shows it.
        takes_any_size: Whether the same weights serve photographs of every size.
        smallest_side: Of the photographs, in pixels.
    """

    build: Callable[..., Any]
    purpose: str
    takes_any_size: bool = True
    smallest_side: int = 8


# Attention is for two patches or more.
SMALLEST_PATCHED_SIDE = 12
ARCHITECTURES: dict[str, Architecture] = {
    "residual": Architecture(
        partial(
            build_residual,
            stem=(16, 24),
            widths=(48, 96, 192, 288),
            depths=(1, 1, 1, 1),
            dropout=0.1,
            members=2,
            shared=1,
        ),
        "the default: two of four wide blocks",
    ),
    "residual-small": Architecture(
        partial(
            build_residual,
            stem=(16,),
            widths=(32, 64, 128, 192),
            depths=(1, 1, 1, 1),
            dropout=0.1,
            members=2,
            shared=1,
        ),
        "small and quick: two of four narrow blocks",
    ),
    "residual-tiny": Architecture(
        partial(build_residual, stem=(16,), widths=(32, 64, 128, 192), depths=(1, 1, 1, 1), dropout=0.1),
        "quickest: four narrow blocks",
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
    "efficientnet-lite0": Architecture(build_efficientnet_lite, "to begin from ImageNet: quick, 1280 features"),
    "efficientnet-lite1": Architecture(partial(build_efficientnet_lite, depth=1.1), "the same, deeper"),
    "efficientnet-lite2": Architecture(partial(build_efficientnet_lite, width=1.1, depth=1.2), "the same, wider too"),
    "mobilenet-v2": Architecture(build_mobilenet_v2, "to begin from ImageNet: quickest, 1280 features"),
    **{
        name: Architecture(
            partial(build_application, name=name),
            "to begin from ImageNet, of Keras",
            smallest_side=SMALLEST_LIBRARY_SIDE,
        )
        for name in APPLICATIONS
    },
    "capstone": Architecture(build_capstone, "to reproduce the capstone report", takes_any_size=False),
}
SMALLEST_SIDE = 8


def find_architecture(architecture: str, hub: Mapping[str, Any] | None = None) -> Architecture:
    """Return what a name stands for: one of `ARCHITECTURES`, or `hub` for what a preset of KerasHub describes.

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
    dtype: Any = None,
    hub: Mapping[str, Any] | None = None,
) -> Any:
    """Build a network by its registered name, with fresh weights.

    Args:
        architecture: One of `ARCHITECTURES`, or `hub`.
        image_size: (height, width) of the pixels; None builds one for every size, where the architecture has that.
        heads: The number of classes of each head by its name, one head or more.
        color_mode: `color` or `gray`.
        num_words: The size of the vocabulary of names; 0 builds a network that reads pixels alone.
        dtype: The policy of its layers; the weights are float32 under every policy offered.
        hub: What `read_preset` gives, for the architecture `hub`.

    Returns:
        A `keras.Model` from `pixels` (n, H, W, 3), 0 to 255, and, where it reads names, `words`
        (n, MAX_WORDS) of whole numbers, to a mapping from each head to its probabilities (n, classes) in float32.

    Raises:
        ModelError: There is no such architecture, or it cannot be built for these values.
    """
    known = find_architecture(architecture, hub)
    is_fitting = known.takes_any_size if image_size is None else min(image_size) >= known.smallest_side
    if not (heads and min(heads.values()) >= 1 and next(iter(heads.values())) >= 2 and is_fitting):
        raise ModelError(
            "No network can be built for this.",
            allowed=f"Allowed: two classes or more, sides of {known.smallest_side} pixels or more.",
            received={"classes": dict(heads), "image_size": image_size},
        )
    keras = import_keras()
    inputs = {"pixels": keras.Input((*(image_size or (None, None)), 3), dtype="uint8", name="pixels")}
    members = known.build(build_preprocessing(inputs["pixels"], color_mode), dtype)
    outputs = {head: _build_head(members, head, size) for head, size in heads.items()}
    if num_words:
        inputs["words"] = keras.Input((MAX_WORDS,), dtype="int32", name="words")
        outputs = {head: fuse_name(probs, inputs["words"], num_words, head) for head, probs in outputs.items()}
    return keras.Model(inputs, outputs, name=architecture)


def _build_head(members: Sequence[Any], head: str, size: int) -> Any:
    """Build a head for each member, and the mean of their probabilities."""
    dense = import_keras().layers.Dense
    # The softmax is computed in float32: bfloat16 has eight bits, too few for a loss.
    probs = [
        dense(size, activation="softmax", name="_".join([head, *_get_suffix(index, members)]), dtype="float32")(
            features
        )
        for index, features in enumerate(members, start=1)
    ]
    return average_members(probs, head)


def _get_suffix(index: int, members: Sequence[Any]) -> list[str]:
    """Return the suffix of a member's layer names: empty if there is one member."""
    return [f"member{index}"] if len(members) > 1 else []


# Several networks in one: the layer that makes one answer of their answers.

# Far below what a softmax in float32 gives a class in earnest: its logarithm stays a number.
LEAST = 1e-30


@cache
def _find_class() -> Any:
    keras = import_keras()
    ops = keras.ops

    class Mean(keras.layers.Layer):  # type: ignore[name-defined, misc]
        """The mean of probabilities; in training the geometric one, so that every member learns as if alone.

        The cross-entropy of a geometric mean that is not made to add up to 1 is the mean of the members' own. That
        of their arithmetic mean would let them lean on each other, and they would make the same mistakes.
        """

        def call(self, probs: Any, training: bool = False) -> Any:
            stacked = ops.stack(probs, axis=1)
            if not training:
                return ops.mean(stacked, axis=1)
            return ops.exp(ops.mean(ops.log(ops.maximum(stacked, LEAST)), axis=1))

        def compute_output_shape(self, shapes: Any) -> Any:
            return shapes[0]

    return Mean


def average_members(probs: Sequence[Any], name: str) -> Any:
    """Return the mean of the members' probabilities, (n, classes) each, as a deep ensemble has it.

    Source: Lakshminarayanan et al., *Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles*,
    2017.
    """
    return _find_class()(name=name, dtype="float32")(list(probs)) if len(probs) > 1 else probs[0]
