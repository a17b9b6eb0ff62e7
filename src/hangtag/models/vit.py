"""A compact Vision Transformer for small photographs: patches or a convolutional stem, then transformer blocks."""

import math
from functools import cache
from typing import TYPE_CHECKING, Any

from hangtag.models.layers import import_keras, normalize

if TYPE_CHECKING:
    from keras import KerasTensor

MLP_RATIO = 4
# The lowest and highest frequency of the position encodings, in periods per image side. The highest one still
# distinguishes neighbouring patches.
WAVES = (0.25, 4.0)
MOMENTUM = 0.9


def build_vit(
    pixels: "KerasTensor",
    dtype: str | None = None,
    *,
    width: int,
    depth: int,
    heads: int,
    patch: int = 0,
    stem: tuple[int, ...] = (),
    dropout: float,
) -> "list[KerasTensor]":
    """Build pre-norm transformer blocks (attention, then an MLP) over the patches of an image.

    Source: Dosovitskiy et al., *An Image is Worth 16x16 Words*, 2021, with the simplifications of Beyer et al.,
    *Better plain ViT baselines for ImageNet-1k*, 2022: fixed position encodings, and global average pooling instead of
    a class token. With pooling a head is linear in every patch, so the contribution of each patch to a class can be
    computed exactly, as in a residual network. The convolutional stem instead of patches is from Xiao et al.,
    *Early Convolutions Help Transformers See Better*, 2021.

    The patches keep the shape (n, rows, columns, width). The attention of each block, float32 (n, heads, patches,
    patches), is the output of the layer `block1_attention`, `block2_attention` and so on.

    Args:
        pixels: A Keras tensor (n, H, W, 3 or 1), 0 to 1, of any height and width.
        dtype: The dtype policy of the layers, such as `mixed_bfloat16`; None takes Keras's default.
        width: The channels of a patch, a multiple of 4 and of `heads`.
        depth: The number of blocks.
        heads: The number of attention heads in each block.
        patch: The side of a patch in pixels, if there is no stem.
        stem: The channels of the stem's convolutions, each of which halves the height and width.
        dropout: The dropout rate of the features.

    Returns:
        A list of one tensor: the features that the heads read, (n, width).
    """
    layers = import_keras().layers
    x = _build_stem(pixels, stem, width, dtype) if stem else _cut_patches(pixels, patch, width, dtype)
    x = _layers().Positions(name="positions", dtype=dtype)(x)
    for index in range(1, depth + 1):
        x = _build_block(x, heads, f"block{index}", dtype)
    x = _norm(x, "last_norm", dtype)
    pooled = layers.GlobalAveragePooling2D(name="pool", dtype="float32")(x)
    return [layers.Dropout(dropout, name="dropout", dtype="float32")(pooled)]


def _cut_patches(pixels: "KerasTensor", patch: int, width: int, dtype: str | None) -> "KerasTensor":
    layers = import_keras().layers
    convolution = layers.Conv2D(width, patch, strides=patch, padding="same", name="patches", dtype=dtype)
    return _norm(convolution(pixels), "patches_norm", dtype)


def _build_stem(x: "KerasTensor", stem: tuple[int, ...], width: int, dtype: str | None) -> "KerasTensor":
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


def _build_block(x: "KerasTensor", heads: int, name: str, dtype: str | None) -> "KerasTensor":
    layers, width = import_keras().layers, x.shape[-1]

    def dense(channels: int, part: str) -> "KerasTensor":
        return layers.Dense(channels, name=f"{name}_{part}", dtype=dtype)

    normed = _norm(x, f"{name}_norm1", dtype)
    query, key, value = (dense(width, part)(normed) for part in ("query", "key", "value"))
    attention = _layers().Attention(heads, name=f"{name}_attention", dtype=dtype)([query, key])
    attended = _layers().Gather(name=f"{name}_gather", dtype=dtype)([attention, value])
    x = layers.Add(name=f"{name}_add1", dtype=dtype)([x, dense(width, "output")(attended)])
    normed = _norm(x, f"{name}_norm2", dtype)
    hidden = layers.Activation("gelu", name=f"{name}_gelu", dtype=dtype)(dense(MLP_RATIO * width, "grow")(normed))
    return layers.Add(name=f"{name}_add2", dtype=dtype)([x, dense(width, "shrink")(hidden)])


