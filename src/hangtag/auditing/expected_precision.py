"""Estimate how many of the first label errors of the queue are right, with a 95 % interval.

The score of an issue ranks it and is no probability: a model that fits a catalogue badly contradicts right labels with
confidence. Here the out-of-sample probabilities are fitted to the catalogue's own given labels. A given label y of an
item is taken to come from the mixture

    (1 - s) q(y) + (s - e) f(y) + e u(y)

q describes right labels as this model sees them, f the class frequencies, for mistakes of the model without a pattern,
u wrong labels. s is fitted by maximum likelihood, and e, the share of wrong labels, is a part of it. Then e u(y) over
the mixture is the probability that a label is wrong. The labels alone do not tell whether a regular disagreement is the
model's mistake or the catalogue's. So this is done in three ways, and the interval covers them all:

- calibrated: q are the probabilities after a fitted temperature; u is half uniform, half f; e is all of s;
- alike: the same, but half of u are the classes that are usually given where the model predicts another;
- confused: q are the frequencies of given classes for the class that the model predicts, counted on other items (five
  parts, by groups of duplicates); e is half of s. A regular disagreement counts as right.

e is at most `MOST_WRONG`. The uncertainty of s is that of a Bayesian bootstrap over groups of duplicates (Rubin, *The
Bayesian Bootstrap*, 1981); to it comes the draw of right and wrong ones. The expected number is the mean of the ways.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from hangtag.auditing.context import AuditContext
from hangtag.auditing.issues import INFO, LABEL_ERROR
from hangtag.auditing.label_issues import collect_cases, read_attribute
from hangtag.models.label_space import NO_VALUE, Indices, Probs

Floats = npt.NDArray[np.float64]
DEPTHS = (20, 100, 500)
TEMPERATURES = (0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.6, 8.0)
# No catalogue is taken to have a larger share of wrong labels. Of ten test sets whose labels people checked, the worst
# had 10 % (Northcutt, Athalye and Mueller, *Pervasive Label Errors in Test Sets*, 2021). What a model contradicts
# beyond that is taken for its own mistakes.
MOST_WRONG = 0.1
WAYS, REPLICATES, PARTS, STEPS = 3, 200, 5, 30
# The share is fitted to at most so many items, in at most so many bins; more change its interval little.
MOST_FITTED, MOST_BINS = 50_000, 5_000
# The model's own probabilities count as so many items in the counted confusions, so that few items do not decide.
PRIOR = 2.0
TINY = 1e-9
CHUNK = 4096


@dataclass(frozen=True)
class WrongProbs:
    """The probabilities that given labels are wrong, of n items.

    Attributes:
        by_way: In each way, for each bootstrap replicate, float64 (ways, replicates, n).
        shares: The share of wrong labels among all given ones, likewise, float64 (ways, replicates).
        agreement: The share of all given labels that are the likeliest class, 0 to 1.
    """

    by_way: Floats
    shares: Floats
    agreement: float

    def describe_share(self) -> dict[str, float]:
        """Return the share of wrong labels: `expected` (the mean of the ways), `low` and `high` (95 %), 0 to 1."""
        low, high = np.quantile(self.shares, 0.025, axis=1).min(), np.quantile(self.shares, 0.975, axis=1).max()
        found = {"expected": float(self.shares.mean()), "low": float(low), "high": float(high)}
        return {name: round(value, 4) for name, value in found.items()}


def expect_right(context: AuditContext, issues: pl.DataFrame) -> dict[str, object]:
    """Estimate how many of the first label errors are right.

    An issue of a level is right where the item's category path is wrong; one of an attribute, where its value is.

    Args:
        context: The catalogue, with the probabilities that the issues come from.
        issues: All issues, the highest score first, with the names of hangtag's columns.

    Returns:
        `agreement` (of the probabilities with the given category paths), and `first`: `issues`, `expected`, `low` and
        `high` for each of `DEPTHS` that the queue is longer than, and for its end if that comes before the last one.
        `suspected_categories`: the same for the label errors of levels that are not for information, among the last of
        `DEPTHS`. `wrong_share`: the share of wrong category paths among those of `labels` items, see `describe_share`.
        Empty where there are no label errors.
    """
    queue = issues.filter(pl.col("code") == LABEL_ERROR).head(DEPTHS[-1])
    if queue.is_empty():
        return {}
    queue_rows = context.find_rows(queue["item_id"])
    groups = context.items["group_id"].fill_null(context.items["item_id"])
    cases = collect_cases(context)
    attributes = context.attributes if context.image_probs is not None else ()
    columns = np.array(queue["column"].to_list())
    by_way = np.zeros((WAYS, REPLICATES, len(queue)))
    paths: dict[str, object] = {}
    for column in ("", *attributes):
        chosen = np.flatnonzero(columns == column if column else ~np.isin(columns, attributes))
        if column and not len(chosen):
            continue
        if column and context.image_probs is not None:
            rows = context.image_probs.rows
            given, probs = read_attribute(context, context.image_probs, column)
        else:
            rows, given, probs = cases.rows, cases.given, cases.modality_probs.join()
        known = np.flatnonzero(given != NO_VALUE)
        known = known[np.argsort(rows[known])]
        wanted = np.searchsorted(rows[known], queue_rows[chosen])
        found = estimate_wrong(given[known], probs[known], groups.gather(rows[known]), wanted)
        by_way[:, :, chosen] = found.by_way
        if not column:
            paths = {
                "agreement": round(found.agreement, 4),
                "wrong_share": {"labels": len(known), **found.describe_share()},
            }
    depths = [*(depth for depth in DEPTHS if depth < len(queue)), len(queue)]
    first = [{"issues": depth, **count_right(by_way[:, :, :depth])} for depth in depths]
    is_suspected = (queue["severity"] != INFO).to_numpy() & ~np.isin(columns, attributes)
    suspected = {"issues": int(is_suspected.sum()), **count_right(by_way[:, :, is_suspected])}
    return {**paths, "first": first, "suspected_categories": suspected}


def estimate_wrong(given: Indices, probs: Probs, groups: pl.Series, wanted: Indices, seed: int = 0) -> WrongProbs:
    """Estimate the probability that given labels are wrong.

    Args:
        given: The given class of each item, int64 (m,).
        probs: Out-of-sample probabilities (m, classes); what a row lacks to 1 belongs to a class that no item is given.
        groups: The group of duplicates of each item.
        wanted: The n items to return, int64 (n,).
        seed: Draws the parts and the bootstrap.
    """
    random = np.random.default_rng(seed)
    members = groups.rank("dense").to_numpy().astype(np.int64) - 1
    counts = np.bincount(given, minlength=probs.shape[1])
    flat = counts[given] / len(given)
    uniform = 0.5 / (counts > 0).sum() + 0.5 * flat
    confused, others = _read_confused(given, probs, members, random)
    alike = 0.5 * others + 0.5 * uniform
    own = np.stack([_read_own(given, probs, temperature) for temperature in TEMPERATURES])
    ways = (
        (_choose_temperature(own, uniform), uniform, 1.0),
        (_choose_temperature(own, alike), alike, 1.0),
        (confused, uniform, 0.5),
    )
    fitted = np.arange(len(given))
    if len(given) > MOST_FITTED:
        fitted = random.choice(len(given), MOST_FITTED, replace=False)
    ratios = [_Ratios.of(right[fitted], wrong[fitted]) for right, wrong, _ in ways]
    by_way, shares = np.empty((WAYS, REPLICATES, len(wanted))), np.empty((WAYS, REPLICATES))
    for replicate in range(REPLICATES):
        weight = random.exponential(size=int(members.max()) + 1)[members[fitted]]
        for way, (right, wrong, part) in enumerate(ways):
            share = ratios[way].fit_share(weight)
            errors = shares[way, replicate] = min(share * part, MOST_WRONG)
            probs_wrong = errors * wrong[wanted]
            rest = (1 - share) * right[wanted] + (share - errors) * flat[wanted]
            by_way[way, replicate] = probs_wrong / np.maximum(probs_wrong + rest, TINY)
    return WrongProbs(by_way, shares, float((probs.argmax(axis=1) == given).mean()))


def count_right(by_way: Floats, seed: int = 0) -> dict[str, float | int]:
    """Return how many of n issues are expected to be right: `expected`, and `low` and `high` (95 %).

    Args:
        by_way: See `WrongProbs`; of these issues.
        seed: Draws which are right.
    """
    drawn = (np.random.default_rng(seed).random(by_way.shape) < by_way).sum(axis=2)
    low, high = np.quantile(drawn, 0.025, axis=1).min(), np.quantile(drawn, 0.975, axis=1).max()
    expected = float(by_way.sum(axis=2).mean())
    return {"expected": round(expected, 1), "low": int(np.floor(low)), "high": int(np.ceil(high))}


def _read_own(given: Indices, probs: Probs, temperature: float) -> Floats:
    """Return each item's probability of its given class at a temperature, float64 (m,)."""
    found = np.empty(len(given))
    for start in range(0, len(given), CHUNK):
        part = probs[start : start + CHUNK].astype(np.float64)
        rest = (1 - part.sum(axis=1, keepdims=True)).clip(0)
        part = (np.concatenate([part, rest], axis=1) + TINY) ** (1 / temperature)
        found[start : start + CHUNK] = part[np.arange(len(part)), given[start : start + CHUNK]] / part.sum(axis=1)
    return found


