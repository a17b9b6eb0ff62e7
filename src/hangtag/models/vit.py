"""A compact Vision Transformer for small photographs: patches, or a stem of convolutions, then blocks of attention."""

import math
from functools import cache
from typing import Any

from hangtag.models.layers import import_keras, normalize

MLP_RATIO = 4
# The coarsest and the finest wave of the positions, in waves a picture: the finest still tells neighbours apart.
WAVES = (0.25, 4.0)
MOMENTUM = 0.9


def build_vit(
    pixels: Any,
    dtype: Any = None,
    *,
    width: int,
    depth: int,
    heads: int,
    patch: int = 0,
    stem: tuple[int, ...] = (),
    dropout: float,
) -> list[Any]:
    """Build blocks of attention and of two dense layers over the patches of a picture, each normalised before.

    Source: Dosovitskiy et al., *An Image is Worth 16x16 Words*, 2021, and the simplifications of Beyer et al.,
    *Better plain ViT baselines for ImageNet-1k*, 2022: fixed positions, and the mean over all patches in the place of
    a token for the class. With the mean a head is linear in every patch, so that what each patch adds to a class can be
    read off exactly, as in a residual network. The stem of convolutions in the place of patches is from Xiao et al.,
    *Early Convolutions Help Transformers See Better*, 2021.

    Patches stay a map (n, rows, columns, width) all the way. Each block gives its attention, (n, heads, patches,
    patches) in float32, as the output of the layer `block1_attention`, `block2_attention` and so on.

    Args:
        pixels: A Keras tensor (n, H, W, 3 or 1), 0 to 1, of any sides.
        dtype: The policy of the layers, such as `mixed_bfloat16`; None takes Keras's default.
        width: Channels of a patch; a multiple of 4 and of `heads`.
        depth: Blocks.
        heads: Kinds of attention in each block.
        patch: The side of a patch in pixels, where there is no stem.
        stem: Channels of the stem's convolutions, each of which halves the sides.
        dropout: The share of features left out in training.

    Returns:
        The features that a head reads, (n, width), as the one member of a list.
    """
    layers = import_keras().layers
    x = _build_stem(pixels, stem, width, dtype) if stem else _cut_patches(pixels, patch, width, dtype)
    x = _layers().Positions(name="positions", dtype=dtype)(x)
    for index in range(1, depth + 1):
        x = _build_block(x, heads, f"block{index}", dtype)
    x = _norm(x, "last_norm", dtype)
    pooled = layers.GlobalAveragePooling2D(name="pool", dtype="float32")(x)
    return [layers.Dropout(dropout, name="dropout", dtype="float32")(pooled)]


def _cut_patches(pixels: Any, patch: int, width: int, dtype: Any) -> Any:
    layers = import_keras().layers
    convolution = layers.Conv2D(width, patch, strides=patch, padding="same", name="patches", dtype=dtype)
    return _norm(convolution(pixels), "patches_norm", dtype)


def _build_stem(x: Any, stem: tuple[int, ...], width: int, dtype: Any) -> Any:
    layers = import_keras().layers
    for index, channels in enumerate(stem, start=1):
        convolution = layers.Conv2D(
            channels,
            3,
            strides=2,
            padding="same",
            use_bias=False,
            kernel_initializer="he_normal",
            name=f"stem_conv{index}",
            dtype=dtype,
        )
        x = normalize(convolution(x), name=f"stem_norm{index}", dtype=dtype, momentum=MOMENTUM)
        x = layers.ReLU(name=f"stem_relu{index}", dtype=dtype)(x)
    return layers.Dense(width, name="patches", dtype=dtype)(x)


