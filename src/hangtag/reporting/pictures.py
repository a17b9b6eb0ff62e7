"""Put pictures on disk into the page as data URIs, encoded small."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

MAX_WIDTH = 1400
QUALITY = 80


@dataclass(frozen=True)
class Picture:
    """A picture inside the page.

    Attributes:
        src: A `data:` URI.
        width: Pixels, so that the page keeps room for it.
        height: Pixels.
        alt: What it shows, for those who cannot see it.
    """

    src: str
    width: int
    height: int
    alt: str


def embed_picture(path: Path, alt: str) -> Picture | None:
    """Encode a picture as WebP, at most `MAX_WIDTH` pixels wide; None where there is no such file."""
    if not path.is_file():
        return None
    with Image.open(path) as source:
        image = source.convert("RGB")
    if image.width > MAX_WIDTH:
        height = max(1, round(image.height * MAX_WIDTH / image.width))
        image = image.resize((MAX_WIDTH, height), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=QUALITY, method=4)
    encoded = base64.b64encode(buffer.getvalue()).decode("ascii")
    return Picture(f"data:image/webp;base64,{encoded}", image.width, image.height, alt)
