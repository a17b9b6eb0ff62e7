"""Test the command line: the arguments of the stages, the output, and error messages."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

import hangtag
from hangtag.cli import main
from hangtag.cli_help import COMMAND_GROUPS
from hangtag.errors import HangtagError, WorkspaceError
from hangtag.metrics.markdown import Block
from hangtag.results import StageResult

ROOT = Path(__file__).parent.parent
STAGES = {
    "prepare": "hangtag.stages.prepare.prepare",
    "clean": "hangtag.stages.clean.clean",
    "explore": "hangtag.stages.explore.explore",
    "train": "hangtag.stages.train.train",
    "cross-validate": "hangtag.stages.cross_validate.cross_validate",
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
    """Runs a command line with a stub instead of a stage, and records the arguments of the stub."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys
        self.given: tuple[Any, ...] = ()
        self.named: dict[str, Any] = {}
        self.out = self.err = ""

    def run(self, *arguments: str, effect: BaseException | None = None, replace: bool = True) -> int:
        def stage(*given: Any, **named: Any) -> Any:
            self.given, self.named = given, named
            if effect:
                raise effect
            result = StageResult(name, Path("/w") / name, {"items": 1200}, 2.0)
            if name in ("run", "demo"):
                named["on_stage"](result)
            return [result] if name in ("evaluate", "predict") else result

        name = arguments[0] if arguments else ""
        if name in STAGES and replace:
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


# Arguments of the stages


def test_prepare_passes_the_catalogue_its_description_and_the_settings(command: Command) -> None:
    flags = "--image-size 40x30 --id-column sku --name-column title --levels kind,type --split-column part"
    assert command.run("prepare", "shop.csv", "-w", "place", "--schema", "shop.toml", *flags.split()) == 0
    catalog, workspace, config = command.given
    assert (catalog, workspace, config) == ("shop.csv", Path("place"), hangtag.PrepareConfig(image_size=(40, 30)))
    assert command.named == {
        "schema": Path("shop.toml"),
        "overrides": {"id": "sku", "name": "title", "levels": "kind,type", "split": "part"},
        "runner": hangtag.RunnerConfig(),
    }


def test_the_file_overrides_the_preset_and_flags_override_the_file(command: Command, tmp_path: Path) -> None:
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
    command.run("evaluate", "a", "b", "--splits", "val,test")
    assert command.given == (Path("workspace"), hangtag.EvaluateConfig(splits=("val", "test")))
    assert command.named == {"run_ids": ["a", "b"]}


def test_without_flags_the_defaults_of_the_dataclasses_are_used(command: Command) -> None:
    for name, kind in {"clean": hangtag.CleanConfig, "train": hangtag.TrainConfig}.items():
        command.run(name)
        assert command.given == (Path("workspace"), kind())
    assert command.named == {"run_id": None, "resume": False, "replace": False, "runner": hangtag.RunnerConfig()}
    for name in ("evaluate", "predict"):
        command.run(name)
        assert not command.named["run_ids"]


