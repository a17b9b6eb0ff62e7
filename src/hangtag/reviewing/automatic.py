"""Which undecided issues may be accepted: those above a score whose precision the reviewers' own decisions prove.

For every code by itself, scores are tried from the surest down. At each, the share of suggestions that reviewers
accepted among the decided issues from there up is held against its lower bound (Clopper and Pearson, 1934), and the
search ends at the first that fails. An early mistake would end it at once, so with decisions enough there is a second
search that begins at half of them, and the risk of 5 % is shared out between the two: the promise holds however many
scores are tried (Angelopoulos et al., *Learn then Test*, 2021, fixed sequence testing with several starts), of one
precision that was chosen before. Decisions about issues surer than any open one are left out: they were settled by
people one by one, and say little of what is left.
"""

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

# The chance that a promise is not kept.
RISK = 0.05


@dataclass(frozen=True)
class Judged:
    """A decided issue: its code, its score, and whether its suggestion was right by the reviewer."""

    code: str
    score: float
    is_right: bool


@dataclass(frozen=True)
class Measured:
    """What the decisions about one code prove.

    Attributes:
        code: The code.
        decided: How many decisions count.
        right: How many of them accepted the suggestion.
        threshold: The lowest score to accept from; None where the precision is not proven.
        reason: Why not; empty where there is a threshold.
    """

    code: str
    decided: int
    right: int
    threshold: float | None
    reason: str = ""


def count_needed(precision: float, risk: float = RISK) -> int:
    """Give how many decisions are needed at least, all of them right, to prove a precision."""
    return math.ceil(math.log(risk) / math.log(precision))


def is_proven(right: int, decided: int, precision: float, risk: float = RISK) -> bool:
    """Say whether the lower bound of a share reaches a precision.

    That is so where as many right ones would come by chance in at most a share `risk` of samples if the share were
    just that.
    """
    chance = 0.0
    for k in range(decided - right, -1, -1):
        part = math.exp(
            math.lgamma(decided + 1)
            - math.lgamma(k + 1)
            - math.lgamma(decided - k + 1)
            + k * math.log1p(-precision)
            + (decided - k) * math.log(precision)
        )
        chance += part
        # What is left is smaller still, and of a great many decisions nearly all of it.
        if part < 1e-18 * chance:
            break
    return decided > 0 and chance <= risk * (1 + 1e-9)


def measure_codes(judged: Iterable[Judged], open_scores: dict[str, list[float]], precision: float) -> list[Measured]:
    """Measure every code that has open issues with something to change.

    Args:
        judged: The decided issues that had something to change.
        open_scores: The scores of the open ones, by code.
        precision: The wanted share of right suggestions, below 1.
    """
    everything = list(judged)
    return [
        _measure(code, [each for each in everything if each.code == code], scores, precision)
        for code, scores in sorted(open_scores.items())
    ]


def _measure(code: str, judged: Sequence[Judged], open_scores: Collection[float], precision: float) -> Measured:
    highest = max(open_scores, default=0.0)
    counted = sorted((each for each in judged if each.score <= highest), key=lambda each: -each.score)
    right, needed = sum(each.is_right for each in counted), count_needed(precision)
    if len(counted) < needed:
        reason = f"{len(counted)} decisions at or below the surest open one, {needed} needed"
        return Measured(code, len(counted), right, None, reason)
    first, half = count_needed(precision, RISK / 2), len(counted) // 2
    starts = (first, half) if half > first else (needed,)
    searches = [_search(counted, start, precision, RISK / len(starts)) for start in starts]
    threshold = min((found for found in searches if found is not None), default=None)
    said = f"{right} of {len(counted)} were right: that does not prove {precision:g} from the surest down"
    reason = "" if threshold is not None else said
    return Measured(code, len(counted), right, threshold, reason)


def _search(counted: Sequence[Judged], start: int, precision: float, risk: float) -> float | None:
    """Give the lowest score that is proven, beginning with as many of the surest decisions as `start`."""
    threshold, hits = None, 0
    # So many mistakes among fewer decisions were few enough already.
    borne = -1
    for count, each in enumerate(counted, start=1):
        hits += each.is_right
        # All issues of equal score are accepted or none.
        is_last = count == len(counted) or counted[count].score < each.score
        if count < start or not is_last:
            continue
        if count - hits > borne and not is_proven(hits, count, precision, risk):
            break
        borne = max(borne, count - hits)
        threshold = each.score
    return threshold
