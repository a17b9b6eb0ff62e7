"""Draw the shape of each kind of product in the demo catalogue, with random variation."""

import random
from collections.abc import Callable

from hangtag.demo_catalog.drawing import Canvas, Color, mirror, shade, trace_ellipse, trace_scoop

WHITE: Color = (246, 246, 244)
METAL: Color = (190, 186, 172)
DARK: Color = (48, 46, 50)


def draw_tshirt(canvas: Canvas, rng: random.Random) -> None:
    """Draw a T-shirt with a round neck and short sleeves; one in ten has a collar and resembles a shirt."""
    _draw_top(canvas, sleeve=rng.uniform(24, 36), width=rng.uniform(12, 15), hem=rng.uniform(60, 70))
    if rng.random() < 0.1:
        _draw_collar(canvas)
        canvas.line([(30, 18), (30, 30)], shade(canvas.look.color, 0.6))
    else:
        canvas.fill(trace_scoop(30, 13.8, 5.6, rng.uniform(3, 7)), shade(canvas.look.color, 0.55), rounds=0)


def draw_shirt(canvas: Canvas, rng: random.Random) -> None:
    """Draw a shirt with a collar and a row of buttons; two in three have long sleeves."""
    sleeve = rng.uniform(28, 36) if rng.random() < 0.35 else rng.uniform(52, 60)
    hem = rng.uniform(62, 72)
    _draw_top(canvas, sleeve=sleeve, width=rng.uniform(11.5, 14.5), hem=hem)
    _draw_collar(canvas)
    seam = shade(canvas.look.color, 0.6)
    canvas.line([(30, 18), (30, hem - 0.5)], seam, width=0.5)
    for number in range(5):
        canvas.fill(trace_ellipse(31.2, 24 + number * 9, 0.8, 0.8), shade(canvas.look.color, 1.7), rounds=0)
    if rng.random() < 0.4:
        canvas.line([(34, 28), (40, 28), (40, 35), (34, 35), (34, 28)], seam, width=0.5)


def _draw_top(canvas: Canvas, sleeve: float, width: float, hem: float) -> None:
    """Draw body and sleeves; `sleeve` is the vertical position in pixels at which the sleeves end."""
    reach = 24 if sleeve < 45 else 22.5
    half = [(30 + 5, 14), (30 + width, 17), (30 + reach, sleeve - 3), (30 + reach - 6, sleeve)]
    half += [(30 + width - 0.5, 31), (30 + width - 1, 46), (30 + width, hem)]
    canvas.fill(mirror(half), rounds=1)
    for side in (1, -1):
        start, end = (30 + side * (width - 0.5), 31.0), (30 + side * width, 17.0)
        canvas.line([start, end], shade(canvas.look.color, 0.8), width=0.4)


def _draw_collar(canvas: Canvas) -> None:
    color = shade(canvas.look.color, 0.85)
    canvas.fill(trace_ellipse(30, 14, 4.5, 1.8), shade(canvas.look.color, 0.5), rounds=0)
    for side in (1, -1):
        canvas.fill([(30 + side * 5.5, 12.5), (30, 18.5), (30 + side * 5, 22)], color, rounds=0)


def draw_trousers(canvas: Canvas, rng: random.Random) -> None:
    """Draw two long legs below a waistband."""
    _draw_legs(canvas, rng, length=rng.uniform(66, 74))


def draw_shorts(canvas: Canvas, rng: random.Random) -> None:
    """Draw two short and wide legs below a waistband."""
    _draw_legs(canvas, rng, length=rng.uniform(44, 52))


def _draw_legs(canvas: Canvas, rng: random.Random, length: float) -> None:
    waist, thigh = rng.uniform(8, 10.5), rng.uniform(12, 15)
    knee = 30 + thigh * (1.15 if length < 55 else rng.uniform(0.75, 1.05))
    half = [(30 + waist, 11), (30 + thigh, 26), (knee, length), (knee - thigh * 0.62, length), (30.4, 33)]
    canvas.fill(mirror(half), rounds=0)
    seam = shade(canvas.look.color, 0.62)
    canvas.fill([(30 - waist, 10), (30 + waist, 10), (30 + waist + 0.4, 14), (30 - waist - 0.4, 14)], seam, rounds=0)
    canvas.line([(30, 14), (30, 33)], seam, width=0.5)
    for side in (1, -1):
        canvas.line([(30 + side * (waist - 2), 14), (30 + side * (thigh - 0.5), 21)], seam, width=0.5)


