"""Judge several runs on the catalogue's finest level, over the classes that have items enough to be judged on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from hangtag.evaluation.judged_runs import JudgedRun
from hangtag.evaluation.levels import FREQUENT_ITEMS
from hangtag.evaluation.metrics import average_f1, count_outcomes
from hangtag.evaluation.resampled import Figure, draw_weights
from hangtag.labels.labelled import Labelled


@dataclass(frozen=True)
class FinestLevel:
    """How runs did on the finest level.

    Attributes:
        column: Its name.
        places: The place of each run that learnt it among all runs, and so its column in the figures.
        figures: `level_accuracy` (of the items of frequent classes) and `level_macro_f1` (the mean F1 of these classes,
            among all items), of the runs that learnt it.
    """

    column: str
    places: dict[int, int]
    figures: dict[str, Figure]


def judge_finest(
    runs: Sequence[JudgedRun], items: pl.DataFrame, truth: Labelled | None, *, samples: int, seed: int
) -> FinestLevel | None:
    """Judge the runs that learnt the catalogue's finest level, or give None where no figure can be had.

    Args:
        runs: The runs.
        items: `item_id` and `group_id` of the items that all runs were judged on.
        truth: The catalogue that they were judged on, if it is still there.
        samples: Draws behind each interval.
        seed: Of the draws.
    """
    if truth is None or not truth.schema.levels:
        return None
    column = truth.schema.levels[-1]
    said = {place: found for place, run in enumerate(runs) if (found := run.find_said(column)) is not None}
    known = truth.table.filter(pl.col("split").is_not_null()).select("item_id", pl.col(column).cast(pl.String))
    table = items.select("item_id", "group_id").join(known.drop_nulls(), on="item_id", maintain_order="left")
    table = table.drop_nulls(column)
    for place, each in said.items():
        table = table.join(each.rename({"predicted_label": str(place)}), on="item_id", maintain_order="left")
    counts = dict(known.drop_nulls().group_by(column).len().iter_rows())
    names = sorted({value for name in (column, *map(str, said)) for value in table[name].unique()})
    is_frequent = np.array([counts.get(name, 0) >= FREQUENT_ITEMS for name in names], bool)
    index = dict(zip(names, range(len(names)), strict=True))
    columns = [
        table[name].replace_strict(index, return_dtype=pl.Int64).to_numpy() for name in (column, *map(str, said))
    ]
    classes = columns[0]
    if not said or not len(table) or not is_frequent[classes].any():
        return None
    figures = _judge(classes, columns[1:], table["group_id"].to_list(), is_frequent, samples=samples, seed=seed)
    return FinestLevel(column, {place: number for number, place in enumerate(said)}, figures)


def _judge(
    classes: npt.NDArray[np.int64],
    predicted: Sequence[npt.NDArray[np.int64]],
    group_ids: Sequence[str],
    is_frequent: npt.NDArray[np.bool_],
    *,
    samples: int,
    seed: int,
) -> dict[str, Figure]:
    def measure(weights: npt.NDArray[np.int64]) -> tuple[list[float], list[float]]:
        accuracy, macro_f1 = [], []
        for each in predicted:
            outcomes = count_outcomes(classes, each, len(is_frequent), weights)
            hits, support, _ = (counts[is_frequent].sum() for counts in outcomes)
            # A draw may miss every item of these classes, in a catalogue of a few.
            accuracy.append(float(hits / support) if support else 0.0)
            macro_f1.append(float(average_f1(outcomes, is_frequent)))
        return accuracy, macro_f1

    values = measure(np.ones_like(classes))
    draws = [measure(weights) for weights in draw_weights(group_ids, samples, seed)]
    return {
        name: Figure(np.array(value), np.array([draw[place] for draw in draws]))
        for place, (name, value) in enumerate(zip(("level_accuracy", "level_macro_f1"), values, strict=True))
    }
