"""The review queue: the audit's issues, their state after the decisions, filters, and reviewers' throughput."""

import csv
import hashlib
import json
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Literal

from hangtag.errors import WorkspaceError
from hangtag.io import require_file, unguard_cell
from hangtag.reviewing.items import Items
from hangtag.reviewing.store import Decision, Store, find_standing

# The queue that an audit leaves: its issues, the surest first.

COLUMNS = (
    "item_id",
    "code",
    "severity",
    "given_label",
    "suggested_label",
    "score",
    "reason",
    "column",
    "changes",
    "group_id",
)
HINT = "Run `hangtag audit` with this workspace first."


@dataclass(frozen=True)
class Issue:
    """A suspected mistake.

    Attributes:
        position: Its position in the queue, from 0.
        item_id, code, column: What it is about; no two issues agree in all three.
        severity: `error`, `warning` or `info`.
        given_label, suggested_label: Values of the column, or empty.
        score: How sure it is, 0 to 1.
        reason: Why, for people.
        changes: New values by column, if the suggestion is accepted; empty where there is only something to look at.
        group_id: The same for issues that can be decided together, or empty.
    """

    position: int
    item_id: str
    code: str
    column: str
    severity: str
    given_label: str
    suggested_label: str
    score: float
    reason: str
    changes: dict[str, str]
    group_id: str

    @property
    def identity(self) -> tuple[str, str, str]:
        """What it is about."""
        return self.item_id, self.code, self.column

    @property
    def lot(self) -> bytes:
        """A number drawn for the issue, the same every time, to put issues into a random order."""
        return hashlib.blake2b("\0".join(self.identity).encode(), digest_size=8).digest()


def read_issues(path: Path) -> list[Issue]:
    """Read `audit/issues.csv`.

    Raises:
        WorkspaceError: There is none, or it is not what `hangtag audit` writes.
    """
    try:
        require_file(path)
        with path.open(encoding="utf-8", newline="") as file:
            lines = csv.DictReader(file)
            if not set(COLUMNS) <= set(lines.fieldnames or ()):
                raise ValueError(f"it lacks columns of {', '.join(COLUMNS)}")
            return [_read_line(position, line) for position, line in enumerate(lines)]
    except FileNotFoundError:
        raise WorkspaceError("There are no issues to review.", hint=HINT) from None
    except (OSError, ValueError, TypeError, AttributeError, RecursionError, csv.Error) as error:
        raise WorkspaceError(f"The issues cannot be read: {error}.", received=path.name, hint=HINT) from error


def _read_line(position: int, line: dict[str, str]) -> Issue:
    if None in line or None in line.values():
        raise ValueError(f"the line of issue {position + 1} has not the cells of the header")
    line = {name: unguard_cell(cell) for name, cell in line.items()}
    changes = json.loads(line["changes"] or "{}")
    if not isinstance(changes, dict) or not all(isinstance(value, str) for value in changes.values()):
        raise ValueError(f"changes of issue {position + 1} are no texts")
    score = float(line["score"])
    if not 0 <= score <= 1:
        raise ValueError(f"the score of issue {position + 1} is not between 0 and 1")
    texts = {name: line[name] for name in COLUMNS if name not in ("score", "changes")}
    return Issue(position=position, score=score, changes=changes, **texts)


# Which issues a reviewer wants to see, and in which order.

State = Literal["open", "skipped", "decided", "all"]


@dataclass(frozen=True)
class Filter:
    """What issues have to be.

    Attributes:
        code: The kind of issue; empty for all.
        label: A value that is given or suggested; empty for all.
        low, high: Bounds of the score, both included.
        state: `open`, `skipped`, `decided` or `all`.
        order: `score` is the surest first; `random` is a sample that stands for all of them, the same every time.
    """

    code: str = ""
    label: str = ""
    low: float = 0.0
    high: float = 1.0
    state: State = "open"
    order: Literal["score", "random"] = "score"

    def holds(self, issue: Issue) -> bool:
        """Return whether an issue is of the wanted kind, whatever its state."""
        return (
            self.code in ("", issue.code)
            and self.label in ("", issue.given_label, issue.suggested_label)
            and self.low <= issue.score <= self.high
        )

    def sort(self, issues: list[Issue]) -> list[Issue]:
        """Put issues into the wanted order."""
        return sorted(issues, key=lambda issue: issue.lot) if self.order == "random" else issues


