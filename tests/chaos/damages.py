"""Damage the files of a workspace in every way, run every command over it, and note what each of them said.

Called with the path of a JSON file, in a process of its own, which imports the commands once and forks for each
damaged file. Prints what it found as JSON. The networks are stubs, see `stub_stages`; the files are real.

The file holds `scratch` (a folder), `kinds` (of damage), `files` (relative to the workspace, or nothing for all),
`part` (a share of the cases, drawn by `seed`), `always` (cases beside those, as pairs of file and kind), `commands`
(names of `COMMANDS`, or nothing for all) and `small` (whether nothing is trained, so that less is imported).
"""

import json
import os
import random
import shutil
import signal
import sqlite3
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from kill_points import MODULES, check_manifests
from stub_stages import replace_networks

SECONDS = 60
# Written to in their places, so that no two copies may share them.
WRITTEN_IN_PLACE = ("review.sqlite", "features.npy", "state.safetensors", ".lock")
COMMANDS = {
    "prepare": ["prepare", "CATALOG"],
    "clean": ["clean"],
    "explore": ["explore"],
    "train": ["train", "--architecture", "residual-tiny", "--epochs", "1", "--run-id", "one"],
    "train new": ["train", "--architecture", "residual-tiny", "--epochs", "1", "--run-id", "new"],
    "train names": ["train", "--with-names", "--photographs-by", "one", "--run-id", "names"],
    "resume": ["train", "--architecture", "residual-tiny", "--epochs", "1", "--run-id", "stopped", "--resume"],
    "folds": ["train", "--architecture", "residual-tiny", "--epochs", "1", "--run-id", "two", "--folds", "2"],
    "evaluate": ["evaluate"],
    "predict": ["predict"],
    "compare": ["compare"],
    "audit": ["audit"],
    "audit run": ["audit", "--run", "one"],
    "review": ["review"],
    "apply": ["apply"],
    "apply auto": ["apply", "--auto", "0.5"],
    "export": ["export", "one", "--to", "EXPORT"],
    "report": ["report"],
    "classify": ["classify", "PHOTOGRAPH", "--model", "MODEL", "--json"],
    "classify run": ["classify", "PHOTOGRAPH", "--model", "RUN", "--json"],
    "serve": ["serve", "--model", "MODEL"],
}
MORE_MODULES = (
    "hangtag.training.train",
    "hangtag.serving.classify",
    "hangtag.serving.serve",
    "hangtag.reviewing.review",
)
WITHOUT_WORKSPACE = ("classify", "serve")
# Which command makes the files of a folder again.
PRODUCERS = {
    "prepared": "prepare",
    "labels": "clean",
    "exploration": "explore",
    "runs/one/evaluation": "evaluate",
    "runs/other/evaluation": "evaluate",
    "runs/one/predictions": "predict",
    "runs/other/predictions": "predict",
    "runs/one": "train",
    "folds/two": "folds",
    "comparison": "compare",
    "audit": "audit",
    "review": "apply",
    "export": "export",
    "report": "report",
}
# Without the run's name.
TRAIN = COMMANDS["train"][:-1]
# Those that a workspace without a training has.
SMALL = ("prepare", "clean", "audit", "review", "apply")
# Files that no command reads but its own; one of each kind stands for all.
PICTURES = (".png", ".html", ".js", ".md")


def damage(path: Path, kind: str, seed: int) -> None:
    """Damage a file; `seed` draws where and how."""
    data, draw = path.read_bytes(), random.Random(seed)
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "full folder":
        path.mkdir()
        (path / "mine.txt").write_text("of somebody")
    elif kind == "dangling":
        path.symlink_to("nowhere")
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "shape":
        write_other_shape(path, data, draw)
    elif kind != "missing":
        path.write_bytes(_spoil(data, kind, draw))


KINDS = (
    *("empty", "half", "noise", "text", "binary", "json", "shape"),
    *("folder", "full folder", "missing", "dangling", "loop", "fifo"),
)


