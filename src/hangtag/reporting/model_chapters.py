"""Build the overview and chapters of the report: networks and training, predictions, and comparison.

`build_folds` is the part of the chapter on evaluation that is about cross-validations and not about runs.

Each `build_*` function returns the values that the template of its chapter shows.
"""

from collections.abc import Sequence
from typing import Any

import polars as pl

from hangtag.io import read_csv
from hangtag.labels.dataset import UNKNOWN
from hangtag.manifest import read_manifest
from hangtag.metrics.classification import FREQUENT_ITEMS
from hangtag.metrics.confusion import OUT_OF_FOLD
from hangtag.reporting.data_chapters import build_splits
from hangtag.reporting.format import Context, describe_recipe, embed_picture
from hangtag.reporting.inputs import EvaluationResult, Inputs, Run
from hangtag.training.targets import LABEL

# The layer table of a network with more layers than this is collapsed.
MAX_OPEN_LAYERS = 40
# The maximum number of rows in the table of predictions.
MAX_PREDICTION_ROWS = 200


def describe_kind(run: Run) -> str:
    """Describe a run without its seed, as in "residual, colour, articleType only, with names"."""
    parts = [run.model["architecture"], "colour" if run.color_mode == "color" else "gray"]
    parts += [] if run.target == LABEL else [f"{run.target} only"]
    parts += ["with names"] if run.reads_names else []
    return ", ".join(parts)


def describe_run(run: Run) -> str:
    """Describe a run, as in "capstone, gray, seed 0"."""
    return f"{describe_kind(run)}, seed {run.settings.get('seed', '–')}"


def build_overview(inputs: Inputs) -> Context:
    """Return the counts of the catalogue and the accuracy of every evaluated run."""
    return {
        "prepared": inputs.prepare_manifest["counts"],
        "cleaned": inputs.clean_manifest["counts"],
        "num_classes": len(inputs.labelled.class_names),
        "runs": [row for run in inputs.evaluated_runs for row in _list_evaluations(inputs, run)],
        "has_runs": bool(inputs.runs),
        "has_sources": any(run.reads_names for run in inputs.evaluated_runs),
    }


def _list_evaluations(inputs: Inputs, run: Run) -> list[Context]:
    """Return a row for each input that a run was evaluated on."""
    return [
        {
            "run_id": run.run_id,
            "description": describe_run(run),
            "source": evaluation.source,
            "val": evaluation.splits.get("val"),
            "test": evaluation.splits.get("test"),
            "capstone": inputs.find_capstone_results(run, evaluation).get("val"),
        }
        for evaluation in run.evaluations
    ]


def build_architecture(inputs: Inputs) -> Context:
    """Return each different network with its runs, the training of each run, and each different recipe."""
    networks: dict[str, Context] = {}
    for run in inputs.runs:
        model = run.model
        key = repr((describe_kind(run), model["image_size"], model["layers"], model.get("label_space")))
        network = networks.setdefault(key, _describe_network(inputs, run))
        network["run_ids"].append(run.run_id)
    has_own = any(run.is_capstone_network for run in inputs.runs)
    capstone = inputs.capstone["training"] if inputs.capstone and has_own else None
    return {
        "networks": list(networks.values()),
        "training": [_describe_training(run) for run in inputs.runs],
        "recipes": _list_recipes(inputs),
        "keeps_best": sorted({run.keeps_best for run in inputs.runs}),
        "capstone": capstone,
        "capstone_recipe": describe_recipe(capstone, inputs.labelled.schema) if capstone else None,
        "stale": [run.run_id for run in inputs.runs if not is_current(inputs, run)],
    }


def is_current(inputs: Inputs, run: Run) -> bool:
    """Return whether a run was trained on the labels of the report."""
    return bool(run.model.get("labels_digest") in (None, inputs.labelled.digest))


def _describe_network(inputs: Inputs, run: Run) -> Context:
    model = run.model
    is_same = run.is_capstone_network and run.color_mode == "color"
    figures = inputs.capstone if is_same else None
    capstone_layers = figures["architecture"]["layers"] if figures else []
    return {
        "description": describe_kind(run),
        "image_size": model["image_size"],
        "run_ids": [],
        "layers": align_layers(model["layers"], capstone_layers),
        "is_folded": len(model["layers"]) > MAX_OPEN_LAYERS,
        "parameters": model["parameters"],
        "flops": model.get("flops"),
        "num_words": len(model.get("words") or ()),
        "heads": describe_heads(inputs, model.get("label_space")),
        "has_capstone": bool(capstone_layers),
        "capstone": inputs.find_capstone_network(run, "parameters"),
    }


