"""The network of the capstone report, layer by layer (its section 5 and figure 7)."""

from typing import Any

from hangtag.config import ColorMode
from hangtag.models.backend import import_keras
from hangtag.models.preprocessing import build_preprocessing


def build_capstone(*, image_size: tuple[int, int], num_classes: int, color_mode: ColorMode, dtype: Any = None) -> Any:
    """Build two blocks of paired convolutions, one wide dense layer and a softmax.

    At 80 x 60 and 30 classes it has 9,914,686 parameters in colour and 9,914,110 in gray, 9,830,912 of them
    in the dense layer.

    Args:
        image_size: (height, width) of the pixels.
        num_classes: Outputs.
        color_mode: `color` or `gray`.
        dtype: The policy of the layers, such as `mixed_bfloat16`; None takes Keras's default.

    Returns:
        A `keras.Model` from pixels (n, H, W, 3), 0 to 255, to probabilities (n, num_classes) in float32.
    """
    keras = import_keras()
    layers = keras.layers

    # Layers
    inputs = keras.Input((*image_size, 3), dtype="uint8", name="pixels")
    x = build_preprocessing(inputs, color_mode)
    for block, filters in enumerate((32, 64), start=1):
        for half in (1, 2):
            name = f"conv{block}_{half}"
            x = layers.Conv2D(filters, 3, padding="same", activation="relu", name=name, dtype=dtype)(x)
            x = layers.BatchNormalization(name=f"norm{block}_{half}", dtype=dtype)(x)
        x = layers.MaxPooling2D(2, name=f"pool{block}", dtype=dtype)(x)
        x = layers.Dropout(0.2, name=f"dropout{block}", dtype=dtype)(x)
    x = layers.Flatten(name="flatten", dtype=dtype)(x)
    x = layers.Dense(512, activation="relu", name="dense", dtype=dtype)(x)
    x = layers.BatchNormalization(name="norm_dense", dtype=dtype)(x)
    x = layers.Dropout(0.25, name="dropout_dense", dtype=dtype)(x)
    # The softmax is computed in float32: bfloat16 has eight bits, too few for a loss.
    outputs = layers.Dense(num_classes, activation="softmax", name="probabilities", dtype="float32")(x)

    # Model
    return keras.Model(inputs, outputs, name="capstone")
