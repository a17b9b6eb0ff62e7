"""The review queue: read issues, filter and order them, and derive their state from the decisions so far.

The state of an item is not stored. It is derived from its values in the catalogue by applying the decisions in order.
An issue is skipped if its last decision is `skip`. It is decided if it has any other decision, or if its item already
has the suggested values.
"""

import csv
import hashlib
import json
import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

from hangtag.catalog.products import is_same_product
from hangtag.errors import WorkspaceError
from hangtag.io import require_file, unguard_cell
from hangtag.reviewing.decision_store import DecisionStore
from hangtag.reviewing.filters import Filter, State, count_values
from hangtag.reviewing.items import Items
from hangtag.reviewing.store import Decision, Identity, find_standing, name_kind

COLUMNS = (
    "item_id",
    "code",
    "severity",
    "column",
    "given_label",
    "suggested_label",
    "evidence",
    "score",
    "reason",
    "changes",
    "group_id",
)
HINT = "Run `hangtag audit` with this workspace first."
# For the throughput, longer gaps between decisions are breaks and count as this many seconds.
LONGEST_GAP = 120.0
# The throughput is computed from this many of the latest decisions.
RECENT_DECISIONS = 100
# Seconds for which an issue that is shown to one reviewer is not shown to another.
HELD_SECONDS = 90.0


@dataclass(frozen=True)
class Issue:
    """A suspected mistake: a row of `audit/issues.csv`.

    Attributes:
        position: Its index in the queue, from 0.
        item_id, code, column: The item, the issue code and the column; together they identify the issue.
        severity: `error`, `warning` or `info`.
        given_label, suggested_label: Values of the column, or empty.
        evidence: The source of evidence for a `label_error`: `image`, `name` or `image+name`; empty for other codes.
        score: A rank, 0 to 1: the higher, the sooner to look at it. It is no probability.
        reason: An explanation for the reviewer.
        changes: The suggested values by column; empty if the issue suggests no change.
        group_id: The id of a group of issues that can be decided together, or empty.
    """

    position: int
    item_id: str
    code: str
    column: str
    severity: str
    given_label: str
    suggested_label: str
    evidence: str
    score: float
    reason: str
    changes: dict[str, str]
    group_id: str

    @property
    def identity(self) -> tuple[str, str, str]:
        """Return its item, code and column."""
        return self.item_id, self.code, self.column

    @property
    def kind(self) -> str:
        """Return its code, with the evidence if it has any."""
        return name_kind(self.code, self.evidence)

    @property
    def random_key(self) -> bytes:
        """Return a pseudorandom but reproducible sort key."""
        return compute_random_key(self.identity)


def compute_random_key(identity: Identity) -> bytes:
    """Return the position of an issue in the random order, in which the review page samples issues."""
    return hashlib.blake2b("\0".join(identity).encode(), digest_size=8).digest()


def read_issues(path: Path) -> list[Issue]:
    """Read `audit/issues.csv`.

    Raises:
        WorkspaceError: The file is missing, or is not what `hangtag audit` writes.
    """
    try:
        require_file(path)
        with path.open(encoding="utf-8", newline="") as file:
            lines = csv.DictReader(file)
            if not set(COLUMNS) <= set(lines.fieldnames or ()):
                raise ValueError(f"it lacks columns of {', '.join(COLUMNS)}")
            return [_parse_issue(position, line) for position, line in enumerate(lines)]
    except FileNotFoundError:
        raise WorkspaceError("There are no issues to review.", hint=HINT) from None
    except (OSError, ValueError, TypeError, AttributeError, RecursionError, csv.Error) as error:
        raise WorkspaceError(f"The issues cannot be read: {error}.", received=path.name, hint=HINT) from error


def _parse_issue(position: int, line: dict[str, str]) -> Issue:
    if None in line or None in line.values():
        raise ValueError(f"the line of issue {position + 1} does not have the cells of the header")
    line = {name: unguard_cell(cell) for name, cell in line.items()}
    changes = json.loads(line["changes"] or "{}")
    if not isinstance(changes, dict) or not all(isinstance(value, str) for value in changes.values()):
        raise ValueError(f"the changes of issue {position + 1} are not texts")
    score = float(line["score"])
    if not 0 <= score <= 1:
        raise ValueError(f"the score of issue {position + 1} is not between 0 and 1")
    texts = {name: line[name] for name in COLUMNS if name not in ("score", "changes")}
    return Issue(position=position, score=score, changes=changes, **texts)


def compute_throughput(decided: Sequence[tuple[str, int]]) -> float | None:
    """Compute a reviewer's throughput in issues per hour, without breaks.

    Args:
        decided: The time (ISO 8601) and the number of decided issues of each key press, in order of time.

    Returns:
        Issues per hour, or None if there are too few decisions.
    """
    latest = decided[-RECENT_DECISIONS:]
    times = [datetime.fromisoformat(time) for time, _ in latest]
    gaps = [(later - earlier).total_seconds() for earlier, later in pairwise(times)]
    seconds = sum(min(max(gap, 0.0), LONGEST_GAP) for gap in gaps)
    # The first key press only starts the measurement, since the time spent on its issues is unknown.
    issues = sum(count for _, count in latest[1:])
    return issues / seconds * 3600 if seconds > 0 else None


