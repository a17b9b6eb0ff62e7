"""Chapter 7, predictions: what each run says of the Unknown items, and where the runs differ."""

from typing import Any

import polars as pl

from hangtag.artifacts import read_csv
from hangtag.labels.labelled import UNKNOWN
from hangtag.reporting.chapters.overview import describe_run
from hangtag.reporting.inputs import Inputs, Run
from hangtag.reporting.pictures import embed_picture
from hangtag.training.targets import LABEL

MAX_ROWS = 200


def build_predictions(inputs: Inputs) -> dict[str, Any]:
    """Give each run's sheet, and for each target one table of its runs, the items on which they differ first."""
    runs = [run for run in inputs.runs if run.is_predicted]
    unknown = inputs.labelled.table.filter(pl.col("label") == UNKNOWN)["item_id"].to_list()
    targets = sorted({run.target for run in runs}, key=lambda target: (target != LABEL, target))
    tables = [
        _build_table(inputs, target, [run for run in runs if run.target == target], unknown) for target in targets
    ]
    return {
        "runs": [
            {"run_id": run.run_id, "words": describe_run(run), "picture": _embed_sheet(inputs, run)} for run in runs
        ],
        "tables": tables,
        "num_unknown": len(unknown),
        "has_runs": bool(inputs.runs),
        "reads_names": any(run.reads_names for run in runs),
        "has_names": inputs.labelled.schema.name is not None,
        "beside": inputs.capstone["catalog"] if inputs.capstone else None,
    }


def _build_table(inputs: Inputs, target: str, runs: list[Run], unknown: list[str]) -> dict[str, Any]:
    """Give what the runs of one target say; those of another cannot be held against them."""
    rows = _join(inputs, runs, unknown)
    differing = [row for row in rows if row["differs"]]
    agreeing = [row for row in rows if not row["differs"]]
    return {
        "run_ids": [run.run_id for run in runs],
        "column": None if target == LABEL else target,
        "rows": [*differing, *agreeing][:MAX_ROWS],
        "num_rows": len(rows),
        "num_differing": len(differing),
    }


def _embed_sheet(inputs: Inputs, run: Run) -> Any:
    path = inputs.workspace.predictions(run.run_id) / "contact_sheet.png"
    return embed_picture(path, f"Items, each under the label that {run.run_id} predicts for it.")


def _join(inputs: Inputs, runs: list[Run], unknown: list[str]) -> list[dict[str, Any]]:
    """Give a row for each Unknown item that was predicted, with a (label, confidence) for each run."""
    wanted = dict.fromkeys(unknown)
    described: dict[str, dict[str, Any]] = {}
    for place, run in enumerate(runs):
        path = inputs.workspace.predictions(run.run_id) / "predictions.csv"
        table = read_csv(path, infer_schema=False)
        for row in table.filter(pl.col("item_id").is_in(list(wanted))).iter_rows(named=True):
            name = row.get(inputs.labelled.schema.name or "")
            first = {"item_id": row["item_id"], "name": name, "given_label": row["given_label"]}
            entry = described.setdefault(row["item_id"], {**first, "cells": [None] * len(runs), "sure": []})
            entry["cells"][place] = (row["predicted_label"], float(row["confidence"]))
            # An earlier hangtag called no answer sure.
            entry["sure"] += [place] if row.get("is_sure") == "true" else []
    for entry in described.values():
        entry["differs"] = len({cell[0] for cell in entry["cells"] if cell}) > 1
    return list(described.values())
