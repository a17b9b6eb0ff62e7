"""The catalogue's own table as it lies there now: its bytes, and its cells by item."""

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from hangtag.catalog.files import find_named, read_regular
from hangtag.catalog.read import MAX_TABLE_BYTES, read_table
from hangtag.catalog.schema import CatalogSchema
from hangtag.catalog.source import open_source
from hangtag.catalog.table import Table, parse_table
from hangtag.errors import CatalogError

HINT = "Name the catalogue with --catalog."


@dataclass(frozen=True)
class Original:
    """A catalogue's table.

    Attributes:
        name: Its file name.
        data: Its bytes.
        table: The same, parsed; rows by the columns' headings.
        rows: The position in `table.rows` of each item.
        headings: The heading of each column, by its name in hangtag's tables.
    """

    name: str
    data: bytes
    table: Table
    rows: dict[str, int]
    headings: dict[str, str]

    def read_values(self) -> dict[str, dict[str, str]]:
        """Give the values of every item, by item and then by column as hangtag calls it."""
        return {
            item_id: {name: self.table.rows[row][heading] for name, heading in self.headings.items()}
            for item_id, row in self.rows.items()
        }


def read_original(manifest: dict[str, Any], schema: CatalogSchema, catalog: Path | None) -> Original:
    """Read the table that `prepare` read.

    Args:
        manifest: Of `prepare`; it says where the catalogue was.
        schema: What the columns mean.
        catalog: Where the catalogue is now; None where it has not moved.

    Raises:
        CatalogError: It is not there, or is not that table any more.
    """
    origin = manifest.get("origin")
    origin = origin if isinstance(origin, dict) else {}
    place = catalog or (Path(find_named(origin["catalog"])) if origin.get("catalog") else None)
    if place is None or not os.path.exists(place):  # noqa: PTH110  (it raises nothing, whatever the name)
        raise CatalogError("The catalogue is not where it was.", received=place and str(place), hint=HINT)
    data = _read(place, origin.get("table") or schema.table)
    table = parse_table(data, schema.table)
    headings = dict(zip(schema.columns, schema.headings, strict=True))
    if missing := [heading for heading in headings.values() if heading not in table.columns]:
        raise CatalogError("The catalogue's table has lost columns since `hangtag prepare`.", received=missing)
    rows: dict[str, int] = {}
    for position, row in enumerate(table.rows):
        # Of an id that is given twice, the first row is the item, as for `prepare`.
        rows.setdefault(row[headings[schema.id]].strip(), position)
    return Original(PurePosixPath(schema.table).name, data, table, rows, headings)


def _read(place: Path, name: str) -> bytes:
    """Read the table: the file itself, or the one of that path in a folder or .zip."""
    base = PurePosixPath(name).name
    try:
        if place.is_file() and place.suffix.lower() in (".csv", ".tsv", ".txt"):
            return read_regular(place, MAX_TABLE_BYTES)
        source = open_source(place)
        if not source.has(name):
            found = [each for each in source.names() if PurePosixPath(each).name == base]
            name = min(found, key=lambda each: (each.count("/"), each))
        return read_table(source, name)
    except (OSError, ValueError) as error:
        raise CatalogError("The catalogue's table cannot be read.", received=base, hint=HINT) from error
