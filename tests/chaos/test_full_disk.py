"""Disks that are full or cannot be written to: the system's reason, the earlier result, every decision."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from full_disks import CHANGED, UNCHANGED
from kill_points import find_leftovers

from hangtag import io
from hangtag.cli import main
from hangtag.demo_catalog.catalog import write_demo_catalog

SCRIPT = Path(__file__).parents[1] / "fixtures" / "full_disks.py"
SPACES = (0, 4, 16, 40, 100, 250, 600, 1500)
# As root, and else as a user who may have a namespace.
NAMESPACES = (["unshare", "--mount"], ["unshare", "--user", "--map-root-user", "--mount"])


def attack(scratch: Path, **spec: Any) -> list[dict[str, Any]]:
    """Run commands on a small disk and return what each of them said."""
    path, namespace = scratch / "spec.json", find_namespace(scratch)
    path.write_text(json.dumps({"scratch": str(scratch), **spec}))
    done = subprocess.run([*namespace, sys.executable, SCRIPT, path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


def find_namespace(folder: Path) -> list[str]:
    """Return how a disk of its own can be mounted; skips the test where that is refused."""
    for namespace in NAMESPACES:
        try:
            subprocess.run([*namespace, "mount", "-t", "tmpfs", "tmpfs", folder], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return namespace
    pytest.skip("mounting a disk is not allowed here")


def find_faults(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [each for each in found if each["outcome"] not in ("done", "told") or each["wrong"]]


def test_a_small_disk_loses_nothing(tmp_path: Path) -> None:
    found = attack(tmp_path, small=True, commands=["clean", "apply", "review"], spaces=[0, 20], read_only=True)
    assert sum(each["outcome"] == "told" for each in found) >= 6
    assert find_faults(found) == []


@pytest.mark.chaos
def test_disks_that_refuse_lose_nothing(tmp_path: Path) -> None:
    found = attack(tmp_path, spaces=SPACES, read_only=True)
    told = sum(each["outcome"] == "told" for each in found)
    print(f"{len(found)} commands, {told} refused")
    assert len(found) == len(CHANGED) * (len(SPACES) + 1) + len(UNCHANGED)
    assert find_faults(found) == []


def call(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    return int(stop.value.code or 0)


@pytest.mark.parametrize("at", [0, 2, 4, 6])
def test_a_disk_that_fills_up_in_the_middle(
    at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same without a disk: the system refuses from one of the writes on."""
    catalog, place = write_demo_catalog(tmp_path / "catalog", items_per_kind=12), ["--workspace", str(tmp_path / "w")]
    call("prepare", str(catalog), *place)
    assert call("clean", *place) == 0
    old = {path: path.read_bytes() for path in (tmp_path / "w").rglob("*") if path.is_file()}
    flush, written = io.flush, 0

    def refuse(path: Path) -> None:
        nonlocal written
        written += path.is_file()
        if written > at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        flush(path)

    with monkeypatch.context() as patched:
        patched.setattr(io, "flush", refuse)
        capsys.readouterr()
        assert call("clean", "--split-seed", "1", *place) == 2
    said = capsys.readouterr().err
    assert "No space left on device" in said
    assert str(tmp_path / "w" / "labels") in said
    assert {path: path.read_bytes() for path in old} == old
    assert call("clean", "--split-seed", "1", *place) == 0
    assert find_leftovers(tmp_path / "w") == []
