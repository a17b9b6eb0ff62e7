"""Say where in photographs a network found what speaks for a class, mirror images included where it looks at them."""

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from hangtag.catalog.images import Pixels
from hangtag.models.activation_map import Maps, Mask, Values, rectify
from hangtag.models.answers import fill_inputs
from hangtag.models.exported import ExportedNetwork
from hangtag.models.keras_looker import KerasLooker
from hangtag.models.words import Words

BATCH = 64


class Looker(Protocol):
    """What reads a network's feature maps."""

    @property
    def heads(self) -> tuple[str, ...]:
        """The heads that maps can be made of."""

    def look(self, inputs: dict[str, npt.NDArray[Any]], head: str, is_wanted: Mask) -> Values:
        """Give how much each place speaks for the wanted classes; see `activation_map.sum_evidence`."""


def open_looker(model: Any) -> Looker:
    """Give what reads the feature maps of a `keras.Model` or of an exported network."""
    return model.open_looker() if isinstance(model, ExportedNetwork) else KerasLooker(model)


def look(
    model: Any, looker: Looker, pixels: Pixels, head: str, is_wanted: Mask, *, words: Words | None, flip_average: bool
) -> Maps:
    """Give where the network found what speaks for some of a head's classes, float32 (n, rows, columns), 0 to 1.

    Args:
        model: The network.
        looker: What reads its maps.
        pixels: uint8 (n, H, W, 3), of the network's size.
        head: One of the looker's heads.
        is_wanted: The classes whose probabilities are added up, (n, classes).
        words: Names for a network that reads names; None hides them.
        flip_average: Add the mirror image's map, turned back.
    """
    found = []
    for start in range(0, len(pixels), BATCH):
        chunk = slice(start, start + BATCH)
        given = None if words is None else words[chunk]
        sums = _sum(model, looker, pixels[chunk], head, is_wanted[chunk], given)
        if flip_average:
            sums = sums + _sum(model, looker, pixels[chunk, :, ::-1], head, is_wanted[chunk], given)[:, :, ::-1]
        found.append(rectify(sums))
    return np.concatenate(found) if found else np.empty((0, 1, 1), np.float32)


def _sum(model: Any, looker: Looker, pixels: Pixels, head: str, is_wanted: Mask, words: Words | None) -> Values:
    inputs = fill_inputs(model, pixels, words)
    mask = np.zeros((len(inputs["pixels"]), is_wanted.shape[1]), bool)
    mask[: len(pixels)] = is_wanted
    return looker.look(inputs, head, mask)[: len(pixels)]
