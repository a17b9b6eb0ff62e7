"""The cleaned labels on disk, with the pixels they belong to."""

from dataclasses import dataclass

import polars as pl

from hangtag.artifacts import hash_json
from hangtag.catalog import missing
from hangtag.catalog.images import Pixels
from hangtag.catalog.missing_cells import hide_missing
from hangtag.catalog.prepared import read_prepared
from hangtag.catalog.schema import CatalogSchema
from hangtag.errors import WorkspaceError
from hangtag.labels.photograph_hashes import DUPLICATE_DISTANCE
from hangtag.manifest import require_manifest
from hangtag.workspace import Workspace

UNKNOWN = missing.UNKNOWN
HINT = "Run `hangtag clean` with this workspace first."


@dataclass(frozen=True)
class Labelled:
    """A catalogue with one label an item.

    Attributes:
        table: One row a kept item: `item_id`, `image_index` (its row in `images`), the catalogue's own
            columns (null where a level, an attribute or the name is missing), `label`, `split` (null for items
            that are in none, as all Unknown ones), `group_id` (duplicates share it) and `pixel_hash`.
        images: Pixels of all prepared items, uint8 (n, height, width, 3), a read-only memory map.
        class_names: The labels to learn, in alphabetical order; a class's index is its place.
        schema: What the catalogue's columns mean.
        digest: Changes when the labels, the splits or the pixels do.
    """

    table: pl.DataFrame
    images: Pixels
    class_names: tuple[str, ...]
    schema: CatalogSchema
    digest: str

    def of_split(self, split: str) -> pl.DataFrame:
        """Give the rows of one split, in the table's order."""
        return self.table.filter(pl.col("split") == split)


def read_hash_distance(workspace: Workspace) -> int | None:
    """Return how far apart perceptual hashes may be that the splits keep on one side, 0 or 1 (as a leak counts).

    None where that is not known at this size of photographs, since the splits came from another workspace: only equal
    pixels are on one side for certain.
    """
    settings = require_manifest(workspace.labels, HINT)["settings"]
    distance = settings.get("max_hash_distance")
    return None if distance is None or settings.get("splits_from") else min(int(distance), DUPLICATE_DISTANCE)


def read_labelled(workspace: Workspace) -> Labelled:
    """Open what `clean` wrote.

    Raises:
        WorkspaceError: Nothing is cleaned in this workspace, or it was cleaned before the last `prepare`.
    """
    prepared = read_prepared(workspace)
    manifest = require_manifest(workspace.labels, HINT)
    if manifest["inputs"].get("prepared") != prepared.digest:
        raise WorkspaceError("The labels belong to another state of the prepared catalogue.", hint=HINT)
    try:
        table = hide_missing(pl.read_parquet(workspace.labels / "labels.parquet"), prepared.schema)
        labels_sha256 = manifest["outputs"]["labels.parquet"]["sha256"]
    except (OSError, KeyError, pl.exceptions.PolarsError) as error:
        raise WorkspaceError(f"The cleaned labels cannot be read: {error}.", hint=HINT) from error
    class_names = table.filter(pl.col("split").is_not_null())["label"].unique().sort().to_list()
    # Only what a model can learn from: another wording in the table of changes leaves trained runs as they are.
    digest = hash_json([prepared.digest, labels_sha256])
    return Labelled(table, prepared.images, tuple(class_names), prepared.schema, digest)