@dataclass(frozen=True)
class DecisionState:
    """The state of an item after its decisions.

    Attributes:
        values: Its values by column.
        sources: The decision that changed each changed column.
        refused: The decisions that could not be applied, with the reason.
    """

    values: dict[str, str]
    sources: dict[str, Decision] = field(default_factory=dict)
    refused: list[tuple[Decision, str]] = field(default_factory=list)


def apply_decisions(values: Mapping[str, str], decisions: Iterable[Decision]) -> DecisionState:
    """Apply decisions to an item's values, in order.

    A decision is applied only if the item's current values equal the old values that the reviewer saw. It is applied
    to all its columns or to none.

    Args:
        values: The item's values in the catalogue.
        decisions: The decisions about the item that were not undone, in order.
    """
    item = DecisionState(dict(values))
    for decision in decisions:
        changed = {column: new for column, new in decision.new.items() if new != decision.old.get(column)}
        is_done = all(item.values.get(column) == new for column, new in decision.new.items())
        if not changed or is_done or decision.action not in ("accept", "choose"):
            continue
        if reason := _find_contradiction(item, decision):
            item.refused.append((decision, reason))
            continue
        item.values.update(changed)
        item.sources.update(dict.fromkeys(changed, decision))
    return item


def _find_contradiction(item: DecisionState, decision: Decision) -> str:
    """Return the reason why a decision cannot be applied, or an empty text if it can."""
    for column, old in decision.old.items():
        if column not in item.values:
            return f"the catalogue has no column {column}"
        if item.values[column] != old:
            cause = "an earlier decision" if column in item.sources else "the catalogue"
            return f"{column} is {item.values[column]!r} now, by {cause}; the reviewer saw {old!r}"
    return ""


def apply_own(items: Items, item_id: str, standing: Iterable[Decision]) -> tuple[DecisionState, list[Decision]]:
    """Return an item's state after its decisions that were not undone, and those of them about its present product."""
    product = items.read_product(item_id)
    own = [decision for decision in standing if is_same_product(decision.product, product)]
    return apply_decisions(items.read_values(item_id), own), own


def derive_states(
    issues: Sequence[Issue], standing: Iterable[Decision], items: Items
) -> dict[int, tuple[Decision | None, State]]:
    """Return the decision about each issue of one item, and its state; see `apply_own` for the decisions."""
    if not issues:
        return {}
    state, own = apply_own(items, issues[0].item_id, standing)
    after, decided = state.values, {decision.identity: decision for decision in own}
    states: dict[int, tuple[Decision | None, State]] = {}
    for issue in issues:
        decision = decided.get(issue.identity)
        # An issue needs no decision if a decision about another issue made the same changes.
        is_done = bool(issue.changes) and all(after.get(column) == new for column, new in issue.changes.items())
        found: State = "decided" if decision or is_done else "open"
        states[issue.position] = decision, "skipped" if decision and decision.action == "skip" else found
    return states