# How fast a reviewer works: issues an hour, without the pauses.

# Longer gaps are pauses and count as this many seconds.
LONGEST_GAP = 120.0
# Older decisions say little of the pace now.
LOOKED_AT = 100


def compute_throughput(decided: Sequence[tuple[str, int]]) -> float | None:
    """Return decided issues per hour, or None if there are too few.

    Args:
        decided: When a reviewer pressed a key (ISO 8601), and how many issues that decided, in order of time.
    """
    latest = decided[-LOOKED_AT:]
    times = [datetime.fromisoformat(time) for time, _ in latest]
    gaps = [(later - earlier).total_seconds() for earlier, later in pairwise(times)]
    seconds = sum(min(max(gap, 0.0), LONGEST_GAP) for gap in gaps)
    # The first key marks the beginning: what it decided took time before it.
    issues = sum(count for _, count in latest[1:])
    return issues / seconds * 3600 if seconds > 0 else None


# What decisions make of an item's values, one after the other.


@dataclass(frozen=True)
class DecisionState:
    """An item after its decisions.

    Attributes:
        values: Its values by column.
        sources: The decision that a changed column has its value from.
        refused: Decisions that could not be followed, with the reason.
    """

    values: dict[str, str]
    sources: dict[str, Decision] = field(default_factory=dict)
    refused: list[tuple[Decision, str]] = field(default_factory=list)


def apply_decisions(values: Mapping[str, str], decisions: Iterable[Decision]) -> DecisionState:
    """Apply decisions in their order; one whose old values are not the item's current ones is skipped.

    Args:
        values: The item's values as the catalogue has them.
        decisions: Decisions about the item that stand, in their order.
    """
    item = DecisionState(dict(values))
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


def _find_obstacle(item: DecisionState, decision: Decision) -> str:
    """Describe why a decision cannot be followed; empty where it can."""
    for column, old in decision.old.items():
        if column not in item.values:
            return f"the catalogue has no column {column}"
        if item.values[column] != old:
            cause = "an earlier decision" if column in item.sources else "the catalogue"
            return f"{column} is {item.values[column]!r} now, by {cause}; the reviewer saw {old!r}"
    return ""


# How long an issue that one reviewer looks at is not handed to another, in seconds.
HELD_SECONDS = 90.0


