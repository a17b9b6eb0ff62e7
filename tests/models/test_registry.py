"""Test the errors of architectures that cannot be built."""

import sys

import pytest

from hangtag.errors import MissingExtraError, ModelError
from hangtag.models.registry import build_model, find_architecture

HEADS = {"category_path": 30}


def test_the_error_of_an_unknown_architecture_lists_the_known_ones() -> None:
    with pytest.raises(ModelError, match=r"Allowed: residual, .*capstone.* Received: 'resnet-9000'"):
        build_model("resnet-9000", image_size=(80, 60), heads=HEADS, color_mode="color")
    with pytest.raises(ModelError, match="no such architecture"):
        find_architecture("resnet-9000")


@pytest.mark.parametrize(
    ("image_size", "heads"),
    [
        ((80, 60), {"category_path": 1}),
        ((80, 60), {"category_path": 0}),
        ((80, 60), {}),
        ((80, 60), {"category_path": 2, "attribute_0": 0}),
        ((7, 60), HEADS),
        ((80, -60), HEADS),
    ],
)
def test_too_few_classes_or_pixels_are_refused(image_size: tuple[int, int], heads: dict[str, int]) -> None:
    with pytest.raises(ModelError, match=r"two classes or more, sides of 8 pixels or more.*Received: .*image_size"):
        build_model("capstone", image_size=image_size, heads=heads, color_mode="color")


def test_the_error_without_keras_names_the_extra_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(MissingExtraError, match=r'pip install "hangtag\[train\]"'):
        build_model("capstone", image_size=(80, 60), heads=HEADS, color_mode="color")
