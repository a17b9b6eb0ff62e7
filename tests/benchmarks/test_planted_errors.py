"""The benchmark of planted errors: what it plants, and how it judges a ranking."""

import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from audited import finish_folds, make_items, make_out_of_sample, write_audited, write_folds

from hangtag.catalog.prepared_items import read_prepared
from hangtag.io import read_json
from hangtag.labels.dataset import read_labeled_items
from hangtag.results import StageResult
from hangtag.workspace import Workspace


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "benchmarks"))
    import planted_errors

    yield planted_errors
    sys.modules.pop("planted_errors")


def test_a_flipped_item_has_the_label_and_all_levels_of_another(benchmark: Any) -> None:
    items = make_items()
    flipped, truth = benchmark.flip(items, ["kind", "type"], 0.1, 3, None)
    assert len(truth) == 10
    assert set(flipped.select("kind", "type", "label").rows()) <= set(items.select("kind", "type", "label").rows())
    changed = set(items["item_id"].filter(items["label"] != flipped["label"]))
    assert changed == set(truth["item_id"])
    was = dict(items.select("item_id", "type").iter_rows())
    assert {item_id: was[item_id] for item_id in changed} == dict(truth.select("item_id", "type").iter_rows())


def test_the_order_of_the_rows_plants_no_other_items(benchmark: Any) -> None:
    items = make_items()
    turned = items.reverse()
    truths = [set(benchmark.flip(each, ["kind", "type"], 0.1, 3, None)[1]["item_id"]) for each in (items, turned)]
    assert truths[0] == truths[1]


def test_confused_labels_go_to_the_class_asked_for(benchmark: Any) -> None:
    wanted = {"Shoes": "Sandals", "Sandals": "Shoes", "Shirts": "Tees", "Tees": "Shirts"}
    _, truth = benchmark.flip(make_items(), ["kind", "type"], 0.1, 3, wanted)
    assert all(wanted[label] == planted for label, planted in truth.select("label", "planted_label").iter_rows())


def test_a_ranking_is_judged_by_precision_recall_and_their_mean(benchmark: Any) -> None:
    planted = np.array([True, False, True, False, False, False])
    found = benchmark.compute_interval_metrics(np.array([0.9, 0.8, 0.7, 0.1, 0.1, 0.1]), planted)
    assert found == {"precision": 0.5, "recall": 1.0, "average_precision": round((1 + 2 / 3) / 2, 4)}


def test_the_whole_of_it_finds_what_it_planted(benchmark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_audited(tmp_path / "w", make_items())

    def fold(place: Workspace, *_: Any, **named: Any) -> StageResult:
        """Stand in for the training: a network that sees what each item truly is."""
        table = read_labeled_items(place).table
        folder = write_folds(place, make_out_of_sample(table), named["run_id"])
        written = pl.read_parquet(folder / "out_of_fold.parquet")
        labels = written.join(table.select("item_id", "label"), on="item_id", how="left", maintain_order="left")
        # Sandals, Shoes, Shirts, Tees are the products; the names in order Sandals, Shirts, Shoes, Tees.
        probs = np.array(labels["category_path_probs"].to_list())[:, [0, 2, 1, 3]]
        labels.with_columns(pred_probs=pl.Series(probs.tolist())).write_parquet(folder / "out_of_fold.parquet")
        finish_folds(place, folder)
        return StageResult("cross-validate", folder, {"accuracy": 0.9}, 1.0)

    monkeypatch.setattr(benchmark, "cross_validate", fold)
    asked = Namespace(
        workspace=source.root, to=tmp_path / "to", way="uniform", with_names=False, share=0.05, seed=0, folds=5,
        preset="quick", epochs=None, batch_size=None, run=None,
    )  # fmt: skip
    figures = benchmark.measure(asked)
    assert figures["planted"] == 5
    assert figures["rankings"]["audit, wrong labels"] == {"precision": 1.0, "recall": 1.0, "average_precision": 1.0}
    assert figures["rankings"]["lowest confidence first"]["average_precision"] < 0.5
    assert figures["suggestions_right"] == 1.0
    assert read_json(tmp_path / "to" / "results.json") == figures
    # The copy alone is changed.
    copied = read_prepared(Workspace.at(tmp_path / "to" / "workspace")).items
    truth = pl.read_csv(tmp_path / "to" / "truth.csv", infer_schema=False)
    assert (copied["type"] != read_prepared(source).items["type"]).sum() == len(truth) == 5
    # A second call finds the copy there.
    assert benchmark.measure(asked)["planted"] == 5
    asked.way, asked.to = "confused", tmp_path / "other"
    with pytest.raises(benchmark.WorkspaceError, match="no confusion matrix"):
        benchmark.measure(asked)
