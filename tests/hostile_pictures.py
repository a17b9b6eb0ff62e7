"""Small files that are costly to decode."""

import io
import re
from typing import Any

from PIL import Image


def write_scans(width: int, height: int, count: int) -> bytes:
    """Return a progressive JPEG of one colour whose last scan is repeated until there are `count`."""
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (200, 120, 30)).save(buffer, "JPEG", progressive=True, quality=30)
    data = buffer.getvalue()
    scans = [found.start() for found in re.finditer(b"\xff\xda", data)]
    tables = data.rfind(b"\xff\xc4", scans[-2], scans[-1])
    last = data[tables if tables > 0 else scans[-1] : -2]
    return data[:-2] + last * (count - len(scans)) + b"\xff\xd9"


def write_flat(kind: str, size: tuple[int, int] = (6000, 4000), mode: str = "RGB") -> bytes:
    """Return a picture of one colour, which is small as a file however large it is."""
    options: dict[str, dict[str, Any]] = {
        "WEBP": {"lossless": True, "method": 0, "quality": 0},
        "TIFF": {"compression": "tiff_deflate"},
    }
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, kind, **options.get(kind, {}))
    return buffer.getvalue()


def write_segments(count: int) -> bytes:
    """Return a JPEG that begins with so many empty comments."""
    buffer = io.BytesIO()
    Image.new("RGB", (60, 80)).save(buffer, "JPEG")
    return b"\xff\xd8" + b"\xff\xfe\x00\x02" * count + buffer.getvalue()[2:]