def _read_confused(
    given: Indices, probs: Probs, members: Indices, random: np.random.Generator
) -> tuple[Floats, Floats]:
    """Return each item's probability of its given class by the confusions that are counted on the other parts.

    Returns:
        The share of its given class among the items with its predicted class, float64 (m,), and the share among those
        of them that are not given the predicted class, float64 (m,).
    """
    classes = probs.shape[1]
    predicted = probs.argmax(axis=1)
    parts = random.integers(0, PARTS, int(members.max()) + 1)[members]
    confused, others = np.empty(len(given)), np.empty(len(given))
    for part in range(PARTS):
        inside, outside = np.flatnonzero(parts == part), np.flatnonzero(parts != part)
        counted = np.bincount(predicted[outside] * classes + given[outside], minlength=classes * classes)
        rates = counted.reshape(classes, classes).astype(np.float64)
        for row in np.unique(predicted[inside]).tolist():
            model = probs[outside[predicted[outside] == row]].sum(axis=0, dtype=np.float64)
            rates[row] += PRIOR * model / max(model.sum(), TINY)
        rates /= np.maximum(rates.sum(axis=1, keepdims=True), TINY)
        confused[inside] = rates[predicted[inside], given[inside]]
        np.fill_diagonal(rates, 0)
        rates /= np.maximum(rates.sum(axis=1, keepdims=True), TINY)
        others[inside] = rates[predicted[inside], given[inside]]
    return confused, others


