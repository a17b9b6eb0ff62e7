"""Compare runs on the same items: metrics of each, paired tests between them, and summaries over seeds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.stats import binomtest, t

from hangtag.errors import WorkspaceError
from hangtag.io import JsonObject, read_csv
from hangtag.labels.dataset import LabeledItems
from hangtag.manifest import read_manifest
from hangtag.metrics.bootstrap import LEVEL, BootstrapEstimate, estimate_metrics
from hangtag.metrics.evaluated_runs import (
    EvaluatedRun,
    LeafLevel,
    align_targets,
    evaluate_leaf_level,
    group_seeds,
    tabulate_recipes,
)
from hangtag.metrics.pareto import Timing, tabulate_fronts

SEED_COLUMNS = {
    "run_ids": pl.String,
    "seeds": pl.Int64,
    "split": pl.String,
    "items": pl.Int64,
    "figure": pl.String,
    **dict.fromkeys(("mean", "low", "high", "lowest", "highest"), pl.Float64),
}


# Columns of a run that may be null.
OPTIONAL = {
    "flops": pl.Int64,
    "level": pl.String,
    **{f"level_{name}{end}": pl.Float64 for name in ("accuracy", "macro_f1") for end in ("", "_low", "_high")},
    "predict_images_per_second": pl.Float64,
}
COMPARISON_FILES = {
    "comparison.csv": "runs",
    "pairs.csv": "pairs",
    "seeds.csv": "seeds",
    "recipes.csv": "recipes",
    "pareto.csv": "fronts",
}
TEXT_COLUMNS = ("run_id", "baseline", "run_ids", "split", "figure", "column", "input", "level", "recipe", "of", "cost")
# A column may have no values at all, so its type cannot be inferred.
COLUMN_TYPES = OPTIONAL | dict.fromkeys(TEXT_COLUMNS, pl.String)


@dataclass(frozen=True)
class Comparison:
    """The tables of a comparison, as they are saved.

    Attributes:
        runs: One row per run, `comparison.csv`: `run_id`, `split`, `items` (compared on), `evaluated_items` (of its
            own evaluation), `accuracy` and `macro_f1`, each with `_low` and `_high` of its 95 % interval,
            `parameters`, `flops` (one pass over one photograph; null if an old `model.json` lacks it),
            `training_minutes` (including validation), `images_per_second` in training (the mean
            over epochs), `epochs`; `column` (the target of accuracy and macro-F1), `input` (of the evaluation),
            `level` (the catalogue's most specific level), `level_accuracy` and `level_macro_f1` (see `LeafLevel`) with
            `_low` and `_high`, null if the run does not predict it; `passes` over a photograph (two with the mirror
            image), `bytes` of the model on disk, and `predict_images_per_second` (null if not timed).
        pairs: One row per run except the baseline, `pairs.csv`: `run_id`, `baseline`, `split`, `items`,
            `accuracy_difference` and `macro_f1_difference` (run - baseline), their intervals as `accuracy_low` and
            so on, `only_run_right`, `only_baseline_right`, `mcnemar_p`.
        seeds: One row per metric and set of runs that differ only by their seed, `seeds.csv`: `run_ids` separated
            by spaces, `seeds` (their number), `split`, `items`, `figure`, and the result of `summarize_seeds`.
        recipes: One row per recipe, `recipes.csv`; see `tabulate_recipes`.
        fronts: One row per point of the cost figure, `pareto.csv`; see `tabulate_fronts`.
        timed: A sentence on how and where prediction was timed; empty if it was not.
    """

    runs: pl.DataFrame
    pairs: pl.DataFrame
    seeds: pl.DataFrame
    recipes: pl.DataFrame
    fronts: pl.DataFrame
    timed: str = ""


def compute_mcnemar(only_run: int, only_baseline: int) -> float:
    """Return the p-value of the exact two-sided McNemar test that both runs are right equally often.

    Items that both runs get right, or both get wrong, do not count. Items are treated as independent, so with many
    duplicates the p-value is too small. Source: McNemar, 1947.

    Args:
        only_run: The number of items that only the run gets right.
        only_baseline: The number of items that only the baseline gets right.
    """
    discordant = only_run + only_baseline
    return float(binomtest(only_run, discordant).pvalue) if discordant else 1.0


def summarize_seeds(values: Sequence[float]) -> dict[str, float]:
    """Return a metric's `mean` over seeds, its 95 % interval as `low` and `high`, `lowest` and `highest`.

    The interval is Student's t interval, clipped to 0 and 1. It covers the variation between seeds on these items, not
    the variation between items.

    Args:
        values: The metric for each seed, two or more values between 0 and 1.
    """
    mean = sum(values) / len(values)
    reach = t.ppf((1 + LEVEL) / 2, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values))
    low, high = np.clip([mean - reach, mean + reach], 0, 1).tolist()
    return {"mean": mean, "low": low, "high": high, "lowest": min(values), "highest": max(values)}


def build_comparison(
    runs: Sequence[EvaluatedRun],
    baseline: int,
    split: str,
    *,
    samples: int,
    seed: int,
    truth: LabeledItems | None = None,
    timing: Timing | None = None,
) -> Comparison:
    """Compare runs on the items that all of them were evaluated on.

    Args:
        runs: Two or more runs.
        baseline: The index of the run that the others are tested against.
        split: The split of their predictions.
        samples: The number of bootstrap samples.
        seed: The seed of the bootstrap.
        truth: The catalogue that they were evaluated on, if its labels are unchanged.
        timing: The speed of their predictions, if it was timed.

    Raises:
        WorkspaceError: They were evaluated on other targets, on other labels, or on no item that all of them share.
    """
    runs = align_targets(runs, baseline, truth)
    items = join_shared_items(runs, baseline)
    labels = items.select("label", *(str(position) for position in range(len(runs))))
    names = labels.unpivot()["value"].unique().sort().to_list()
    index = dict(zip(names, range(len(names)), strict=True))
    indices = labels.select(pl.all().replace_strict(index, return_dtype=pl.Int64)).to_numpy().T
    classes, predicted = indices[0], indices[1:]
    figures = estimate_metrics(classes, predicted, items["group_id"].to_list(), len(names), samples=samples, seed=seed)
    common = {"split": split, "items": len(items)}
    leaf_level = evaluate_leaf_level(runs, items, truth, samples=samples, seed=seed)
    speeds = timing.images_per_second if timing else {}
    rows = [_describe_run(run, position, figures, leaf_level, common, speeds) for position, run in enumerate(runs)]
    table = pl.DataFrame(rows, schema_overrides=OPTIONAL, infer_schema_length=None)
    recipes = tabulate_recipes(table, group_seeds(runs), figures, leaf_level)
    return Comparison(
        table,
        _tabulate_pairs([run.run_id for run in runs], predicted == classes, figures, baseline, common),
        _tabulate_seeds(runs, figures, common),
        recipes,
        tabulate_fronts(recipes),
        timing.describe() if timing else "",
    )


def join_shared_items(runs: Sequence[EvaluatedRun], baseline: int) -> pl.DataFrame:
    """Return the items that all runs were evaluated on.

    Returns:
        `item_id`, `group_id` (as the baseline's evaluation has it), `label`, and each run's predicted label in a
        column named after its index: `0`, `1`, ….

    Raises:
        WorkspaceError: They were evaluated on other labels, or on no item that all of them share.
    """
    shared = runs[baseline].predictions.drop("predicted_label")
    for index, run in enumerate(runs):
        own = run.predictions.select(
            "item_id", pl.col("label").alias("own"), pl.col("predicted_label").alias(str(index))
        )
        shared = shared.join(own, on="item_id", how="inner", maintain_order="left")
        if others := shared.filter(pl.col("label") != pl.col("own")).height:
            raise WorkspaceError(
                f"The runs were evaluated on different labels: {run.run_id} on others than {runs[baseline].run_id} for "
                f"{others:,} of {len(shared):,} items.",
                hint="Train and evaluate both on the labels that the workspace has now.",
            )
        shared = shared.drop("own")
    if shared.is_empty():
        sizes = {run.run_id: len(run.predictions) for run in runs}
        raise WorkspaceError("There is no item that all of these runs were evaluated on.", received=sizes)
    return shared


def _describe_run(
    run: EvaluatedRun,
    index: int,
    figures: dict[str, BootstrapEstimate],
    leaf_level: LeafLevel | None,
    common: JsonObject,
    speeds: Mapping[str, float],
) -> JsonObject:
    row = {"run_id": run.run_id, **common, "evaluated_items": len(run.predictions)}
    row |= _write_figures(figures, index)
    row |= {
        "parameters": run.model["parameters"]["total"],
        "flops": run.model.get("flops"),
        "training_minutes": round(run.history["seconds"].sum() / 60, 2),
        "images_per_second": round(float(np.mean(run.history["images_per_second"].to_numpy())), 1),
        "epochs": len(run.history),
        "column": run.target,
        "input": run.reads,
    }
    row |= dict.fromkeys(OPTIONAL) | {"flops": row["flops"]}
    if leaf_level is not None:
        row |= {"level": leaf_level.column}
        row |= _write_figures(leaf_level.figures, leaf_level.columns[index]) if index in leaf_level.columns else {}
    outputs = run.manifest["outputs"]
    return row | {
        "passes": 2 if run.model.get("tta_flip") else 1,
        "bytes": sum(file["bytes"] for name, file in outputs.items() if name.startswith("model.")),
        "predict_images_per_second": speeds.get(run.run_id),
    }


def _write_figures(figures: Mapping[str, BootstrapEstimate], run: int) -> dict[str, float]:
    row: dict[str, float] = {}
    for name, figure in figures.items():
        low, high = figure.find_interval(run)
        row |= {name: float(figure.values[run]), f"{name}_low": low, f"{name}_high": high}
    return row


def _tabulate_pairs(
    run_ids: Sequence[str],
    is_right: npt.NDArray[np.bool_],
    figures: dict[str, BootstrapEstimate],
    baseline: int,
    common: JsonObject,
) -> pl.DataFrame:
    rows = []
    for index, run_id in enumerate(run_ids):
        if index == baseline:
            continue
        row = {"run_id": run_id, "baseline": run_ids[baseline], **common}
        for name, figure in figures.items():
            difference, low, high = figure.compare(index, baseline)
            row |= {f"{name}_difference": difference, f"{name}_low": low, f"{name}_high": high}
        only_run = int((is_right[index] & ~is_right[baseline]).sum())
        only_baseline = int((is_right[baseline] & ~is_right[index]).sum())
        p = compute_mcnemar(only_run, only_baseline)
        rows.append(row | {"only_run_right": only_run, "only_baseline_right": only_baseline, "mcnemar_p": p})
    return pl.DataFrame(rows)


def _tabulate_seeds(
    runs: Sequence[EvaluatedRun], figures: dict[str, BootstrapEstimate], common: JsonObject
) -> pl.DataFrame:
    """Summarize the runs that differ by their seed alone."""
    rows = [
        {
            "run_ids": " ".join(runs[index].run_id for index in indices),
            "seeds": len(indices),
            **common,
            "figure": name,
            **summarize_seeds(figure.values[indices].tolist()),
        }
        for indices in group_seeds(runs)
        if len(indices) > 1
        for name, figure in figures.items()
    ]
    return pl.DataFrame(rows, schema=SEED_COLUMNS)


def read_comparison(folder: Path) -> Comparison:
    """Read the tables that `compare` wrote to a folder."""
    tables = {table: _read_comparison_table(folder / name) for name, table in COMPARISON_FILES.items()}
    return Comparison(**tables, timed=(read_manifest(folder) or {}).get("timed", ""))


def _read_comparison_table(path: Path) -> pl.DataFrame:
    return read_csv(path, schema_overrides=COLUMN_TYPES, infer_schema_length=None)
