"""Draw synthetic product photographs of 60 x 80 pixels: shapes, patterns, light, shadow and noise."""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

WIDTH, HEIGHT = 60, 80
# Shapes are drawn this many times larger and then shrunk, for smooth edges (antialiasing).
OVERSAMPLING = 4
Color = tuple[int, int, int]
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Look:
    """The appearance of one drawn product.

    Attributes:
        color: The product's colour: red, green and blue from 0 to 255.
        accent: The colour of its pattern and small parts.
        pattern: `plain`, `stripes`, `pinstripes`, `check`, `dots` or `print`.
        background: The background colour.
        scale: Its width and height relative to the usual size.
        shift: Its offset from the centre, in pixels to the right and down.
        angle: Its rotation in degrees clockwise.
        mirrored: Whether it is flipped horizontally.
    """

    color: Color
    accent: Color
    pattern: str = "plain"
    background: Color = (255, 255, 255)
    scale: tuple[float, float] = (1.0, 1.0)
    shift: tuple[float, float] = (0.0, 0.0)
    angle: float = 0.0
    mirrored: bool = False


def shade(color: Color, factor: float) -> Color:
    """Darken a colour (factor below 1, black at 0) or lighten it (factor above 1, white at 2)."""
    if factor <= 1:
        red, green, blue = (round(value * factor) for value in color)
    else:
        red, green, blue = (round(value + (255 - value) * min(factor - 1, 1)) for value in color)
    return red, green, blue


def mirror(half: Points) -> list[tuple[float, float]]:
    """Return the closed outline of a symmetric shape from its right half, given from top to bottom."""
    return [*half, *((WIDTH - x, y) for x, y in reversed(half))]


def trace_ellipse(x: float, y: float, width: float, height: float) -> list[tuple[float, float]]:
    """Return the outline of an ellipse with centre (x, y); `width` and `height` are its semi-axes."""
    steps = [2 * math.pi * number / 36 for number in range(36)]
    return [(x + width * math.cos(step), y + height * math.sin(step)) for step in steps]


def trace_scoop(x: float, y: float, width: float, depth: float) -> list[tuple[float, float]]:
    """Return the outline of the lower half of an ellipse, such as a neckline."""
    return [point for point in trace_ellipse(x, y, width, depth) if point[1] >= y - 1e-9]


