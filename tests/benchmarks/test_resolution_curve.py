"""The benchmark of resolution: it goes on where it was stopped, keeps the splits, and averages over seeds."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from hangtag.demo_catalog.catalog import write_demo_catalog
from hangtag.io import read_json

FILE = Path(__file__).resolve().parents[2] / "benchmarks" / "resolution_curve.py"


@pytest.fixture(scope="module")
def benchmark() -> Any:
    spec = importlib.util.spec_from_file_location("resolution_curve", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_rows() -> list[dict[str, Any]]:
    costs = {"seconds": 10.0, "ms": 2.0}
    return [
        {"size": size, "pixels": pixels, "seed": seed, "split": split, "column": column}
        | {"accuracy": 0.8 + 0.1 * seed, "macro_f1": 0.7, **costs}
        for size, pixels in (("8x6", 48), ("16x12", 192))
        for seed in (0, 1)
        for split in ("val", "test")
        for column in ("label", "type")
    ]


def test_seeds_are_averaged_size_by_size(benchmark: Any) -> None:
    summary = benchmark.summarize(pl.DataFrame(make_rows()))
    assert summary.select("size", "split", "column").rows() == [
        (size, split, column) for size in ("8x6", "16x12") for split in ("val", "test") for column in ("label", "type")
    ]
    first = summary.row(0, named=True)
    assert (first["seeds"], first["accuracy"], first["macro_f1_sd"]) == (2, pytest.approx(0.85), 0)
    assert first["accuracy_sd"] == pytest.approx(0.0707, abs=1e-4)


def test_the_curve_has_a_panel_a_figure_and_bars_of_error(benchmark: Any) -> None:
    panels = benchmark.plot_curve(pl.DataFrame(make_rows())).axes
    assert [axes.get_title(loc="left") for axes in panels] == list(benchmark.LABELS.values())
    assert [len(axes.containers) for axes in panels] == [4, 4, 1, 1]
    assert all(container.has_yerr for axes in panels for container in axes.containers)


def test_a_finished_run_is_not_trained_again(benchmark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_demo_catalog(tmp_path / "catalog", items_per_kind=15)
    work = tmp_path / "work"
    command = ["resolution_curve.py", str(tmp_path / "catalog"), "--workspace", str(work), "--epochs", "1"]
    command += ["--sizes", "20x15,40x30", "--seeds", "3", "--architecture", "capstone"]
    # The drawn photographs that are not of 3:4 are padded in both.
    command += ["--fit", "pad", "--small", str(tmp_path / "catalog")]
    monkeypatch.setattr(sys, "argv", command)
    benchmark.main()
    results = read_json(work / "results.json")
    assert results["items"]["20x15"] == results["items"]["40x30"]
    assert {(run["size"], run["pixels"], run["seed"]) for run in results["runs"]} == {
        ("20x15", 300, 3),
        ("40x30", 1200, 3),
    }
    assert results["against_the_small_archive"]["largest_mean_difference"] == 0
    assert results["against_the_small_archive"]["found"] == results["against_the_small_archive"]["items"]
    assert (work / "curve.png").stat().st_size > 1000
    before = {path: path.stat().st_mtime_ns for path in work.rglob("model.safetensors")}
    benchmark.main()
    assert {path: path.stat().st_mtime_ns for path in work.rglob("model.safetensors")} == before
    assert read_json(work / "results.json") == results
