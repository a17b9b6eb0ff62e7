"""Write an evaluation as Markdown for people."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from hangtag.evaluation.levels import FREQUENT_ITEMS
from hangtag.markdown import escape_markdown
from hangtag.training.calibrate import RISK

SHOWN = 12
NOTHING = "–"
LEVELS_NOTE = (
    f"Frequent classes have {FREQUENT_ITEMS} items or more in the whole catalogue; their accuracy is that of their "
    "items, their macro-F1 the mean of theirs. Items without a given value are left out. Where many classes are rare, "
    "the interval of the macro-F1 leans upwards: a draw that misses a class leaves it out."
)
THRESHOLDS_NOTE = (
    "The share of items at or above the threshold, and the share of these that are right. Each threshold was chosen "
    f"on val, so that the promise holds on new items with {1 - RISK:.0%} confidence; – where val did not bear it out."
)
ADJUSTED_NOTE = "The thresholds were chosen without the logit adjustment, so with it they promise nothing."
ADJUSTMENTS_NOTE = "What `--logit-adjustment` of each strength gives. Choose by val, not by test."


def write_summary(report: dict[str, Any], confused: pl.DataFrame, empty_splits: Sequence[str] = ()) -> str:
    """Give the text of `report.md`.

    Args:
        report: What `report.json` holds; see `build_report`.
        confused: The most confused pairs, as `find_most_confused` gives them.
        empty_splits: Splits that were asked for and have no items.
    """
    lines = [f"# Evaluation of {escape_markdown(report['run_id'])}", "", _describe(report), ""]
    lines += _tabulate_splits(report["splits"])
    first = next(iter(report["splits"].values()))["confidence_interval"]
    note = f"In brackets: {first['level']:.0%} intervals, {first['method']}, {first['samples']:,} draws."
    lines += ["", note]
    if empty_splits:
        lines += ["", f"Without items, so not judged: {', '.join(empty_splits)}."]
    if alone := report.get("photograph_alone"):
        lines += ["", "## From the photographs alone", "", "The same model and items, the names hidden.", ""]
        lines += _tabulate_splits(alone["splits"])
    lines += ["", "## Levels and attributes", "", *_tabulate_levels(report["levels"]), "", LEVELS_NOTE]
    if report["thresholds"]:
        lines += ["", "## Sure answers", "", *_tabulate_thresholds(report["thresholds"]), "", THRESHOLDS_NOTE]
        lines += [ADJUSTED_NOTE] if report["logit_adjustment"] else []
    if report.get("adjustments"):
        lines += ["", "## Favouring rare classes", "", *_tabulate_adjustments(report["adjustments"])]
        lines += ["", ADJUSTMENTS_NOTE]
    for split, figures in report["splits"].items():
        lines += ["", f"## {split}", "", *_tabulate(figures["classes"])]
        lines += ["", *_list_pairs(confused.filter(pl.col("split") == split).head(SHOWN))]
    return "\n".join(lines) + "\n"


def _describe(report: dict[str, Any]) -> str:
    target, heading = escape_markdown(report["target"]), escape_markdown(report["label_name"])
    told = f"Target: {target}" if target == heading else f"Target: {target} ({heading})"
    temperature = report["temperature"]
    parts = [told, f"Input: {report['input']}"]
    parts += ["Not calibrated" if temperature is None else f"Temperature: {temperature:.3g}"]
    parts += [f"Logit adjustment: {report['logit_adjustment']:g}"] if report["logit_adjustment"] else []
    return ". ".join(parts) + "."


def _list_pairs(pairs: pl.DataFrame) -> list[str]:
    if pairs.is_empty():
        return ["No item was misclassified."]
    lines = ["Most confused:", ""]
    for _, label, predicted, count, share in pairs.iter_rows():
        own, other = escape_markdown(label), escape_markdown(predicted)
        lines.append(f"- {own} taken for {other}: {count:,} ({share:.1%} of {own})")
    return lines


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


def _tabulate_levels(levels: dict[str, dict[str, dict[str, Any]]]) -> list[str]:
    headings = ["split", "column", "items", "classes", "accuracy", "macro-F1"]
    headings += ["frequent classes", "their accuracy", "their macro-F1"]
    lines = [f"| {' | '.join(headings)} |", f"|{' --- |' * len(headings)}"]
    for split, columns in levels.items():
        for column, figures in columns.items():
            cells = [split, escape_markdown(column), f"{figures['n']:,}", f"{figures['num_classes']:,}"]
            cells += [_with_ends(figures, key) for key in ("accuracy", "macro_f1")]
            frequent = (figures["frequent_accuracy"], figures["frequent_macro_f1"])
            cells += [f"{figures['frequent_classes']:,}", *(_round(score) for score in frequent)]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def _with_ends(figures: dict[str, Any], key: str) -> str:
    return f"{figures[key]:.3f} [{figures[f'{key}_low']:.3f}, {figures[f'{key}_high']:.3f}]"


def _tabulate_thresholds(thresholds: dict[str, dict[str, Any]]) -> list[str]:
    splits = list(next(iter(thresholds.values()))["splits"])
    lines = [
        f"| promised | threshold | {' | '.join(f'{split}: sure, right' for split in splits)} |",
        f"| --- | --- |{' --- |' * len(splits)}",
    ]
    for wanted, found in thresholds.items():
        cells = [f"{100 * float(wanted):g}%", _round(found["threshold"], 4)]
        for split in splits:
            figures = found["splits"][split]
            right = NOTHING if figures["precision"] is None else f"{figures['precision']:.1%}"
            cells.append(f"{figures['coverage']:.1%}, {right}")
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _tabulate_adjustments(rows: Sequence[dict[str, Any]]) -> list[str]:
    found = {(row["split"], row["strength"]): row for row in rows}
    splits, strengths = (list(dict.fromkeys(row[key] for row in rows)) for key in ("split", "strength"))
    lines = [
        f"| strength | {' | '.join(f'{split}: accuracy | macro-F1' for split in splits)} |",
        f"| --- |{' --- | --- |' * len(splits)}",
    ]
    for strength in strengths:
        scores = [found[split, strength][key] for split in splits for key in ("accuracy", "macro_f1")]
        lines.append(f"| {strength:g} | {' | '.join(f'{score:.4f}' for score in scores)} |")
    return lines


def _round(value: float | None, digits: int = 3) -> str:
    return NOTHING if value is None else f"{value:.{digits}f}"


def _tabulate(classes: dict[str, dict[str, float]]) -> list[str]:
    lines = ["| label | precision | recall | F1 | items |", "| --- | --- | --- | --- | --- |"]
    for name, row in classes.items():
        scores = " | ".join(f"{row[key]:.3f}" for key in ("precision", "recall", "f1"))
        lines.append(f"| {escape_markdown(name)} | {scores} | {row['support']:,} |")
    return lines
