"""The command line: what it hands to the stages, what it prints, and how it fails."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hangtag
from hangtag.cli import main
from hangtag.errors import HangtagError, WorkspaceError
from hangtag.manifest import StageResult
from hangtag.metrics.markdown import Block

ROOT = Path(__file__).parent.parent
STAGES = {
    "prepare": "hangtag.stages.prepare.prepare",
    "clean": "hangtag.stages.clean.clean",
    "explore": "hangtag.stages.explore.explore",
    "train": "hangtag.stages.train.train",
    "evaluate": "hangtag.stages.evaluate.evaluate",
    "compare": "hangtag.stages.compare.compare",
    "predict": "hangtag.stages.predict.predict",
    "audit": "hangtag.stages.audit.audit",
    "apply": "hangtag.stages.apply.apply",
    "report": "hangtag.stages.report.report",
    "run": "hangtag.stages.pipeline.run",
    "demo": "hangtag.stages.pipeline.demo",
}
HEAVY = (
    "keras",
    "tensorflow",
    "polars",
    "sklearn",
    "scipy",
    "matplotlib",
    "plotly",
    "PIL",
    "numpy",
    "hangtag.stages.pipeline",
)


class Command:
    """Runs a command line with a stub in the place of a stage, and keeps what the stub was given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys
        self.given: tuple[Any, ...] = ()
        self.named: dict[str, Any] = {}
        self.out = self.err = ""

    def run(self, *arguments: str, effect: BaseException | None = None) -> int:
        def stage(*given: Any, **named: Any) -> Any:
            self.given, self.named = given, named
            if effect:
                raise effect
            result = StageResult(name, Path("/w") / name, {"items": 1200}, 2.0)
            if name in ("run", "demo"):
                named["on_stage"](result)
            return [result] if name in ("evaluate", "predict") else result

        name = arguments[0] if arguments else ""
        if name in STAGES:
            self._monkeypatch.setattr(STAGES[name], stage)
        with pytest.raises(SystemExit) as leaving:
            main(arguments)
        self.out, self.err = self._capsys.readouterr()
        return int(leaving.value.code or 0)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    monkeypatch.setenv("COLUMNS", "80")
    return Command(monkeypatch, capsys)


def run_python(*arguments: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, **options)


# What is handed over


def test_prepare_hands_over_the_catalogue_its_description_and_the_settings(command: Command) -> None:
    flags = "--image-size 40x30 --id-column sku --name-column title --levels kind,type --split-column part"
    assert command.run("prepare", "shop.csv", "-w", "place", "--schema", "shop.toml", *flags.split()) == 0
    catalog, workspace, config = command.given
    assert (catalog, workspace, config) == ("shop.csv", Path("place"), hangtag.PrepareConfig(image_size=(40, 30)))
    assert command.named == {
        "schema": Path("shop.toml"),
        "overrides": {"id": "sku", "name": "title", "levels": "kind,type", "split": "part"},
    }


