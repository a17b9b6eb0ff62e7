"""Break a caption into lines that fit under its photograph."""

from collections.abc import Callable

Measure = Callable[[str], float]
ELLIPSIS = "…"


def wrap_line(line: str, measure: Measure, width: float, max_lines: int) -> list[str]:
    """Break a text into at most `max_lines` lines that fit `width`.

    Args:
        line: The text; runs of white space count as one space.
        measure: Gives the width of a text, in the unit of `width` (pixels).
        width: The room for a line.
        max_lines: The most lines to give; the last ends in `…` where more is left.
    """
    rest = " ".join(line.split())
    lines: list[str] = []
    while len(lines) < max_lines - 1 and measure(rest) > width:
        end = _find_break(rest, measure, width)
        lines.append(rest[:end].rstrip())
        rest = rest[end:].lstrip()
    return [*lines, shorten(rest, measure, width)]


def _find_break(text: str, measure: Measure, width: float) -> int:
    """Find where to break: after the last word that fits, or inside a word that is longer than a line."""
    end = _count_fitting(text, measure, width)
    if text[end : end + 1] == " ":
        return end
    # A hyphen or slash ends a line as well as a space does.
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
    """Give the text, or as much of its start as fits with `…` after it."""
    if not text or measure(text) <= width:
        return text
    return text[: _count_fitting(text, measure, width - measure(ELLIPSIS))].rstrip() + ELLIPSIS
