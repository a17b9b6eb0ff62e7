"""Find which recipes are on the front of a figure against a cost: none is both better and cheaper."""

from collections.abc import Sequence

import polars as pl

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
    """Give a row for every recipe, figure and cost that are known.

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
    """Say of each point whether no other is at least as good and as cheap, and better or cheaper.

    Source: Pareto's optimum, as multi-objective optimisation has it. Points that are equal are both on the front.
    """
    points = list(zip(costs, values, strict=True))
    return [
        not any(other != point and other[0] <= point[0] and other[1] >= point[1] for other in points)
        for point in points
    ]
