"""The closing chapter: how far the figures can be trusted, and why the capstone's hold-out cannot."""

from typing import Any

import polars as pl

from hangtag.manifest import read_manifest
from hangtag.reporting.chapters.overview import describe_run
from hangtag.reporting.chapters.splits import build_splits
from hangtag.reporting.inputs import Inputs, Judgement, Run
from hangtag.reporting.pictures import embed_picture


def build_comparison(inputs: Inputs) -> dict[str, Any]:
    """Give the gap between val and test of every run and, for the capstone's catalogue, its arithmetic."""
    splits = build_splits(inputs)
    return {
        "on_two_sides": splits["duplicates"]["on_two_sides"],
        "sample": splits["sample"],
        "test_where": splits["test_where"],
        "is_given": splits["is_given"],
        "keeps": sorted({run.keeps_best for run in inputs.runs}),
        "has_sources": any(run.reads_names for run in inputs.judged_runs),
        "gaps": [
            _describe_gap(run, judgement)
            for run in inputs.judged_runs
            for judgement in run.judgements
            if {"val", "test"} <= set(judgement.splits)
        ],
        "capstone": inputs.capstone,
        "costs": _describe_costs(inputs),
        "was_compared": read_manifest(inputs.workspace.comparison) is not None,
        "mixtures": list_mixtures(inputs.capstone) if inputs.capstone else [],
        "matcher": inputs.clean_manifest["settings"].get("matcher"),
    }


def _describe_gap(run: Run, judgement: Judgement) -> dict[str, Any]:
    splits = judgement.splits
    return {
        "run_id": run.run_id,
        "words": describe_run(run),
        "source": judgement.source,
        "train": splits.get("train", {}).get("accuracy"),
        "val": splits["val"]["accuracy"],
        "test": splits["test"]["accuracy"],
        "interval": splits["test"]["confidence_interval"]["accuracy"],
    }


def _describe_costs(inputs: Inputs) -> dict[str, Any] | None:
    """Give the recipes with what they cost, and the picture of figures against costs, where `compare` made them."""
    if inputs.comparison is None:
        return None
    recipes = inputs.comparison.recipes.with_columns(mflops=pl.col("flops") * pl.col("passes") / 1e6)
    rows = recipes.to_dicts()
    words = "Macro-F1 of each recipe against what it costs, a dot a recipe with its interval and its name"
    return {
        "rows": rows,
        "split": rows[0]["split"],
        "items": rows[0]["items"],
        "column": inputs.name_column(rows[0]["column"]),
        "level": next((row["level"] for row in rows if row["level_macro_f1"] is not None), None),
        "sources": len({row["input"] for row in rows}),
        "timed": inputs.comparison.timed,
        "picture": embed_picture(inputs.workspace.comparison / "pareto.png", words),
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
