"""Run a command of hangtag again and again, killed before each of its file operations, and check what it leaves.

Called with the path of a JSON file, in a process of its own: it imports the command once and forks for every kill,
since starting anew would take seconds. Prints what it found as JSON.

The file holds `template` (a workspace's folder), `scratch`, `command` (its arguments), `folders` (those that it
writes, relative to the workspace), `later` (another command, or nothing) and `points` (how many kills, spread evenly).
"""

import csv
import hashlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

OPERATIONS = ("rename", "replace", "unlink", "remove", "rmdir", "mkdir", "open", "fsync")
MODULES = {
    "prepare": "hangtag.catalog.prepare",
    "clean": "hangtag.labels.clean",
    "explore": "hangtag.exploration.explore",
    "train": "hangtag.training.folds",
    "evaluate": "hangtag.evaluation.evaluate",
    "predict": "hangtag.inference.predict",
    "compare": "hangtag.evaluation.compare",
    "audit": "hangtag.auditing.audit",
    "apply": "hangtag.reviewing.apply",
    "report": "hangtag.reporting.report",
    "export": "hangtag.serving.export",
}
SECONDS = 240
# A worker looks twice a second whether its parent is still there.
ORPHAN_SECONDS = 15


def count_operations(on_operation: Callable[[], None]) -> None:
    """Call `on_operation` before everything that changes a folder's entries, in this process."""
    for name in OPERATIONS:
        original = getattr(os, name)

        def operate(*given: Any, _original: Any = original, _name: str = name, **named: Any) -> Any:
            flags = given[1] if _name == "open" and len(given) > 1 else os.O_CREAT
            if flags & os.O_CREAT:
                on_operation()
            return _original(*given, **named)

        setattr(os, name, operate)


def run_command(arguments: list[str]) -> int:
    from hangtag.cli import main

    try:
        main(arguments)
    except SystemExit as stop:
        return int(stop.code or 0)
    return 1


def fork(work: Callable[[], int], log: Path) -> tuple[int, list[int]]:
    """Run `work` in a forked process of a session of its own.

    Returns:
        Its exit status as `os.waitstatus_to_exitcode` gives it, -1000 where it hung; and the processes it left behind.
    """
    child = os.fork()
    if child == 0:
        os.setsid()
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(descriptor, stream)
        code = 1
        try:
            code = work()
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status), find_orphans(child)
        time.sleep(0.01)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -1000, []


def find_orphans(session: int) -> list[int]:
    """Return the processes of a session that are still there after some seconds; they are ended."""
    end = time.monotonic() + ORPHAN_SECONDS
    while (found := _list_session(session)) and time.monotonic() < end:
        time.sleep(0.1)
    for process in found:
        os.kill(process, signal.SIGKILL)
    return found


