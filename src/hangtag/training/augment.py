"""Vary training photographs, by a random generator that the caller seeds."""

import numpy as np

from hangtag.catalog.images import Pixels


def flip_at_random(images: Pixels, random: np.random.Generator) -> Pixels:
    """Flip about half of the photographs left to right.

    Args:
        images: uint8 (n, H, W, 3); changed in place.
        random: Draws which.
    """
    chosen = random.random(len(images)) < 0.5
    images[chosen] = images[chosen, :, ::-1]
    return images
