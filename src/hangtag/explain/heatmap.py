"""Compute heatmaps of photographs for any model, and draw them over the photographs."""

import io
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from hangtag.catalog.images import Pixels
from hangtag.explain.grad_cam import Maps, Mask, Values, rectify
from hangtag.explain.keras_features import KerasFeatures
from hangtag.explain.openvino_features import OpenvinoFeatures
from hangtag.models.batch_predict import fill_inputs
from hangtag.models.openvino import ExportedNetwork
from hangtag.models.text import Words

# Colour a map of where a model looked, and lay it over the photograph.

# From where nothing was found to where most was: (value, red, green, blue, opacity), the last as a share. The hue
# and the opacity both change, so that a red product shows it too, and those who see no colours.
STEPS = np.array(
    [
        (0.0, 255, 214, 0, 0.0),
        (0.25, 255, 214, 0, 0.12),
        (0.5, 255, 150, 0, 0.42),
        (0.75, 226, 40, 60, 0.55),
        (1.0, 122, 0, 140, 0.65),
    ]
)


def color_heatmap(one: Maps) -> npt.NDArray[np.uint8]:
    """Colour a heatmap (rows, columns), 0 to 1, as uint8 RGBA (rows, columns, 4): transparent where it is 0."""
    channels = [np.interp(one, STEPS[:, 0], STEPS[:, index]) for index in range(1, 5)]
    channels[3] = channels[3] * 255
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def lay_over(photograph: Pixels, one: Maps) -> Pixels:
    """Return a photograph, uint8 (H, W, 3), with a map over it, which is brought to its size."""
    below = Image.fromarray(np.ascontiguousarray(photograph)).convert("RGBA")
    resized = Image.fromarray(one).resize(below.size, Image.Resampling.BICUBIC)
    above = Image.fromarray(color_heatmap(np.asarray(resized).clip(0, 1)))
    return np.asarray(Image.alpha_composite(below, above).convert("RGB"))


def encode_png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Return pixels (H, W, 3 or 4) as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


BATCH = 64


class FeatureReader(Protocol):
    """What reads a network's feature maps."""

    @property
    def heads(self) -> tuple[str, ...]:
        """The heads that maps can be made of."""

    def look(self, inputs: dict[str, npt.NDArray[Any]], head: str, is_wanted: Mask) -> Values:
        """Compute the evidence of each cell for the wanted classes; see `grad_cam.sum_evidence`."""


def open_feature_reader(model: Any) -> FeatureReader:
    """Return what reads the feature maps of a `keras.Model` or of an exported network."""
    return OpenvinoFeatures(*model.read_graph()) if isinstance(model, ExportedNetwork) else KerasFeatures(model)


def look(
    model: Any,
    feature_reader: FeatureReader,
    pixels: Pixels,
    head: str,
    is_wanted: Mask,
    *,
    words: Words | None,
    tta_flip: bool,
) -> Maps:
    """Compute a heatmap of the evidence for some of a head's classes, float32 (n, rows, columns), 0 to 1.

    Args:
        model: The network.
        feature_reader: What reads its maps.
        pixels: uint8 (n, H, W, 3), of the network's size.
        head: One of the feature_reader's heads.
        is_wanted: The classes whose probabilities are added up, (n, classes).
        words: Names for a network that reads names; None hides them.
        tta_flip: Add the mirror image's map, turned back.
    """
    found = []
    for start in range(0, len(pixels), BATCH):
        chunk = slice(start, start + BATCH)
        given = None if words is None else words[chunk]
        sums = _sum_evidence(model, feature_reader, pixels[chunk], head, is_wanted[chunk], given)
        if tta_flip:
            sums = (
                sums
                + _sum_evidence(model, feature_reader, pixels[chunk, :, ::-1], head, is_wanted[chunk], given)[
                    :, :, ::-1
                ]
            )
        found.append(rectify(sums))
    return np.concatenate(found) if found else np.empty((0, 1, 1), np.float32)


def _sum_evidence(
    model: Any, feature_reader: FeatureReader, pixels: Pixels, head: str, is_wanted: Mask, words: Words | None
) -> Values:
    inputs = fill_inputs(model, pixels, words)
    mask = np.zeros((len(inputs["pixels"]), is_wanted.shape[1]), bool)
    mask[: len(pixels)] = is_wanted
    return feature_reader.look(inputs, head, mask)[: len(pixels)]
