"""Read an audited workspace with the decisions of its review, and summarize it for people: `check` and the report do.

One summary for all: what the command prints, what the page shows, what the review asks and what `issues.csv` lists
are the same numbers.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from hangtag.auditing.catalog_summary import sort_into_kinds, summarize_issues, summarize_share
from hangtag.auditing.category_mapping import MODEL_CLASS
from hangtag.auditing.category_suggestions import FILE as SUGGESTED
from hangtag.catalog.prepared_items import Prepared, read_prepared
from hangtag.catalog.schema import CatalogSchema
from hangtag.io import JsonObject, read_csv, read_json
from hangtag.manifest import require_manifest
from hangtag.reviewing.decision_store import read_decisions
from hangtag.reviewing.decisions import find_states
from hangtag.reviewing.items import read_items
from hangtag.reviewing.queue import read_issues
from hangtag.reviewing.store import find_standing
from hangtag.workspace import Workspace

# Which class of the model each category is: in the audit as it is found, in the workspace as a person wants it.
MAPPING = "category_mapping.csv"
HINT = "Run `hangtag check CATALOG` again."


@dataclass(frozen=True)
class AuditedCatalog:
    """An audited catalogue.

    Attributes:
        workspace: The workspace.
        prepared: The prepared catalogue, whose pixels belong to the rows of `items`.
        schema: The meaning of the columns, by their headings.
        items: All items under the headings of their columns, null where a cell is missing.
        issues: All issues, the highest score first, with `kind` and `state` (`open`, `skipped` or `decided`).
        audited: The content of `audit/summary.json`.
        manifest: The manifest of `prepare`.
        rejected: The content of `rejected.csv`.
    """

    workspace: Workspace
    prepared: Prepared
    schema: CatalogSchema
    items: pl.DataFrame
    issues: pl.DataFrame
    audited: JsonObject
    manifest: JsonObject
    rejected: pl.DataFrame

    @property
    def open_issues(self) -> pl.DataFrame:
        """Return the issues that nobody has decided or skipped."""
        return self.issues.filter(pl.col("state") == "open")


def read_audited(workspace: Workspace) -> AuditedCatalog:
    """Read an audited workspace.

    Raises:
        WorkspaceError: Nothing is prepared or audited, or a file is damaged.
    """
    prepared = read_prepared(workspace)
    schema, headings = prepared.schema.with_headings(), prepared.schema.by_column
    issues = read_csv(workspace.issues, infer_schema=False).with_columns(pl.col(pl.String).fill_null(""))
    return AuditedCatalog(
        workspace,
        prepared,
        schema,
        prepared.known.rename({name: headings[name] for name in prepared.known.columns if name in headings}),
        sort_into_kinds(issues, schema.levels).with_columns(state=_find_states(workspace, len(issues))),
        read_json(workspace.audit / "summary.json"),
        require_manifest(workspace.prepared, HINT),
        read_csv(workspace.prepared / "rejected.csv", infer_schema=False).with_columns(pl.col(pl.String).fill_null("")),
    )


def _find_states(workspace: Workspace, count: int) -> pl.Series:
    """Return the state of each issue, as the review has it."""
    decisions = find_standing(read_decisions(workspace))
    if not decisions:
        return pl.Series(["open"] * count, dtype=pl.String)
    return pl.Series(find_states(read_issues(workspace.issues), decisions, read_items(workspace)), dtype=pl.String)


def summarize(catalog: AuditedCatalog) -> JsonObject:
    """Summarize an audited catalogue; docs/audit.md describes the entries.

    Returns:
        JSON values. `check` adds what it was called with and what has changed since the last check.
    """
    counts, states = catalog.manifest["counts"], Counter(catalog.issues["state"].to_list())
    return {
        "products": counts["items"],
        "photographs": counts["items"] + counts.get("other_photographs", 0),
        "not_read": _summarize_rejected(catalog, counts),
        "judged": catalog.audited["judged"],
        # Audits by earlier versions did not count them.
        "not_judged": catalog.audited.get("not_judged", {}),
        **summarize_issues(catalog.items, catalog.open_issues, catalog.schema),
        "wrong_share": summarize_share(catalog.audited),
        "expected_right": catalog.audited["expected_right"].get("suspected_categories"),
        "not_compared": _describe_gaps(catalog.audited, catalog.workspace),
        "without_category": _summarize_suggestions(catalog.workspace),
        "decided": states["decided"],
        "skipped": states["skipped"],
        "issues": str(catalog.workspace.issues),
    }


def _summarize_rejected(catalog: AuditedCatalog, counts: Mapping[str, Any]) -> JsonObject:
    """Return how many rows and photographs could not be used, and the reasons, the most frequent first."""
    codes = Counter(catalog.rejected["code"].to_list())
    return {
        "products": counts["rejected"],
        "photographs": counts.get("rejected_photographs", 0),
        "reasons": [{"code": code, "count": count} for code, count in codes.most_common()],
        "file": str(catalog.workspace.prepared / "rejected.csv"),
    }


def _describe_gaps(audited: Mapping[str, Any], workspace: Workspace) -> JsonObject:
    """Return why categories were not compared with photographs or with names, and which are not the model's."""
    reasons = audited["not_applicable"]
    photographs = audited["sources"].get("photographs", {})
    path, unknown = workspace.audit / MAPPING, []
    if path.is_file():
        table = read_csv(path, infer_schema=False).filter(pl.col(MODEL_CLASS).is_null())
        levels = table.columns[: table.columns.index("items")]
        names = table.select(pl.concat_str(levels, separator=" > ", ignore_nulls=True)).to_series()
        unknown = [
            {"category": name, "products": int(count)} for name, count in zip(names, table["items"], strict=True)
        ]
    return {
        "photographs": reasons.get("label_error (image)"),
        "names": reasons.get("label_error (name)"),
        "unlike_model": "bad_picture (no product)" in reasons,
        "products_of_other_categories": photographs.get("items_not_mapped", 0),
        "unknown_categories": unknown,
        "mapping": str(path) if unknown else None,
        "own_mapping": str(workspace.root / MAPPING),
    }


def _summarize_suggestions(workspace: Workspace) -> JsonObject | None:
    """Return how many items have no category, and for how many of them one is suggested; None where all have one."""
    path: Path = workspace.audit / SUGGESTED
    if not path.is_file():
        return None
    table = read_csv(path, infer_schema=False)
    sure = int((table["is_sure"] == "yes").sum())
    return {"products": len(table), "suggested": sure, "not_sure": len(table) - sure, "file": str(path)}
