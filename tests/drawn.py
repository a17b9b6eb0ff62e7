"""Drawn products, as pixels and as files."""

import io
from typing import Any

import numpy as np
from PIL import Image

SIZE = (16, 12)
KEY = "a-key-that-is-long-enough"
COLORS = {"Hat": (230, 40, 40), "Shirt": (40, 60, 230), "Shoe": (30, 160, 60)}


def draw(kind: str, seed: int) -> Any:
    """Draw a product as a coloured patch on white, a bit different for every seed."""
    random = np.random.default_rng(seed)
    pixels = np.full((*SIZE, 3), 255, np.uint8)
    top, left = random.integers(1, 5), random.integers(1, 4)
    pixels[top : top + 9, left : left + 7] = np.clip(COLORS[kind] + random.normal(0, 12, (9, 7, 3)), 0, 255)
    return pixels


def encode(pixels: Any, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()
