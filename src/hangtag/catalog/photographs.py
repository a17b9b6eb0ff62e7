"""Draw the photographs of the demo catalogue as files, the spoilt ones among them."""

import io
import random

from PIL import Image, ImageOps

from hangtag.catalog.demo_rows import DemoItem
from hangtag.catalog.drawing import HEIGHT, WIDTH, Canvas
from hangtag.catalog.silhouettes import SILHOUETTES

# Width x height, as the real catalogue's odd ones, and one larger.
ODD_SIZES = ((53, 80), (54, 80), (60, 60), (60, 76), (60, 79), (120, 160))
NO_IMAGE = b"<html><body>404: this photograph has moved</body></html>\n"
START_OF_FRAME = b"\xff\xc0"


def draw_photographs(items: list[DemoItem], seed: int) -> dict[str, bytes]:
    """Give the content of the photograph file of every item that has one, by item id."""
    files: dict[str, bytes] = {}
    pictures: dict[str, Image.Image] = {}
    odd = 0
    for item in items:
        item_id = item.row["id"]
        if item_id in files or not item_id.isdecimal() or "no photograph" in item.defects:
            continue
        if item.photograph_of is not None:
            files[item_id] = files[item.photograph_of]
            if "nearly identical photograph" in item.defects:
                files[item_id] = _encode(_brighten(pictures[item.photograph_of]), quality=85)
            continue
        picture = _draw(item, seed)
        if "odd size" in item.defects:
            picture = ImageOps.fit(picture, ODD_SIZES[odd % len(ODD_SIZES)])
            odd += 1
        pictures[item_id] = picture
        files[item_id] = _spoil(_encode(picture), item.defects)
    return files


def _draw(item: DemoItem, seed: int) -> Image.Image:
    if "all white" in item.defects:
        return Image.new("RGB", (WIDTH, HEIGHT), "white")
    rng = random.Random(f"{seed}/{item.row['id']}/picture")
    canvas = Canvas(item.look)
    SILHOUETTES[item.kind](canvas, rng)
    picture = canvas.finish(rng)
    return picture.convert("L") if "grayscale" in item.defects else picture


def _encode(picture: Image.Image, quality: int = 92) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _brighten(picture: Image.Image) -> Image.Image:
    """Make every pixel one step of 255 brighter."""
    return picture.point(lambda value: min(value + 1, 255))


def _spoil(data: bytes, defects: list[str]) -> bytes:
    if "truncated" in defects:
        return data[: len(data) * 2 // 3]
    if "empty file" in defects:
        return b""
    if "not an image" in defects:
        return NO_IMAGE
    if "too many pixels" in defects:
        # The header claims 65,500 x 65,500; whoever decodes before looking runs out of memory.
        at = data.index(START_OF_FRAME) + 5
        return data[:at] + (65500).to_bytes(2, "big") * 2 + data[at + 4 :]
    return data
