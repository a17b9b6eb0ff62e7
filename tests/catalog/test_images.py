"""Test decoding and resizing of photographs, valid and damaged."""

import io
import struct
import threading
import tracemalloc
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np
import pytest
import simplejpeg
from hostile_pictures import write_scans, write_segments
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps, features

from hangtag.catalog import images
from hangtag.catalog.images import PhotographError, decode_photograph

SIZE = (80, 60)


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def decode(data: bytes, max_pixels: int = 1_000_000) -> np.ndarray:
    return decode_photograph(data, SIZE, max_pixels).pixels


def test_a_photograph_of_the_target_size_is_unchanged() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (80, 60, 3), dtype=np.uint8)
    assert (decode(encode(Image.fromarray(pixels))) == pixels).all()


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA", "CMYK", "I;16", "RGB"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    kind = "TIFF" if mode == "CMYK" else "PNG"
    photograph = decode_photograph(encode(Image.new(mode, (60, 80)), kind), SIZE, 10_000)
    assert photograph.pixels.shape == (80, 60, 3)
    assert photograph.pixels.dtype == np.uint8
    assert photograph.mode == mode


def test_transparency_becomes_white() -> None:
    assert (decode(encode(Image.new("RGBA", (60, 80), (9, 9, 9, 0)))) == 255).all()


def test_other_sizes_keep_their_aspect_ratio_and_are_padded() -> None:
    image = Image.new("RGB", (60, 60), (200, 210, 220))
    image.paste((10, 20, 30), (20, 20, 40, 40))
    pixels = decode(encode(image))
    assert (pixels[:10] == (200, 210, 220)).all()
    assert (pixels[-10:] == (200, 210, 220)).all()
    assert (pixels[35:45, 25:35] == (10, 20, 30)).all()


def test_the_exif_orientation_is_applied() -> None:
    image = Image.new("RGB", (80, 60))
    image.paste((255, 0, 0), (0, 0, 80, 30))
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = decode(encode(image, exif=exif.tobytes()))
    assert pixels[40, 50, 0] > 250
    assert pixels[40, 10, 0] < 5


def make_noise() -> bytes:
    return encode(Image.fromarray(np.random.default_rng(1).integers(0, 256, (80, 60, 3), dtype=np.uint8)), "JPEG")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty_file"),
        (b"just text", "not_an_image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "not_an_image"),
        (make_noise()[:900], "truncated"),
        (encode(Image.new("L", (2000, 2000))), "too_many_pixels"),
    ],
)
def test_a_damaged_file_raises_its_error_code(data: bytes, code: str) -> None:
    with pytest.raises(PhotographError) as caught:
        decode(data, max_pixels=1_000_000)
    assert caught.value.code == code


def test_too_many_pixels_are_rejected_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr("hangtag.catalog.images._load_pixels", fail)
    with pytest.raises(PhotographError, match="2000 x 2000"):
        decode(encode(Image.new("L", (2000, 2000))))


def test_stretch_ignores_the_aspect_ratio() -> None:
    # Left half black, right half white, squeezed from 80 x 60 to a square.
    square = np.full((40, 40, 3), 255, np.uint8)
    square[:, :20] = 0
    data = encode(Image.fromarray(square))
    stretched = decode_photograph(data, SIZE, 10_000, fit="stretch")
    assert stretched.pixels.shape == (*SIZE, 3)
    assert (stretched.pixels[:, :25] < 5).all()
    assert (stretched.pixels[:, 35:] > 250).all()
    assert stretched.pixels[stretched.area].shape == (*SIZE, 3)
    # With its aspect ratio kept, it is as wide, and padded above and below with its border colour.
    padded = decode_photograph(data, SIZE, 10_000).pixels
    assert np.ptp(padded[:9].astype(int)) == 0


def test_padding_continues_the_background_whatever_else_touches_the_border() -> None:
    image = Image.new("RGB", (60, 60), (250, 240, 230))
    image.paste((0, 0, 0), (0, 20, 30, 40))
    pixels = decode(encode(image))
    assert (pixels[[*range(10), *range(70, 80)]] == (250, 240, 230)).all()


