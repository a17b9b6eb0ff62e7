"""What decisions change in the catalogue's values, and which of them cannot be followed."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from hangtag.reviewing.replay import replay
from hangtag.reviewing.store import Decision

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
    """Follow decisions item by item.

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
        after = replay(before, own)
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
