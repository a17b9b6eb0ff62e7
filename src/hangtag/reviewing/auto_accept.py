"""Accept open issues automatically, above a score threshold whose precision the reviewers' decisions prove.

For each kind of issue (a code with its evidence), scores are tested from the highest down. The precision at a score is
the fraction of accepted suggestions among the decided issues with at least this score. Its lower confidence bound
(Clopper and Pearson, 1934) must reach the target precision; the search ends at the first score that fails. An early
mistake would end it at once, so with enough decisions a second search begins at half of them, and the error probability
of 5 % is split between the two. The guarantee holds however many scores are tested (Angelopoulos et al., *Learn then
Test*, 2021, fixed sequence testing with several starts), for one target precision that was chosen in advance. Decisions
about issues with a higher score than any open issue are not counted, since they are not representative of open ones.
"""

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from hangtag.reviewing.queue import Issue
from hangtag.reviewing.store import Decision, Identity, find_standing

# The error probability: that the precision is below the target although it counts as proven.
RISK = 0.05


@dataclass(frozen=True)
class DecidedIssue:
    """A decided issue: its kind, its score, and whether the reviewer accepted its suggestion."""

    kind: str
    score: float
    is_right: bool


@dataclass(frozen=True)
class KindPrecision:
    """The precision that the decisions about one kind of issue prove.

    Attributes:
        kind: The issue code, with the evidence if it has any, as in `label_error (image)`.
        decided: The number of decisions that are counted.
        right: The number of these that accepted the suggestion.
        threshold: The lowest score to accept; None if the target precision is not proven.
        reason: Why it is not proven; empty if there is a threshold.
    """

    kind: str
    decided: int
    right: int
    threshold: float | None
    reason: str = ""


def count_needed(precision: float, risk: float = RISK) -> int:
    """Return the smallest number of decisions that proves a precision if all of them are right."""
    return math.ceil(math.log(risk) / math.log(precision))


def is_proven(right: int, decided: int, precision: float, risk: float = RISK) -> bool:
    """Return whether the one-sided Clopper-Pearson lower bound of `right / decided` reaches a precision.

    Equivalently, whether the binomial probability of at least `right` successes in `decided` trials, each with
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
        # The remaining terms are even smaller; with very many decisions this skips nearly all of them.
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
    decided = list(decided)
    return [
        _measure_kind(kind, [issue for issue in decided if issue.kind == kind], scores, precision)
        for kind, scores in sorted(open_scores.items())
    ]


def _measure_kind(
    kind: str, decided: Sequence[DecidedIssue], open_scores: Collection[float], precision: float
) -> KindPrecision:
    highest = max(open_scores, default=0.0)
    counted = sorted((issue for issue in decided if issue.score <= highest), key=lambda issue: -issue.score)
    right, needed = sum(issue.is_right for issue in counted), count_needed(precision)
    if len(counted) < needed:
        reason = f"{len(counted)} decisions at or below the highest score of an open issue, {needed} needed"
        return KindPrecision(kind, len(counted), right, None, reason)
    first, half = count_needed(precision, RISK / 2), len(counted) // 2
    starts = (first, half) if half > first else (needed,)
    searches = [_find_threshold(counted, start, precision, RISK / len(starts)) for start in starts]
    threshold = min((score for score in searches if score is not None), default=None)
    failure = f"{right} of {len(counted)} were right: that does not prove {precision:g} from the highest score down"
    return KindPrecision(kind, len(counted), right, threshold, "" if threshold is not None else failure)


def _find_threshold(counted: Sequence[DecidedIssue], start: int, precision: float, risk: float) -> float | None:
    """Return the lowest score with a proven precision; the search begins with the `start` highest-scored decisions."""
    threshold, right = None, 0
    # The precision was proven with this many mistakes among fewer decisions, so it is still proven with as many now.
    tolerated = -1
    for count, issue in enumerate(counted, start=1):
        right += issue.is_right
        # Issues with equal scores are accepted together or not at all.
        is_last = count == len(counted) or counted[count].score < issue.score
        if count < start or not is_last:
            continue
        if count - right > tolerated and not is_proven(right, count, precision, risk):
            break
        tolerated = max(tolerated, count - right)
        threshold = issue.score
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
    """Accept open issues above the threshold of their kind; these decisions are not stored.

    An issue is open if no reviewer has decided about its item (a skip is a decision too), and if the catalogue still
    has the label that the issue is about. Only the issue with the highest score of an item is accepted. An issue that
    was accepted before stays accepted while its kind is proven, since an audit of the corrected labels no longer
    lists it.

    Args:
        issues: The issues of the audit, in descending order of score.
        decisions: All decisions, including undone ones.
        values: The values of every item in the catalogue, by item and column.
        precision: The target precision.
        earlier: The automatic decisions of the previous call.
    """
    standing = find_standing(decisions)
    settled = {decision.item_id for decision in standing}
    accepted_before = {decision.item_id: decision for decision in earlier if decision.item_id not in settled}
    open_issues = [
        issue
        for issue in issues
        if issue.item_id not in settled and issue.item_id not in accepted_before and _is_open(issue, values)
    ]
    candidates = [*accepted_before.values(), *(_accept_issue(issue, values[issue.item_id]) for issue in open_issues)]
    scores: dict[str, list[float]] = defaultdict(list)
    for candidate in candidates:
        scores[candidate.kind].append(candidate.score)
    # Use the current scores: the issues may have had different ones when they were decided.
    current_scores = {issue.identity: issue.score for issue in issues}
    measured = measure_kinds(_list_decided_issues(standing, current_scores), scores, precision)
    thresholds = {kind_precision.kind: kind_precision.threshold for kind_precision in measured}
    accepted: dict[str, Decision] = {}
    for candidate in candidates:
        threshold = thresholds[candidate.kind]
        if threshold is not None and candidate.score >= threshold:
            accepted.setdefault(candidate.item_id, candidate)
    return Accepted(list(accepted.values()), measured)


def _is_open(issue: Issue, values: Mapping[str, Mapping[str, str]]) -> bool:
    item = values.get(issue.item_id)
    if item is None or not issue.changes:
        return False
    return not issue.column or item.get(issue.column) == issue.given_label


def _list_decided_issues(standing: Sequence[Decision], current_scores: Mapping[Identity, float]) -> list[DecidedIssue]:
    """Return the decided issues that suggested a change.

    A suggestion is right if it was accepted, and wrong if another value was kept or chosen. A group that was decided at
    once counts as one decision, with its lowest score.
    """
    batches: dict[tuple[int, str], list[Decision]] = defaultdict(list)
    for decision in standing:
        if decision.action != "skip" and decision.suggested:
            batches[decision.batch, decision.kind].append(decision)
    return [
        DecidedIssue(
            kind,
            min(current_scores.get(decision.identity, decision.score) for decision in batch),
            all(map(_is_right, batch)),
        )
        for (_, kind), batch in batches.items()
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
    return Decision(
        *identity,
        "accept",
        old,
        new,
        suggested=new,
        score=score,
        version=0,
        evidence=evidence,
        id=0,
        batch=0,
        reviewer="",
        time="",
        undoes=None,
    )