@pytest.mark.parametrize("size", [(60, 80), (300, 100), (100, 301), (7, 9), (8, 500), (1000, 17), (61, 80), (45, 77)])
def test_area_is_where_the_photograph_is_placed(size: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    image = Image.fromarray(random.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    found = decode_photograph(encode(image), SIZE, 10**6)
    whole = image if size == (60, 80) else ImageOps.contain(image, (60, 80), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(found.pixels[found.area], np.asarray(whole))


def test_area_of_a_rotated_photograph_follows_its_orientation() -> None:
    image = Image.new("RGB", (40, 20), "red")
    exif = image.getexif()
    exif[0x0112] = 6
    found = decode_photograph(encode(image, "JPEG", exif=exif), SIZE, 10**6)
    assert found.pixels[found.area].shape == (80, 40, 3)


def test_a_large_jpeg_is_decoded_at_a_reduced_scale_and_looks_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    small = Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 6, 3), dtype=np.uint8))
    data = encode(small.resize((960, 1280), Image.Resampling.BICUBIC), "JPEG", quality=95)
    reduced = decode_photograph(data, SIZE, 10**7)
    assert (reduced.width, reduced.height) == (960, 1280)
    monkeypatch.setattr(images, "REDUCING_GAP", 1000)
    exact = decode_photograph(data, SIZE, 10**7)
    assert not np.array_equal(reduced.pixels, exact.pixels)
    assert np.abs(reduced.pixels.astype(int) - exact.pixels).mean() < 1.5
    assert reduced.area == exact.area


@pytest.mark.parametrize("fit", ["pad", "stretch"])
def test_a_jpeg_below_seven_times_the_size_is_decoded_exactly(
    fit: Literal["pad", "stretch"], monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = Image.effect_noise((SIZE[1] * 7 - 1, SIZE[0] * 7 - 1), 90).convert("RGB")
    data = encode(noise, "JPEG")
    found = decode_photograph(data, SIZE, 10**7, fit=fit).pixels
    monkeypatch.setattr(images, "REDUCING_GAP", 1000)
    assert np.array_equal(found, decode_photograph(data, SIZE, 10**7, fit=fit).pixels)


@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(1, 90),
    height=st.integers(1, 90),
    color=st.sampled_from([{"keep_rgb": True}, {"subsampling": 0}, {"subsampling": 1}, {"subsampling": 2}]),
    options=st.fixed_dictionaries(
        {
            "quality": st.integers(1, 100),
            "progressive": st.booleans(),
            "optimize": st.booleans(),
            "restart_marker_rows": st.sampled_from([0, 1]),
            "comment": st.sampled_from([b"", b"a comment"]),
        }
    ),
    fit=st.sampled_from(["pad", "stretch"]),
)
def test_every_jpeg_has_the_pixels_that_pillow_decodes(
    width: int, height: int, color: dict[str, object], options: dict[str, object], fit: Literal["pad", "stretch"]
) -> None:
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    data = encode(Image.fromarray(pixels), "JPEG", **color, **options)
    lossless = encode(Image.open(io.BytesIO(data)).convert("RGB"))
    found = decode_photograph(data, SIZE, 10_000, fit=fit)
    assert np.array_equal(found.pixels, decode_photograph(lossless, SIZE, 10_000, fit=fit).pixels)
    assert (found.width, found.height, found.mode) == (width, height, "RGB")


def add_segment(data: bytes, marker: int, content: bytes) -> bytes:
    return data[:2] + struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content + data[2:]


PLAIN = encode(Image.effect_noise((60, 80), 90).convert("RGB"), "JPEG")


@pytest.mark.parametrize(
    ("data", "is_quick"),
    [
        (PLAIN, True),
        (add_segment(PLAIN, 0xE2, b"ICC_PROFILE\0"), True),
        (add_segment(PLAIN, 0xE1, b"Exif\0\0"), False),
        (add_segment(PLAIN, 0xEE, b"Adobe\0\x64\0\0\0\0\0"), False),
        (encode(Image.new("L", (60, 80), 9), "JPEG"), False),
        (encode(Image.new("CMYK", (60, 80), (9, 9, 9, 9)), "JPEG"), False),
        (encode(Image.new("RGB", (60 * 8, 80 * 8)), "JPEG"), False),
    ],
)
def test_only_jpegs_that_every_decoder_reads_alike_are_decoded_the_quick_way(
    data: bytes, is_quick: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "_decode", lambda *_: None)
    assert (decode_photograph(data, SIZE, 10**6) is not None) == is_quick


def test_what_the_quick_decoder_finds_damaged_is_left_to_pillow() -> None:
    # Pillow passes over bytes between the last scan and the end, which the strict decoder warns of.
    start = PLAIN.rindex(b"\xff\xd9")
    data = PLAIN[:start] + bytes(100) + PLAIN[start:]
    with pytest.raises(ValueError, match="extraneous"):
        simplejpeg.decode_jpeg(data)
    assert np.array_equal(decode(data), decode(PLAIN))
    with pytest.raises(PhotographError, match="damaged or ends early"):
        decode(PLAIN[: start // 2])


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "I;16", "1"])
def test_large_pictures_are_converted_in_bands_to_the_same_pixels(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).integers(0, 60_000, (150, 40))
    if mode == "I;16":
        image = Image.fromarray(pixels.astype(np.uint16))
    else:
        image = Image.fromarray((pixels % 256).astype(np.uint8)).convert("RGB").convert(mode)
    data = encode(image, "TIFF" if mode == "CMYK" else "PNG")
    whole = decode_photograph(data, SIZE, 10_000).pixels
    monkeypatch.setattr(images, "BAND", 7)
    assert np.array_equal(decode_photograph(data, SIZE, 10_000).pixels, whole)


