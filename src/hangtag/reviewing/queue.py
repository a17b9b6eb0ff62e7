"""The state of a review: which issues are open, what comes next, and how an item stands after its decisions."""

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from functools import lru_cache

from hangtag.errors import WorkspaceError
from hangtag.reviewing.filters import Filter, State
from hangtag.reviewing.issues import HINT, Issue
from hangtag.reviewing.items import Items
from hangtag.reviewing.pace import compute_pace
from hangtag.reviewing.replay import Replayed, replay
from hangtag.reviewing.store import Decision, Store, find_standing

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
            if issue.item_id not in items.places:
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
        """Work out how the issues of an item stand."""
        standing = find_standing(self._by_item[item_id])
        values = replay(self.items.read_values(item_id), standing).values
        decided = {decision.identity: decision for decision in standing}
        for issue in self._of_item[item_id]:
            decision = decided.get(issue.identity)
            self._decided[issue.position] = decision
            # What another issue's decision has brought about already needs no decision of its own.
            is_so = bool(issue.changes) and all(values.get(column) == new for column, new in issue.changes.items())
            state: State = "decided" if decision or is_so else "open"
            self._states[issue.position] = "skipped" if decision and decision.action == "skip" else state

    def find_decision(self, issue: Issue) -> Decision | None:
        """Give the decision that stands for an issue, a skip included."""
        return self._decided.get(issue.position)

    def list_decisions(self, item_id: str) -> list[Decision]:
        """Give all that was decided about an item, the undone too."""
        return list(self._by_item.get(item_id, ()))

    def read_version(self, item_id: str) -> int:
        """Give the id of the last decision about an item; 0 where there is none."""
        decisions = self._by_item.get(item_id)
        return decisions[-1].id if decisions else 0

    def read_item(self, item_id: str) -> Replayed:
        """Give an item's values after its decisions."""
        return replay(self.items.read_values(item_id), find_standing(self._by_item.get(item_id, ())))

    def list_group(self, issue: Issue) -> list[Issue]:
        """Give the issues that can be decided together with one, itself among them."""
        return self._groups[issue.group_id] if issue.group_id else [issue]

    def list_group_items(self, group_id: str) -> set[str]:
        """Give the items of a group; none for a group that is not there."""
        return {issue.item_id for issue in self._groups.get(group_id, ())}

    def list_filters(self) -> dict[str, list[dict[str, object]]]:
        """Give the codes and the labels of the queue, each with its number of issues, the commonest first."""
        codes = Counter(issue.code for issue in self.issues)
        labels = Counter(each for issue in self.issues for each in {issue.given_label, issue.suggested_label} if each)
        return {
            name: [{"value": value, "count": count} for value, count in counts.most_common()]
            for name, counts in (("codes", codes), ("labels", labels))
        }

    def list_same(self, issue: Issue) -> list[Issue]:
        """Give an issue and the other open ones that would change its item in the same way, under another code."""
        others = [each for each in self._of_item[issue.item_id] if each is not issue and each.changes == issue.changes]
        return [issue, *(each for each in others if issue.changes and self.tell_state(each) == "open")]

    def find_next(self, wanted: Filter, after: int | None, reviewer: str, *, backwards: bool = False) -> Issue | None:
        """Give the next issue behind the one at a position, going round at the end; None where there is none.

        Open issues that another reviewer has before them just now come last, whichever service shows them.
        """
        with self._lock:
            listed = list(self._list(wanted))
            if backwards:
                listed.reverse()
            start = next((place + 1 for place, each in enumerate(listed) if each.position == after), 0)
            rest = [each for each in listed[start:] + listed[:start] if self._is_wanted(each, wanted)]
        # Outside the lock: it may have to wait for another process.
        identities = [each.identity for each in rest]
        share = wanted.state != "open"
        place = self._store.hold(identities, reviewer, now=self._clock(), seconds=HELD_SECONDS, share=share)
        return None if place is None else rest[place]

    def count(self, wanted: Filter) -> dict[str, int]:
        """Count the issues of a filter by their state: `total`, `open`, `skipped` and `decided`."""
        listed = self._list(wanted)
        tally = Counter(self.tell_state(issue) for issue in listed)
        return {"total": len(listed), **{state: tally[state] for state in ("open", "skipped", "decided")}}

    def compute_pace(self, reviewer: str) -> float | None:
        """Give how many issues an hour a reviewer settles, or None where there is too little to tell."""
        return compute_pace(list(self._moments.get(reviewer, {}).values()))

    def _list_matching(self, wanted: Filter) -> list[Issue]:
        return wanted.sort([issue for issue in self.issues if wanted.holds(issue)])

    def _is_wanted(self, issue: Issue, wanted: Filter) -> bool:
        return wanted.state in ("all", self.tell_state(issue))

    def tell_state(self, issue: Issue) -> State:
        """Say whether an issue is `open`, `skipped` or `decided`."""
        return self._states.get(issue.position, "open")
