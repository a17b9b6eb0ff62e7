"""Accept the open issues that are above a proven score, as decisions that nobody has made and no file keeps."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hangtag.review.automatic import Judged, Measured, measure_codes
from hangtag.review.issues import Issue
from hangtag.review.store import Decision, find_standing


@dataclass(frozen=True)
class Accepted:
    """What was accepted, and what the decisions of people prove about every kind of issue."""

    decisions: list[Decision]
    measured: list[Measured]


def accept_open(
    issues: Sequence[Issue], decisions: Sequence[Decision], values: Mapping[str, Mapping[str, str]], precision: float
) -> Accepted:
    """Accept open issues, the surest first.

    An issue is open where nobody has decided about it, not even to skip it. An item about which a person has decided
    anything is left to people, and of an item only the surest issue is accepted.

    Args:
        issues: The queue of the audit.
        decisions: All decisions, the undone too.
        values: The values of every item as the catalogue has them, by item and column.
        precision: The wanted share of right suggestions.
    """
    standing = find_standing(decisions)
    by_item: dict[str, list[Decision]] = defaultdict(list)
    for decision in standing:
        by_item[decision.item_id].append(decision)
    untouched = [each for each in issues if each.changes and each.item_id not in by_item and each.item_id in values]
    scores: dict[str, list[float]] = defaultdict(list)
    for issue in untouched:
        scores[issue.code].append(issue.score)
    measured = measure_codes(_list_judged(standing), scores, precision)
    thresholds = {each.code: each.threshold for each in measured}
    accepted: dict[str, Decision] = {}
    number = max((each.id for each in decisions), default=0)
    for issue in untouched:
        threshold = thresholds[issue.code]
        if threshold is not None and issue.score >= threshold and issue.item_id not in accepted:
            number += 1
            accepted[issue.item_id] = _accept(issue, values[issue.item_id], number)
    return Accepted(list(accepted.values()), measured)


def _list_judged(standing: Sequence[Decision]) -> list[Judged]:
    """Give whether suggestions were right: accepted ones were, those kept or chosen against were not.

    A group that was decided at once counts as one decision, with its least sure issue.
    """
    together: dict[tuple[int, str], list[Decision]] = defaultdict(list)
    for each in standing:
        if each.action != "skip" and each.suggested:
            together[each.batch, each.code].append(each)
    return [
        Judged(code, min(each.score for each in group), all(map(_is_right, group)))
        for (_, code), group in together.items()
    ]


def _is_right(decision: Decision) -> bool:
    # Who chose what was suggested has accepted it.
    return decision.action == "accept" or {**decision.old, **decision.suggested} == {**decision.old, **decision.new}


def _accept(issue: Issue, values: Mapping[str, str], number: int) -> Decision:
    old = {column: values.get(column, "") for column in issue.changes}
    made = (*issue.identity, "accept", old, issue.changes, issue.changes, issue.score, 0)
    return Decision(*made, id=number, batch=number, reviewer="", time="", undoes=None)
