"""A part of chapter 6: how far a confidence can be trusted, what thresholds promise, and favouring rare classes."""

from typing import Any

import polars as pl

from hangtag.artifacts import read_csv
from hangtag.reporting.chapters.levels import choose_shown
from hangtag.reporting.charts import Chart, build_coverage, build_reliability
from hangtag.reporting.inputs import Inputs, Run

SPLIT_NAMES = {"train": "training", "val": "validation", "test": "hold-out"}
ADJUSTED = ("accuracy", "macro_f1")


def build_trust(inputs: Inputs, run: Run) -> dict[str, Any] | None:
    """Give a run's charts of confidence, its thresholds and its adjustments; None in an older evaluation."""
    report = run.report or {}
    charts, thresholds = _build_charts(inputs, run), list_thresholds(report)
    adjustments = _read_adjustments(inputs, run)
    if not (charts or thresholds or adjustments):
        return None
    return {
        "charts": charts,
        "thresholds": thresholds,
        "has_threshold": any(row["threshold"] is not None for row in thresholds),
        "adjustments": adjustments,
        "temperature": report.get("temperature"),
        "logit_adjustment": report.get("logit_adjustment") or 0,
        "splits": choose_shown(report["splits"]),
    }


def _build_charts(inputs: Inputs, run: Run) -> list[Chart]:
    reliability, coverage = (_read_splits(inputs, run, f"{name}.csv") for name in ("reliability", "coverage"))
    thresholds = _read_splits(inputs, run, "thresholds.csv")
    charts = []
    if reliability:
        charts.append(build_reliability([(SPLIT_NAMES[split], split, rows) for split, rows in reliability.items()]))
    if coverage:
        lines = []
        for split, rows in coverage.items():
            promises = [row for row in thresholds.get(split, []) if row["precision"] is not None]
            lines.append((SPLIT_NAMES[split], split, rows, promises))
        charts.append(build_coverage(lines))
    return charts


def _read_splits(inputs: Inputs, run: Run, name: str) -> dict[str, list[dict[str, Any]]]:
    """Read a table of an evaluation: the rows of each split that is shown; nothing where there is no such file."""
    path = inputs.workspace.evaluation(run.run_id) / name
    if not path.is_file():
        return {}
    table = read_csv(path, infer_schema=False)
    numbers = table.with_columns(pl.exclude("split").cast(pl.Float64))
    splits = choose_shown(table["split"].unique(maintain_order=True).to_list())
    return {split: numbers.filter(pl.col("split") == split).to_dicts() for split in splits}


def list_thresholds(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Give each wanted precision with its threshold, and coverage and precision in the splits that are shown."""
    return [
        {
            "wanted": float(wanted),
            "threshold": found["threshold"],
            "cells": [found["splits"][split] for split in choose_shown(found["splits"])],
        }
        for wanted, found in (report.get("thresholds") or {}).items()
    ]


def _read_adjustments(inputs: Inputs, run: Run) -> dict[str, Any] | None:
    """Give accuracy and macro-F1 at each strength of the logit adjustment, the best on val marked."""
    by_split = _read_splits(inputs, run, "adjustment.csv")
    if not by_split:
        return None
    best = {key: max(row[key] for row in by_split.get("val", []) or [dict.fromkeys(ADJUSTED, 2)]) for key in ADJUSTED}
    rows: dict[float, list[dict[str, Any]]] = {}
    for split, strengths in by_split.items():
        for row in strengths:
            marked = [{"value": row[key], "is_best": split == "val" and row[key] == best[key]} for key in ADJUSTED]
            rows.setdefault(row["strength"], []).extend(marked)
    return {"splits": list(by_split), "rows": [{"strength": each, "cells": cells} for each, cells in rows.items()]}
