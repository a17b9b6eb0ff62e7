"""Accept the open issues that are above a proven score, as decisions that nobody has made and no file keeps."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hangtag.reviewing.automatic import Judged, Measured, measure_codes
from hangtag.reviewing.issues import Issue
from hangtag.reviewing.store import Decision, Identity, find_standing


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
    candidates = [*before.values(), *(_accept(issue, values[issue.item_id]) for issue in untouched)]
    scores: dict[str, list[float]] = defaultdict(list)
    for each in candidates:
        scores[each.code].append(each.score)
    # By the scores that these issues have now: another version may have given others when they were decided.
    now = {issue.identity: issue.score for issue in issues}
    measured = measure_codes(_list_judged(standing, now), scores, precision)
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


def _list_judged(standing: Sequence[Decision], now: Mapping[Identity, float]) -> list[Judged]:
    """Give whether suggestions were right: accepted ones were, those kept or chosen against were not.

    A group that was decided at once counts as one decision, with its least sure issue.
    """
    together: dict[tuple[int, str], list[Decision]] = defaultdict(list)
    for each in standing:
        if each.action != "skip" and each.suggested:
            together[each.batch, each.code].append(each)
    return [
        Judged(code, min(now.get(each.identity, each.score) for each in group), all(map(_is_right, group)))
        for (_, code), group in together.items()
    ]


def _is_right(decision: Decision) -> bool:
    # Who chose what was suggested has accepted it.
    return decision.action == "accept" or {**decision.old, **decision.suggested} == {**decision.old, **decision.new}


def _accept(issue: Issue, values: Mapping[str, str]) -> Decision:
    old = {column: values.get(column, "") for column in issue.changes}
    return make_accepted(issue.identity, old, issue.changes, issue.score)


def make_accepted(identity: Identity, old: Mapping[str, str], new: Mapping[str, str], score: float) -> Decision:
    """Make the decision that nobody made; it has no reviewer, no time and no number."""
    return Decision(*identity, "accept", old, new, new, score, 0, id=0, batch=0, reviewer="", time="", undoes=None)
