"""Build decisions from a reviewer's request, and apply stored decisions to the catalogue.

A request becomes one decision for each issue that it concerns: a single issue, all issues that suggest the same change,
or a whole group. `correct` then turns the stored decisions into changed cells of the catalogue.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from hangtag.catalog.missing_values import strip_blank
from hangtag.catalog.products import is_same_product
from hangtag.reviewing.filters import State
from hangtag.reviewing.items import Items
from hangtag.reviewing.queue import Issue, Queue, apply_decisions, derive_states
from hangtag.reviewing.store import Decision, NewDecision

GONE = "the catalogue no longer has this item"
Values = Mapping[str, str]


@dataclass(frozen=True)
class LabelOption:
    """Values that a reviewer can choose together.

    Attributes:
        values: A value for every level, or one value for an attribute, by column.
        count: The number of items in the catalogue that have them.
    """

    values: dict[str, str]
    count: int


def find_states(issues: Sequence[Issue], standing: Iterable[Decision], items: Items) -> list[State]:
    """Return the state of each issue after the decisions that were not undone."""
    by_item: dict[str, list[Decision]] = defaultdict(list)
    for decision in standing:
        by_item[decision.item_id].append(decision)
    return [
        derive_states([issue], by_item[issue.item_id], items)[issue.position][1]
        if by_item.get(issue.item_id) and issue.item_id in items.positions
        else "open"
        for issue in issues
    ]


class LabelOptions:
    """The values that can be chosen for a column, in descending order of frequency.

    Only combinations of levels that occur in the catalogue are offered, so that an item's levels are consistent.

    Args:
        items: The catalogue.
    """

    def __init__(self, items: Items) -> None:
        self._items = items
        self.list = lru_cache(maxsize=None)(self._count_options)
        self._known = lru_cache(maxsize=None)(self._collect_known)

    def has(self, column: str, values: Mapping[str, str]) -> bool:
        """Return whether values are one of a column's options."""
        return frozenset(values.items()) in self._known(column)

    def find_columns(self, column: str) -> tuple[str, ...]:
        """Return the columns that are chosen together: a single attribute, or all levels for a level or no column."""
        schema = self._items.schema
        return (column,) if column in schema.attributes else schema.levels

    def _collect_known(self, column: str) -> set[frozenset[tuple[str, str]]]:
        return {frozenset(option.values.items()) for option in self.list(column)}

    def _count_options(self, column: str) -> list[LabelOption]:
        columns = self.find_columns(column)
        rows = zip(*(self._items.columns[name] for name in columns), strict=True)
        named = (row for row in rows if not any(map(self._items.schema.is_missing, row)))
        # No option has white space at its ends, which a reviewer could not see.
        counted = Counter(tuple(map(strip_blank, row)) for row in named)
        return [LabelOption(dict(zip(columns, row, strict=True)), count) for row, count in counted.most_common()]


class RefusedError(Exception):
    """Raised for a request that cannot become a decision; the text is the reason."""


@dataclass(frozen=True)
class DecisionRequest:
    """A reviewer's request for a decision.

    Attributes:
        position: The issue's position in the queue.
        action: `accept`, `keep`, `choose` or `skip`.
        versions: The id of the last decision that the reviewer saw, for each item concerned.
        values: The chosen values by column, for the action `choose`.
        whole_group: Whether to decide all open issues of the issue's group in the same way.
    """

    position: int
    action: str
    versions: Mapping[str, int]
    values: Mapping[str, str] | None = None
    whole_group: bool = False


