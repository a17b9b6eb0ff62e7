"""A compact residual network for small photographs: a stem that looks at every pixel, four stages, global pooling."""

from typing import Any

from hangtag.models.layers import import_keras, normalize

# Averaged weights come with averaged moving figures, so these may follow quickly: short trainings need them to.
MOMENTUM = 0.9


def build_residual(
    pixels: Any,
    dtype: Any = None,
    *,
    stem: tuple[int, ...],
    widths: tuple[int, ...],
    depths: tuple[int, ...],
    dropout: float,
    members: int = 1,
    shared: int = 0,
) -> list[Any]:
    """Build residual blocks of two convolutions, the later stages on half the sides and with more channels.

    Source: He et al., *Deep Residual Learning for Image Recognition*, 2016; shortcuts that average before they
    project, and a stem of small convolutions, are from He et al., *Bag of Tricks for Image Classification*, 2019.

    Args:
        pixels: A Keras tensor (n, H, W, 3 or 1), 0 to 1.
        dtype: The policy of the layers, such as `mixed_bfloat16`; None takes Keras's default.
        stem: Channels of the convolutions that come first, at every pixel; few, for pixels are many.
        widths: Channels of each stage.
        depths: Blocks of each stage.
        dropout: The share of features left out in training.
        members: Networks that learn side by side, each with weights and a head of its own.
        shared: The stages that they have in common, beside the stem. Source: Lee et al., *Why M Heads are Better
            than One*, 2015.

    Returns:
        The features that a head reads, (n, widths[-1]), of each member.
    """
    layers = import_keras().layers
    x = pixels
    for index, width in enumerate((*stem, widths[0]), start=1):
        x = _conv_norm(x, width, 2 if index > len(stem) else 1, f"stem_conv{index}", dtype)
        x = normalize(x, name=f"stem_norm{index}", dtype=dtype, momentum=MOMENTUM)
        x = _relu(x, f"stem_relu{index}", dtype)
    stages = list(zip(widths, depths, strict=True))
    x = _build_stages(x, stages[:shared], 1, "", dtype)
    names = [f"member{index}_" for index in range(1, members + 1)] if members > 1 else [""]
    ends = [_build_stages(x, stages[shared:], shared + 1, name, dtype) for name in names]
    pooled = [
        layers.GlobalAveragePooling2D(name=f"{name}pool", dtype="float32")(end)
        for name, end in zip(names, ends, strict=True)
    ]
    return [
        layers.Dropout(dropout, name=f"{name}dropout", dtype="float32")(features)
        for name, features in zip(names, pooled, strict=True)
    ]


def _build_stages(x: Any, stages: list[tuple[int, int]], first: int, prefix: str, dtype: Any) -> Any:
    for stage, (width, depth) in enumerate(stages, start=first):
        for block in range(1, depth + 1):
            strides = 2 if stage > 1 and block == 1 else 1
            x = _build_block(x, width, strides, f"{prefix}stage{stage}_{block}", dtype)
    return x


def _build_block(x: Any, width: int, strides: int, name: str, dtype: Any) -> Any:
    layers = import_keras().layers
    shortcut = x
    if strides > 1:
        shortcut = layers.AveragePooling2D(strides, padding="same", name=f"{name}_shrink", dtype=dtype)(shortcut)
    if shortcut.shape[-1] != width:
        # A convolution of 1 x 1, written as the matrix product that it is: its gradient is far quicker so.
        shortcut = layers.Dense(width, use_bias=False, name=f"{name}_project", dtype=dtype)(shortcut)
        shortcut = normalize(shortcut, name=f"{name}_project_norm", dtype=dtype, momentum=MOMENTUM)
    for half in (1, 2):
        x = _conv_norm(x, width, strides if half == 1 else 1, f"{name}_conv{half}", dtype)
        x = normalize(x, name=f"{name}_norm{half}", dtype=dtype, momentum=MOMENTUM)
        if half == 1:
            x = _relu(x, f"{name}_relu1", dtype)
    x = layers.Add(name=f"{name}_add", dtype=dtype)([shortcut, x])
    return _relu(x, f"{name}_relu2", dtype)


def _conv_norm(x: Any, width: int, strides: int, name: str, dtype: Any) -> Any:
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


def _relu(x: Any, name: str, dtype: Any) -> Any:
    return import_keras().layers.ReLU(name=name, dtype=dtype)(x)
