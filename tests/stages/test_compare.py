"""`compare` judges runs on the same items, and says how sure a difference is; every figure worked out by hand."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from hangtag.cli import main
from hangtag.errors import HangtagError, SettingsError, WorkspaceError
from hangtag.io import hash_file, read_json, write_csv, write_json, write_parquet
from hangtag.manifest import StageRecord
from hangtag.metrics.bootstrap import compute_intervals, estimate_metrics
from hangtag.metrics.comparison import compute_mcnemar, summarize_seeds
from hangtag.results import StageResult
from hangtag.stages.compare import compare, read_comparison
from hangtag.workspace import Workspace

LABELS = "AAAABBBB"
# Half of the items right; six right, two of them alone; six right, four of them alone and two left to the first.
FIRST, SECOND, THIRD = "AABBBBAA", "AAABBBBA", "BBAABBBB"


def write_evaluated_run(
    place: Workspace,
    run_id: str,
    said: Sequence[str | None],
    *,
    labels: Sequence[str | None] = LABELS,
    start: int = 0,
    splits: tuple[str, ...] = ("val",),
    model: dict[str, Any] | None = None,
    report: dict[str, Any] | None = None,
    **settings: Any,
) -> None:
    """Write what `train` and `evaluate` would, with items `i0`, `i1`, … of each split from `start` on."""
    folder, evaluation = place.run(run_id), place.evaluation(run_id)
    described = {"parameters": {"total": 1200}, "label_space": {"primary": "label"}} | (model or {})
    write_json(folder / "model.json", described)
    write_csv(
        folder / "history.csv",
        pl.DataFrame({"epoch": [1, 2], "seconds": [60.0, 30.0], "images_per_second": [100.0, 200.0]}),
    )
    files = [folder / "model.json", folder / "history.csv"]
    StageRecord("train", folder, {"labels": "d"}, {"epochs": 2, "seed": 0} | settings).finish({}, files)
    ids = [f"i{number}" for number in range(start, start + len(said))]
    items = pl.DataFrame({"item_id": ids, "group_id": ids, "label": list(labels), "predicted_label": list(said)})
    tables = [items.with_columns(pl.lit(split).alias("split")) for split in splits]
    # No order is promised.
    write_parquet(evaluation / "predictions.parquet", pl.concat(tables).reverse())
    write_json(evaluation / "report.json", {"run_id": run_id, **(report or {})})
    evaluated = StageRecord("evaluate", evaluation, {"model": hash_file(folder / "model.json")}, {})
    evaluated.finish({}, [evaluation / "predictions.parquet", evaluation / "report.json"])


@pytest.fixture(autouse=True)
def _without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the drawing; `test_recipes` has one comparison with its pictures."""
    leave_out_pictures(monkeypatch)


