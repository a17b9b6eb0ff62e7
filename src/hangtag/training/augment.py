"""Vary training photographs, by a random generator that the caller seeds."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hangtag.catalog.images import Pixels
from hangtag.config import TrainConfig

Random = np.random.Generator


@dataclass(frozen=True)
class Augmentation:
    """How far photographs are varied.

    Attributes:
        flip: Whether half of them are mirrored.
        shift: Pixels that they move at most, up, down or sideways; what comes in repeats the edge.
        zoom: By which share they grow or shrink at most.
        brightness: By which share the darkness of their colours changes at most; white stays white.
    """

    flip: bool = True
    shift: int = 0
    zoom: float = 0.0
    brightness: float = 0.0

    @classmethod
    def of(cls, config: TrainConfig) -> "Augmentation":
        """Take the settings of a training."""
        return cls(config.flip, config.shift, config.zoom, config.brightness)

    def vary(self, images: Pixels, random: Random) -> Pixels:
        """Give varied copies of photographs, uint8 (n, H, W, 3)."""
        return self._vary_brightness(self._move(images, random), random)

    def _move(self, images: Pixels, random: Random) -> Pixels:
        """Flip, zoom and shift in one gathering of the nearest pixels."""
        count, height, width, _ = images.shape
        direction = np.where(random.random((count, 1)) < 0.5, -1.0, 1.0) if self.flip else np.ones((count, 1))
        zoom = 1 + self.zoom * random.uniform(-1, 1, (count, 1)) if self.zoom else np.ones((count, 1))
        shifts = random.integers(-self.shift, self.shift + 1, (2, count, 1))
        rows = _gather(height, zoom, shifts[0])
        columns = _gather(width, direction * zoom, shifts[1])
        return images[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]

    def _vary_brightness(self, images: Pixels, random: Random) -> Pixels:
        if not self.brightness:
            return images
        factors = 1 + self.brightness * random.uniform(-1, 1, (len(images), 1, 1, 1)).astype(np.float32)
        darkness = np.minimum((255 - images) * factors, 255)
        return np.asarray(np.rint(255 - darkness), np.uint8)


def _gather(side: int, scale: npt.NDArray[np.float64], shift: npt.NDArray[np.int64]) -> npt.NDArray[np.intp]:
    """Give which of `side` pixels each place takes its value from, (n, side); a negative scale mirrors."""
    middle = (side - 1) / 2
    places = np.rint((np.arange(side) - middle) * scale + middle + shift)
    return places.clip(0, side - 1).astype(np.intp)
