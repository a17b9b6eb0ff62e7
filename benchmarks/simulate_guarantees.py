"""Simulate how often precisions that hangtag guarantees, and intervals that it prints, are missed.

Usage: python benchmarks/simulate_guarantees.py {auto-accept,thresholds,one-val,intervals}
    [--repetitions 1000] [--precision 0.95]

`auto-accept`: reviews before `hangtag apply --auto-accept`. Each has one to five kinds of issues whose suggestions are
right with a probability that rises with their score. A reviewer decides some of them, in an order that depends on the
row: at random (the order `random sample`), from the highest score down, both in turn, by score but leaving wrong ones
open, at random but skipping wrong ones, or at random among high scores. The guarantee is missed if more of the accepted
issues are wrong than the precision allows. Printed are the share of reviews in which anything is accepted, the mean
share of open issues that is, the mean share of accepted issues that are right, and the share of all reviews in which
the guarantee is missed.

`thresholds`: confidence thresholds chosen on 3,000 photographs, several of each product, which are right or wrong
together in nine of ten cases. The guarantee is missed if fewer of the sure predictions on 200,000 others are right.
Printed are, for photographs that count one by one and for one vote a product, the shares of repetitions that find a
threshold and that miss.

`one-val`: the best of eight epochs, the name weight, the temperature and the threshold are chosen in turn, all on the
same validation items, or each on items of its own. The eight epochs are equally accurate, so that choosing the best one
chooses nothing but chance, which is the worst case; half of their noise is the same in all. Printed are, for both, the
shares of repetitions that find a threshold and that miss on 50,000 other items.

`intervals`: 95 % intervals of accuracy and macro-F1 on some items of a catalogue with many more, whose classes have
shares that fall with their rank, and recalls of 0.8 to 1. Wrong predictions go to classes by their shares. The true
macro-F1 is the mean, over the classes that occur among the items, of their F1 in the whole catalogue. Printed are the
shares of repetitions in which the true values lie in the percentile interval and in the one that hangtag prints, the
mean widths of both for the macro-F1, and the shares of the classes whose true F1 lies in the interval that hangtag
prints, of the classes with fewer than ten items, of the others, and of all.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

from hangtag.metrics.bootstrap import Samples, find_percentiles
from hangtag.metrics.classification import FREQUENT_ITEMS
from hangtag.models.batch_predict import apply_temperature
from hangtag.models.label_space import CATEGORY_PATH, LabelSpace
from hangtag.models.text import fuse
from hangtag.reviewing.auto_accept import Vote, measure_kinds
from hangtag.training.calibration import find_threshold, fit_temperatures
from hangtag.training.name_head import NAME_WEIGHTS

Numbers = np.ndarray
# Of the simulation `one-val`.
CLASSES, EPOCHS = 10, 8


@dataclass(frozen=True)
class Review:
    """The issues of one kind: their scores, whether suggestions are right, and their ranks in the random order."""

    scores: Numbers
    is_right: Numbers
    ranks: Numbers
    random: np.random.Generator

    def draw(self, probability: float) -> Numbers:
        """Return whether something happens to each issue."""
        return self.random.random(len(self.scores)) < probability


# Takes the issues and the number of decisions, and returns whether each issue is decided, and whether it is skipped.
Order = Callable[[Review, int], tuple[Numbers, Numbers]]


def decide_at_random(review: Review, count: int) -> tuple[Numbers, Numbers]:
    """Return the issues that come first in the random order."""
    return review.ranks < count, review.draw(0)


def decide_by_score(review: Review, count: int) -> tuple[Numbers, Numbers]:
    """Return the issues with the highest scores."""
    return np.argsort(np.argsort(-review.scores)) < count, review.draw(0)


def decide_by_both(review: Review, count: int) -> tuple[Numbers, Numbers]:
    """Return half of the issues by each order."""
    return (review.ranks < count // 2) | decide_by_score(review, count // 2)[0], review.draw(0)


def leave_out_wrong(review: Review, count: int) -> tuple[Numbers, Numbers]:
    """Return issues by score, without three of four wrong ones, which are left for later."""
    return decide_by_score(review, count)[0] & (review.is_right | review.draw(0.25)), review.draw(0)


def skip_wrong(review: Review, count: int) -> tuple[Numbers, Numbers]:
    """Return issues at random, with three of four wrong ones skipped."""
    return review.ranks < count, ~review.is_right & review.draw(0.75)


def decide_high_scores(review: Review, count: int) -> tuple[Numbers, Numbers]:
    """Return issues at random among those with high scores."""
    high = review.scores > np.median(review.scores)
    order = np.argsort(np.where(high, review.ranks, review.ranks + len(high)))
    return np.argsort(order) < min(count, int(high.sum())), review.draw(0)


ORDERS: dict[str, Order] = {
    "random sample": decide_at_random,
    "highest score first": decide_by_score,
    "half and half": decide_by_both,
    "by score, hard ones left": leave_out_wrong,
    "random, hard ones skipped": skip_wrong,
    "random among high scores": decide_high_scores,
}


def main() -> None:
    """Print the table of one kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("guarantee", choices=["auto-accept", "thresholds", "one-val", "intervals"])
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--precision", type=float, default=0.95)
    arguments = parser.parse_args()
    if arguments.guarantee == "intervals":
        print_intervals(arguments.repetitions)
        return
    tables = {"auto-accept": print_reviews, "thresholds": print_thresholds, "one-val": print_choices}
    tables[arguments.guarantee](arguments.repetitions, arguments.precision)


