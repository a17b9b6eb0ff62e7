"""Turn what a reviewer asks for into verdicts: on one issue, on the same question put twice, or on a whole group."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hangtag.reviewing.choices import Choices
from hangtag.reviewing.issues import Issue
from hangtag.reviewing.queue import Queue
from hangtag.reviewing.store import Verdict


class RefusedError(Exception):
    """What was asked cannot be done; the text says why."""


@dataclass(frozen=True)
class Wish:
    """What a reviewer asks for.

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


def make_verdicts(wish: Wish, queue: Queue, choices: Choices) -> list[Verdict]:
    """Give the verdicts to write together.

    Raises:
        RefusedError: There is no such issue or choice, or an item's version is not told.
    """
    if not 0 <= wish.position < len(queue.issues):
        raise RefusedError("There is no such issue.")
    issue = queue.issues[wish.position]
    concerned = _list_concerned(wish, issue, queue)
    if missing := {each.item_id for each in concerned} - set(wish.versions):
        raise RefusedError(f"The version of item {min(missing)} is not told.")
    values = {item_id: queue.read_item(item_id).values for item_id in {each.item_id for each in concerned}}
    verdicts = []
    for each in concerned:
        new = _find_new(wish, each, values[each.item_id], choices)
        old = {column: values[each.item_id][column] for column in new}
        verdicts.append(
            Verdict(*each.identity, wish.action, old, new, each.changes, each.score, wish.versions[each.item_id])
        )
        # A second issue of the item is decided on top of the first.
        values[each.item_id].update(new)
    return verdicts


def _list_concerned(wish: Wish, issue: Issue, queue: Queue) -> Sequence[Issue]:
    if wish.whole_group and issue.group_id:
        group = queue.list_group(issue)
        return [each for each in group if each is issue or queue.tell_state(each) != "decided"]
    if wish.action in ("accept", "keep"):
        return queue.list_same(issue)
    return [issue]


def _find_new(wish: Wish, issue: Issue, values: Mapping[str, str], choices: Choices) -> dict[str, str]:
    if wish.action == "accept":
        if unknown := set(issue.changes) - set(values):
            raise RefusedError(f"The catalogue has no such level or attribute: {min(unknown)}.")
        return dict(issue.changes)
    if wish.action == "keep":
        return {column: values[column] for column in issue.changes if column in values}
    if wish.action == "skip":
        return {}
    chosen = dict(wish.values or {})
    if not choices.has(issue.column, chosen):
        raise RefusedError("That is none of the choices: take values that the catalogue has, for all its levels.")
    return chosen
