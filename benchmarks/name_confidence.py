"""Measure how often the likeliest category of a name is right in small catalogues, by the probability that is stated.

Usage: python benchmarks/name_confidence.py --workspace W [--seeds 12] [--sizes 80 200 500] [--wrong 0.05]

W is a workspace with a prepared catalogue of any size. Products are drawn from it at random, a share of them gets the
category of another product, and names are predicted out of fold as in the audit, once as they come, as the audit
has them, and once softened, as `clean` has them. Right is the category that the catalogue itself has.
"""

import argparse
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl

from hangtag.auditing.evidence import find_category_paths, predict_from_names
from hangtag.catalog.prepared_items import read_prepared
from hangtag.labels.name_classifier import fit_temperature, soften
from hangtag.models.label_space import NO_VALUE, Indices, LabelSpace
from hangtag.workspace import Workspace

BOUNDS = (0.5, 0.7, 0.9, 1.01)


def main() -> None:
    """Measure all sizes and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--sizes", type=int, nargs="+", default=[80, 200, 500])
    parser.add_argument("--wrong", type=float, default=0.05)
    arguments = parser.parse_args()
    names, paths, space = read(arguments.workspace)
    print("| products | stated | as they come: right | of | softened: right | of |")
    print("| --- | --- | --- | --- | --- | --- |")
    for size in arguments.sizes:
        found = [measure(names, paths, space, size, arguments.wrong, seed) for seed in range(arguments.seeds)]
        raw, stated = (np.concatenate([each[way] for each in found], axis=1) for way in (0, 1))
        for low, high in pairwise(BOUNDS):
            cells = []
            for probability, is_right in (raw, stated):
                inside = (probability >= low) & (probability < high)
                cells += [f"{is_right[inside].mean():.2f}" if inside.any() else "", f"{inside.sum():,}"]
            print(f"| {size} | {low} to {min(high, 1.0)} | {' | '.join(cells)} |")


def read(folder: Path) -> tuple[pl.Series, Indices, LabelSpace]:
    """Return the names and the category paths of the products that have both."""
    prepared = read_prepared(Workspace.at(folder))
    schema = prepared.schema
    if not schema.name:
        raise SystemExit("The catalogue has no names.")
    levels = list(schema.levels)
    items = prepared.known.filter(pl.col(schema.name).is_not_null() & pl.all_horizontal(pl.col(levels).is_not_null()))
    values = {level: tuple(items[level].cast(pl.String).unique().sort().to_list()) for level in levels}
    rows = items.select(pl.col(levels).cast(pl.String)).unique(maintain_order=True).rows()
    paths = tuple(tuple(values[level].index(cell) for level, cell in zip(levels, row, strict=True)) for row in rows)
    space = LabelSpace(values, paths, {}, levels[-1])
    given = find_category_paths(items, space, schema.missing)
    return items[schema.name].filter(pl.Series(given != NO_VALUE)), given[given != NO_VALUE], space


def measure(
    names: pl.Series, paths: Indices, space: LabelSpace, size: int, wrong: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the highest probability of each name and whether it is right, (2, n), as they come and softened."""
    rng = np.random.default_rng(seed)
    drawn = rng.choice(len(names), size, replace=False)
    true = paths[drawn]
    given = true.copy()
    moved = rng.choice(size, max(1, round(wrong * size)), replace=False)
    given[moved] = rng.permutation(true)[moved]
    found = predict_from_names(
        names.gather(drawn), given, space, [str(each) for each in given], [str(row) for row in range(size)]
    )
    is_right = found.pred_probs.argmax(axis=1) == true[found.rows]
    softened = soften(found.pred_probs, fit_temperature(found.pred_probs, found.given))
    return np.stack([found.pred_probs.max(axis=1), is_right]), np.stack([softened.max(axis=1), is_right])


if __name__ == "__main__":
    main()
