"""Read a picture's size from its header and estimate the time and memory of decoding it, without decoding."""

import re
import struct
from dataclasses import dataclass

# A progressive JPEG has about ten scans, each a pass over the whole picture.
MAX_SCANS = 100
# Segments of a JPEG or chunks of a PNG. Pictures have up to a few hundred; each costs one step in Python.
MAX_SEGMENTS = 10_000
# The next marker of a JPEG: 00 and D0 to D7 belong to the compressed data, and FF is padding. A literal first byte
# is searched for ten times as fast as a repeated one.
_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])", re.DOTALL)
# 01 (TEM) has no content and no length.
_START_OF_IMAGE, _END_OF_IMAGE, _START_OF_SCAN, _TEM = 0xD8, 0xD9, 0xDA, 0x01
# The markers from C0 to CF that do not start a frame: two tables and an extension.
_NO_FRAME = (0xC4, 0xC8, 0xCC)
# Frames that are decoded everywhere: baseline, extended and progressive, compressed by Huffman's method.
_USUAL_FRAMES = (0xC0, 0xC1, 0xC2)
# Segments that may state an orientation or another colour model: APP1 (Exif, XMP) and APP14 (Adobe).
_CHANGING = (0xE1, 0xEE)
# Nanoseconds and bytes for each pixel, measured on one core: decode, convert to RGB and shrink to 80 x 60.
NANOSECONDS = {"JPEG": 6.0, "PNG": 35.0, "WEBP": 35.0, "GIF": 20.0, "BMP": 20.0}
BYTES = {"JPEG": 6, "PNG": 10, "WEBP": 16, "GIF": 10, "BMP": 10}
# Chunks of a PNG that are no pixels: texts and a colour profile, of which some are compressed.
METADATA_CHUNKS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
# What a segment of a file costs, and a compressed text or profile in a PNG, which may hold a megabyte.
SEGMENT_NANOSECONDS, TEXT_SEGMENTS = 10_000, 150


@dataclass(frozen=True)
class Header:
    """A picture's format and size, as its header states them.

    Attributes:
        kind: The format, by Pillow's name.
        width: In pixels.
        height: In pixels.
        scans: The number of passes that a decoder makes over the whole picture; above 1 for a progressive JPEG.
        segments: The number of parts that a decoder reads; a compressed text counts as `TEXT_SEGMENTS`.
    """

    kind: str
    width: int
    height: int
    scans: int = 1
    segments: int = 1

    @property
    def pixels(self) -> int:
        """Return width times height."""
        return self.width * self.height

    @property
    def milliseconds(self) -> float:
        """Estimate the milliseconds that one core takes to decode and shrink the picture."""
        passes = 1 + self.scans / 5 if self.scans > 1 else 1
        return (self.pixels * NANOSECONDS[self.kind] * passes + self.segments * SEGMENT_NANOSECONDS) / 1e6

    @property
    def memory(self) -> int:
        """Estimate the peak memory of decoding, in bytes."""
        return self.pixels * BYTES[self.kind]


@dataclass(frozen=True)
class Segments:
    """The segments of a JPEG, up to a scan.

    Attributes:
        size: (width, height) of the last frame; None without one.
        scans: The number of scans that were read.
        count: The number of segments.
        is_plain: Whether it has one frame of three components of 8 bits, and no segment that may state an orientation
            or another colour model: then every decoder makes the same pixels of it.
    """

    size: tuple[int, int] | None
    scans: int
    count: int
    is_plain: bool


