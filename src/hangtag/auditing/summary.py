"""Say what an audit found, looked at and could not look at: for `summary.json`, and in lines for people."""

import textwrap
from collections.abc import Mapping
from typing import Any

from hangtag.auditing.learnt_items import PHOTOGRAPHS_IN_PART, UNKNOWN

WIDTH = 80


def describe_audit(summary: Mapping[str, Any]) -> str:
    """Give the counts of every code, what the labels were held against, and the checks that did not apply.

    Args:
        summary: What `summary.json` holds.
    """
    lines = [f"{count:>8,}  {code.replace('_', ' ')}" for code, count in summary["issues"].items() if count]
    witnesses = [_describe_witness(each) for each in summary["witnesses"].values()]
    reasons: dict[str, list[str]] = {}
    for check, reason in summary["not_applicable"].items():
        reasons.setdefault(reason, []).append(check.replace("_", " "))
    missing = [f"Not looked at: {', '.join(checks)}. {reason}" for reason, checks in reasons.items()]
    folded = [
        textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False) for text in witnesses + missing
    ]
    return "\n".join([*(lines or ["No issue was found."]), *folded])


def _describe_witness(found: Mapping[str, Any]) -> str:
    """Say where probabilities come from, for how many items, and whether all of these are out-of-sample."""
    parts = [f"Held against: {found['source']}, {found['items']:,} items."]
    if count := found.get("items_learnt"):
        parts.append(f"Left out: {count:,} items whose photographs it learnt from.")
    known_by = found.get("learnt_items_known_by")
    if known_by == UNKNOWN:
        parts.append(
            "It does not say what it learnt from: what it learnt from here, if anything, is not out-of-sample."
        )
    if known_by == PHOTOGRAPHS_IN_PART:
        parts.append("What the weights that it began from learnt from is not known.")
    return " ".join(parts)
