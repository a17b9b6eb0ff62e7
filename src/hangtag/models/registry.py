"""The architectures by name."""

from collections.abc import Callable
from typing import Any

from hangtag.config import ColorMode
from hangtag.errors import ModelError
from hangtag.models.capstone import build_capstone

ARCHITECTURES: dict[str, Callable[..., Any]] = {"capstone": build_capstone}
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
    image_size: tuple[int, int],
    num_classes: int,
    color_mode: ColorMode,
    dtype: Any = None,
) -> Any:
    """Build a network by its registered name, with fresh weights.

    Args:
        architecture: One of `ARCHITECTURES`.
        image_size: (height, width) of the pixels.
        num_classes: Outputs, two or more.
        color_mode: `color` or `gray`.
        dtype: The policy of its layers; the weights are float32 under every policy offered.

    Returns:
        A `keras.Model` from pixels (n, H, W, 3), 0 to 255, to probabilities (n, num_classes) in float32.

    Raises:
        ModelError: There is no such architecture, or it cannot be built for these values.
    """
    check_architecture(architecture)
    if num_classes < 2 or min(image_size) < SMALLEST_SIDE:
        raise ModelError(
            "No network can be built for this.",
            allowed=f"Allowed: two classes or more, sides of {SMALLEST_SIDE} pixels or more.",
            received={"num_classes": num_classes, "image_size": image_size},
        )
    build = ARCHITECTURES[architecture]
    return build(image_size=image_size, num_classes=num_classes, color_mode=color_mode, dtype=dtype)
