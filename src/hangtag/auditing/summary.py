"""Say what an audit found, looked at and could not look at: for `summary.json`, and in lines for people."""

import textwrap
from collections.abc import Mapping
from typing import Any

WIDTH = 80


def describe_audit(summary: Mapping[str, Any]) -> str:
    """Give the counts of every code, what the labels were held against, and the checks that did not apply.

    Args:
        summary: What `summary.json` holds.
    """
    lines = [f"{count:>8,}  {code.replace('_', ' ')}" for code, count in summary["issues"].items() if count]
    witnesses = [f"Held against: {each['source']}, {each['items']:,} items." for each in summary["witnesses"].values()]
    reasons: dict[str, list[str]] = {}
    for check, reason in summary["not_applicable"].items():
        reasons.setdefault(reason, []).append(check.replace("_", " "))
    missing = [f"Not looked at: {', '.join(checks)}. {reason}" for reason, checks in reasons.items()]
    folded = [
        textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False) for text in witnesses + missing
    ]
    return "\n".join([*(lines or ["No issue was found."]), *folded])
