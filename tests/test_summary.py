"""Test the text that the command line prints about a stage."""

from pathlib import Path

import pytest

from hangtag.exit_codes import describe_stop
from hangtag.results import StageResult, format_seconds, format_value
from hangtag.summary import describe_result


def test_a_result_is_a_heading_then_counts_and_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    counts = {"rows": 44446, "items": 44441, "rejected": 5, "repaired_rows": 22}
    assert describe_result(StageResult("prepare", tmp_path / "workspace" / "prepared", counts, 52.14)) == (
        "prepare: done in 52.1 s\n"
        "  rows 44,446 · items 44,441 · rejected 5 · repaired rows 22 ·\n"
        "  in workspace/prepared"
    )


def test_a_skipped_stage_is_reported_with_its_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = StageResult("explore", tmp_path / "w" / "exploration", {"figures": 20}, 3.0, skipped=True)
    assert describe_result(result) == "explore: unchanged, skipped\n  figures 20 · in w/exploration"


@pytest.mark.parametrize(
    ("stage", "folder", "heading"),
    [
        ("train", "runs/capstone-gray-1", "train capstone-gray-1: "),
        ("evaluate", "runs/capstone-gray-1/evaluation", "evaluate capstone-gray-1: "),
        ("predict", "runs/capstone-gray-1/predictions", "predict capstone-gray-1: "),
        # The workspace itself may be called runs.
        ("prepare", "runs/prepared", "prepare: "),
    ],
)
def test_the_heading_names_the_run(stage: str, folder: str, heading: str) -> None:
    assert describe_result(StageResult(stage, Path("/w") / folder, {}, 1.0)).startswith(heading + "done in 1.0 s\n")


def test_a_prediction_of_nothing_says_why() -> None:
    folder, counts = Path("/w/runs/one/predictions"), {"sure": 0, "differing": 0}
    nothing = describe_result(StageResult("predict", folder, {"items": 0, **counts}, 1.0))
    assert nothing.splitlines()[1].startswith("  nothing to predict: no item lacks a label or a level")
    assert "sure" not in nothing
    assert "items 3 · sure 0 · differing 0" in describe_result(
        StageResult("predict", folder, {"items": 3, **counts}, 1)
    )


def test_lines_fit_80_columns_and_break_between_counts_only() -> None:
    counts = {f"figure_number_{number}": number * 1234 for number in range(30)}
    lines = describe_result(StageResult("clean", Path("/w/labels"), counts, 1.0)).splitlines()
    assert max(map(len, lines)) <= 80
    pieces = [piece for line in lines[1:] for piece in line.strip().removesuffix(" ·").split(" · ")]
    assert pieces == [*(f"figure number {number} {number * 1234:,}" for number in range(30)), "in /w/labels"]


def test_a_long_folder_stays_whole() -> None:
    folder = Path("/") / ("long folder " * 12).strip()
    assert describe_result(StageResult("report", folder, {}, 1.0)).splitlines()[1:] == [f"  in {folder}"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (44441, "44,441"),
        (0, "0"),
        (0.91318, "0.9132"),
        (298.0, "298"),
        (1234.5, "1,234.5"),
        (0.0, "0"),
        (True, "yes"),
        (False, "no"),
        (None, "none"),
        ("auto", "auto"),
        ([1, 2000], "1, 2,000"),
        ([], "none"),
    ],
)
def test_values_are_formatted(value: object, shown: str) -> None:
    assert format_value(value) == shown


def test_nested_metrics_are_shown_with_both_names() -> None:
    result = StageResult("clean", Path("/w/labels"), {"splits": {"train": 642, "val": 163}}, 1.0)
    assert "splits train 642 · splits val 163" in describe_result(result)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.04, "0.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (125, "2 min 05 s"),
        (3599.6, "1 h 00 min"),
        (7560, "2 h 06 min"),
    ],
)
def test_seconds_are_formatted(seconds: float, shown: str) -> None:
    assert format_seconds(seconds) == shown


def test_a_stop_names_the_command_that_continues() -> None:
    assert describe_stop(["train"]).endswith("run the same command with --resume.")
    assert describe_stop(["run"]).endswith("to continue, run the same command.")
    assert describe_stop(["demo"]) == describe_stop(["run", "shop.zip"])
    assert "--resume" not in describe_stop(["evaluate"])
    for search in (["--search", "grid.toml"], ["--search=grid.toml"]):
        assert describe_stop(["train", *search]) == describe_stop(["learning-curve"])
    assert "--resume" not in describe_stop(["learning-curve"])
    assert describe_stop([]).startswith("Stopped.")
