"""Assign each item the category of a public taxonomy that was confirmed for its own, and write it into the table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from hangtag.catalog.schema import CatalogSchema
from hangtag.catalog.shop_layouts import find_layout
from hangtag.config import ApplyConfig
from hangtag.errors import CatalogError, SettingsError
from hangtag.io import hash_json
from hangtag.labels.public_taxonomy import (
    MAPPING_FLAG,
    PublicCategory,
    TaxonomyMapping,
    head_levels,
    read_category_list,
    read_taxonomy_mapping,
)
from hangtag.manifest import require_manifest
from hangtag.reviewing.decisions import Change
from hangtag.reviewing.items import SourceTable
from hangtag.workspace import Workspace

MAP_FIRST = "Run `hangtag map-taxonomy FILE` with this workspace first."
# The default headings of the column, for Google's categories and for Shopify's; layouts of shops have others.
GOOGLE, SHOPIFY = "google", "shopify"
HEADINGS = {GOOGLE: "google_product_category", SHOPIFY: "product_category"}
SHOPIFY_ID = "gid://shopify/"
COLUMN_FLAG, VALUE_FLAG = "--taxonomy-column", "--taxonomy-value"
NOT_LISTED = "the mapping has no such category"
NOT_CONFIRMED = "the mapping has no public category for it"
NO_CATEGORY = "the item has no category"
NO_TABLE = "a catalogue of folders has no table"


class Assigned(NamedTuple):
    """The public categories of all items.

    Attributes:
        rows: The cells of `taxonomy.csv`, in the order of `TaxonomyColumn.headings`.
        counts: What the summary says.
    """

    rows: list[list[str]]
    counts: dict[str, object]


@dataclass(frozen=True)
class TaxonomyColumn:
    """A column with a category of a public taxonomy for each item.

    Attributes:
        mapping: The public category of each of the catalogue's.
        levels: The catalogue's levels, by heading.
        kind: Whose categories they are: `google` or `shopify`.
        heading: The heading of the column that is asked for; empty takes the usual one of the table.
        holds_path: Whether it holds the paths of categories, and not their ids.
        digest: A hash of the mapping.
    """

    mapping: TaxonomyMapping
    levels: tuple[str, ...]
    kind: str
    heading: str
    holds_path: bool
    digest: str

    @property
    def headings(self) -> tuple[str, ...]:
        """The headings of `taxonomy.csv`."""
        return ("item_id", *self.levels, "taxonomy_id", "taxonomy_path", "not_written")

    def write(
        self,
        values: Mapping[str, Mapping[str, str]],
        changes: Mapping[str, Sequence[Change]],
        source: SourceTable | None,
        edited: Mapping[str, bytes],
    ) -> tuple[dict[str, bytes], Assigned]:
        """Write the column, and list the public category of every item.

        Args:
            values: The delivered values of every item by column, by its id.
            changes: The corrections of items, which count.
            source: The catalogue's table, or None where it has none.
            edited: The bytes of the table's files by path, as corrected so far.

        Returns:
            The bytes of the files by path, none where neither the column nor a correction could be written; and the
            list.

        Raises:
            SettingsError: The column is one of the catalogue's categories.
        """
        found = {item_id: self._find(own, changes.get(item_id, ())) for item_id, own in values.items()}
        reasons = {item_id: reason for item_id, (_, category, reason) in found.items() if category is None}
        assigned = {item_id: category for item_id, (_, category, _) in found.items() if category}
        files: dict[str, bytes] = {}
        heading = self.find_heading(source.joined.table.columns if source else ())
        if source is None:
            reasons |= dict.fromkeys(assigned, NO_TABLE)
        else:
            files, refused = self._write_cells(heading, assigned, source, edited)
            reasons |= refused
            if len(refused) == len(assigned) and not changes:
                files = {}
        rows = [
            [item_id, *levels, *((category.id, str(category)) if category else ("", "")), reasons.get(item_id, "")]
            for item_id, (levels, category, _) in found.items()
        ]
        written = len(assigned) - sum(item_id in assigned for item_id in reasons)
        counts: dict[str, object] = {"taxonomy_column": heading, "items_with_taxonomy": len(assigned)}
        if rest := len(found) - len(assigned):
            counts["items_without_taxonomy"] = rest
        if written < len(assigned):
            counts["taxonomy_not_written"] = len(assigned) - written
            counts["why_not_written"] = next(reasons[item_id] for item_id in assigned if item_id in reasons)
        return files, Assigned(rows, counts)

    def _find(self, own: Mapping[str, str], changes: Sequence[Change]) -> tuple[list[str], PublicCategory | None, str]:
        """Return an item's levels, its public category, and why it has none."""
        now = {**own, **{change.column: change.new for change in changes}}
        levels = [now[level] for level in self.levels]
        category = self.mapping.make_category(levels)
        if not any(category):
            return levels, None, NO_CATEGORY
        if category not in self.mapping.matches:
            return levels, None, NOT_LISTED
        match = self.mapping.matches[category]
        return levels, match, "" if match else NOT_CONFIRMED

    def find_heading(self, columns: Sequence[str]) -> str:
        """Return the heading of the column: that which is asked for, else the table's or its shop's usual one."""
        if self.heading:
            return self.heading
        layout = find_layout(columns)
        usual = layout.public_categories.get(self.kind) if layout else None
        wanted = [each for each in (usual, HEADINGS[self.kind]) if each]
        # Shops change the capitals of headings from year to year.
        own = {column.casefold(): column for column in reversed(columns)}
        return next((own[each.casefold()] for each in wanted if each.casefold() in own), wanted[0])

    def _write_cells(
        self, heading: str, assigned: Mapping[str, PublicCategory], source: SourceTable, edited: Mapping[str, bytes]
    ) -> tuple[dict[str, bytes], dict[str, str]]:
        """Return the files with the column, and why items could not get their cell, by id."""
        columns = source.joined.table.columns
        schema = source.products.schema
        if heading in (schema.id, schema.path_column, *schema.levels) and heading in columns:
            raise SettingsError(
                "The catalogue's own categories or ids are in the column that the public categories would be written "
                "into.",
                allowed=f"Allowed for {COLUMN_FLAG}: a new heading, or that of another column, whose cells change.",
                received=heading,
            )
        category_column = source.headings[schema.path_column or schema.levels[-1]]
        cells = source.joined.table.cells[columns.index(category_column)]
        rows: dict[int, str] = {}
        owners: dict[int, str] = {}
        for item_id, category in assigned.items():
            # Of a product of several rows, those have it that have its category.
            for row in source.products.list_rows_with(source.rows[item_id], cells):
                rows[row] = str(category) if self.holds_path else category.id
                owners[row] = item_id
        try:
            written, refused = source.add_column(edited, heading, rows)
        except CatalogError as error:
            return dict(edited), dict.fromkeys(assigned, str(error))
        return written, {owners[row]: reason for row, reason in refused.items()}