def describe_heads(inputs: Inputs, label_space: Context | None) -> Context | None:
    """Return what a network with several heads predicts, or None if it predicts one column only.

    Returns:
        `num_category_paths`, and `levels` and `attributes`, each a list of (column, number of classes).
    """
    if label_space is None or len(label_space["levels"]) + len(label_space["attributes"]) == 1:
        return None
    parts = {
        part: [(inputs.name_column(column), len(names)) for column, names in label_space[part].items()]
        for part in ("levels", "attributes")
    }
    return {"num_category_paths": len(label_space["category_paths"]), **parts}


def align_layers(layers: Sequence[Context], capstone_layers: Sequence[Sequence[Any]]) -> list[Context]:
    """Match each of the capstone's layers with the next layer of its type; layers without a match have None."""
    remaining = list(capstone_layers)
    aligned = []
    for layer in layers:
        match = remaining.pop(0) if remaining and remaining[0][0] == layer["type"] else None
        aligned.append({**layer, "capstone": {"output_shape": match[1], "parameters": match[2]} if match else None})
    return aligned


def _list_recipes(inputs: Inputs) -> list[Context]:
    """Return each different recipe with its runs, which may differ in seed, number of epochs and batch size."""
    recipes: dict[str, list[str]] = {}
    for run in inputs.runs:
        precision = str(run.manifest.get("precision", ""))
        description = describe_recipe(run.settings, inputs.labelled.schema, precision)
        recipes.setdefault(description, []).append(run.run_id)
    return [{"run_ids": run_ids, "description": description} for description, run_ids in recipes.items()]


def _describe_training(run: Run) -> Context:
    history = run.history
    rate = history["images_per_second"].mean() if "images_per_second" in history.columns else None
    return {
        "run_id": run.run_id,
        "description": describe_run(run),
        "settings": run.settings,
        "epochs": len(history),
        "best_epoch": run.model.get("metrics", {}).get("epoch"),
        "images_per_second": rate,
        "minutes": history["seconds"].sum() / 60 if "seconds" in history.columns else None,
    }


def build_predictions(inputs: Inputs) -> Context:
    """Return the contact sheet of each run and one table per target; items on which runs differ come first."""
    runs = [run for run in inputs.runs if run.is_predicted]
    unknown = inputs.labelled.table.filter(pl.col("label") == UNKNOWN)["item_id"].to_list()
    targets = sorted({run.target for run in runs}, key=lambda target: (target != LABEL, target))
    tables = [
        _build_prediction_table(inputs, target, [run for run in runs if run.target == target], unknown)
        for target in targets
    ]
    return {
        "runs": [
            {"run_id": run.run_id, "description": describe_run(run), "picture": _embed_sheet(inputs, run)}
            for run in runs
        ],
        "tables": tables,
        "num_unknown": len(unknown),
        "has_runs": bool(inputs.runs),
        "reads_names": any(run.reads_names for run in runs),
        "has_names": inputs.labelled.schema.name is not None,
        "leaf": inputs.labelled.schema.find_heading(inputs.labelled.schema.levels[-1]),
        "capstone": inputs.capstone["catalog"] if inputs.capstone else None,
    }


def _build_prediction_table(inputs: Inputs, target: str, runs: list[Run], unknown: list[str]) -> Context:
    """Return the predictions of the runs with one target."""
    rows = _join_predictions(inputs, runs, unknown)
    differing = [row for row in rows if row["differs"]]
    agreeing = [row for row in rows if not row["differs"]]
    return {
        "run_ids": [run.run_id for run in runs],
        "column": None if target == LABEL else target,
        "rows": [*differing, *agreeing][:MAX_PREDICTION_ROWS],
        "num_rows": len(rows),
        "num_differing": len(differing),
    }


def _embed_sheet(inputs: Inputs, run: Run) -> Any:
    path = inputs.workspace.predictions(run.run_id) / "contact_sheet.png"
    return embed_picture(path, f"Photographs of Unknown items, each with the label that {run.run_id} predicts.")


def _join_predictions(inputs: Inputs, runs: list[Run], unknown: list[str]) -> list[Context]:
    """Return a row for each Unknown item that was predicted, with a (label, confidence) for each run."""
    wanted = dict.fromkeys(unknown)
    described: dict[str, Context] = {}
    for index, run in enumerate(runs):
        path = inputs.workspace.predictions(run.run_id) / "predictions.csv"
        table = read_csv(path, infer_schema=False)
        for row in table.filter(pl.col("item_id").is_in(list(wanted))).iter_rows(named=True):
            name = row.get(inputs.labelled.schema.name or "")
            first = {"item_id": row["item_id"], "name": name, "given_label": row["given_label"]}
            entry = described.setdefault(row["item_id"], {**first, "cells": [None] * len(runs), "sure": []})
            entry["cells"][index] = (row["predicted_label"], float(row["confidence"]))
            # Predictions of earlier versions lack this column.
            entry["sure"] += [index] if row.get("is_sure") == "true" else []
    for entry in described.values():
        entry["differs"] = len({cell[0] for cell in entry["cells"] if cell}) > 1
    return list(described.values())


