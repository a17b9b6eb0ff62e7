"""The benchmark of corrected labels: whose labels it corrects, whom it suspects, and how it counts."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from issue_queue import make_line, write_issues

from hangtag.errors import WorkspaceError
from hangtag.io import write_csv
from hangtag.labels.dataset import read_labeled_items
from hangtag.stages.clean import clean
from hangtag.workspace import Workspace

LEVELS = ("masterCategory", "subCategory", "articleType")


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "benchmarks"))
    import corrected_labels

    yield corrected_labels
    sys.modules.pop("corrected_labels")


@pytest.fixture
def cleaned(workspace: Workspace) -> Workspace:
    clean(workspace)
    return workspace


def change(place: Workspace, item_ids: list[str]) -> None:
    """Write what `apply` writes: every item was a shirt and becomes a T-shirt."""
    told = {"column": "articleType", "old": "Shirts", "new": "Tshirts", "rule": "reviewed"}
    place.review.mkdir(exist_ok=True)
    write_csv(place.review / "label_changes.csv", pl.DataFrame([{"item_id": each, **told} for each in item_ids]))


def test_only_what_is_learnt_from_is_corrected(benchmark: Any, cleaned: Workspace, tmp_path: Path) -> None:
    labelled = read_labeled_items(cleaned)
    shirts = labelled.table.filter(pl.col("articleType") == "Shirts")
    of_test = shirts.filter(pl.col("split") == "test")["item_id"].to_list()
    others = shirts.filter(pl.col("split") != "test")["item_id"].to_list()[:2]
    assert of_test
    change(cleaned, of_test + others)
    places = {kind: Workspace.at(tmp_path / kind) for kind in benchmark.KINDS}
    assert benchmark.make_places(cleaned, labelled, places) == {
        "items": 2,
        "cells": 2,
        "by_rule_auto": 0,
    }
    given, corrected = (read_labeled_items(places[kind]).table for kind in benchmark.KINDS)
    # Free Items are matched by names, which the corrected labels teach.
    splits = [
        table.filter(pl.col("articleType") != "Free Gifts").select("item_id", "split")
        for table in (labelled.table, given, corrected)
    ]
    assert splits[0].equals(splits[1])
    assert splits[0].equals(splits[2])
    is_other = pl.col("item_id").is_in(others)
    assert set(corrected.filter(is_other)["articleType"]) == {"Tshirts"}
    assert given.filter(is_other)["articleType"].to_list() == ["Shirts", "Shirts"]
    assert corrected.filter(~is_other).select("item_id", *LEVELS).equals(given.filter(~is_other)["item_id", *LEVELS])


def test_without_changes_there_is_nothing_to_measure(benchmark: Any, cleaned: Workspace, tmp_path: Path) -> None:
    places = {kind: Workspace.at(tmp_path / kind) for kind in benchmark.KINDS}
    with pytest.raises(WorkspaceError, match="hangtag apply"):
        benchmark.make_places(cleaned, read_labeled_items(cleaned), places)


def test_labels_that_are_corrected_already_are_no_given_ones(
    benchmark: Any, cleaned: Workspace, tmp_path: Path
) -> None:
    labelled = read_labeled_items(cleaned)
    change(cleaned, labelled.table.filter(pl.col("articleType") == "Shirts")["item_id"].to_list()[:1])
    clean(cleaned)
    places = {kind: Workspace.at(tmp_path / kind) for kind in benchmark.KINDS}
    with pytest.raises(WorkspaceError, match="already"):
        benchmark.make_places(cleaned, read_labeled_items(cleaned), places)


def test_suspects_are_test_items_doubted_more_than_not(benchmark: Any, cleaned: Workspace) -> None:
    labelled = read_labeled_items(cleaned)
    one, other, third = labelled.of_split("test")["item_id"].to_list()[:3]
    training_id = labelled.of_split("train")["item_id"].to_list()[0]
    write_issues(
        cleaned,
        [
            make_line(one, "Shirts", "Tshirts", 0.9),
            make_line(one, "Shirts", "Sandals", 0.6, evidence="name"),
            make_line(other, "Shirts", "Tshirts", 0.4),
            make_line(third, "Shirts", "Tshirts", 0.8, code="duplicate_label_conflict"),
            make_line(training_id, "Shirts", "Tshirts", 0.9),
        ],
    )
    assert benchmark.find_suspects(cleaned, labelled).rows() == [(one, "Tshirts")]


def test_figures_are_counted_by_group_and_paired_by_seed(benchmark: Any, cleaned: Workspace) -> None:
    labelled = read_labeled_items(cleaned)
    test = labelled.of_split("test")
    suspect = test["item_id"][0]
    suspects = pl.DataFrame({"item_id": [suspect], "suggested": ["Elsewhere"]})
    said = test.select(
        "item_id",
        split=pl.lit("test"),
        predicted_label=pl.col("label"),
        predicted_articleType=pl.when(pl.col("item_id") == suspect).then(pl.lit("Elsewhere")).otherwise("articleType"),
    )
    cleaned.evaluation("run").mkdir(parents=True)
    said.write_parquet(cleaned.evaluation("run") / "predictions.parquet")
    everyone, doubted, others = benchmark.compute_interval_metrics(cleaned, "run", labelled, suspects)
    assert (doubted["items"], others["items"], everyone["items"]) == (1, len(test) - 1, len(test))
    assert (doubted["label"], doubted["articleType"], doubted["as_suggested"]) == (1, 0, 1)
    assert (others["articleType"], everyone["articleType"]) == (1, pytest.approx(1 - 1 / len(test)))

    seeds = [("given", 0, 0.90), ("given", 1, 0.80), ("corrected", 1, 0.84), ("corrected", 0, 0.92)]
    runs = [{"kind": kind, "seed": seed, "items_of": "all", "items": 9, "label": value} for kind, seed, value in seeds]
    [row] = benchmark.summarize(pl.DataFrame(runs)).to_dicts()
    assert (row["given"], row["corrected"], row["mean"]) == pytest.approx((0.85, 0.88, 0.03))
    # Two differences, .02 and .04: Student's t of one degree of freedom is 12.706.
    assert (row["low"], row["high"]) == pytest.approx((0.03 - 12.706 * 0.01, 0.03 + 12.706 * 0.01), abs=1e-5)
