"""Locks on the parts of a workspace."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hangtag.lock import hold, hold_folder, sweep
from hangtag.workspace import LOCKS, Workspace, begin_staging

# Holds what it is told to, says so, and waits to be ended.
HOLDER = """
import sys, time
from pathlib import Path
from hangtag.lock import hold
from hangtag.workspace import LOCKS, Workspace
place = Workspace.at(sys.argv[1])
folders = {"reads": [], "writes": []}
folders[sys.argv[2]] = [place.labels]
with hold("clean", place, **folders):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    (tmp_path / "workspace").mkdir()
    return Workspace.at(tmp_path / "workspace")


@contextmanager
def held(place: Workspace, how: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(place.root), how], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_any_number_of_processes_may_read(place: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    with held(place, "reads"), hold("explore", place, writes=[place.exploration], reads=[place.labels]):
        pass
    assert "Waiting" not in capsys.readouterr().err


@pytest.mark.parametrize(("theirs", "ours"), [("writes", "writes"), ("writes", "reads"), ("reads", "writes")])
def test_a_kill_of_the_other_ends_the_wait(place: Workspace, theirs: str, ours: str) -> None:
    reads, writes = ([place.labels] if ours == how else [] for how in ("reads", "writes"))
    with held(place, theirs) as other:
        killer = subprocess.Popen([sys.executable, "-c", f"import time, os; time.sleep(1); os.kill({other.pid}, 9)"])
        start = time.monotonic()
        with hold("clean", place, reads=reads, writes=writes):
            assert time.monotonic() - start > 0.5
            assert other.wait(10) == -9
        killer.wait(10)


def test_who_is_waited_for_is_named(place: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    with held(place, "writes") as other:
        killer = subprocess.Popen([sys.executable, "-c", f"import time, os; time.sleep(1); os.kill({other.pid}, 9)"])
        with hold("explore", place, writes=[place.exploration], reads=[place.labels]):
            killer.wait(10)
        said = " ".join(capsys.readouterr().err.split())
        assert f"Waiting for `hangtag clean` (process {other.pid}, since 20" in said
        assert "which is using labels/." in said


def test_what_a_dead_process_left_is_swept(place: Workspace) -> None:
    begin_staging(place.exploration)
    (place.prepared).mkdir()
    checkpoint = place.root / "folds" / "one" / "fold_1" / "checkpoint"
    checkpoint.mkdir(parents=True)
    parts = [
        place.prepared / f".images-{2**30}-abc.part.npy",
        place.root / f".report-{2**30}-abc.part.html",
        checkpoint / f".state-{2**30}-abc.part.safetensors",
        place.run("two") / "checkpoint" / f".state-{2**30}-abc.part.safetensors",
    ]
    parts[-1].parent.mkdir(parents=True)
    for part in parts:
        part.write_bytes(b"half")
    (place.root / LOCKS).mkdir()
    note = place.root / LOCKS / f"{2**30}.json"
    note.write_text(json.dumps({"process": 2**30, "locks": []}))
    sweep(place)
    assert not [part for part in parts if part.exists()]
    assert not note.exists()
    assert not (place.exploration / ".new").exists()


def test_what_another_process_is_writing_is_not_swept(place: Workspace) -> None:
    with held(place, "writes"):
        staging = begin_staging(place.labels)
        sweep(place)
        assert staging.is_dir()


def test_a_stage_that_fails_leaves_the_earlier_files_alone(place: Workspace) -> None:
    place.labels.mkdir()
    (place.labels / "labels.csv").write_text("old")

    def fail() -> None:
        with hold("clean", place, writes=[place.labels]):
            (begin_staging(place.labels) / "labels.csv").write_text("new")
            raise ValueError("half way")

    with pytest.raises(ValueError, match="half way"):
        fail()
    assert [path.name for path in place.labels.iterdir()] == ["labels.csv"]
    assert (place.labels / "labels.csv").read_text() == "old"


def test_a_mistyped_workspace_is_not_made(tmp_path: Path) -> None:
    place = Workspace.at(tmp_path / "typo")
    with hold("clean", place, writes=[place.labels]):
        pass
    assert not place.root.exists()


def test_a_folder_that_was_removed_while_waiting_is_made_again(tmp_path: Path) -> None:
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