def draw_dress(canvas: Canvas, rng: random.Random) -> None:
    """Draw a narrow waist over a wide skirt, with or without sleeves."""
    shoulder, waist, hem = rng.uniform(6, 11), rng.uniform(6, 9), rng.uniform(58, 73)
    half: list[tuple[float, float]] = [(30 + 4, 9), (30 + shoulder, 10)]
    if rng.random() < 0.35:
        half += [(30 + shoulder + 9, 24), (30 + shoulder + 4, 26)]
    half += [(30 + shoulder - 1, 20), (30 + waist, 33), (30 + rng.uniform(13, 22), hem)]
    canvas.fill(mirror(half), rounds=1)
    inside = shade(canvas.look.color, 0.55)
    if rng.random() < 0.5:
        canvas.fill([(26, 8.5), (34, 8.5), (30, rng.uniform(15, 20))], inside, rounds=0)
    else:
        canvas.fill(trace_scoop(30, 8.8, 4.2, rng.uniform(3, 6)), inside, rounds=0)
    if rng.random() < 0.6:
        belt = [
            (30 - waist - 0.8, 32),
            (30 + waist + 0.8, 32),
            (30 + waist + 0.8, 35),
            (30 - waist - 0.8, 35),
        ]
        canvas.fill(belt, canvas.look.accent, rounds=0)


def draw_casual_shoe(canvas: Canvas, rng: random.Random) -> None:
    """Draw a sneaker from the side, with a thick light sole and laces."""
    _draw_upper(canvas, ankle=rng.uniform(26, 36))
    _draw_sole(canvas, WHITE if rng.random() < 0.7 else canvas.look.accent, thickness=rng.uniform(3.5, 5.5))
    for number in range(4):
        x, y = 24 + number * 3.6, 38 + number * 2.2
        canvas.line([(x, y), (x + 3.5, y - 1.8)], WHITE, width=0.9)
    if rng.random() < 0.6:
        for x in (18, 22):
            canvas.line([(x, 50), (x + 6, 42)], canvas.look.accent, width=1.3)


def draw_formal_shoe(canvas: Canvas, rng: random.Random) -> None:
    """Draw a leather shoe from the side, with a thin dark sole and a heel; some are as low as sandals."""
    _draw_upper(canvas, ankle=rng.uniform(33, 39))
    _draw_sole(canvas, shade(canvas.look.color, 0.4), thickness=1.8)
    canvas.fill([(7, 54), (18, 54), (17, 59), (8, 59)], shade(canvas.look.color, 0.4), rounds=0)
    canvas.line([(37, 54), (38, 45)], shade(canvas.look.color, 0.6), width=0.6)


def _draw_upper(canvas: Canvas, ankle: float) -> None:
    outline = [
        (7, 54),
        (6.5, 46),
        (8, ankle),
        (20, ankle),
        (24, 37),
        (31, 41),
        (39, 44.5),
        (48, 46),
        (53, 49),
        (54.5, 54),
    ]
    canvas.fill(outline, rounds=2)
    canvas.fill(trace_ellipse(13.5, ankle + 2.5, 5.5, 1.6), shade(canvas.look.color, 0.5), rounds=0)


def _draw_sole(canvas: Canvas, color: Color, thickness: float) -> None:
    canvas.fill(
        [(6, 53), (54, 53), (55, 53 + thickness * 0.6), (53, 53 + thickness), (7, 53 + thickness)],
        color,
        rounds=1,
    )


