"""Learning curves: accuracy against the number of training items, and what twice as many would bring.

Errors usually fall along a power law of the number of training items, down to an error that no number of items removes:
a x^-b + c. Source: Hestness et al., *Deep Learning Scaling Is Predictable, Empirically*, 2017. Beyond the largest share
the curve is an extrapolation, which holds for the same network and recipe, and for more items of the same kind.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.optimize import curve_fit

from hangtag.io import JsonObject
from hangtag.metrics.bootstrap import LEVEL, BootstrapEstimate, estimate_metrics, find_interval, find_percentiles
from hangtag.metrics.markdown import Block
from hangtag.models.label_space import Indices

Values = npt.NDArray[np.float64]
# The curve has three parameters; through fewer points than one more, every curve fits.
FEWEST_POINTS = 4
# Bootstrap samples to which the curve is fitted again, for the interval of what twice as many items bring.
FITTED_SAMPLES = 200
# The loss of accuracy that counts as none.
NEGLIGIBLE = 0.005
# The points of the fitted curve that are drawn.
DRAWN_POINTS = 60
FIGURES = ("accuracy", "macro_f1")


@dataclass(frozen=True)
class LearningCurve:
    """The metrics of trainings on growing shares of the training items.

    Attributes:
        points: One row per share in ascending order: `train_fraction`, `train_items`, `seeds` (the number of
            trainings), `accuracy` and `macro_f1` (means over the seeds) with `_low` and `_high` of their 95 %
            intervals, and `difference` of the accuracy from that of the largest share with its interval.
        fitted: The fitted accuracy at numbers of items up to twice the largest, `train_items` and `accuracy`; no rows
            without a fit.
        summary: `train_items` and `enough`, the items of the smallest share whose accuracy is at most NEGLIGIBLE below
            that of the largest, by the lower end of the difference, or None; `twice`, None without a fit, else
            `train_items`, `accuracy`, `gain` and `gain_interval`; `has_seeds`, whether every share has several seeds.
    """

    points: pl.DataFrame
    fitted: pl.DataFrame
    summary: JsonObject


def build_curve(
    runs: pl.DataFrame,
    classes: Indices,
    predicted: npt.NDArray[np.int64],
    group_ids: Sequence[str],
    num_classes: int,
    *,
    samples: int,
    seed: int,
) -> LearningCurve:
    """Compute the learning curve of m runs that were evaluated on the same n items.

    The intervals cover other items, and, where a share has several seeds, other seeds: both are drawn with replacement.

    Args:
        runs: The runs, m rows: `train_fraction` and `train_items`.
        classes: The true class indices, int64 (n,).
        predicted: The predicted ones, int64 (m, n).
        group_ids: The group of duplicates of each item.
        num_classes: The number of classes.
        samples: The number of bootstrap samples.
        seed: The seed of the bootstrap.
    """
    estimates = estimate_metrics(classes, predicted, group_ids, num_classes, samples=samples, seed=seed)
    fractions = runs["train_fraction"].to_numpy()
    members = [np.flatnonzero(fractions == fraction) for fraction in np.unique(fractions)]
    draws = {name: _draw_seeds(estimate, members, np.random.default_rng(seed)) for name, estimate in estimates.items()}
    rows: list[JsonObject] = []
    for index, runs_of_share in enumerate(members):
        row: JsonObject = {
            "train_fraction": float(fractions[runs_of_share[0]]),
            "train_items": round(float(runs["train_items"].to_numpy()[runs_of_share].mean())),
            "seeds": len(runs_of_share),
        }
        for name in FIGURES:
            estimate = estimates[name]
            value = float(estimate.values[runs_of_share].mean())
            unseen = float(estimate.unseen_variances[runs_of_share].mean())
            ends = find_interval(draws[name][:, index], value, unseen)
            row |= dict(zip((name, f"{name}_low", f"{name}_high"), (value, *ends), strict=True))
        low, high = find_percentiles(draws["accuracy"][:, index] - draws["accuracy"][:, -1])
        rows.append(row | {"difference": row["accuracy"], "difference_low": low, "difference_high": high})
    points = pl.DataFrame(rows).with_columns(pl.col("difference") - pl.col("accuracy").last())
    fitted, twice = _forecast(points, draws["accuracy"])
    summary: JsonObject = {
        "train_items": points["train_items"][-1],
        "enough": _find_enough(points),
        "twice": twice,
        "has_seeds": bool((points["seeds"] > 1).all()),
    }
    return LearningCurve(points, fitted, summary)


def _draw_seeds(
    estimate: BootstrapEstimate, members: Sequence[npt.NDArray[np.intp]], random: np.random.Generator
) -> Values:
    """Return the mean metric of each share on each bootstrap sample, (samples, shares), over seeds drawn for it."""
    samples = len(estimate.draws)
    columns = []
    for runs_of_share in members:
        chosen = random.choice(runs_of_share, (samples, len(runs_of_share)))
        columns.append(np.take_along_axis(estimate.draws, chosen, axis=1).mean(axis=1))
    return np.stack(columns, axis=1)


def _find_enough(points: pl.DataFrame) -> int | None:
    enough = points[:-1].filter(pl.col("difference_low") >= -NEGLIGIBLE)
    return int(enough["train_items"].min()) if len(enough) else None  # type: ignore[arg-type]


def compute_error(share: Values, scale: float, exponent: float, floor: float) -> Values:
    """Return the error of the power law at a multiple of the largest number of items: scale * share^-exponent + floor.

    Args:
        share: Numbers of training items, divided by the largest one.
        scale: The error at the largest number that more items would remove.
        exponent: How fast they remove it.
        floor: The error that remains.
    """
    return np.asarray(scale * share**-exponent + floor)


def fit_power_law(share: Values, errors: Values) -> tuple[float, float, float] | None:
    """Fit `compute_error` to errors by least squares; return scale, exponent and floor, or None if that fails.

    Args:
        share: See `compute_error`; FEWEST_POINTS or more different ones.
        errors: The errors, 0 to 1.
    """
    last = float(errors[-1])
    try:
        found, _ = curve_fit(
            compute_error,
            share,
            errors,
            p0=(last / 2, 0.5, last / 2),
            bounds=((0, 0, 0), (1, 2, 1)),
        )
    except (RuntimeError, ValueError):
        return None
    scale, exponent, floor = found.tolist()
    return scale, exponent, floor


def _forecast(points: pl.DataFrame, draws: Values) -> tuple[pl.DataFrame, JsonObject | None]:
    """Return the fitted curve, and what twice the items would bring with its interval; no rows and None without a fit.

    Args:
        points: See `LearningCurve`.
        draws: The accuracy of each share on each bootstrap sample, (samples, shares).
    """
    empty = pl.DataFrame(schema={"train_items": pl.Float64, "accuracy": pl.Float64})
    items = points["train_items"].to_numpy().astype(np.float64)
    if len(np.unique(items)) < FEWEST_POINTS:
        return empty, None
    share, most = items / items[-1], items[-1]
    found = fit_power_law(share, 1 - points["accuracy"].to_numpy())
    drawn = [fit_power_law(share, 1 - row) for row in draws[:FITTED_SAMPLES]]
    gains = np.array([_compute_gain(each) for each in drawn if each is not None])
    if found is None or len(gains) < LEVEL * len(drawn):
        return empty, None
    shown = np.geomspace(share[0], 2, DRAWN_POINTS)
    fitted = pl.DataFrame({"train_items": shown * most, "accuracy": 1 - compute_error(shown, *found)})
    twice = {
        "train_items": int(2 * most),
        "accuracy": float(1 - compute_error(np.array([2.0]), *found)[0]),
        "gain": _compute_gain(found),
        "gain_interval": list(find_percentiles(gains)),
    }
    return fitted, twice


def _compute_gain(found: tuple[float, float, float]) -> float:
    """Return the difference of the fitted accuracy at twice the items from that at all of them."""
    once, twice = compute_error(np.array([1.0, 2.0]), *found)
    return float(once - twice)


def tabulate_curve(points: pl.DataFrame) -> Block:
    """Format the points as a table that fits a terminal."""
    rows = [
        (
            f"{row['train_fraction']:.3g}",
            f"{row['train_items']:,}",
            f"{row['seeds']}",
            *(f"{row[name]:.3f} [{row[f'{name}_low']:.3f}, {row[f'{name}_high']:.3f}]" for name in FIGURES),
        )
        for row in points.iter_rows(named=True)
    ]
    title = "Accuracy and macro-F1 on val, with 95 % intervals, by the share of the training items."
    return Block(title, ("share", "items", "seeds", "accuracy", "macro-F1"), rows)


def describe_curve(summary: JsonObject) -> list[str]:
    """Return sentences: from how many items on more did not help, and what twice as many would bring.

    Args:
        summary: See `LearningCurve`.
    """
    most, enough, twice = summary["train_items"], summary["enough"], summary["twice"]
    points = f"{100 * NEGLIGIBLE:g} percentage points"
    lines = [
        f"{enough:,} items reach the accuracy of {most:,} within {points}, by the lower end of the 95 % interval."
        if enough
        else f"No smaller share is certain to reach the accuracy of {most:,} items within {points}."
    ]
    if twice is None:
        lines.append(
            f"What more items would bring is not estimated: that takes {FEWEST_POINTS} shares or more whose errors "
            "follow a power law."
        )
        return lines
    low, high = twice["gain_interval"]
    lines.append(
        f"Twice the items ({twice['train_items']:,}) would bring about {100 * twice['gain']:.1f} percentage points "
        f"[{100 * low:.1f}, {100 * high:.1f}], if the errors go on falling along a power law and the new items are of "
        "the same kind."
    )
    if not summary["has_seeds"]:
        lines.append("Every share has one training: the intervals do not cover other seeds. More: --seeds 0,1,2.")
    return lines