def test_the_preset_lies_under_the_file_and_the_file_under_the_flags(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("sample = 500\n[train]\nepochs = 3\nbatch_size = 64\n", encoding="utf-8")
    command.run("clean", "--preset", "capstone", "--config", str(file))
    assert command.given[1] == hangtag.CleanConfig(matcher="class-words", sample=500)
    command.run("clean", "--preset", "capstone", "--config", str(file), "--matcher", "names", "--sample", "0")
    assert command.given[1] == hangtag.CleanConfig(matcher="names", sample=0)
    command.run("train", "--preset", "capstone", "--config", str(file), "--epochs", "1")
    trained = command.given[1]
    assert (trained.architecture, trained.epochs, trained.batch_size) == ("capstone", 1, 64)


def test_flags_take_yes_and_no_choices_and_lists(command: Command) -> None:
    command.run("train", "--no-flip", "--precision", "float32", "--color-mode", "gray", "--learning-rate", "1e-3")
    assert command.given[1] == hangtag.TrainConfig(
        flip=False, precision="float32", color_mode="gray", learning_rate=0.001
    )
    command.run("clean", "--split-fractions", "0.5, 0.25,0.25")
    assert command.given[1] == hangtag.CleanConfig(split_fractions=(0.5, 0.25, 0.25))
    command.run("evaluate", "--splits", "val,test", "--run", "a", "--run", "b")
    assert command.given == (Path("workspace"), hangtag.EvaluateConfig(splits=("val", "test")))
    assert command.named == {"run_ids": ["a", "b"]}


def test_without_flags_the_defaults_of_the_dataclasses_hold(command: Command) -> None:
    for name, kind in {"clean": hangtag.CleanConfig, "train": hangtag.TrainConfig}.items():
        command.run(name)
        assert command.given == (Path("workspace"), kind())
    assert command.named == {"run_id": None, "resume": False, "replace": False}
    command.run("predict")
    assert command.named == {"run_ids": None}


def test_apply_hands_over_what_is_proven_and_where_the_catalogue_is(command: Command) -> None:
    command.run("apply", "-w", "/w", "--auto-accept", "0.95", "--catalog", "moved.zip")
    assert command.given == (Path("/w"), hangtag.ApplyConfig(auto_accept=0.95))
    assert command.named == {"catalog": Path("moved.zip")}
    command.run("apply")
    assert command.given == (Path("workspace"), hangtag.ApplyConfig(auto_accept=0.0))


def test_train_can_be_named_and_resumed(command: Command) -> None:
    command.run("train", "--run-id", "mine", "--resume")
    assert command.named == {"run_id": "mine", "resume": True, "replace": False}


def test_run_hands_everything_to_the_chain(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("epochs = 3\nsample = 500\n", encoding="utf-8")
    flags = "--preset capstone --epochs 2 --no-flip --color-modes color,gray --seeds 0,1,2 --levels a,b"
    assert command.run("run", "folder", "-w", "/w", "--config", str(file), *flags.split()) == 0
    assert command.given == ("folder", Path("/w"))
    del command.named["on_stage"]
    assert command.named == {
        "preset": "capstone",
        "settings": {"clean": {"sample": 500}, "train": {}, "epochs": 2, "flip": False},
        "schema": None,
        "overrides": {"levels": "a,b"},
        "color_modes": ["color", "gray"],
        "seeds": [0, 1, 2],
        "replace": False,
    }


@pytest.mark.parametrize("name", ["run", "demo"])
def test_a_chain_takes_the_flags_of_a_single_training_too(command: Command, name: str) -> None:
    command.run(*([name, "folder"] if name == "run" else [name]), "--color-mode", "gray", "--seed", "7")
    assert (command.named["color_modes"], command.named["seeds"]) == (["gray"], [7])


def test_the_demo_has_a_workspace_of_its_own(command: Command) -> None:
    command.run("demo", "--epochs", "1")
    assert command.given == (Path("demo-workspace"),)
    assert command.named["settings"] == {"epochs": 1}
    assert (command.named["color_modes"], command.named["seeds"]) == (None, None)


# What is printed


@pytest.mark.parametrize("name", ["clean", "explore", "train", "evaluate", "predict", "apply"])
def test_a_stage_is_told_in_two_lines(command: Command, name: str) -> None:
    assert command.run(name) == 0
    assert command.out.splitlines()[0].endswith(": done in 2.0 s")
    assert command.out.splitlines()[1:] == [f"  items 1,200 · in /w/{name}"]
    assert command.err == ""


@pytest.mark.parametrize("name", ["report", "run", "demo"])
def test_the_report_is_linked_at_the_end(command: Command, name: str, tmp_path: Path) -> None:
    place = tmp_path / "my place"
    assert command.run(*([name, "folder"] if name == "run" else [name]), "-w", str(place)) == 0
    link = (place / "report.html").as_uri()
    assert "%20" in link
    assert command.out == f"{name}: done in 2.0 s\n  items 1,200 · in /w/{name}\nThe report: {link}\n"


def test_compare_prints_its_tables(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hangtag.stages.compare.read_comparison", lambda folder: folder)
    blocks = [Block("Two runs.", ("run", "items"), [("a", "12"), ("long-name", "3,456")])]
    monkeypatch.setattr("hangtag.stages.compare.list_blocks", lambda *_, **__: blocks * 2)
    assert command.run("compare", "a", "b", "-w", "/w", "--split", "test", "--baseline", "b") == 0
    assert (command.given, command.named) == (
        (Path("/w"), ["a", "b"]),
        {"split": "test", "baseline": "b", "is_timed": False},
    )
    table = "\nTwo runs.\nrun        items\na             12\nlong-name  3,456\n"
    assert command.out == f"compare: done in 2.0 s\n  items 1,200 · in /w/compare\n{table * 2}"


def test_models_prints_a_line_for_each(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []

    def describe(*arguments: Any) -> list[dict[str, Any]]:
        given.extend(arguments)
        purpose = "to show how a text that is long is folded within its column"
        return [{"name": "small", "parameters": 1_234_567, "flops": 2_345_678, "bytes": 4_938_268, "purpose": purpose}]

    monkeypatch.setattr("hangtag.models.flops.describe_architectures", describe)
    assert command.run("models", "--image-size", "40x30", "--color-mode", "gray") == 0
    assert given == [(40, 30), "gray"]
    assert command.out == (
        "Networks for photographs of 40 x 30 in gray, with 30 classes.\n"
        "name   parameters  MFLOPs   MB  for\n"
        "small   1,234,567     2.3  4.9  to show how a text that is long is folded within\n"
        "                                its column\n"
        "Beside them hub: the image backbone of a KerasHub preset, named by --weights.\n"
    )


def test_no_command_is_help(command: Command) -> None:
    assert command.run() == 0
    alone = command.out
    assert command.run("--help") == 0
    assert command.out == alone
    assert alone.startswith("Usage: hangtag [OPTIONS] COMMAND [ARGS]...\n")
    commands = [line.split()[0] for line in alone.split("Commands:\n")[1].splitlines()]
    stages = list(STAGES)
    stages.insert(stages.index("apply"), "review")
    assert commands == [*stages, "models", "export", "classify", "serve"]


def test_the_version_is_printed(command: Command) -> None:
    assert command.run("--version") == 0
    assert command.out == f"hangtag {hangtag.__version__}\n"


# How it fails

MISTAKES = [
    (["train", "--epochs", "0"], "Error: epochs cannot be used. Allowed: 1 to 10000. Received: 0.\n"),
    (
        ["prepare", "shop", "--image-size", "80"],
        "Error: The image size cannot be read. Allowed: HEIGHTxWIDTH, as in 80x60. Received: '80'.\n",
    ),
    (
        ["evaluate", "--splits", "val,holdout"],
        "Error: There is no such split. Allowed: one or more of train, val, test. Received: ('val', 'holdout').\n",
    ),
    (
        ["run", "shop", "--seeds", "0,one"],
        "Error: The seeds cannot be read. Allowed: whole numbers between commas. Received: '0,one'.\n",
    ),
    (
        ["train", "--color-mode", "sepia"],
        "Error: Invalid value for '--color-mode': 'sepia' is not one of 'color', 'gray'.\n"
        "Try 'hangtag train --help' for help.\n",
    ),
    (["train", "--qqq", "3"], "Error: No such option: --qqq\nTry 'hangtag train --help' for help.\n"),
    (
        ["models", "--image-size", "400x300"],
        "Error: The networks cannot be built for this image size. "
        "Allowed: HEIGHTxWIDTH, each 8 to 320, as in 80x60. Received: (400, 300).\n",
    ),
    (["prepare"], "Error: Missing argument 'CATALOG'.\nTry 'hangtag prepare --help' for help.\n"),
    (["trian"], "Error: No such command 'trian'. Did you mean 'train'?\nTry 'hangtag --help' for help.\n"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES)
def test_a_mistake_is_a_line_or_two_on_stderr(command: Command, arguments: list[str], message: str) -> None:
    assert command.run(*arguments) == 2
    assert (command.out, command.err) == ("", message)


def test_a_stage_s_error_is_one_line_however_long(command: Command) -> None:
    error = WorkspaceError(
        f"The folder {'long ' * 40}of [red]this[/red] workspace is not made yet.",
        received="[b]",
        hint="Run `hangtag clean` first.",
    )
    assert command.run("train", effect=error) == 2
    assert command.err == f"Error: {error}\n"
    assert command.out == ""
    assert "[red]this[/red]" in command.err


def test_a_settings_file_with_an_unknown_name_is_refused(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("epoch = 3\n", encoding="utf-8")
    assert command.run("explore", "--config", str(file)) == 2
    told = "Error: settings.toml, line 1: There is no such setting. Did you mean epochs? Allowed: allowed_hosts, "
    assert command.err.startswith(told)
    assert command.err.endswith(" Received: 'epoch'.\n")
    assert command.given == ()


def test_a_missing_settings_file_is_a_mistake(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "none.toml"
    assert command.run("run", "shop", "--config", str(file)) == 2
    assert command.err.startswith("Error: The settings file cannot be read: ")
    assert command.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["train"],
            "Stopped. Every finished epoch is kept; to go on, run the same command with --resume.\n",
        ),
        (
            ["run", "shop"],
            "Stopped. Every finished stage and epoch is kept; to go on, run the same command.\n",
        ),
        (["evaluate"], "Stopped. Nothing is left half written; to do it, run the same command.\n"),
    ],
)
def test_a_stop_says_how_to_go_on(command: Command, arguments: list[str], message: str) -> None:
    assert command.run(*arguments, effect=KeyboardInterrupt()) == 130
    assert (command.out, command.err) == ("", message)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            PermissionError(errno.EACCES, "Permission denied", "/w/labels"),
            "Error: The system refuses it: Permission denied. Received: '/w/labels'.\n",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "Error: The system refuses it: No space left on device.\n",
        ),
    ],
)
def test_what_the_disk_refuses_is_no_bug(command: Command, error: OSError, message: str) -> None:
    assert command.run("clean", effect=error) == 2
    assert (command.out, command.err) == ("", message)


def test_any_other_error_of_the_system_is_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    def stage(*_: Any) -> None:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", "/w/labels.csv")

    monkeypatch.setattr(STAGES["report"], stage)
    with pytest.raises(FileNotFoundError):
        main(["report"])


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def stage(*_: Any) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(STAGES["report"], stage)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        main(["report"])


def test_a_reader_that_has_gone_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as gone:
        done = subprocess.run(
            [sys.executable, "-m", "hangtag", "--help"], stdout=gone, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (1, "")


# Import and documents


@pytest.mark.parametrize("statement", ["import hangtag", "from hangtag.cli import main; main()"])
def test_help_and_import_load_nothing_heavy(statement: str) -> None:
    check = f"import atexit, sys; atexit.register(lambda: print([n for n in {HEAVY!r} if n in sys.modules]))\n"
    done = run_python("-c", check + statement, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_package_runs_as_a_module() -> None:
    done = run_python("-m", "hangtag", "train", "--epochs", "0")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "Error: epochs cannot be used. Allowed: 1 to 10000. Received: 0.\n"


@pytest.mark.parametrize("name", hangtag.__all__)
def test_the_package_offers_every_name(name: str) -> None:
    offered: Callable[..., Any] = getattr(hangtag, name)
    assert offered.__name__ == name
    assert offered.__doc__
    assert name in dir(hangtag)


def test_the_package_offers_each_stage_and_no_other_name() -> None:
    assert set(STAGES) <= set(hangtag.__all__)
    assert hangtag.HangtagError is HangtagError
    mistyped = "trian"
    with pytest.raises(AttributeError, match="module 'hangtag' has no attribute 'trian'"):
        getattr(hangtag, mistyped)


def test_the_page_of_the_command_line_is_current() -> None:
    narrow = {**os.environ, "COLUMNS": "50", "FORCE_COLOR": "1", "TERMINAL_WIDTH": "50"}
    done = run_python(str(ROOT / "scripts" / "write-docs"), "--check", env=narrow)
    assert (done.returncode, done.stderr) == (0, "")