def test_a_jpeg_with_too_many_scans_or_segments_is_rejected() -> None:
    for data, code in ((write_scans(80, 60, 101), "too_many_scans"), (write_segments(20_000), "too_many_segments")):
        with pytest.raises(PhotographError) as refused:
            decode(data)
        assert refused.value.code == code
    assert decode(write_scans(80, 60, 100)).shape == (*SIZE, 3)


def test_warnings_are_ignored_in_overlapping_threads_and_restored() -> None:
    before = list(warnings.filters)
    started, go = threading.Event(), threading.Event()

    def enter() -> None:
        with images._IGNORE_WARNINGS:
            started.set()
            assert go.wait(20)
            warnings.warn("of another thread", stacklevel=1)

    with ThreadPoolExecutor(1) as pool:
        with images._IGNORE_WARNINGS:
            other = pool.submit(enter)
            assert started.wait(20)
        go.set()
        other.result(20)
    assert list(warnings.filters) == before


def make_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


LARGE = zlib.compress(bytes(3_000_000))
METADATA = {
    "text": make_chunk(b"zTXt", b"Comment\0\0" + LARGE),
    "XMP": make_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + LARGE),
    "colour profile": make_chunk(b"iCCP", b"wide\0\0" + LARGE),
    "profile of an unknown method": make_chunk(b"iCCP", b"wide\0\7" + LARGE),
    "wrong sum": make_chunk(b"tEXt", b"Comment\0x")[:-1] + b"?",
    "many": make_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(1_000_000))) * 70,
}


@pytest.mark.parametrize("place", [b"IDAT", b"IEND"])
@pytest.mark.parametrize("kind", METADATA)
def test_a_png_is_whole_whatever_its_metadata(kind: str, place: bytes) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (80, 60, 3), dtype=np.uint8)
    data = encode(Image.fromarray(pixels))
    position = data.index(place) - 4
    assert (decode(data[:position] + METADATA[kind] + data[position:]) == pixels).all()
    # Pixels that are damaged are so with or without it.
    cut = data.index(b"IDAT") + 400
    with pytest.raises(PhotographError, match="ends early"):
        decode(data[: data.index(b"IDAT") - 4] + METADATA[kind] + data[data.index(b"IDAT") - 4 : cut])


def test_large_metadata_takes_no_memory() -> None:
    data = encode(Image.new("L", (60, 80)))
    position = data.index(b"IDAT") - 4
    bomb = make_chunk(b"iCCP", b"wide\0\0" + zlib.compress(bytes(200_000_000), 9))
    hostile = data[:position] + bomb * 5 + data[position:]
    tracemalloc.start()
    decode(hostile)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 8_000_000


def test_damaged_tags_do_not_spoil_the_pixels() -> None:
    pixels = np.random.default_rng(4).integers(0, 256, (80, 60, 3), dtype=np.uint8)
    for exif in (b"Exif\0\0nonsense", b"Exif\0\0II*\0\xff\xff\xff\x7f", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"):
        data = encode(Image.fromarray(pixels), "JPEG", exif=exif)
        assert (decode(data) == decode(encode(Image.fromarray(pixels), "JPEG"))).all()


@pytest.mark.parametrize(
    ("brand", "name"), [(b"heic", "HEIC"), (b"mif1", "HEIC"), (b"avif", "AVIF"), (b"isom", "no JPEG")]
)
def test_pictures_of_other_kinds_are_named(brand: bytes, name: str) -> None:
    with pytest.raises(PhotographError, match=name) as caught:
        decode(b"\0\0\0\x18ftyp" + brand + bytes(300))
    assert caught.value.code == "not_an_image"


def test_an_avif_is_not_decoded_since_its_header_may_lie() -> None:
    if not features.check("avif"):
        pytest.skip("this Pillow writes no AVIF")
    with pytest.raises(PhotographError, match="AVIF pictures are not read"):
        decode(encode(Image.new("RGB", (60, 80)), "AVIF"))


def test_a_tiff_that_begins_with_a_preview_is_no_photograph() -> None:
    def write(subfile_type: int) -> bytes:
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8), "red").save(buffer, "TIFF", tiffinfo={254: subfile_type})
        return buffer.getvalue()

    # Whatever the name of the file, and wherever it is decoded.
    with pytest.raises(PhotographError, match="small preview") as caught:
        decode_photograph(write(1), (8, 8), 100)
    assert caught.value.code == "not_an_image"
    assert decode_photograph(write(0), (8, 8), 100).width == 8
