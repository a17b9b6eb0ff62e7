"""Runs are evaluated on the most specific level, and on a common column if their targets differ."""

from typing import Any

import numpy as np
import polars as pl
import pytest

from hangtag.catalog.schema import CatalogSchema
from hangtag.errors import WorkspaceError
from hangtag.labels.dataset import LabeledItems
from hangtag.metrics.evaluated_runs import EvaluatedRun, align_targets, evaluate_leaf_level

# Of Shoes and Bags there are items enough, of Hats two; the last item has no type.
TYPES = [*["Shoes"] * 10, *["Bags"] * 10, *["Hats"] * 2, None]
IDS = [f"i{number}" for number in range(len(TYPES))]


def make_truth() -> LabeledItems:
    kinds = ["Footwear" if kind == "Shoes" else "Other" for kind in TYPES]
    columns = {"item_id": IDS, "kind": kinds, "type": TYPES, "label": kinds, "split": ["val"] * len(IDS)}
    schema = CatalogSchema("t.csv", "id", None, ("kind", "type"), columns=("id", "kind", "type"))
    return LabeledItems(pl.DataFrame(columns), np.empty((0, 1, 1, 3), np.uint8), ("Footwear", "Other"), schema, "d")


def make_run(run_id: str, target: str, said: dict[str, list[str | None]]) -> EvaluatedRun:
    truth = make_truth().table
    own = truth.select("item_id", pl.col("item_id").alias("group_id"), pl.col(target).alias("label"))
    own = own.with_columns(predicted_label=pl.Series(said[target])).drop_nulls("label")
    others = pl.DataFrame({"item_id": IDS} | {name: values for name, values in said.items() if name != target})
    history = pl.DataFrame({"seconds": [1.0]})
    named: dict[str, Any] = {"manifest": {}, "model": {}, "history": history, "reads": "photograph"}
    return EvaluatedRun(run_id, target=target, predictions=own, others=others, labels_digest="d", **named)


def compute_interval_metrics(*runs: EvaluatedRun, truth: LabeledItems | None) -> Any:
    items = pl.DataFrame({"item_id": IDS, "group_id": IDS})
    return evaluate_leaf_level(runs, items, truth, samples=50, seed=0)


def test_the_most_specific_level_is_evaluated_over_frequent_classes() -> None:
    kinds = make_truth().table["kind"].to_list()
    # Nine of ten shoes are right, the tenth is called a hat; the bags are all right, the hats are called bags.
    said = [*["Shoes"] * 9, "Hats", *["Bags"] * 10, "Bags", "Bags", None]
    run, other = make_run("all", "label", {"label": kinds, "type": said}), make_run("few", "label", {"label": kinds})
    found = compute_interval_metrics(other, run, truth=make_truth())
    assert (found.column, found.columns) == ("type", {1: 0})
    assert found.figures["level_accuracy"].values == pytest.approx([19 / 20])
    # F1 of shoes 18/19, of bags 20/22; what is called a hat and the hats themselves have no F1 in it.
    assert found.figures["level_macro_f1"].values == pytest.approx([(18 / 19 + 20 / 22) / 2])
    low, high = found.figures["level_accuracy"].find_interval(0)
    assert low < 19 / 20 < high


def test_there_are_no_leaf_metrics_without_labels_or_levels() -> None:
    run = make_run("few", "label", {"label": make_truth().table["kind"].to_list()})
    assert compute_interval_metrics(run, truth=None) is None
    assert compute_interval_metrics(run, truth=make_truth()) is None


def test_runs_with_different_targets_are_compared_on_a_column_that_both_predict() -> None:
    kinds = make_truth().table["kind"].to_list()
    types: list[str | None] = ["Shoes"] * len(IDS)
    one = make_run("one", "label", {"label": kinds, "type": types})
    fine = make_run("fine", "type", {"type": TYPES})
    both = align_targets([one, fine], 0, make_truth())
    assert [run.target for run in both] == ["type", "type"]
    # The item without a type is no question; what a run said of none is no answer.
    assert both[0].predictions["label"].to_list() == TYPES[:-1]
    assert both[0].predictions["predicted_label"].unique().to_list() == ["Shoes"]
    assert both[1] is fine
    with pytest.raises(WorkspaceError, match="different targets"):
        align_targets([one, fine], 0, None)
    with pytest.raises(WorkspaceError, match="different targets"):
        align_targets([make_run("few", "label", {"label": kinds}), fine], 0, make_truth())
