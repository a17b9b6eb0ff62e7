"""A compact residual network for small photographs: a stem at full resolution, stages of blocks, global pooling."""

from typing import TYPE_CHECKING

from hangtag.models.layers import import_keras, normalize

if TYPE_CHECKING:
    from keras import KerasTensor

# Low, because short trainings need moving statistics that follow quickly. The EMA of the weights averages them as well.
MOMENTUM = 0.9


def build_residual(
    pixels: "KerasTensor",
    dtype: str | None = None,
    *,
    stem: tuple[tuple[int, int], ...],
    widths: tuple[int, ...],
    depths: tuple[int, ...],
    dropout: float,
    first_strides: int = 1,
    members: int = 1,
    shared: int = 0,
) -> "list[KerasTensor]":
    """Build a stem of convolutions, then residual blocks of two convolutions in stages.

    Each stage after the first halves the height and width.

    Source: He et al., *Deep Residual Learning for Image Recognition*, 2016. Shortcuts with average pooling before the
    projection and a stem of small convolutions are from He et al., *Bag of Tricks for Image Classification*, 2019.

    Args:
        pixels: A Keras tensor (n, H, W, 3 or 1), 0 to 1.
        dtype: The dtype policy of the layers, such as `mixed_bfloat16`; None takes Keras's default.
        stem: The channels and the strides of the first convolutions. At full resolution few channels, because the
            pixels are many.
        widths: The channels of each stage.
        depths: The number of blocks in each stage.
        dropout: The dropout rate of the features.
        first_strides: The strides of the first stage.
        members: The number of ensemble members, each with weights and heads of its own.
        shared: The number of stages that the members share, in addition to the stem. Source: Lee et al., *Why M Heads
            are Better than One*, 2015.

    Returns:
        The features that the heads read, (n, widths[-1]), one tensor for each member.
    """
    layers = import_keras().layers
    x = pixels
    for index, (width, strides) in enumerate(stem, start=1):
        x = _conv(x, width, strides, f"stem_conv{index}", dtype)
        x = normalize(x, name=f"stem_norm{index}", dtype=dtype, momentum=MOMENTUM)
        x = _relu(x, f"stem_relu{index}", dtype)
    stage_strides = (first_strides, *(2 for _ in widths[1:]))
    stages = list(enumerate(zip(widths, depths, stage_strides, strict=True), start=1))
    x = _build_stages(x, stages[:shared], "", dtype)
    names = [f"member{index}_" for index in range(1, members + 1)] if members > 1 else [""]
    feature_maps = [_build_stages(x, stages[shared:], name, dtype) for name in names]
    pooled = [
        layers.GlobalAveragePooling2D(name=f"{name}pool", dtype="float32")(feature_map)
        for name, feature_map in zip(names, feature_maps, strict=True)
    ]
    return [
        layers.Dropout(dropout, name=f"{name}dropout", dtype="float32")(features)
        for name, features in zip(names, pooled, strict=True)
    ]


def _build_stages(
    x: "KerasTensor", stages: list[tuple[int, tuple[int, int, int]]], prefix: str, dtype: str | None
) -> "KerasTensor":
    """Build stages, each given by its number and its width, depth and strides."""
    for stage, (width, depth, strides) in stages:
        for block in range(1, depth + 1):
            x = _build_block(x, width, strides if block == 1 else 1, f"{prefix}stage{stage}_{block}", dtype)
    return x


def _build_block(x: "KerasTensor", width: int, strides: int, name: str, dtype: str | None) -> "KerasTensor":
    layers = import_keras().layers
    shortcut = x
    if strides > 1:
        shortcut = layers.AveragePooling2D(strides, padding="same", name=f"{name}_shrink", dtype=dtype)(shortcut)
    if shortcut.shape[-1] != width:
        # A 1 x 1 convolution as a dense layer, whose gradient is computed much faster.
        shortcut = layers.Dense(width, use_bias=False, name=f"{name}_project", dtype=dtype)(shortcut)
        shortcut = normalize(shortcut, name=f"{name}_project_norm", dtype=dtype, momentum=MOMENTUM)
    for half in (1, 2):
        x = _conv(x, width, strides if half == 1 else 1, f"{name}_conv{half}", dtype)
        x = normalize(x, name=f"{name}_norm{half}", dtype=dtype, momentum=MOMENTUM)
        if half == 1:
            x = _relu(x, f"{name}_relu1", dtype)
    x = layers.Add(name=f"{name}_add", dtype=dtype)([shortcut, x])
    return _relu(x, f"{name}_relu2", dtype)


def _conv(x: "KerasTensor", width: int, strides: int, name: str, dtype: str | None) -> "KerasTensor":
    convolution = import_keras().layers.Conv2D(
        width,
        3,
        strides=strides,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=name,
        dtype=dtype,
    )
    return convolution(x)


def _relu(x: "KerasTensor", name: str, dtype: str | None) -> "KerasTensor":
    return import_keras().layers.ReLU(name=name, dtype=dtype)(x)
