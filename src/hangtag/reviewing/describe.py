"""Tell the page of an issue: its item as it stands, what was decided, and the others of its group."""

from typing import Any

from hangtag.reviewing.issues import Issue
from hangtag.reviewing.queue import Queue
from hangtag.reviewing.store import Decision

# A group larger than this is shown in part; it is decided whole.
SHOWN_OF_GROUP = 60


def describe_issue(issue: Issue, queue: Queue) -> dict[str, Any]:
    """Give an issue as JSON: what it says, its item, its group, and the versions that a decision has to name."""
    group = queue.list_group(issue)
    others = [each for each in group if each.item_id != issue.item_id]
    decision = queue.find_decision(issue)
    return {
        "position": issue.position,
        "code": issue.code,
        "severity": issue.severity,
        "column": issue.column,
        "given_label": issue.given_label,
        "suggested_label": issue.suggested_label,
        "score": issue.score,
        "reason": issue.reason,
        "changes": issue.changes,
        "state": queue.tell_state(issue),
        "decision": describe_decision(decision) if decision else None,
        "item": describe_item(issue.item_id, issue.column, queue),
        "history": [describe_decision(each) for each in queue.list_decisions(issue.item_id)],
        "same": [each.code for each in queue.list_same(issue) if each is not issue],
        "group": {
            "group_id": issue.group_id,
            "size": len(group),
            "open": sum(queue.tell_state(each) == "open" for each in group),
            "members": [_describe_member(each, queue) for each in _take_one_an_item(others)[:SHOWN_OF_GROUP]],
        },
        "versions": {each.item_id: queue.read_version(each.item_id) for each in group},
    }


def describe_item(item_id: str, column: str, queue: Queue) -> dict[str, Any]:
    """Give an item: its name, its values after all decisions, and its label in a column (the finest level for none)."""
    schema = queue.items.schema
    values = queue.read_item(item_id).values
    return {
        "item_id": item_id,
        "name": queue.items.read_name(item_id),
        "label": values.get(column or schema.levels[-1], ""),
        "levels": {level: values[level] for level in schema.levels},
        "attributes": {name: values[name] for name in schema.attributes},
    }


def describe_decision(decision: Decision) -> dict[str, Any]:
    """Give a decision as JSON, with what it changed."""
    changed = {column: new for column, new in decision.new.items() if new != decision.old.get(column)}
    return {
        "id": decision.id,
        "code": decision.code,
        "column": decision.column,
        "action": decision.action,
        "from": {column: decision.old.get(column, "") for column in changed},
        "to": changed,
        "reviewer": decision.reviewer,
        "time": decision.time,
        "undoes": decision.undoes,
    }


def _describe_member(issue: Issue, queue: Queue) -> dict[str, Any]:
    item = describe_item(issue.item_id, issue.column, queue)
    return {**item, "suggested_label": issue.suggested_label, "state": queue.tell_state(issue)}


def _take_one_an_item(issues: list[Issue]) -> list[Issue]:
    return list({each.item_id: each for each in reversed(issues)}.values())[::-1]
