"""Test progressive resizing."""

import numpy as np
import pytest

from hangtag.catalog.images import shrink
from hangtag.training.data import choose_size


def list_sizes(
    epochs: int,
    initial_scale: float,
    image_size: tuple[int, int] = (80, 60),
    final_fraction: float = 0.4,
    final_scale: float = 1.0,
) -> list[tuple[int, int]]:
    return [
        choose_size(
            image_size,
            epoch,
            epochs,
            initial_scale=initial_scale,
            final_scale=final_scale,
            final_fraction=final_fraction,
        )
        for epoch in range(1, epochs + 1)
    ]


def test_image_sizes_grow_in_three_steps_to_the_full_size() -> None:
    assert list_sizes(10, 0.5) == [(40, 30)] * 3 + [(56, 42)] * 3 + [(80, 60)] * 4
    assert list_sizes(5, 0.5, final_fraction=0.2) == [(40, 30)] * 2 + [(56, 42)] * 2 + [(80, 60)]


def test_the_final_scale_may_be_below_one() -> None:
    assert list_sizes(5, 0.5, final_scale=0.7) == [(40, 30)] * 2 + [(48, 36)] + [(56, 42)] * 2
    assert list_sizes(2, 0.9, final_scale=0.5) == [(40, 30)] * 2


def test_the_final_scale_may_be_above_one() -> None:
    assert list_sizes(5, 1.2, final_scale=1.6) == [(96, 72)] * 2 + [(110, 84)] + [(128, 96)] * 2


def test_an_enlarged_photograph_keeps_colours_and_orientation() -> None:
    image = np.zeros((1, 4, 6, 3), np.uint8)
    image[:, :2], image[:, :, :3, 1] = 200, 100
    larger = shrink(image, (16, 24))
    assert larger.shape == (1, 16, 24, 3)
    np.testing.assert_array_equal(larger[0, [0, 0, -1, -1], [0, -1, 0, -1]], image[0, [0, 0, -1, -1], [0, -1, 0, -1]])
    assert larger.min() >= image.min()
    assert larger.max() <= image.max()


def test_an_initial_scale_of_one_keeps_the_full_size() -> None:
    assert list_sizes(3, 1.0, (81, 61)) == [(81, 61)] * 3


@pytest.mark.parametrize("epochs", range(1, 30))
@pytest.mark.parametrize("initial_scale", [0.01, 0.3, 0.99])
@pytest.mark.parametrize("final_fraction", [0.001, 0.4, 1.0])
def test_sizes_never_shrink_and_stay_within_their_bounds(
    epochs: int, initial_scale: float, final_fraction: float
) -> None:
    sizes = list_sizes(epochs, initial_scale, (80, 9), final_fraction)
    assert sizes == sorted(sizes)
    assert sizes[-1] == (80, 9)
    assert min(min(size) for size in sizes) >= 8


def test_shrinking_averages_pixels() -> None:
    image = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(1, 4, 6, 3) * 3
    means = image.reshape(1, 2, 2, 3, 2, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(shrink(image, (2, 3)), means, atol=0.5)
    assert shrink(image, (4, 6)) is image
