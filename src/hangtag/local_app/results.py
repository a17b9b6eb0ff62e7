"""What the last check of a catalogue found, as it is with what was decided since then."""

import logging
import threading
from collections import Counter
from contextlib import suppress

import polars as pl

from hangtag.auditing.catalog_summary import find_wrong_categories
from hangtag.check_summary import describe_for_page
from hangtag.errors import HangtagError
from hangtag.io import JsonObject
from hangtag.local_app.catalogs import ChosenCatalog, Shelf
from hangtag.manifest import read_manifest
from hangtag.reporting.audited_catalog import read_audited, summarize
from hangtag.results import count_of
from hangtag.reviewing.decision_store import read_decisions
from hangtag.reviewing.store import digest_decisions
from hangtag.workspace import Workspace

# What a page has no use for: paths of this machine.
LEFT_OUT = ("catalog", "workspace", "issues")


class Results:
    """The results of the catalogues' last checks. All methods may be called from several threads.

    Args:
        shelf: The catalogues.
    """

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._found: dict[str, tuple[str, JsonObject]] = {}
        self._lock = threading.Lock()

    def read(self, chosen: ChosenCatalog, *, is_busy: bool) -> JsonObject | None:
        """Return the summary of the last check without what is decided since; None where there is none.

        Args:
            chosen: The catalogue.
            is_busy: Whether it is being checked, so that its workspace is not whole: then without what is known to be
                decided, or as the check left it.
        """
        summary = self._shelf.read_summary(chosen)
        if summary is None:
            return None
        workspace = self._shelf.get_workspace(chosen)
        with self._lock:
            try:
                key = _make_key(workspace, summary)
                found, updated = self._found.get(chosen.catalog_id, ("", summary))
                if not key or (is_busy and found != key):
                    return summary
                if found != key:
                    updated = _leave_out_decided(workspace, summary)
                    self._found[chosen.catalog_id] = (key, updated)
            except (HangtagError, OSError, KeyError, TypeError, ValueError, AttributeError, pl.exceptions.PolarsError):
                # Results of another version, or files that somebody changed: the page still shows what there is.
                logging.getLogger("uvicorn.error").exception("The results cannot be brought up to date")
                return summary
            return updated

    def describe(self, chosen: ChosenCatalog, summary: JsonObject) -> JsonObject | None:
        """Return what the page of a catalogue shows of a summary; None for one that another version wrote."""
        with suppress(KeyError, TypeError, AttributeError):
            return {
                **{key: value for key, value in summary.items() if key not in LEFT_OUT},
                **describe_for_page(summary),
                "to_correct": describe_not_in_file(summary.get("not_in_file", 0)),
                "has_table": _has_table(self._shelf.get_workspace(chosen)),
            }
        return None


def describe_not_in_file(count: int) -> str:
    """Return how many products of a newer export lack what was decided before; empty for none."""
    has, it = ("has", "it") if count == 1 else ("have", "them")
    return (
        f"{count_of(count, 'product')} of this file still {has} a value that you corrected. Give your shop the "
        f"corrected file: that corrects {it}."
        if count
        else ""
    )


def _make_key(workspace: Workspace, summary: JsonObject) -> str:
    """Return a text that changes with every check and decision; empty where nothing was ever decided."""
    decisions = read_decisions(workspace)
    if not decisions and not summary.get("decided") and not summary.get("skipped"):
        return ""
    return f"{workspace.check_summary.stat().st_mtime_ns}-{digest_decisions(decisions)}"


def _leave_out_decided(workspace: Workspace, summary: JsonObject) -> JsonObject:
    catalog = read_audited(workspace)
    updated = summary | summarize(catalog)
    if changes := summary.get("changes"):
        wrong = Counter(find_wrong_categories(catalog.open_issues, catalog.schema.levels)["item_change"].to_list())
        told = {
            # A check that finds the same again tells of nothing new.
            each: changes[each] | {"look_wrong": wrong[each] if changes[each]["products"] else 0}
            for each in ("new", "changed")
        }
        updated["changes"] = changes | told
    return updated


def _has_table(workspace: Workspace) -> bool:
    with suppress(HangtagError, KeyError, TypeError):
        manifest = read_manifest(workspace.prepared)
        return bool(manifest and manifest["origin"]["table"])
    return False