def _list_session(session: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


def describe(root: Path, folders: list[str]) -> dict[str, str]:
    """Return a hash for every file of some folders; of manifests, of all but when they were written."""
    found = {}
    for folder in folders:
        for path in sorted((root / folder).rglob("*")):
            if not path.is_file() or path.name.startswith("review.sqlite"):
                continue
            # What a training goes on with: it is neither the earlier result nor the new one.
            if any(part == "checkpoint" or part.startswith("fold_") for part in path.relative_to(root).parts):
                continue
            data = path.read_bytes()
            if path.name == "manifest.json":
                manifest = json.loads(data)
                data = json.dumps([manifest[key] for key in ("stage", "inputs", "settings")]).encode()
            elif path.name == "history.csv":
                data = repr(_leave_out_times(data.decode())).encode()
            elif path.suffix in (".html", ".png"):
                # Figures hold random ids; their names do.
                data = b""
            found[str(path.relative_to(root))] = hashlib.sha256(data).hexdigest()
    return found


def _leave_out_times(text: str) -> list[dict[str, str]]:
    lines = csv.DictReader(text.splitlines())
    return [{name: cell for name, cell in line.items() if "second" not in name} for line in lines]


def check_manifests(root: Path) -> list[str]:
    """Return the files that are not those that the manifest of their folder describes."""
    wrong = []
    for path in root.rglob("manifest.json"):
        for name, output in json.loads(path.read_text())["outputs"].items():
            file = path.parent / name
            if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != output["sha256"]:
                wrong.append(str(file.relative_to(root)))
    return wrong


def find_leftovers(root: Path) -> list[str]:
    names = [path for path in root.rglob("*") if ".part" in path.name or path.name == ".new"]
    names += list((root / ".locks").glob("*.json"))
    return [str(path.relative_to(root)) for path in names]


class Kills:
    """The kills of one command."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.spec, self.template, self.scratch = spec, Path(spec["template"]), Path(spec["scratch"])
        self.workspace, self.log = self.scratch / "workspace", self.scratch / "log"
        self.command = [*spec["command"], "--workspace", str(self.workspace)]
        self.later = [*spec["later"], "--workspace", str(self.workspace)] if spec.get("later") else None
        self.faults: list[str] = []

    def copy(self) -> None:
        shutil.rmtree(self.workspace, ignore_errors=True)
        shutil.copytree(self.template, self.workspace)

    def count(self) -> int:
        """Return how many operations the command takes; its result stays in the workspace."""
        self.copy()
        counter = self.scratch / "count"

        def work() -> int:
            count = 0

            def on_operation() -> None:
                nonlocal count
                count += 1

            count_operations(on_operation)
            code = run_command(self.command)
            counter.write_text(str(count))
            return code

        code, _ = fork(work, self.log)
        if code:
            raise RuntimeError(f"{self.command} ended with {code}: {self.log.read_text()}")
        return int(counter.read_text())

    def kill(self, at: int) -> None:
        """Kill the command before its operation number `at`, and check what it leaves."""

        def work() -> int:
            count = 0

            def on_operation() -> None:
                nonlocal count
                if count == at:
                    os.kill(os.getpid(), signal.SIGKILL)
                count += 1

            count_operations(on_operation)
            return run_command(self.command)

        self.copy()
        code, orphans = fork(work, self.log)
        if code != -signal.SIGKILL:
            self.faults.append(f"{at}: ended with {code} and was not killed: {self.log.read_text()[-500:]}")
        if orphans:
            self.faults.append(f"{at}: left processes behind: {orphans}")
        self.check_next(at)

    def check_next(self, at: int) -> None:
        """Run what a person would run next, and check the folders."""
        if self.later:
            self.run(at, self.later, (0, 2))
        else:
            fork(self.sweep, self.log)
        state = describe(self.workspace, self.spec["folders"])
        if state not in (self.old, self.new):
            differing = _compare(state, self.old), _compare(state, self.new)
            self.faults.append(f"{at}: mixed: from the old differ {differing[0]}, from the new {differing[1]}")
        self.faults += [f"{at}: {name} is not what its manifest says" for name in check_manifests(self.workspace)]
        self.faults += [f"{at}: left behind: {name}" for name in find_leftovers(self.workspace)]
        self.run(at, self.command, (0,))
        if describe(self.workspace, self.spec["folders"]) != self.new:
            self.faults.append(f"{at}: another result after the kill")
        self.faults += [f"{at}: left behind in the end: {name}" for name in find_leftovers(self.workspace)]

    def run(self, at: int, command: list[str], allowed: tuple[int, ...]) -> None:
        code, _ = fork(lambda: run_command(command), self.log)
        said = self.log.read_text(errors="replace")
        if code not in allowed or "Traceback" in said:
            self.faults.append(f"{at}: {command[0]} ended with {code}: {said[-500:]}")

    def sweep(self) -> int:
        from hangtag.lock import sweep
        from hangtag.workspace import Workspace

        sweep(Workspace.at(self.workspace))
        return 0

    def run_all(self) -> dict[str, Any]:
        folders = self.spec["folders"]
        self.old = describe(self.template, folders)
        total = self.count()
        self.new = describe(self.workspace, folders)
        if self.new == self.old:
            raise RuntimeError(f"{self.command} changed nothing.")
        points = min(self.spec["points"], total)
        chosen = sorted({round(step * total / points) for step in range(points)})
        for at in chosen:
            self.kill(at)
        return {"operations": total, "kills": len(chosen), "faults": self.faults}


def _compare(one: dict[str, str], other: dict[str, str]) -> list[str]:
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))[:5]


if __name__ == "__main__":
    spec = json.loads(Path(sys.argv[1]).read_text())
    for name in {spec["command"][0], (spec.get("later") or spec["command"])[0]}:
        import_module(MODULES[name])
    print(json.dumps(Kills(spec).run_all()))
