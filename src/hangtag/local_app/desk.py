"""What can be done with a chosen catalogue: look at its first rows, check it, review it, and correct its file."""

import os
import threading
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hangtag.catalog.files import escape_name
from hangtag.catalog.source import open_source
from hangtag.catalog.table_files import is_table
from hangtag.io import JsonObject, read_csv, write_whole
from hangtag.local_app.catalogs import ChosenCatalog, Shelf
from hangtag.local_app.checks import CheckJob, Checks, CheckTarget
from hangtag.local_app.preview import Preview, change_columns, leave_out_flags, read_preview
from hangtag.local_app.results import Results
from hangtag.results import StageResult
from hangtag.reviewing.app import OpenReview
from hangtag.reviewing.filters import Filter
from hangtag.serving.middleware import ProblemError
from hangtag.workspace import MANIFEST, Workspace

# Catalogues whose first rows are kept, with their photographs.
MAX_PREVIEWS = 4
# The refused changes that a page lists.
MAX_REFUSED = 20
COPIED = "A copy in hangtag's own folder."
BUSY = ProblemError(409, "running", "This catalogue is being checked. Wait until that has ended, or stop it.")
# For a page of the review that is open since before; the status is none that the page takes for another's decision.
CHECKED_AGAIN = ProblemError(
    410,
    "checked_again",
    "The catalogue was checked again since this page was opened. Load this page again to see what that check found. "
    "What you have decided is kept; the last action was not saved.",
)
REVIEW_CLOSED = ProblemError(
    403,
    "no_token",
    "hangtag was started again since this page was opened. Load this page again. What you have decided is kept; the "
    "last action was not saved.",
)
NOT_CHECKED = ProblemError(
    409,
    "not_checked",
    "The newer export has not been checked yet, so its corrected file cannot be made. Check it first: what you have "
    "decided is kept, and is looked for in the newer export.",
)
NOT_WRITTEN = ProblemError(
    404,
    "not_written",
    "There is no corrected file of what was checked last. Write it on the page of the catalogue, under Results.",
)


@dataclass(frozen=True)
class Stages:
    """The stages that the application runs.

    Attributes:
        check: Checks a catalogue, in a process of its own.
        apply: Writes the corrected catalogue of a workspace, whose catalogue may have moved to the path.
        open_review: Opens the review of a workspace; the second argument is the address of the page that leads to it.
    """

    check: CheckTarget
    apply: Callable[[Workspace, Path], StageResult]
    open_review: Callable[[Workspace, str], OpenReview]


