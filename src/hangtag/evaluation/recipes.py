"""Put runs that differ by their seed alone into one row: a recipe's mean figures, and what it costs."""

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

import polars as pl

from hangtag.evaluation.finest import FinestLevel
from hangtag.evaluation.judged_runs import JudgedRun
from hangtag.evaluation.resampled import Figure

SAME = ("split", "items", "column", "input", "level", "parameters", "flops", "passes")
# Of several seeds the mean counts.
COSTS = ("training_minutes", "images_per_second", "epochs", "bytes", "predict_images_per_second")
FIGURES = ("accuracy", "macro_f1", "level_accuracy", "level_macro_f1")
SCHEMA = {
    **dict.fromkeys(("flops",), pl.Int64),
    **dict.fromkeys(("level",), pl.String),
    **dict.fromkeys((f"{name}{end}" for name in FIGURES for end in ("", "_low", "_high")), pl.Float64),
    **dict.fromkeys(COSTS, pl.Float64),
}
# A shorter beginning of names says nothing.
SHORTEST_NAME = 3


def group_seeds(runs: Sequence[JudgedRun]) -> list[list[int]]:
    """Give the places of the runs of each recipe; of two with the same seed the first one counts."""
    kinds: dict[str, dict[int, int]] = {}
    for place, run in enumerate(runs):
        kinds.setdefault(run.kind, {}).setdefault(run.seed, place)
    return [list(members.values()) for members in kinds.values()]


def tabulate_recipes(
    runs: pl.DataFrame, groups: Sequence[Sequence[int]], figures: Mapping[str, Figure], finest: FinestLevel | None
) -> pl.DataFrame:
    """Give a row a recipe.

    Args:
        runs: A row a run, as `Comparison` has it.
        groups: The places of the runs of each recipe.
        figures: `accuracy` and `macro_f1` of all runs.
        finest: How runs did on the finest level.

    Returns:
        `recipe` (what the names of its runs begin with), `run_ids` between spaces, `seeds`, `split`, `items`, `column`,
        `input`, `level`, the mean of each of FIGURES with `_low` and `_high` of its 95 % interval over other items (see
        `Figure.average`), `parameters`, `flops`, `passes`, and the means of COSTS.
    """
    names = name_recipes([[runs["run_id"][place] for place in places] for places in groups])
    rows = []
    for name, places in zip(names, groups, strict=True):
        members = runs[list(places)]
        row = {"recipe": name, "run_ids": " ".join(members["run_id"]), "seeds": len(places)}
        row |= {key: members[key][0] for key in SAME}
        row |= dict.fromkeys(f"{figure}{end}" for figure in FIGURES for end in ("", "_low", "_high"))
        row |= _average(figures, places)
        if finest is not None and places[0] in finest.places:
            row |= _average(finest.figures, [finest.places[place] for place in places])
        rows.append(row | {key: members[key].mean() for key in COSTS})
    return pl.DataFrame(rows, schema_overrides=SCHEMA, infer_schema_length=None)


def _average(figures: Mapping[str, Figure], places: Sequence[int]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name, figure in figures.items():
        row |= dict(zip((name, f"{name}_low", f"{name}_high"), figure.average(places), strict=True))
    return row


def name_recipes(groups: Sequence[Sequence[str]]) -> list[str]:
    """Give each group of run names what they begin with, or the first of them where that is short or not its own."""
    starts = [_find_beginning(group) for group in groups]
    return [
        start if len(start) >= SHORTEST_NAME and starts.count(start) == 1 else group[0]
        for start, group in zip(starts, groups, strict=True)
    ]


def _find_beginning(names: Sequence[str]) -> str:
    """Give what all names begin with, without the sign before their numbers; the whole of a single one."""
    if len(names) == 1:
        return names[0]
    same = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    return "".join(letters[0] for letters in same).rstrip("-_.")
