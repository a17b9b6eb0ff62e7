"""A trained model that turns pixels into probabilities."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hangtag.catalog.images import Pixels
from hangtag.errors import ModelError
from hangtag.models.storage import load_saved
from hangtag.progress import show_progress

BATCH = 256
Probs = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Classifier:
    """A trained model.

    Attributes:
        model: The `keras.Model`.
        class_names: What the columns of its probabilities stand for.
        image_size: (height, width) of the pixels it takes.
        description: All of its `model.json`.
    """

    model: Any
    class_names: tuple[str, ...]
    image_size: tuple[int, int]
    description: dict[str, Any]

    @classmethod
    def load(cls, folder: Path) -> "Classifier":
        """Load a model from its folder.

        Raises:
            ModelError: A file is missing, damaged, changed, or does not fit its description.
        """
        saved = load_saved(folder)
        return cls(saved.model, saved.class_names, saved.image_size, saved.description)

    def predict_probs(self, images: Pixels) -> Probs:
        """Give the probability of every class for every photograph.

        Args:
            images: uint8 (n, H, W, 3), of `image_size`; any n.

        Returns:
            float32 (n, num_classes); each row adds up to 1.

        Raises:
            ModelError: The pixels are of another shape or type, or the model gives no numbers for them.
        """
        if images.ndim != 4 or images.shape[1:] != (*self.image_size, 3) or images.dtype != np.uint8:
            raise ModelError(
                "The model cannot take these pixels.",
                allowed=f"Allowed: uint8 (n, {self.image_size[0]}, {self.image_size[1]}, 3).",
                received=f"{images.dtype} {images.shape}",
            )
        batches = [self._predict_batch(images[start : start + BATCH]) for start in range(0, len(images), BATCH)]
        return np.concatenate(batches) if batches else np.empty((0, len(self.class_names)), np.float32)

    def predict_rows(self, images: Pixels, rows: npt.NDArray[np.int64], title: str) -> Probs:
        """Give the probabilities of chosen rows of a memory map, read in batches, with a bar.

        Args:
            images: uint8 (N, H, W, 3).
            rows: Which of them, int64 (n,).
            title: The bar's text.

        Returns:
            float32 (n, num_classes), in the order of `rows`.

        Raises:
            ModelError: The pixels are of another shape or type, or the model gives no numbers for them.
        """
        with show_progress(title, len(rows), "photographs") as bar:

            def predict() -> Iterator[Probs]:
                for start in range(0, len(rows), BATCH):
                    chunk = rows[start : start + BATCH]
                    yield self.predict_probs(images[chunk])
                    bar.advance(len(chunk))

            batches = list(predict())
        return np.concatenate(batches) if batches else np.empty((0, len(self.class_names)), np.float32)

    def _predict_batch(self, images: Pixels) -> Probs:
        # Filled up to a power of two: a few shapes to compile for, and one photograph does not cost a batch.
        filled = np.zeros((1 << (len(images) - 1).bit_length(), *images.shape[1:]), np.uint8)
        filled[: len(images)] = images
        probs = np.asarray(self.model.predict_on_batch(filled)[: len(images)], np.float32)
        if not np.isfinite(probs).all():
            raise ModelError(
                "The model gives no numbers for some photographs: its training went astray.",
                hint="Train it again, with a smaller --learning-rate.",
            )
        return probs
