"""Grad-CAM in closed form: heatmaps of the evidence for a class, from feature maps and the head's weights."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

Values = npt.NDArray[np.float64]
Floats = npt.NDArray[np.floating]
Mask = npt.NDArray[np.bool_]
Maps = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Evidence:
    """Feature maps, logits and head weights of one ensemble member for n photographs.

    Attributes:
        maps: The feature maps before global average pooling, (n, rows, columns, channels).
        logits: The output of the head before the softmax, (n, classes).
        weights: The head's weight of each channel for each class, (channels, classes).
    """

    maps: Floats
    logits: Floats
    weights: Floats


def sum_evidence(members: Sequence[Evidence], is_wanted: Mask) -> Values:
    """Compute the evidence of each cell of the feature maps for the wanted classes and against all others.

    This is Grad-CAM: the gradient of the members' mean probability by the pooled features, times the feature maps.
    For a head after global average pooling the gradient has a closed form, so no backward pass is needed. Sources:
    Selvaraju et al., *Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization*, 2017;
    Zhou et al., *Learning Deep Features for Discriminative Localization*, 2016.

    Args:
        members: The members of a network.
        is_wanted: The classes of the head whose probabilities are added up, bool (n, classes).

    Returns:
        (n, rows, columns), negative where a cell is evidence against the wanted classes. The scale has no unit, but
        it is equal for all photographs and their mirror images, so that maps can be added.
    """
    sums = []
    for member in members:
        contrast, slope = contrast_classes(member.logits, is_wanted)
        channels = contrast @ np.asarray(member.weights, np.float64).T
        sums.append(slope[:, None, None] * np.einsum("nrkc,nc->nrk", member.maps.astype(np.float64), channels))
    return np.asarray(np.sum(sums, axis=0))


def contrast_classes(logits: Floats, is_wanted: Mask) -> tuple[Values, Values]:
    """Return the gradient of the log-odds of the wanted classes by the logits, (n, classes), and p (1 - p), (n,).

    Their product is the gradient of the probability p. Returned apart, they stay finite and above 0 where p rounds
    to 1.
    """
    values = np.asarray(logits, np.float64)
    inside, log_inside = _compute_masked_softmax(values, is_wanted)
    outside, log_outside = _compute_masked_softmax(values, ~is_wanted)
    log_all = np.logaddexp(log_inside, log_outside)
    return inside - outside, np.exp(log_inside + log_outside - 2 * log_all)


def _compute_masked_softmax(logits: Values, mask: Mask) -> tuple[Values, Values]:
    """Return the softmax over the masked classes, 0 for all others, and the logarithm of its denominator."""
    chosen = np.where(mask, logits, -np.inf)
    highest = np.where(mask.any(axis=1), chosen.max(axis=1, initial=-np.inf), 0)[:, None]
    raised = np.exp(chosen - highest)
    total = raised.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore"):
        return raised / np.where(total == 0, 1, total), (highest + np.log(total))[:, 0]


def rectify(sums: Values) -> Maps:
    """Return the positive evidence, float32 from 0 to 1, scaled so that the maximum of each photograph is 1.

    The map of a photograph without positive evidence is 0 everywhere.
    """
    kept = np.maximum(sums, 0)
    highest = kept.max(axis=(1, 2), keepdims=True, initial=0)
    return np.asarray(kept / np.where(highest == 0, 1, highest), np.float32)


def enlarge(maps: Maps, size: tuple[int, int]) -> Maps:
    """Resize maps (n, rows, columns) to (height, width) by bicubic interpolation, float32 from 0 to 1."""
    height, width = size
    if not len(maps):
        return np.empty((0, height, width), np.float32)
    return np.stack(
        [np.asarray(Image.fromarray(heatmap).resize((width, height), Image.Resampling.BICUBIC)) for heatmap in maps]
    ).clip(0, 1)
