"""Run every command on a small disk with less and less space, and on one that cannot be written to.

Called with the path of a JSON file, in a mount namespace of its own (`unshare --mount`), so that its disk goes with it.
Prints what it found as JSON. The networks are stubs, see `stub_stages`.

The file holds `scratch` (a folder), `spaces` (kB that are free; nothing leaves full disks out), `commands` (names of
`CHANGED`, or nothing for all), and `read_only` (whether to try a disk that cannot be written to).
"""

import errno
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from damages import COMMANDS, TRAIN, Damages, load_stages
from kill_points import check_manifests, describe, find_leftovers

DISK_BYTES = 120_000_000
FULL, READ_ONLY = os.strerror(errno.ENOSPC), os.strerror(errno.EROFS)
# What makes each stage work over an existing result, and the folders that it writes.
CHANGED: dict[str, tuple[list[str], list[str]]] = {
    "prepare": (["prepare", "CATALOG", "--image-size", "60x45"], ["prepared"]),
    "clean": (["clean", "--split-seed", "1"], ["labels"]),
    "explore": (["explore", "--sheet-seed", "1"], ["exploration"]),
    "train": ([*TRAIN, "one", "--replace", "--seed", "7"], ["runs/one"]),
    "folds": ([*TRAIN, "two", "--folds", "2", "--replace", "--seed", "7"], ["folds/two"]),
    "evaluate": (["evaluate", "--splits", "test"], ["runs/one/evaluation", "runs/other/evaluation"]),
    "predict": (["predict", "--items", "all"], ["runs/one/predictions", "runs/other/predictions"]),
    "compare": (["compare", "--split", "test"], ["comparison"]),
    "audit": (["audit", "--no-use-names"], ["audit"]),
    "apply": (["apply"], ["review"]),
    "export": (["export", "one", "--to", "EXPORT", "--weights", "float16"], ["export"]),
    "report": (["report"], ["report"]),
    "classify": (["classify", "PHOTOGRAPHS", "--model", "MODEL", "--output", "OUTPUT"], []),
    "review": (["review"], []),
}
# Commands with nothing to do, and those that write nothing.
UNCHANGED = (*(name for name in CHANGED if name != "review"), "serve")


class Disks(Damages):
    """The same workspace on a disk of its own, which is full or cannot be written to."""

    def __init__(self, spec: dict[str, Any]) -> None:
        super().__init__(spec)
        self.disk = self.scratch / "disk"
        self.filler = self.disk / "filler"
        # Whether commands are run with other settings than before, so that they have something to do.
        self.is_changed = False

    def mount(self) -> None:
        self.disk.mkdir(exist_ok=True)
        options = f"size={DISK_BYTES}"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", self.disk], check=True, capture_output=True)
        self.root, self.workspace = self.disk / "copy", self.disk / "copy" / "workspace"

    def remount(self, mode: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{mode}", self.disk], check=True, capture_output=True)

    def copy(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)
        self.filler.unlink(missing_ok=True)
        shutil.copytree(self.template, self.root)
        if self.is_changed:
            # Something to do for those whose settings do not change.
            for folder in ("review", "report"):
                (self.workspace / folder / "manifest.json").unlink(missing_ok=True)

    def fill(self, name: str) -> list[str]:
        if not self.is_changed or name not in CHANGED:
            return super().fill(name)
        places = {"PHOTOGRAPHS": str(self.scratch / "catalog"), "OUTPUT": str(self.root / "labels.csv")}
        COMMANDS["changed"] = [places.get(each, each) for each in CHANGED[name][0]]
        return super().fill("changed")

    def take_space(self, free: int) -> None:
        """Leave so many bytes free."""
        disk = os.statvfs(self.disk)
        with self.filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(disk.f_bavail * disk.f_frsize - free, 1))

    def read_decisions(self) -> list[Any]:
        with closing(sqlite3.connect(self.workspace / "review" / "review.sqlite")) as base:
            return base.execute("SELECT * FROM decisions ORDER BY id").fetchall()

    def run_full(self, name: str, free: int) -> Iterator[dict[str, Any]]:
        """Run a command with so much space, look at what is left, make space and run it again."""
        yield {"begun": name}
        self.is_changed = True
        self.copy()
        folders = CHANGED[name][1]
        old, decisions = describe(self.workspace, folders), self.read_decisions()
        self.take_space(free)
        code, said = self.capture(name)
        faults = [] if code in (0, 2) else [f"ended with {code}"]
        if code == 2 and (FULL not in said or str(self.disk) not in said or len(said.strip().splitlines()) > 2):
            faults.append("not the reason")
        self.filler.unlink()
        if code == 2 and describe(self.workspace, folders) != old:
            faults.append("the earlier result is not there")
        again, more = self.capture(name)
        faults += [] if again == 0 else [f"ended with {again} once there was space: {more}"]
        faults += [f"left behind: {each}" for each in find_leftovers(self.root)]
        faults += [f"not whole: {each}" for each in check_manifests(self.root)]
        faults += [] if self.read_decisions() == decisions else ["decisions are gone"]
        outcome = "traceback" if "Traceback" in said else {0: "done", 2: "told"}.get(code, f"code {code}")
        yield {"command": name, "free": free, "outcome": outcome, "said": said[-2000:], "wrong": faults}

    def run_read_only(self, name: str, *, is_changed: bool) -> Iterator[dict[str, Any]]:
        """Run a command on a disk that cannot be written to."""
        yield {"begun": name}
        self.is_changed = is_changed
        self.copy()
        self.remount("ro")
        code, said = self.capture(name)
        self.remount("rw")
        faults = [] if code == (2 if is_changed else 0) else [f"ended with {code}"]
        if is_changed and (READ_ONLY not in said or len(said.strip().splitlines()) > 2):
            faults.append("not the reason")
        outcome = "traceback" if "Traceback" in said else {0: "done", 2: "told"}.get(code, f"code {code}")
        yield {"command": name, "changed": is_changed, "outcome": outcome, "said": said[-2000:], "wrong": faults}

    def run_all(self) -> list[dict[str, Any]]:
        names = [name for name in self.commands if name in CHANGED]
        for name in names:
            for free in self.spec.get("spaces") or ():
                self.found += self.fork(partial(self.run_full, name, free * 1000))
        if self.spec.get("read_only"):
            for name in names:
                self.found += self.fork(partial(self.run_read_only, name, is_changed=True))
            for name in (each for each in UNCHANGED if each in self.commands):
                self.found += self.fork(partial(self.run_read_only, name, is_changed=False))
        return self.found


if __name__ == "__main__":
    spec = json.loads(Path(sys.argv[1]).read_text())
    load_stages(spec)
    disks = Disks(spec)
    if not disks.template.is_dir():
        disks.prepare_template()
    disks.mount()
    print(json.dumps(disks.run_all()))
