"""Chapter 5, architecture: the layers of each network, its parameters, and how it was trained."""

from collections.abc import Sequence
from typing import Any

from hangtag.reporting.chapters.overview import describe_kind, describe_run
from hangtag.reporting.inputs import Inputs, Run
from hangtag.reporting.recipe import describe_recipe

# A network with more layers shows them folded.
MAX_OPEN_LAYERS = 40


def build_architecture(inputs: Inputs) -> dict[str, Any]:
    """Give each different network once, with the runs that use it, a line of training a run and each recipe once."""
    networks: dict[str, dict[str, Any]] = {}
    for run in inputs.runs:
        model = run.model
        key = repr((describe_kind(run), model["image_size"], model["layers"], model.get("outputs")))
        network = networks.setdefault(key, _describe_network(inputs, run))
        network["run_ids"].append(run.run_id)
    has_own = any(run.is_capstone_network for run in inputs.runs)
    theirs = inputs.capstone["training"] if inputs.capstone and has_own else None
    return {
        "networks": list(networks.values()),
        "training": [_describe_training(run) for run in inputs.runs],
        "recipes": _list_recipes(inputs),
        "keeps": sorted({run.keeps_best for run in inputs.runs}),
        "beside": theirs,
        "their_recipe": describe_recipe(theirs, inputs.labelled.schema.label_name) if theirs else None,
        "stale": [run.run_id for run in inputs.runs if not is_current(inputs, run)],
    }


def is_current(inputs: Inputs, run: Run) -> bool:
    """Say whether a run was trained on the labels that the page tells of."""
    return bool(run.model.get("labels_digest") in (None, inputs.labelled.digest))


def _describe_network(inputs: Inputs, run: Run) -> dict[str, Any]:
    model = run.model
    is_same = run.is_capstone_network and run.color_mode == "color"
    figures = inputs.capstone if is_same else None
    theirs = figures["architecture"]["layers"] if figures else []
    return {
        "words": describe_kind(run),
        "image_size": model["image_size"],
        "run_ids": [],
        "layers": align_layers(model["layers"], theirs),
        "is_folded": len(model["layers"]) > MAX_OPEN_LAYERS,
        "parameters": model["parameters"],
        "flops": model.get("flops"),
        "num_words": len(model.get("words") or ()),
        "heads": describe_heads(inputs, model.get("outputs")),
        "has_beside": bool(theirs),
        "beside": inputs.find_capstone_network(run, "parameters"),
    }


def describe_heads(inputs: Inputs, outputs: dict[str, Any] | None) -> dict[str, Any] | None:
    """Give what a network with several heads answers; None for one that names the classes of one column alone.

    Returns:
        `num_products`, and `levels` and `attributes`, each a list of (column, number of classes).
    """
    if outputs is None or len(outputs["levels"]) + len(outputs["attributes"]) == 1:
        return None
    parts = {
        part: [(inputs.name_column(column), len(names)) for column, names in outputs[part].items()]
        for part in ("levels", "attributes")
    }
    return {"num_products": len(outputs["products"]), **parts}


def align_layers(layers: Sequence[dict[str, Any]], theirs: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
    """Put each of the capstone's layers beside the next own layer of its type; input layers have none."""
    waiting = list(theirs)
    aligned = []
    for layer in layers:
        beside = waiting.pop(0) if waiting and waiting[0][0] == layer["type"] else None
        aligned.append({**layer, "beside": {"output_shape": beside[1], "parameters": beside[2]} if beside else None})
    return aligned


def _list_recipes(inputs: Inputs) -> list[dict[str, Any]]:
    """Give each recipe in words, with the runs that differ by the seed, and perhaps the length or batch, alone."""
    recipes: dict[str, list[str]] = {}
    for run in inputs.runs:
        precision = str(run.manifest.get("precision", ""))
        words = describe_recipe(run.settings, inputs.labelled.schema.label_name, precision)
        recipes.setdefault(words, []).append(run.run_id)
    return [{"run_ids": run_ids, "words": words} for words, run_ids in recipes.items()]


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
