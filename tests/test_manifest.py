"""Test the record of a stage's inputs, settings and outputs."""

import os
from pathlib import Path
from typing import Any

import pytest

from hangtag import manifest as manifest_module
from hangtag.errors import WorkspaceError
from hangtag.io import read_json, write_json
from hangtag.manifest import StageRecord, compute_digest, read_manifest, read_version, require_manifest
from hangtag.results import StageResult

HINT = "Run `hangtag clean` first."


def make(folder: Path, *, inputs: str = "a", settings: int = 1, **more: Any) -> StageResult:
    record = make_record(folder, inputs=inputs, settings=settings)
    (record.begin() / "labels.csv").write_bytes(b"x" * 1000)
    return record.finish({"items": 3}, [record.work / "labels.csv"], **more)


def make_record(folder: Path, *, inputs: str = "a", settings: int = 1) -> StageRecord:
    return StageRecord("clean", folder, {"prepared": inputs}, {"seed": settings})


def test_an_unchanged_stage_is_found(tmp_path: Path) -> None:
    made = make(tmp_path)
    found = make_record(tmp_path).load_if_unchanged()
    assert found is not None
    assert (found.metrics, found.seconds, found.skipped) == (made.metrics, made.seconds, True)
    assert make_record(tmp_path, inputs="b").load_if_unchanged() is None
    assert make_record(tmp_path, settings=2).load_if_unchanged() is None
    assert make_record(tmp_path, settings=2).find_other_settings() == {"seed": (1, 2)}


def test_the_result_of_another_version_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path)
    assert make_record(tmp_path).load_if_unchanged() is not None
    assert read_json(tmp_path / "manifest.json")["versions"]["hangtag"] == read_version("hangtag") != ""
    monkeypatch.setattr(manifest_module, "read_version", lambda _: "0.0.1")
    assert make_record(tmp_path).load_if_unchanged() is None


@pytest.mark.parametrize("entry", ["stage", "counts", "settings", "inputs", "outputs", "versions", "schema"])
def test_every_entry_is_part_of_the_manifest_s_digest(tmp_path: Path, entry: str) -> None:
    make(tmp_path, schema={"attributes": []})
    manifest = read_json(tmp_path / "manifest.json")
    value = "predict" if entry == "stage" else manifest[entry] | {"more": "1"}
    write_json(tmp_path / "manifest.json", manifest | {entry: value})
    assert read_manifest(tmp_path) is None


@pytest.mark.parametrize("keeps_time", [False, True])
def test_a_file_that_was_changed_in_place_is_detected(tmp_path: Path, keeps_time: bool) -> None:
    make(tmp_path)
    assert make_record(tmp_path).load_if_unchanged() is not None
    path = tmp_path / "labels.csv"
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(500)
        file.write(b"y")
    if keeps_time:
        # A copy of another file of the same size, with the same modification time.
        other = tmp_path / "copy"
        other.write_bytes(path.read_bytes())
        os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
        other.replace(path)
    assert make_record(tmp_path).load_if_unchanged() is None
    with pytest.raises(WorkspaceError, match=r"not those that the command wrote.*labels\.csv.*hangtag clean"):
        require_manifest(tmp_path, HINT)


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", "{}", '{"stage": "clean"}', "\x00\x01", "[" * 100_000, '{"outputs": 3}']
)
def test_a_damaged_manifest_counts_as_none_and_is_written_again(tmp_path: Path, damage: str) -> None:
    make(tmp_path)
    (tmp_path / "manifest.json").write_text(damage)
    assert read_manifest(tmp_path) is None
    assert make_record(tmp_path).load_if_unchanged() is None
    with pytest.raises(WorkspaceError, match=r"its manifest\.json is damaged.*hangtag clean"):
        require_manifest(tmp_path, HINT)
    make(tmp_path)
    assert make_record(tmp_path).load_if_unchanged() is not None


@pytest.mark.parametrize("output", [None, 3, {}, {"bytes": 1000}, {"bytes": "x", "sha256": 3}])
def test_an_output_without_its_hash_counts_as_changed(tmp_path: Path, output: object) -> None:
    make(tmp_path)
    manifest = read_json(tmp_path / "manifest.json")
    write_json(tmp_path / "manifest.json", manifest | {"outputs": {"labels.csv": output}})
    assert make_record(tmp_path).load_if_unchanged() is None


def test_the_meaning_of_columns_is_part_of_the_digest(tmp_path: Path) -> None:
    digests = set()
    for attributes in (["colour"], ["colour", "size"]):
        make(tmp_path, schema={"attributes": attributes})
        digests.add(compute_digest(require_manifest(tmp_path, HINT)))
    make(tmp_path, schema={"attributes": ["colour"]}, origin={"catalog": "elsewhere"})
    digests.add(compute_digest(require_manifest(tmp_path, HINT)))
    assert len(digests) == 2


def test_files_that_are_not_written_again_are_removed(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "notes.txt").write_text("of a person")
    record = make_record(tmp_path, settings=2)
    (record.begin() / "sheets").mkdir()
    (record.work / "sheets" / "hats.png").write_bytes(b"x")
    record.finish({}, [record.work / "sheets" / "hats.png"])
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"manifest.json", "sheets/hats.png", "notes.txt"}
    assert list(require_manifest(tmp_path, HINT)["outputs"]) == ["sheets/hats.png"]


def test_an_unfinished_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="is not made yet"):
        require_manifest(tmp_path, HINT)
    make_record(tmp_path).begin()
    with pytest.raises(WorkspaceError, match="is not finished"):
        require_manifest(tmp_path, HINT)


def test_an_entry_can_be_updated_without_a_new_result(tmp_path: Path) -> None:
    make(tmp_path, origin={"catalog": "here"})
    make_record(tmp_path).update(origin={"catalog": "there"})
    assert require_manifest(tmp_path, HINT)["origin"] == {"catalog": "there"}
    assert make_record(tmp_path).load_if_unchanged() is not None
