"""Asking for a network that cannot be had."""

import sys

import pytest

from hangtag.errors import MissingExtraError, ModelError
from hangtag.models.registry import build_model


def test_an_unknown_architecture_names_the_known() -> None:
    with pytest.raises(ModelError, match=r"Allowed: .*capstone.* Received: 'resnet-9000'"):
        build_model("resnet-9000", image_size=(80, 60), num_classes=30, color_mode="color")


@pytest.mark.parametrize(("image_size", "num_classes"), [((80, 60), 1), ((80, 60), 0), ((7, 60), 30)])
def test_too_few_classes_or_pixels_are_refused(image_size: tuple[int, int], num_classes: int) -> None:
    with pytest.raises(ModelError, match="two classes or more"):
        build_model("capstone", image_size=image_size, num_classes=num_classes, color_mode="color")


def test_without_keras_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(MissingExtraError, match=r'pip install "hangtag\[train\]"'):
        build_model("capstone", image_size=(80, 60), num_classes=30, color_mode="color")
