"""Time how fast runs predict, in turn on the same photographs, here and now."""

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
from hangtag.inference.runs import ask_about, can_read_names, load_classifier
from hangtag.labels.dataset import LabeledItems
from hangtag.workspace import Workspace

# Find which recipes are on the front of a figure against a cost: none is both better and cheaper.

FIGURES = {"macro_f1": "macro-F1", "level_macro_f1": "macro-F1"}
COSTS = {
    "mflops": "MFLOPs a photograph",
    "training_minutes": "minutes of training",
    "milliseconds": "milliseconds a photograph",
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
    """Return a row for every recipe, figure and cost that are known.

    What reads names stands on a front of its own: it answers an easier question.

    Args:
        recipes: See `tabulate_recipes`.

    Returns:
        `recipe`, `input`, `figure` (of FIGURES), `of` (the column that it is of), `value` with `low` and `high` of
        its interval, `cost` (of COSTS), `amount`, and `is_on_front`.
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
    """Describe of each point whether no other is at least as good and as cheap, and better or cheaper.

    Source: Pareto's optimum, as multi-objective optimisation has it. Points that are equal are both on the front.
    """
    points = list(zip(costs, values, strict=True))
    return [
        not any(other != point and other[0] <= point[0] and other[1] >= point[1] for other in points)
        for point in points
    ]


PHOTOGRAPHS, ROUNDS = 512, 3


@dataclass(frozen=True)
class Timing:
    """How fast runs predict.

    Attributes:
        images_per_second: By run, the median of the rounds; as `predict` and `evaluate` ask, in batches.
        photographs: How many each round had.
        machine: Where it was measured.
        day: When.
    """

    images_per_second: dict[str, float]
    photographs: int
    machine: str
    day: str

    def describe(self) -> str:
        """Describe how, where and when."""
        return (
            f"Predicting was timed on {self.day} on {self.machine}: {self.photographs:,} photographs in batches, "
            f"all runs in turn, the median of {ROUNDS} rounds after one that does not count."
        )


def time_runs(workspace: Workspace, run_ids: Sequence[str], labelled: LabeledItems, split: str) -> Timing:
    """Time the predictions of every run on the same photographs, in turn, several times.

    In turn, so that what else the machine does falls on all of them.

    Args:
        workspace: The workspace.
        run_ids: Its runs.
        labelled: The catalogue, whose photographs are asked about; a run that reads names is given them.
        split: Whose photographs.

    Raises:
        WorkspaceError: The split has no photographs, or a run learnt other labels.
        ModelError: A model cannot be loaded.
    """
    items = labelled.of_split(split)
    if items.is_empty():
        raise WorkspaceError(f"There are no photographs in {split} to time the runs on.")
    items = items[np.linspace(0, len(items) - 1, min(PHOTOGRAPHS, len(items))).astype(int)]

    def prepare(run_id: str) -> Callable[[], object]:
        classifier = load_classifier(workspace, run_id, labelled)
        with_names = can_read_names(classifier, labelled)
        return lambda: ask_about(classifier, labelled, items, f"Timing {run_id}", with_names=with_names)

    asked = {run_id: prepare(run_id) for run_id in run_ids}
    for ask in asked.values():
        ask()
    seconds: dict[str, list[float]] = {run_id: [] for run_id in run_ids}
    for _ in range(ROUNDS):
        for run_id, ask in asked.items():
            started = perf_counter()
            ask()
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