def print_choices(repetitions: int, precision: float) -> None:
    """Print a line for each number of validation items."""
    print(f"{'items':>6} {'one val: found':>15} {'missed':>7} {'each its own: found':>20} {'missed':>7}")
    for items in (500, 2_000, 8_000):
        shares = []
        for is_shared in (True, False):
            found = [simulate_choices(items, precision, seed, is_shared) for seed in range(repetitions)]
            shares += [np.mean([each is not None for each in found]), np.mean([each is False for each in found])]
        print(f"{items:6} {shares[0]:15.3f} {shares[1]:7.3f} {shares[2]:20.3f} {shares[3]:7.3f}", flush=True)


def simulate_choices(items: int, precision: float, seed: int, is_shared: bool) -> bool | None:
    """Return whether a threshold keeps its precision on other items; None if none is found."""
    random = np.random.default_rng(seed)
    space = LabelSpace.of_classes(tuple(map(str, range(CLASSES))))
    parts = [draw_epochs(items, random)] * 4 if is_shared else [draw_epochs(items, random) for _ in range(4)]
    classes, epochs, _ = parts[0]
    epoch = int((epochs.argmax(axis=2) == classes).mean(axis=1).argmax())
    classes, epochs, names = parts[1]
    mixed = [fuse(epochs[epoch], names, weight) for weight in NAME_WEIGHTS]
    weight = NAME_WEIGHTS[int(np.argmin([measure_loss(probs, classes, space) for probs in mixed]))]
    classes, epochs, names = parts[2]
    probs = {CATEGORY_PATH: fuse(epochs[epoch], names, weight)}
    temperature = fit_temperatures(probs, {CATEGORY_PATH: classes}, space)[CATEGORY_PATH]
    confidence, correct = predict_items(parts[3], epoch, weight, temperature)
    threshold = find_threshold(confidence, correct, precision)
    if threshold is None:
        return None
    confidence, correct = predict_items(draw_epochs(50_000, random, only=epoch), 0, weight, temperature)
    return bool(correct[confidence >= threshold].mean() >= precision)


def draw_epochs(items: int, random: np.random.Generator, only: int | None = None) -> tuple[Numbers, Numbers, Numbers]:
    """Draw classes, their probabilities after each epoch, (epochs, items, classes), and those by the name."""
    classes = random.integers(0, CLASSES, items)
    own = np.eye(CLASSES)[classes] * random.gamma(3, 1.2, (items, 1))
    common = random.normal(0, 0.9, (items, CLASSES))
    noise = random.normal(0, 0.9, (EPOCHS if only is None else 1, items, CLASSES))
    by_name = np.eye(CLASSES)[classes] + random.normal(0, 1.2, (items, CLASSES))
    return classes, softmax(1.5 * (own + common + noise), axis=2), softmax(by_name, axis=1)


