import numpy as np
import pytest
from PIL import Image

from hangtag.figures.contact_sheet import GAP, LARGEST_HEIGHT, MARGIN, MIN_CELL_WIDTH, draw_contact_sheet
from hangtag.figures.style import MARK

RED = tuple(bytes.fromhex(MARK[1:]))
Picture = np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]


def paint(shade: int, height: int = 80, width: int = 60) -> Picture:
    return np.full((height, width, 3), shade, dtype=np.uint8)


def count(page: Image.Image, color: tuple[int, ...]) -> int:
    return int((np.asarray(page) == color).all(axis=2).sum())


def test_photographs_are_arranged_in_rows_and_enlarged_by_the_scale() -> None:
    page = draw_contact_sheet([paint(number) for number in range(1, 8)], [""] * 7, columns=3, scale=2)
    assert page.width == 2 * MARGIN + 3 * MIN_CELL_WIDTH + 2 * GAP
    for number in range(1, 8):
        assert count(page, (number,) * 3) == 120 * 160
    middle = np.asarray(page)[MARGIN + 80]
    assert [int(middle[MARGIN + 60 + step * (MIN_CELL_WIDTH + GAP), 0]) for step in range(3)] == [1, 2, 3]


def test_photographs_of_different_sizes_are_drawn_on_one_sheet() -> None:
    page = draw_contact_sheet([paint(10), paint(20, 30, 200)], ["", ""], scale=1)
    assert count(page, (10,) * 3) == 80 * 60
    assert count(page, (20,) * 3) == 30 * 200


def test_a_large_photograph_is_shrunk_whatever_the_scale() -> None:
    page = draw_contact_sheet([paint(10, 448, 336)], [""], scale=2)
    assert count(page, (10,) * 3) == LARGEST_HEIGHT * LARGEST_HEIGHT * 3 // 4


def test_marked_photographs_have_a_red_frame() -> None:
    images = [paint(200), paint(200)]
    assert count(draw_contact_sheet(images, ["", ""]), RED) == 0
    page = draw_contact_sheet(images, ["", ""], marked=[False, True])
    left = np.asarray(page)[:, : MARGIN + MIN_CELL_WIDTH + GAP // 2]
    assert count(page, RED) > 0
    assert not (left == RED).all(axis=2).any()


def test_different_numbers_of_captions_and_photographs_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        draw_contact_sheet([paint(0), paint(0)], ["one"])
    with pytest.raises(ValueError, match="shorter"):
        draw_contact_sheet([paint(0)], ["one"], marked=[])


def test_captions_in_other_scripts_have_a_glyph_for_every_letter() -> None:
    pages = [np.asarray(draw_contact_sheet([paint(255)], [text])).tobytes() for text in ("ÄЖΩ", "ÖЖΩ", "ÄШΩ", "ÄЖΣ")]
    assert len(set(pages)) == 4, "letters that a font lacks would all be the same box"


def test_long_and_many_lined_captions_stay_below_their_photograph() -> None:
    images = [paint(255)] * 2
    page = draw_contact_sheet(images, ["an_extraordinarily_long_word_" * 30, ""], columns=2)
    gap = np.asarray(page)[:, MARGIN + MIN_CELL_WIDTH + 2 : MARGIN + MIN_CELL_WIDTH + GAP - 2]
    assert (gap == 255).all()
    assert draw_contact_sheet(images, ["a\nb\nc\nd", ""]).height > draw_contact_sheet(images, ["a", "b"]).height


def test_an_empty_sheet_and_a_long_title_can_be_drawn() -> None:
    assert draw_contact_sheet([], [], title="Nothing here").height > 0
    short = draw_contact_sheet([paint(0)], [""], title="Bags")
    long = draw_contact_sheet([paint(0)], [""], title="Loungewear and Nightwear of the season " * 9)
    assert long.width == short.width
    assert long.height > short.height
