"""Write an evaluation and a comparison of runs as Markdown or terminal tables."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from hangtag.io import JsonObject, escape_markdown
from hangtag.metrics.bootstrap import LEVEL, METHOD
from hangtag.metrics.classification import FREQUENT_ITEMS
from hangtag.metrics.comparison import Comparison
from hangtag.metrics.confusion import OUT_OF_FOLD
from hangtag.training.calibration import RISK

SHOWN = 12
NOTHING = "–"
FIGURES = {"accuracy": "accuracy", "macro_f1": "macro-F1"}
Row = JsonObject
LEVELS_NOTE = (
    f"Frequent classes have {FREQUENT_ITEMS} items or more in the whole catalogue. The frequent accuracy is that "
    "of their items, the frequent macro-F1 the mean F1 of these classes. Items without a given value are left "
    "out. With many classes of a few items the macro-F1 and its interval tend to be too low, because a class that is "
    "only predicted counts 0."
)
THRESHOLDS_NOTE = (
    "Coverage: the share of items at or above the threshold. Precision: the share of these that are right. Each "
    f"threshold was chosen on val so that new items reach the target precision with {1 - RISK:.0%} confidence; – if no "
    "threshold reaches it."
)
ADJUSTED_NOTE = (
    "The thresholds were chosen without logit adjustment; with it they do not guarantee the target precision."
)
ADJUSTMENTS_NOTE = "Metrics at each strength of `--logit-adjustment`. Choose the strength by val, not by test."


def write_summary(report: JsonObject, confused: pl.DataFrame, empty_splits: Sequence[str] = ()) -> str:
    """Return the text of `report.md`.

    Args:
        report: The content of `report.json`; see `build_report` and `build_folds_report`.
        confused: The most confused pairs; see `find_most_confused`.
        empty_splits: The requested splits that have no items.
    """
    kind = "Cross-validation" if "folds" in report else "Evaluation"
    lines = [f"# {kind} of {escape_markdown(report['run_id'])}", "", _describe_target(report), ""]
    lines += _tabulate_splits(report["splits"])
    first = next(iter(report["splits"].values()))["confidence_interval"]
    note = f"In brackets: {first['level']:.0%} intervals, {first['method']}, {first['samples']:,} samples."
    lines += ["", note]
    if empty_splits:
        lines += ["", f"Without items, so not evaluated: {', '.join(empty_splits)}."]
    if alone := report.get("photograph_alone"):
        lines += ["", "## Without product names", "", "The same model and items, from the photographs alone.", ""]
        lines += _tabulate_splits(alone["splits"])
    lines += ["", "## Levels and attributes", "", *_tabulate_levels(report["levels"]), "", LEVELS_NOTE]
    if report.get("thresholds"):
        lines += ["", "## Sure predictions", "", *_tabulate_thresholds(report["thresholds"]), "", THRESHOLDS_NOTE]
        lines += [ADJUSTED_NOTE] if report["logit_adjustment"] else []
    if report.get("adjustments"):
        lines += ["", "## Logit adjustment", "", *_tabulate_adjustments(report["adjustments"])]
        lines += ["", ADJUSTMENTS_NOTE]
    for split, figures in report["splits"].items():
        lines += ["", f"## {escape_markdown(split)}", "", *_format_class_table(figures["classes"])]
        lines += ["", *_list_pairs(confused.filter(pl.col("split") == split).head(SHOWN))]
    return "\n".join(lines) + "\n"


def _describe_target(report: JsonObject) -> str:
    target, heading = escape_markdown(report["target"]), escape_markdown(report["label_name"])
    described = f"Target: {target}" if target == heading else f"Target: {target} ({heading})"
    temperature = report.get("temperature")
    parts = [described, f"Input: {report['input']}"]
    parts += ["Not calibrated" if temperature is None else f"Temperature: {temperature:.3g}"]
    parts += [f"Logit adjustment: {report['logit_adjustment']:g}"] if report.get("logit_adjustment") else []
    if "folds" in report:
        parts.append(_describe_folds(report))
    return ". ".join(parts) + "."


def _describe_folds(report: JsonObject) -> str:
    return f"Every item is predicted by the one of {report['folds']} models that was not trained on it"


def _list_pairs(pairs: pl.DataFrame) -> list[str]:
    if pairs.is_empty():
        return ["No item was misclassified."]
    lines = ["Most confused:", ""]
    for _, label, predicted, count, share in pairs.iter_rows():
        own, other = escape_markdown(label), escape_markdown(predicted)
        lines.append(f"- {own} predicted as {other}: {count:,} ({share:.1%} of {own})")
    return lines


def _tabulate_splits(splits: dict[str, JsonObject]) -> list[str]:
    lines = [
        "| split | items | loss | accuracy | macro-F1 | weighted F1 | top 3 | ECE |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for split, figures in splits.items():
        rest = " | ".join(f"{figures[key]:.4f}" for key in ("weighted_f1", "top3_accuracy", "ece"))
        accuracy, macro_f1 = (_with_interval(figures, key) for key in ("accuracy", "macro_f1"))
        name = escape_markdown(split)
        lines.append(f"| {name} | {figures['n']:,} | {figures['loss']:.4f} | {accuracy} | {macro_f1} | {rest} |")
    return lines


def _with_interval(figures: JsonObject, key: str) -> str:
    low, high = figures["confidence_interval"][key]
    return f"{figures[key]:.4f} [{low:.4f}, {high:.4f}]"


def _tabulate_levels(levels: dict[str, dict[str, JsonObject]]) -> list[str]:
    headings = ["split", "column", "items", "classes", "accuracy", "macro-F1"]
    headings += ["frequent classes", "frequent accuracy", "frequent macro-F1"]
    lines = [f"| {' | '.join(headings)} |", f"|{' --- |' * len(headings)}"]
    for split, columns in levels.items():
        for column, figures in columns.items():
            cells = [
                escape_markdown(split),
                escape_markdown(column),
                f"{figures['n']:,}",
                f"{figures['num_classes']:,}",
            ]
            cells += [_with_ends(figures, key) for key in ("accuracy", "macro_f1")]
            frequent = (figures["frequent_accuracy"], figures["frequent_macro_f1"])
            cells += [f"{figures['frequent_classes']:,}", *(_format_metric(score) for score in frequent)]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def _with_ends(figures: JsonObject, key: str) -> str:
    return f"{figures[key]:.3f} [{figures[f'{key}_low']:.3f}, {figures[f'{key}_high']:.3f}]"


def _tabulate_thresholds(thresholds: dict[str, JsonObject]) -> list[str]:
    splits = list(next(iter(thresholds.values()))["splits"])
    lines = [
        f"| target precision | threshold | {' | '.join(f'{split}: coverage, precision' for split in splits)} |",
        f"| --- | --- |{' --- |' * len(splits)}",
    ]
    for wanted, found in thresholds.items():
        cells = [f"{100 * float(wanted):g}%", _format_metric(found["threshold"], 4)]
        for split in splits:
            figures = found["splits"][split]
            precision = NOTHING if figures["precision"] is None else f"{figures['precision']:.1%}"
            cells.append(f"{figures['coverage']:.1%}, {precision}")
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _tabulate_adjustments(rows: Sequence[JsonObject]) -> list[str]:
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


def _format_metric(value: float | None, digits: int = 3) -> str:
    return NOTHING if value is None else f"{value:.{digits}f}"


def _format_class_table(classes: dict[str, Row]) -> list[str]:
    lines = ["| label | precision | recall | F1 | items |", "| --- | --- | --- | --- | --- |"]
    for name, row in classes.items():
        scores = " | ".join([f"{row['precision']:.3f}", f"{row['recall']:.3f}", format_class_f1(row)])
        lines.append(f"| {escape_markdown(name)} | {scores} | {row['support']:,} |")
    return lines


def format_class_f1(row: Row) -> str:
    """Format the F1 of a class with its interval, which a class that does not occur in the split lacks."""
    ends = "" if row["f1_low"] is None else f" [{row['f1_low']:.3f}, {row['f1_high']:.3f}]"
    return f"{row['f1']:.3f}{ends}"


@dataclass(frozen=True)
class Block:
    """A small table with a title and a note.

    Attributes:
        title: One or two sentences on the content.
        headings: The heading of each column.
        rows: The cells of each row.
        note: How the values were computed; empty if that needs no explanation.
    """

    title: str
    headings: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    note: str = ""


def list_blocks(comparison: Comparison, *, is_wide: bool = False) -> list[Block]:
    """Format a comparison as small tables that fit a terminal; `is_wide` joins the first two into one wide table.

    Values are rounded; the CSV files and `comparison.json` have all digits.
    """
    runs, pairs, seeds = (table.to_dicts() for table in (comparison.runs, comparison.pairs, comparison.seeds))
    recipes = comparison.recipes.to_dicts()
    baseline = pairs[0]["baseline"]
    blocks = [_join_blocks(_list_figures(runs, comparison.runs), _list_costs(runs, comparison))] if is_wide else [
        _list_figures(runs, comparison.runs),
        _list_costs(runs, comparison),
    ]  # fmt: skip
    if len(recipes) < len(runs):
        blocks.append(_list_recipes(recipes))
    blocks += [
        Block(
            f"Difference in accuracy to the baseline, {baseline}; items that only one of the two predicts correctly.",
            ("run", "difference [95 %]", "only run", "only base", "p"),
            [_list_difference(row) for row in pairs],
            "Both runs are evaluated on each bootstrap sample. p: McNemar's exact test, with items treated as "
            "independent, not corrected for the number of runs.",
        ),
        Block(
            "Difference in macro-F1 to the baseline.",
            ("run", "difference [95 %]"),
            [(row["run_id"], _format_compared(row, "macro_f1_difference", "macro_f1", "+.3f")) for row in pairs],
        ),
    ]
    return [*blocks, _list_seeds(seeds)] if seeds else blocks


def list_fold_blocks(report: JsonObject) -> list[Block]:
    """Format the metrics of a cross-validation as tables that fit a terminal: columns, and the classes of lowest F1.

    Args:
        report: The content of its `report.json`; see `build_folds_report`.
    """
    columns = [
        (
            report["label_name"] if column == report["target"] else column,
            f"{figures['n']:,}",
            *(_with_ends(figures, key) for key in FIGURES),
            _format_metric(figures["frequent_macro_f1"]),
        )
        for column, figures in report["levels"][OUT_OF_FOLD].items()
    ]
    figures = report["splits"][OUT_OF_FOLD]
    present = [(name, scores) for name, scores in figures["classes"].items() if scores["support"]]
    worst = sorted(present, key=lambda named: named[1]["f1"])[:SHOWN]
    rows = [
        (
            name,
            f"{scores['support']:,}",
            f"{scores['precision']:.3f}",
            f"{scores['recall']:.3f}",
            format_class_f1(scores),
        )
        for name, scores in worst
    ]
    frequent = f"The last column is the macro-F1 over the classes of {FREQUENT_ITEMS} items or more"
    classes = f"The {len(worst)} of {len(present):,} classes with the lowest F1."
    if len(worst) == len(present):
        classes = f"All {len(present)} classes, the lowest F1 first."
    return [
        Block(
            f"{_describe_folds(report)}. {frequent}.",
            ("column", "items", "accuracy [95 %]", "macro-F1 [95 %]", f"{FREQUENT_ITEMS}+ F1"),
            columns,
        ),
        Block(classes, (report["label_name"], "items", "precision", "recall", "F1 [95 %]"), rows),
    ]


def _join_blocks(left: Block, right: Block) -> Block:
    """Append the columns of the second table to those of the first."""
    rows = [(*one, *other[1:]) for one, other in zip(left.rows, right.rows, strict=True)]
    return Block(left.title, (*left.headings, *right.headings[1:]), rows, f"{left.note} {right.note}")


def _list_figures(rows: Sequence[Row], runs: pl.DataFrame) -> Block:
    level = _find_level(rows)
    headings = ("run", "accuracy [95 %]", "macro-F1 [95 %]", *([f"{FREQUENT_ITEMS}+ F1 [95 %]"] if level else []))
    figures = [*FIGURES, *(["level_macro_f1"] if level else [])]
    rows_text = [(row["run_id"], *(_format_compared(row, key, key) for key in figures)) for row in rows]
    note = f"In brackets: {LEVEL:.0%} intervals, {METHOD}."
    if any(row["input"] != rows[0]["input"] for row in rows):
        readers = [row["run_id"] for row in rows if "name" in row["input"]]
        note += f" Evaluated with product names: {', '.join(readers)}."
    title = _describe_items(runs)
    if level:
        title += f" {FREQUENT_ITEMS}+ F1: macro-F1 of {level} over its classes of {FREQUENT_ITEMS} items or more."
    return Block(title, headings, rows_text, note)


def _find_level(rows: Sequence[Row]) -> str | None:
    """Return the most specific level if a run has metrics on it, else None."""
    return next((row["level"] for row in rows if row["level_macro_f1"] is not None), None)


def _list_costs(rows: Sequence[Row], comparison: Comparison) -> Block:
    note = (
        "MFLOPs: all passes over one photograph, with a multiplication and its addition as two operations; a run with "
        "--tta-flip takes two passes. Minutes: of training, including validation. train/s and predict/s: photographs "
        "per second in training, and in prediction if it was timed. MB: the model on disk."
    )
    headings = ("run", "parameters", "MFLOPs", "minutes", "epochs", "train/s", "predict/s", "MB")
    rows_text = [(row["run_id"], f"{row['parameters']:,}", *_write_costs(row)) for row in rows]
    return Block("Costs.", headings, rows_text, f"{note} {comparison.timed}".strip())


def _write_costs(row: Row) -> tuple[str, ...]:
    flops = None if row["flops"] is None else row["flops"] * row["passes"] / 1e6
    return (
        _format_value(flops, ",.1f"),
        _format_value(row["training_minutes"], ",.1f"),
        _format_value(row["epochs"], ",.0f"),
        _format_value(row["images_per_second"], ",.0f"),
        _format_value(row["predict_images_per_second"], ",.0f"),
        _format_value(row["bytes"] / 1e6, ",.1f"),
    )


def _format_value(value: float | None, form: str) -> str:
    return NOTHING if value is None else f"{value:{form}}"


def _list_recipes(rows: Sequence[Row]) -> Block:
    """Format the means over the seeds of each recipe."""
    # A third interval would not fit; it is in recipes.csv.
    headings = ("recipe", "seeds", "accuracy [95 %]", "macro-F1 [95 %]", f"{FREQUENT_ITEMS}+ F1")
    rows_text = [
        (
            row["recipe"],
            f"{row['seeds']}",
            *(_format_compared(row, key, key) for key in FIGURES),
            _format_value(row["level_macro_f1"], ".3f"),
        )
        for row in rows
    ]
    width = len(headings) if _find_level(rows) else len(headings) - 1
    note = "Mean over the seeds of each recipe; in brackets its 95 % interval over items, with these seeds fixed."
    return Block("Means of recipes.", headings[:width], [cells[:width] for cells in rows_text], note)


def _describe_items(runs: pl.DataFrame) -> str:
    items, split, evaluated = runs["items"][0], runs["split"][0], runs["evaluated_items"].to_list()
    column = runs["column"][0]
    sentence = f"{items:,} items of {split}, evaluated on {column}."
    if max(evaluated) > items:
        each = ", ".join(f"{count:,}" for count in evaluated)
        sentence = f"{items:,} items of {split}, those that all runs were evaluated on ({each}), on {column}."
    return f"{sentence} Do not choose a run by them." if split == "test" else sentence


def _format_compared(row: Row, key: str, ends: str, form: str = ".3f") -> str:
    if row[key] is None:
        return NOTHING
    low, high = (f"{row[f'{ends}{end}']:{form}}" for end in ("_low", "_high"))
    return f"{row[key]:{form}} [{low}, {high}]"


def _list_difference(row: Row) -> tuple[str, ...]:
    counts = (f"{row[key]:,}" for key in ("only_run_right", "only_baseline_right"))
    p = "< 0.001" if row["mcnemar_p"] < 0.001 else f"{row['mcnemar_p']:.3f}"
    return row["run_id"], _format_compared(row, "accuracy_difference", "accuracy", "+.3f"), *counts, p


def _list_seeds(rows: Sequence[Row]) -> Block:
    rows_text = [
        (
            _shorten_run_ids(row["run_ids"].split(" ")),
            FIGURES[row["figure"]],
            f"{row['mean']:.3f} [{row['low']:.3f}, {row['high']:.3f}]",
            f"{row['lowest']:.3f}",
            f"{row['highest']:.3f}",
        )
        for row in rows
    ]
    note = "In brackets: Student's t interval of the mean over seeds, on the same items."
    return Block("Means over seeds.", ("runs", "metric", "mean [95 %]", "lowest", "highest"), rows_text, note)


def _shorten_run_ids(run_ids: Sequence[str]) -> str:
    """Return `capstone-color-0, -1, -2` for run names with a common prefix."""
    start = run_ids[0].rpartition("-")[0]
    rest = [run_id.removeprefix(start) if run_id.startswith(f"{start}-") else run_id for run_id in run_ids[1:]]
    return ", ".join([run_ids[0], *rest])


def write_markdown(comparison: Comparison) -> str:
    """Return the text of `comparison.md`."""
    lines = ["# Runs compared", ""]
    for block in list_blocks(comparison):
        # Titles, notes and first cells contain column and run names, which may have Markdown characters.
        rows = [(escape_markdown(name), *cells) for name, *cells in block.rows]
        lines += [escape_markdown(block.title), "", *(f"| {' | '.join(row)} |" for row in (block.headings, *rows))]
        lines.insert(len(lines) - len(block.rows), f"|{' --- |' * len(block.headings)}")
        lines += ["", *([escape_markdown(block.note), ""] if block.note else [])]
    return "\n".join(lines[:-1]) + "\n"
