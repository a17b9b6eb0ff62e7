"""Build the chapter on evaluation: metrics, levels, confidence, classes and errors of each evaluated run.

`build_evaluation` returns the values that the template shows. Parts that evaluations by earlier versions of hangtag
lack are None.
"""

from collections.abc import Container, Iterable
from typing import Any

import polars as pl

from hangtag.figures.counts import slug
from hangtag.io import read_csv
from hangtag.metrics.classification import FREQUENT_ITEMS
from hangtag.reporting.charts import Chart, build_coverage, build_curves, build_heatmap, build_reliability
from hangtag.reporting.format import Context, embed_picture
from hangtag.reporting.inputs import PHOTOGRAPH, EvaluationResult, Inputs, Run
from hangtag.reporting.model_chapters import build_folds, describe_kind, describe_run
from hangtag.train_config import SPLITS
from hangtag.training.targets import LABEL

# The number of rows of the table of confusions.
MAX_PAIRS = 10
# The splits that are shown side by side; train is shown only if there are no others.
SHOWN = ("val", "test")
SPLIT_NAMES = {"train": "training", "val": "validation", "test": "hold-out"}
ADJUSTED = ("accuracy", "macro_f1")


def build_evaluation(inputs: Inputs) -> Context:
    """Return the table of all runs and splits, the mean over seeds, and the details of each run."""
    runs = inputs.evaluated_runs
    results = [row for run in runs for row in _list_results(inputs, run)]
    described = [_describe_run(inputs, run) for run in runs]
    return {
        "results": results,
        "seeds": summarize_seeds(runs),
        "runs": described,
        "not_evaluated": [run.run_id for run in inputs.runs if not run.report],
        "has_runs": bool(inputs.runs),
        "capstone": any(row["capstone"] for row in results),
        "has_reference": any(row["capstone"] and not row["is_own"] for row in results),
        "has_sources": any(run.reads_names for run in runs),
        "has_levels": any(run["levels"] for run in described),
        "has_confidence": any(run["confidence"] for run in described),
        "num_levels": len(inputs.labelled.schema.levels),
        "has_attributes": bool(inputs.labelled.schema.attributes),
        "columns_title": _name_columns(inputs),
        "folds": build_folds(inputs),
    }


def _name_columns(inputs: Inputs) -> str:
    """Return what the columns are that a run may predict beside the label."""
    schema = inputs.labelled.schema
    kinds = [*(["levels"] if len(schema.levels) > 1 else []), *(["attributes"] if schema.attributes else [])]
    return " and ".join(kinds).capitalize() or "Predicted columns"


def list_splits(evaluated: Container[str]) -> list[str]:
    """Return the evaluated splits, in the order train, val, test."""
    return [split for split in SPLITS if split in evaluated]


def choose_split(report: Context) -> str:
    """Return the split whose details are shown, as in the figures: val if it was evaluated, else the last one."""
    return "val" if "val" in report["splits"] else list(report["splits"])[-1]


def _order_splits(report: Context) -> list[str]:
    """Return the evaluated splits, beginning with the one whose details are shown."""
    return sorted(list_splits(report["splits"]), key=lambda split: split != choose_split(report))


def _list_results(inputs: Inputs, run: Run) -> list[Context]:
    """Return a row for each input and split that a run was evaluated on."""
    rows: list[Context] = []
    for evaluation in run.evaluations:
        capstone = inputs.find_capstone_results(run, evaluation)
        splits = list_splits(evaluation.splits)
        rows.extend(
            {
                "run_id": run.run_id,
                "description": describe_run(run),
                "adjustment": _read_adjustment(run),
                "source": evaluation.source,
                "is_first": index == 0,
                "span": len(splits),
                "split": split,
                "capstone": capstone.get(split),
                "is_own": run.is_capstone_network,
                **evaluation.splits[split],
            }
            for index, split in enumerate(splits)
        )
    return rows


def _read_adjustment(run: Run) -> float:
    """Return the strength of the logit adjustment of a run's evaluation."""
    return float((run.report or {}).get("logit_adjustment") or 0)


def summarize_seeds(runs: Iterable[Run]) -> list[Context]:
    """Return the mean, minimum and maximum of the metrics over the seeds of each kind of run that has several."""
    kinds: dict[Any, list[tuple[Run, EvaluationResult]]] = {}
    for run in runs:
        for evaluation in run.evaluations:
            kinds.setdefault((run.kind, evaluation.source, _read_adjustment(run)), []).append((run, evaluation))
    rows = []
    for members in kinds.values():
        for split in SPLITS:
            results = [evaluation.splits[split] for _, evaluation in members if split in evaluation.splits]
            if len(results) > 1:
                run, evaluation = members[0]
                rows.append(_summarize_seeds(run, evaluation.source, split, results))
    return rows


