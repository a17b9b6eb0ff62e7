"""The architectures by name, and the heads that every one of them gets."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from hangtag.config import ColorMode
from hangtag.errors import ModelError
from hangtag.models.backend import import_keras
from hangtag.models.capstone import build_capstone
from hangtag.models.preprocessing import build_preprocessing
from hangtag.models.residual import build_residual
from hangtag.models.words import MAX_WORDS, build_word_features


@dataclass(frozen=True)
class Architecture:
    """A network that can be asked for by name.

    Attributes:
        build: Takes pixels, 0 to 1, and the policy of the layers, and gives the features that heads read.
        purpose: What it is for, in a few words, as `hangtag models` shows it.
        takes_any_size: Whether the same weights serve photographs of every size.
    """

    build: Callable[..., Any]
    purpose: str
    takes_any_size: bool = True


ARCHITECTURES: dict[str, Architecture] = {
    "residual": Architecture(
        partial(build_residual, stem=(16, 24), widths=(48, 96, 192, 288), depths=(1, 1, 1, 1), dropout=0.1),
        "the default: four wide blocks",
    ),
    "residual-small": Architecture(
        partial(build_residual, stem=(16,), widths=(32, 64, 128, 192), depths=(1, 1, 1, 1), dropout=0.1),
        "quicker: four narrow blocks",
    ),
    "capstone": Architecture(build_capstone, "to reproduce the capstone report", takes_any_size=False),
}
SMALLEST_SIDE = 8


def check_architecture(architecture: str) -> None:
    """Refuse a name that is not registered.

    Raises:
        ModelError: There is no such architecture.
    """
    if architecture not in ARCHITECTURES:
        allowed = f"Allowed: {', '.join(ARCHITECTURES)}."
        raise ModelError("There is no such architecture.", allowed=allowed, received=architecture)


def build_model(
    architecture: str,
    *,
    image_size: tuple[int, int] | None,
    heads: Mapping[str, int],
    color_mode: ColorMode,
    num_words: int = 0,
    dtype: Any = None,
) -> Any:
    """Build a network by its registered name, with fresh weights.

    Args:
        architecture: One of `ARCHITECTURES`.
        image_size: (height, width) of the pixels; None builds one for every size, where the architecture has that.
        heads: The number of classes of each head by its name, one head or more.
        color_mode: `color` or `gray`.
        num_words: The size of the vocabulary of names; 0 builds a network that reads pixels alone.
        dtype: The policy of its layers; the weights are float32 under every policy offered.

    Returns:
        A `keras.Model` from `pixels` (n, H, W, 3), 0 to 255, and, where it reads names, `words`
        (n, MAX_WORDS) of whole numbers, to a mapping from each head to its probabilities (n, classes) in float32.

    Raises:
        ModelError: There is no such architecture, or it cannot be built for these values.
    """
    check_architecture(architecture)
    is_fitting = ARCHITECTURES[architecture].takes_any_size if image_size is None else min(image_size) >= SMALLEST_SIDE
    if not (heads and min(heads.values()) >= 1 and next(iter(heads.values())) >= 2 and is_fitting):
        raise ModelError(
            "No network can be built for this.",
            allowed=f"Allowed: two classes or more, sides of {SMALLEST_SIDE} pixels or more.",
            received={"classes": dict(heads), "image_size": image_size},
        )
    keras = import_keras()
    inputs = {"pixels": keras.Input((*(image_size or (None, None)), 3), dtype="uint8", name="pixels")}
    features = ARCHITECTURES[architecture].build(build_preprocessing(inputs["pixels"], color_mode), dtype)
    if num_words:
        inputs["words"] = keras.Input((MAX_WORDS,), dtype="int32", name="words")
        word_features = build_word_features(inputs["words"], num_words)
        features = keras.layers.Concatenate(name="pixels_and_words", dtype="float32")([features, word_features])
    # The softmax is computed in float32: bfloat16 has eight bits, too few for a loss.
    outputs = {
        head: keras.layers.Dense(size, activation="softmax", name=head, dtype="float32")(features)
        for head, size in heads.items()
    }
    return keras.Model(inputs, outputs, name=architecture)
