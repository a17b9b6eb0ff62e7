"""Test the errors for damaged files and for disks that cannot be written."""

import errno
import json
import os
from pathlib import Path

import pytest

from hangtag.errors import WorkspaceError
from hangtag.io import hash_file, name_refusals, put_in_place, read_json, write_json, write_text
from hangtag.manifest import StageRecord, find_manifest, read_manifest, require_manifest
from hangtag.training.checkpoint import FILE, read_checkpoint, read_settings_of_checkpoint
from hangtag.workspace import MANIFEST, STAGING, STALE, recover

HINT = "Run it again."


def make_stage(folder: Path, text: str = "old", settings: dict[str, object] | None = None) -> StageRecord:
    record = StageRecord("clean", folder, {}, settings or {"size": 12})
    write_text(record.begin() / "table.csv", text)
    record.finish({}, [record.work / "table.csv"])
    return record


def test_a_pipe_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    for read in (read_json, hash_file):
        with pytest.raises(OSError, match="not a file"):
            read(tmp_path / "pipe.json")


def test_json_that_is_nested_too_deep_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match="too deep"):
        read_json(tmp_path / "deep.json")


def test_an_error_of_the_disk_names_the_file_and_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_text(tmp_path / "table.csv", "old")

    def refuse(_: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("hangtag.io.flush", refuse)
    with pytest.raises(OSError, match="No space left") as raised:
        write_text(tmp_path / "table.csv", "new")
    assert raised.value.filename == str(tmp_path / "table.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]
    assert (tmp_path / "table.csv").read_text() == "old"


def test_an_error_of_openvino_about_a_full_disk_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="disk is full") as raised, name_refusals(tmp_path):
        raise RuntimeError("basic_ios::clear: iostream error")
    assert raised.value.filename == str(tmp_path)


def test_only_an_empty_folder_is_replaced_by_a_file(tmp_path: Path) -> None:
    for name in ("empty", "full"):
        (tmp_path / name).mkdir()
        (tmp_path / f"{name}.new").write_text("new")
    (tmp_path / "full" / "mine").write_text("mine")
    put_in_place(tmp_path / "empty.new", tmp_path / "empty")
    assert (tmp_path / "empty").read_text() == "new"
    with pytest.raises(OSError, match="not empty"):
        put_in_place(tmp_path / "full.new", tmp_path / "full")
    assert (tmp_path / "full" / "mine").read_text() == "mine"


def test_a_manifest_that_was_changed_is_damaged_even_if_it_is_valid_json(tmp_path: Path) -> None:
    record = make_stage(tmp_path)
    text = (tmp_path / MANIFEST).read_text()
    (tmp_path / MANIFEST).write_text(text.replace("12", "13"))
    assert read_manifest(tmp_path) is None
    with pytest.raises(WorkspaceError, match=r"manifest\.json is damaged"):
        find_manifest(tmp_path, HINT)
    (tmp_path / MANIFEST).write_text(text)
    record.update(origin="elsewhere")
    assert (read_manifest(tmp_path) or {})["origin"] == "elsewhere"


def test_a_manifest_of_an_earlier_version_has_no_hash(tmp_path: Path) -> None:
    record = make_stage(tmp_path)
    manifest = read_json(tmp_path / MANIFEST)
    del manifest["digest"]
    write_json(tmp_path / MANIFEST, manifest)
    assert record.load_if_unchanged() is not None


@pytest.mark.parametrize("key", ["versions", "finished", "outputs"])
def test_a_manifest_without_an_entry_is_damaged(key: str, tmp_path: Path) -> None:
    record = make_stage(tmp_path)
    manifest = {name: value for name, value in read_json(tmp_path / MANIFEST).items() if name != "digest"}
    write_json(tmp_path / MANIFEST, manifest | {key: 3})
    assert record.load_if_unchanged() is None


def test_only_the_files_that_are_asked_for_must_be_unchanged(tmp_path: Path) -> None:
    make_stage(tmp_path)
    (tmp_path / "table.csv").write_text("edited")
    require_manifest(tmp_path, HINT, [])
    for names in (["table.csv"], ["other.csv"], None):
        with pytest.raises(WorkspaceError, match="not those that the command wrote"):
            require_manifest(tmp_path, HINT, names)


def test_a_message_names_the_run(tmp_path: Path) -> None:
    for folder, name in (("runs/one/evaluation", "runs/one/evaluation/"), ("folds/two", "folds/two/")):
        with pytest.raises(WorkspaceError, match=f"folder {name}"):
            require_manifest(tmp_path / folder, HINT)


@pytest.mark.parametrize("damage", ["", "[3]", "{", "\0"])
def test_staged_files_with_a_damaged_manifest_are_not_used(damage: str, tmp_path: Path) -> None:
    make_stage(tmp_path)
    write_text(tmp_path / STAGING / "table.csv", "new")
    (tmp_path / STAGING / MANIFEST).write_text(damage)
    recover(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [MANIFEST, "table.csv"]
    assert (tmp_path / "table.csv").read_text() == "old"


@pytest.mark.parametrize("stale", ["{", "3", '["", ".", "..", "../mine", "/mine", 3, null]'])
def test_a_damaged_list_of_files_to_remove_removes_nothing(stale: str, tmp_path: Path) -> None:
    folder, mine = tmp_path / "stage", tmp_path / "mine"
    mine.write_text("mine")
    make_stage(folder)
    write_text(folder / STAGING / "table.csv", "new")
    (folder / STAGING / STALE).write_text(stale)
    write_json(folder / STAGING / MANIFEST, {"stage": "clean"})
    recover(folder)
    assert (folder / "table.csv").read_text() == "new"
    assert mine.read_text() == "mine"


@pytest.mark.parametrize(
    "state",
    [None, "{", "3", "[" * 100_000, "{}", '{"identity": 3, "history": [], "kept_epoch": 0, "steps": 0}'],
)
def test_a_damaged_checkpoint_cannot_be_resumed(state: str | None, tmp_path: Path) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    path = tmp_path / FILE
    if state is None:
        os.mkfifo(path)
    else:
        save_file({"now/a": np.zeros(3, np.float32)}, path, metadata={"state": state})
    assert read_settings_of_checkpoint(tmp_path) is None
    with pytest.raises(WorkspaceError, match="without --resume"):
        read_checkpoint(tmp_path, None, None, {})  # type: ignore[arg-type]


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    from types import SimpleNamespace

    import numpy as np
    from safetensors.numpy import save_file

    state = json.dumps({"identity": {}, "history": [], "kept_epoch": 0, "steps": 0})
    save_file({"now/a": np.zeros(3, np.float32)}, tmp_path / FILE, metadata={"state": state})
    with pytest.raises(WorkspaceError, match="not that of this network"):
        read_checkpoint(tmp_path, SimpleNamespace(weights=[]), None, {})  # type: ignore[arg-type]
