"""Test that sizes, scans and segments read from headers agree with a decoder, within a bounded time."""

import io
import struct
from typing import Any

import pytest
from hostile_pictures import write_scans, write_segments
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from hangtag.catalog.image_headers import (
    MAX_SCANS,
    MAX_SEGMENTS,
    count_chunks,
    count_scans,
    drop_metadata,
    read_header,
    read_segments,
)


def encode(kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((61, 83), 50).convert("RGB").save(buffer, kind, **options)
    return buffer.getvalue()


KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "baseline": ("JPEG", {}),
    "progressive": ("JPEG", {"progressive": True}),
    "JPEG with more in it": ("JPEG", {"comment": b"\xff\xda" * 200, "exif": b"Exif\0\0" + b"\xff\xda" * 99}),
    "PNG": ("PNG", {}),
    "WebP": ("WEBP", {}),
    "lossless": ("WEBP", {"lossless": True}),
    "WebP with more in it": ("WEBP", {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0"}),
    "GIF": ("GIF", {}),
    "BMP": ("BMP", {}),
}


@pytest.mark.parametrize(("kind", "options"), KINDS.values(), ids=KINDS)
def test_the_size_agrees_with_pillow(kind: str, options: dict[str, Any]) -> None:
    header = read_header(encode(kind, **options))
    assert header is not None
    assert (header.kind, header.width, header.height) == (kind, 61, 83)
    assert header.pixels == 61 * 83
    assert header.scans == (10 if "progressive" in options else 1)
    assert 0 < header.milliseconds < 2
    assert 0 < header.memory < 100_000


def test_all_scans_are_counted() -> None:
    for count in (10, 99, MAX_SCANS):
        assert count_scans(write_scans(60, 40, count)) == count
    assert count_scans(write_scans(60, 40, 1010)) > MAX_SCANS
    # Behind so many segments that counting them ends.
    data = write_scans(60, 40, 200)
    first = data.index(b"\xff\xda")
    hidden = data[: first + 30] + b"\xff\xfe\x00\x02" * (MAX_SEGMENTS + 1) + data[first + 30 :]
    assert count_scans(hidden) > MAX_SCANS


def test_segments_are_counted_up_to_the_limit() -> None:
    assert read_segments(write_segments(50)).count < 70
    assert read_segments(write_segments(500_000)).count == MAX_SEGMENTS + 1
    chunk = struct.pack(">I", 0) + b"teXt" + bytes(4)
    assert count_chunks(b"\x89PNG\r\n\x1a\n" + chunk * 500_000) == MAX_SEGMENTS + 1


@pytest.mark.parametrize(
    "data", [b"", b"text", b"II*\0", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF0000WEBPVP8 ", b"BM"]
)
def test_data_without_a_header_returns_none(data: bytes) -> None:
    assert read_header(data) is None


def test_metadata_is_dropped_from_a_png_alone() -> None:
    info = PngInfo()
    info.add_text("Title", "a shirt", zip=True)
    plain, noted = encode("PNG"), encode("PNG", pnginfo=info)
    assert drop_metadata(plain) is None
    assert drop_metadata(encode("JPEG", comment=b"zTXt")) is None
    dropped = drop_metadata(noted)
    assert dropped is not None
    assert b"zTXt" not in dropped
    assert "Title" not in Image.open(io.BytesIO(dropped)).info
    # Cut in the middle of a text, or with a length that leads behind the end.
    place = noted.index(b"zTXt")
    assert drop_metadata(noted[: place + 20]) == noted[: place - 4]
    assert drop_metadata(noted[: place - 4] + b"\xff\xff\xff\xff" + noted[place:]) == noted[: place - 4]
