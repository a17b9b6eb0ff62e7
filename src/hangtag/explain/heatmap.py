"""Compute heatmaps of the evidence for a class, for Keras and exported networks, and draw them over photographs."""

import io
from typing import Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from hangtag.catalog.images import Pixels
from hangtag.explain.feature_maps import KerasFeatures, OpenvinoFeatures
from hangtag.explain.grad_cam import Maps, Mask, Values, rectify
from hangtag.models.batch_predict import Inputs, Network, fill_inputs
from hangtag.models.openvino import ExportedNetwork
from hangtag.models.text import Words

BATCH = 64
# The colour scale: (value, red, green, blue, opacity from 0 to 1). Both hue and opacity change, so that the map stays
# visible on a red product and to people with colour blindness.
COLOR_STEPS = np.array(
    [
        (0.0, 255, 214, 0, 0.0),
        (0.25, 255, 214, 0, 0.12),
        (0.5, 255, 150, 0, 0.42),
        (0.75, 226, 40, 60, 0.55),
        (1.0, 122, 0, 140, 0.65),
    ]
)


class FeatureReader(Protocol):
    """An interface to the feature maps of a network."""

    @property
    def heads(self) -> tuple[str, ...]:
        """The heads that heatmaps can be computed for."""

    def compute_evidence(self, inputs: Inputs, head: str, is_wanted: Mask) -> Values:
        """Compute the evidence of each cell for the wanted classes; see `grad_cam.sum_evidence`."""


def open_feature_reader(model: object) -> FeatureReader:
    """Return the feature reader for a `keras.Model` or an exported network."""
    return OpenvinoFeatures(*model.read_graph()) if isinstance(model, ExportedNetwork) else KerasFeatures(model)


def compute_heatmaps(
    model: Network,
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
        feature_reader: The reader of its feature maps; see `open_feature_reader`.
        pixels: uint8 (n, H, W, 3), of the network's input size.
        head: One of `feature_reader.heads`.
        is_wanted: The classes whose probabilities are added up, (n, classes).
        words: Encoded product names, for a network with a text input; None leaves that input empty.
        tta_flip: Whether to add the map of the mirror image, flipped back.
    """
    heatmaps = []
    for start in range(0, len(pixels), BATCH):
        chunk = slice(start, start + BATCH)
        chunk_words = None if words is None else words[chunk]
        sums = _sum_evidence(model, feature_reader, pixels[chunk], head, is_wanted[chunk], chunk_words)
        if tta_flip:
            sums = (
                sums
                + _sum_evidence(model, feature_reader, pixels[chunk, :, ::-1], head, is_wanted[chunk], chunk_words)[
                    :, :, ::-1
                ]
            )
        heatmaps.append(rectify(sums))
    return np.concatenate(heatmaps) if heatmaps else np.empty((0, 1, 1), np.float32)


def _sum_evidence(
    model: Network, feature_reader: FeatureReader, pixels: Pixels, head: str, is_wanted: Mask, words: Words | None
) -> Values:
    inputs = fill_inputs(model, pixels, words)
    mask = np.zeros((len(inputs["pixels"]), is_wanted.shape[1]), bool)
    mask[: len(pixels)] = is_wanted
    return feature_reader.compute_evidence(inputs, head, mask)[: len(pixels)]


def color_heatmap(heatmap: Maps) -> npt.NDArray[np.uint8]:
    """Colour a heatmap (rows, columns) from 0 to 1 as uint8 RGBA (rows, columns, 4), transparent where it is 0."""
    channels = [np.interp(heatmap, COLOR_STEPS[:, 0], COLOR_STEPS[:, index]) for index in range(1, 5)]
    channels[3] = channels[3] * 255
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def lay_over(photograph: Pixels, heatmap: Maps) -> Pixels:
    """Return a photograph, uint8 (H, W, 3), with the heatmap over it, resized to the photograph."""
    below = Image.fromarray(np.ascontiguousarray(photograph)).convert("RGBA")
    resized = Image.fromarray(heatmap).resize(below.size, Image.Resampling.BICUBIC)
    above = Image.fromarray(color_heatmap(np.asarray(resized).clip(0, 1)))
    return np.asarray(Image.alpha_composite(below, above).convert("RGB"))


def encode_png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Return pixels (H, W, 3 or 4) as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
