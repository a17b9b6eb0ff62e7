"""Build the chapter of the report on the health of the catalogue, for people who never trained a model.

What it shows is found in `catalog_health.py`; here are the thumbnails and the texts of the page.
"""

import base64
import io
from collections.abc import Callable
from functools import cache

from PIL import Image

from hangtag.auditing.catalog_summary import (
    COMBINATION,
    CONFLICT,
    LESS_SURE,
    PICTURE,
    REPEATED,
    SPELLING,
    VALUE,
    WRONG,
)
from hangtag.auditing.catalog_words import KINDS_OF_PRODUCTS, describe_findings
from hangtag.catalog.images import Pixels
from hangtag.reporting.catalog_health import HealthBars
from hangtag.reporting.format import Context
from hangtag.reporting.inputs import Inputs

# The largest sides of a thumbnail in pixels, width and height, and its WebP quality.
THUMBNAIL, QUALITY = (120, 160), 70
# Where the products of each kind are on the page.
PLACES = {
    WRONG: "suspected",
    LESS_SURE: "less-sure",
    VALUE: "other-values",
    CONFLICT: "conflicts",
    COMBINATION: "combinations",
    SPELLING: "spellings",
    PICTURE: "pictures",
    REPEATED: "repeated",
}


def build_health_chapter(inputs: Inputs) -> Context | None:
    """Return the values that the template shows, or None if there is no audit of the catalogue as it is."""
    health = inputs.health
    if health is None:
        return None
    places = PLACES if health.repeated.total else PLACES | {REPEATED: PLACES[CONFLICT]}
    to_look_at = health.summary["to_look_at"]
    bars = [("category", health.by_category), *([("brand", health.by_brand)] if health.by_brand else [])]
    return {
        "found": health,
        "summary": health.summary,
        "sentences": describe_findings(health.summary),
        "kinds": [
            {**each, "words": KINDS_OF_PRODUCTS[each["kind"]], "place": places[each["kind"]]}
            for each in to_look_at["kinds"]
            if each["all"]
        ],
        "without": health.summary["products"] - to_look_at["products"],
        "charts": [(by, each, _scale(each)) for by, each in bars if each.bars],
        "num_rejected": sum(each.total for each in health.rejected),
        "thumbnail": make_thumbnails(inputs.prepared.images),
    }


def _scale(bars: HealthBars) -> list[float]:
    """Return the width of each bar in percent of the longest."""
    longest = max(bar.wrong for bar in bars.bars)
    return [round(100 * bar.wrong / longest, 2) for bar in bars.bars]


def make_thumbnails(images: Pixels) -> Callable[[int], str]:
    """Return a function that returns the thumbnail of a row as a `data:` URI; each is encoded once.

    Args:
        images: Pixels, uint8 (n, height, width, 3).
    """

    @cache
    def encode(row: int) -> str:
        image = Image.fromarray(images[row])
        image.thumbnail(THUMBNAIL)
        buffer = io.BytesIO()
        image.save(buffer, "WEBP", quality=QUALITY, method=2)
        return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"

    return encode
