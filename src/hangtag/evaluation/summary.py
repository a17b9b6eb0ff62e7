"""Write an evaluation as Markdown for people."""

from typing import Any

import polars as pl

SHOWN = 12


def write_summary(report: dict[str, Any], confused: pl.DataFrame) -> str:
    """Give the text of `report.md`.

    Args:
        report: What `report.json` holds.
        confused: The most confused pairs.
    """
    lines = [
        f"# Evaluation of {report['run_id']}",
        "",
        "| split | items | loss | accuracy | macro-F1 | weighted F1 | top 3 | ECE |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for split, figures in report["splits"].items():
        interval = figures["confidence_interval"]
        lines.append(
            f"| {split} | {figures['n']:,} | {figures['loss']:.3f} | {_with_interval(figures, interval, 'accuracy')} "
            f"| {_with_interval(figures, interval, 'macro_f1')} | {figures['weighted_f1']:.4f} "
            f"| {figures['top3_accuracy']:.4f} | {figures['ece']:.4f} |"
        )
    lines += ["", "In brackets: 95 % intervals, " + interval["method"] + "."]
    for split, figures in report["splits"].items():
        lines += ["", f"## {split}", "", *_tabulate(figures["classes"])]
        pairs = confused.filter(pl.col("split") == split).head(SHOWN)
        lines += ["", "Most confused:", ""]
        lines += [
            f"- {label} taken for {predicted}: {count:,} ({share:.1%} of {label})"
            for _, label, predicted, count, share in pairs.iter_rows()
        ]
    return "\n".join(lines) + "\n"


def _with_interval(figures: dict[str, Any], interval: dict[str, Any], key: str) -> str:
    low, high = interval[key]
    return f"{figures[key]:.4f} [{low:.4f}, {high:.4f}]"


def _tabulate(classes: dict[str, dict[str, float]]) -> list[str]:
    lines = ["| label | precision | recall | F1 | items |", "| --- | --- | --- | --- | --- |"]
    for name, row in classes.items():
        lines.append(f"| {name} | {row['precision']:.3f} | {row['recall']:.3f} | {row['f1']:.3f} | {row['support']} |")
    return lines
