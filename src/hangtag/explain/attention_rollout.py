"""Follow attention through a transformer's blocks: what each patch of a photograph adds to the features."""

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from hangtag.catalog.images import Pixels
from hangtag.models.batch_predict import fill_inputs
from hangtag.models.layers import import_keras
from hangtag.models.text import Words

Shares = npt.NDArray[np.float64]


def has_attention(model: Any) -> bool:
    """Return whether a network's attention can be read; that of an exported one cannot."""
    return bool(_list_attention(model))


def read_attention(model: Any, pixels: Pixels, words: Words | None = None) -> Shares:
    """Return each patch's share in what the network reads of a photograph, (n, rows, columns), adding up to 1.

    This is attention rollout: in each block the mean over the heads, with the identity for what passes by it, block
    after block; and then the mean over all patches, which is what the heads read. Source: Abnar and Zuidema,
    *Quantifying Attention Flow in Transformers*, 2020. It shows where information came from, not which class it is
    evidence for.

    Args:
        model: A network of `build_model` for which `has_attention` holds.
        pixels: uint8 (n, H, W, 3), of the size that it reads.
        words: Names for a network that reads names; None hides them.
    """
    found = _build_reader(model).predict_on_batch(fill_inputs(model, pixels, words))
    rows, columns = np.shape(found["map"])[1:3]
    weights = [np.asarray(found[name][: len(pixels)], np.float64) for name in _list_attention(model)]
    return roll_out(weights).reshape(-1, rows, columns)


def roll_out(attention: list[Shares]) -> Shares:
    """Return each patch's share in the mean of the patches after all blocks, (n, patches).

    Args:
        attention: Of each block in turn, (n, heads, patches, patches); rows add up to 1.
    """
    flow = np.broadcast_to(np.eye(attention[0].shape[-1]), np.delete(attention[0].shape, 1))
    for weights in attention:
        flow = (weights.mean(axis=1) @ flow + flow) / 2
    return np.asarray(flow.mean(axis=1))


def _list_attention(model: Any) -> list[str]:
    return [layer.name for layer in getattr(model, "layers", ()) if layer.name.endswith("_attention")]


@lru_cache(maxsize=1)
def _build_reader(model: Any) -> Any:
    outputs = {name: model.get_layer(name).output for name in _list_attention(model)}
    return import_keras().Model(model.input, {**outputs, "map": model.get_layer("positions").output})