def read_taxonomy_column(workspace: Workspace, schema: CatalogSchema, config: ApplyConfig) -> TaxonomyColumn | None:
    """Read the mapping to a public taxonomy that `apply` is asked to write; None if it is asked for none.

    Args:
        workspace: A workspace in which `map-taxonomy` has run, whose list of categories counts.
        schema: The meaning of the catalogue's columns, by their headings.
        config: The settings of `apply`.

    Raises:
        WorkspaceError: `map-taxonomy` has not run, or its list of categories is damaged.
        SettingsError: The mapping cannot be used, or a setting needs one.
    """
    if not config.taxonomy_mapping:
        if config.taxonomy_column or config.taxonomy_value != "auto":
            received = config.taxonomy_column or config.taxonomy_value
            raise SettingsError(f"{COLUMN_FLAG} and {VALUE_FLAG} need {MAPPING_FLAG}.", received=received)
        return None
    # The mapping beside the list may have been edited.
    require_manifest(workspace.taxonomy, MAP_FIRST, ["categories.csv"])
    public = read_category_list(workspace.taxonomy / "categories.csv")
    path = Path(config.taxonomy_mapping)
    mapping = read_taxonomy_mapping(path, MAPPING_FLAG, head_levels(schema.levels), public, schema.missing)
    digest = hash_json([[category, match and [match.id, match.path]] for category, match in mapping.matches.items()])
    if config.taxonomy_value == "id" and not public.by_id:
        raise SettingsError(
            f"{VALUE_FLAG} id: the file that `map-taxonomy` read has no ids.",
            allowed="Allowed: path, or auto.",
            received=config.taxonomy_value,
            hint="Or run `hangtag map-taxonomy` with the taxonomy's file that has ids.",
        )
    holds_path = config.taxonomy_value == "path" or not public.by_id
    kind = SHOPIFY if public.categories[0].id.startswith(SHOPIFY_ID) else GOOGLE
    return TaxonomyColumn(mapping, schema.levels, kind, config.taxonomy_column, holds_path, digest)
