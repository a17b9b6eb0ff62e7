"""Test small copies of photographs: their means are exact, however they are computed."""

import numpy as np
import pytest

from hangtag.auditing.nearest_neighbors import SHRUNK_SIZE, shrink_photographs
from hangtag.catalog.images import build_averaging_matrix


@pytest.mark.parametrize("size", [(80, 60), (160, 120), (40, 120), (20, 15), (60, 45), (224, 224)])
def test_small_copies_are_exact_means(size: tuple[int, int]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, *size, 3), np.uint8)
    # Of few grey levels, so that many means lie half-way between two.
    images[:20] //= 85
    rows, columns = (build_averaging_matrix(*sides) for sides in zip(size, SHRUNK_SIZE, strict=True))
    means = np.einsum("ih,nhwc,jw->nijc", rows, images, columns, optimize=True)
    small = shrink_photographs(images)
    if size == (224, 224):
        # Not of whole pixels: half a grey level may be rounded either way.
        assert np.abs(small - means).max() < 0.5001
    else:
        np.testing.assert_array_equal(small, means.round(6).round())
