"""Chapter 4, pre-processing and splits: how the items are divided, class by class, and the duplicates."""

from typing import Any

import polars as pl

from hangtag.config import SPLITS
from hangtag.reporting.inputs import Inputs


def build_splits(inputs: Inputs) -> dict[str, Any]:
    """Give the size of each split, the classes in each, and what was found of duplicates."""
    table = inputs.labelled.table
    known = table.filter(pl.col("split").is_not_null())
    sizes = dict(known["split"].value_counts().iter_rows())
    settings, counts = inputs.clean_manifest["settings"], inputs.clean_manifest["counts"]
    return {
        "sizes": [
            {"split": split, "n": sizes.get(split, 0), "share": sizes.get(split, 0) / max(1, len(known))}
            for split in SPLITS
        ],
        "n": len(known),
        "num_outside": len(table) - len(known),
        "seed": settings.get("split_seed"),
        "test_where": settings.get("test_where", ""),
        "num_taken_out": counts.get("taken_out_of_splits", 0),
        "num_unlearnt": counts.get("labels_not_in_train", 0),
        "fractions": settings.get("split_fractions"),
        "max_hash_distance": settings.get("max_hash_distance"),
        "is_given": bool(inputs.prepared.items["given_split"].is_not_null().any()),
        "sample": settings.get("sample", 0),
        "classes": _count_classes(inputs, known),
        "duplicates": _count_duplicates(table, known),
        "color_modes": sorted({run.color_mode for run in inputs.runs}),
        "flips": sorted({bool(run.settings.get("flip")) for run in inputs.runs}),
        "is_varied": any(run.settings.get(key) for run in inputs.runs for key in ("shift", "zoom", "brightness")),
        "flip_averages": sorted({bool(run.settings.get("flip_average")) for run in inputs.runs}),
        "keeps": sorted({run.keeps_best for run in inputs.runs}),
        "beside": inputs.capstone["splits"] if inputs.capstone else None,
    }


def _count_classes(inputs: Inputs, known: pl.DataFrame) -> list[dict[str, Any]]:
    counts = {(label, split): n for label, split, n in known.group_by("label", "split").len().iter_rows()}
    return [
        {"label": label, "counts": [counts.get((label, split), 0) for split in SPLITS]}
        for label in inputs.labelled.class_names
    ]


def _count_duplicates(table: pl.DataFrame, known: pl.DataFrame) -> dict[str, int]:
    groups = table.group_by("group_id").agg(n=pl.len(), labels=pl.col("label").n_unique())
    several = groups.filter(pl.col("n") > 1)
    same_pixels = table.group_by("pixel_hash").len().filter(pl.col("len") > 1)
    sides = known.group_by("group_id").agg(sides=pl.col("split").n_unique())
    return {
        "groups": len(several),
        "items": int(several["n"].sum()),
        "largest": int(several["n"].max() or 0),  # type: ignore[arg-type]  # a count
        "disagreeing": int((several["labels"] > 1).sum()),
        "same_pixel_groups": len(same_pixels),
        "same_pixel_items": int(same_pixels["len"].sum()),
        "on_two_sides": int((sides["sides"] > 1).sum()),
    }
