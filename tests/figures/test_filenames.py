import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hangtag.figures.style import slug


@pytest.mark.parametrize(("label", "name"), [("Flip Flops", "Flip_Flops"), ("T-Shirts", "T-Shirts")])
def test_plain_labels_stay_readable(label: str, name: str) -> None:
    assert slug(label) == name


@pytest.mark.parametrize("label", ["../../etc/passwd", "a/b", "", " ", ".", "靴", "x" * 500, "a\0b", "CON:"])
def test_every_label_has_a_safe_file_name(label: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,90}", slug(label))


def test_similar_labels_have_different_file_names() -> None:
    labels = ["a b", "a_b", "a/b", "a  b", " a b", "ä b", "a.b", "a-b", "靴", "鞋", "x" * 81, "x" * 82]
    assert len({slug(label) for label in labels}) == len(labels)


@given(st.text(" _-aB9é/", max_size=6), st.text(" _-aB9é/", max_size=6))
def test_no_two_labels_share_a_file_name(one: str, other: str) -> None:
    assert (slug(one) == slug(other)) == (one == other)
