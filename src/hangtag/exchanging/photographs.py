"""Find the files of photographs for other tools, and copy those that lie in no file of their own."""

from pathlib import Path

from hangtag.catalog.files import FileError
from hangtag.catalog.parquet_table import PICTURES
from hangtag.catalog.reader import is_url
from hangtag.io import name_refusals
from hangtag.reviewing.items import MAX_PHOTOGRAPH_BYTES, Items
from hangtag.workspace import Workspace

ORIGINAL, PREPARED = "original", "prepared"
# The subfolder of an output for photographs that lie in no file of their own.
FOLDER = "photographs"


class Photographs:
    """The first photographs of a catalogue's items.

    Args:
        items: The catalogue.
        workspace: Its workspace, which has the downloaded photographs.
    """

    def __init__(self, items: Items, workspace: Workspace) -> None:
        self._items, self._workspace = items, workspace

    def find_url(self, item_id: str) -> str:
        """Return the URL of an item's photograph, or an empty text if the catalogue names a file."""
        path = self._items.list_photographs(item_id)[0]
        return path if is_url(path) else ""

    def find_file(self, item_id: str) -> Path | None:
        """Return the file of an item's photograph, or None.

        There is none if the photograph is inside another file, was downloaded (to a file without a suffix, by which
        other tools know images), or is not there any more.
        """
        path = self._items.list_photographs(item_id)[0]
        if is_url(path) or self._items.source is None:
            return None
        found = self._items.source.path / path
        return found if found.is_file() else None

    def read(self, item_id: str) -> tuple[bytes, str, str]:
        """Return an item's photograph as the bytes of a file, the file's suffix, and `original` or `prepared`.

        The bytes are those of the catalogue's file if it can be read and is a known format. Otherwise they are the
        prepared pixels as PNG, which is lossless.
        """
        content = self._read_original(item_id)
        suffix = next((suffix for start, suffix in PICTURES.items() if content.startswith(start)), "")
        if suffix:
            return content, suffix, ORIGINAL
        content, _ = self._items.read_photograph(item_id, original=False)
        return content, ".png", PREPARED

    def copy(self, item_id: str, folder: Path, name: str) -> tuple[Path, str]:
        """Write a photograph to a folder of staged files; return the file, and `original` or `prepared`."""
        content, suffix, kind = self.read(item_id)
        path = folder / f"{name}{suffix}"
        folder.mkdir(parents=True, exist_ok=True)
        # Not `write_whole`, which would wait for the disk at each of many thousand files: all are staged.
        with name_refusals(path):
            path.write_bytes(content)
        return path, kind

    def _read_original(self, item_id: str) -> bytes:
        path = self._items.list_photographs(item_id)[0]
        try:
            if is_url(path):
                from hangtag.catalog.downloads import find_in_cache  # noqa: PLC0415  (few catalogues need it)

                return find_in_cache(path, self._workspace.downloads).read_bytes()
            return self._items.source.read(path, MAX_PHOTOGRAPH_BYTES) if self._items.source else b""
        except (FileError, OSError):
            return b""
