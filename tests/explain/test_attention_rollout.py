"""Attention rollout equals values computed by hand, and can be read from a network."""

import numpy as np
import pytest

from hangtag.explain.attention_rollout import has_attention, read_attention, roll_out
from hangtag.models.registry import build_model


def test_a_block_that_attends_to_one_patch_gives_it_half_of_the_share() -> None:
    # Both patches look at the first one: it has its own half, and the half of both that was looked for.
    looking = np.array([[[[1.0, 0.0], [1.0, 0.0]]]])
    np.testing.assert_allclose(roll_out([looking]), [[0.75, 0.25]])
    np.testing.assert_allclose(roll_out([looking, looking]), [[0.875, 0.125]])


def test_a_later_block_attends_to_the_output_of_the_earlier_one() -> None:
    first = np.array([[[[0.0, 1.0], [0.0, 1.0]]]])
    second = np.array([[[[1.0, 0.0], [1.0, 0.0]]]])
    # After the first the first place holds half of each patch; the second gathers from there.
    np.testing.assert_allclose(roll_out([first, second]), [[0.375, 0.625]])


def test_heads_have_equal_weight() -> None:
    heads = np.array([[[[1.0, 0.0], [1.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]]]])
    np.testing.assert_allclose(roll_out([heads]), [[0.5, 0.5]])


@pytest.mark.parametrize(("name", "sides"), [("vit", (8, 6)), ("vit-stem", (10, 8))])
def test_a_network_gives_a_share_for_each_patch(name: str, sides: tuple[int, int]) -> None:
    model = build_model(name, image_size=(80, 60), heads={"category_path": 3}, color_mode="color", num_words=2)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 80, 60, 3), dtype=np.uint8)
    # One part unlike the rest is heeded otherwise; where it is, the share is another.
    pixels[1] = 255
    pixels[1, 20:40, 20:40] = 0
    words = np.zeros((2, *model.input["words"].shape[1:]), np.int32)
    shares = read_attention(model, pixels, words)
    assert shares.shape == (2, *sides)
    np.testing.assert_allclose(shares.sum(axis=(1, 2)), 1, atol=1e-5)
    assert shares.min() > 0
    assert np.ptp(shares[1]) > 1e-6
    np.testing.assert_allclose(read_attention(model, pixels[1:], words[1:]), shares[1:], atol=1e-5)


def test_other_networks_have_no_attention() -> None:
    model = build_model("residual-tiny", image_size=(8, 8), heads={"category_path": 3}, color_mode="color")
    assert not has_attention(model)
    assert not has_attention(object())
