"""Draw contact sheets: photographs in a grid with captions, and random samples of items for them."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import polars as pl
from PIL import Image, ImageDraw, ImageFont

from hangtag.figures.style import HAIRLINE, INK, MARK, PAPER, SOFT_INK, find_font

CAPTION_SIZE = 12
CAPTION_LINES = 3
CAPTION_GAP = 8
LINE_HEIGHT = 16
TITLE_SIZE = 22
TITLE_LINES = 3
TITLE_LINE_HEIGHT = 30
GAP = 22
MARGIN = 32
MIN_CELL_WIDTH = 120
MIN_PAGE_WIDTH = 360
# The largest height of a photograph in pixels, so that a page fits a screen.
LARGEST_HEIGHT = 240
ELLIPSIS = "…"
Measure = Callable[[str], float]


@dataclass(frozen=True)
class _Cell:
    """A photograph with the lines and colours of its caption."""

    picture: Image.Image
    caption: list[tuple[str, str]]
    marked: bool


def draw_contact_sheet(
    images: Sequence[npt.NDArray[np.uint8]],
    captions: Sequence[str],
    columns: int = 5,
    scale: int = 2,
    title: str = "",
    *,
    marked: Sequence[bool] | None = None,
) -> Image.Image:
    r"""Draw photographs in a grid on white, each with its caption below it.

    Args:
        images: Photographs, uint8 of shape (height, width, 3); their sizes may differ.
        captions: A text for each; `\n` begins a new line, a long line is wrapped and, after CAPTION_LINES lines,
            cut with `…`.
        columns: The number of photographs in a row.
        scale: How many times a photograph is enlarged, a whole number (1 leaves it), as far as `LARGEST_HEIGHT` allows;
            a photograph that is larger is shrunk to it.
        title: The heading of the page.
        marked: Whether to put a photograph in a red frame and its caption in red, e.g. a wrong prediction.

    Raises:
        ValueError: There is not one caption (and one mark) for each photograph.
    """
    flags = [False] * len(images) if marked is None else marked
    pictures = [_enlarge(image, scale) for image in images]
    cell_width = max([MIN_CELL_WIDTH, *(picture.width for picture in pictures)])
    cells = [
        _Cell(picture, _set_caption(caption, cell_width, bool(flag)), bool(flag))
        for picture, caption, flag in zip(pictures, captions, flags, strict=True)
    ]
    columns = max(1, min(columns, len(cells)))
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    return _draw_page(rows, cell_width, columns, title)


@cache
def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(find_font(bold)), size)


def _enlarge(image: npt.NDArray[np.uint8], scale: int) -> Image.Image:
    picture = Image.fromarray(np.ascontiguousarray(image))
    factor = min(scale, LARGEST_HEIGHT / picture.height)
    if factor == 1:
        return picture
    width, height = (max(1, round(side * factor)) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def _set_caption(caption: str, width: int, marked: bool) -> list[tuple[str, str]]:
    """Return the lines of a caption with their colours, the first line darker than the rest."""
    measure = _font(CAPTION_SIZE).getlength
    return [
        (part, MARK if marked else INK if number == 0 else SOFT_INK)
        for number, line in enumerate(caption.split("\n"))
        for part in wrap_line(line, measure, width, CAPTION_LINES)
    ]


def _draw_page(rows: list[list[_Cell]], cell_width: int, columns: int, title: str) -> Image.Image:
    width = max(MIN_PAGE_WIDTH, 2 * MARGIN + columns * cell_width + (columns - 1) * GAP)
    measure = _font(TITLE_SIZE, bold=True).getlength
    heading = wrap_line(title, measure, width - 2 * MARGIN, TITLE_LINES) if title else []
    heights = [_measure_picture(row) + CAPTION_GAP + _count_lines(row) * LINE_HEIGHT for row in rows]
    top = MARGIN + (len(heading) * TITLE_LINE_HEIGHT + GAP if heading else 0)
    height = top + sum(heights) + GAP * max(0, len(rows) - 1) + MARGIN
    page = Image.new("RGB", (width, height), PAPER)
    _draw_heading(page, heading)
    for row, row_height in zip(rows, heights, strict=True):
        middle, below = top + _measure_picture(row) // 2, top + _measure_picture(row) + CAPTION_GAP
        for column, cell in enumerate(row):
            left = MARGIN + column * (cell_width + GAP)
            _draw_picture(page, cell, left + cell_width // 2, middle)
            _draw_caption(page, cell, left, below)
        top += row_height + GAP
    return page


def _count_lines(row: list[_Cell]) -> int:
    return max(len(cell.caption) for cell in row)


def _measure_picture(row: list[_Cell]) -> int:
    return max(cell.picture.height for cell in row)


def _draw_heading(page: Image.Image, heading: list[str]) -> None:
    draw = ImageDraw.Draw(page)
    for number, line in enumerate(heading):
        index = (MARGIN, MARGIN - 6 + number * TITLE_LINE_HEIGHT)
        draw.text(index, line, INK, _font(TITLE_SIZE, bold=True))
    if heading:
        below = MARGIN + len(heading) * TITLE_LINE_HEIGHT + 2
        draw.line([(MARGIN, below), (page.width - MARGIN, below)], HAIRLINE)


def _draw_picture(page: Image.Image, cell: _Cell, center: int, middle: int) -> None:
    """Draw a photograph around its cell's centre, with a hairline or a red frame around it."""
    x, y = center - cell.picture.width // 2, middle - cell.picture.height // 2
    page.paste(cell.picture, (x, y))
    right, bottom = x + cell.picture.width, y + cell.picture.height
    draw = ImageDraw.Draw(page)
    if cell.marked:
        draw.rectangle([x - 3, y - 3, right + 2, bottom + 2], outline=MARK, width=3)
    else:
        draw.rectangle([x - 1, y - 1, right, bottom], outline=HAIRLINE)