def _choose_temperature(own: Floats, wrong: Floats) -> Floats:
    """Return the probabilities of the temperature under which the given labels are likeliest, float64 (m,)."""
    likelihoods = []
    for right in own:
        share = _Ratios.of(right, wrong).fit_share(np.ones(len(right)))
        likelihoods.append(float(np.log((1 - share) * right + share * wrong + TINY).sum()))
    return np.asarray(own[int(np.argmax(likelihoods))], np.float64)


@dataclass(frozen=True)
class _Ratios:
    """The ratio of both densities of a mixture, of n items, in bins: the share depends on nothing else.

    Attributes:
        bins: The bin of each item, int64 (n,).
        means: The mean ratio of each bin, float64 (bins,).
    """

    bins: Indices
    means: Floats

    @classmethod
    def of(cls, right: Floats, wrong: Floats) -> "_Ratios":
        """Sort the items by `wrong` over `right` into at most `MOST_BINS` bins of nearly equal size."""
        ratios = wrong / np.maximum(right, TINY)
        order = np.argsort(ratios, kind="stable")
        count = min(len(ratios), MOST_BINS)
        bins = np.empty(len(ratios), np.int64)
        bins[order] = np.arange(len(ratios)) * count // len(ratios)
        return cls(bins, np.bincount(bins, ratios, count) / np.bincount(bins, minlength=count))

    def fit_share(self, weight: Floats) -> float:
        """Fit the share of labels that are not as `right` says, by expectation maximization, 0 to 1."""
        weights = np.bincount(self.bins, weight / weight.sum(), len(self.means))
        share = 0.05
        for _ in range(STEPS):
            part = share * self.means
            share = float((part / (1 - share + part)) @ weights)
        return share
