"""Describe how many of an audit's first label errors are expected to be right, for the terminal and the pages.

The review shows these sentences too, and a light install has no polars: this file imports neither it nor the audit.
"""

from collections.abc import Mapping
from typing import Any

# The depth of the queue by which an audit is judged: about an hour's review.
JUDGED_DEPTH = 100


def describe_weakness(summary: Mapping[str, Any]) -> str:
    """Return a sentence where fewer than half of the first label errors are expected to be right, and what helps.

    Args:
        summary: The content of `audit/summary.json`.

    Returns:
        The sentences; empty where the evidence is not weak, or there are no label errors.
    """
    expected = summary.get("expected_right", {})
    first = [each for each in expected.get("first", []) if each["issues"] <= JUDGED_DEPTH]
    if not first or first[-1]["expected"] >= first[-1]["issues"] / 2:
        return ""
    is_trained = summary.get("sources", {}).get("photographs", {}).get("kind") == "folds"
    helps = "`hangtag cross-validate` with more --epochs" if is_trained else "`hangtag cross-validate`"
    return (
        f"Weak evidence: the predictions agree with {expected['agreement']:.0%} of the labels, and fewer than half of "
        f"the first label errors are expected to be right. What helps: {helps}, then this audit again."
    )


def describe_expected(summary: Mapping[str, Any]) -> str:
    """Return one sentence with the expected number of right label errors at each depth, and its 95 % interval.

    Args:
        summary: The content of `audit/summary.json`.

    Returns:
        The sentence; empty where there are no label errors.
    """
    parts = [
        f"of the first {each['issues']:,} label errors about {each['expected']:.0f} ({each['low']:,} to "
        f"{each['high']:,})"
        for each in summary.get("expected_right", {}).get("first", [])
    ]
    if not parts:
        return ""
    text = ", ".join([parts[0], *(part.replace(" label errors", "") for part in parts[1:])])
    return f"{text[:1].upper()}{text[1:]} are expected to be right."
