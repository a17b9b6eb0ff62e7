"""What decisions make of an item's values, one after the other."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from hangtag.reviewing.store import Decision


@dataclass(frozen=True)
class Replayed:
    """An item after its decisions.

    Attributes:
        values: Its values by column.
        sources: The decision that a changed column has its value from.
        refused: Decisions that could not be followed, with the reason.
    """

    values: dict[str, str]
    sources: dict[str, Decision] = field(default_factory=dict)
    refused: list[tuple[Decision, str]] = field(default_factory=list)


def replay(values: Mapping[str, str], decisions: Iterable[Decision]) -> Replayed:
    """Follow decisions in their order; one whose old values are not those of the item now is not followed at all.

    Args:
        values: The item's values as the catalogue has them.
        decisions: Decisions about the item that stand, in their order.
    """
    item = Replayed(dict(values))
    for decision in decisions:
        changed = {column: new for column, new in decision.new.items() if new != decision.old.get(column)}
        is_so = all(item.values.get(column) == new for column, new in decision.new.items())
        if not changed or is_so or decision.action not in ("accept", "choose"):
            continue
        if reason := _find_obstacle(item, decision):
            item.refused.append((decision, reason))
            continue
        item.values.update(changed)
        item.sources.update(dict.fromkeys(changed, decision))
    return item


def _find_obstacle(item: Replayed, decision: Decision) -> str:
    """Say why a decision cannot be followed; empty where it can."""
    for column, old in decision.old.items():
        if column not in item.values:
            return f"the catalogue has no column {column}"
        if item.values[column] != old:
            cause = "an earlier decision" if column in item.sources else "the catalogue"
            return f"{column} is {item.values[column]!r} now, by {cause}; the reviewer saw {old!r}"
    return ""
