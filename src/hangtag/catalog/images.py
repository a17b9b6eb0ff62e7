"""Decode, check and fit photographs; the only place that does."""

import io
import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

# Only formats that catalogues use: Pillow knows some that start other programs (EPS) or are rarely tested.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
# How JPEG, PNG, WebP, GIF and TIFF files begin.
SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG", b"RIFF", b"GIF8", b"II*\0", b"MM\0*")
Pixels = npt.NDArray[np.uint8]
Fit = Literal["pad", "stretch"]
# Pixels that are worked on at once; what is computed of them takes several times as many bytes.
PART_BYTES = 32_000_000


@dataclass(frozen=True)
class Photograph:
    """A decoded photograph.

    Attributes:
        pixels: uint8 (H, W, 3).
        width: The file's own.
        height: The file's own.
        mode: The file's own.
        place: The rows and columns of `pixels` that it fills; the rest goes on in the colour of its border.
    """

    pixels: Pixels
    width: int
    height: int
    mode: str
    place: tuple[slice, slice] = (slice(None), slice(None))


class PhotographError(Exception):
    """A photograph that cannot be used; `code` is stable, `reason` is for people."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


def decode_photograph(data: bytes, image_size: tuple[int, int], max_pixels: int, *, fit: Fit = "pad") -> Photograph:
    """Decode a photograph and fit it to (height, width).

    One that already has the size is taken as it is. Any other is enlarged or shrunk, keeping its
    proportions, until it just fits inside (Lanczos), and centred; the rest is filled with the median
    colour of its own border, so that a white background goes on. The camera's orientation is applied,
    transparency becomes white, and gray, palette, 16-bit and CMYK files become RGB.

    With `fit="stretch"` it is brought to the size without regard to its proportions, for photographs that
    somebody has squeezed into other ones before.

    Raises:
        PhotographError: `empty_file`, `not_an_image`, `too_many_pixels` (known from the header, before
            anything is decoded) or `truncated`.
    """
    if not data:
        raise PhotographError("empty_file", "the file is empty")
    with warnings.catch_warnings():
        # Pillow warns of large pictures and odd EXIF; the limit below is ours and stricter.
        warnings.simplefilter("ignore")
        with _open(data) as image:
            width, height, mode = image.width, image.height, image.mode
            if width * height > max_pixels:
                raise PhotographError("too_many_pixels", f"{width} x {height} pixels, {max_pixels} are allowed")
            whole = _to_rgb(_load(image))
            pixels = _fit(whole, image_size, fit)
    place = _find_place(whole, image_size) if fit == "pad" else (slice(None), slice(None))
    return Photograph(np.asarray(pixels, dtype=np.uint8), width, height, mode, place)


def limit_part(image_size: tuple[int, ...], most: int, weight: int = 1) -> int:
    """Say how many photographs of (height, width) to work on at once, however large they are.

    Args:
        image_size: (height, width), and what may follow.
        most: Of small ones.
        weight: How many times more memory the work takes than usual.
    """
    return max(1, min(most, PART_BYTES // (weight * 3 * image_size[0] * image_size[1])))


def shrink(images: Pixels, image_size: tuple[int, int]) -> Pixels:
    """Shrink or enlarge photographs, uint8 (n, H, W, 3), to (height, width).

    In a smaller one each pixel is the mean of those it stands for; in a larger one it lies between its neighbours.
    """
    height, width = image_size
    if images.shape[1:3] == image_size:
        return images
    is_smaller = height <= images.shape[1] and width <= images.shape[2]
    way = Image.Resampling.BOX if is_smaller else Image.Resampling.BILINEAR
    return np.stack([np.asarray(Image.fromarray(image).resize((width, height), way)) for image in images])


def _open(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError) as error:
        if isinstance(error, Image.DecompressionBombError):
            raise PhotographError("too_many_pixels", "the header tells of far too many pixels") from error
        if data.startswith(SIGNATURES):
            raise PhotographError("truncated", "the picture's header is damaged or ends early") from error
        raise PhotographError("not_an_image", "no JPEG, PNG, WebP, GIF, BMP or TIFF picture") from error


def _load(image: Image.Image) -> Image.Image:
    try:
        image.load()
        return ImageOps.exif_transpose(image)
    except Exception as error:
        # Pillow's decoders raise many kinds on damaged data (OSError, SyntaxError, struct.error, ...): whatever
        # it is, this one photograph is unusable and the run goes on.
        raise PhotographError("truncated", "the picture's data is damaged or ends early") from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, dtype=np.float64)
        top = 65535.0 if values.max(initial=0) > 255 else 255.0
        return Image.fromarray((values.clip(0, top) * (255.0 / top)).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")


def _fit(image: Image.Image, image_size: tuple[int, int], fit: Fit) -> Image.Image:
    height, width = image_size
    if image.size == (width, height):
        return image
    if fit == "stretch":
        return image.resize((width, height), Image.Resampling.LANCZOS)
    return _pad(image, width, height)


def _pad(image: Image.Image, width: int, height: int) -> Image.Image:
    """Do what `ImageOps.pad` does, to the pixel, but never shrink a side to nothing, which some Pillows refuse."""
    size = (width, height)
    own, wanted = image.width / image.height, width / height
    if own > wanted:
        size = (width, max(1, round(image.height / image.width * width)))
    elif own < wanted:
        size = (max(1, round(image.width / image.height * height)), height)
    resized = image.resize(size, Image.Resampling.LANCZOS)
    if resized.size == (width, height):
        return resized
    padded = Image.new("RGB", (width, height), _find_border_color(image))
    padded.paste(resized, (round((width - size[0]) * 0.5), round((height - size[1]) * 0.5)))
    return padded


def _find_place(image: Image.Image, image_size: tuple[int, int]) -> tuple[slice, slice]:
    """Give the rows and columns that `_fit` puts a picture in."""
    scale = min(image_size[0] / image.height, image_size[1] / image.width)
    spans = []
    for side, room in ((image.height, image_size[0]), (image.width, image_size[1])):
        kept = min(max(round(side * scale), 1), room)
        start = round((room - kept) / 2)
        spans.append(slice(start, start + kept))
    return spans[0], spans[1]


def _find_border_color(image: Image.Image) -> tuple[int, int, int]:
    pixels = np.asarray(image)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    red, green, blue = np.median(border, axis=0).astype(int)
    return int(red), int(green), int(blue)