class Queue:
    """The issues of an audit with the decisions about them, as they are at this moment.

    Args:
        issues: The queue, the surest first.
        items: What they are about.
        store: The decisions, which other processes may add to.
        clock: Gives seconds since 1970.

    Raises:
        WorkspaceError: The issues are about items that are not there.
    """

    def __init__(
        self, issues: Sequence[Issue], items: Items, store: Store, clock: Callable[[], float] = time.time
    ) -> None:
        self.issues, self.items, self._store, self._clock = issues, items, store, clock
        self._lock = threading.RLock()
        self._last_id = 0
        self._by_item: dict[str, list[Decision]] = defaultdict(list)
        self._decided: dict[int, Decision | None] = {}
        self._states: dict[int, State] = {}
        # By reviewer and batch: when, and how many issues it settled.
        self._moments: dict[str, dict[int, tuple[str, int]]] = defaultdict(dict)
        self._of_item: dict[str, list[Issue]] = defaultdict(list)
        self._groups: dict[str, list[Issue]] = defaultdict(list)
        for issue in issues:
            if issue.item_id not in items.positions:
                what = "The issues are about items that are not in the prepared catalogue."
                raise WorkspaceError(what, received=issue.item_id, hint=HINT)
            self._of_item[issue.item_id].append(issue)
            if issue.group_id:
                self._groups[issue.group_id].append(issue)
        self._list = lru_cache(maxsize=64)(self._list_matching)
        self.refresh()

    def refresh(self) -> None:
        """Take in what was decided since, here or in another process."""
        with self._lock:
            new = self._store.read(self._last_id)
            for decision in new:
                self._last_id = decision.id
                self._by_item[decision.item_id].append(decision)
                moments = self._moments[decision.reviewer]
                time_, count = moments.get(decision.batch, (decision.time, 0))
                moments[decision.batch] = (time_, count + (decision.action != "undo"))
            for item_id in {decision.item_id for decision in new}:
                self._settle(item_id)

    def _settle(self, item_id: str) -> None:
        """Compute the state of an item's issues."""
        standing = find_standing(self._by_item[item_id])
        values = apply_decisions(self.items.read_values(item_id), standing).values
        decided = {decision.identity: decision for decision in standing}
        for issue in self._of_item[item_id]:
            decision = decided.get(issue.identity)
            self._decided[issue.position] = decision
            # What another issue's decision has brought about already needs no decision of its own.
            is_so = bool(issue.changes) and all(values.get(column) == new for column, new in issue.changes.items())
            state: State = "decided" if decision or is_so else "open"
            self._states[issue.position] = "skipped" if decision and decision.action == "skip" else state

    def find_decision(self, issue: Issue) -> Decision | None:
        """Return the decision that stands for an issue, a skip included."""
        return self._decided.get(issue.position)

    def list_decisions(self, item_id: str) -> list[Decision]:
        """Return all that was decided about an item, the undone too."""
        return list(self._by_item.get(item_id, ()))

    def read_version(self, item_id: str) -> int:
        """Return the id of the last decision about an item; 0 where there is none."""
        decisions = self._by_item.get(item_id)
        return decisions[-1].id if decisions else 0

    def read_item(self, item_id: str) -> DecisionState:
        """Return an item's values after its decisions."""
        return apply_decisions(self.items.read_values(item_id), find_standing(self._by_item.get(item_id, ())))

    def list_group(self, issue: Issue) -> list[Issue]:
        """Return the issues that can be decided together with one, itself among them."""
        return self._groups[issue.group_id] if issue.group_id else [issue]

    def list_group_items(self, group_id: str) -> set[str]:
        """Return the items of a group; none for a group that is not there."""
        return {issue.item_id for issue in self._groups.get(group_id, ())}

    def list_filters(self) -> dict[str, list[dict[str, object]]]:
        """Return the codes and the labels of the queue, each with its number of issues, the commonest first."""
        codes = Counter(issue.code for issue in self.issues)
        labels = Counter(each for issue in self.issues for each in {issue.given_label, issue.suggested_label} if each)
        return {
            name: [{"value": value, "count": count} for value, count in counts.most_common()]
            for name, counts in (("codes", codes), ("labels", labels))
        }

    def list_same(self, issue: Issue) -> list[Issue]:
        """Return an issue and the other open ones that would change its item in the same way, under another code."""
        others = [each for each in self._of_item[issue.item_id] if each is not issue and each.changes == issue.changes]
        return [issue, *(each for each in others if issue.changes and self.tell_state(each) == "open")]

    def find_next(self, wanted: Filter, after: int | None, reviewer: str, *, backwards: bool = False) -> Issue | None:
        """Return the next issue behind the one at a position, going round at the end; None where there is none.

        Open issues that another reviewer has before them just now come last, whichever service shows them.
        """
        with self._lock:
            listed = list(self._list(wanted))
            if backwards:
                listed.reverse()
            start = next((index + 1 for index, each in enumerate(listed) if each.position == after), 0)
            rest = [each for each in listed[start:] + listed[:start] if self._is_wanted(each, wanted)]
        # Outside the lock: it may have to wait for another process.
        identities = [each.identity for each in rest]
        share = wanted.state != "open"
        index = self._store.hold(identities, reviewer, now=self._clock(), seconds=HELD_SECONDS, share=share)
        return None if index is None else rest[index]

    def count(self, wanted: Filter) -> dict[str, int]:
        """Count the issues of a filter by their state: `total`, `open`, `skipped` and `decided`."""
        listed = self._list(wanted)
        tally = Counter(self.tell_state(issue) for issue in listed)
        return {"total": len(listed), **{state: tally[state] for state in ("open", "skipped", "decided")}}

    def compute_throughput(self, reviewer: str) -> float | None:
        """Return decided issues per hour, or None if there are too few."""
        return compute_throughput(list(self._moments.get(reviewer, {}).values()))

    def _list_matching(self, wanted: Filter) -> list[Issue]:
        return wanted.sort([issue for issue in self.issues if wanted.holds(issue)])

    def _is_wanted(self, issue: Issue, wanted: Filter) -> bool:
        return wanted.state in ("all", self.tell_state(issue))

    def tell_state(self, issue: Issue) -> State:
        """Return whether an issue is `open`, `skipped` or `decided`."""
        return self._states.get(issue.position, "open")
