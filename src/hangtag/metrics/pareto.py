"""Find the Pareto front of recipes, metric against cost, and time the predictions of runs."""

import os
import platform
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

import numpy as np
import polars as pl

from hangtag.errors import WorkspaceError
from hangtag.inference.runs import can_read_names, load_classifier, predict_items
from hangtag.labels.dataset import LabeledItems
from hangtag.workspace import Workspace

PHOTOGRAPHS, ROUNDS = 512, 3
FIGURES = {"macro_f1": "macro-F1", "level_macro_f1": "macro-F1"}
COSTS = {
    "mflops": "MFLOPs per photograph",
    "training_minutes": "minutes of training",
    "milliseconds": "milliseconds per photograph",
    "million_parameters": "million parameters",
    "megabytes": "MB on disk",
}
SCHEMA = {
    **dict.fromkeys(("recipe", "input", "figure", "of"), pl.String),
    **dict.fromkeys(("value", "low", "high"), pl.Float64),
    "cost": pl.String,
    "amount": pl.Float64,
    "is_on_front": pl.Boolean,
}


def tabulate_fronts(recipes: pl.DataFrame) -> pl.DataFrame:
    """Return a row for every recipe with each known metric and cost.

    Recipes with different inputs have separate fronts: with product names the task is easier.

    Args:
        recipes: See `tabulate_recipes`.

    Returns:
        `recipe`, `input`, `figure` (of FIGURES), `of` (the column of the metric), `value` with `low` and `high`
        of its interval, `cost` (of COSTS), `amount`, and `is_on_front`.
    """
    costs = recipes.with_columns(
        mflops=pl.col("flops") * pl.col("passes") / 1e6,
        milliseconds=1000 / pl.col("predict_images_per_second"),
        million_parameters=pl.col("parameters") / 1e6,
        megabytes=pl.col("bytes") / 1e6,
    )
    rows = []
    for figure in FIGURES:
        for cost in COSTS:
            known = costs.drop_nulls([figure, cost]).filter(pl.col(cost) > 0)
            for (source,), part in known.group_by("input", maintain_order=True):
                front = find_front(part[cost].to_list(), part[figure].to_list())
                for row, is_on_front in zip(part.to_dicts(), front, strict=True):
                    of = row["level"] if figure.startswith("level") else row["column"]
                    ends = (row[figure], row[f"{figure}_low"], row[f"{figure}_high"])
                    rows.append((row["recipe"], source, figure, of, *ends, cost, row[cost], is_on_front))
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def find_front(costs: Sequence[float], values: Sequence[float]) -> list[bool]:
    """Return whether each point is Pareto optimal: no other is as good and as cheap, and better or cheaper.

    Equal points are both on the front.
    """
    points = list(zip(costs, values, strict=True))
    return [
        not any(other != point and other[0] <= point[0] and other[1] >= point[1] for other in points)
        for point in points
    ]


@dataclass(frozen=True)
class Timing:
    """The prediction speed of runs.

    Attributes:
        images_per_second: The median over the rounds by run, predicting in batches as `predict` and `evaluate` do.
        photographs: The number of photographs in each round.
        machine: The machine that it was measured on.
        day: The date of the measurement.
    """

    images_per_second: dict[str, float]
    photographs: int
    machine: str
    day: str

    def describe(self) -> str:
        """Describe in a sentence how, where and when the runs were timed."""
        return (
            f"Prediction was timed on {self.day} on {self.machine}: {self.photographs:,} photographs in batches, "
            f"all runs in turn, the median of {ROUNDS} rounds after a warm-up round."
        )


def time_runs(workspace: Workspace, run_ids: Sequence[str], labelled: LabeledItems, split: str) -> Timing:
    """Time the predictions of every run on the same photographs, in turn, several times.

    Rounds alternate between the runs, so that other load on the machine affects all of them.

    Args:
        workspace: The workspace.
        run_ids: The runs to time.
        labelled: The catalogue; runs with a text input get the product names too.
        split: The split whose photographs are predicted.

    Raises:
        WorkspaceError: The split has no photographs, or a run was trained on other labels.
        ModelError: A model cannot be loaded.
    """
    items = labelled.of_split(split)
    if items.is_empty():
        raise WorkspaceError(f"There are no photographs in {split} to time the runs on.")
    items = items[np.linspace(0, len(items) - 1, min(PHOTOGRAPHS, len(items))).astype(int)]

    def prepare(run_id: str) -> Callable[[], object]:
        classifier = load_classifier(workspace, run_id, labelled)
        with_names = can_read_names(classifier, labelled)
        return lambda: predict_items(classifier, labelled, items, f"Timing {run_id}", with_names=with_names)

    predict_calls = {run_id: prepare(run_id) for run_id in run_ids}
    for predict in predict_calls.values():
        predict()
    seconds: dict[str, list[float]] = {run_id: [] for run_id in run_ids}
    for _ in range(ROUNDS):
        for run_id, predict in predict_calls.items():
            started = perf_counter()
            predict()
            seconds[run_id].append(perf_counter() - started)
    speeds = {run_id: round(len(items) / statistics.median(each), 1) for run_id, each in seconds.items()}
    return Timing(speeds, len(items), describe_machine(), datetime.now(UTC).date().isoformat())


def describe_machine() -> str:
    """Return the name of the processor and the number of its cores."""
    count = os.cpu_count() or 1
    return f"{_name_processor()}, {count} core{'s' if count > 1 else ''}"


def _name_processor() -> str:
    listing = Path("/proc/cpuinfo")
    for line in listing.read_text(encoding="utf-8").splitlines() if listing.is_file() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