def _spoil(data: bytes, kind: str, draw: random.Random) -> bytes:
    if kind == "noise":
        at = draw.randrange(max(len(data) * 3 // 4, 1))
        return data[:at] + draw.randbytes(min(64, len(data) - at)) + data[at + 64 :]
    contents = {
        "empty": b"",
        "half": data[: len(data) // 2],
        "text": b'This is\nsomething, "else\n',
        "binary": b"\0\xff\xfe" + draw.randbytes(500),
        "json": draw.choice([b"[]", b"{}", b"null", b"3", b'{"outputs": {}, "stage": 3}', b"[" * 100_000]),
    }
    return contents[kind]


def write_other_shape(path: Path, data: bytes, draw: random.Random) -> None:
    """Write a sound file of the same format that holds something else."""
    suffix = path.suffix
    if suffix == ".json":
        path.write_text(json.dumps(_change_type(json.loads(data), draw)))
    elif suffix == ".parquet":
        pl.DataFrame({"item_id": [1, 2], "other": [0.5, None]}).write_parquet(path)
    elif suffix == ".npy":
        with path.open("wb") as file:
            np.save(file, np.zeros((3, 5), np.float64))
    elif suffix == ".csv":
        path.write_bytes(data.splitlines(keepends=True)[0] + b"one\ntwo,three,4,5,6,7,8,9,0,1,2,3,4\n")
    elif suffix == ".sqlite":
        with closing(sqlite3.connect(path)) as base:
            base.execute("CREATE TABLE decisions (id TEXT)")
            base.commit()
    elif suffix == ".toml":
        path.write_text("epochs = 'many'\n[train]\nseed = []\n")
    else:
        path.write_bytes(data + data)


def _change_type(value: Any, draw: random.Random) -> Any:
    """Return the value with one of its parts, at any depth, of another type or gone."""
    if isinstance(value, dict) and value and draw.random() < 0.7:
        key = draw.choice(list(value))
        if draw.random() < 0.2:
            return {name: each for name, each in value.items() if name != key}
        return {**value, key: _change_type(value[key], draw)}
    if isinstance(value, list) and value and draw.random() < 0.7:
        at = draw.randrange(len(value))
        return [*value[:at], _change_type(value[at], draw), *value[at + 1 :]]
    others = [None, 3, -1.5, "text", [], {}, [1], {"a": 1}, True]
    return draw.choice([other for other in others if type(other) is not type(value)])


def call(arguments: list[str]) -> int:
    from hangtag.cli import main

    try:
        main(arguments)
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def _can_read(name: str, file: str) -> bool:
    """Return whether a command can have to do with a file at all."""
    if name in ("classify", "serve"):
        return file.startswith("model/")
    return file.startswith("runs/one/") if name == "classify run" else not file.startswith("model/")


class Damages:
    """The damages of one workspace."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.spec, self.scratch = spec, Path(spec["scratch"])
        self.template, self.root = self.scratch / "template", self.scratch / "copy"
        self.workspace = self.root / "workspace"
        self.is_small = bool(spec.get("small"))
        self.commands = list(spec.get("commands") or (SMALL if self.is_small else COMMANDS))
        self.found: list[dict[str, Any]] = []

    def fill(self, name: str) -> list[str]:
        """Return the arguments of a command."""
        places = {
            "CATALOG": self.scratch / "catalog",
            "EXPORT": self.workspace / "export",
            "MODEL": self.workspace / "model",
            "RUN": self.workspace / "runs" / "one",
            "PHOTOGRAPH": next((self.scratch / "catalog").rglob("*.jpg")),
        }
        arguments = [str(places.get(each, each)) for each in COMMANDS[name]]
        return arguments if arguments[0] in WITHOUT_WORKSPACE else [*arguments, "--workspace", str(self.workspace)]

    def prepare_template(self) -> None:
        """Make the template in a process of its own: threads that libraries start there do not outlive a fork."""

        def work() -> Iterator[dict[str, Any]]:
            yield {"begun": "template"}
            said = ""
            try:
                self.make_template()
            except BaseException:
                said = traceback.format_exc()
            yield {"command": "template", "said": said}

        [made] = self.fork(work)
        if made["said"] or not self.template.is_dir():
            raise RuntimeError(f"The workspace could not be made: {made}")

    def make_template(self) -> None:
        """Make a workspace in which the stages have run, some decisions are made, and a training was stopped."""
        from test_kills import decide

        from hangtag.catalog.demo import write_demo_catalog
        from hangtag.workspace import Workspace

        write_demo_catalog(self.scratch / "catalog", items_per_kind=20, seed=0)
        for name in ("prepare", "clean", "audit"):
            self.must(name)
        for number in range(2):
            decide(Workspace.at(self.workspace), number)
        for name in ("apply", "clean", "audit", "review"):
            self.must(name)
        if not self.is_small:
            self._train()
        shutil.copytree(self.root, self.template)

    def _train(self) -> None:
        from hangtag.models.shipped import SHIPPED

        for name in ("explore", "train"):
            self.must(name)
        self.must("train", ["--run-id", "other", "--seed", "5"])
        for name in ("folds", "evaluate", "predict", "compare", "audit", "export", "report"):
            self.must(name)
        shutil.copytree(SHIPPED, self.workspace / "model", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
        self._stop_training()

    def must(self, name: str, more: list[str] | None = None) -> None:
        arguments = self.fill(name)
        if more and more[0] in arguments:
            at = arguments.index(more[0])
            arguments = arguments[:at] + arguments[at + 2 :]
        code = call([*arguments, *(more or [])])
        if code:
            raise RuntimeError(f"{arguments} ended with {code}.")

    def _stop_training(self) -> None:
        """Leave a checkpoint as a training does that was stopped."""
        from safetensors.numpy import save_file

        folder = self.workspace / "runs" / "stopped" / "checkpoint"
        folder.mkdir(parents=True)
        state = {"identity": {}, "history": [], "kept_epoch": 0, "steps": 0}
        weights = {"now/dense/kernel": np.ones((4, 4), np.float32)}
        save_file(weights, folder / "state.safetensors", metadata={"state": json.dumps(state)})

    def copy(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)

        def place(source: str, target: str) -> None:
            if Path(source).name.endswith(WRITTEN_IN_PLACE) or "look_alikes" in source:
                shutil.copy2(source, target)
            else:
                os.link(source, target)

        shutil.copytree(self.template, self.root, copy_function=place)

    def list_files(self) -> list[str]:
        """Return the files to damage; of those that nothing else reads, one of each kind in each folder."""
        files = sorted(
            path.relative_to(self.template / "workspace") for path in self.template.rglob("*.*") if path.is_file()
        )
        seen, chosen = set[tuple[str, str]](), []
        for path in files:
            kind = (path.parts[0], path.suffix)
            if path.suffix == ".lock" or (path.suffix in PICTURES and kind in seen):
                continue
            seen.add(kind)
            chosen.append(path.as_posix())
        return chosen

    def run_all(self) -> list[dict[str, Any]]:
        cases = [(file, kind) for file in self.spec.get("files") or self.list_files() for kind in self.spec["kinds"]]
        draw = random.Random(self.spec.get("seed", 0))
        chosen = [case for case in cases if draw.random() < self.spec.get("part", 1)]
        chosen += [(file, kind) for file, kind in self.spec.get("always") or ()]
        for number, (file, kind) in enumerate(chosen):
            print(f"{number + 1}/{len(chosen)} {file} {kind}", file=sys.stderr)
            self.run_case(file, kind, number)
        return self.found

    def run_case(self, file: str, kind: str, seed: int) -> None:
        """Damage a file and run each command over the damaged workspace, then the one that makes the file again."""
        names = [name for name in self.commands if _can_read(name, file)]
        while names:
            found = self.fork(partial(self.run_commands, file, kind, seed, names))
            self.found += [{"file": file, "kind": kind, **each} for each in found]
            names = names[len(found) :]

    def fork(self, work: Callable[[], Iterator[dict[str, Any]]]) -> list[dict[str, Any]]:
        """Run `work` in a forked process; its last entry is a hang where it did not end."""
        log = self.scratch / "log"
        log.write_text("")
        child = os.fork()
        if child == 0:
            os.setsid()
            with log.open("a") as file:
                for entry in work():
                    file.write(json.dumps(entry) + "\n")
                    file.flush()
            os._exit(0)
        changed, size = time.monotonic(), 0
        while not os.waitpid(child, os.WNOHANG)[0]:
            if log.stat().st_size != size:
                changed, size = time.monotonic(), log.stat().st_size
            if time.monotonic() - changed > SECONDS:
                os.killpg(child, signal.SIGKILL)
                os.waitpid(child, 0)
                break
            time.sleep(0.005)
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        begun = [line["begun"] for line in lines if "begun" in line]
        found = [line for line in lines if "begun" not in line]
        if len(found) < len(begun):
            found.append({"command": begun[-1], "outcome": "hang", "said": ""})
        return found

    def run_commands(self, file: str, kind: str, seed: int, names: list[str]) -> Iterator[dict[str, Any]]:
        for name in names:
            yield {"begun": name}
            self.copy()
            damage(self.workspace / file, kind, seed)
            code, said = self.capture(name)
            outcome = {0: "done", 2: "told"}.get(code, f"code {code}")
            if "Traceback" in said:
                outcome = "traceback"
            wrong = self.check(file, name) if code == 0 else []
            yield {"command": name, "outcome": outcome, "said": said[-3000:], "wrong": wrong}

    def capture(self, name: str) -> tuple[int, str]:
        """Run a command; return its exit code and what it wrote on stderr, the traceback included."""
        path = self.scratch / "stderr"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        out = os.open(os.devnull, os.O_WRONLY)
        os.dup2(out, 1)
        os.dup2(descriptor, 2)
        os.close(out)
        os.close(descriptor)
        try:
            code = call(self.fill(name))
        except BaseException:
            traceback.print_exc()
            code = 1
        sys.stderr.flush()
        return code, path.read_text(errors="replace")

    def check(self, file: str, name: str) -> list[str]:
        """Return what is wrong in the folder of a file after the command that makes it again has ended well."""
        folder = max((each for each in PRODUCERS if file.startswith(f"{each}/")), key=len, default="")
        # Nobody makes decisions again, and a part of finished folds is not read any more.
        if PRODUCERS.get(folder) != name or file.endswith("review.sqlite") or "/fold_" in file:
            return []
        wrong = check_manifests(self.workspace / folder)
        if file.endswith("manifest.json"):
            try:
                json.loads((self.workspace / file).read_text())["outputs"]
            except (OSError, ValueError, TypeError, KeyError) as error:
                wrong.append(f"{file}: {error}")
        return wrong


def load_stages(spec: dict[str, Any]) -> None:
    """Import what the commands need, once for all forks."""
    if spec.get("small"):
        modules = {MODULES[name] for name in SMALL if name in MODULES} | {"hangtag.reviewing.review"}
    else:
        modules = {*MODULES.values(), *MORE_MODULES}
    for module in modules:
        import_module(module)
    replace_networks(is_small=bool(spec.get("small")))


if __name__ == "__main__":
    spec = json.loads(Path(sys.argv[1]).read_text())
    load_stages(spec)
    damages = Damages(spec)
    if not damages.template.is_dir():
        damages.prepare_template()
    print(json.dumps(damages.run_all()))
