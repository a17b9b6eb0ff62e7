"""Test the record of the photographs that a model has seen."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from hangtag.errors import ModelError
from hangtag.io import hash_file
from hangtag.labels.image_hashes import PhotographSet
from hangtag.models.seen_images import ARRAYS, FILE, SeenPhotographs, read_seen, write_seen


def make_set(*keys: int) -> PhotographSet:
    return PhotographSet(np.array(keys, np.uint64), np.array([key + 100 for key in keys], np.uint64))


def test_a_written_record_is_read_back(tmp_path: Path) -> None:
    seen = SeenPhotographs(make_set(1, 5, 2**64 - 200), make_set(5, 7), is_complete=False)
    path, entry = write_seen(tmp_path, seen)
    assert entry == {
        "file": FILE, "sha256": hash_file(path), "trained_on": 3, "chosen_on": 1, "is_complete": False,
    }  # fmt: skip
    found = read_seen(tmp_path, {"seen": entry})
    assert found is not None
    assert found.trained_on.perceptual.tolist() == [1, 5, 2**64 - 200]
    assert found.trained_on.pixels.tolist() == [101, 105, 2**64 - 100]
    # A photograph that was both trained on and chosen on is recorded once.
    assert (found.chosen_on.perceptual.tolist(), found.chosen_on.pixels.tolist()) == ([7], [107])
    assert not found.is_complete


def test_the_same_photographs_give_the_same_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_seen(tmp_path / name, SeenPhotographs(make_set(1, 2), make_set(3)))
    assert (tmp_path / "a" / FILE).read_bytes() == (tmp_path / "b" / FILE).read_bytes()


def test_a_model_without_a_record_has_none(tmp_path: Path) -> None:
    assert read_seen(tmp_path, {"format": 2}) is None


def test_the_union_has_the_photographs_of_both() -> None:
    both = SeenPhotographs(make_set(1), make_set(2)) | SeenPhotographs(make_set(2), make_set(3), is_complete=False)
    assert both.trained_on.perceptual.tolist() == [1, 2]
    assert both.chosen_on.perceptual.tolist() == [3]
    assert not both.is_complete


@pytest.mark.parametrize("damage", ["missing", "truncated", "changed"])
def test_a_damaged_file_is_refused(tmp_path: Path, damage: str) -> None:
    path, entry = write_seen(tmp_path, SeenPhotographs(make_set(1, 2), make_set(3)))
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(content[:-8] if damage == "truncated" else content[:-1] + b"x")
    with pytest.raises(
        ModelError, match="lacks the list" if damage == "missing" else "was changed, or not written completely"
    ):
        read_seen(tmp_path, {"seen": entry})


UNSORTED = np.array([2, 1], np.uint64)


@pytest.mark.parametrize(
    "change",
    [
        {ARRAYS[0]: UNSORTED},
        {ARRAYS[0]: np.array([1, 1], np.uint64)},
        {ARRAYS[1]: np.array([1, 2], np.int64)},
        {ARRAYS[2]: np.zeros((2, 2), np.uint64)},
        {"more": UNSORTED},
        None,
    ],
)
def test_a_file_with_other_arrays_is_refused_even_if_its_hash_matches(
    tmp_path: Path, change: dict[str, Any] | None
) -> None:
    path, entry = write_seen(tmp_path, SeenPhotographs())
    empty = dict.fromkeys(ARRAYS, np.empty(0, np.uint64))
    if change is None:
        path.write_bytes(b"no safetensors at all")
    else:
        save_file(empty | change, path)
    with pytest.raises(ModelError, match="cannot be read" if change is None else "has other arrays"):
        read_seen(tmp_path, {"seen": entry | {"sha256": hash_file(path)}})


@pytest.mark.parametrize(
    "entry", [1, [], {}, {"file": "../elsewhere", "is_complete": True}, {"file": FILE, "is_complete": "yes"}]
)
def test_a_damaged_entry_is_refused(tmp_path: Path, entry: object) -> None:
    with pytest.raises(ModelError, match="record of the training photographs, is damaged"):
        read_seen(tmp_path, {"seen": entry})
