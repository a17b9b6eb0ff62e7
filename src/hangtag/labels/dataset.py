"""Read the cleaned labels with their pixels and splits, and apply the changes of a review to given labels."""

import csv
import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from hangtag.catalog import missing_values
from hangtag.catalog.images import Pixels
from hangtag.catalog.prepared_items import OtherPhotographs, Prepared, hide_missing, read_categories, read_prepared
from hangtag.catalog.products import is_same_product
from hangtag.catalog.schema import CatalogSchema
from hangtag.errors import WorkspaceError
from hangtag.io import hash_json, require_file, unguard_cell
from hangtag.labels.image_hashes import DUPLICATE_DISTANCE
from hangtag.manifest import NAME as MANIFEST
from hangtag.manifest import require_manifest
from hangtag.workspace import Workspace

UNKNOWN = missing_values.UNKNOWN
CLEAN_FIRST = "Run `hangtag clean` with this workspace first."


@dataclass(frozen=True)
class LabeledItems:
    """A catalogue with one label for each item.

    Attributes:
        table: One row per item: `item_id`, `image_index` (its row in `images`), the catalogue's own columns (null if
            a level, an attribute or the name is missing), `label`, `split` (null for items without a split, such as
            all Unknown ones), `group_id` (equal for duplicates) and `pixel_hash`.
        images: Pixels of all prepared items, uint8 (n, height, width, 3), a read-only memory map.
        class_names: The labels that models are trained on, in alphabetical order, the order of the class indices.
        schema: The meaning of the catalogue's columns.
        digest: A digest that changes with the labels, the splits and the pixels.
        others: The photographs beside the first of each prepared item.
    """

    table: pl.DataFrame
    images: Pixels
    class_names: tuple[str, ...]
    schema: CatalogSchema
    digest: str
    others: OtherPhotographs = field(default_factory=OtherPhotographs)

    def of_split(self, split: str) -> pl.DataFrame:
        """Return the rows of one split, in the table's order."""
        return self.table.filter(pl.col("split") == split)


def read_hash_distance(workspace: Workspace) -> int | None:
    """Return how far apart perceptual hashes may be that the splits keep on one side, 0 or 1 (as a leak counts).

    None where that is not known at this size of photographs, since the splits came from another workspace: only equal
    pixels are on one side for certain.
    """
    settings = require_manifest(workspace.labels, CLEAN_FIRST)["settings"]
    distance = settings.get("max_hash_distance")
    return None if distance is None or settings.get("splits_from") else min(int(distance), DUPLICATE_DISTANCE)


def read_labeled_items(workspace: Workspace) -> LabeledItems:
    """Open what `clean` wrote.

    Raises:
        WorkspaceError: Nothing is cleaned in this workspace, or it was cleaned before the last `prepare`.
    """
    prepared = read_prepared(workspace)
    manifest = require_manifest(workspace.labels, CLEAN_FIRST)
    if manifest["inputs"].get("prepared") != prepared.digest:
        raise WorkspaceError("The labels belong to another state of the prepared catalogue.", hint=CLEAN_FIRST)
    try:
        table = hide_missing(pl.read_parquet(workspace.labels / "labels.parquet"), prepared.schema)
        labels_sha256 = manifest["outputs"]["labels.parquet"]["sha256"]
    except (OSError, KeyError, pl.exceptions.PolarsError) as error:
        raise WorkspaceError(f"The cleaned labels cannot be read: {error}.", hint=CLEAN_FIRST) from error
    class_names = table.filter(pl.col("split").is_not_null())["label"].unique().sort().to_list()
    # Only what a model can learn from: another wording in the table of changes leaves trained runs as they are.
    digest = hash_json([prepared.digest, labels_sha256])
    return LabeledItems(table, prepared.images, tuple(class_names), prepared.schema, digest, prepared.others)


# The table of changes that `clean` writes.
CHANGES = {
    "item_id": pl.String,
    "column": pl.String,
    "old": pl.String,
    "new": pl.String,
    "rule": pl.String,
    "matched_by": pl.String,
    "score": pl.Float64,
}
REVIEW_RULES = ("reviewed", "auto")
# The rule by which white space at the ends of a category is taken away.
WHITE_SPACE = "white_space"
FILE = "label_changes.csv"
APPLY_AGAIN = "Run `hangtag apply` with this workspace again."
COLUMNS = ("item_id", "column", "old", "new", "rule")
# The name of the product that was changed; files of earlier versions lack it.
PRODUCT = "product"
Line = dict[str, str]