def _draw_caption(page: Image.Image, cell: _Cell, left: int, top: int) -> None:
    draw = ImageDraw.Draw(page)
    for number, (line, color) in enumerate(cell.caption):
        draw.text((left, top + number * LINE_HEIGHT), line, color, _font(CAPTION_SIZE))


def wrap_line(line: str, measure: Measure, width: float, max_lines: int) -> list[str]:
    """Break a text into at most `max_lines` lines that fit `width`.

    Args:
        line: The text; runs of white space count as one space.
        measure: Returns the width of a text, in the unit of `width` (pixels).
        width: The available width of a line.
        max_lines: The maximum number of lines; the last ends in `…` if text is left over.
    """
    rest = " ".join(line.split())
    lines: list[str] = []
    while len(lines) < max_lines - 1 and measure(rest) > width:
        end = _find_break(rest, measure, width)
        lines.append(rest[:end].rstrip())
        rest = rest[end:].lstrip()
    return [*lines, shorten(rest, measure, width)]


def _find_break(text: str, measure: Measure, width: float) -> int:
    """Find the end of a line: after the last word that fits, or inside a word that is longer than a line."""
    end = _count_fitting(text, measure, width)
    if text[end : end + 1] == " ":
        return end
    # Break after hyphens and slashes too.
    at_word = max(text.rfind(mark, 0, end) for mark in (" ", "-", "/")) + 1
    return at_word if at_word > end // 3 else end


def _count_fitting(text: str, measure: Measure, width: float) -> int:
    """Count the characters from the start that fit, at least one."""
    low, high = 1, max(1, len(text))
    while low < high:
        middle = (low + high + 1) // 2
        if measure(text[:middle]) <= width:
            low = middle
        else:
            high = middle - 1
    return low


def shorten(text: str, measure: Measure, width: float) -> str:
    """Return the text, cut to fit the width with `…` at its end if it is too long."""
    if not text or measure(text) <= width:
        return text
    return text[: _count_fitting(text, measure, width - measure(ELLIPSIS))].rstrip() + ELLIPSIS


def draw_items(table: pl.DataFrame, items: int, seed: int) -> pl.DataFrame:
    """Draw up to `items` items of each label at random.

    The random key of an item depends only on the seed and its id, not on the order of the rows or on other items.

    Args:
        table: Columns label and item_id, and any others.
        items: The number of items of each label; all of them if a label has fewer.
        seed: The seed of the draw.

    Returns:
        The rows drawn with `position` (from 1 in each label), ordered by label and position.
    """
    keys = [hashlib.sha256(f"{seed}:{item_id}".encode()).hexdigest() for item_id in table["item_id"]]
    ordered = table.with_columns(pl.Series("key", keys, dtype=pl.String)).sort("label", "key", "item_id")
    position = pl.int_range(1, pl.len() + 1).over("label").alias("position")
    return ordered.with_columns(position).filter(pl.col("position") <= items).drop("key")
