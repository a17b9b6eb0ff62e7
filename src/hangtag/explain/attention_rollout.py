"""Attention rollout: the share of each image patch in the features of a vision transformer."""

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hangtag.catalog.images import Pixels
from hangtag.models.batch_predict import fill_inputs
from hangtag.models.layers import import_keras
from hangtag.models.text import Words

if TYPE_CHECKING:
    from keras import Model

Shares = npt.NDArray[np.float64]


def has_attention(model: "Model") -> bool:
    """Return whether the network has attention weights that can be read. Exported networks never do."""
    return bool(_list_attention_layers(model))


def read_attention(model: "Model", pixels: Pixels, words: Words | None = None) -> Shares:
    """Compute the attention rollout of each photograph: the share of each patch in the pooled features.

    In each block, attention is averaged over the heads and mixed with the identity (the residual connection); the
    matrices of all blocks are multiplied. The result is averaged over all patches, as the classification heads do.
    It shows where information came from, not which class it is evidence for. Source: Abnar and Zuidema, *Quantifying
    Attention Flow in Transformers*, 2020.

    Args:
        model: A network of `build_model` for which `has_attention` holds.
        pixels: uint8 (n, H, W, 3), of the network's input size.
        words: Encoded product names, for a network with a text input; None leaves that input empty.

    Returns:
        (n, rows, columns); the shares of a photograph add up to 1.
    """
    outputs = _build_attention_model(model).predict_on_batch(fill_inputs(model, pixels, words))
    rows, columns = np.shape(outputs["map"])[1:3]
    weights = [np.asarray(outputs[name][: len(pixels)], np.float64) for name in _list_attention_layers(model)]
    return roll_out(weights).reshape(-1, rows, columns)


def roll_out(attention: list[Shares]) -> Shares:
    """Return the share of each patch in the mean of the patches after all blocks, (n, patches).

    Args:
        attention: The attention weights of each block in order, (n, heads, patches, patches); rows add up to 1.
    """
    flow = np.broadcast_to(np.eye(attention[0].shape[-1]), np.delete(attention[0].shape, 1))
    for weights in attention:
        flow = (weights.mean(axis=1) @ flow + flow) / 2
    return np.asarray(flow.mean(axis=1))


def _list_attention_layers(model: "Model") -> list[str]:
    return [layer.name for layer in getattr(model, "layers", ()) if layer.name.endswith("_attention")]


@lru_cache(maxsize=1)
def _build_attention_model(model: "Model") -> "Model":
    outputs = {name: model.get_layer(name).output for name in _list_attention_layers(model)}
    return import_keras().Model(model.input, {**outputs, "map": model.get_layer("positions").output})
