"""At a glance: what was read, what was learnt, and how well."""

from typing import Any

from hangtag.reporting.inputs import Inputs, Run
from hangtag.training.targets import LABEL


def describe_kind(run: Run) -> str:
    """Give a run in words but for its seed, as in "residual, colour, articleType alone, with names"."""
    parts = [run.model["architecture"], "colour" if run.color_mode == "color" else "gray"]
    parts += [] if run.target == LABEL else [f"{run.target} alone"]
    parts += ["with names"] if run.reads_names else []
    return ", ".join(parts)


def describe_run(run: Run) -> str:
    """Give a run in words, as in "capstone, gray, seed 0"."""
    return f"{describe_kind(run)}, seed {run.settings.get('seed', '–')}"


def build_overview(inputs: Inputs) -> dict[str, Any]:
    """Give the counts of the catalogue and the accuracy of every judged run."""
    return {
        "prepared": inputs.prepare_manifest["counts"],
        "cleaned": inputs.clean_manifest["counts"],
        "num_classes": len(inputs.labelled.class_names),
        "runs": [row for run in inputs.judged_runs for row in _list_judgements(inputs, run)],
        "has_runs": bool(inputs.runs),
        "has_sources": any(run.reads_names for run in inputs.judged_runs),
    }


def _list_judgements(inputs: Inputs, run: Run) -> list[dict[str, Any]]:
    """Give a row for each input that a run was judged from."""
    return [
        {
            "run_id": run.run_id,
            "words": describe_run(run),
            "source": judgement.source,
            "val": judgement.splits.get("val"),
            "test": judgement.splits.get("test"),
            "beside": inputs.find_capstone_results(run, judgement).get("val"),
        }
        for judgement in run.judgements
    ]
