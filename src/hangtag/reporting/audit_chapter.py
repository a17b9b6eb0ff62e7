"""Build the chapter of the report on suspected errors: the audit, the decisions of the review, and what was applied.

`build_audit` returns the values that the template shows; a part that has not run is None.
"""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from hangtag.auditing.expected_right import describe_expected, describe_weakness
from hangtag.auditing.issues import CODES, LABEL_CODES, LABEL_ERROR
from hangtag.reporting.format import Context
from hangtag.reporting.inputs import Inputs

# The maximum number of categories in the table of those with the most suspected errors.
MAX_CATEGORIES = 10
# What each kind of issue means; label errors by their evidence.
MEANINGS = {
    "label_error (image+name)": "photograph and name agree with each other, and not with the label",
    "label_error (image)": "the photograph contradicts the label",
    "label_error (name)": "the name contradicts the label",
    "duplicate_label_conflict": "one photograph with two labels",
    "unlikely_combination": "nearly all items of the category have another value",
    "spelling_variant": "a rarer spelling of another value",
    "bad_picture": "blank, tiny, nearly one colour, or no product",
    "same_product": "one photograph, name and category under several ids",
    "exact_duplicate": "the same pixels for several items",
    "near_duplicate": "nearly the same photograph for several items",
}


def build_audit(inputs: Inputs) -> Context:
    """Return the results of the audit, of the review and of `apply`, each None where there are none."""
    return {
        "audit": _describe_audit(inputs) if inputs.audit is not None else None,
        "review": inputs.review,
        "applied": _describe_applied(inputs) if inputs.applied is not None else None,
        "has_table": bool(inputs.labelled.schema.table),
    }


def _describe_audit(inputs: Inputs) -> Context:
    summary = inputs.audit or {}
    not_checked: dict[str, list[str]] = {}
    for check, reason in summary.get("not_applicable", {}).items():
        not_checked.setdefault(reason, []).append(check.replace("_", " "))
    schema = inputs.labelled.schema
    return {
        "items": summary["items"],
        # Audits by earlier versions did not count them.
        "judged": summary.get("judged"),
        "items_with_issues": summary["items_with_issues"],
        "codes": list_codes(summary),
        "expected": summary.get("expected_right", {}).get("first", []),
        "sentence": describe_expected(summary),
        "weakness": describe_weakness(summary),
        "column": schema.find_heading(schema.levels[-1]),
        "categories": list_categories(summary, schema.find_heading(schema.levels[-1])),
        "sources": [source["source"] for source in summary.get("sources", {}).values()],
        "not_checked": [{"checks": checks, "reason": reason} for reason, checks in not_checked.items()],
        "is_current": inputs.is_audit_current,
    }


def list_codes(summary: Mapping[str, Any]) -> list[Context]:
    """Return the number of issues of each kind that was found, label errors by their evidence.

    Args:
        summary: The content of `audit/summary.json`.
    """
    counts = {f"{LABEL_ERROR} ({evidence})": count for evidence, count in summary["evidence"].items()}
    counts |= {code: summary["issues"].get(code, 0) for code in CODES if code != LABEL_ERROR}
    return [
        {
            "name": kind.replace("_", " "),
            "meaning": MEANINGS.get(kind, ""),
            "count": count,
            "is_label": kind.partition(" ")[0] in LABEL_CODES,
        }
        for kind, count in counts.items()
        if count
    ]


def list_categories(summary: Mapping[str, Any], column: str) -> list[Context]:
    """Return the values of a level with the most suspected errors, the most first.

    Args:
        summary: The content of `audit/summary.json`.
        column: The heading of the level.

    Returns:
        Rows of `catalog_scores.csv` with at least one issue, at most `MAX_CATEGORIES`.
    """
    rows = [row for row in summary.get("catalog_scores", []) if row["column"] == column and row["issues"]]
    return sorted(rows, key=lambda row: (-row["issues"], row["judged"], row["value"]))[:MAX_CATEGORIES]


def _describe_applied(inputs: Inputs) -> Context:
    manifest = inputs.applied or {}
    decisions = (inputs.review or {}).get("digest")
    return {
        "counts": manifest["counts"],
        "files": sorted(name for name in manifest["outputs"] if PurePosixPath(name).parts[0] == "corrected"),
        # `apply` starts from all decisions each time, so that later ones ask for another call.
        "is_current": manifest["inputs"].get("decisions") == decisions,
    }
