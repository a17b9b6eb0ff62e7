"""The catalogues that a person has chosen: a folder for each, with its description and its workspace."""

import re
import secrets
import threading
import unicodedata
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hangtag.catalog.files import escape_name, find_named
from hangtag.catalog.reader import DESCRIPTION
from hangtag.errors import HangtagError
from hangtag.io import JsonObject, read_json, write_json
from hangtag.reviewing.decision_store import read_decisions
from hangtag.reviewing.store import find_standing
from hangtag.serving.middleware import ProblemError
from hangtag.workspace import Workspace

CATALOG_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,79}")
RECORD = "catalogue.json"
MAX_NAME = 40
# The entries of a catalogue's record.
RECORDED = ("path", "opened", "failed", "layout", "newer", "written")
# What every summary of a check has.
NEEDED = {"prepared", "products", "wrong_categories"}


@dataclass(frozen=True)
class ChosenCatalog:
    """A catalogue that a person has chosen.

    Attributes:
        catalog_id: Its name in addresses and of its folder.
        path: The folder, archive or table.
        opened: When it was chosen, or checked last, in ISO 8601.
        failed: Why its last check did not go through; empty where it did, or was stopped.
        layout: The shop system whose table it is, kept once a description of the person's own replaces it.
        newer: When a newer export took the place of the one that was checked, in ISO 8601; empty once that is checked.
        written: When the corrected file of what was checked last was written, in ISO 8601; empty where it is not.
    """

    catalog_id: str
    path: str
    opened: str
    failed: str = ""
    layout: str = ""
    newer: str = ""
    written: str = ""

    @property
    def name(self) -> str:
        """Return the name that people see: that of the file or folder."""
        return Path(self.path).name or self.path


class Shelf:
    """The folder of the application, with a folder for each catalogue below `catalogues`.

    All methods may be called from several threads.

    Args:
        folder: The folder, which is made if it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._root = folder, folder / "catalogues"
        # Held from reading a record to writing it, so that of two changes none is lost.
        self._lock = threading.RLock()

    def list(self) -> list[ChosenCatalog]:
        """Return the catalogues, the one that was opened last first; damaged records are left out."""
        found = []
        for path in self._root.glob(f"*/{RECORD}"):
            with suppress(ProblemError):
                found.append(self.read(path.parent.name))
        return sorted(found, key=lambda each: each.opened, reverse=True)

    def read(self, catalog_id: str) -> ChosenCatalog:
        """Return a catalogue.

        Raises:
            ProblemError: There is none of that name (404).
        """
        missing = ProblemError(404, "not_found", "This catalogue is not on the list any more. Choose it again.")
        if not CATALOG_ID.fullmatch(catalog_id):
            raise missing
        try:
            values: dict[str, Any] = read_json(self._root / catalog_id / RECORD)
            texts = {name: str(values.get(name, "")) for name in RECORDED}
        except (OSError, ValueError, AttributeError):
            raise missing from None
        if not texts["path"]:
            raise missing
        return ChosenCatalog(catalog_id, **texts | {"path": find_named(texts["path"])})

    def add(self, path: Path) -> ChosenCatalog:
        """Return the catalogue at a path, added to the list if it is not there yet."""
        with self._lock:
            for each in self.list():
                if each.path == str(path):
                    return self.update(each, opened=_now())
            plain = unicodedata.normalize("NFKD", path.stem or "catalogue").encode("ascii", "ignore").decode().lower()
            name = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:MAX_NAME].strip("-") or "catalogue"
            return self._write(ChosenCatalog(f"{name}-{secrets.token_hex(3)}", str(path), _now()))

    def update(self, chosen: ChosenCatalog, **values: str) -> ChosenCatalog:
        """Change values of a catalogue's record, and return it; what others changed meanwhile stays.

        Raises:
            ProblemError: It is not on the list any more.
        """
        with self._lock:
            return self._write(replace(self.read(chosen.catalog_id), **values))

    def _write(self, changed: ChosenCatalog) -> ChosenCatalog:
        record = {key: getattr(changed, key) for key in RECORDED}
        # A name on the disk may be no valid text.
        write_json(self._root / changed.catalog_id / RECORD, record | {"path": escape_name(changed.path)})
        return changed

    def put_newer(self, chosen: ChosenCatalog, path: Path) -> ChosenCatalog:
        """Put a newer export in place of a catalogue, which has to be checked before anything is written of it."""
        return self.update(chosen, path=str(path), opened=_now(), failed="", newer=_now(), written="")

    def mark_checked(self, chosen: ChosenCatalog, failed: str) -> ChosenCatalog:
        """Write that the check of a catalogue has ended, and why it did not go through."""
        newer = chosen.newer if failed else ""
        return self.update(chosen, opened=_now(), failed=failed, newer=newer, written="")

    def mark_opened(self, chosen: ChosenCatalog) -> ChosenCatalog:
        """Write that a catalogue was used now, and that nothing is known to be wrong with its check."""
        return self.update(chosen, opened=_now(), failed="")

    def mark_written(self, chosen: ChosenCatalog, *, is_written: bool) -> ChosenCatalog:
        """Write whether the corrected file of a catalogue is there."""
        return self.update(chosen, written=_now() if is_written else "")

    def is_own(self, chosen: ChosenCatalog) -> bool:
        """Return whether a catalogue was copied into the folder of the application."""
        return Path(chosen.path).is_relative_to(self._folder)

    def get_workspace(self, chosen: ChosenCatalog) -> Workspace:
        """Return the catalogue's workspace."""
        return Workspace.at(self._root / chosen.catalog_id / "workspace")

    def get_description(self, chosen: ChosenCatalog) -> Path:
        """Return the path of the description that the person corrected, or that was proposed, beside the workspace."""
        return self._root / chosen.catalog_id / DESCRIPTION

    def read_summary(self, chosen: ChosenCatalog) -> JsonObject | None:
        """Return the summary of the last check; None where there is none that can be read."""
        with suppress(OSError, ValueError):
            summary = read_json(self.get_workspace(chosen).check_summary)
            return summary if isinstance(summary, dict) and summary.keys() >= NEEDED else None
        return None

    def count_decided(self, chosen: ChosenCatalog) -> int:
        """Return the number of products about which something is decided."""
        with suppress(HangtagError, OSError):
            decisions = find_standing(read_decisions(self.get_workspace(chosen)))
            return len({each.item_id for each in decisions if each.action != "skip"})
        return 0


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