def build_decisions(request: DecisionRequest, queue: Queue, options: LabelOptions) -> list[NewDecision]:
    """Build the decisions to store together for a request.

    Raises:
        RefusedError: There is no such issue or option, or the version of an item concerned is missing.
    """
    if not 0 <= request.position < len(queue.issues):
        raise RefusedError("There is no such issue.")
    issue = queue.issues[request.position]
    concerned = _list_concerned_issues(request, issue, queue)
    item_ids = {concerned_issue.item_id for concerned_issue in concerned}
    if missing := item_ids - set(request.versions):
        raise RefusedError(f"The version of item {min(missing)} is missing.")
    values = {item_id: queue.read_item(item_id).values for item_id in item_ids}
    products = {item_id: queue.items.read_product(item_id) or "" for item_id in item_ids}
    decisions = []
    for issue in concerned:
        new = _find_new_values(request, issue, values[issue.item_id], options)
        old = {column: values[issue.item_id][column] for column in new}
        version = request.versions[issue.item_id]
        decisions.append(
            NewDecision(
                *issue.identity,
                request.action,
                old,
                new,
                issue.changes,
                issue.score,
                version,
                evidence=issue.evidence,
                product=products[issue.item_id],
            )
        )
        # A second issue of the same item starts from the values after the first one.
        values[issue.item_id].update(new)
    return decisions


def _list_concerned_issues(request: DecisionRequest, issue: Issue, queue: Queue) -> Sequence[Issue]:
    if request.whole_group and issue.group_id:
        group = queue.list_group(issue)
        return [member for member in group if member is issue or queue.get_state(member) != "decided"]
    if request.action in ("accept", "keep"):
        return queue.list_same(issue)
    return [issue]


def _find_new_values(
    request: DecisionRequest, issue: Issue, values: Mapping[str, str], options: LabelOptions
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
    if not options.has(issue.column, chosen):
        raise RefusedError("These values are not an option: choose values that the catalogue has, for all its levels.")
    return chosen


@dataclass(frozen=True)
class Change:
    """A cell to change, with the rule that changes it: `reviewed` or `auto`."""

    item_id: str
    column: str
    old: str
    new: str
    rule: str


@dataclass(frozen=True)
class NotApplied:
    """A decision that was not applied, with the reason."""

    decision: Decision
    reason: str


@dataclass
class Corrections:
    """The changes to the catalogue.

    Attributes:
        changes: The changed cells, by item.
        not_applied: The decisions that were not applied.
        sources: The decisions that caused the changes, by item.
    """

    changes: dict[str, list[Change]] = field(default_factory=dict)
    not_applied: list[NotApplied] = field(default_factory=list)
    sources: dict[str, list[Decision]] = field(default_factory=dict)

    def refuse(self, item_id: str, reason: str) -> None:
        """Remove an item's changes, because its row cannot be edited, and list its decisions as not applied."""
        del self.changes[item_id]
        self.not_applied += [NotApplied(decision, reason) for decision in self.sources.pop(item_id)]


def correct(
    values: Mapping[str, Values], decisions: Iterable[Decision], products: Mapping[str, str | None]
) -> Corrections:
    """Apply decisions to the catalogue, item by item.

    Args:
        values: The current values of every item in the catalogue, by item and column.
        decisions: Decisions that were not undone, in order; those without a reviewer get the rule `auto`.
        products: The current name of every item's product; None where the catalogue has no names.
    """
    by_item: dict[str, list[Decision]] = defaultdict(list)
    for decision in decisions:
        by_item[decision.item_id].append(decision)
    corrections = Corrections()
    for item_id, item_decisions in by_item.items():
        if item_id not in values:
            changing = [decision for decision in item_decisions if decision.new != decision.old]
            corrections.not_applied += [NotApplied(decision, GONE) for decision in changing]
            continue
        before, product = values[item_id], products[item_id]
        own = [decision for decision in item_decisions if is_same_product(decision.product, product)]
        corrections.not_applied += [
            NotApplied(each, f"the id has another product now, {product!r}; the reviewer saw {each.product!r}")
            for each in item_decisions
            if each not in own and each.new != each.old
        ]
        after = apply_decisions(before, own)
        corrections.not_applied += [NotApplied(decision, reason) for decision, reason in after.refused]
        changes = [
            Change(item_id, column, before[column], after.values[column], "reviewed" if source.reviewer else "auto")
            for column, source in after.sources.items()
            if after.values[column] != before[column]
        ]
        if changes:
            corrections.changes[item_id] = changes
            corrections.sources[item_id] = _deduplicate(after.sources.values())
    return corrections


def _deduplicate(decisions: Iterable[Decision]) -> list[Decision]:
    return list({decision.id: decision for decision in decisions}.values())