def _norm(x: "KerasTensor", name: str, dtype: str | None) -> "KerasTensor":
    return import_keras().layers.LayerNormalization(epsilon=1e-5, name=name, dtype=dtype)(x)


def _count_pairs(tokens: "KerasTensor") -> int:
    """Count the FLOPs of a matrix product over all pairs of patches of a feature map (n, rows, columns, width)."""
    rows, columns, width = tokens.shape[1:]
    return int(2 * (rows * columns) ** 2 * width)


class _Layers:
    """Three layers without weights that Keras does not have in this form."""

    def __init__(self, keras: Any) -> None:
        ops = keras.ops

        def split(x: "KerasTensor", heads: int) -> "KerasTensor":
            """Split a feature map (n, rows, columns, width) by heads into (n, heads, patches, width / heads)."""
            parts = ops.reshape(x, (-1, ops.shape(x)[1] * ops.shape(x)[2], heads, x.shape[-1] // heads))
            return ops.transpose(parts, (0, 2, 1, 3))

        class Positions(keras.layers.Layer):  # type: ignore[misc]
            """Add sinusoidal position encodings, which depend on the relative position in the image."""

            def call(self, x: "KerasTensor") -> "KerasTensor":
                rows, columns, width = ops.shape(x)[1], ops.shape(x)[2], x.shape[-1]
                low, high = WAVES
                frequencies = ops.cast(
                    [2 * math.pi * low * (high / low) ** (step / max(width // 4 - 1, 1)) for step in range(width // 4)],
                    "float32",
                )

                def encode(count: "KerasTensor") -> "KerasTensor":
                    positions = (ops.cast(ops.arange(count), "float32") + 0.5) / ops.cast(count, "float32")
                    angles = positions[:, None] * frequencies
                    return ops.concatenate([ops.sin(angles), ops.cos(angles)], axis=-1)

                down, across = encode(rows)[:, None], encode(columns)[None]
                down = ops.broadcast_to(down, (rows, columns, width // 2))
                across = ops.broadcast_to(across, (rows, columns, width // 2))
                return x + ops.cast(ops.concatenate([down, across], axis=-1), x.dtype)

        class Attention(keras.layers.Layer):  # type: ignore[misc]
            """Compute attention weights from queries and keys, (n, heads, patches, patches); each row adds up to 1."""

            def __init__(self, heads: int, **options: Any) -> None:
                super().__init__(**options)
                self.heads = heads

            def call(self, queries_and_keys: "KerasTensor") -> "KerasTensor":
                query, key = (split(x, self.heads) for x in queries_and_keys)
                scores = ops.matmul(query * query.shape[-1] ** -0.5, ops.transpose(key, (0, 1, 3, 2)))
                # In float32, because the eight bits of bfloat16 are too few for a softmax over many patches.
                return ops.softmax(ops.cast(scores, "float32"), axis=-1)

            def count_flops(self) -> int:
                """Count the FLOPs of the products of queries and keys, for `hangtag.models.flops`."""
                return _count_pairs(self.input[0])

        class Gather(keras.layers.Layer):  # type: ignore[misc]
            """Sum the values weighted by attention, and concatenate the heads."""

            def call(self, attention_and_values: "KerasTensor") -> "KerasTensor":
                attention, values = attention_and_values
                summed = ops.matmul(ops.cast(attention, values.dtype), split(values, attention.shape[1]))
                return ops.reshape(ops.transpose(summed, (0, 2, 1, 3)), (-1, *ops.shape(values)[1:3], values.shape[-1]))

            def count_flops(self) -> int:
                """Count the FLOPs of the products of attention and values."""
                return _count_pairs(self.input[1])

        self.Positions, self.Attention, self.Gather = Positions, Attention, Gather


@cache
def _layers() -> _Layers:
    return _Layers(import_keras())
