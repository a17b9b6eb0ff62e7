"""A part of chapter 6: how well a run answers on every level and attribute, over all classes and the frequent ones."""

from typing import Any

from hangtag.evaluation.levels import FREQUENT_ITEMS
from hangtag.reporting.inputs import Inputs, Run

# What is told beside each other; training figures only where there are no others.
SHOWN = ("val", "test")


def build_levels(inputs: Inputs, run: Run) -> dict[str, Any] | None:
    """Give the columns that a run was judged on, each with its figures by split; None in an older evaluation."""
    levels = (run.report or {}).get("levels") or {}
    splits = choose_shown(levels)
    columns = list(dict.fromkeys(column for split in splits for column in levels[split]))
    if not columns:
        return None
    return {
        "splits": splits,
        "columns": [
            _describe_column(inputs, column, {split: levels[split].get(column) for split in splits})
            for column in columns
        ],
        "frequent_items": FREQUENT_ITEMS,
    }


def choose_shown(judged: Any) -> list[str]:
    """Give the splits that are shown of those that were judged: val and test, or else the others."""
    return [split for split in SHOWN if split in judged] or list(judged)


def _describe_column(inputs: Inputs, column: str, by_split: dict[str, Any]) -> dict[str, Any]:
    """Give a column's rows: all of its classes, and the frequent ones where they are fewer."""
    first = next(figures for figures in by_split.values() if figures)
    rows = [{"words": f"all {first['num_classes']:,}", "cells": [_read_all(each) for each in by_split.values()]}]
    if first["frequent_classes"] < first["num_classes"]:
        cells = [_read_frequent(each) for each in by_split.values()]
        rows.append({"words": f"{first['frequent_classes']:,} frequent", "cells": cells})
    return {"name": inputs.name_column(column), "kind": first["kind"], "rows": rows}


def _read_all(figures: dict[str, Any] | None) -> dict[str, Any] | None:
    if figures is None:
        return None
    ends = {f"{key}_ends": [figures[f"{key}_low"], figures[f"{key}_high"]] for key in ("accuracy", "macro_f1")}
    return {"n": figures["n"], "accuracy": figures["accuracy"], "macro_f1": figures["macro_f1"], **ends}


def _read_frequent(figures: dict[str, Any] | None) -> dict[str, Any] | None:
    if figures is None:
        return None
    return {"n": figures["frequent_n"], **{key: figures[f"frequent_{key}"] for key in ("accuracy", "macro_f1")}}
