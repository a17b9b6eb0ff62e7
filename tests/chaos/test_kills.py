"""A kill at any file operation of any stage: what is left is the earlier result or the new one, never a mixture."""

import json
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from hangtag.cli import main
from hangtag.demo_catalog.catalog import write_demo_catalog
from hangtag.reviewing.decisions import DecisionRequest, LabelOptions, build_decisions
from hangtag.reviewing.items import read_items
from hangtag.reviewing.queue import Queue, read_issues
from hangtag.reviewing.store import Store
from hangtag.workspace import Workspace

SCRIPT = Path(__file__).parents[1] / "fixtures" / "kill_points.py"
TRAIN = ["train", "--architecture", "residual-tiny", "--epochs", "1"]
# Per stage: what is done again over an existing workspace, the folders that it writes, and what is run next.
PLAIN: dict[str, tuple[list[str], list[str], list[str]]] = {
    "prepare": (["prepare", "CATALOG-B"], ["prepared"], ["clean"]),
    "clean": (["clean", "--split-seed", "1"], ["labels"], ["explore"]),
    "explore": (["explore", "--sheet-seed", "1"], ["exploration"], ["audit"]),
    "audit": (["audit", "--no-use-names"], ["audit"], ["explore"]),
    "apply": (["apply"], ["review"], ["clean"]),
}
TRAINED: dict[str, tuple[list[str], list[str], list[str]]] = {
    "train": (["train", "--run-id", "one", "--replace", "--seed", "5"], ["runs/one"], ["report"]),
    "folds": (
        ["cross-validate", "--run-id", "two", "--folds", "2", "--replace", "--seed", "5"],
        ["folds/two"],
        ["predict"],
    ),
    "evaluate": (["evaluate", "one", "--splits", "test"], ["runs/one/evaluation"], ["predict"]),
    "predict": (["predict", "one", "--items", "all"], ["runs/one/predictions"], ["predict"]),
    "compare": (["compare", "--split", "test"], ["comparison"], ["predict"]),
    "export": (
        ["export", "one", "--output", "EXPORT", "--weights", "float16"],
        ["export"],
        ["export", "one", "--output", "EXPORT", "--weights", "float16"],
    ),
    "report": (["report"], ["report"], ["predict"]),
}


def call(*arguments: str, codes: tuple[int, ...] = (0,)) -> None:
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    assert stop.value.code in codes, arguments


@pytest.fixture(scope="module")
def catalogs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("catalogs")
    return {
        name: write_demo_catalog(folder / name, items_per_kind=20, seed=seed)
        for seed, name in enumerate(("CATALOG-A", "CATALOG-B"))
    }


@pytest.fixture(scope="module")
def plain(catalogs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace up to applied decisions, and one decision more."""
    workspace = tmp_path_factory.mktemp("plain") / "workspace"
    place = ["--workspace", str(workspace)]
    call("prepare", str(catalogs["CATALOG-A"]), *place)
    for command in ("clean", "explore", "audit"):
        call(command, *place)
    decide(Workspace.at(workspace), 0)
    call("apply", *place)
    decide(Workspace.at(workspace), 1)
    return workspace


def decide(place: Workspace, number: int) -> None:
    """Accept the suggestion of an issue, as the review page does."""
    with closing(Store(place.review / "review.sqlite")) as store:
        queue = Queue(read_issues(place.issues), read_items(place), store)
        issue = [each for each in queue.issues if each.changes][number]
        request = DecisionRequest(issue.position, "accept", {issue.item_id: queue.read_version(issue.item_id)})
        store.add(build_decisions(request, queue, LabelOptions(queue.items)), "Ann")


def attack(
    case: tuple[list[str], list[str], list[str]], template: Path, scratch: Path, catalogs: dict[str, Path], points: int
) -> dict[str, Any]:
    """Kill a command at some of its operations and return what `kill_points` found."""
    command, folders, later = case
    names = {name: str(path) for name, path in catalogs.items()} | {"EXPORT": str(scratch / "workspace" / "export")}
    spec = {
        "template": str(template),
        "scratch": str(scratch),
        "command": [names.get(each, each) for each in command],
        "folders": folders,
        "later": [names.get(each, each) for each in later],
        "points": points,
    }
    path = scratch / "spec.json"
    path.write_text(json.dumps(spec))
    done = subprocess.run([sys.executable, SCRIPT, path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("stage", ["prepare", "clean", "apply"])
def test_a_kill_mixes_nothing(stage: str, plain: Path, tmp_path: Path, catalogs: dict[str, Path]) -> None:
    found = attack(PLAIN[stage], plain, tmp_path, catalogs, points=5)
    assert found["kills"] >= 5
    assert found["faults"] == []


@pytest.mark.chaos
@pytest.mark.parametrize("stage", PLAIN)
def test_a_kill_at_any_operation_mixes_nothing(
    stage: str, plain: Path, tmp_path: Path, catalogs: dict[str, Path]
) -> None:
    found = attack(PLAIN[stage], plain, tmp_path, catalogs, points=40)
    print(f"{stage}: {found['operations']} operations, {found['kills']} kills")
    assert found["faults"] == []


@pytest.fixture(scope="module")
def trained(plain: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with two runs, folds, an evaluation, predictions, a comparison, an export and a report of before."""
    workspace = tmp_path_factory.mktemp("trained") / "workspace"
    shutil.copytree(plain, workspace)
    place = ["--workspace", str(workspace)]
    call("clean", *place)
    for run_id in ("one", "other"):
        call(*TRAIN, "--run-id", run_id, "--seed", str(len(run_id)), *place)
    call("cross-validate", *TRAIN[1:], "--run-id", "two", "--folds", "2", *place)
    call("evaluate", *place)
    call("compare", *place)
    call("export", "one", "--output", str(workspace / "export"), *place)
    call("report", *place)
    call("predict", *place)
    return workspace


@pytest.mark.chaos
@pytest.mark.parametrize("stage", TRAINED)
def test_a_kill_of_a_trained_stage_mixes_nothing(
    stage: str, trained: Path, tmp_path: Path, catalogs: dict[str, Path]
) -> None:
    command, folders, later = TRAINED[stage]
    if command[0] == "train":
        command = [*TRAIN, *command[1:]]
    found = attack((command, folders, later), trained, tmp_path, catalogs, points=25)
    print(f"{stage}: {found['operations']} operations, {found['kills']} kills")
    assert found["faults"] == []
