"""The prepared catalogue on disk: its items, its packed pixels and what its columns mean."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from hangtag.catalog.images import Pixels
from hangtag.catalog.missing_cells import hide_missing
from hangtag.catalog.schema import CatalogSchema, read_schema
from hangtag.errors import WorkspaceError
from hangtag.manifest import compute_digest, require_manifest
from hangtag.workspace import Workspace

HINT = "Run `hangtag prepare CATALOG` with this workspace first."


@dataclass(frozen=True)
class Prepared:
    """A prepared catalogue.

    Attributes:
        items: One row an item: `item_id`, `image_path`, `image_width`, `image_height`, `image_mode`,
            `given_split`, and the catalogue's own columns as text, exactly as delivered.
        images: Pixels, uint8 (n, height, width, 3), a read-only memory map; row i belongs to item i.
        schema: What the columns mean.
        taxonomy_text: The label rules that came with the catalogue, TOML, or empty.
        digest: Changes when anything of it does.
    """

    items: pl.DataFrame
    images: Pixels
    schema: CatalogSchema
    taxonomy_text: str
    digest: str

    @cached_property
    def known(self) -> pl.DataFrame:
        """The items with null for every missing cell of their levels, attributes and name."""
        return hide_missing(self.items, self.schema)


def read_prepared(workspace: Workspace) -> Prepared:
    """Open what `prepare` wrote.

    Raises:
        WorkspaceError: Nothing is prepared in this workspace, or its files do not belong together.
    """
    manifest = require_manifest(workspace.prepared, HINT)
    schema = read_schema(manifest)
    try:
        items = pl.read_parquet(workspace.prepared / "items.parquet")
        images = np.load(workspace.prepared / "images.npy", mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, pl.exceptions.PolarsError) as error:
        raise WorkspaceError(f"The prepared catalogue cannot be read: {error}.", hint=HINT) from error
    if len(items) != len(images):
        raise WorkspaceError("The prepared items and pixels do not belong together.", hint=HINT)
    return Prepared(items, images, schema, manifest.get("taxonomy_text", ""), compute_digest(manifest))
