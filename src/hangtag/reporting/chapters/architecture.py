"""Chapter 5, architecture: the layers of each network, its parameters, and how it was trained."""

from collections.abc import Sequence
from typing import Any

from hangtag.reporting.chapters.overview import describe_run
from hangtag.reporting.inputs import Inputs, Run


def build_architecture(inputs: Inputs) -> dict[str, Any]:
    """Give each different network once, with the runs that use it, and a line of training for each run."""
    networks: dict[str, dict[str, Any]] = {}
    for run in inputs.runs:
        key = repr((run.model["architecture"], run.color_mode, run.model["image_size"], run.model["layers"]))
        network = networks.setdefault(key, _describe_network(inputs, run))
        network["run_ids"].append(run.run_id)
    return {
        "networks": list(networks.values()),
        "training": [_describe_training(run) for run in inputs.runs],
        "beside": inputs.capstone["training"] if inputs.capstone else None,
        "stale": [run.run_id for run in inputs.runs if not is_current(inputs, run)],
    }


def is_current(inputs: Inputs, run: Run) -> bool:
    """Say whether a run was trained on the labels that the page tells of."""
    return bool(run.model.get("labels_digest") in (None, inputs.labelled.digest))


def _describe_network(inputs: Inputs, run: Run) -> dict[str, Any]:
    model = run.model
    is_same = model["architecture"] == "capstone" and model["preprocessing"]["color_mode"] == "color"
    figures = inputs.capstone if is_same else None
    theirs = figures["architecture"]["layers"] if figures else []
    return {
        "architecture": model["architecture"],
        "color_mode": run.color_mode,
        "image_size": model["image_size"],
        "run_ids": [],
        "layers": align_layers(model["layers"], theirs),
        "parameters": model["parameters"],
        "has_beside": bool(theirs),
        "beside": inputs.find_capstone_results(run, "parameters") if model["architecture"] == "capstone" else None,
    }


def align_layers(layers: Sequence[dict[str, Any]], theirs: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
    """Put each of the capstone's layers beside the next own layer of its type; input layers have none."""
    waiting = list(theirs)
    aligned = []
    for layer in layers:
        beside = waiting.pop(0) if waiting and waiting[0][0] == layer["type"] else None
        aligned.append({**layer, "beside": {"output_shape": beside[1], "parameters": beside[2]} if beside else None})
    return aligned


def _describe_training(run: Run) -> dict[str, Any]:
    history = run.history
    rate = history["images_per_second"].mean() if "images_per_second" in history.columns else None
    return {
        "run_id": run.run_id,
        "words": describe_run(run),
        "settings": run.settings,
        "epochs": len(history),
        "best_epoch": run.model.get("metrics", {}).get("epoch"),
        "images_per_second": rate,
        "minutes": history["seconds"].sum() / 60 if "seconds" in history.columns else None,
    }
