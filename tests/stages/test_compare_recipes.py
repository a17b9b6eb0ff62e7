"""Seeds of one recipe are one row; what is on a front is beaten by nothing; names on the picture keep clear."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from test_compare import FIRST, LABELS, SECOND, THIRD, leave_out_pictures, write_evaluated_run

from hangtag.cli import main
from hangtag.errors import SettingsError, WorkspaceError
from hangtag.figures.pareto import plot_costs, plot_interactive_costs
from hangtag.io import read_json
from hangtag.metrics import pareto
from hangtag.metrics.evaluated_runs import name_recipes
from hangtag.metrics.markdown import list_blocks
from hangtag.metrics.pareto import Timing, find_front, tabulate_fronts, time_runs
from hangtag.stages.compare import compare, read_comparison
from hangtag.workspace import Workspace


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    place = Workspace.at(tmp_path / "ws")
    small = {"flops": 2_000_000, "tta_flip": True}
    # A classifier of names may be added to an image run, whose name has the seed.
    write_evaluated_run(place, "small-0", FIRST, model=small, image_run="first")
    write_evaluated_run(place, "small-1", SECOND, model=small, image_run="second", seed=1)
    report = {"input": "photograph and name"}
    write_evaluated_run(place, "named", LABELS, model={"flops": 9_000_000}, report=report, epochs=3)
    write_evaluated_run(place, "large", THIRD, model={"flops": 900_000_000}, epochs=4)
    return place


@pytest.fixture
def _without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    leave_out_pictures(monkeypatch)


@pytest.mark.usefixtures("_without_pictures")
def test_seeds_of_a_recipe_are_one_row_with_their_mean(place: Workspace) -> None:
    compare(place, samples=50)
    rows = read_comparison(place.comparison).recipes.sort("recipe").to_dicts()
    assert [(row["recipe"], row["seeds"], row["run_ids"]) for row in rows] == [
        ("large", 1, "large"),
        ("named", 1, "named"),
        ("small", 2, "small-0 small-1"),
    ]
    small = rows[2]
    assert (small["accuracy"], small["training_minutes"], small["passes"]) == (0.625, 1.5, 2)
    assert small["accuracy_low"] < 0.625 < small["accuracy_high"]
    assert small["level_macro_f1"] is None
    # No run has it: the column is empty, and of numbers all the same.
    assert read_comparison(place.comparison).recipes["predict_images_per_second"].dtype == pl.Float64


@pytest.mark.usefixtures("_without_pictures")
def test_all_runs_judged_on_the_split_are_compared_where_none_is_named(place: Workspace) -> None:
    write_evaluated_run(place, "elsewhere", FIRST, splits=("test",))
    assert compare(place, samples=20).metrics["runs"] == 4
    with pytest.raises(SettingsError, match="Received: \\['elsewhere'\\]"):
        compare(place, split="test", samples=20)


def test_everything_is_in_the_json_too(place: Workspace) -> None:
    compare(place, samples=20)
    whole = read_json(place.comparison / "comparison.json")
    assert list(whole) == ["runs", "pairs", "seeds", "recipes", "fronts", "timed"]
    assert whole["timed"] is None
    assert [row["run_id"] for row in whole["runs"]] == ["large", "named", "small-0", "small-1"]
    assert whole["recipes"][0]["flops"] == 900_000_000
    assert (place.comparison / "pareto.png").read_bytes().startswith(b"\x89PNG")
    assert "Plotly.newPlot" in (place.comparison / "pareto.html").read_text(encoding="utf-8")


def test_the_page_for_the_mouse_keeps_names_text() -> None:
    fronts = pl.DataFrame(make_recipes([("<b>bold</b>", 1, 0.5)]))
    page = plot_interactive_costs(tabulate_fronts(fronts), "<i>").to_json()
    assert "\\u003cb\\u003ebold" not in page
    assert "<b>bold" not in page


# The front


@pytest.mark.parametrize(
    ("costs", "values", "expected"),
    [
        ([1], [0], [True]),
        ([1, 2, 3], [0.5, 0.4, 0.6], [True, False, True]),
        ([1, 1], [0.5, 0.6], [False, True]),
        ([1, 2], [0.5, 0.5], [True, False]),
        ([1, 1], [0.5, 0.5], [True, True]),
    ],
)
def test_no_other_is_both_better_and_cheaper(costs: list[float], values: list[float], expected: list[bool]) -> None:
    assert find_front(costs, values) == expected


def make_recipes(points: list[tuple[str, float, float]], **more: Any) -> list[dict[str, Any]]:
    """Make rows of `recipes.csv` from name, GFLOPs and macro-F1."""
    return [
        {
            "recipe": name,
            "input": "photograph",
            "column": "label",
            "level": None,
            "flops": int(cost * 1e9),
            "passes": 1,
            "training_minutes": cost,
            "predict_images_per_second": None,
            "parameters": 1000,
            "bytes": 4000,
            "macro_f1": value,
            "macro_f1_low": value - 0.01,
            "macro_f1_high": value + 0.01,
            "level_macro_f1": None,
            "level_macro_f1_low": None,
            "level_macro_f1_high": None,
            **more,
        }
        for name, cost, value in points
    ]


def test_what_reads_names_has_a_front_of_its_own_and_passes_count() -> None:
    rows = make_recipes([("seen", 1, 0.8)]) + make_recipes([("named", 0.5, 0.9)], input="photograph and name", passes=2)
    rows += make_recipes([("unknown cost", 1, 0.1)], flops=None)
    fronts = tabulate_fronts(pl.DataFrame(rows, infer_schema_length=None)).filter(pl.col("cost") == "mflops")
    assert fronts.select("recipe", "amount", "is_on_front").rows() == [("seen", 1000, True), ("named", 1000, True)]


def test_no_two_names_on_the_picture_overlap() -> None:
    random = np.random.default_rng(3)
    points = [(f"a-recipe-of-some-length-{number}", 10 ** random.uniform(-2, 1), 0.8) for number in range(12)]
    points = [(name, cost, 0.8 + 0.05 * np.log10(cost) + random.normal(0, 0.01)) for name, cost, _ in points]
    figure = plot_costs(tabulate_fronts(pl.DataFrame(make_recipes(points))), "Costs")
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    figure.draw(renderer)
    for axes in figure.axes:
        # The words alone: an annotation's own extent has its line in it.
        boxes = [Text.get_window_extent(text, renderer) for text in axes.texts]
        inside = axes.get_window_extent().padded(1)
        assert len(boxes) == 12
        assert all(inside.contains(*corner) for box in boxes for corner in box.corners())
        assert not [1 for place, box in enumerate(boxes) for other in boxes[:place] if box.overlaps(other)]


def test_recipes_of_one_cost_are_drawn_without_a_warning() -> None:
    figure = plot_costs(tabulate_fronts(pl.DataFrame(make_recipes([("one", 1, 0.8), ("other", 1, 0.9)]))), "Costs")
    assert all(low < high for low, high in (axes.get_xlim() for axes in figure.axes))


def test_names_of_recipes_stay_apart() -> None:
    groups = [["net-0", "net-1"], ["net-a-0", "net-b-0"], ["x0", "x1"], ["alone-0"]]
    assert name_recipes(groups) == ["net-0", "net-a-0", "x0", "alone-0"]
    assert name_recipes([["net-color-0", "net-color-1"]]) == ["net-color"]


# Throughput


@pytest.mark.usefixtures("_without_pictures")
def test_predicting_is_timed_in_turn_and_said_to_be_so(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hangtag.stages.compare.read_labeled_items", lambda _: None)
    speeds = Timing({"large": 250.0, "named": 1000.0}, 8, "a processor, 2 cores", "2026-01-02")
    monkeypatch.setattr("hangtag.stages.compare.time_runs", lambda *_: speeds)
    compare(place, ["large", "named"], samples=20, is_timed=True)
    comparison = read_comparison(place.comparison)
    assert comparison.runs["predict_images_per_second"].to_list() == [250, 1000]
    assert comparison.timed.startswith("Prediction was timed on 2026-01-02 on a processor, 2 cores: 8 photographs")
    milliseconds = comparison.fronts.filter(pl.col("cost") == "milliseconds", pl.col("figure") == "macro_f1")
    assert milliseconds["amount"].to_list() == [4, 1]
    assert any("a processor" in block.note for block in list_blocks(comparison))


def test_the_median_of_the_rounds_counts_after_a_first_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    clock = iter([0, 1, 1, 3, 10, 14, 14, 16, 20, 22, 30, 38])
    labelled = SimpleNamespace(of_split=lambda _: pl.DataFrame({"item_id": [str(number) for number in range(8)]}))
    monkeypatch.setattr(pareto, "load_classifier", lambda _, run_id, *__: run_id)
    monkeypatch.setattr(pareto, "can_read_names", lambda *_: False)
    monkeypatch.setattr(pareto, "predict_items", lambda run_id, *_, **__: asked.append(run_id))
    monkeypatch.setattr(pareto, "perf_counter", lambda: next(clock))
    found = time_runs(Workspace.at("w"), ["a", "b"], labelled, "val")  # type: ignore[arg-type]
    assert asked == ["a", "b"] * 4
    assert (found.images_per_second, found.photographs) == ({"a": 4.0, "b": 4.0}, 8)
    empty = SimpleNamespace(of_split=lambda _: pl.DataFrame({"item_id": []}))
    with pytest.raises(WorkspaceError, match="no photographs in val"):
        time_runs(Workspace.at("w"), ["a"], empty, "val")  # type: ignore[arg-type]


@pytest.mark.usefixtures("_without_pictures")
def test_one_wide_table_has_figures_and_costs(place: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["compare", "--wide", "-w", str(place.root)])
    lines = capsys.readouterr().out.splitlines()
    [head] = [line for line in lines if line.startswith("run ") and "parameters" in line]
    assert "macro-F1 [95 %]" in head
    assert "MB" in head
    [row] = [line for line in lines if line.startswith("large ") and "1,200" in line]
    assert "900.0" in row
