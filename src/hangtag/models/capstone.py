"""The network of the capstone report, reproduced layer by layer (section 5 and figure 7 of the report)."""

from typing import TYPE_CHECKING

from hangtag.models.layers import import_keras, normalize

if TYPE_CHECKING:
    from keras import KerasTensor


def build_capstone(pixels: "KerasTensor", dtype: str | None = None) -> "list[KerasTensor]":
    """Build two blocks of two convolutions each, and one wide dense layer.

    For photographs of 80 x 60 pixels and a head of 30 classes it has 9,914,686 parameters in colour and 9,914,110 in
    gray, 9,830,912 of them in the dense layer.

    Args:
        pixels: A Keras tensor (n, H, W, 3 or 1), 0 to 1.
        dtype: The dtype policy of the layers, such as `mixed_bfloat16`; None takes Keras's default.

    Returns:
        A list of one tensor: the features that the heads read, (n, 512).
    """
    layers = import_keras().layers
    x = pixels
    for block, filters in enumerate((32, 64), start=1):
        for half in (1, 2):
            name = f"conv{block}_{half}"
            x = layers.Conv2D(filters, 3, padding="same", activation="relu", name=name, dtype=dtype)(x)
            x = normalize(x, name=f"norm{block}_{half}", dtype=dtype)
        x = layers.MaxPooling2D(2, name=f"pool{block}", dtype=dtype)(x)
        x = layers.Dropout(0.2, name=f"dropout{block}", dtype=dtype)(x)
    x = layers.Flatten(name="flatten", dtype=dtype)(x)
    x = layers.Dense(512, activation="relu", name="dense", dtype=dtype)(x)
    x = normalize(x, name="norm_dense", dtype=dtype)
    return [layers.Dropout(0.25, name="dropout_dense", dtype=dtype)(x)]
