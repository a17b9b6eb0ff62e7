"""Chapter 6, evaluation: accuracy and loss of every run, the classes, the confusions, the mistakes."""

from collections.abc import Iterable
from typing import Any

import polars as pl

from hangtag.config import SPLITS
from hangtag.exploration.plots import slug
from hangtag.reporting.chapters.overview import describe_run
from hangtag.reporting.charts import Curves, build_curves
from hangtag.reporting.figures import build_heatmap
from hangtag.reporting.inputs import Inputs, Run
from hangtag.reporting.pictures import embed_picture

MAX_PAIRS = 10


def build_evaluation(inputs: Inputs) -> dict[str, Any]:
    """Give the table of all runs and splits, the mean over seeds, and the details of each run."""
    runs = inputs.judged_runs
    return {
        "results": [row for run in runs for row in _list_results(inputs, run)],
        "seeds": summarize_seeds(runs),
        "runs": [_describe_run(inputs, run) for run in runs],
        "unjudged": [run.run_id for run in inputs.runs if not run.report],
        "has_runs": bool(inputs.runs),
        "beside": inputs.capstone is not None,
        "label_name": inputs.labelled.schema.label_name,
    }


def list_splits(report: dict[str, Any]) -> list[str]:
    """Give the splits that were judged, in the order train, val, test."""
    return [split for split in SPLITS if split in report["splits"]]


def choose_split(report: dict[str, Any]) -> str:
    """Give the split whose details are shown, as in the pictures: val where it was judged, else the last one."""
    return "val" if "val" in report["splits"] else list(report["splits"])[-1]


def _order_splits(report: dict[str, Any]) -> list[str]:
    """Give the judged splits with the one that is shown first at the front."""
    return sorted(list_splits(report), key=lambda split: split != choose_split(report))


def _list_results(inputs: Inputs, run: Run) -> list[dict[str, Any]]:
    report = run.report or {"splits": {}}
    theirs = inputs.find_capstone_results(run, "results") or {}
    return [
        {
            "run_id": run.run_id,
            "words": describe_run(run),
            "split": split,
            "is_first": place == 0,
            "span": len(report["splits"]),
            "beside": theirs.get(split),
            **report["splits"][split],
        }
        for place, split in enumerate(list_splits(report))
    ]


def summarize_seeds(runs: Iterable[Run]) -> list[dict[str, Any]]:
    """Give mean, lowest and highest figures over the seeds of each kind of run that has several."""
    kinds: dict[Any, list[Run]] = {}
    for run in runs:
        kinds.setdefault(run.kind, []).append(run)
    rows = []
    for members in kinds.values():
        if len(members) < 2:
            continue
        for split in SPLITS:
            found = [run.report["splits"][split] for run in members if run.report and split in run.report["splits"]]
            if len(found) > 1:
                rows.append(_summarize(members[0], split, found))
    return rows


def _summarize(run: Run, split: str, found: list[dict[str, Any]]) -> dict[str, Any]:
    summary: dict[str, Any] = {
        "architecture": run.model["architecture"],
        "color_mode": run.color_mode,
        "split": split,
        "seeds": len(found),
    }
    for metric in ("loss", "accuracy", "macro_f1"):
        values = [part[metric] for part in found]
        summary[metric] = {"mean": sum(values) / len(values), "low": min(values), "high": max(values)}
    return summary


def _describe_run(inputs: Inputs, run: Run) -> dict[str, Any]:
    report = run.report or {}
    split = choose_split(report)
    folder = inputs.workspace.evaluation(run.run_id)
    worst = find_worst_class(report["splits"][split]["classes"])
    sheet = folder / "class_sheets" / f"{slug(worst)}.png"
    return {
        "run_id": run.run_id,
        "words": describe_run(run),
        "split": split,
        "reports": [_describe_classes(inputs, run, each) for each in _order_splits(report)],
        "confusion": _read_confusion(run, inputs, split),
        "pairs": _read_pairs(inputs, run, split),
        "misclassified": embed_picture(
            folder / "misclassified.png",
            f"Photographs that {run.run_id} mistook, each with its label and the predicted label.",
        ),
        "worst": {"label": worst, **report["splits"][split]["classes"][worst]},
        "worst_sheet": embed_picture(
            sheet, f"Photographs of the class {worst}, each with the label that {run.run_id} predicted."
        ),
        "curves": _build_curves(inputs, run),
        "best_epoch": run.model.get("metrics", {}).get("epoch"),
    }


def find_worst_class(classes: dict[str, dict[str, float]]) -> str:
    """Give the class with the lowest F1 among those that have items, the first in the alphabet of equals."""
    present = {label: scores for label, scores in classes.items() if scores["support"]} or classes
    return min(present, key=lambda label: (present[label]["f1"], label))


def _describe_classes(inputs: Inputs, run: Run, split: str) -> dict[str, Any]:
    report = run.report or {}
    part = report["splits"][split]
    theirs = inputs.find_capstone_results(run, "validation") if split == "val" else None
    beside = theirs["classes"] if theirs else {}
    scores = ("precision", "recall", "f1")
    classes = part["classes"]
    present = [each for each in classes.values() if each["support"]]
    total = sum(each["support"] for each in present)
    return {
        "split": split,
        "rows": [{"label": label, "beside": beside.get(label), **each} for label, each in classes.items()],
        "macro": [
            *(sum(each[score] for each in present) / len(present) for score in scores[:2]),
            part["macro_f1"],
        ],
        "weighted": [sum(each[score] * each["support"] for each in present) / total for score in scores],
        "accuracy": part["accuracy"],
        "n": part["n"],
        "theirs": theirs,
    }


def _read_confusion(run: Run, inputs: Inputs, split: str) -> dict[str, Any] | None:
    table = _read_split(inputs, run, "confusion_matrix.csv", split)
    if table is None:
        return None
    class_names = (run.report or {})["class_names"]
    return {"trace": build_heatmap(table, class_names), "size": len(class_names)}


def _read_pairs(inputs: Inputs, run: Run, split: str) -> list[dict[str, Any]]:
    table = _read_split(inputs, run, "most_confused.csv", split)
    return [] if table is None else table.head(MAX_PAIRS).to_dicts()


def _read_split(inputs: Inputs, run: Run, name: str, split: str) -> pl.DataFrame | None:
    path = inputs.workspace.evaluation(run.run_id) / name
    if not path.is_file():
        return None
    text = dict.fromkeys(("label", "predicted_label", "split"), pl.String)
    return pl.read_csv(path, schema_overrides=text).filter(pl.col("split") == split)


def _build_curves(inputs: Inputs, run: Run) -> list[Curves]:
    history = run.history
    if history.is_empty():
        return []
    theirs = inputs.find_capstone_results(run, "epochs")
    beside = [("capstone", "beside", theirs)] if theirs else []
    series = {
        metric: [
            ("training", "train", history[metric].cast(pl.Float64).to_list()),
            ("validation", "val", history[f"val_{metric}"].cast(pl.Float64).to_list()),
        ]
        for metric in ("accuracy", "loss")
    }
    return [build_curves("Accuracy", series["accuracy"] + beside), build_curves("Loss", series["loss"])]
