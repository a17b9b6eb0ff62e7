"""Take in what a review has changed, before any rule is applied."""

import csv
import dataclasses
import os

import polars as pl

from hangtag.artifacts import require_file, unguard_cell
from hangtag.catalog.prepared import Prepared
from hangtag.errors import WorkspaceError
from hangtag.manifest import NAME as MANIFEST
from hangtag.manifest import require_manifest
from hangtag.workspace import Workspace

# The table of changes that `clean` writes.
CHANGES = {
    "item_id": pl.String,
    "column": pl.String,
    "old": pl.String,
    "new": pl.String,
    "rule": pl.String,
    "witness": pl.String,
    "score": pl.Float64,
}
REVIEW_RULES = ("reviewed", "auto")
FILE = "label_changes.csv"
HINT = "Run `hangtag apply` with this workspace again."
COLUMNS = ("item_id", "column", "old", "new", "rule")
Line = dict[str, str]


def read_reviewed(workspace: Workspace) -> list[Line]:
    """Read the changes that `hangtag apply` wrote: item_id, column, old, new and rule; none where it has not run.

    Raises:
        WorkspaceError: The file is not what it writes.
    """
    path = workspace.review / FILE
    if os.path.lexists(workspace.review / MANIFEST):
        # Changes that are lost would be left out without a word. The other files may have been edited since.
        require_manifest(workspace.review, HINT, [FILE])
    if not os.path.lexists(path):
        return []
    try:
        require_file(path)
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise WorkspaceError(f"The changes of the review cannot be read: {error}.", hint=HINT) from error
    for line in lines:
        if not set(COLUMNS) <= set(line) or line["rule"] not in REVIEW_RULES or None in line.values():
            raise WorkspaceError(
                "The changes of the review cannot be read.",
                allowed=f"Allowed: the columns {', '.join(COLUMNS)}, a rule of {', '.join(REVIEW_RULES)}.",
                received=path.name,
                hint=HINT,
            )
    return [{column: unguard_cell(line[column]) for column in COLUMNS} for line in lines]


def take_in(prepared: Prepared, lines: list[Line]) -> tuple[Prepared, pl.DataFrame]:
    """Give the catalogue with the changes made, and the table of those that were made.

    A change whose old value is not the item's any more is left out: the catalogue was prepared anew since, with that
    change or with another.
    """
    changes = pl.DataFrame(lines, schema={column: CHANGES[column] for column in COLUMNS})
    items, made = prepared.items, []
    for column in changes["column"].unique(maintain_order=True).to_list():
        if column not in prepared.schema.columns:
            continue
        there = items.select("item_id", now=pl.col(column))
        own = changes.filter(pl.col("column") == column).join(there, on="item_id", maintain_order="left")
        own = own.filter(pl.col("old") == pl.col("now"))
        new = dict(own.select("item_id", "new").iter_rows())
        values = [new.get(item_id, value) for item_id, value in items.select("item_id", column).iter_rows()]
        items = items.with_columns(pl.Series(column, values, dtype=items.schema[column]))
        made.append(own.select(COLUMNS))
    table = pl.concat([changes.clear(), *made])
    empty = {name: pl.lit(None, kind) for name, kind in CHANGES.items() if name not in COLUMNS}
    return dataclasses.replace(prepared, items=items), table.with_columns(**empty)
