"""Predict photographs in batches: zero-padded inputs, test-time augmentation and temperature scaling."""

from collections.abc import Container, Iterator, Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from hangtag.catalog.images import Pixels, limit_part, shrink, take_rows
from hangtag.errors import ModelError
from hangtag.models.label_space import Probs
from hangtag.models.text import MAX_WORDS, Words

BATCH = 256
# A network's feature maps take several times as much memory as its pixels.
WEIGHT = 4
# The inputs of a network by name: `pixels`, uint8 (n, H, W, 3), and `words`, int32 (n, MAX_WORDS).
Inputs = dict[str, npt.NDArray[Any]]
# The probabilities of each head, float32 (n, classes).
ProbsByHead = dict[str, npt.NDArray[np.float32]]


class Network(Protocol):
    """The part of a `keras.Model` or an exported network that prediction uses."""

    @property
    def input(self) -> Container[str]:
        """The names of the inputs, as the keys of a mapping or in a tuple."""

    def predict_on_batch(self, inputs: Inputs, /) -> Mapping[str, npt.NDArray[np.floating]]:
        """Return the values of each head, (n, classes), for inputs of n items."""


def apply_temperature(probs: Probs, temperature: float) -> Probs:
    """Apply temperature scaling to probabilities (n, classes).

    Returns:
        float32 (n, classes). A temperature above 1 flattens the probabilities, one below 1 sharpens them.
    """
    if temperature == 1:
        return probs
    logs = np.log(probs.astype(np.float64).clip(1e-30, 1)) / temperature
    scaled = np.exp(logs - logs.max(axis=1, keepdims=True))
    return np.asarray(scaled / scaled.sum(axis=1, keepdims=True), np.float32)


def iterate_head_probs(
    model: Network,
    images: Pixels,
    rows: npt.NDArray[np.int64],
    *,
    words: Words | None = None,
    tta_flip: bool = False,
    image_size: tuple[int, int] | None = None,
) -> Iterator[ProbsByHead]:
    """Predict chosen rows of a memory map of images, and yield the probabilities of every head batch by batch.

    Args:
        model: A network of `build_model`.
        images: uint8 (N, H, W, 3).
        rows: The rows of `images` to predict, int64 (n,).
        words: The encoded product names of these rows, (n, MAX_WORDS), for a network that reads names; None predicts
            from the images alone.
        tta_flip: Whether to average the probabilities of each photograph and of its mirror image.
        image_size: (height, width) that photographs are resized to; None keeps their size.

    Yields:
        A mapping from each head to its probabilities, float32 (up to BATCH, classes).

    Raises:
        ModelError: Some probabilities are not finite.
    """
    size = limit_part(image_size or images.shape[1:3], BATCH, WEIGHT)
    for start in range(0, len(rows), size):
        chunk = rows[start : start + size]
        pixels = shrink(take_rows(images, chunk), image_size or images.shape[1:3])
        chunk_words = None if words is None else words[start : start + size]
        by_head = _predict_batch(model, pixels, chunk_words)
        if tta_flip:
            mirrored = _predict_batch(model, pixels[:, :, ::-1], chunk_words)
            by_head = {head: np.asarray((probs + mirrored[head]) / 2, np.float32) for head, probs in by_head.items()}
        yield by_head


def join_head_probs(batches: list[ProbsByHead], heads: dict[str, int]) -> ProbsByHead:
    """Concatenate the probabilities of all batches head by head; without a batch, return arrays of no rows."""
    empty = {head: np.empty((0, size), np.float32) for head, size in heads.items()}
    return {
        name: np.concatenate([batch[name] for batch in batches]) if batches else empty[name]
        for name in (batches[0] if batches else empty)
    }


def fill_inputs(model: Network, images: Pixels, words: Words | None) -> Inputs:
    """Build the network's inputs, zero-padding the batch to the next power of two.

    The network is thus compiled for few batch sizes, and a single photograph costs less than a full batch.
    """
    size = 1 << (len(images) - 1).bit_length()
    inputs: Inputs = {"pixels": np.zeros((size, *images.shape[1:]), np.uint8)}
    inputs["pixels"][: len(images)] = images
    if "words" in model.input:
        inputs["words"] = np.zeros((size, MAX_WORDS), np.int32)
        if words is not None:
            inputs["words"][: len(images)] = words
    return inputs


def _predict_batch(model: Network, images: Pixels, words: Words | None) -> ProbsByHead:
    inputs = fill_inputs(model, images, words)
    by_head = {
        head: np.asarray(probs, np.float32)[: len(images)] for head, probs in model.predict_on_batch(inputs).items()
    }
    if not all(np.isfinite(probs).all() for probs in by_head.values()):
        raise ModelError(
            "The model's probabilities are not finite for some photographs: its training diverged.",
            hint="Train it again, with a smaller --learning-rate.",
        )
    return by_head