def draw_sandal(canvas: Canvas, rng: random.Random) -> None:
    """Draw a sole with straps from the side, flat or on a heel; some are nearly closed, like a shoe."""
    heel = rng.choice((0.0, 0.0, rng.uniform(4, 12)))
    top, strap = 54 - heel, canvas.look.color
    if rng.random() < 0.1:
        canvas.fill([(8, top), (8, top - 14), (15, top - 12), (32, 43), (46, 45), (53, 54)])
    else:
        _draw_straps(canvas, rng, top)
    ankle = [(8, top), (7.5, top - 13), (14, top - 16), (22, top - 13), (15, top - 10), (8, top - 12)]
    canvas.line(ankle, strap, width=rng.uniform(1.6, 2.8), rounds=2)
    sole = shade(canvas.look.accent, 0.7)
    under = [(54, 57), (34, 57.5), (24, top * 0.5 + 29), (16, top + 4), (6, top + 4)]
    canvas.fill([(6, top), (17, top), (25, top * 0.5 + 26.5), (35, 53.5), (54, 53.5), *under], sole, rounds=1)
    if heel:
        canvas.fill([(6.5, top + 2), (14, top + 3), (10.5, 58), (7.5, 58)], sole, rounds=0)


def _draw_straps(canvas: Canvas, rng: random.Random, top: float) -> None:
    """Draw bands over the toes and the instep, with gaps between them."""
    color, dark = canvas.look.color, shade(canvas.look.color, 0.75)
    canvas.fill([(6.5, top), (6.5, top - 13), (11, top - 12), (13, top)], dark, rounds=1)
    width = rng.uniform(2, 4)
    bands: list[list[tuple[float, float]]] = [[(38 - width, 54), (42 - width, 44), (47, 44), (52, 54)]]
    if rng.random() < 0.6:
        bands += [[(25 - width, top * 0.5 + 27), (29 - width, 40), (34, 40), (36, 54)]]
    for band in bands:
        canvas.fill(band, color, rounds=2)
        (left, bottom), _, _, (right, low) = band
        canvas.erase(
            [(left + width + 3, bottom), (left + width + 4, 50), (right - 3.5, 50), (right - 2.5, low)], rounds=1
        )


def draw_handbag(canvas: Canvas, rng: random.Random) -> None:
    """Draw a wide body under a round handle, with a clasp."""
    top, flare, rise = rng.uniform(34, 42), rng.uniform(-2, 5), rng.uniform(12, 24)
    handle = [(18, top + 2), (18, top - rise), (42, top - rise), (42, top + 2)]
    canvas.line(handle, shade(canvas.look.color, 0.7), width=2.2, rounds=3)
    canvas.fill(mirror([(30 + 20 - flare, top), (30 + 20 + flare, 66)]), rounds=1)
    if rng.random() < 0.6:
        canvas.fill([(12, top), (48, top), (45, top + 11), (15, top + 11)], shade(canvas.look.color, 0.82), rounds=1)
    canvas.fill(trace_ellipse(30, top + 10, 2, 2), METAL, rounds=0)


def draw_backpack(canvas: Canvas, rng: random.Random) -> None:
    """Draw a tall body with a pocket, a small handle and straps at the sides."""
    width, top = rng.uniform(15, 18), rng.uniform(16, 22)
    canvas.line([(26, top + 2), (26, top - 6), (34, top - 6), (34, top + 2)], DARK, width=1.6, rounds=2)
    for side in (1, -1):
        canvas.line(
            [(30 + side * width, top + 14), (30 + side * (width + 5), 52), (30 + side * width, 64)],
            DARK,
            2,
            2,
        )
    canvas.fill(mirror([(30 + width * 0.5, top - 2), (30 + width, top + 8), (30 + width, 68)]), rounds=2)
    canvas.fill(mirror([(30 + width - 4, 46), (30 + width - 4, 64)]), shade(canvas.look.color, 0.8), rounds=1)
    canvas.line([(30 - width + 3, top + 16), (30 + width - 3, top + 16)], canvas.look.accent, width=0.9)