def test_cross_validate_passes_the_folds_and_the_settings_of_a_training(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hangtag.stages.cross_validate.read_report", lambda folder: folder)
    monkeypatch.setattr("hangtag.stages.cross_validate.list_fold_blocks", lambda _: [])
    assert command.run("cross-validate", "--folds", "3", "--run-id", "two", "--epochs", "2", "--replace") == 0
    assert command.given == (Path("workspace"), hangtag.TrainConfig(epochs=2))
    assert command.named == {"folds": 3, "run_id": "two", "replace": True, "runner": hangtag.RunnerConfig()}
    on_ray = ("--runner", "ray", "--ray-address", "head:6379", "--cpus-per-task", "2", "--gpus-per-task", "1")
    command.run("cross-validate", *on_ray)
    assert command.named["folds"] == 5
    assert command.named["runner"] == hangtag.RunnerConfig("ray", "head:6379", 2, 1)
    assert command.run("cross-validate", "--ray-address", "auto") == 2
    assert "--ray-address is for --runner ray" in command.err


@pytest.mark.parametrize("name", ["predict", "compare", "audit", "export"])
def test_a_run_is_an_argument_of_every_command(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    def stage(*given: Any, **named: Any) -> None:
        command.given, command.named = given, named
        raise WorkspaceError("Seen enough.")

    monkeypatch.setattr(f"hangtag.stages.{name}.{name}", stage)
    more = ["--output", str(tmp_path)] if name == "export" else []
    assert command.run(name, "one", *more, replace=False) == 2
    passed = [*command.given, *command.named.values()]
    assert ("one" if name in ("audit", "export") else ["one"]) in passed


def test_an_audit_takes_one_run_at_most(command: Command) -> None:
    assert command.run("audit", "one", "two") == 2
    assert command.err.startswith("Error: Got unexpected extra argument")
    assert "(two)" in command.err


def test_apply_passes_the_precision_and_the_moved_catalogue(command: Command) -> None:
    command.run("apply", "-w", "/w", "--auto-accept", "0.95", "--catalog", "moved.zip")
    assert command.given == (Path("/w"), hangtag.ApplyConfig(auto_accept=0.95))
    assert command.named == {"catalog": Path("moved.zip")}
    command.run("apply")
    assert command.given == (Path("workspace"), hangtag.ApplyConfig(auto_accept=0.0))


def test_train_can_be_named_and_resumed(command: Command) -> None:
    command.run("train", "--run-id", "mine", "--resume")
    assert command.named == {"run_id": "mine", "resume": True, "replace": False, "runner": hangtag.RunnerConfig()}


def test_run_passes_everything_to_the_chain(command: Command, tmp_path: Path) -> None:
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
def test_a_chain_accepts_the_flags_of_a_single_training_too(command: Command, name: str) -> None:
    command.run(*([name, "folder"] if name == "run" else [name]), "--color-mode", "gray", "--seed", "7")
    assert (command.named["color_modes"], command.named["seeds"]) == (["gray"], [7])


def test_the_demo_has_a_separate_workspace(command: Command) -> None:
    command.run("demo", "--epochs", "1")
    assert command.given == (Path("demo-workspace"),)
    assert command.named["settings"] == {"epochs": 1}
    assert (command.named["color_modes"], command.named["seeds"]) == (None, None)


# Output


@pytest.mark.parametrize("name", ["clean", "explore", "train", "evaluate", "predict", "apply"])
def test_a_stage_is_described_in_two_lines(command: Command, name: str) -> None:
    assert command.run(name) == 0
    assert command.out.splitlines()[0].endswith(": done in 2.0 s")
    assert command.out.splitlines()[1:] == [f"  items 1,200 · in /w/{name}"]
    assert command.err == ""


@pytest.mark.parametrize("name", ["report", "run", "demo"])
def test_the_report_is_linked_at_the_end(command: Command, name: str, tmp_path: Path) -> None:
    workspace = tmp_path / "my workspace"
    assert command.run(*([name, "folder"] if name == "run" else [name]), "-w", str(workspace)) == 0
    link = (workspace / "report.html").as_uri()
    assert "%20" in link
    printed = f"{name}: done in 2.0 s\n  items 1,200 · in /w/{name}\nThe report: {link}\n"
    assert command.out == f"{printed}Next, to find wrong labels: hangtag audit --workspace '{workspace}'\n"


def test_a_workspace_that_is_audited_is_not_sent_to_the_audit(command: Command, tmp_path: Path) -> None:
    (tmp_path / "audit").mkdir()
    (tmp_path / "audit" / "issues.csv").touch()
    assert command.run("report", "-w", str(tmp_path)) == 0
    assert "Next" not in command.out


def test_cross_validate_prints_its_tables(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hangtag.stages.cross_validate.read_report", lambda folder: folder)
    blocks = [Block("All items.", ("class", "items"), [("Bags", "12"), ("Shirts", "3,456")])]
    monkeypatch.setattr("hangtag.stages.cross_validate.list_fold_blocks", lambda *_: blocks)
    assert command.run("cross-validate", "-w", "/w") == 0
    table = "\nAll items.\nclass   items\nBags       12\nShirts  3,456\n"
    assert command.out == f"cross-validate cross-validate: done in 2.0 s\n  items 1,200 · in /w/cross-validate\n{table}"
    assert command.err == ""


def test_compare_prints_its_tables(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hangtag.stages.compare.read_comparison", lambda folder: folder)
    # The workspace of this command is made up.
    monkeypatch.setattr("hangtag.lock.hold", lambda *_, **__: nullcontext())
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
        "There is also hub: the image backbone of a KerasHub preset, named by --weights.\n"
    )


def test_no_command_prints_the_help_with_the_commands_in_groups(command: Command) -> None:
    assert command.run() == 0
    alone = command.out
    assert command.run("--help") == 0
    assert command.out == alone
    assert alone.startswith("Usage: hangtag [OPTIONS] COMMAND [ARGS]...\n")
    sections = dict(section.split(":\n") for section in alone.strip().split("\n\n") if ":\n" in section)
    commands = {heading: tuple(line.split()[0] for line in text.splitlines()) for heading, text in sections.items()}
    assert commands.pop("Options")[0] == "--version"
    assert commands == COMMAND_GROUPS
    assert max(map(len, alone.splitlines())) <= 80


def test_the_help_of_train_groups_the_flags(command: Command) -> None:
    assert command.run("train", "--help") == 0
    headings = [line for line in command.out.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert headings == ["Options:", "Data:", "Model:", "Optimization:", "Augmentation:", "Prediction:", "Runner:"]
    assert max(map(len, command.out.splitlines())) <= 80
    optimization = command.out.partition("Optimization:")[2].partition("Augmentation:")[0]
    assert "--epochs" in optimization
    assert "--max-shift" not in optimization


def test_the_shell_completes_commands_flags_and_runs(tmp_path: Path) -> None:
    for name in ("one", "other", "two"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "manifest.json").write_text("{}")

    def complete(words: str) -> list[str]:
        typed = {"_HANGTAG_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
        done = run_python("-m", "hangtag", env={**os.environ, **typed})
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.split()

    assert complete("hangtag cr") == ["cross-validate"]
    assert complete("hangtag train --ep") == ["--epochs"]
    assert complete(f"hangtag evaluate -w {tmp_path} o") == ["one", "other"]
    assert complete(f"hangtag evaluate -w {tmp_path / 'none'} o") == []


def test_the_version_is_printed(command: Command) -> None:
    assert command.run("--version") == 0
    assert command.out == f"hangtag {hangtag.__version__}\n"


# Errors

MISTAKES = [
    (["clean", "--max-hash-distance", "9"], "Error: --max-hash-distance must be 0 to 2. Received: 9.\n"),
    (["models", "--image-size", "80"], "Error: --image-size must be HEIGHTxWIDTH, as in 80x60. Received: '80'.\n"),
    (
        ["train", "--image-run", "one"],
        "Error: --image-run needs --with-names: only the classifier of names is trained. Received: 'one'.\n",
    ),
    (
        ["evaluate", "--run", "one"],
        "Error: No such option: --run\nTry 'hangtag evaluate --help' for help.\n",
    ),
    (["train", "--epochs", "-1"], "Error: --epochs must be 0 to 10000. Received: -1.\n"),
    (
        ["prepare", "shop", "--image-size", "80"],
        "Error: --image-size must be HEIGHTxWIDTH, as in 80x60. Received: '80'.\n",
    ),
    (
        ["evaluate", "--splits", "val,holdout"],
        "Error: --splits must be one or more of train, val, test. Received: ('val', 'holdout').\n",
    ),
    (
        ["run", "shop", "--seeds", "0,one"],
        "Error: --seeds must be whole numbers separated by commas. Received: '0,one'.\n",
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
def test_a_user_error_is_one_or_two_lines_on_stderr(command: Command, arguments: list[str], message: str) -> None:
    assert command.run(*arguments) == 2
    assert (command.out, command.err) == ("", message)


def test_an_error_of_a_stage_names_the_flag(command: Command) -> None:
    assert command.run("cross-validate", "--folds", "1", replace=False) == 2
    assert command.err == "Error: --folds must be 2 to 20. Received: 1.\n"


def test_an_error_of_a_stage_is_a_single_line(command: Command) -> None:
    error = WorkspaceError(
        f"The folder {'long ' * 40}of [red]this[/red] workspace is not made yet.",
        received="[b]",
        hint="Run `hangtag clean` first.",
    )
    assert command.run("train", effect=error) == 2
    assert command.err == f"Error: {error}\n"
    assert command.out == ""
    assert "[red]this[/red]" in command.err


def test_a_settings_file_with_an_unknown_name_is_rejected(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("epoch = 3\n", encoding="utf-8")
    assert command.run("explore", "--config", str(file)) == 2
    message = (
        f"Error: {file}, line 1: There is no such setting. Did you mean epochs? Allowed: allow_private_addresses, "
    )
    assert command.err.startswith(message)
    assert command.err.endswith(" Received: 'epoch'.\n")
    assert command.given == ()


def test_a_missing_settings_file_is_a_user_error(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "none.toml"
    assert command.run("run", "shop", "--config", str(file)) == 2
    assert command.err.startswith("Error: The settings file cannot be read: ")
    assert command.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["train"],
            "Stopped. Every finished epoch is kept; to continue, run the same command with --resume.\n",
        ),
        (
            ["run", "shop"],
            "Stopped. Every finished stage and epoch is kept; to continue, run the same command.\n",
        ),
        (
            ["cross-validate"],
            "Stopped. Every finished fold and epoch is kept; to continue, run the same command.\n",
        ),
        (["evaluate"], "Stopped. No file is left half written; to start again, run the same command.\n"),
    ],
)
def test_the_message_after_a_stop_explains_how_to_continue(
    command: Command, arguments: list[str], message: str
) -> None:
    assert command.run(*arguments, effect=KeyboardInterrupt()) == 130
    assert (command.out, command.err) == ("", message)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            PermissionError(errno.EACCES, "Permission denied", "/w/labels"),
            "Error: The operating system reports: Permission denied. Received: '/w/labels'.\n",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "Error: The operating system reports: No space left on device.\n",
        ),
    ],
)
def test_an_error_of_the_disk_is_not_a_bug(command: Command, error: OSError, message: str) -> None:
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


def test_a_closed_pipe_is_not_an_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "hangtag", "--help"], stdout=closed, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (1, "")


# Import and documents


@pytest.mark.parametrize("statement", ["import hangtag", "from hangtag.cli import main; main()"])
def test_help_and_import_load_no_slow_library(statement: str) -> None:
    check = f"import atexit, sys; atexit.register(lambda: print([n for n in {HEAVY!r} if n in sys.modules]))\n"
    done = run_python("-c", check + statement, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_package_runs_as_a_module() -> None:
    done = run_python("-m", "hangtag", "train", "--epochs", "-1")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "Error: --epochs must be 0 to 10000. Received: -1.\n"


@pytest.mark.parametrize("name", hangtag.__all__)
def test_the_package_offers_every_name(name: str) -> None:
    offered: Callable[..., Any] = getattr(hangtag, name)
    assert offered.__name__ == name
    assert offered.__doc__
    assert name in dir(hangtag)


def test_the_package_offers_each_stage_and_no_other_name() -> None:
    stages = {name.replace("-", "_") for names in COMMAND_GROUPS.values() for name in names} - {"models"}
    assert stages <= set(hangtag.__all__)
    assert hangtag.HangtagError is HangtagError
    mistyped = "trian"
    with pytest.raises(AttributeError, match="module 'hangtag' has no attribute 'trian'"):
        getattr(hangtag, mistyped)


def test_the_document_of_the_command_line_is_current() -> None:
    narrow = {**os.environ, "COLUMNS": "50", "FORCE_COLOR": "1", "TERMINAL_WIDTH": "50"}
    done = run_python(str(ROOT / "scripts" / "write-docs"), "--check", env=narrow)
    assert (done.returncode, done.stderr) == (0, "")