def leave_out_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a comparison write empty files where its pictures go."""

    def save(_: None, path: Path) -> list[Path]:
        path.touch()
        return [path]

    for name in ("plot_costs", "plot_interactive_costs"):
        monkeypatch.setattr(f"hangtag.stages.compare.{name}", lambda *_: None)
    monkeypatch.setattr("hangtag.stages.compare.save_figure", save)


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    place = Workspace.at(tmp_path / "ws")
    write_evaluated_run(place, "first", FIRST)
    write_evaluated_run(place, "second", SECOND, model={"flops": 250_000_000}, epochs=3)
    write_evaluated_run(place, "third", THIRD, model={"flops": 2_000_000}, epochs=4)
    return place


def run(place: Workspace, *run_ids: str, **named: Any) -> StageResult:
    return compare(place, run_ids, samples=50, **named)


# What it writes


def test_runs_stand_side_by_side_with_what_they_took(place: Workspace) -> None:
    result = run(place, "second", "first")
    assert (result.stage, result.folder, result.metrics) == (
        "compare",
        place.comparison,
        {"runs": 2, "split": "val", "items": 8},
    )
    second, first = read_comparison(place.comparison).runs.to_dicts()
    assert (second["run_id"], first["run_id"]) == ("second", "first")
    assert (second["accuracy"], first["accuracy"]) == (0.75, 0.5)
    # Of each class three of four are found, and three of the four so named are right.
    assert (second["macro_f1"], first["macro_f1"]) == (0.75, 0.5)
    assert second["accuracy_low"] <= 0.75 <= second["accuracy_high"]
    took = {key: second[key] for key in ("parameters", "flops", "training_minutes", "images_per_second", "epochs")}
    assert took == {
        "parameters": 1200,
        "flops": 250_000_000,
        "training_minutes": 1.5,
        "images_per_second": 150,
        "epochs": 2,
    }
    assert first["flops"] is None
    assert {path.name for path in place.comparison.iterdir()} == {
        "comparison.csv",
        "pairs.csv",
        "seeds.csv",
        "recipes.csv",
        "pareto.csv",
        "pareto.png",
        "pareto.html",
        "comparison.json",
        "comparison.md",
        "manifest.json",
    }


def test_every_other_run_is_tested_against_the_first(place: Workspace) -> None:
    run(place, "first", "second", "third")
    second, third = read_comparison(place.comparison).pairs.to_dicts()
    assert (second["run_id"], second["baseline"], second["items"]) == ("second", "first", 8)
    assert (second["accuracy_difference"], second["macro_f1_difference"]) == (0.25, 0.25)
    assert (second["only_run_right"], second["only_baseline_right"], second["mcnemar_p"]) == (2, 0, 0.5)
    assert (third["only_run_right"], third["only_baseline_right"], third["mcnemar_p"]) == (4, 2, 0.6875)
    # No draw of items can put the second run behind the first, and one without the two items puts them level.
    assert second["accuracy_low"] == 0 < second["accuracy_high"] <= 1
    assert third["accuracy_low"] < 0 < third["accuracy_high"]


def test_another_baseline_turns_the_signs_and_joins_the_runs(place: Workspace) -> None:
    run(place, "first", "third", baseline="third")
    [first] = read_comparison(place.comparison).pairs.to_dicts()
    assert (first["run_id"], first["baseline"], first["accuracy_difference"]) == ("first", "third", -0.25)
    assert (first["only_run_right"], first["only_baseline_right"]) == (2, 4)
    run(place, "first", baseline="second")
    comparison = read_comparison(place.comparison)
    assert comparison.runs["run_id"].to_list() == ["second", "first"]
    assert comparison.pairs["baseline"].to_list() == ["second"]


def test_only_items_that_all_runs_share_count(place: Workspace) -> None:
    # Its items i4 to i9; i4 to i7 are shared, all of them B, three of which it finds.
    write_evaluated_run(place, "later", "BBBAAA", labels="BBBBAA", start=4)
    run(place, "first", "later")
    comparison = read_comparison(place.comparison)
    assert comparison.runs.select("items", "evaluated_items").rows() == [(4, 8), (4, 6)]
    assert comparison.runs["accuracy"].to_list() == [0.5, 0.75]
    assert comparison.pairs.select("items", "only_run_right", "only_baseline_right").rows() == [(4, 1, 0)]
    assert "4 items of val, those that all runs were evaluated on (8, 6), on label." in read_markdown(place)


def test_an_item_without_a_label_counts_for_nothing_and_no_answer_is_a_mistake(place: Workspace) -> None:
    write_evaluated_run(place, "sparse", ["A", None, "A", "B"], labels=["A", "A", None, "B"])
    write_evaluated_run(place, "full", ["A", "A", "A", "A"], labels=["A", "A", None, "B"])
    run(place, "sparse", "full")
    comparison = read_comparison(place.comparison)
    assert comparison.runs.select("items", "accuracy").rows() == [(3, 2 / 3), (3, 2 / 3)]
    # F1 of A, of B, and 0 of the answer that nothing has: 2/3, 1 and 0. Beside it 4/5 and 0.
    assert comparison.runs["macro_f1"].to_list() == pytest.approx([5 / 9, 2 / 5])


def test_runs_that_differ_by_their_seed_alone_are_summarized(place: Workspace) -> None:
    write_evaluated_run(place, "first-1", SECOND, seed=1)
    write_evaluated_run(place, "first-2", THIRD, seed=2)
    write_evaluated_run(place, "first-again", LABELS, seed=2)
    run(place, "first", "second", "first-1", "first-2", "first-again")
    accuracy, macro_f1 = read_comparison(place.comparison).seeds.to_dicts()
    assert (accuracy["figure"], accuracy["run_ids"], accuracy["seeds"]) == ("accuracy", "first first-1 first-2", 3)
    assert (accuracy["lowest"], accuracy["highest"], macro_f1["figure"]) == (0.5, 0.75, "macro_f1")
    # 0.5, 0.75, 0.75: the deviation is 0.25 / sqrt(3), and Student's t of two degrees of freedom 4.3027.
    assert accuracy["mean"] == pytest.approx(2 / 3)
    assert accuracy["low"] == pytest.approx(2 / 3 - 4.30265 * 0.25 / 3, abs=1e-5)
    assert accuracy["high"] == 1
    assert "| first, first-1, first-2 | accuracy | 0.667 [0.308, 1.000] | 0.500 | 0.750 |" in read_markdown(place)


def test_runs_of_different_settings_have_no_mean(place: Workspace) -> None:
    write_evaluated_run(place, "other", SECOND, seed=1, learning_rate=0.1)
    run(place, "first", "other")
    assert read_comparison(place.comparison).seeds.is_empty()
    assert "seeds" not in read_markdown(place)


def test_another_split_can_be_asked_for_and_test_is_warned_of(place: Workspace) -> None:
    write_evaluated_run(place, "first", FIRST, splits=("val", "test"))
    write_evaluated_run(place, "second", SECOND, splits=("test", "val"))
    assert run(place, "first", "second", split="test").metrics["split"] == "test"
    assert "8 items of test, evaluated on label. Do not choose a run by them." in read_markdown(place)
    run(place, "first", "second")
    assert "8 items of val, evaluated on label.\n" in read_markdown(place)


def test_names_that_look_like_numbers_stay_names(place: Workspace) -> None:
    write_evaluated_run(place, "007", SECOND)
    run(place, "007", "first")
    comparison = read_comparison(place.comparison)
    assert (comparison.runs["run_id"][0], comparison.pairs["baseline"][0]) == ("007", "007")


def test_it_is_done_once_and_again_when_a_run_has_changed(place: Workspace) -> None:
    assert not run(place, "first", "second").skipped
    assert run(place, "first", "second").skipped
    assert not run(place, "second", "first").skipped
    write_evaluated_run(place, "second", THIRD)
    assert not run(place, "second", "first").skipped
    inputs = read_json(place.comparison / "manifest.json")["inputs"]
    assert list(inputs) == ["second", "first"]


# What it refuses


@pytest.mark.parametrize(
    ("run_ids", "named", "error", "match"),
    [
        (["first"], {}, SettingsError, r"two runs or more. Received: \['first'\]"),
        (["first", "first"], {"baseline": "first"}, SettingsError, "two runs or more"),
        (["first", "second"], {"split": "holdout"}, SettingsError, "Allowed: train, val, test. Received: 'holdout'"),
        (["first", "fourth"], {}, WorkspaceError, "no such finished run.*Received: 'fourth'"),
        (
            ["first", "second"],
            {"split": "test"},
            WorkspaceError,
            "first was not evaluated on test. Evaluated: val. Run `hang",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(
    place: Workspace, run_ids: list[str], named: dict[str, str], error: type[HangtagError], match: str
) -> None:
    with pytest.raises(error, match=match):
        run(place, *run_ids, **named)
    assert not place.comparison.exists()


def test_runs_without_an_evaluation_are_named_with_the_command(place: Workspace) -> None:
    (place.evaluation("second") / "manifest.json").unlink()
    # Trained again since.
    write_json(place.run("third") / "model.json", {})
    with pytest.raises(WorkspaceError, match="Run `hangtag evaluate second third` first"):
        run(place, "first", "second", "third")


def test_runs_without_common_items_are_refused(place: Workspace) -> None:
    write_evaluated_run(place, "later", FIRST, start=8)
    with pytest.raises(WorkspaceError, match="no item that all of these runs were evaluated on"):
        run(place, "first", "later")


def test_other_labels_for_the_same_items_are_refused(place: Workspace) -> None:
    write_evaluated_run(place, "relabelled", FIRST, labels="AAAABBBA")
    with pytest.raises(WorkspaceError, match="relabelled on others than first for 1 of 8 items"):
        run(place, "first", "relabelled")


@pytest.mark.parametrize("entry", [{"report": {"target": "gender"}}, {"model": {"label_space": {"primary": "gender"}}}])
def test_other_targets_are_refused(place: Workspace, entry: dict[str, Any]) -> None:
    write_evaluated_run(place, "gender", FIRST, **entry)
    with pytest.raises(WorkspaceError, match=r"different targets. Received: {'first': 'label', 'gender': 'gender'}"):
        run(place, "first", "gender")


def test_a_report_that_names_its_target_goes_with_one_that_does_not(place: Workspace) -> None:
    write_evaluated_run(
        place, "newer", SECOND, report={"target": "label"}, model={"label_space": {"primary": "gender"}}
    )
    assert run(place, "first", "newer").metrics["items"] == 8


# What it prints


def test_the_tables_fit_the_terminal_whatever_the_names(
    place: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    name = "a-very-long-name-" * 5 + "of-a-run"
    write_evaluated_run(place, name, FIRST)
    write_evaluated_run(place, f"{name}-1", SECOND, seed=1)
    with pytest.raises(SystemExit, match="0"):
        main(["compare", name, f"{name}-1", "third", "-w", str(place.root)])
    out, err = capsys.readouterr()
    lines = out.splitlines()
    # The first lines tell of the stage; a folder stays whole.
    assert max(len(line) for line in lines[3:]) <= 80
    assert ("\x1b" not in out, err) == (True, "")
    figures = " ".join(out.split())
    assert "2.0 1.5 2 150 – 0.0" in figures
    assert "+0.250 [+0.000, " in figures
    assert " 2 0 0.500" in figures
    assert "4 2 0.688" in figures


def test_a_mistake_is_told_without_a_traceback(place: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["compare", "first", "-w", str(place.root)])
    assert capsys.readouterr().err.startswith(
        "Error: There are fewer than two runs to compare. Allowed: two runs or more."
    )


def read_markdown(place: Workspace) -> str:
    return (place.comparison / "comparison.md").read_text(encoding="utf-8")


# The statistics


@pytest.mark.parametrize(
    ("only_run", "only_baseline", "p"),
    [(0, 0, 1), (1, 1, 1), (5, 0, 2 / 32), (0, 5, 2 / 32), (4, 2, 44 / 64), (9, 1, 22 / 1024)],
)
def test_mcnemar_is_the_exact_test_of_a_fair_coin(only_run: int, only_baseline: int, p: float) -> None:
    assert compute_mcnemar(only_run, only_baseline) == pytest.approx(p, rel=1e-12)


def test_the_mean_over_seeds_has_student_s_interval() -> None:
    found = summarize_seeds([0.90, 0.92, 0.91])
    reach = 4.302653 * 0.01 / 3**0.5
    assert found == pytest.approx(
        {"mean": 0.91, "low": 0.91 - reach, "high": 0.91 + reach, "lowest": 0.9, "highest": 0.92}, abs=1e-7
    )


def draw(n: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    random = np.random.default_rng(0)
    classes = random.integers(0, 3, n)
    predicted = np.where(random.random((2, n)) < 0.7, classes, random.integers(0, 3, (2, n)))
    return classes, predicted, [str(number) for number in random.integers(0, n // 2, n)]


def test_a_run_s_own_intervals_are_those_of_its_evaluation() -> None:
    classes, predicted, group_ids = draw(60)
    figures = estimate_metrics(classes, predicted, group_ids, 3, samples=50, seed=4)
    for place in range(2):
        own = compute_intervals(classes, predicted[place], group_ids, 3, samples=50, seed=4)
        for name, figure in figures.items():
            assert figure.find_interval(place) == pytest.approx(own[name])


def test_the_interval_of_a_difference_is_that_of_a_plain_paired_bootstrap() -> None:
    classes, predicted, group_ids = draw(60)
    figures = estimate_metrics(classes, predicted, group_ids, 3, samples=80, seed=7)
    groups, random = np.unique(group_ids), np.random.default_rng(7)
    differences = []
    for _ in range(80):
        drawn = groups[random.integers(0, len(groups), len(groups))]
        rows = np.concatenate([np.flatnonzero(np.array(group_ids) == group) for group in drawn])
        accuracy = (predicted[:, rows] == classes[rows]).mean(axis=1)
        differences.append(accuracy[1] - accuracy[0])
    difference, low, high = figures["accuracy"].compare(1, 0)
    whole = (predicted == classes).mean(axis=1)
    assert difference == pytest.approx(whole[1] - whole[0])
    assert (low, high) == pytest.approx(tuple(np.quantile(differences, [0.025, 0.975])))


def test_a_run_beside_itself_differs_by_nothing_in_every_draw() -> None:
    classes, predicted, group_ids = draw(40)
    for figure in estimate_metrics(classes, predicted[[0, 0]], group_ids, 3, samples=50, seed=0).values():
        assert figure.compare(0, 1) == (0, 0, 0)
        low, high = figure.find_interval(0)
        assert low < high


def test_duplicates_are_drawn_together() -> None:
    # The second run is right where the first is wrong in one group of two: draws have none, one or both of them.
    classes, predicted = np.zeros(8, int), np.array([[1] * 4 + [0] * 4, [0] * 8])
    together = estimate_metrics(classes, predicted, ["g"] * 4 + ["h"] * 4, 2, samples=200, seed=0)["accuracy"]
    assert together.compare(1, 0) == (0.5, 0, 1)
    _, low, high = estimate_metrics(classes, predicted, list("abcdefgh"), 2, samples=200, seed=0)["accuracy"].compare(
        1, 0
    )
    assert 0 < low < high < 1
