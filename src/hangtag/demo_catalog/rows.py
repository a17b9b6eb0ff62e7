"""Generate the rows of the demo catalogue: kinds of product, brands, names and attributes."""

import random
from dataclasses import dataclass, field

from hangtag.demo_catalog.drawing import Color, Look

CAPSTONE_COLUMNS = (
    "id",
    "gender",
    "masterCategory",
    "subCategory",
    "articleType",
    "baseColour",
    "season",
    "year",
    "usage",
    "productDisplayName",
)


@dataclass(frozen=True)
class Kind:
    """A kind of product.

    Attributes:
        article: Its article type (the lowest label level); also the key of its drawing in `SILHOUETTES`.
        levels: The two higher labels.
        share: Its number of items relative to `items_per_kind`.
        words: The words for it in product names.
        patterns: Its possible patterns; frequent ones are listed more than once.
        genders: Its possible values of `gender`.
    """

    article: str
    levels: tuple[str, str]
    share: float
    words: tuple[str, ...]
    patterns: tuple[str, ...] = ("plain",)
    genders: tuple[str, ...] = ("Men", "Women", "Boys", "Girls", "Unisex")


@dataclass
class DemoItem:
    """An item of the demo catalogue.

    Attributes:
        row: Its row in the table, by column.
        kind: The article type to draw, a key of `SILHOUETTES`.
        look: The appearance to draw.
        defects: The names of its planted defects.
        photograph_of: The id of the item whose photograph it shows, or None for a photograph of its own.
    """

    row: dict[str, str]
    kind: str
    look: Look
    defects: list[str] = field(default_factory=list)
    photograph_of: str | None = None


KINDS = (
    Kind(
        "Tshirts",
        ("Apparel", "Topwear"),
        1.4,
        ("Printed T-shirt", "Round Neck Tshirt", "Cotton Tshirt", "Polo T-shirt"),
        ("plain", "plain", "print", "print", "stripes", "dots"),
    ),
    Kind(
        "Shirts",
        ("Apparel", "Topwear"),
        1.2,
        ("Formal Shirt", "Casual Shirt", "Linen Shirt", "Long Sleeve Shirt"),
        ("plain", "plain", "pinstripes", "check", "check", "stripes"),
    ),
    Kind(
        "Trousers",
        ("Apparel", "Bottomwear"),
        0.65,
        ("Trousers", "Slim Fit Trousers", "Pleated Trousers"),
        ("plain", "plain", "plain", "pinstripes", "check"),
    ),
    Kind(
        "Shorts",
        ("Apparel", "Bottomwear"),
        0.35,
        ("Shorts", "Beach Shorts", "Running Shorts"),
        ("plain", "plain", "check", "dots"),
    ),
    Kind(
        "Dresses",
        ("Apparel", "Dress"),
        0.8,
        ("Summer Dress", "Evening Dress", "Wrap Dress"),
        ("plain", "plain", "dots", "stripes", "check"),
        ("Women", "Women", "Girls"),
    ),
    Kind(
        "Casual Shoes",
        ("Footwear", "Shoes"),
        0.7,
        ("Casual Shoes", "Canvas Shoes", "Sneakers"),
        ("plain", "plain", "plain", "dots", "check"),
    ),
    Kind("Formal Shoes", ("Footwear", "Shoes"), 0.4, ("Formal Shoes", "Leather Shoes"), genders=("Men", "Women")),
    Kind("Sandals", ("Footwear", "Sandal"), 0.8, ("Sandals", "Strap Sandals", "Beach Sandals")),
    Kind(
        "Handbags",
        ("Accessories", "Bags"),
        0.5,
        ("Handbag", "Leather Handbag", "Shoulder Bag"),
        ("plain", "plain", "plain", "check", "stripes"),
        ("Women",),
    ),
    Kind("Backpacks", ("Accessories", "Bags"), 0.4, ("Backpack", "Laptop Backpack", "Travel Bag"), ("plain", "dots")),
    Kind("Watches", ("Accessories", "Watches"), 0.9, ("Analogue Watch", "Dial Watch", "Digital Watch")),
    Kind("Sunglasses", ("Accessories", "Eyewear"), 0.3, ("Sunglasses", "Round Sunglasses")),
    Kind("Belts", ("Accessories", "Belts"), 0.25, ("Belt", "Leather Belt")),
)
HOME = Kind("Cushion Covers", ("Home", "Home Furnishing"), 0, ("Cushion Cover",), ("check",), ("Unisex",))
FREE = ("Free Items", "Free Gifts", "Free Gifts")
# Invented brand names.
BRANDS = ("Fernquill", "Mistrel", "Oddmoor", "Tarnwick", "Pellandra", "Quibbley", "Sorrelby", "Larkspindle")
PALETTE: dict[str, Color] = {
    "Black": (44, 43, 48),
    "White": (240, 239, 234),
    "Grey": (138, 141, 146),
    "Navy Blue": (38, 52, 92),
    "Blue": (64, 116, 190),
    "Teal": (54, 138, 136),
    "Green": (82, 138, 84),
    "Olive": (122, 124, 72),
    "Yellow": (228, 190, 80),
    "Orange": (218, 126, 62),
    "Red": (188, 58, 58),
    "Pink": (226, 150, 168),
    "Purple": (120, 86, 152),
    "Brown": (128, 88, 62),
    "Beige": (214, 194, 160),
}
TINTS: tuple[Color, ...] = ((255, 255, 255), (250, 250, 250), (246, 244, 240), (240, 243, 246), (236, 232, 228))


