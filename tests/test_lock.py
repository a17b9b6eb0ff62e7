"""Test the locks on the folders of a workspace."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hangtag.errors import WorkspaceError
from hangtag.lock import hold, hold_folder, sweep
from hangtag.workspace import LOCKS, Workspace, begin_staging

# Locks a folder, prints "held", and waits to be killed.
HOLDER = """
import sys, time
from pathlib import Path
from hangtag.lock import hold
from hangtag.workspace import LOCKS, Workspace
workspace = Workspace.at(sys.argv[1])
folders = {"reads": [], "writes": []}
folders[sys.argv[2]] = [workspace.labels]
with hold("clean", workspace, **folders):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "workspace").mkdir()
    return Workspace.at(tmp_path / "workspace")


@contextmanager
def held(workspace: Workspace, how: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(workspace.root), how], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_any_number_of_processes_may_read(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    with held(workspace, "reads"), hold("explore", workspace, writes=[workspace.exploration], reads=[workspace.labels]):
        pass
    assert "Waiting" not in capsys.readouterr().err


@pytest.mark.parametrize(("theirs", "ours"), [("writes", "writes"), ("writes", "reads"), ("reads", "writes")])
def test_a_kill_of_the_other_process_ends_the_wait(workspace: Workspace, theirs: str, ours: str) -> None:
    reads, writes = ([workspace.labels] if ours == how else [] for how in ("reads", "writes"))
    with held(workspace, theirs) as other:
        killer = subprocess.Popen([sys.executable, "-c", f"import time, os; time.sleep(1); os.kill({other.pid}, 9)"])
        start = time.monotonic()
        with hold("clean", workspace, reads=reads, writes=writes):
            assert time.monotonic() - start > 0.5
            assert other.wait(10) == -9
        killer.wait(10)


def test_the_message_names_the_process_that_holds_the_lock(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    with held(workspace, "writes") as other:
        killer = subprocess.Popen([sys.executable, "-c", f"import time, os; time.sleep(1); os.kill({other.pid}, 9)"])
        with hold("explore", workspace, writes=[workspace.exploration], reads=[workspace.labels]):
            killer.wait(10)
        message = " ".join(capsys.readouterr().err.split())
        assert f"Waiting for `hangtag clean` (process {other.pid}, since 20" in message
        assert "which is using labels/." in message


def test_leftovers_of_a_dead_process_are_removed(workspace: Workspace) -> None:
    begin_staging(workspace.exploration)
    (workspace.prepared).mkdir()
    checkpoint = workspace.root / "folds" / "one" / "fold_1" / "checkpoint"
    checkpoint.mkdir(parents=True)
    parts = [
        workspace.prepared / f".images-{2**30}-abc.part.npy",
        workspace.root / f".report-{2**30}-abc.part.html",
        workspace.prepared / ".decoded" / f".1-000000-{2**30}-abc.part.json",
        checkpoint / f".state-{2**30}-abc.part.safetensors",
        workspace.run("two") / "checkpoint" / f".state-{2**30}-abc.part.safetensors",
    ]
    for part in parts:
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(b"half")
    (workspace.root / LOCKS).mkdir()
    note = workspace.root / LOCKS / f"{2**30}.json"
    note.write_text(json.dumps({"process": 2**30, "locks": []}))
    sweep(workspace)
    assert not [part for part in parts if part.exists()]
    assert not note.exists()
    assert not (workspace.exploration / ".new").exists()


def test_files_that_another_process_is_writing_are_kept(workspace: Workspace) -> None:
    with held(workspace, "writes"):
        staging = begin_staging(workspace.labels)
        sweep(workspace)
        assert staging.is_dir()


def test_a_stage_that_fails_keeps_the_earlier_files(workspace: Workspace) -> None:
    workspace.labels.mkdir()
    (workspace.labels / "labels.csv").write_text("old")

    def fail() -> None:
        with hold("clean", workspace, writes=[workspace.labels]):
            (begin_staging(workspace.labels) / "labels.csv").write_text("new")
            raise ValueError("half way")

    with pytest.raises(ValueError, match="half way"):
        fail()
    assert [path.name for path in workspace.labels.iterdir()] == ["labels.csv"]
    assert (workspace.labels / "labels.csv").read_text() == "old"


def test_a_mistyped_workspace_is_not_created(tmp_path: Path) -> None:
    workspace = Workspace.at(tmp_path / "typo")
    with (
        pytest.raises(WorkspaceError, match=r"no workspace at this path. Received: '.*typo'.*--workspace"),
        hold("clean", workspace, writes=[workspace.labels]),
    ):
        pass
    assert not workspace.root.exists()


def test_a_folder_that_was_removed_while_waiting_is_created_again(tmp_path: Path) -> None:
    folder = tmp_path / "out.csv.parts"
    script = (
        "import sys, time; from pathlib import Path; from hangtag.lock import hold_folder\n"
        "folder = Path(sys.argv[1])\n"
        "with hold_folder('classify', folder):\n"
        "    print('held', flush=True); time.sleep(1); folder.rename(folder.with_name('old'))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with hold_folder("classify", folder):
        assert process.wait(10) == 0
        assert os.listdir(folder) == [".lock"]  # noqa: PTH208
    process.communicate()


def test_a_folder_that_cannot_be_made_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WorkspaceError, match=r"cannot be made: .*Received: .*prepared.*--workspace"):
        begin_staging(tmp_path / "file" / "w" / "prepared")
