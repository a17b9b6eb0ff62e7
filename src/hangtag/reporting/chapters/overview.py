"""At a glance: what was read, what was learnt, and how well."""

from typing import Any

from hangtag.reporting.inputs import Inputs, Run


def describe_run(run: Run) -> str:
    """Give a run in words, as in "capstone, gray, seed 0"."""
    mode = "colour" if run.color_mode == "color" else "gray"
    return f"{run.model['architecture']}, {mode}, seed {run.settings.get('seed', '–')}"


def build_overview(inputs: Inputs) -> dict[str, Any]:
    """Give the counts of the catalogue and the accuracy of every judged run."""
    return {
        "prepared": inputs.prepare_manifest["counts"],
        "cleaned": inputs.clean_manifest["counts"],
        "num_classes": len(inputs.labelled.class_names),
        "runs": [_describe(inputs, run) for run in inputs.judged_runs],
        "has_runs": bool(inputs.runs),
    }


def _describe(inputs: Inputs, run: Run) -> dict[str, Any]:
    splits = run.report["splits"] if run.report else {}
    beside = inputs.find_capstone_results(run, "results")
    return {
        "run_id": run.run_id,
        "words": describe_run(run),
        "val": splits.get("val"),
        "test": splits.get("test"),
        "beside": beside,
    }
