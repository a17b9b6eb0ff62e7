"""The JSON descriptions of issues, items and decisions that the review page shows."""

from typing import Any

from hangtag.reviewing.grid import Kind
from hangtag.reviewing.queue import Issue, Queue
from hangtag.reviewing.store import Decision

# The maximum number of group members that the page shows; a decision about the group still applies to all of them.
MAX_SHOWN_MEMBERS = 60


def describe_issue(issue: Issue, queue: Queue) -> dict[str, Any]:
    """Return an issue as JSON, with its item, its group, and the versions that a decision must contain."""
    group = queue.list_group(issue)
    others = [member for member in group if member.item_id != issue.item_id]
    decision = queue.find_decision(issue)
    return {
        "position": issue.position,
        "code": issue.code,
        "evidence": issue.evidence,
        "severity": issue.severity,
        "column": issue.column,
        "given_label": issue.given_label,
        "suggested_label": issue.suggested_label,
        "score": issue.score,
        "reason": issue.reason,
        "changes": issue.changes,
        "state": queue.get_state(issue),
        "decision": describe_decision(decision) if decision else None,
        "item": describe_item(issue.item_id, issue.column, queue),
        "history": [describe_decision(earlier) for earlier in queue.list_decisions(issue.item_id)],
        "same": [same.code for same in queue.list_same(issue) if same is not issue],
        "group": {
            "group_id": issue.group_id,
            "size": len(group),
            "open": sum(queue.get_state(member) == "open" for member in group),
            "members": [_describe_member(member, queue) for member in _take_one_per_item(others)[:MAX_SHOWN_MEMBERS]],
        },
        "versions": {member.item_id: queue.read_version(member.item_id) for member in group},
    }


def describe_item(item_id: str, column: str, queue: Queue) -> dict[str, Any]:
    """Return an item as JSON: its name, its values after all decisions, its label, and the paths of its photographs.

    Args:
        item_id: The item's id.
        column: The column of the label; empty for the leaf level.
        queue: The queue with the item's decisions.
    """
    schema = queue.items.schema
    values = queue.read_item(item_id).values
    return {
        "item_id": item_id,
        "name": queue.items.read_name(item_id),
        "label": values.get(column or schema.levels[-1], ""),
        "levels": {level: values[level] for level in schema.levels},
        "attributes": {name: values[name] for name in schema.attributes},
        "photographs": queue.items.list_photographs(item_id),
    }


def describe_decision(decision: Decision) -> dict[str, Any]:
    """Return a decision as JSON, with the values that it changed."""
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
    return {**item, "suggested_label": issue.suggested_label, "state": queue.get_state(issue)}


def _take_one_per_item(issues: list[Issue]) -> list[Issue]:
    return list({issue.item_id: issue for issue in reversed(issues)}.values())[::-1]


def describe_kind(kind: Kind) -> dict[str, Any]:
    """Return a kind of issues as JSON, without its issues."""
    code, column, given_label, suggested_label = kind.key
    return {
        "key": list(kind.key),
        "code": code,
        "column": column,
        "given_label": given_label,
        "suggested_label": suggested_label,
        "open": len(kind.open),
        "right": kind.right,
        "wrong": kind.wrong,
        "share": round(kind.share, 3),
    }


def describe_in_grid(issue: Issue, queue: Queue) -> dict[str, Any]:
    """Return an issue as JSON, as the grid shows it, with the version of its item that a decision must contain."""
    return {
        "position": issue.position,
        "evidence": issue.evidence,
        "score": issue.score,
        "reason": issue.reason,
        "given_label": issue.given_label,
        "suggested_label": issue.suggested_label,
        "item": describe_item(issue.item_id, issue.column, queue),
        "version": queue.read_version(issue.item_id),
    }
