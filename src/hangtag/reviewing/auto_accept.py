"""Accept open issues above a score whose precision the reviewers' own decisions prove.

For every code by itself, scores are tried from the surest down. At each, the share of suggestions that reviewers
accepted among the decided issues from there up is held against its lower bound (Clopper and Pearson, 1934), and the
search ends at the first that fails. An early mistake would end it at once, so with decisions enough there is a second
search that begins at half of them, and the risk of 5 % is shared out between the two: the promise holds however many
scores are tried (Angelopoulos et al., *Learn then Test*, 2021, fixed sequence testing with several starts), of one
precision that was chosen before. Decisions about issues surer than any open one are left out: they were settled by
people one by one, and say little of what is left.
"""

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from hangtag.reviewing.queue import Issue
from hangtag.reviewing.store import Decision, Identity, find_standing

# The chance that a promise is not kept.
RISK = 0.05


@dataclass(frozen=True)
class DecidedIssue:
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
    """Return how many decisions are needed at least, all of them right, to prove a precision."""
    return math.ceil(math.log(risk) / math.log(precision))


def is_proven(right: int, decided: int, precision: float, risk: float = RISK) -> bool:
    """Return whether the lower bound of a share reaches a precision.

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


def measure_codes(
    evaluated: Iterable[DecidedIssue], open_scores: dict[str, list[float]], precision: float
) -> list[Measured]:
    """Measure every code that has open issues with something to change.

    Args:
        evaluated: The decided issues that had something to change.
        open_scores: The scores of the open ones, by code.
        precision: The wanted share of right suggestions, below 1.
    """
    everything = list(evaluated)
    return [
        _measure_code(code, [each for each in everything if each.code == code], scores, precision)
        for code, scores in sorted(open_scores.items())
    ]


def _measure_code(
    code: str, evaluated: Sequence[DecidedIssue], open_scores: Collection[float], precision: float
) -> Measured:
    highest = max(open_scores, default=0.0)
    counted = sorted((each for each in evaluated if each.score <= highest), key=lambda each: -each.score)
    right, needed = sum(each.is_right for each in counted), count_needed(precision)
    if len(counted) < needed:
        reason = f"{len(counted)} decisions at or below the surest open one, {needed} needed"
        return Measured(code, len(counted), right, None, reason)
    first, half = count_needed(precision, RISK / 2), len(counted) // 2
    starts = (first, half) if half > first else (needed,)
    searches = [_search_threshold(counted, start, precision, RISK / len(starts)) for start in starts]
    threshold = min((found for found in searches if found is not None), default=None)
    said = f"{right} of {len(counted)} were right: that does not prove {precision:g} from the surest down"
    reason = "" if threshold is not None else said
    return Measured(code, len(counted), right, threshold, reason)


def _search_threshold(counted: Sequence[DecidedIssue], start: int, precision: float, risk: float) -> float | None:
    """Return the lowest score that is proven, beginning with as many of the surest decisions as `start`."""
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


# Accept the open issues that are above a proven score, as decisions that nobody has made and no file keeps.


@dataclass(frozen=True)
class Accepted:
    """What was accepted, and what the decisions of people prove about every kind of issue."""

    decisions: list[Decision]
    measured: list[Measured]


def accept_open(
    issues: Sequence[Issue],
    decisions: Sequence[Decision],
    values: Mapping[str, Mapping[str, str]],
    precision: float,
    earlier: Sequence[Decision] = (),
) -> Accepted:
    """Accept open issues, the surest first.

    An issue is open where nobody has decided about its item, not even to skip it, and the catalogue still has the label
    that it is about. Of an item only the surest issue is accepted. What was accepted before stays so for as long as it
    is proven: an audit of the corrected labels does not name it again.

    Args:
        issues: The queue of the audit.
        decisions: All decisions, the undone too.
        values: The values of every item as the catalogue has them, by item and column.
        precision: The wanted share of right suggestions.
        earlier: What this gave the last time.
    """
    standing = find_standing(decisions)
    settled = {decision.item_id for decision in standing}
    before = {each.item_id: each for each in earlier if each.item_id not in settled}
    untouched = [
        each for each in issues if each.item_id not in settled and each.item_id not in before and _is_open(each, values)
    ]
    candidates = [*before.values(), *(_accept_above(issue, values[issue.item_id]) for issue in untouched)]
    scores: dict[str, list[float]] = defaultdict(list)
    for each in candidates:
        scores[each.code].append(each.score)
    # By the scores that these issues have now: another version may have given others when they were decided.
    now = {issue.identity: issue.score for issue in issues}
    measured = measure_codes(_list_decided(standing, now), scores, precision)
    thresholds = {each.code: each.threshold for each in measured}
    accepted: dict[str, Decision] = {}
    for each in candidates:
        threshold = thresholds[each.code]
        if threshold is not None and each.score >= threshold:
            accepted.setdefault(each.item_id, each)
    return Accepted(list(accepted.values()), measured)


def _is_open(issue: Issue, values: Mapping[str, Mapping[str, str]]) -> bool:
    item = values.get(issue.item_id)
    if item is None or not issue.changes:
        return False
    return not issue.column or item.get(issue.column) == issue.given_label


def _list_decided(standing: Sequence[Decision], now: Mapping[Identity, float]) -> list[DecidedIssue]:
    """Return whether suggestions were right: accepted ones were, those kept or chosen against were not.

    A group that was decided at once counts as one decision, with its least sure issue.
    """
    together: dict[tuple[int, str], list[Decision]] = defaultdict(list)
    for each in standing:
        if each.action != "skip" and each.suggested:
            together[each.batch, each.code].append(each)
    return [
        DecidedIssue(code, min(now.get(each.identity, each.score) for each in group), all(map(_is_right, group)))
        for (_, code), group in together.items()
    ]


def _is_right(decision: Decision) -> bool:
    # Who chose what was suggested has accepted it.
    return decision.action == "accept" or {**decision.old, **decision.suggested} == {**decision.old, **decision.new}


def _accept_above(issue: Issue, values: Mapping[str, str]) -> Decision:
    old = {column: values.get(column, "") for column in issue.changes}
    return make_accepted(issue.identity, old, issue.changes, issue.score)


def make_accepted(identity: Identity, old: Mapping[str, str], new: Mapping[str, str], score: float) -> Decision:
    """Build the decision of an automatic acceptance; it has no reviewer, time or number."""
    return Decision(*identity, "accept", old, new, new, score, 0, id=0, batch=0, reviewer="", time="", undoes=None)