def make_rows(items_per_kind: int, num_free: int, num_blank_names: int, seed: int) -> list[DemoItem]:
    """Generate the items in the order of the table, with ascending ids that have gaps.

    Args:
        items_per_kind: The number of items of a kind whose share is 1.
        num_free: The number of items in the ambiguous category "Free Items", drawn as any kind.
        num_blank_names: How many of those have a name that does not mention the kind.
        seed: The random seed.
    """
    rng = random.Random(f"{seed}/rows")
    planned = [(kind, False) for kind in KINDS for _ in range(max(1, round(items_per_kind * kind.share)))]
    free_kinds = [KINDS[number % len(KINDS)] for number in range(num_free)]
    planned += [(kind, True) for kind in free_kinds] + [(HOME, False)]
    rng.shuffle(planned)
    items, number, blanks = [], 2000, num_blank_names
    for kind, is_free in planned:
        number += rng.randint(1, 9)
        is_blank = is_free and blanks > 0
        blanks -= is_blank
        items.append(_make_item(kind, str(number), is_free, is_blank, random.Random(f"{seed}/{number}")))
    return items


def _make_item(kind: Kind, item_id: str, is_free: bool, is_blank: bool, rng: random.Random) -> DemoItem:
    gender, base = rng.choice(kind.genders), rng.choice(list(PALETTE))
    words = rng.choice(("Free Gift", "Surprise Gift", "Gift")) if is_blank else rng.choice(kind.words)
    master, sub, article = FREE if is_free else (*kind.levels, kind.article)
    values = (
        item_id,
        gender,
        master,
        sub,
        article,
        base,
        rng.choice(("Spring", "Summer", "Fall", "Winter")),
        str(rng.randint(2015, 2024)),
        rng.choice(("Casual", "Casual", "Formal", "Sports", "Travel")),
        f"{rng.choice(BRANDS)} {gender} {base} {words}",
    )
    row = dict(zip(CAPSTONE_COLUMNS, values, strict=True))
    defects = ["name tells no kind"] if is_blank else []
    return DemoItem(row, kind.article, _make_look(kind, PALETTE[base], rng), defects)


def _make_look(kind: Kind, color: Color, rng: random.Random) -> Look:
    def compute_difference(other: Color) -> int:
        return sum(abs(a - b) for a, b in zip(other, color, strict=True))

    contrasting = [other for other in PALETTE.values() if compute_difference(other) > 120]
    return Look(
        color=_vary(color, rng),
        accent=_vary(rng.choice(contrasting), rng),
        pattern=rng.choice(kind.patterns),
        background=rng.choice(TINTS),
        scale=(rng.uniform(0.9, 1.06), rng.uniform(0.9, 1.06)),
        shift=(rng.uniform(-2, 2), rng.uniform(-2.5, 2.5)),
        angle=rng.gauss(0, 2.5),
        mirrored=rng.random() < 0.5,
    )


def _vary(color: Color, rng: random.Random) -> Color:
    red, green, blue = (min(255, max(0, value + rng.randint(-14, 14))) for value in color)
    return red, green, blue
