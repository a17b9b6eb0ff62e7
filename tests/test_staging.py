"""Test the switch from a folder's old files to its new ones, and the recovery after a kill."""

import os
from contextlib import nullcontext
from pathlib import Path

import pytest

from hangtag.io import find_part_owner, read_json, write_whole
from hangtag.workspace import begin_staging, commit, has_leftovers, recover


def fill(folder: Path, **texts: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / f"{name}.csv").write_text(text)


def read(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir() if path.suffix == ".csv"}


def test_a_commit_replaces_adds_and_removes(tmp_path: Path) -> None:
    fill(tmp_path, both="old", gone="old", other="of another user")
    (tmp_path / "checkpoint").mkdir()
    fill(begin_staging(tmp_path), both="new", added="new")
    commit(tmp_path, {"stage": "test"}, ["gone.csv", "checkpoint"])
    assert read(tmp_path) == {"both.csv": "new", "added.csv": "new", "other.csv": "of another user"}
    assert read_json(tmp_path / "manifest.json") == {"stage": "test"}
    assert not (tmp_path / "checkpoint").exists()
    assert not has_leftovers(tmp_path)


def test_staged_files_without_a_manifest_are_removed(tmp_path: Path) -> None:
    fill(tmp_path, both="old")
    fill(begin_staging(tmp_path), both="new")
    assert has_leftovers(tmp_path)
    recover(tmp_path)
    assert read(tmp_path) == {"both.csv": "old"}
    assert not has_leftovers(tmp_path)


@pytest.mark.parametrize("moved", [0, 1, 2])
def test_an_interrupted_switch_is_finished(tmp_path: Path, moved: int, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, one="old", two="old", gone="old")
    (tmp_path / "manifest.json").write_text("{}")
    fill(begin_staging(tmp_path), one="new", two="new")
    left = moved

    def replace(path: Path, target: Path) -> Path:
        nonlocal left
        if path.suffix == ".csv":
            if not left:
                raise KeyboardInterrupt
            left -= 1
        return path.rename(target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt) if moved < 2 else nullcontext():
        patch.setattr(Path, "replace", replace)
        commit(tmp_path, {"stage": "new"}, ["gone.csv"])
    if moved < 2:
        assert not (tmp_path / "manifest.json").exists()
    recover(tmp_path)
    assert read(tmp_path) == {"one.csv": "new", "two.csv": "new"}
    assert read_json(tmp_path / "manifest.json") == {"stage": "new"}


@pytest.mark.parametrize("name", ["../outside.csv", "inner/../../outside.csv"])
def test_a_manifest_cannot_remove_files_elsewhere(tmp_path: Path, name: str) -> None:
    fill(tmp_path, outside="of another user")
    folder = tmp_path / "labels"
    begin_staging(folder)
    commit(folder, {}, [name, str(tmp_path / "outside.csv")])
    assert read(tmp_path) == {"outside.csv": "of another user"}


def test_temporary_files_of_dead_processes_are_removed_and_those_of_living_ones_kept(tmp_path: Path) -> None:
    with write_whole(tmp_path / "images.npy") as temporary:
        assert find_part_owner(temporary) == os.getpid()
        # No Linux process can have such a large id.
        dead = tmp_path / temporary.name.replace(str(os.getpid()), str(2**30))
        dead.write_bytes(b"half")
        recover(tmp_path)
        assert not dead.exists()
        temporary.write_bytes(b"whole")
    assert (tmp_path / "images.npy").read_bytes() == b"whole"
    assert not has_leftovers(tmp_path)


def test_names_of_any_length_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / f"{'n' * 240}.png"
    with write_whole(path) as temporary:
        temporary.write_bytes(b"x")
    assert path.read_bytes() == b"x"