def _build_block(x: Any, heads: int, name: str, dtype: Any) -> Any:
    layers, width = import_keras().layers, x.shape[-1]

    def dense(channels: int, part: str) -> Any:
        return layers.Dense(channels, name=f"{name}_{part}", dtype=dtype)

    normed = _norm(x, f"{name}_norm1", dtype)
    query, key, value = (dense(width, part)(normed) for part in ("query", "key", "value"))
    attention = _layers().Attention(heads, name=f"{name}_attention", dtype=dtype)([query, key])
    seen = _layers().Gather(name=f"{name}_gather", dtype=dtype)([attention, value])
    x = layers.Add(name=f"{name}_add1", dtype=dtype)([x, dense(width, "output")(seen)])
    normed = _norm(x, f"{name}_norm2", dtype)
    grown = layers.Activation("gelu", name=f"{name}_gelu", dtype=dtype)(dense(MLP_RATIO * width, "grow")(normed))
    return layers.Add(name=f"{name}_add2", dtype=dtype)([x, dense(width, "shrink")(grown)])


def _norm(x: Any, name: str, dtype: Any) -> Any:
    return import_keras().layers.LayerNormalization(epsilon=1e-5, name=name, dtype=dtype)(x)


def _count_pairs(tokens: Any) -> int:
    """Count the operations of a product over every pair of patches, of a map (n, rows, columns, width)."""
    rows, columns, width = tokens.shape[1:]
    return int(2 * (rows * columns) ** 2 * width)


class _Layers:
    """The three layers that Keras does not have in this form; none has weights."""

    def __init__(self, keras: Any) -> None:
        ops = keras.ops

        def split(x: Any, heads: int) -> Any:
            """Return (n, heads, patches, width / heads) of a map (n, rows, columns, width)."""
            parts = ops.reshape(x, (-1, ops.shape(x)[1] * ops.shape(x)[2], heads, x.shape[-1] // heads))
            return ops.transpose(parts, (0, 2, 1, 3))

        class Positions(keras.layers.Layer):  # type: ignore[misc]
            """Adds waves along both sides, at the same relative positions whatever the size of the picture."""

            def call(self, x: Any) -> Any:
                rows, columns, width = ops.shape(x)[1], ops.shape(x)[2], x.shape[-1]
                low, high = WAVES
                waves = ops.cast(
                    [2 * math.pi * low * (high / low) ** (step / max(width // 4 - 1, 1)) for step in range(width // 4)],
                    "float32",
                )

                def wave(count: Any) -> Any:
                    indices = (ops.cast(ops.arange(count), "float32") + 0.5) / ops.cast(count, "float32")
                    angles = indices[:, None] * waves
                    return ops.concatenate([ops.sin(angles), ops.cos(angles)], axis=-1)

                down, across = wave(rows)[:, None], wave(columns)[None]
                down = ops.broadcast_to(down, (rows, columns, width // 2))
                across = ops.broadcast_to(across, (rows, columns, width // 2))
                return x + ops.cast(ops.concatenate([down, across], axis=-1), x.dtype)

        class Attention(keras.layers.Layer):  # type: ignore[misc]
            """How much each patch heeds each other one, adding up to 1, by queries and keys."""

            def __init__(self, heads: int, **more: Any) -> None:
                super().__init__(**more)
                self.heads = heads

            def call(self, queries_and_keys: Any) -> Any:
                query, key = (split(each, self.heads) for each in queries_and_keys)
                scores = ops.matmul(query * query.shape[-1] ** -0.5, ops.transpose(key, (0, 1, 3, 2)))
                # bfloat16 has eight bits, too few to share a 1 out among many.
                return ops.softmax(ops.cast(scores, "float32"), axis=-1)

            def count_flops(self) -> int:
                """Count what `hangtag.models.flops` counts: here the products of queries and keys."""
                return _count_pairs(self.input[0])

        class Gather(keras.layers.Layer):  # type: ignore[misc]
            """Sums values by attention, and puts the heads side by side."""

            def call(self, attention_and_values: Any) -> Any:
                attention, values = attention_and_values
                summed = ops.matmul(ops.cast(attention, values.dtype), split(values, attention.shape[1]))
                return ops.reshape(ops.transpose(summed, (0, 2, 1, 3)), (-1, *ops.shape(values)[1:3], values.shape[-1]))

            def count_flops(self) -> int:
                """Count the products of attention and values."""
                return _count_pairs(self.input[1])

        self.Positions, self.Attention, self.Gather = Positions, Attention, Gather


@cache
def _layers() -> _Layers:
    return _Layers(import_keras())