class Queue:
    """The issues of an audit, with their current state. It is thread-safe.

    Args:
        issues: The issues in descending order of score.
        items: The prepared catalogue.
        store: The store of decisions, to which other processes may add.

    Raises:
        WorkspaceError: An issue is about an item that is not in the catalogue.
    """

    def __init__(self, issues: Sequence[Issue], items: Items, store: DecisionStore) -> None:
        self.issues, self.items, self._store = issues, items, store
        self._lock = threading.RLock()
        self._last_id = 0
        self._decisions_by_item: dict[str, list[Decision]] = defaultdict(list)
        self._decided: dict[int, Decision | None] = {}
        self._states: dict[int, State] = {}
        # The time of each batch and the number of issues that it decided, by reviewer and batch.
        self._batches: dict[str, dict[int, tuple[str, int]]] = defaultdict(dict)
        self._issues_by_item: dict[str, list[Issue]] = defaultdict(list)
        self._groups: dict[str, list[Issue]] = defaultdict(list)
        for issue in issues:
            if issue.item_id not in items.positions:
                message = "The issues are about items that are not in the prepared catalogue."
                raise WorkspaceError(message, received=issue.item_id, hint=HINT)
            self._issues_by_item[issue.item_id].append(issue)
            if issue.group_id:
                self._groups[issue.group_id].append(issue)
        self._list_cached = lru_cache(maxsize=64)(self._list_matching)
        self.refresh()

    def refresh(self) -> None:
        """Read the decisions that this or another process has added since the last call."""
        with self._lock:
            for decision in (new := self._store.read(self._last_id)):
                self._last_id = decision.id
                self._decisions_by_item[decision.item_id].append(decision)
                batches = self._batches[decision.reviewer]
                time_, count = batches.get(decision.batch, (decision.time, 0))
                batches[decision.batch] = (time_, count + (decision.action != "undo"))
            # The catalogue may have lost an item since it was decided.
            for item_id in {decision.item_id for decision in new} & self.items.positions.keys():
                self._update_states(item_id)

    def _update_states(self, item_id: str) -> None:
        standing = find_standing(self._decisions_by_item[item_id])
        for position, (decision, state) in derive_states(self._issues_by_item[item_id], standing, self.items).items():
            self._decided[position], self._states[position] = decision, state

    def find_decision(self, issue: Issue) -> Decision | None:
        """Return the decision about an issue that was not undone (a skip is one too), or None."""
        return self._decided.get(issue.position)

    def list_decisions(self, item_id: str) -> list[Decision]:
        """Return all decisions about an item, including undone ones."""
        return list(self._decisions_by_item.get(item_id, ()))

    def read_version(self, item_id: str) -> int:
        """Return the id of the last decision about an item, or 0 if there is none."""
        decisions = self._decisions_by_item.get(item_id)
        return decisions[-1].id if decisions else 0

    def read_item(self, item_id: str) -> DecisionState:
        """Return an item's state after its decisions."""
        return apply_own(self.items, item_id, find_standing(self._decisions_by_item.get(item_id, ())))[0]

    def get_state(self, issue: Issue) -> State:
        """Return whether an issue is `open`, `skipped` or `decided`."""
        return self._states.get(issue.position, "open")

    def list_group(self, issue: Issue) -> list[Issue]:
        """Return the issues of an issue's group, including itself."""
        return self._groups[issue.group_id] if issue.group_id else [issue]

    def list_group_items(self, group_id: str) -> set[str]:
        """Return the ids of a group's items; empty for an unknown group."""
        return {issue.item_id for issue in self._groups.get(group_id, ())}

    def matches(self, issue: Issue, wanted: Filter) -> bool:
        """Return whether an issue matches a filter; its state is not checked."""
        return wanted.matches(issue, self.items.read_brand(issue.item_id), self.items.read_name(issue.item_id))

    def list_filters(self, wanted: Filter) -> dict[str, list[dict[str, object]]]:
        """Return the values to filter by beside the rest of a filter, with their numbers of issues."""
        read_brand, read_name = self.items.read_brand, self.items.read_name
        described = ((issue, read_brand(issue.item_id), read_name(issue.item_id)) for issue in self.issues)
        return count_values(described, wanted)

    def list_same(self, issue: Issue) -> list[Issue]:
        """Return an issue and the open issues with another code that suggest the same change of its item."""
        same = [
            other
            for other in self._issues_by_item[issue.item_id]
            if other is not issue and other.changes == issue.changes and self.get_state(other) == "open"
        ]
        return [issue, *same] if issue.changes else [issue]

    def find_next(self, wanted: Filter, after: int | None, reviewer: str, *, backwards: bool = False) -> Issue | None:
        """Find the next issue to show to a reviewer, and reserve it.

        Open issues that are shown to another reviewer, by this service or another, come last.

        Args:
            wanted: The filter.
            after: The position of the current issue; None starts at the first. The search wraps around at the end.
            reviewer: The reviewer's name.
            backwards: Whether to search in the opposite order.

        Returns:
            The issue, or None if none matches.

        Raises:
            StoreError: The decisions are locked or cannot be written.
        """
        with self._lock:
            listed = list(self._list_cached(wanted))
            if backwards:
                listed.reverse()
            start = next((index + 1 for index, issue in enumerate(listed) if issue.position == after), 0)
            candidates = [issue for issue in listed[start:] + listed[:start] if self._has_wanted_state(issue, wanted)]
        # Do this without the lock, since it may have to wait for another process.
        identities = [issue.identity for issue in candidates]
        share = wanted.state != "open"
        index = self._store.hold(identities, reviewer, seconds=HELD_SECONDS, share=share)
        return None if index is None else candidates[index]

    def count(self, wanted: Filter) -> dict[str, int]:
        """Count the issues that match a filter, by state: `total`, `open`, `skipped` and `decided`."""
        listed = self._list_cached(wanted)
        counts = Counter(self.get_state(issue) for issue in listed)
        return {"total": len(listed), **{state: counts[state] for state in ("open", "skipped", "decided")}}

    def compute_throughput(self, reviewer: str) -> float | None:
        """Compute a reviewer's throughput in issues per hour, or None if there are too few decisions."""
        return compute_throughput(list(self._batches.get(reviewer, {}).values()))

    def _list_matching(self, wanted: Filter) -> list[Issue]:
        return wanted.sort([issue for issue in self.issues if self.matches(issue, wanted)])

    def _has_wanted_state(self, issue: Issue, wanted: Filter) -> bool:
        return wanted.state in ("all", self.get_state(issue))
