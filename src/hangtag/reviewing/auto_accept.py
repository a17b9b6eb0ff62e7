"""Accept open issues above a score threshold whose precision the reviewers' decisions prove.

For each kind of issue, a code with its evidence, scores are tested from the highest down. At each, the fraction of
suggestions that reviewers accepted among the decided issues of at least this score must have a lower confidence bound
(Clopper and Pearson, 1934) at or above the target precision; the search ends at the first score that fails. An early
mistake would end it at once, so with enough decisions a second search begins at half of them, and the error probability
of 5 % is split between the two. The guarantee holds however many scores are tested (Angelopoulos et al., *Learn then
Test*, 2021, fixed sequence testing with several starts), for one target precision that was chosen before. Decisions
about issues with a higher score than any open issue do not count: they say little about the open ones.
"""

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hangtag.reviewing.queue import Issue
from hangtag.reviewing.store import Decision, Identity, find_standing

# The probability that the precision is below the target though it counts as proven.
RISK = 0.05


@dataclass(frozen=True)
class DecidedIssue:
    """A decided issue: its kind, its score, and whether the reviewer found its suggestion right."""

    kind: str
    score: float
    is_right: bool


@dataclass(frozen=True)
class KindPrecision:
    """The precision that the decisions about one kind of issue prove.

    Attributes:
        kind: The issue code, with the evidence if it has any, as in `label_error (image)`.
        decided: How many decisions count.
        right: How many of them accepted the suggestion.
        threshold: The lowest score to accept; None where the target precision is not proven.
        reason: Why it is not proven; empty where there is a threshold.
    """

    kind: str
    decided: int
    right: int
    threshold: float | None
    reason: str = ""


def count_needed(precision: float, risk: float = RISK) -> int:
    """Return the least number of decisions, all of them right, that prove a precision."""
    return math.ceil(math.log(risk) / math.log(precision))


def is_proven(right: int, decided: int, precision: float, risk: float = RISK) -> bool:
    """Return whether the one-sided Clopper-Pearson lower bound of `right / decided` reaches a precision.

    Equivalently: whether the binomial probability of at least `right` right ones among `decided`, each right with
    probability `precision`, is at most `risk`.
    """
    tail = 0.0
    for k in range(decided - right, -1, -1):
        term = math.exp(
            math.lgamma(decided + 1)
            - math.lgamma(k + 1)
            - math.lgamma(decided - k + 1)
            + k * math.log1p(-precision)
            + (decided - k) * math.log(precision)
        )
        tail += term
        # The remaining terms are smaller still; with very many decisions this skips nearly all of them.
        if term < 1e-18 * tail:
            break
    return decided > 0 and tail <= risk * (1 + 1e-9)


def measure_kinds(
    decided: Iterable[DecidedIssue], open_scores: dict[str, list[float]], precision: float
) -> list[KindPrecision]:
    """Find the threshold of every kind that has open issues.

    Args:
        decided: The decided issues that suggested a change.
        open_scores: The scores of the open issues that suggest a change, by kind.
        precision: The target precision, below 1.
    """
    everything = list(decided)
    return [
        _measure_kind(kind, [each for each in everything if each.kind == kind], scores, precision)
        for kind, scores in sorted(open_scores.items())
    ]


def _measure_kind(
    kind: str, decided: Sequence[DecidedIssue], open_scores: Collection[float], precision: float
) -> KindPrecision:
    highest = max(open_scores, default=0.0)
    counted = sorted((each for each in decided if each.score <= highest), key=lambda each: -each.score)
    right, needed = sum(each.is_right for each in counted), count_needed(precision)
    if len(counted) < needed:
        reason = f"{len(counted)} decisions at or below the highest score of an open issue, {needed} needed"
        return KindPrecision(kind, len(counted), right, None, reason)
    first, half = count_needed(precision, RISK / 2), len(counted) // 2
    starts = (first, half) if half > first else (needed,)
    searches = [_find_threshold(counted, start, precision, RISK / len(starts)) for start in starts]
    threshold = min((found for found in searches if found is not None), default=None)
    failure = f"{right} of {len(counted)} were right: that does not prove {precision:g} from the highest score down"
    return KindPrecision(kind, len(counted), right, threshold, "" if threshold is not None else failure)