def read_header(data: bytes) -> Header | None:
    """Read the header of a JPEG, PNG, WebP, GIF or BMP file; return None for a TIFF or an unreadable header.

    The header may be wrong: the decoder has to check the size again.
    """
    try:
        if data.startswith(b"\xff\xd8\xff"):
            return _read_jpeg(data)
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            texts = sum(data.count(kind) for kind in METADATA_CHUNKS if kind != b"tEXt")
            segments = count_chunks(data) + TEXT_SEGMENTS * texts
            width, height = struct.unpack_from(">II", data, 16)
            return Header("PNG", width, height, segments=segments)
        if data.startswith(b"GIF8"):
            return Header("GIF", *struct.unpack_from("<HH", data, 6))
        if data.startswith(b"BM"):
            width, height = struct.unpack_from("<ii", data, 18)
            return Header("BMP", abs(width), abs(height))
        if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            return _read_webp(data)
    except (struct.error, IndexError):
        pass
    return None


def count_scans(data: bytes) -> int:
    """Count the scans of a JPEG; counting stops above `MAX_SCANS`."""
    # Data between markers never contains these two bytes, so their count is an upper bound that is fast to find.
    upper_bound = data.count(b"\xff\xda")
    if upper_bound <= MAX_SCANS:
        return upper_bound
    found = read_segments(data, MAX_SCANS + 1)
    # Reading stops after MAX_SEGMENTS segments; the rest may contain any number of scans.
    return found.scans if found.count <= MAX_SEGMENTS else upper_bound


def count_chunks(data: bytes) -> int:
    """Count the chunks of a PNG, up to `MAX_SEGMENTS` + 1."""
    position, chunks = 8, 0
    while position + 12 <= len(data) and chunks <= MAX_SEGMENTS:
        position += 12 + int.from_bytes(data[position : position + 4], "big")
        chunks += 1
    return chunks


def drop_metadata(data: bytes) -> bytes | None:
    """Return a PNG without its texts and its colour profile; None where it has none, or is no PNG.

    Nothing is decompressed, and what is left is copied once.
    """
    if not data.startswith(b"\x89PNG") or not any(kind in data for kind in METADATA_CHUNKS):
        return None
    kept, start, position, chunks = [], 0, 8, 0
    while position + 12 <= len(data) and chunks <= MAX_SEGMENTS:
        end = position + 12 + int.from_bytes(data[position : position + 4], "big")
        if data[position + 4 : position + 8] in METADATA_CHUNKS:
            kept.append(data[start:position])
            start = end
        position, chunks = end, chunks + 1
    return b"".join([*kept, data[start:]]) if kept else None


def _read_jpeg(data: bytes) -> Header | None:
    # The size is known before the first scan; later scans are only counted.
    found = read_segments(data)
    return None if found.size is None else Header("JPEG", *found.size, scans=count_scans(data), segments=found.count)


def read_segments(data: bytes, max_scans: int = 1) -> Segments:
    """Read the segments of a JPEG as a decoder does, until `max_scans` scans, and `MAX_SEGMENTS` + 1 at most."""
    size, scans, segments, is_plain, is_changed, position = None, 0, 0, False, False, 2
    while scans < max_scans and segments <= MAX_SEGMENTS and (match := _MARKER.search(data, position)):
        marker, position = match[1][0], match.end()
        if marker in (_END_OF_IMAGE, _START_OF_IMAGE):
            break
        segments += 1
        if marker == _TEM:
            continue
        if 0xC0 <= marker <= 0xCF and marker not in _NO_FRAME:
            if position + 8 > len(data):
                break
            bits, height, width, components = struct.unpack_from(">BHHB", data, position + 2)
            is_plain = size is None and marker in _USUAL_FRAMES and (bits, components) == (8, 3)
            size = (width, height)
        is_changed = is_changed or marker in _CHANGING
        scans += marker == _START_OF_SCAN
        # A length below 2 is invalid; a decoder stops there.
        length = int.from_bytes(data[position : position + 2], "big")
        if length < 2:
            break
        position += length
    return Segments(size, scans, segments, is_plain and not is_changed)


def _read_webp(data: bytes) -> Header | None:
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (int.from_bytes(data[start : start + 3], "little") + 1 for start in (24, 27))
    elif kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    else:
        return None
    return Header("WEBP", width, height)
