"""The table of issues: one row for each, with the same columns for every check."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

ERROR, WARNING, INFO = "error", "warning", "info"
LABEL_ERROR = "label_error"
EXACT_DUPLICATE = "exact_duplicate"
NEAR_DUPLICATE = "near_duplicate"
LABEL_CONFLICT = "duplicate_label_conflict"
SAME_PRODUCT = "same_product"
UNLIKELY_COMBINATION = "unlikely_combination"
SPELLING_VARIANT = "spelling_variant"
BAD_PICTURE = "bad_picture"
# Codes that say that a value of the catalogue is wrong; the others are about pictures, or informative.
LABEL_CODES = (LABEL_ERROR, LABEL_CONFLICT, UNLIKELY_COMBINATION, SPELLING_VARIANT)
CODES = (*LABEL_CODES, BAD_PICTURE, SAME_PRODUCT, EXACT_DUPLICATE, NEAR_DUPLICATE)
# Which probabilities contradict the label of a `label_error`; other codes have no evidence.
IMAGE_AND_NAME, IMAGE, NAME = EVIDENCE = ("image+name", "image", "name")
# The order of these columns is fixed: other stages and people's own programs read them.
COLUMNS = {
    "item_id": pl.String,
    "code": pl.String,
    "severity": pl.String,
    "column": pl.String,
    "given_label": pl.String,
    "suggested_label": pl.String,
    "evidence": pl.String,
    "score": pl.Float64,
    "reason": pl.String,
    "changes": pl.String,
    "group_id": pl.String,
    "item_change": pl.String,
}
IDENTITY = ("item_id", "code", "column")
# Further digits of a score depend on rounding.
DIGITS = 6


class NotApplicableError(Exception):
    """A check does not apply to this catalogue; the message says why, and what would help.

    Attributes:
        tables: Tables by file name that `audit` writes all the same, because they help.
    """

    def __init__(self, message: str, tables: Mapping[str, pl.DataFrame] | None = None) -> None:
        """Keep the message and the tables."""
        super().__init__(message)
        self.tables = dict(tables or {})


def build_issues(lines: Sequence[Mapping[str, Any]], code: str, severity: str) -> pl.DataFrame:
    """Return the issues of one code.

    Args:
        lines: A mapping for each issue: `item_id`, `score` (0 to 1), `reason`, and where there are any `given_label`,
            `suggested_label`, `evidence`, `column`, `changes` (new values by column) and `group_id`.
        code: Of `CODES`.
        severity: `error`, `warning` or `info`; a line's own wins.
    """
    empty = dict.fromkeys(("given_label", "suggested_label", "evidence", "column", "group_id", "item_change"), "")
    empty["severity"] = severity
    full = [{**empty, **line, "code": code, "changes": write_changes(line.get("changes", {}))} for line in lines]
    return pl.DataFrame(full, schema=COLUMNS)


def write_changes(changes: Mapping[str, str]) -> str:
    """Write new values by column as JSON in one line."""
    return json.dumps(dict(changes), ensure_ascii=False)


def join_issues(tables: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Join the issues of all checks, the highest score first; of the same item, code and column the best is kept."""
    found = pl.concat([pl.DataFrame(schema=COLUMNS), *tables])
    rounded = found.with_columns(pl.col("score").clip(0, 1).round(DIGITS))
    # Ties are sorted by code and item, so that the order does not depend on that of the rows.
    ordered = rounded.sort("score", "code", "item_id", "column", descending=[True, False, False, False])
    return ordered.unique(IDENTITY, keep="first", maintain_order=True)


def use_headings(issues: pl.DataFrame, headings: Mapping[str, str]) -> pl.DataFrame:
    """Return the issues with the catalogue's columns as the table heads them.

    Args:
        issues: All issues.
        headings: The headings by the names of hangtag's tables.
    """
    renamed = {column: heading for column, heading in headings.items() if column != heading}
    if not renamed:
        return issues
    names = re.compile(rf"\b({'|'.join(map(re.escape, sorted(renamed, key=len, reverse=True)))})\b")

    def rename(changes: str) -> str:
        return write_changes({renamed.get(column, column): new for column, new in json.loads(changes).items()})

    reasons = [names.sub(lambda found: renamed[found[1]], reason) for reason in issues["reason"]]
    return issues.with_columns(
        pl.col("column").replace(renamed),
        pl.Series("reason", reasons, pl.String),
        pl.Series("changes", list(map(rename, issues["changes"])), pl.String),
    )


def mark_changed_items(issues: pl.DataFrame, changes: pl.DataFrame | None) -> pl.DataFrame:
    """Return the issues with `new` or `changed` in `item_change`, where their item is so since the catalogue before.

    Args:
        issues: All issues.
        changes: Which items are so: `item_id` and `change`; None where there was no catalogue before.
    """
    if changes is None:
        return issues
    changed = dict(changes.select("item_id", "change").iter_rows())
    marks = [changed.get(item_id, "") for item_id in issues["item_id"]]
    return issues.with_columns(item_change=pl.Series(marks, dtype=pl.String))


def count_codes(issues: pl.DataFrame) -> dict[str, int]:
    """Return the number of issues of every code, 0 included."""
    counts = dict(issues["code"].value_counts().iter_rows())
    return {code: int(counts.get(code, 0)) for code in CODES}


def count_evidence(issues: pl.DataFrame) -> dict[str, int]:
    """Return the number of label errors by each kind of evidence, 0 included."""
    counts = dict(issues.filter(pl.col("code") == LABEL_ERROR)["evidence"].value_counts().iter_rows())
    return {evidence: int(counts.get(evidence, 0)) for evidence in EVIDENCE}


def format_probability(value: float | np.floating[Any]) -> str:
    """Format a probability with two digits, at most 0.99, since no model is certain."""
    return f"{min(max(float(value), 0.0), 0.99):.2f}"


Rows = npt.NDArray[np.int64]