def predict_items(
    part: tuple[Numbers, Numbers, Numbers], epoch: int, weight: float, temperature: float
) -> tuple[Numbers, Numbers]:
    """Return the confidence of each prediction, and whether it is right."""
    classes, epochs, names = part
    probs = apply_temperature(fuse(epochs[epoch], names, weight), temperature)
    return probs.max(axis=1), probs.argmax(axis=1) == classes


def measure_loss(probs: Numbers, classes: Numbers, space: LabelSpace) -> float:
    """Return the cross-entropy at the best temperature."""
    temperature = fit_temperatures({CATEGORY_PATH: probs}, {CATEGORY_PATH: classes}, space)[CATEGORY_PATH]
    return float(-np.log(apply_temperature(probs, temperature)[np.arange(len(classes)), classes]).mean())


def print_intervals(repetitions: int) -> None:
    """Print a line for each number of classes and of items."""
    columns = ("classes", "items", "accuracy: perc.", "interval", "macro-F1: perc.", "interval", "widths")
    print(("{:>8} {:>6}" + " {:>15}" * 5 + " {:>8}" * 3).format(*columns, "F1 rare", "others", "all"))
    for num_classes in (5, 30, 140):
        for items in (60, 200, 500, 2_000, 4_449, 44_000):
            found = np.array([simulate_interval(num_classes, items, seed) for seed in range(repetitions)])
            means = found[:, :6].mean(axis=0)
            rare, others = (found[:, [column, column + 1]].sum(axis=0) for column in (6, 8))
            cells = [f"{value:15.3f}" for value in means[:4]] + [f"{means[4]:8.3f} {means[5]:6.3f}"]
            pairs = (rare, others, rare + others)
            cells += [f"{covered / count:8.3f}" if count else f"{'-':>8}" for covered, count in pairs]
            print(f"{num_classes:8} {items:6} " + " ".join(cells), flush=True)


def simulate_interval(num_classes: int, items: int, seed: int) -> list[float]:
    """Return whether each interval of accuracy and of macro-F1 covers the true value, and both widths of the latter.

    Then come, for the classes with fewer than ten items and for the others, how many true F1 the intervals cover, and
    the number of these classes.
    """
    world = np.random.default_rng(num_classes)
    shares = 1 / np.arange(1, num_classes + 1) ** 1.3
    shares /= shares.sum()
    recalls = world.uniform(0.8, 1, num_classes)
    joint = np.diag(shares * recalls) + np.outer(shares * (1 - recalls), shares)
    f1 = 2 * np.diag(joint) / (joint.sum(axis=0) + joint.sum(axis=1))
    random = np.random.default_rng([seed, num_classes, items])
    classes, predicted = np.divmod(random.choice(joint.size, items, p=joint.ravel()), num_classes)
    samples = Samples.draw(
        classes, predicted[None], [str(item) for item in range(items)], num_classes, samples=200, seed=seed
    )
    every = np.ones(num_classes, bool)
    estimates = {"accuracy": samples.estimate_accuracy(every), "macro_f1": samples.estimate_macro_f1(every)}
    true = {"accuracy": np.trace(joint), "macro_f1": f1[np.unique([*classes, *predicted])].mean()}
    found, widths = [], []
    for name, estimate in estimates.items():
        for low, high in (find_percentiles(estimate.draws[:, 0]), estimate.find_interval(0)):
            found.append(float(low <= true[name] <= high))
            widths.append(high - low)
    is_rare, covers = np.bincount(classes, minlength=num_classes) < FREQUENT_ITEMS, np.zeros((2, 2))
    for ends, value, rare in zip(samples.find_class_intervals(0), f1, is_rare, strict=True):
        if ends is not None:
            covers[int(not rare)] += (ends[0] <= value <= ends[1], 1)
    return [*found, *widths[2:], *covers.ravel()]