def _summarize_seeds(run: Run, source: str, split: str, results: list[Context]) -> Context:
    summary: Context = {
        "description": describe_kind(run),
        "source": source,
        "split": split,
        "seeds": len(results),
    }
    for metric in ("loss", "accuracy", "macro_f1"):
        values = [result[metric] for result in results]
        summary[metric] = {"mean": sum(values) / len(values), "low": min(values), "high": max(values)}
    return summary


def _describe_run(inputs: Inputs, run: Run) -> Context:
    report = run.report or {}
    split = choose_split(report)
    folder = inputs.workspace.evaluation(run.run_id)
    worst = find_worst_class(report["splits"][split]["classes"])
    sheet = folder / "class_sheets" / f"{slug(worst)}.png"
    return {
        "run_id": run.run_id,
        "description": describe_run(run),
        "about": describe_target(run),
        "label_name": inputs.name_column(run.target),
        "is_label": run.target == LABEL,
        "split": split,
        "levels": build_levels(inputs, run),
        "confidence": build_confidence(inputs, run),
        "reports": [_describe_classes(inputs, run, each) for each in _order_splits(report)],
        "confusion": _read_confusion(run, inputs, split),
        "pairs": _read_pairs(inputs, run, split),
        "misclassified": embed_picture(
            folder / "misclassified.png",
            f"Photographs misclassified by {run.run_id}, each with its label and the predicted label.",
        ),
        "heatmap": embed_picture(
            folder / "misclassified_gradcam.png",
            f"Photographs misclassified by {run.run_id}, each beside its Grad-CAM heatmap.",
        ),
        "worst": {"label": worst, **report["splits"][split]["classes"][worst]},
        "worst_sheet": embed_picture(
            sheet, f"Photographs of the class {worst}, each with the label that {run.run_id} predicted."
        ),
        "curves": _build_curves(inputs, run),
        "is_mirrored": bool(run.settings.get("tta_flip")),
        "best_epoch": run.model.get("metrics", {}).get("epoch"),
    }


def describe_target(run: Run) -> str:
    """Return in brackets a run's target, if it is not the label, and its input, if it is not photographs."""
    source = run.evaluations[0].source
    parts = [*([] if run.target == LABEL else [run.target]), *([] if source == PHOTOGRAPH else [f"from {source}"])]
    return f" ({', '.join(parts)})" if parts else ""


def find_worst_class(classes: dict[str, dict[str, float]]) -> str:
    """Return the class with the lowest F1 among those with items, the first in alphabetical order on a tie."""
    present = {label: scores for label, scores in classes.items() if scores["support"]} or classes
    return min(present, key=lambda label: (present[label]["f1"], label))


def _describe_classes(inputs: Inputs, run: Run, split: str) -> Context:
    report = run.report or {}
    part = report["splits"][split]
    capstone = inputs.find_capstone_validation(run) if split == "val" else None
    capstone_classes = capstone["classes"] if capstone else {}
    scores = ("precision", "recall", "f1")
    classes = part["classes"]
    present = [each for each in classes.values() if each["support"]]
    total = sum(each["support"] for each in present)
    return {
        "split": split,
        "rows": [{"label": label, "capstone": capstone_classes.get(label), **each} for label, each in classes.items()],
        "macro": [
            *(sum(each[score] for each in present) / len(present) for score in scores[:2]),
            part["macro_f1"],
        ],
        "weighted": [sum(each[score] * each["support"] for each in present) / total for score in scores],
        "accuracy": part["accuracy"],
        "n": part["n"],
        "capstone": capstone,
    }


def _read_confusion(run: Run, inputs: Inputs, split: str) -> Context | None:
    table = _read_split_table(inputs, run, "confusion_matrix.csv", split)
    if table is None:
        return None
    class_names = (run.report or {})["class_names"]
    return {"trace": build_heatmap(table, class_names), "size": len(class_names)}


def _read_pairs(inputs: Inputs, run: Run, split: str) -> list[Context]:
    table = _read_split_table(inputs, run, "most_confused.csv", split)
    return [] if table is None else table.head(MAX_PAIRS).to_dicts()


def _read_split_table(inputs: Inputs, run: Run, name: str, split: str) -> pl.DataFrame | None:
    path = inputs.workspace.evaluation(run.run_id) / name
    if not path.is_file():
        return None
    text = dict.fromkeys(("label", "predicted_label", "split"), pl.String)
    return read_csv(path, schema_overrides=text).filter(pl.col("split") == split)


def _build_curves(inputs: Inputs, run: Run) -> list[Chart]:
    history = run.history
    if history.is_empty():
        return []
    capstone = inputs.find_capstone_network(run, "epochs")
    capstone_line = [("capstone", "capstone", capstone)] if capstone else []
    series = {
        metric: [
            ("training", "train", history[metric].cast(pl.Float64).to_list()),
            ("validation", "val", history[f"val_{metric}"].cast(pl.Float64).to_list()),
        ]
        for metric in ("accuracy", "loss")
    }
    return [build_curves("Accuracy", series["accuracy"] + capstone_line), build_curves("Loss", series["loss"])]