def draw_watch(canvas: Canvas, rng: random.Random) -> None:
    """Draw a dial, round or square, on a strap."""
    strap, radius = rng.uniform(4.5, 7), rng.uniform(10, 14)
    canvas.fill(mirror([(30 + strap * 0.8, 6), (30 + strap, 30), (30 + strap, 50), (30 + strap * 0.8, 74)]), rounds=0)
    face = WHITE if rng.random() < 0.6 else DARK
    hand = DARK if face == WHITE else WHITE
    if rng.random() < 0.25:
        canvas.fill(mirror([(30 + radius, 40 - radius), (30 + radius, 40 + radius)]), DARK, rounds=1)
        canvas.fill(mirror([(30 + radius - 4, 36), (30 + radius - 4, 44)]), (176, 190, 170), rounds=0)
        return
    canvas.fill(trace_ellipse(30, 40, radius, radius), METAL if rng.random() < 0.6 else canvas.look.accent, rounds=0)
    canvas.fill(trace_ellipse(30, 40, radius - 2, radius - 2), face, rounds=0)
    canvas.line([(30, 40), (30 + rng.uniform(-5, 5), 40 - radius + 5)], hand, width=1.0)
    canvas.line([(30, 40), (30 + rng.uniform(3, 6), 40 + rng.uniform(-3, 4))], hand, width=1.0)


def draw_sunglasses(canvas: Canvas, rng: random.Random) -> None:
    """Draw two lenses, a bridge and the temples behind them."""
    width, height = rng.uniform(9, 11), rng.uniform(6, 9)
    frame, lens = canvas.look.color, shade(canvas.look.accent, 0.45)
    for side in (1, -1):
        canvas.line([(30 + side * 22, 38), (30 + side * 25, 30), (30 + side * 18, 26)], shade(frame, 0.7), 1.3, 1)
        canvas.fill(trace_ellipse(30 + side * 12.5, 42, width + 1.4, height + 1.4), frame, rounds=0)
        canvas.fill(trace_ellipse(30 + side * 12.5, 42, width, height), lens, rounds=0)
    canvas.line([(27, 39), (30, 37.5), (33, 39)], frame, width=1.8)


def draw_belt(canvas: Canvas, rng: random.Random) -> None:
    """Draw a rolled strap with a buckle, or a hanging one that resembles a watch strap."""
    if rng.random() < 0.3:
        canvas.fill(mirror([(30 + 4, 8), (30 + 4, 74)]), rounds=0)
        canvas.line([(25, 10), (35, 10), (35, 18), (25, 18), (25, 10)], METAL, width=1.8)
        return
    width, height = rng.uniform(18, 22), rng.uniform(14, 19)
    canvas.fill(trace_ellipse(30, 42, width, height), rounds=0)
    canvas.erase(trace_ellipse(30, 40, width - 4, height - 7), rounds=0)
    canvas.line(trace_ellipse(30, 41, width - 2, height - 3), shade(canvas.look.color, 0.6), width=0.5)
    canvas.line([(24, 48), (36, 48), (36, 59), (24, 59), (24, 48), (36, 48)], METAL, width=1.8)


def draw_cushion(canvas: Canvas, rng: random.Random) -> None:
    """Draw a square cushion with bulging sides."""
    size = rng.uniform(19, 23)
    canvas.fill(
        mirror([(30, 40 - size * 0.92), (30 + size, 40 - size), (30 + size * 0.93, 40), (30 + size, 40 + size)])
    )


SILHOUETTES: dict[str, Callable[[Canvas, random.Random], None]] = {
    "Tshirts": draw_tshirt,
    "Shirts": draw_shirt,
    "Trousers": draw_trousers,
    "Shorts": draw_shorts,
    "Dresses": draw_dress,
    "Casual Shoes": draw_casual_shoe,
    "Formal Shoes": draw_formal_shoe,
    "Sandals": draw_sandal,
    "Handbags": draw_handbag,
    "Backpacks": draw_backpack,
    "Watches": draw_watch,
    "Sunglasses": draw_sunglasses,
    "Belts": draw_belt,
    "Cushion Covers": draw_cushion,
}
