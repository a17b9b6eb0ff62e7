"""Photographs of every kind a catalogue brings, good and bad."""

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from hangtag.catalog.images import PhotographError, decode_photograph

SIZE = (80, 60)


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def decode(data: bytes, max_pixels: int = 1_000_000) -> np.ndarray:
    return decode_photograph(data, SIZE, max_pixels).pixels


def test_a_fitting_photograph_is_taken_as_it_is() -> None:
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


def test_odd_sizes_keep_their_proportions_on_their_own_background() -> None:
    image = Image.new("RGB", (60, 60), (200, 210, 220))
    image.paste((10, 20, 30), (20, 20, 40, 40))
    pixels = decode(encode(image))
    assert (pixels[:10] == (200, 210, 220)).all()
    assert (pixels[-10:] == (200, 210, 220)).all()
    assert (pixels[35:45, 25:35] == (10, 20, 30)).all()


def test_the_cameras_orientation_is_applied() -> None:
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
def test_bad_files_have_a_code(data: bytes, code: str) -> None:
    with pytest.raises(PhotographError) as caught:
        decode(data, max_pixels=1_000_000)
    assert caught.value.code == code


def test_too_many_pixels_are_known_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr("hangtag.catalog.images._load", fail)
    with pytest.raises(PhotographError, match="2000 x 2000"):
        decode(encode(Image.new("L", (2000, 2000))))


def test_a_squeezed_photograph_is_stretched_back_where_asked_for() -> None:
    # Left half black, right half white, squeezed from 80 x 60 to a square.
    square = np.full((40, 40, 3), 255, np.uint8)
    square[:, :20] = 0
    data = encode(Image.fromarray(square))
    stretched = decode_photograph(data, SIZE, 10_000, fit="stretch")
    assert stretched.pixels.shape == (*SIZE, 3)
    assert (stretched.pixels[:, :25] < 5).all()
    assert (stretched.pixels[:, 35:] > 250).all()
    assert stretched.pixels[stretched.place].shape == (*SIZE, 3)
    # Kept in proportion it is as wide, and padded above and below with the colour of its border.
    padded = decode_photograph(data, SIZE, 10_000).pixels
    assert np.ptp(padded[:9].astype(int)) == 0


@pytest.mark.parametrize("size", [(60, 80), (300, 100), (100, 301), (7, 9), (8, 500), (1000, 17), (61, 80), (45, 77)])
def test_the_place_of_a_photograph_is_where_it_was_put(size: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    image = Image.fromarray(random.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    found = decode_photograph(encode(image), SIZE, 10**6)
    whole = image if size == (60, 80) else ImageOps.contain(image, (60, 80), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(found.pixels[found.place], np.asarray(whole))


def test_the_place_of_a_turned_photograph_is_that_of_what_is_seen() -> None:
    image = Image.new("RGB", (40, 20), "red")
    exif = image.getexif()
    exif[0x0112] = 6
    found = decode_photograph(encode(image, "JPEG", exif=exif), SIZE, 10**6)
    assert found.pixels[found.place].shape == (80, 40, 3)
