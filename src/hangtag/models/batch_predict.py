"""Predict any number of photographs with a network, in batches of few sizes, with test-time augmentation."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from hangtag.catalog.images import Pixels, limit_part, shrink
from hangtag.errors import ModelError
from hangtag.models.label_space import Probs
from hangtag.models.text import MAX_WORDS, Words

# Make probabilities less sure or surer, as a temperature found on val asks.


def apply_temperature(probs: Probs, temperature: float) -> Probs:
    """Return the probabilities at a temperature, float32 (n, classes): above 1 less sure, below 1 surer."""
    if temperature == 1:
        return probs
    logs = np.log(probs.astype(np.float64).clip(1e-30, 1)) / temperature
    raised = np.exp(logs - logs.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True), np.float32)


BATCH = 256
# A network's maps take more memory than the pixels.
WEIGHT = 4
Answers = dict[str, npt.NDArray[np.float32]]


def iterate_head_probs(
    model: Any,
    images: Pixels,
    rows: npt.NDArray[np.int64],
    *,
    words: Words | None = None,
    tta_flip: bool = False,
    image_size: tuple[int, int] | None = None,
) -> Iterator[Answers]:
    """Return every head's probabilities for chosen rows of a memory map, batch by batch.

    Args:
        model: A network of `build_model`.
        images: uint8 (N, H, W, 3).
        rows: Which of them, int64 (n,).
        words: Their names for a network that reads names, (n, MAX_WORDS); None hides them.
        tta_flip: Average the probabilities of each photograph and of its mirror image.
        image_size: (height, width) that photographs are shrunk to; None leaves them as they are.

    Yields:
        From each head to float32 (up to BATCH, classes).

    Raises:
        ModelError: The network gives no numbers for some photographs.
    """
    size = limit_part(image_size or images.shape[1:3], BATCH, WEIGHT)
    for start in range(0, len(rows), size):
        chunk = rows[start : start + size]
        pixels = shrink(images[chunk], image_size or images.shape[1:3])
        given = None if words is None else words[start : start + size]
        answers = _predict_batch(model, pixels, given)
        if tta_flip:
            mirrored = _predict_batch(model, pixels[:, :, ::-1], given)
            answers = {head: np.asarray((probs + mirrored[head]) / 2, np.float32) for head, probs in answers.items()}
        yield answers


def join_head_probs(batches: list[Answers], heads: dict[str, int]) -> Answers:
    """Concatenate the batches' outputs; no batch makes no rows."""
    empty = {head: np.empty((0, size), np.float32) for head, size in heads.items()}
    return {
        name: np.concatenate([batch[name] for batch in batches]) if batches else empty[name]
        for name in (batches[0] if batches else empty)
    }


def fill_inputs(model: Any, images: Pixels, words: Words | None) -> dict[str, npt.NDArray[Any]]:
    """Return what a network takes, filled up to a power of two with nothing.

    So there are a few shapes to compile for, and one photograph does not cost a batch.
    """
    size = 1 << (len(images) - 1).bit_length()
    inputs: dict[str, npt.NDArray[Any]] = {"pixels": np.zeros((size, *images.shape[1:]), np.uint8)}
    inputs["pixels"][: len(images)] = images
    if "words" in model.input:
        inputs["words"] = np.zeros((size, MAX_WORDS), np.int32)
        if words is not None:
            inputs["words"][: len(images)] = words
    return inputs


def _predict_batch(model: Any, images: Pixels, words: Words | None) -> Answers:
    inputs = fill_inputs(model, images, words)
    answers = {
        head: np.asarray(probs, np.float32)[: len(images)] for head, probs in model.predict_on_batch(inputs).items()
    }
    if not all(np.isfinite(probs).all() for probs in answers.values()):
        raise ModelError(
            "The model gives no numbers for some photographs: its training went astray.",
            hint="Train it again, with a smaller --learning-rate.",
        )
    return answers
