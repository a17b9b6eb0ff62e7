"""Test that pixels that were read from a memory map do not stay in the memory of the process."""

import sys
from pathlib import Path

import numpy as np
import pytest

from hangtag.catalog.images import Pixels, release_pages

SIZE = 48 * 2**20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "images.npy"
    np.save(path, np.arange(SIZE, dtype=np.uint64).astype(np.uint8).reshape(-1, 64, 64, 3))
    return path


def read_mapped() -> int:
    """Return the bytes of files that are in the memory of this process."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssFile"))


@pytest.mark.skipif(sys.platform != "linux", reason="the memory of a process is told in another way")
def test_pages_are_released_and_read_again(path: Path) -> None:
    images: Pixels = np.load(path, mmap_mode="r")
    before, total = read_mapped(), int(images.sum())
    assert read_mapped() - before > SIZE * 0.9
    release_pages(images)
    assert read_mapped() - before < SIZE * 0.1
    assert int(images.sum()) == total


def test_changes_of_a_copy_are_kept(path: Path) -> None:
    images: Pixels = np.load(path, mmap_mode="c")
    images[3] = 7
    release_pages(images)
    assert (images[3] == 7).all()
    release_pages(np.zeros((1, 2, 2, 3), np.uint8))
