from hypothesis import given
from hypothesis import strategies as st

from hangtag.figures.contact_sheet import shorten, wrap_line


def measure(text: str) -> float:
    return float(len(text))


@given(st.text(max_size=60), st.integers(2, 20), st.integers(1, 4))
def test_lines_respect_the_width_and_the_number_of_lines(text: str, width: int, max_lines: int) -> None:
    lines = wrap_line(text, measure, width, max_lines)
    assert 1 <= len(lines) <= max_lines
    assert all(len(line) <= width for line in lines)


@given(st.text("ab- /", max_size=40), st.integers(2, 12))
def test_a_caption_with_enough_space_is_complete(text: str, width: int) -> None:
    lines = wrap_line(text, measure, width, max_lines=60)
    assert "".join("".join(lines).split()) == "".join(text.split())


def test_lines_break_after_words_and_hyphens_and_inside_words_that_are_too_long() -> None:
    assert wrap_line("Red Tape Casual Shoes", measure, 9, 3) == ["Red Tape", "Casual", "Shoes"]
    assert wrap_line("G-SHOCK GD-100WW", measure, 12, 3) == ["G-SHOCK GD-", "100WW"]
    assert wrap_line("Unbreakablewords", measure, 6, 3) == ["Unbrea", "kablew", "ords"]


def test_a_shortened_caption_ends_in_an_ellipsis() -> None:
    assert wrap_line("Red Tape Casual Shoes", measure, 9, 2) == ["Red Tape", "Casual S…"]
    assert shorten("Sandals", measure, 7) == "Sandals"
    assert shorten("Sandals!", measure, 7) == "Sandal…"
