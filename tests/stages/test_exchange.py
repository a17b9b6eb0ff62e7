"""The command `exchange`: its arguments, its folder, and what it prints."""

import json
from pathlib import Path
from typing import Any

import pytest
from exchanged import annotate, write_tasks

from hangtag.cli import main
from hangtag.config import ExchangeConfig
from hangtag.errors import SettingsError, WorkspaceError
from hangtag.stages.exchange import exchange
from hangtag.workspace import Workspace

TSHIRTS = "Apparel > Topwear > Tshirts"


def test_an_unchanged_result_is_skipped_and_another_folder_is_left_alone(workspace: Workspace, tmp_path: Path) -> None:
    write_tasks(workspace, tmp_path / "out")
    assert exchange(workspace, tool="label-studio", output=tmp_path / "out").skipped
    # Another tool replaces it, without files of the first.
    exchange(workspace, tool="fiftyone", output=tmp_path / "out")
    assert not (tmp_path / "out" / "tasks.json").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(WorkspaceError, match="did not write"):
        exchange(workspace, tool="label-studio", output=tmp_path / "mine")
    with pytest.raises(WorkspaceError, match="did not write"):
        exchange(workspace, tool="label-studio", output=workspace.prepared)


@pytest.mark.parametrize(
    ("tool", "settings", "more", "message"),
    [
        ("cvat", {}, {"output": "x"}, "Allowed: label-studio, fiftyone, hugging-face"),
        ("fiftyone", {}, {}, "neither of them"),
        ("fiftyone", {}, {"output": "x", "answers": "y"}, "both of them"),
        ("hugging-face", {}, {"answers": "y"}, "hangtag prepare FOLDER"),
        ("fiftyone", {"url_prefix": "https://x/"}, {"output": "x"}, "no meaning for fiftyone"),
        ("label-studio", {"url_prefix": "https://x/", "document_root": "/"}, {"output": "x"}, "choose one"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(
    workspace: Workspace, tool: Any, settings: dict[str, Any], more: dict[str, str], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        exchange(workspace, ExchangeConfig(**settings), tool=tool, **more)


def test_the_command_prints_what_became_of_the_answers(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main(["exchange", *arguments, "--workspace", str(workspace.root)])
        out, err = capsys.readouterr()
        assert isinstance(stop.value.code, int)
        return stop.value.code, out, err

    code, out, _ = run("label-studio", "--output", str(tmp_path / "out"), "--limit", "2")
    assert code == 0
    assert "questions 2" in out
    tasks = json.loads((tmp_path / "out" / "tasks.json").read_text(encoding="utf-8"))
    answered = [annotate(task | {"annotations": []}, label) for task, label in zip(tasks, (TSHIRTS, "x"), strict=True)]
    (tmp_path / "export.json").write_text(json.dumps(answered), encoding="utf-8")
    code, out, _ = run("label-studio", "--answers", str(tmp_path / "export.json"))
    assert code == 0
    assert "accepted 1" in out
    assert "not taken 1 · listed in not_taken.csv" in " ".join(out.split())
    code, out, err = run("label-studio", "--answers", str(tmp_path / "none.json"))
    assert (code, out) == (2, "")
    assert "The answers cannot be read: No such file or directory." in err
    code, _, err = run("label-studio", "--url-prefix", "ftp://x", "--output", str(tmp_path / "out"))
    assert code == 2
    assert "--url-prefix must be an address that starts with" in err
