"""The part of a network that makes features of photographs, apart from the heads that read them."""

import re
from typing import Any

from hangtag.models.backend import import_keras
from hangtag.models.outputs import PRODUCT

# What a layer's block is called in the names that networks give their layers: block3_2 of block3_2_expand_conv,
# conv2_block1 of conv2_block1_1_conv, block2a of block2a_expand_conv; members lie side by side.
BLOCK = re.compile(r"(?:member\d+_)?(stem|top|[a-z_]*?\d+(?:[a-z](?=_)|_block\d+|_\d+)?|[a-z]+)")


def find_features(model: Any) -> list[Any]:
    """Give what the pixels' heads of a network of `build_model` read, (n, width) of each member."""
    dense = import_keras().layers.Dense
    heads = [layer for layer in model.layers if layer.name.partition("_member")[0] == PRODUCT]
    return [layer.input for layer in heads if isinstance(layer, dense)]


def cut_backbone(model: Any) -> Any:
    """Give the network without its heads, sharing its weights: from `pixels` to `features1`, and so for each member."""
    outputs = {f"features{place}": end for place, end in enumerate(find_features(model), start=1)}
    return import_keras().Model({"pixels": model.input["pixels"]}, outputs, name="backbone")


def list_blocks(model: Any) -> list[list[Any]]:
    """Give the layers of the backbone that have weights, block by block, those next to the pixels first."""
    blocks: dict[str, list[Any]] = {}
    layers = [part for layer in cut_backbone(model).layers for part in _unfold(layer)]
    for layer in layers:
        found = BLOCK.match(layer.name)
        if layer.weights:
            blocks.setdefault(found[1] if found else layer.name, []).append(layer)
    return list(blocks.values())


def _unfold(layer: Any) -> list[Any]:
    """Give the blocks of a layer that holds a whole transformer, as KerasHub's ViT has it; else the layer itself."""
    blocks = list_transformer_blocks(layer)
    return [*blocks, layer.layer_norm] if blocks and hasattr(layer, "layer_norm") else blocks or [layer]


def list_transformer_blocks(layer: Any) -> list[Any]:
    """Give the blocks of a layer that holds a whole transformer, as KerasHub's ViT and DINOv2 have it; else none."""
    if isinstance(layer, import_keras().Model):
        return []
    return list(getattr(layer, "encoder_layers", None) or getattr(layer, "layers", None) or [])


def cut_heads(model: Any) -> Any:
    """Give the heads alone, sharing their weights: from the features of each member, in the order of `cut_backbone`."""
    # Keras wants tensors that stand in a mapping of inputs to stand there by their own names.
    inputs = {end.name: end for end in find_features(model)}
    return import_keras().Model(inputs, model.output, name="heads")
