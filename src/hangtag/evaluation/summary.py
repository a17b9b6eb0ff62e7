"""Write an evaluation as Markdown for people."""

import re
from collections.abc import Sequence
from typing import Any

import polars as pl

SHOWN = 12


def write_summary(report: dict[str, Any], confused: pl.DataFrame, empty_splits: Sequence[str] = ()) -> str:
    """Give the text of `report.md`.

    Args:
        report: What `report.json` holds.
        confused: The most confused pairs, as `find_most_confused` gives them.
        empty_splits: Splits that were asked for and have no items.
    """
    lines = [f"# Evaluation of {report['run_id']}", "", *_tabulate_splits(report["splits"])]
    first = next(iter(report["splits"].values()))["confidence_interval"]
    note = f"In brackets: {first['level']:.0%} intervals, {first['method']}, {first['samples']:,} draws."
    lines += ["", note]
    if empty_splits:
        lines += ["", f"Without items, so not judged: {', '.join(empty_splits)}."]
    for split, figures in report["splits"].items():
        lines += ["", f"## {split}", "", *_tabulate(figures["classes"])]
        lines += ["", *_list_pairs(confused.filter(pl.col("split") == split).head(SHOWN))]
    return "\n".join(lines) + "\n"


def _list_pairs(pairs: pl.DataFrame) -> list[str]:
    if pairs.is_empty():
        return ["No item was misclassified."]
    return ["Most confused:", ""] + [
        f"- {_escape(label)} taken for {_escape(predicted)}: {count:,} ({share:.1%} of {_escape(label)})"
        for _, label, predicted, count, share in pairs.iter_rows()
    ]


def _escape(text: str) -> str:
    """Keep a label from ending its table cell or starting markup."""
    return re.sub(r"([\\|*_<`])", r"\\\1", " ".join(text.split()))


def _tabulate_splits(splits: dict[str, dict[str, Any]]) -> list[str]:
    lines = [
        "| split | items | loss | accuracy | macro-F1 | weighted F1 | top 3 | ECE |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for split, figures in splits.items():
        rest = " | ".join(f"{figures[key]:.4f}" for key in ("weighted_f1", "top3_accuracy", "ece"))
        accuracy, macro_f1 = (_with_interval(figures, key) for key in ("accuracy", "macro_f1"))
        lines.append(f"| {split} | {figures['n']:,} | {figures['loss']:.4f} | {accuracy} | {macro_f1} | {rest} |")
    return lines


def _with_interval(figures: dict[str, Any], key: str) -> str:
    low, high = figures["confidence_interval"][key]
    return f"{figures[key]:.4f} [{low:.4f}, {high:.4f}]"


def _tabulate(classes: dict[str, dict[str, float]]) -> list[str]:
    lines = ["| label | precision | recall | F1 | items |", "| --- | --- | --- | --- | --- |"]
    for name, row in classes.items():
        scores = " | ".join(f"{row[key]:.3f}" for key in ("precision", "recall", "f1"))
        lines.append(f"| {_escape(name)} | {scores} | {row['support']:,} |")
    return lines
