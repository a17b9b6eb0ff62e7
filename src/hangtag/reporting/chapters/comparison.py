"""The closing chapter: how far the figures can be trusted, and why the capstone's hold-out cannot."""

from typing import Any

from hangtag.reporting.chapters.splits import build_splits
from hangtag.reporting.inputs import Inputs, Run


def build_comparison(inputs: Inputs) -> dict[str, Any]:
    """Give the gap between val and test of every run and, for the capstone's catalogue, its arithmetic."""
    splits = build_splits(inputs)
    return {
        "on_two_sides": splits["duplicates"]["on_two_sides"],
        "sample": splits["sample"],
        "gaps": [
            _describe_gap(run) for run in inputs.judged_runs if {"val", "test"} <= set((run.report or {})["splits"])
        ],
        "capstone": inputs.capstone,
        "mixtures": list_mixtures(inputs.capstone) if inputs.capstone else [],
        "matcher": inputs.clean_manifest["settings"].get("matcher"),
    }


def _describe_gap(run: Run) -> dict[str, Any]:
    splits = (run.report or {})["splits"]
    return {
        "run_id": run.run_id,
        "train": splits.get("train", {}).get("accuracy"),
        "val": splits["val"]["accuracy"],
        "test": splits["test"]["accuracy"],
        "interval": splits["test"]["confidence_interval"]["accuracy"],
    }


def list_mixtures(capstone: dict[str, Any]) -> list[dict[str, Any]]:
    """Mix the capstone's training and validation accuracy as its hold-out mixed their items."""
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