def build_levels(inputs: Inputs, run: Run) -> Context | None:
    """Return the metrics of each level and attribute by split, or None in an evaluation by an earlier version."""
    levels = (run.report or {}).get("levels") or {}
    splits = choose_shown(levels)
    columns = list(dict.fromkeys(column for split in splits for column in levels[split]))
    if not columns:
        return None
    return {
        "splits": splits,
        "columns": [
            _summarize_level(inputs, column, {split: levels[split].get(column) for split in splits})
            for column in columns
        ],
        "frequent_items": FREQUENT_ITEMS,
    }


def choose_shown(evaluated: Any) -> list[str]:
    """Return the evaluated splits that are shown: val and test, else the others."""
    return [split for split in SHOWN if split in evaluated] or list(evaluated)


def _summarize_level(inputs: Inputs, column: str, by_split: Context) -> Context:
    """Return the rows of a column: all classes, and the frequent classes if there are fewer of these."""
    first = next(figures for figures in by_split.values() if figures)
    rows = [
        {
            "description": f"all {first['num_classes']:,}",
            "cells": [_read_all_classes(each) for each in by_split.values()],
        }
    ]
    if first["frequent_classes"] < first["num_classes"]:
        cells = [_read_frequent_classes(each) for each in by_split.values()]
        rows.append({"description": f"{first['frequent_classes']:,} frequent", "cells": cells})
    return {"name": inputs.name_column(column), "kind": first["kind"], "rows": rows}


def _read_all_classes(figures: Context | None) -> Context | None:
    if figures is None:
        return None
    ends = {f"{key}_ends": [figures[f"{key}_low"], figures[f"{key}_high"]] for key in ("accuracy", "macro_f1")}
    return {"n": figures["n"], "accuracy": figures["accuracy"], "macro_f1": figures["macro_f1"], **ends}


def _read_frequent_classes(figures: Context | None) -> Context | None:
    if figures is None:
        return None
    return {"n": figures["frequent_n"], **{key: figures[f"frequent_{key}"] for key in ("accuracy", "macro_f1")}}


def build_confidence(inputs: Inputs, run: Run) -> Context | None:
    """Return charts of confidence, thresholds and logit adjustments, or None in an evaluation by an earlier version."""
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
    reliability, coverage = (_read_rows_by_split(inputs, run, f"{name}.csv") for name in ("reliability", "coverage"))
    thresholds = _read_rows_by_split(inputs, run, "thresholds.csv")
    charts = []
    if reliability:
        charts.append(build_reliability([(SPLIT_NAMES[split], split, rows) for split, rows in reliability.items()]))
    if coverage:
        lines = []
        for split, rows in coverage.items():
            with_precision = [row for row in thresholds.get(split, []) if row["precision"] is not None]
            lines.append((SPLIT_NAMES[split], split, rows, with_precision))
        charts.append(build_coverage(lines))
    return charts


def _read_rows_by_split(inputs: Inputs, run: Run, name: str) -> dict[str, list[Context]]:
    """Read the rows of an evaluation's table for each split that is shown; empty if there is no such file."""
    path = inputs.workspace.evaluation(run.run_id) / name
    if not path.is_file():
        return {}
    table = read_csv(path, infer_schema=False)
    numbers = table.with_columns(pl.exclude("split").cast(pl.Float64))
    splits = choose_shown(table["split"].unique(maintain_order=True).to_list())
    return {split: numbers.filter(pl.col("split") == split).to_dicts() for split in splits}


def list_thresholds(report: Context) -> list[Context]:
    """Return each target precision with its threshold, and the coverage and precision in the splits that are shown."""
    return [
        {
            "target_precision": float(target),
            "threshold": threshold["threshold"],
            "cells": [threshold["splits"][split] for split in choose_shown(threshold["splits"])],
        }
        for target, threshold in (report.get("thresholds") or {}).items()
    ]


def _read_adjustments(inputs: Inputs, run: Run) -> Context | None:
    """Return accuracy and macro-F1 at each strength of the logit adjustment, with the best values on val marked."""
    by_split = _read_rows_by_split(inputs, run, "logit_adjustment.csv")
    if not by_split:
        return None
    best = {key: max(row[key] for row in by_split.get("val", []) or [dict.fromkeys(ADJUSTED, 2)]) for key in ADJUSTED}
    rows: dict[float, list[Context]] = {}
    for split, strengths in by_split.items():
        for row in strengths:
            marked = [{"value": row[key], "is_best": split == "val" and row[key] == best[key]} for key in ADJUSTED]
            rows.setdefault(row["strength"], []).extend(marked)
    return {"splits": list(by_split), "rows": [{"strength": each, "cells": cells} for each, cells in rows.items()]}
