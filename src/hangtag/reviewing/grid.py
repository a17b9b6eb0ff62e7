"""The grid of the review: issues that suggest the same change of the same value, shown and decided together."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from hangtag.reviewing.decisions import DecisionRequest, LabelOptions, RefusedError, build_decisions
from hangtag.reviewing.filters import Filter
from hangtag.reviewing.queue import Issue, Queue
from hangtag.reviewing.store import NewDecision

# How many decisions the scores of a kind's issues weigh as much as, when its share of right suggestions is estimated.
PRIOR_DECISIONS = 4
# Shares that are equal to this many digits are no reason to prefer a kind; the number of its issues is.
SHARE_DIGITS = 2
# The key of the issues that are alone in their kind, which are shown together, each with its own suggestion.
MIXED = ("", "", "", "")
# The actions that say whether a suggestion is right.
RIGHT, WRONG = ("accept",), ("keep", "choose")


@dataclass(frozen=True)
class Kind:
    """Issues that are alike: of one code and column, with the same given and suggested value; or those without a like.

    Attributes:
        key: What the issues have in common: code, column, given and suggested value; `MIXED` if nothing.
        open: The open issues, in descending order of score.
        right: The number of suggestions that were accepted.
        wrong: The number of suggestions that were not.
        share: The estimated share of right suggestions among the open issues, 0 to 1.
    """

    key: tuple[str, str, str, str]
    open: tuple[Issue, ...]
    right: int
    wrong: int
    share: float

    def has(self, key: tuple[str, ...]) -> bool:
        """Return whether this is the kind of a key, or shows an issue of it."""
        return self.key == key or (self.key == MIXED and any(key == find_key(issue) for issue in self.open))


def list_kinds(queue: Queue, wanted: Filter) -> list[Kind]:
    """Return the kinds of open issues that match a filter and suggest a change, the likeliest to be right first.

    The share of right suggestions of a kind is estimated by its decisions so far and by the mean score of its open
    issues, which weighs as much as `PRIOR_DECISIONS` decisions. So each decision moves the issues of its kind up or
    down. Issues that are alone in their kind come last, together.

    Args:
        queue: The queue with its present states.
        wanted: The filter; its state and its order have no effect.
    """
    by_kind: dict[tuple[str, str, str, str], list[Issue]] = defaultdict(list)
    for issue in queue.issues:
        if issue.changes and queue.matches(issue, wanted):
            by_kind[find_key(issue)].append(issue)
    kinds = []
    for key, issues in by_kind.items():
        still_open = tuple(issue for issue in issues if queue.get_state(issue) == "open")
        if not still_open:
            continue
        actions = [decision.action for issue in issues if (decision := queue.find_decision(issue))]
        right, wrong = (sum(action in known for action in actions) for known in (RIGHT, WRONG))
        score = sum(issue.score for issue in still_open) / len(still_open)
        share = (right + PRIOR_DECISIONS * score) / (right + wrong + PRIOR_DECISIONS)
        kinds.append(Kind(key, still_open, right, wrong, share))
    return _join_single(sorted(kinds, key=lambda kind: (-round(kind.share, SHARE_DIGITS), -len(kind.open))))


def find_key(issue: Issue) -> tuple[str, str, str, str]:
    """Return the key of an issue's kind."""
    return issue.code, issue.column, issue.given_label, issue.suggested_label


def _join_single(kinds: list[Kind]) -> list[Kind]:
    """Return kinds with those of one issue joined at the end; of each item one, since a grid decides once about it."""
    single: dict[str, Kind] = {}
    for kind in kinds:
        if len(kind.open) == 1:
            single.setdefault(kind.open[0].item_id, kind)
    joined = list(single.values())
    if len(joined) < 2:
        return kinds
    right, wrong = sum(kind.right for kind in joined), sum(kind.wrong for kind in joined)
    share = sum(kind.share for kind in joined) / len(joined)
    mixed = Kind(MIXED, tuple(kind.open[0] for kind in joined), right, wrong, share)
    keys = {kind.key for kind in joined}
    return [kind for kind in kinds if kind.key not in keys] + [mixed]


def build_grid_decisions(
    actions: Mapping[int, str], versions: Mapping[str, int], queue: Queue, options: LabelOptions
) -> list[NewDecision]:
    """Build the decisions to store together for the issues of a grid.

    Args:
        actions: `accept` or `keep` by the position of the issue.
        versions: The id of the last decision that the reviewer saw, for each item concerned.
        queue: The queue.
        options: The values that can be chosen.

    Raises:
        RefusedError: There is no such issue, it suggests no change, two of the issues are about the same item, or the
            version of an item is missing.
    """
    decisions: list[NewDecision] = []
    for position, action in actions.items():
        if 0 <= position < len(queue.issues) and not queue.issues[position].changes:
            raise RefusedError("Only issues that suggest a change can be decided in the grid.")
        decisions += build_decisions(DecisionRequest(position, action, versions), queue, options)
    identities = [(decision.item_id, decision.code, decision.column) for decision in decisions]
    if len(set(identities)) < len(identities) or len({queue.issues[each].item_id for each in actions}) < len(actions):
        raise RefusedError("Two of the issues are about the same item: decide them one by one.")
    return decisions