class Desk:
    """The work on catalogues. All methods may be called from several threads.

    Args:
        shelf: The catalogues.
        stages: The stages.
    """

    def __init__(self, shelf: Shelf, stages: Stages) -> None:
        self._shelf, self._stages = shelf, stages
        self._checks, self._results = Checks(stages.check, self._note_end), Results(shelf)
        self._previews: OrderedDict[str, Preview] = OrderedDict()
        self._reviews: dict[str, tuple[str, OpenReview]] = {}
        # The tokens of reviews that a later check has ended.
        self._ended: set[str] = set()
        self._lock, self._review_lock = threading.Lock(), threading.Lock()

    def close(self) -> None:
        """Stop all checks, and close the reviews."""
        self._checks.close()
        for _, review in self._reviews.values():
            review.close()

    # The list

    def choose(self, path: Path, replaces: ChosenCatalog | None) -> ChosenCatalog:
        """Return the catalogue at a path, as a new one, or as the newer export of one that is there.

        Raises:
            ProblemError: There is no catalogue at the path, or the earlier one is being checked.
            CatalogError: The catalogue cannot be opened.
        """
        if not path.exists():
            raise ProblemError(404, "no_catalogue", f"There is nothing at this path: {escape_name(str(path))}")
        if path in (Path.home(), *Path.home().parents):
            message = "This folder has everything of this computer. Choose the one that the catalogue is in."
            raise ProblemError(422, "too_much", message)
        if not (path.is_dir() or is_table(path.name)):
            # Any other file that is no archive is refused, with the reason.
            open_source(path)
        if replaces is None:
            return self._shelf.add(path)
        if self._checks.is_busy(replaces.catalog_id):
            raise BUSY
        with self._lock:
            self._previews.pop(replaces.catalog_id, None)
        return self._shelf.put_newer(replaces, path)

    def describe(self, chosen: ChosenCatalog) -> JsonObject:
        """Return what the first page shows of a catalogue, without what is decided since its check."""
        return self._describe(chosen, self._read_results(chosen))

    def _read_results(self, chosen: ChosenCatalog) -> JsonObject | None:
        return self._results.read(chosen, is_busy=self._checks.is_busy(chosen.catalog_id))

    def _describe(self, chosen: ChosenCatalog, summary: JsonObject | None) -> JsonObject:
        checking = self._checks.describe(chosen.catalog_id)
        return {
            "id": chosen.catalog_id,
            "name": escape_name(chosen.name),
            "path": COPIED if self._shelf.is_own(chosen) else escape_name(chosen.path),
            # Unlike that of `Path`, it is False for a folder that cannot be looked into.
            "is_there": os.path.exists(chosen.path),  # noqa: PTH110
            "opened": chosen.opened,
            "failed": chosen.failed,
            "is_newer": bool(chosen.newer),
            "checked": summary["prepared"] if summary else None,
            "products": summary["products"] if summary else None,
            "wrong": summary["wrong_categories"] if summary else None,
            "decided": self._shelf.count_decided(chosen) if summary else 0,
            "state": checking["state"] if checking else "",
        }

    def describe_fully(self, chosen: ChosenCatalog) -> JsonObject:
        """Return what the page of a catalogue shows: the progress of its check, and the results of the last one."""
        # Before the results, so that those of a check that ends meanwhile are not missed.
        checking = self._checks.describe(chosen.catalog_id)
        summary = self._read_results(chosen)
        results = self._results.describe(chosen, summary) if summary else None
        return self._describe(chosen, summary) | {"checking": checking, "results": results}

    # The first rows

    def preview(self, chosen: ChosenCatalog) -> JsonObject:
        """Return the first rows of a catalogue, and what its columns are taken for.

        Raises:
            CatalogError: It cannot be read.
        """
        description, workspace = self._shelf.get_description(chosen), self._shelf.get_workspace(chosen)
        preview = read_preview(Path(chosen.path), description, workspace.root)
        with self._lock:
            self._previews[chosen.catalog_id] = preview
            self._previews.move_to_end(chosen.catalog_id)
            while len(self._previews) > MAX_PREVIEWS:
                self._previews.popitem(last=False)
        if preview.shown["layout"] and preview.shown["layout"] != chosen.layout:
            self._shelf.update(chosen, layout=preview.shown["layout"])
        return preview.shown | {"layout": preview.shown["layout"] or chosen.layout}

    def change_columns(self, chosen: ChosenCatalog, roles: Mapping[str, str], pattern: str | None) -> JsonObject:
        """Take columns for something else, and return the first rows as they are read then; see `change_columns`."""
        if self._checks.is_busy(chosen.catalog_id):
            raise BUSY
        description, workspace = self._shelf.get_description(chosen), self._shelf.get_workspace(chosen)
        change_columns(Path(chosen.path), description, workspace.root, roles, pattern)
        return self.preview(chosen)

    def reset_columns(self, chosen: ChosenCatalog) -> JsonObject:
        """Forget what a person has chosen, and return the first rows as hangtag reads them by itself."""
        if self._checks.is_busy(chosen.catalog_id):
            raise BUSY
        self._shelf.get_description(chosen).unlink(missing_ok=True)
        return self.preview(self._shelf.update(chosen, layout=""))

    def get_picture(self, chosen: ChosenCatalog, row: int, number: int) -> bytes:
        """Return a photograph of the first rows, a PNG.

        Raises:
            ProblemError: They were not read, or have no such photograph.
        """
        with self._lock:
            preview = self._previews.get(chosen.catalog_id)
        content = preview.pictures.get((row, number)) if preview else None
        if content is None:
            raise ProblemError(404, "not_found", "There is no such photograph.")
        return content

    # The check

    def start(self, chosen: ChosenCatalog) -> None:
        """Start the check of a catalogue.

        Raises:
            ProblemError: It is being checked already.
        """
        description = self._shelf.get_description(chosen)
        schema = description if description.is_file() else None
        name = escape_name(chosen.name)
        workspace = self._shelf.get_workspace(chosen).root
        # Before it starts, since its end writes the record too.
        self._shelf.mark_opened(chosen)
        self._checks.start(CheckJob(chosen.catalog_id, name, chosen.path, workspace, schema))

    def stop(self, chosen: ChosenCatalog) -> None:
        """Stop the check of a catalogue; where none runs, nothing happens."""
        self._checks.stop(chosen.catalog_id)

    def _note_end(self, catalog_id: str, error: str) -> None:
        self._shelf.mark_checked(self._shelf.read(catalog_id), failed=leave_out_flags(error))

    # The review and the corrected file

    def open_review(self, chosen: ChosenCatalog, *, is_new: bool) -> OpenReview:
        """Return the review of a catalogue's last check.

        Args:
            chosen: The catalogue.
            is_new: Whether to open it if that has not been done since that check; else only one that is open is
                returned, whose page knows its token.

        Raises:
            ProblemError: The catalogue is being checked, was checked again, or its review is not open.
            WorkspaceError: It has not been checked.
        """
        workspace = self._shelf.get_workspace(chosen)
        stamp = _stamp(workspace)
        with self._review_lock:
            found = self._reviews.get(chosen.catalog_id)
            if found and found[0] == stamp:
                return found[1]
            if self._checks.is_busy(chosen.catalog_id):
                raise BUSY
            if not is_new:
                raise CHECKED_AGAIN if found else REVIEW_CLOSED
            opened = self._stages.open_review(workspace, f"/catalogues/{chosen.catalog_id}")
            self._reviews[chosen.catalog_id] = (stamp, opened)
            if found:
                self._ended.add(found[1].token)
                found[1].close()
            return opened

    def explain_token(self, token: str) -> ProblemError:
        """Return why no review that is open has a token: its catalogue was checked again, or it is of another time."""
        return CHECKED_AGAIN if token in self._ended else REVIEW_CLOSED

    def get_photograph(self, chosen: ChosenCatalog, item_id: str) -> tuple[bytes, str]:
        """Return the first photograph of a product that was checked, and its media type.

        Raises:
            ProblemError: There is no such product, or the catalogue is being checked.
        """
        items = self.open_review(chosen, is_new=True).queue.items
        if item_id not in items.positions:
            raise ProblemError(404, "not_found", "There is no such product.")
        return items.read_photograph(item_id, original=True)

    def count_open(self, chosen: ChosenCatalog) -> JsonObject:
        """Return how many suspicions are `open`, `skipped` and `decided`.

        Raises:
            ProblemError: The catalogue is being checked.
            WorkspaceError: It has not been checked.
        """
        queue = self.open_review(chosen, is_new=True).queue
        queue.refresh()
        return dict(queue.count(Filter()))

    def apply(self, chosen: ChosenCatalog) -> JsonObject:
        """Write the corrected catalogue, and return what it changes.

        Returns:
            `products` and `cells` (how many change), `refused` (`item_id` and `reason` of some decisions that could not
            be applied), `not_applied` (how many these are), and `has_file` (a tree of photographs has no table).

        Raises:
            ProblemError: The catalogue is being checked, or a newer export of it has not been checked yet.
            HangtagError: Nothing is decided, or the catalogue's table cannot be read or changed.
        """
        if self._checks.is_busy(chosen.catalog_id):
            raise BUSY
        if chosen.newer:
            raise NOT_CHECKED
        workspace = self._shelf.get_workspace(chosen)
        # Until it is written: the file of an earlier time has not what is decided now.
        self._shelf.mark_written(chosen, is_written=False)
        result = self._stages.apply(workspace, Path(chosen.path))
        counts = result.metrics
        refused = read_csv(workspace.review / "not_applied.csv", infer_schema=False).head(MAX_REFUSED)
        self._shelf.mark_written(chosen, is_written=True)
        return {
            "products": counts["items_changed"],
            "cells": counts["cells_changed"],
            "not_applied": counts["not_applied"],
            "refused": refused.select("item_id", "reason").to_dicts(),
            "has_file": any(name.startswith("corrected/") for name in counts["written"]),
        }

    def find_corrected(self, chosen: ChosenCatalog) -> tuple[Path, str]:
        """Return the corrected file, and a name for it; several files as a .zip.

        Raises:
            ProblemError: It has not been written since the last check, or could not be the last time.
        """
        _require_written(chosen)
        folder = self._shelf.get_workspace(chosen).review / "corrected"
        paths = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []
        if not paths:
            raise NOT_WRITTEN
        if len(paths) == 1:
            return paths[0], f"{paths[0].stem}-corrected{paths[0].suffix}"
        target = folder.parent.parent.parent / "corrected.zip"
        with write_whole(target) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in paths:
                archive.write(path, str(path.relative_to(folder)))
        return target, f"{Path(chosen.path).stem}-corrected.zip"

    def find_changes(self, chosen: ChosenCatalog) -> tuple[Path, str]:
        """Return the list of changes, and a name for it; see `find_corrected`."""
        _require_written(chosen)
        path = self._shelf.get_workspace(chosen).review / "label_changes.csv"
        return _require(path), f"{Path(chosen.path).stem}-changes.csv"

    def find_rejected(self, chosen: ChosenCatalog) -> tuple[Path, str]:
        """Return the list of what could not be read, and a name for it."""
        path = self._shelf.get_workspace(chosen).prepared / "rejected.csv"
        return _require(path), f"{Path(chosen.path).stem}-not-read.csv"

    def find_description(self, chosen: ChosenCatalog) -> tuple[Path, str]:
        """Return the description that was chosen or proposed, and the name by which hangtag finds it in a folder."""
        path = self._shelf.get_description(chosen)
        return _require(path), path.name


def _require_written(chosen: ChosenCatalog) -> None:
    if chosen.newer:
        raise NOT_CHECKED
    if not chosen.written:
        raise NOT_WRITTEN


def _require(path: Path) -> Path:
    if not path.is_file():
        raise ProblemError(404, "not_found", "There is no such list yet.")
    return path


def _stamp(workspace: Workspace) -> str:
    """Return a text that changes with every check that finds something else."""
    texts = []
    for folder in (workspace.prepared, workspace.audit):
        with suppress(OSError):
            texts.append(str((folder / MANIFEST).stat().st_mtime_ns))
    return "-".join(texts)
