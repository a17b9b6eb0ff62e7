"""Measure what a review brings: networks trained on the corrected labels against networks trained on the given ones.

Usage: python benchmarks/corrected_labels.py --workspace W --to FOLDER [--seeds 0,1,2] [--preset quick] [--epochs N]

W is audited and reviewed, and `hangtag apply` (with --auto-accept, say) has written its changes; `clean` has not read
them yet. FOLDER/given and FOLDER/corrected are workspaces of the same photographs and splits; in the second the
changes of training and validation items are made. The test labels stay as they were given in both. Test items are told
apart by whether the audit suspects their own label, for there a network that is right is counted wrong. Finished
epochs and runs are kept, so after a stop the same call goes on. Prints the table and writes FOLDER/results.json.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import polars as pl
from scipy.stats import ttest_1samp

from hangtag.auditing.issues import COLUMNS, LABEL_ERROR
from hangtag.config import CleanConfig, EvaluateConfig
from hangtag.errors import HangtagError, WorkspaceError
from hangtag.io import read_csv, write_csv, write_json
from hangtag.labels.dataset import LabeledItems, read_labeled_items, read_reviewed
from hangtag.manifest import require_manifest
from hangtag.presets import PRESETS, read_preset
from hangtag.settings import resolve
from hangtag.stages.clean import clean
from hangtag.stages.evaluate import evaluate
from hangtag.stages.train import train
from hangtag.train_config import TrainConfig
from hangtag.workspace import Workspace

KINDS = ("given", "corrected")
SUSPECT = 0.5


def main() -> None:
    """Train what is missing, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--preset", choices=tuple(PRESETS), default="quick")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--batch-size", type=int)
    arguments = parser.parse_args()
    try:
        figures = measure(arguments)
    except HangtagError as error:
        raise SystemExit(f"Error: {error}") from error
    write_json(arguments.to / "results.json", figures)
    _print(figures)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Do all of it, and give the figures."""
    origin = Workspace.at(arguments.workspace)
    labelled = read_labeled_items(origin)
    places = {kind: Workspace.at(arguments.to / kind) for kind in KINDS}
    changes = make_places(origin, labelled, places)
    suspects = find_suspects(origin, labelled)
    rows = []
    for seed in map(int, arguments.seeds.split(",")):
        for kind, place in places.items():
            settings = {"epochs": arguments.epochs, "batch_size": arguments.batch_size, "seed": seed}
            config = resolve(TrainConfig, read_preset(arguments.preset), settings)
            run_id = f"{arguments.preset}-{seed}"
            train(place, config, run_id=run_id, resume=(place.run(run_id) / "checkpoint").is_dir())
            evaluate(place, EvaluateConfig(splits=("test",), bootstrap_samples=100), run_ids=[run_id])
            told = {"kind": kind, "seed": seed}
            rows += [told | row for row in compute_interval_metrics(place, run_id, labelled, suspects)]
    table = pl.DataFrame(rows)
    return {"changes": changes, "runs": rows, "summary": summarize(table).to_dicts()}


def make_places(origin: Workspace, labelled: LabeledItems, places: dict[str, Workspace]) -> dict[str, int]:
    """Clean both workspaces, one with the changes of training and validation items, and count these.

    Raises:
        WorkspaceError: There are no changes, or the labels have them already.
    """
    manifest = require_manifest(origin.labels, "Run `hangtag clean` first.")
    if "review" in manifest["inputs"]:
        raise WorkspaceError("The labels have what a review changed already, and are not as they were given.")
    splits = dict(labelled.table.select("item_id", "split").iter_rows())
    changes = [line for line in read_reviewed(origin) if splits.get(line["item_id"]) in ("train", "val")]
    if not changes:
        raise WorkspaceError("Nothing was corrected.", hint="Run `hangtag apply` with this workspace first.")
    for place in places.values():
        place.root.mkdir(parents=True, exist_ok=True)
        if not place.prepared.exists():
            place.prepared.symlink_to(origin.prepared.resolve())
    places["corrected"].review.mkdir(exist_ok=True)
    write_csv(places["corrected"].review / "label_changes.csv", pl.DataFrame(changes))
    own = {"test_where": "", "sample": 0, "splits_from": str(origin.root)}
    for place in places.values():
        clean(place, resolve(CleanConfig, manifest["settings"], own))
    items = {line["item_id"]: line["rule"] for line in changes}
    return {"items": len(items), "cells": len(changes), "by_rule_auto": list(items.values()).count("auto")}


def find_suspects(origin: Workspace, labelled: LabeledItems) -> pl.DataFrame:
    """Return the test items whose label the audit doubts more than not, with the finest level that it suggests."""
    finest = labelled.schema.levels[-1]
    issues = read_csv(origin.issues, schema_overrides=COLUMNS).filter(
        pl.col("code") == LABEL_ERROR, pl.col("column").is_in(labelled.schema.levels), pl.col("score") >= SUSPECT
    )
    surest = issues.sort("score", descending=True).unique("item_id", keep="first", maintain_order=True)
    suggested = [json.loads(changes).get(finest) for changes in surest["changes"]]
    suspects = surest.select("item_id").with_columns(suggested=pl.Series(suggested, dtype=pl.String))
    return suspects.join(labelled.of_split("test").select("item_id"), on="item_id", how="semi")


def compute_interval_metrics(
    place: Workspace, run_id: str, labelled: LabeledItems, suspects: pl.DataFrame
) -> list[dict[str, Any]]:
    """Return the accuracy by the given test labels: a row for all items, for the suspect ones and for the others."""
    finest = labelled.schema.levels[-1]
    predicted = pl.read_parquet(place.evaluation(run_id) / "predictions.parquet")
    answers = predicted.filter(pl.col("split") == "test").select(
        "item_id", said=pl.col("predicted_label"), said_finest=pl.col(f"predicted_{finest}")
    )
    test = labelled.of_split("test").select("item_id", "label", finest)
    table = test.join(answers, on="item_id").join(suspects, on="item_id", how="left")
    is_suspect = pl.col("item_id").is_in(suspects["item_id"].to_list())
    groups = {"all": table, "suspect": table.filter(is_suspect), "others": table.filter(~is_suspect)}
    return [
        {
            "items_of": name,
            "items": len(items),
            "label": items.select((pl.col("said") == pl.col("label")).mean()).item(),
            finest: items.select((pl.col("said_finest") == pl.col(finest)).mean()).item(),
            "as_suggested": items.select((pl.col("said_finest") == pl.col("suggested")).mean()).item(),
        }
        for name, items in groups.items()
    ]


def summarize(table: pl.DataFrame) -> pl.DataFrame:
    """Return each figure's mean over seeds on either side, and the mean difference with its 95 % interval.

    Every seed is a pair: the difference is that of two networks which differ by their labels alone.
    """
    figures = [name for name in table.columns if name not in ("kind", "seed", "items_of", "items")]
    rows = []
    for (name,), group in table.group_by("items_of", maintain_order=True):
        given, corrected = (group.filter(pl.col("kind") == kind).sort("seed") for kind in KINDS)
        for figure in figures:
            if given[figure].null_count():
                continue
            difference = (corrected[figure] - given[figure]).to_numpy()
            means = {"given": given[figure].mean(), "corrected": corrected[figure].mean(), "mean": difference.mean()}
            low, high = None, None
            if len(difference) > 1:
                low, high = map(float, ttest_1samp(difference, 0).confidence_interval(0.95))
            rows.append(
                {"items_of": name, "items": given["items"][0], "figure": figure, **means, "low": low, "high": high}
            )
    return pl.DataFrame(rows, infer_schema_length=None)


def _print(figures: dict[str, Any]) -> None:
    changes = figures["changes"]
    print(f"{changes['items']:,} items corrected, {changes['by_rule_auto']:,} of them by proof alone")
    print("| test items | number | figure | given labels | corrected labels | difference [95 %] |")
    print("| --- | --- | --- | --- | --- | --- |")
    for row in figures["summary"]:
        interval = "" if row["low"] is None else f" [{row['low']:+.4f}, {row['high']:+.4f}]"
        cells = f"{row['given']:.4f} | {row['corrected']:.4f} | {row['mean']:+.4f}{interval}"
        print(f"| {row['items_of']} | {row['items']:,} | {row['figure']} | {cells} |")


if __name__ == "__main__":
    main()