def read_reviewed(workspace: Workspace) -> list[Line]:
    """Read the changes that `hangtag apply` wrote: item_id, column, old, new and rule; none where it has not run.

    Raises:
        WorkspaceError: The file is not what it writes.
    """
    path = workspace.review / FILE
    if os.path.lexists(workspace.review / MANIFEST):
        # Changes that are lost would be left out without a word. The other files may have been edited since.
        require_manifest(workspace.review, APPLY_AGAIN, [FILE])
    if not os.path.lexists(path):
        return []
    try:
        require_file(path)
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise WorkspaceError(f"The changes of the review cannot be read: {error}.", hint=APPLY_AGAIN) from error
    for line in lines:
        if not set(COLUMNS) <= set(line) or line["rule"] not in REVIEW_RULES or None in line.values():
            raise WorkspaceError(
                "The changes of the review cannot be read.",
                allowed=f"Allowed: the columns {', '.join(COLUMNS)}, a rule of {', '.join(REVIEW_RULES)}.",
                received=path.name,
                hint=APPLY_AGAIN,
            )
    named = (*COLUMNS, PRODUCT)
    return [{column: unguard_cell(line[column]) for column in named if column in line} for line in lines]


def is_of_other_product(prepared: Prepared, lines: list[Line]) -> list[bool]:
    """Return for each change whether its id now belongs to another product, which has another name."""
    if not lines or not prepared.schema.name:
        return [False] * len(lines)
    names = dict(prepared.items.select("item_id", pl.col(prepared.schema.name).fill_null("")).iter_rows())
    return [not is_same_product(line.get(PRODUCT, ""), names.get(line["item_id"])) for line in lines]


def apply_review_changes(prepared: Prepared, lines: list[Line]) -> tuple[Prepared, pl.DataFrame]:
    """Return the catalogue with the changes made, and the table of those that were made.

    A change whose old value is not the item's any more is left out: the catalogue was prepared anew since, with that
    change or with another. So is a change of another product that had the same id.
    """
    others = is_of_other_product(prepared, lines)
    own_lines = [line for line, is_other in zip(lines, others, strict=True) if not is_other]
    changes = pl.DataFrame(own_lines, schema={column: CHANGES[column] for column in COLUMNS})
    items, made = prepared.items, []
    for column in changes["column"].unique(maintain_order=True).to_list():
        # As the table heads it, and as hangtag's tables call it.
        name = prepared.schema.by_heading.get(column)
        if name is None:
            continue
        there = items.select("item_id", now=pl.col(name))
        own = changes.filter(pl.col("column") == column).join(there, on="item_id", maintain_order="left")
        own = own.filter(pl.col("old") == pl.col("now"))
        new = dict(own.select("item_id", "new").iter_rows())
        values = [new.get(item_id, value) for item_id, value in items.select("item_id", name).iter_rows()]
        items = items.with_columns(pl.Series(name, values, dtype=items.schema[name]))
        made.append(own.select(COLUMNS))
    table = pl.concat([changes.clear(), *made])
    empty = {name: pl.lit(None, kind) for name, kind in CHANGES.items() if name not in COLUMNS}
    return dataclasses.replace(prepared, items=items), table.with_columns(**empty)


def strip_categories(prepared: Prepared) -> tuple[Prepared, pl.DataFrame]:
    """Return the catalogue without white space at the ends of its levels and attributes, and the table of changes.

    Missing cells stay as they were delivered.
    """
    items, made = prepared.items, []
    for column in (*prepared.schema.levels, *prepared.schema.attributes):
        stripped = read_categories(items[column], prepared.schema.missing)
        heading = pl.lit(prepared.schema.find_heading(column))
        there = items.select("item_id", column=heading, old=pl.col(column).cast(pl.String), new=stripped)
        made.append(there.filter(pl.col("old") != pl.col("new")))
        items = items.with_columns(stripped.fill_null(items[column]).alias(column))
    empty = {name: pl.lit(None, kind) for name, kind in CHANGES.items() if name not in COLUMNS}
    changes = pl.concat(made).with_columns(rule=pl.lit(WHITE_SPACE), **empty).cast(pl.Schema(CHANGES))
    return dataclasses.replace(prepared, items=items), changes.select(list(CHANGES))


# Measure how evenly items spread over the values of a column.


def compute_balance(counts: Sequence[int]) -> float:
    """Return the entropy of the shares over the entropy of equal shares, H / ln C.

    Args:
        counts: Items a value, each above 0.

    Returns:
        0 (all items have one value) to 1 (as many items a value). One value alone counts as 0.
        Source: section 2.5 of the capstone report.
    """
    total = sum(counts)
    if len(counts) < 2:
        return 0.0
    entropy = -sum(count / total * math.log(count / total) for count in counts)
    return entropy / math.log(len(counts))


def describe_balance(columns: Mapping[str, pl.Series]) -> dict[str, dict[str, float | int]]:
    """Return the number of values and the balance of each column, nulls left out."""
    described: dict[str, dict[str, float | int]] = {}
    for name, values in columns.items():
        counts = values.drop_nulls().value_counts()["count"].to_list()
        described[name] = {"num_values": len(counts), "balance": round(compute_balance(counts), 6)}
    return described
