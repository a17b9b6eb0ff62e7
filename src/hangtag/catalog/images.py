"""Decode, check and resize photographs. Every other module uses this one to do so."""

import io
import mmap
import threading
import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import simplejpeg

# Pillow imports a format's module on first use; two threads that do so at once can see it half imported.
from PIL import (
    BmpImagePlugin,  # noqa: F401
    GifImagePlugin,  # noqa: F401
    Image,
    ImageOps,
    JpegImagePlugin,  # noqa: F401
    MpoImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,  # noqa: F401
)

from hangtag.catalog.image_headers import (
    MAX_SCANS,
    MAX_SEGMENTS,
    Segments,
    count_chunks,
    count_scans,
    drop_metadata,
    read_segments,
)

# Only formats that catalogues use: Pillow also supports some that start other programs (EPS) or are rarely tested.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
# The endings of their files.
SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
# With those of pictures that are not read, unless they are of another kind than their name says. Pillow decodes an AVIF
# of any size, whatever its header states, so that no limit can be kept.
UNREAD_SUFFIXES = (".avif", ".heic", ".heif", ".hif", ".jxl", ".jp2", ".psd")
UNREAD_SUFFIXES_OF_CAMERAS = (".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raf", ".rw2")
PICTURE_SUFFIXES = SUFFIXES + UNREAD_SUFFIXES + UNREAD_SUFFIXES_OF_CAMERAS
# How JPEG, PNG, WebP, GIF and TIFF files begin.
TIFF_SIGNATURES = (b"II*\0", b"MM\0*")
SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG", b"RIFF", b"GIF8", *TIFF_SIGNATURES)
# The TIFF tag of an image's kind, and its value for a reduced copy of another image in the file (TIFF 6.0, section 8).
SUBFILE_TYPE, REDUCED = 254, 1
# Kinds that are said by their name, by the brand in the first box of the file.
OTHER_KINDS = {b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIC", b"heix": "HEIC", b"hevc": "HEIC", b"mif1": "HEIC"}
Pixels = npt.NDArray[np.uint8]
Fit = Literal["pad", "stretch"]
# The most bytes of pixels to process at once; intermediate results take several times as much memory.
PART_BYTES = 32_000_000
# A JPEG is decoded at half, a quarter or an eighth of its size if it is then still this many times too large.
REDUCING_GAP = 3.5
# The number of rows to convert at once, so that a large picture is not held in memory in several modes.
BAND = 512


@dataclass(frozen=True)
class Photograph:
    """A decoded photograph.

    Attributes:
        pixels: uint8 (H, W, 3).
        width: The width of the file in pixels.
        height: The height of the file in pixels.
        mode: The Pillow mode of the file.
        area: The rows and columns of `pixels` that the picture covers; the rest is padding in its border colour.
    """

    pixels: Pixels
    width: int
    height: int
    mode: str
    area: tuple[slice, slice] = (slice(None), slice(None))


class PhotographError(Exception):
    """A photograph that cannot be used: a stable `code`, and a `reason` for the user."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


def decode_photograph(data: bytes, image_size: tuple[int, int], max_pixels: int, *, fit: Fit = "pad") -> Photograph:
    """Decode a photograph and fit it to (height, width).

    A photograph of the target size is not resampled. Any other is resized (Lanczos) to fit inside, keeping its
    aspect ratio, and centred; the padding has the median colour of its border, which continues a white
    background. The EXIF orientation is applied, transparency becomes white, and gray, palette, 16-bit and CMYK
    files become RGB.

    `fit="stretch"` ignores the aspect ratio, for photographs that were distorted before.

    A JPEG of at least seven times the wanted sides is decoded at a reduced scale first, which is some ten times
    quicker and leaves no visible difference; any smaller photograph is decoded exactly. Texts and a colour profile
    that cannot be read, as those of a PNG that are too large unpacked, are ignored.

    Raises:
        PhotographError: `empty_file`, `not_an_image`, `too_many_pixels`, `too_many_scans`, `too_many_segments`
            (found before decoding) or `truncated`.
    """
    if not data:
        raise PhotographError("empty_file", "the file is empty")
    segments = _check_structure(data)
    if segments and (photograph := _decode_plain_jpeg(data, segments, image_size, max_pixels, fit)):
        return photograph
    try:
        return _decode(data, image_size, max_pixels, fit)
    except PhotographError as error:
        pixels_alone = drop_metadata(data) if error.code == "truncated" else None
        if pixels_alone is None:
            raise
    return _decode(pixels_alone, image_size, max_pixels, fit)


def _decode(data: bytes, image_size: tuple[int, int], max_pixels: int, fit: Fit) -> Photograph:
    with _IGNORE_WARNINGS, _open_image(data) as image:
        width, height, mode = image.width, image.height, image.mode
        if width * height > max_pixels:
            raise PhotographError("too_many_pixels", f"{width} x {height} pixels, {max_pixels} are allowed")
        _draft_smaller(image, image_size, fit)
        whole = _to_rgb(_load_pixels(image))
        return _fit_to_size(whole, (width, height), mode, image_size, fit)


def _decode_plain_jpeg(
    data: bytes, segments: Segments, image_size: tuple[int, int], max_pixels: int, fit: Fit
) -> Photograph | None:
    """Decode a JPEG as Pillow does, to the same pixels, in a third of the time; None where Pillow has to."""
    size = segments.size
    if not (size and segments.is_plain and 0 < size[0] * size[1] <= max_pixels):
        return None
    if _choose_reduction(size, image_size, fit) > 1:
        return None
    try:
        pixels = simplejpeg.decode_jpeg(data)
    except ValueError:
        # Damaged data: Pillow decides whether it can be used.
        return None
    if pixels.shape == (*image_size, 3):
        return Photograph(pixels, *size, "RGB")
    return _fit_to_size(Image.fromarray(pixels), size, "RGB", image_size, fit)


def limit_part(image_size: tuple[int, ...], most: int, weight: int = 1) -> int:
    """Return how many photographs to process at once, so that large ones do not fill the memory.

    Args:
        image_size: (height, width); further dimensions are ignored.
        most: The upper limit, for small photographs.
        weight: How many times more memory than usual the processing takes.
    """
    return max(1, min(most, PART_BYTES // (weight * 3 * image_size[0] * image_size[1])))


def take_rows(images: Pixels, rows: npt.NDArray[np.int64]) -> Pixels:
    """Return rows of photographs, uint8 (n, H, W, 3); a view where they follow one another."""
    if len(rows) and np.array_equal(rows, np.arange(rows[0], rows[0] + len(rows))):
        return images[rows[0] : rows[0] + len(rows)]
    return images[rows]


def release_pages(images: Pixels) -> None:
    """Let the system take back what was read from a memory map of pixels; it counts as memory of the process."""
    base: object = images.base
    if isinstance(base, mmap.mmap) and not images.flags.writeable and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)


def shrink(images: Pixels, image_size: tuple[int, int]) -> Pixels:
    """Resize photographs, uint8 (n, H, W, 3), to (height, width).

    Shrinking averages pixels (box filter); enlarging interpolates bilinearly.
    """
    height, width = image_size
    if images.shape[1:3] == image_size:
        return images
    is_smaller = height <= images.shape[1] and width <= images.shape[2]
    resampling = Image.Resampling.BOX if is_smaller else Image.Resampling.BILINEAR
    return np.stack([np.asarray(Image.fromarray(image).resize((width, height), resampling)) for image in images])


def build_averaging_matrix(side: int, samples: int) -> npt.NDArray[np.float64]:
    """Build the (samples, side) matrix that averages `side` pixels to `samples` values; each row sums to 1."""
    edges = np.linspace(0, side, samples + 1)
    low, high = edges[:-1, None], edges[1:, None]
    pixels = np.arange(side)
    overlap = np.clip(np.minimum(high, pixels + 1) - np.maximum(low, pixels), 0, None)
    return np.asarray(overlap / overlap.sum(axis=1, keepdims=True), np.float64)


class _IgnoreWarnings:
    """Context manager that ignores warnings while any thread decodes.

    Pillow warns of large pictures and unusual EXIF data, which this module handles itself.
    `warnings.catch_warnings` alone is not thread-safe: if two overlap, the first to exit removes the filter of the
    second, and the second restores the filter of the first.
    """

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._caught = warnings.catch_warnings()
                self._caught.__enter__()
                warnings.simplefilter("ignore")

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._caught.__exit__(None, None, None)


_IGNORE_WARNINGS = _IgnoreWarnings()


def _check_structure(data: bytes) -> Segments | None:
    """Reject a file with so many segments or scans that decoding would be slow whatever its size in pixels.

    Returns:
        The segments of a JPEG.

    Raises:
        PhotographError: `too_many_scans` or `too_many_segments`.
    """
    segments = read_segments(data) if data.startswith(b"\xff\xd8") else None
    count = segments.count if segments else count_chunks(data) if data.startswith(b"\x89PNG") else 0
    if count > MAX_SEGMENTS:
        raise PhotographError("too_many_segments", f"more than {MAX_SEGMENTS:,} segments; no camera writes so many")
    if segments and count_scans(data) > MAX_SCANS:
        raise PhotographError("too_many_scans", f"more than {MAX_SCANS} scans; no camera writes so many")
    return segments


def _draft_smaller(image: Image.Image, image_size: tuple[int, int], fit: Fit) -> None:
    """Decode a JPEG at a reduced scale that is still `REDUCING_GAP` times larger than the target size."""
    reduction = _choose_reduction(image.size, image_size, fit)
    if reduction > 1:
        image.draft(None, (max(image.width // reduction, 1), max(image.height // reduction, 1)))


def _choose_reduction(size: tuple[int, int], image_size: tuple[int, int], fit: Fit) -> int:
    """Return the divisor of the sides at which a JPEG of size (width, height) is decoded: 1, 2, 4 or 8."""
    # The EXIF orientation may swap width and height: both ways count. With padding, the smaller scale applies to both
    # sides; with stretching, each side has its own.
    choose = min if fit == "pad" else max
    (width, height), (target_height, target_width) = size, image_size
    scale = max(
        choose(target_height / height, target_width / width), choose(target_height / width, target_width / height)
    )
    return next((divisor for divisor in (8, 4, 2) if divisor * REDUCING_GAP * scale <= 1), 1)


def _open_image(data: bytes) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError) as error:
        if isinstance(error, Image.DecompressionBombError):
            raise PhotographError("too_many_pixels", "the header states far too many pixels") from error
        if data.startswith(SIGNATURES):
            raise PhotographError("truncated", "the picture's header is damaged or ends early") from error
        raise PhotographError("not_an_image", _describe_kind(data)) from error
    if isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(SUBFILE_TYPE) == REDUCED:
        image.close()
        reason = "the file begins with a small preview, as a camera's raw file does; save it as JPEG"
        raise PhotographError("not_an_image", reason)
    return image


def _describe_kind(data: bytes) -> str:
    """Return why a file is no picture that is read, with its kind where it is one that phones and websites make."""
    brands = data[8:64] if data[4:8] == b"ftyp" else b""
    kind = next((name for mark, name in OTHER_KINDS.items() if mark in brands), None)
    if kind:
        return f"{kind} pictures are not read; save it as JPEG, PNG or WebP"
    return "no JPEG, PNG, WebP, GIF, BMP or TIFF picture"


def _load_pixels(image: Image.Image) -> Image.Image:
    try:
        image.load()
        _apply_orientation(image)
    except MemoryError as error:
        raise PhotographError("too_many_pixels", "decoding takes more memory than is allowed") from error
    except Exception as error:
        # Pillow's decoders raise many types of error on damaged data (OSError, SyntaxError, struct.error, ...).
        # In every case this photograph is rejected and the run continues.
        raise PhotographError("truncated", "the picture's data is damaged or ends early") from error
    return image


def _apply_orientation(image: Image.Image) -> None:
    """Turn a picture as the camera was held; where that cannot be read, the pixels are whole all the same."""
    try:
        # In place, for a copy of a large picture takes as much memory again.
        ImageOps.exif_transpose(image, in_place=True)
    except MemoryError:
        raise
    except Exception:
        # The tags are read by the rules of TIFF files, which are as many as the ways to break them.
        return


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    is_deep = image.mode.startswith("I") or image.mode == "F"
    white = _find_white_level(image) if is_deep else 255.0
    if image.height <= BAND:
        return _convert_band(image, white)
    whole = Image.new("RGB", image.size)
    for start in range(0, image.height, BAND):
        band = image.crop((0, start, image.width, min(start + BAND, image.height)))
        whole.paste(_convert_band(band, white), (0, start))
    return whole


def _find_white_level(image: Image.Image) -> float:
    """Return the value of white: 65535 if any pixel is above 255, else 255."""
    highest = max(
        np.asarray(image.crop((0, start, image.width, min(start + BAND, image.height)))).max(initial=0)
        for start in range(0, image.height, BAND)
    )
    return 65535.0 if highest > 255 else 255.0


def _convert_band(image: Image.Image, white: float) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, dtype=np.float64)
        return Image.fromarray((values.clip(0, white) * (255.0 / white)).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")


def _fit_to_size(
    image: Image.Image, size: tuple[int, int], mode: str, image_size: tuple[int, int], fit: Fit
) -> Photograph:
    """Fit a picture, whose file has the given (width, height) and mode, to (height, width)."""
    height, width = image_size
    if image.size == (width, height):
        fitted = image
    elif fit == "stretch":
        fitted = image.resize((width, height), Image.Resampling.LANCZOS)
    else:
        fitted = _pad_to_size(image, width, height)
    area = _find_covered_area(image, image_size) if fit == "pad" else (slice(None), slice(None))
    return Photograph(np.asarray(fitted, dtype=np.uint8), *size, mode, area)


def _pad_to_size(image: Image.Image, width: int, height: int) -> Image.Image:
    """Pad exactly as `ImageOps.pad` does, but never shrink a side to 0, which some versions of Pillow reject."""
    size = (width, height)
    aspect_ratio, target_ratio = image.width / image.height, width / height
    if aspect_ratio > target_ratio:
        size = (width, max(1, round(image.height / image.width * width)))
    elif aspect_ratio < target_ratio:
        size = (max(1, round(image.width / image.height * height)), height)
    resized = image.resize(size, Image.Resampling.LANCZOS)
    if resized.size == (width, height):
        return resized
    padded = Image.new("RGB", (width, height), _find_border_color(image))
    padded.paste(resized, (round((width - size[0]) * 0.5), round((height - size[1]) * 0.5)))
    return padded


def _find_covered_area(image: Image.Image, image_size: tuple[int, int]) -> tuple[slice, slice]:
    """Return the rows and columns that a picture covers after `_pad_to_size`."""
    scale = min(image_size[0] / image.height, image_size[1] / image.width)
    spans = []
    for side, room in ((image.height, image_size[0]), (image.width, image_size[1])):
        kept = min(max(round(side * scale), 1), room)
        start = round((room - kept) / 2)
        spans.append(slice(start, start + kept))
    return spans[0], spans[1]


def _find_border_color(image: Image.Image) -> tuple[int, int, int]:
    right, bottom = image.width, image.height
    sides = [(0, 0, right, 1), (0, bottom - 1, right, bottom), (0, 0, 1, bottom), (right - 1, 0, right, bottom)]
    # Crop first: converting the whole picture to an array would copy it while holding the interpreter lock.
    border = np.concatenate([np.asarray(image.crop(side)).reshape(-1, 3) for side in sides])
    red, green, blue = np.median(border, axis=0).astype(int)
    return int(red), int(green), int(blue)