class Canvas:
    """A picture being drawn.

    Coordinates are pixels of the finished picture, before the look's scale, shift, angle and flip are applied.
    """

    def __init__(self, look: Look) -> None:
        self.look = look
        self._layer = Image.new("RGBA", (WIDTH * OVERSAMPLING, HEIGHT * OVERSAMPLING))
        self._draw = ImageDraw.Draw(self._layer)

    def fill(self, outline: Points, color: Color | None = None, rounds: int = 2) -> None:
        """Fill an outline and draw a thin darker edge around it.

        Args:
            outline: The corners of the shape.
            color: A plain colour; None uses the look's colour and pattern.
            rounds: How often to round the corners; see `_round_corners`.
        """
        placed = self._place(_round_corners(outline, rounds))
        if color is None:
            mask = Image.new("L", self._layer.size)
            ImageDraw.Draw(mask).polygon(placed, fill=255)
            self._layer.paste(_paint_pattern(self.look, self._layer.size), mask=mask)
        else:
            self._draw.polygon(placed, fill=color)
        edge = shade(self.look.color if color is None else color, 0.72)
        self._draw.line([*placed, placed[0]], fill=edge, width=OVERSAMPLING // 2)

    def line(self, points: Points, color: Color, width: float = 0.7, rounds: int = 0) -> None:
        """Draw a line through points; `width` is in pixels."""
        placed = self._place(_round_corners(points, rounds, closed=False))
        self._draw.line(placed, fill=color, width=max(1, round(width * OVERSAMPLING)), joint="curve")

    def erase(self, outline: Points, rounds: int = 2) -> None:
        """Cut a transparent hole into the shapes drawn so far."""
        self._draw.polygon(self._place(_round_corners(outline, rounds)), fill=(0, 0, 0, 0))

    def finish(self, rng: random.Random) -> Image.Image:
        """Return the finished picture: background, soft shadow, the product in uneven light, and noise."""
        product = self._layer.reduce(OVERSAMPLING)
        noise = np.random.default_rng(rng.getrandbits(32))
        tilt = np.linspace(rng.uniform(-12, 4), rng.uniform(-4, 12), HEIGHT)[:, None, None]
        background = np.full((HEIGHT, WIDTH, 3), self.look.background, dtype=np.float64) + tilt
        alpha = product.getchannel("A")
        blurred = alpha.filter(ImageFilter.GaussianBlur(rng.uniform(1.0, 2.5)))
        shadow = np.roll(np.asarray(blurred, dtype=np.float64), (rng.randint(1, 2), rng.randint(0, 2)), (0, 1))
        background *= 1 - shadow[..., None] / 255 * rng.uniform(0.1, 0.3)
        light = np.linspace(rng.uniform(0.86, 1.12), rng.uniform(0.86, 1.12), WIDTH)[None, :, None]
        share = np.asarray(alpha, dtype=np.float64)[..., None] / 255
        pixels = background * (1 - share) + np.asarray(product.convert("RGB")) * light * share
        pixels += noise.normal(0, rng.uniform(1.0, 5.0), pixels.shape)
        return Image.fromarray(pixels.clip(0, 255).round().astype(np.uint8))

    def _place(self, points: Points) -> list[tuple[float, float]]:
        sine, cosine = math.sin(math.radians(self.look.angle)), math.cos(math.radians(self.look.angle))
        placed = []
        for x, y in points:
            right = (x - WIDTH / 2) * self.look.scale[0] * (-1 if self.look.mirrored else 1)
            down = (y - HEIGHT / 2) * self.look.scale[1]
            column = right * cosine - down * sine + WIDTH / 2 + self.look.shift[0]
            row = right * sine + down * cosine + HEIGHT / 2 + self.look.shift[1]
            placed.append((column * OVERSAMPLING, row * OVERSAMPLING))
        return placed


def _round_corners(points: Points, rounds: int, closed: bool = True) -> list[tuple[float, float]]:
    """Cut every corner at a quarter of its sides, at most 3 pixels, `rounds` times (Chaikin's algorithm)."""
    corners = list(points)
    for _ in range(rounds):
        following = [*corners[1:], corners[0]] if closed else corners[1:]
        cut = []
        for (x, y), (next_x, next_y) in zip(corners, following, strict=False):
            share = min(0.25, 3 / max(math.hypot(next_x - x, next_y - y), 1e-9))
            cut.append((x + share * (next_x - x), y + share * (next_y - y)))
            cut.append((next_x - share * (next_x - x), next_y - share * (next_y - y)))
        corners = cut if closed else [corners[0], *cut, corners[-1]]
    return corners


def _paint_pattern(look: Look, size: tuple[int, int]) -> Image.Image:
    image = Image.new("RGB", size, look.color)
    if look.pattern in PATTERNS:
        PATTERNS[look.pattern](ImageDraw.Draw(image), look.accent, size)
    return image


def _paint_stripes(draw: ImageDraw.ImageDraw, color: Color, size: tuple[int, int]) -> None:
    step = 6 * OVERSAMPLING
    for top in range(0, size[1], step):
        draw.rectangle((0, top, size[0], top + step // 2), fill=color)


def _paint_pinstripes(draw: ImageDraw.ImageDraw, color: Color, size: tuple[int, int]) -> None:
    for left in range(0, size[0], 4 * OVERSAMPLING):
        draw.rectangle((left, 0, left + OVERSAMPLING, size[1]), fill=color)


def _paint_check(draw: ImageDraw.ImageDraw, color: Color, size: tuple[int, int]) -> None:
    for left in range(0, size[0], 6 * OVERSAMPLING):
        draw.rectangle((left, 0, left + OVERSAMPLING, size[1]), fill=color)
    for top in range(0, size[1], 6 * OVERSAMPLING):
        draw.rectangle((0, top, size[0], top + OVERSAMPLING), fill=color)


def _paint_dots(draw: ImageDraw.ImageDraw, color: Color, size: tuple[int, int]) -> None:
    step, radius = 6 * OVERSAMPLING, OVERSAMPLING
    for row, top in enumerate(range(0, size[1], step)):
        for left in range(step // 2 * (row % 2), size[0], step):
            draw.ellipse((left - radius, top - radius, left + radius, top + radius), fill=color)


def _paint_print(draw: ImageDraw.ImageDraw, color: Color, size: tuple[int, int]) -> None:
    x, y, radius = size[0] / 2, size[1] * 0.45, size[0] * 0.11
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)


PATTERNS: dict[str, Callable[[ImageDraw.ImageDraw, Color, tuple[int, int]], None]] = {
    "stripes": _paint_stripes,
    "pinstripes": _paint_pinstripes,
    "check": _paint_check,
    "dots": _paint_dots,
    "print": _paint_print,
}