def build_folds(inputs: Inputs) -> Context | None:
    """Return the metrics of each cross-validation, and its classes by F1, or None if there is none of these labels.

    Returns:
        `test_share`, the share of the labelled items that are in the hold-out, or None if there are none;
        `frequent_items`, the items that a frequent class has at least; `runs`, one entry for each cross-validation.
    """
    if not inputs.folds:
        return None
    splits = inputs.labelled.table["split"].drop_nulls()
    test_share = (splits == "test").sum() / len(splits)
    runs = [_describe_folds(report) for report in inputs.folds]
    return {"test_share": test_share or None, "frequent_items": FREQUENT_ITEMS, "runs": runs}


def _describe_folds(report: Context) -> Context:
    figures = report["splits"][OUT_OF_FOLD]
    classes = [{"label": label, **scores} for label, scores in figures["classes"].items() if scores["support"]]
    return {
        **{key: report[key] for key in ("run_id", "folds", "input", "label_name")},
        **{key: figures[key] for key in ("n", "accuracy", "macro_f1", "confidence_interval")},
        "level": report["levels"][OUT_OF_FOLD][report["target"]],
        "classes": sorted(classes, key=lambda scores: (scores["f1"], scores["label"])),
    }


def build_comparison(inputs: Inputs) -> Context:
    """Return the gap between val and test of each run, costs, and, for the capstone's catalogue, its own metrics."""
    splits = build_splits(inputs)
    return {
        "has_evaluations": bool(inputs.evaluated_runs),
        "on_two_sides": splits["duplicates"]["on_two_sides"],
        "sample": splits["sample"],
        "test_where": splits["test_where"],
        "is_given": splits["is_given"],
        "keeps_best": sorted({run.keeps_best for run in inputs.runs}),
        "has_sources": any(run.reads_names for run in inputs.evaluated_runs),
        "gaps": [
            _describe_gap(run, evaluation)
            for run in inputs.evaluated_runs
            for evaluation in run.evaluations
            if {"val", "test"} <= set(evaluation.splits)
        ],
        "capstone": inputs.capstone,
        "costs": _describe_costs(inputs),
        "was_compared": read_manifest(inputs.workspace.comparison) is not None,
        "mixtures": list_mixtures(inputs.capstone) if inputs.capstone else [],
        "matcher": inputs.clean_manifest["settings"].get("matcher"),
    }


def _describe_gap(run: Run, evaluation: EvaluationResult) -> Context:
    splits = evaluation.splits
    return {
        "run_id": run.run_id,
        "description": describe_run(run),
        "source": evaluation.source,
        "train": splits.get("train", {}).get("accuracy"),
        "val": splits["val"]["accuracy"],
        "test": splits["test"]["accuracy"],
        "interval": splits["test"]["confidence_interval"]["accuracy"],
    }


def _describe_costs(inputs: Inputs) -> Context | None:
    """Return the recipes with their costs and the Pareto plot, or None if there is no current comparison."""
    if inputs.comparison is None:
        return None
    recipes = inputs.comparison.recipes.with_columns(mflops=pl.col("flops") * pl.col("passes") / 1e6)
    rows = recipes.to_dicts()
    alt = "Macro-F1 of each recipe against its cost: one dot per recipe, with its interval and name"
    return {
        "rows": rows,
        "split": rows[0]["split"],
        "items": rows[0]["items"],
        "column": inputs.name_column(rows[0]["column"]),
        "level": next((row["level"] for row in rows if row["level_macro_f1"] is not None), None),
        "sources": len({row["input"] for row in rows}),
        "timed": inputs.comparison.timed,
        "picture": embed_picture(inputs.workspace.comparison / "pareto.png", alt),
    }


def list_mixtures(capstone: Context) -> list[Context]:
    """Compute the expected hold-out accuracy of the capstone's models, whose hold-out overlaps with training."""
    seen = capstone["splits"]["seen_share"]
    return [
        {
            "color_mode": color_mode,
            "train": results["train"][1],
            "val": results["val"][1],
            "mixture": seen * results["train"][1] + (1 - seen) * results["val"][1],
            "test": results["test"][1],
        }
        for color_mode, results in capstone["results"].items()
    ]
