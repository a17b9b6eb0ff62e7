"""Decisions: the label options of an item, decisions built from a reviewer's request, and the corrections they make."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from hangtag.reviewing.items import Items
from hangtag.reviewing.queue import Issue, Queue, apply_decisions
from hangtag.reviewing.store import Decision, NewDecision

# What a reviewer can choose for an item: values that the catalogue has, so that levels never contradict each other.


@dataclass(frozen=True)
class LabelOption:
    """Values that go together.

    Attributes:
        values: A value for every level, or one for an attribute, by column.
        count: How many items of the catalogue have them.
    """

    values: dict[str, str]
    count: int


class LabelOptions:
    """The values of a catalogue's columns, the commonest first.

    Args:
        items: The catalogue.
    """

    def __init__(self, items: Items) -> None:
        self._items = items
        self.list = lru_cache(maxsize=None)(self._count)
        self._known = lru_cache(maxsize=None)(self._list_known)

    def has(self, column: str, values: Mapping[str, str]) -> bool:
        """Return whether values are one of the choices for a column."""
        return frozenset(values.items()) in self._known(column)

    def find_columns(self, column: str) -> tuple[str, ...]:
        """Return the columns that are chosen together: all levels, or one attribute; all levels for no column."""
        schema = self._items.schema
        return (column,) if column in schema.attributes else schema.levels

    def _list_known(self, column: str) -> set[frozenset[tuple[str, str]]]:
        return {frozenset(choice.values.items()) for choice in self.list(column)}

    def _count(self, column: str) -> list[LabelOption]:
        columns = self.find_columns(column)
        rows = zip(*(self._items.columns[name] for name in columns), strict=True)
        counted = Counter(row for row in rows if not any(map(self._items.schema.is_missing, row)))
        return [LabelOption(dict(zip(columns, row, strict=True)), count) for row, count in counted.most_common()]


class RefusedError(Exception):
    """A request that cannot be carried out; the message says why."""


@dataclass(frozen=True)
class DecisionRequest:
    """A reviewer's request.

    Attributes:
        position: The issue.
        action: `accept`, `keep`, `choose` or `skip`.
        versions: The last decision's id that was seen of every item concerned.
        values: With `choose`, the values by column.
        whole_group: Decide the open issues of the issue's group alike.
    """

    position: int
    action: str
    versions: Mapping[str, int]
    values: Mapping[str, str] | None = None
    whole_group: bool = False


def build_decisions(request: DecisionRequest, queue: Queue, choices: LabelOptions) -> list[NewDecision]:
    """Build the decisions of a request, which are written together.

    Raises:
        RefusedError: There is no such issue or choice, or an item's version is not told.
    """
    if not 0 <= request.position < len(queue.issues):
        raise RefusedError("There is no such issue.")
    issue = queue.issues[request.position]
    concerned = _list_concerned(request, issue, queue)
    if missing := {each.item_id for each in concerned} - set(request.versions):
        raise RefusedError(f"The version of item {min(missing)} is not told.")
    values = {item_id: queue.read_item(item_id).values for item_id in {each.item_id for each in concerned}}
    new_decisions = []
    for each in concerned:
        new = _find_new(request, each, values[each.item_id], choices)
        old = {column: values[each.item_id][column] for column in new}
        new_decisions.append(
            NewDecision(
                *each.identity, request.action, old, new, each.changes, each.score, request.versions[each.item_id]
            )
        )
        # A second issue of the item is decided on top of the first.
        values[each.item_id].update(new)
    return new_decisions


def _list_concerned(request: DecisionRequest, issue: Issue, queue: Queue) -> Sequence[Issue]:
    if request.whole_group and issue.group_id:
        group = queue.list_group(issue)
        return [each for each in group if each is issue or queue.tell_state(each) != "decided"]
    if request.action in ("accept", "keep"):
        return queue.list_same(issue)
    return [issue]


def _find_new(
    request: DecisionRequest, issue: Issue, values: Mapping[str, str], choices: LabelOptions
) -> dict[str, str]:
    if request.action == "accept":
        if unknown := set(issue.changes) - set(values):
            raise RefusedError(f"The catalogue has no such level or attribute: {min(unknown)}.")
        return dict(issue.changes)
    if request.action == "keep":
        return {column: values[column] for column in issue.changes if column in values}
    if request.action == "skip":
        return {}
    chosen = dict(request.values or {})
    if not choices.has(issue.column, chosen):
        raise RefusedError("That is none of the choices: take values that the catalogue has, for all its levels.")
    return chosen


# What decisions change in the catalogue's values, and which of them cannot be followed.

GONE = "the catalogue has no such item now"
Values = Mapping[str, str]


@dataclass(frozen=True)
class Change:
    """A cell that is to be changed, by the rule `reviewed` or `auto`."""

    item_id: str
    column: str
    old: str
    new: str
    rule: str


@dataclass(frozen=True)
class NotApplied:
    """A decision that was not followed, and why."""

    decision: Decision
    reason: str


@dataclass
class Corrections:
    """What is to be changed, by item; the decisions behind it; and those that are not applied."""

    changes: dict[str, list[Change]] = field(default_factory=dict)
    not_applied: list[NotApplied] = field(default_factory=list)
    sources: dict[str, list[Decision]] = field(default_factory=dict)

    def refuse(self, item_id: str, reason: str) -> None:
        """Take an item's changes back, because its row cannot be changed."""
        del self.changes[item_id]
        self.not_applied += [NotApplied(each, reason) for each in self.sources.pop(item_id)]


def correct(values: Mapping[str, Values], decisions: Iterable[Decision]) -> Corrections:
    """Apply decisions item by item, and return the corrections.

    Args:
        values: The values of every item as the catalogue has them now, by item and column.
        decisions: Decisions that stand, in their order; those without a reviewer have the rule `auto`.
    """
    by_item: dict[str, list[Decision]] = defaultdict(list)
    for decision in decisions:
        by_item[decision.item_id].append(decision)
    corrections = Corrections()
    for item_id, own in by_item.items():
        if item_id not in values:
            wanted = [each for each in own if each.new != each.old]
            corrections.not_applied += [NotApplied(each, GONE) for each in wanted]
            continue
        before = values[item_id]
        after = apply_decisions(before, own)
        corrections.not_applied += [NotApplied(*each) for each in after.refused]
        changes = [
            Change(item_id, column, before[column], after.values[column], "reviewed" if source.reviewer else "auto")
            for column, source in after.sources.items()
            if after.values[column] != before[column]
        ]
        if changes:
            corrections.changes[item_id] = changes
            corrections.sources[item_id] = _take_once(after.sources.values())
    return corrections


def _take_once(decisions: Iterable[Decision]) -> list[Decision]:
    return list({each.id: each for each in decisions}.values())
