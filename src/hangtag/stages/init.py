"""Command `init`: propose a description of a catalogue's table, to look over."""

from pathlib import Path

from hangtag.catalog.column_kinds import find_kinds, format_toml, propose_description, refuse_without_rows
from hangtag.catalog.reader import DESCRIPTION, find_table_file
from hangtag.errors import CatalogError
from hangtag.io import expand_home, write_whole


def init(catalog: str | Path, output: str | Path | None = None, *, encoding: str = "", sheet: str = "") -> Path:
    """Write `catalog.toml` for a catalogue's table, proposed from its values.

    What cannot be found is left as a comment, and every column is listed with what it looks like.

    Args:
        catalog: A folder, a `.zip`, or a table.
        output: The file to write; by default `catalog.toml` beside the table.
        encoding: The encoding of a table of text; empty to find it.
        sheet: The sheet of a workbook; empty takes the first with a header and rows.

    Returns:
        The path of the file.

    Raises:
        CatalogError: There is no table, it cannot be read, or the file exists already.
    """
    path = expand_home(catalog)
    found = find_table_file(path, encoding, sheet)
    if found.table.is_empty:
        raise refuse_without_rows(found.name)
    target = Path(output) if output else (path if path.is_dir() else path.parent) / found.base / DESCRIPTION
    if target.exists():
        raise CatalogError(
            "There is a description of this catalogue already.",
            received=str(target),
            hint="Edit it, or write another one with --output FILE.",
        )
    proposed = propose_description(found.table, found.list_files())
    text = format_toml(found.name, proposed, find_kinds(found.table), found.table.sheets)
    with write_whole(target) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return target