def _find_threshold(counted: Sequence[DecidedIssue], start: int, precision: float, risk: float) -> float | None:
    """Return the lowest score with a proven precision; the search begins with the `start` highest-scored decisions."""
    threshold, right = None, 0
    # With at most this many mistakes among fewer decisions the precision was proven, so it is again.
    tolerated = -1
    for count, each in enumerate(counted, start=1):
        right += each.is_right
        # Of issues with equal scores, all are accepted or none.
        is_last = count == len(counted) or counted[count].score < each.score
        if count < start or not is_last:
            continue
        if count - right > tolerated and not is_proven(right, count, precision, risk):
            break
        tolerated = max(tolerated, count - right)
        threshold = each.score
    return threshold


@dataclass(frozen=True)
class Accepted:
    """The automatic decisions, and the precision measured for each kind of issue."""

    decisions: list[Decision]
    measured: list[KindPrecision]


def accept_open(
    issues: Sequence[Issue],
    decisions: Sequence[Decision],
    values: Mapping[str, Mapping[str, str]],
    precision: float,
    earlier: Sequence[Decision] = (),
) -> Accepted:
    """Accept open issues above the proven score of their kind; no file stores these decisions.

    An issue is open where nobody has decided about its item, not even to skip it, and the catalogue still has the
    label that the issue is about. Of an item's issues only the one with the highest score is accepted. An issue that
    was accepted before stays accepted while its kind is proven, since an audit of the corrected labels no longer
    lists it.

    Args:
        issues: The issues of the audit, the highest score first.
        decisions: All decisions, undone ones too.
        values: The values of every item in the catalogue, by item and column.
        precision: The target precision.
        earlier: The decisions that the last call returned.
    """
    standing = find_standing(decisions)
    settled = {decision.item_id for decision in standing}
    before = {each.item_id: each for each in earlier if each.item_id not in settled}
    untouched = [
        each for each in issues if each.item_id not in settled and each.item_id not in before and _is_open(each, values)
    ]
    candidates = [*before.values(), *(_accept_issue(issue, values[issue.item_id]) for issue in untouched)]
    scores: dict[str, list[float]] = defaultdict(list)
    for each in candidates:
        scores[each.kind].append(each.score)
    # Use the present scores: the issues may have had others when they were decided.
    now = {issue.identity: issue.score for issue in issues}
    measured = measure_kinds(_list_decided_issues(standing, now), scores, precision)
    thresholds = {each.kind: each.threshold for each in measured}
    accepted: dict[str, Decision] = {}
    for each in candidates:
        threshold = thresholds[each.kind]
        if threshold is not None and each.score >= threshold:
            accepted.setdefault(each.item_id, each)
    return Accepted(list(accepted.values()), measured)


def _is_open(issue: Issue, values: Mapping[str, Mapping[str, str]]) -> bool:
    item = values.get(issue.item_id)
    if item is None or not issue.changes:
        return False
    return not issue.column or item.get(issue.column) == issue.given_label


def _list_decided_issues(standing: Sequence[Decision], now: Mapping[Identity, float]) -> list[DecidedIssue]:
    """Return whether suggestions were right: accepted ones were; where another value was kept or chosen, they were not.

    A group that was decided at once counts as one decision, with its lowest score.
    """
    together: dict[tuple[int, str], list[Decision]] = defaultdict(list)
    for each in standing:
        if each.action != "skip" and each.suggested:
            together[each.batch, each.kind].append(each)
    return [
        DecidedIssue(kind, min(now.get(each.identity, each.score) for each in group), all(map(_is_right, group)))
        for (_, kind), group in together.items()
    ]


def _is_right(decision: Decision) -> bool:
    # A reviewer who chose the suggested values has accepted them.
    return decision.action == "accept" or {**decision.old, **decision.suggested} == {**decision.old, **decision.new}


def _accept_issue(issue: Issue, values: Mapping[str, str]) -> Decision:
    old = {column: values.get(column, "") for column in issue.changes}
    return make_accepted(issue.identity, old, issue.changes, issue.score, issue.evidence)


def make_accepted(
    identity: Identity, old: Mapping[str, str], new: Mapping[str, str], score: float, evidence: str
) -> Decision:
    """Return an automatic decision: an `accept` without a reviewer, a time or an id."""
    nobody: dict[str, Any] = {"id": 0, "batch": 0, "reviewer": "", "time": "", "undoes": None}
    return Decision(*identity, "accept", old, new, new, score, 0, evidence=evidence, **nobody)