def print_reviews(repetitions: int, precision: float) -> None:
    """Print a line for each order of deciding."""
    print(f"{'order of the review':26} {'accepts':>8} {'of open':>8} {'right':>7} {'missed':>7}")
    for name, order in ORDERS.items():
        random = np.random.default_rng(0)
        found = [simulate_review(order, precision, random) for _ in range(repetitions)]
        accepts = [(share, right) for share, right in found if share > 0]
        shares, rights = (np.array([each[column] for each in accepts]) for column in (0, 1))
        missed = int((rights < precision - 1e-9).sum()) / len(found)
        means = [values.mean() if len(values) else float("nan") for values in (shares, rights)]
        print(f"{name:26} {len(accepts) / len(found):8.3f} {means[0]:8.3f} {means[1]:7.3f} {missed:7.3f}")


def print_thresholds(repetitions: int, precision: float) -> None:
    """Print a line for each number of photographs a product."""
    print(
        f"{'photographs a product':>22} {'one by one: found':>18} {'missed':>7} {'by product: found':>18} {'missed':>7}"
    )
    for photographs in (1, 2, 5, 10):
        shares = []
        for has_groups in (False, True):
            found = [simulate_threshold(photographs, precision, seed, has_groups) for seed in range(repetitions)]
            shares += [np.mean([each is not None for each in found]), np.mean([each is False for each in found])]
        print(f"{photographs:22} {shares[0]:18.3f} {shares[1]:7.3f} {shares[2]:18.3f} {shares[3]:7.3f}")


def simulate_threshold(photographs: int, precision: float, seed: int, has_groups: bool) -> bool | None:
    """Return whether a threshold keeps its precision on other items; None if none is found."""
    random = np.random.default_rng(seed)
    confidence, correct, products = draw_products(3_000 // photographs, photographs, random)
    threshold = find_threshold(confidence, correct, precision, products if has_groups else None)
    if threshold is None:
        return None
    others, others_correct, _ = draw_products(200_000 // photographs, photographs, random)
    return bool(others_correct[others >= threshold].mean() >= precision)


def draw_products(products: int, photographs: int, random: np.random.Generator) -> tuple[Numbers, Numbers, Numbers]:
    """Draw predictions: their confidence, whether each is right, and the product of each."""
    of_product = random.beta(4, 1, products)
    confidence = np.clip(of_product[:, None] + random.normal(0, 0.03, (products, photographs)), 0, 1)
    chance = 0.55 + 0.45 * of_product
    together, alone = random.random(products) < chance, random.random(confidence.shape) < chance[:, None]
    correct = np.where(random.random(confidence.shape) < 0.9, together[:, None], alone)
    return confidence.ravel(), correct.ravel(), np.repeat(np.arange(products), photographs)


def simulate_review(order: Order, precision: float, random: np.random.Generator) -> tuple[float, float]:
    """Return the share of the open issues that is accepted, and the share of these that is right."""
    votes: list[Vote] = []
    truth: list[tuple[str, float, bool]] = []
    for kind in range(int(random.integers(1, 6))):
        size = int(np.exp(random.uniform(np.log(100), np.log(4000))))
        scores = random.random(size).round(4)
        middle, slope = random.uniform(-0.6, 0.9), random.uniform(1, 12)
        right = random.random(size) < random.uniform(0.9, 1) / (1 + np.exp(-slope * (scores - middle)))
        ranks = random.permutation(size)
        count = int(size * random.uniform(0.05, 0.9))
        decided, skipped = order(Review(scores, right, ranks, random), count)
        for score, is_right, rank, is_decided, is_skipped in zip(scores, right, ranks, decided, skipped, strict=True):
            answer = bool(is_right) and not is_skipped if is_decided else None
            votes.append(Vote(str(kind), float(score), int(rank).to_bytes(4, "big"), answer))
            if not is_decided:
                truth.append((str(kind), float(score), bool(is_right)))
    thresholds = {each.kind: each.threshold for each in measure_kinds(votes, precision)}
    accepted = [
        is_right
        for kind, score, is_right in truth
        if (threshold := thresholds[kind]) is not None and score >= threshold
    ]
    return len(accepted) / max(len(truth), 1), sum(accepted) / max(len(accepted), 1)


if __name__ == "__main__":
    main()
