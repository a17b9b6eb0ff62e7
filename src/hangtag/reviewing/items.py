"""The items under review: their values, names and photographs, read without the training code's libraries."""

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hangtag.catalog.files import FileError, find_named
from hangtag.catalog.images import Pixels
from hangtag.catalog.schema import CatalogSchema, read_schema
from hangtag.catalog.source import Source, open_source
from hangtag.errors import CatalogError, WorkspaceError
from hangtag.manifest import compute_digest, require_manifest
from hangtag.workspace import Workspace

HINT = "Run `hangtag prepare CATALOG` with this workspace first."
# What every browser shows, by how such a file begins.
SHOWN_AS_THEY_ARE = ((b"\xff\xd8\xff", "image/jpeg"), (b"\x89PNG\r\n", "image/png"), (b"GIF8", "image/gif"))
MAX_BYTES = 30_000_000


@dataclass(frozen=True)
class Items:
    """A prepared catalogue, column by column.

    Attributes:
        ids: The item ids, in the order of `images`.
        places: The place of each id.
        columns: The catalogue's own columns as text, and `image_path`.
        images: Pixels, uint8 (n, height, width, 3), a read-only memory map.
        schema: What the columns mean.
        digest: Changes when anything of it does.
        source: The catalogue itself, or None where it cannot be reached.
    """

    ids: list[str]
    places: dict[str, int]
    columns: dict[str, list[str]]
    images: Pixels
    schema: CatalogSchema
    digest: str
    source: Source | None

    @property
    def described_by(self) -> tuple[str, ...]:
        """The levels, then the attributes."""
        return (*self.schema.levels, *self.schema.attributes)

    def read_values(self, item_id: str) -> dict[str, str]:
        """Give an item's levels and attributes as the catalogue has them."""
        place = self.places[item_id]
        return {column: self.columns[column][place] for column in self.described_by}

    def read_name(self, item_id: str) -> str:
        """Give an item's name; empty where the catalogue has no names."""
        return self.columns[self.schema.name][self.places[item_id]] if self.schema.name else ""

    def read_photograph(self, item_id: str, *, original: bool) -> tuple[bytes, str]:
        """Give an item's photograph as a file, and its media type.

        Args:
            item_id: One of `ids`.
            original: The catalogue's own file where it can be reached and shown; else the packed pixels as PNG.
        """
        place = self.places[item_id]
        if original and (found := self._read_original(self.columns["image_path"][place])):
            return found
        buffer = BytesIO()
        Image.fromarray(self.images[place]).save(buffer, "PNG", compress_level=1)
        return buffer.getvalue(), "image/png"

    def _read_original(self, path: str) -> tuple[bytes, str] | None:
        if self.source is None:
            return None
        try:
            content = self.source.read(path, MAX_BYTES)
        except FileError:
            return None
        return next(((content, kind) for start, kind in SHOWN_AS_THEY_ARE if content.startswith(start)), None)


def read_items(workspace: Workspace) -> Items:
    """Open what `prepare` wrote.

    Raises:
        WorkspaceError: Nothing is prepared in this workspace, or its files do not belong together.
    """
    from arro3.io import read_parquet  # noqa: PLC0415  (takes time that --help need not)

    manifest = require_manifest(workspace.prepared, HINT)
    schema = read_schema(manifest)
    try:
        table = read_parquet(workspace.prepared / "items.parquet").read_all()
        images = np.load(workspace.prepared / "images.npy", mmap_mode="r", allow_pickle=False)
    except Exception as error:
        # arro3 raises bare Exceptions.
        raise WorkspaceError(f"The prepared catalogue cannot be read: {error}.", hint=HINT) from error
    wanted = dict.fromkeys(("item_id", "image_path", *schema.columns))
    columns = {name: _to_texts(table, name) for name in wanted}
    if len(columns["item_id"]) != len(images):
        raise WorkspaceError("The prepared items and pixels do not belong together.", hint=HINT)
    ids = columns["item_id"]
    places = {item_id: place for place, item_id in enumerate(ids)}
    return Items(ids, places, columns, images, schema, compute_digest(manifest), _open_origin(manifest))


def _to_texts(table: Any, name: str) -> list[str]:
    """Give a column as texts; missing ones, and those of a column that is not there, are empty."""
    if name not in table.column_names:
        return [""] * table.num_rows
    return ["" if value is None else str(value) for value in table.column(name).to_pylist()]


def _open_origin(manifest: dict[str, Any]) -> Source | None:
    """Open the catalogue where `prepare` found it, if it is still there."""
    try:
        path = manifest["origin"]["catalog"]
        return open_source(Path(find_named(path))) if path else None
    except (CatalogError, KeyError, TypeError, OSError):
        return None
