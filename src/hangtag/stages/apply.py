"""Stage `apply`: the catalogue's table with the decided cells changed and no other byte, and the list of changes."""

import csv
import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from hangtag.catalog.csv_editor import edit_cells
from hangtag.catalog.schema import read_schema
from hangtag.config import ApplyConfig
from hangtag.errors import SettingsError, WorkspaceError
from hangtag.io import format_csv_row, hash_file, hash_json, unguard_cell, write_whole
from hangtag.lock import hold
from hangtag.manifest import StageRecord, compute_digest, require_manifest
from hangtag.results import StageResult
from hangtag.reviewing.auto_accept import Accepted, accept_open, make_accepted
from hangtag.reviewing.decisions import Change, Corrections, NotApplied, correct
from hangtag.reviewing.items import PREPARE_FIRST, SourceTable, read_items, read_source_table
from hangtag.reviewing.queue import read_issues
from hangtag.reviewing.store import Decision, find_standing, read_decisions
from hangtag.workspace import Workspace

CHANGES = ("item_id", "column", "old", "new", "rule")
ACCEPTED = ("item_id", "code", "column", "score", "old", "new")
NOT_APPLIED = ("item_id", "code", "column", "action", "old", "new", "reviewer", "time", "reason")


def apply(
    workspace: str | Path | Workspace,
    config: ApplyConfig = ApplyConfig(),  # noqa: B008  (frozen)
    *,
    catalog: str | Path | None = None,
) -> StageResult:
    """Write the corrected catalogue, and the changes for the next `clean`.

    Writes `review/corrected/<the table's name>` (the table as it was delivered, but for the decided cells),
    `label_changes.csv`, `accepted.csv` (what was accepted by proof), and `not_applied.csv`, which lists each decision
    that was not followed, with the reason: the catalogue has changed since, or an earlier decision did. Everything is
    made anew from the decisions each time: what is undone in `review` is as it was. A tree of photographs has no
    table; there the changes alone are written.

    Args:
        workspace: A workspace that is prepared and reviewed.
        config: Settings.
        catalog: Where the catalogue is, if it has moved since `prepare`.

    Raises:
        WorkspaceError: Nothing is prepared, or nothing is decided.
        CatalogError: The catalogue's table cannot be read.
        SettingsError: The precision that `auto` asks for is proven for no kind of issue.
    """
    workspace = Workspace.at(workspace)
    with hold("apply", workspace, reads=[workspace.prepared, workspace.audit], writes=[workspace.review]):
        return _apply_decisions(workspace, config, catalog)


def _apply_decisions(workspace: Workspace, config: ApplyConfig, catalog: str | Path | None) -> StageResult:
    manifest = require_manifest(workspace.prepared, PREPARE_FIRST)
    schema = read_schema(manifest)
    decisions = _read_decisions(workspace)
    original = (
        read_source_table(manifest, schema, Path(catalog).expanduser() if catalog else None) if schema.table else None
    )
    values = original.read_values() if original else _read_prepared(workspace)
    accepted = _accept_open_issues(workspace, decisions, values, config)
    record = StageRecord(
        "apply", workspace.review, _list_inputs(workspace, decisions, original, accepted, config), config
    )
    if current := record.load_if_unchanged():
        return current
    standing = [*find_standing(decisions), *accepted.decisions]
    corrections = correct(values, standing)
    folder = record.begin()
    paths = [_write_table(folder, original, corrections)] if original else []
    paths += [_write_changes(folder, corrections), _write_not_applied(folder, corrections)]
    paths.append(_write_accepted(folder, accepted))
    counts = _build_metrics(corrections, standing, accepted)
    return record.finish(counts, paths, automatic=[vars(each) for each in accepted.measured])


def _read_decisions(workspace: Workspace) -> list[Decision]:
    decisions = read_decisions(workspace.review / "review.sqlite")
    if not decisions:
        raise WorkspaceError("Nothing is decided yet.", hint="Run `hangtag review` with this workspace first.")
    return decisions


def _read_prepared(workspace: Workspace) -> dict[str, dict[str, str]]:
    items = read_items(workspace)
    return {item_id: items.read_values(item_id) for item_id in items.ids}


def _accept_open_issues(
    workspace: Workspace, decisions: Sequence[Decision], values: dict[str, dict[str, str]], config: ApplyConfig
) -> Accepted:
    """Accept open issues automatically where that is wanted and proven."""
    if not config.auto_accept:
        return Accepted([], [])
    accepted = accept_open(
        read_issues(workspace.issues), decisions, values, config.auto_accept, _read_accepted(workspace)
    )
    if all(each.threshold is None for each in accepted.measured):
        told = "; ".join(f"{each.code}: {each.reason}" for each in accepted.measured) or "no issue is open"
        raise SettingsError(
            f"No kind of issue is proven to be right so often ({told}).",
            allowed="Allowed: a precision that decisions prove.",
            received=config.auto_accept,
            hint="Decide more of them in `hangtag review`, in random order.",
        )
    return accepted


def _list_inputs(
    workspace: Workspace,
    decisions: Sequence[Decision],
    original: SourceTable | None,
    accepted: Accepted,
    config: ApplyConfig,
) -> dict[str, str]:
    inputs = {"decisions": hash_json([[each.id, each.time] for each in decisions])}
    inputs["catalog"] = (
        hashlib.sha256(original.data).hexdigest()
        if original
        else compute_digest(require_manifest(workspace.prepared, PREPARE_FIRST))
    )
    if config.auto_accept:
        inputs["issues"] = hash_file(workspace.issues)
        inputs["accepted"] = hash_json([[*each.identity, each.new] for each in accepted.decisions])
    return inputs


def _write_table(folder: Path, original: SourceTable, corrections: Corrections) -> Path:
    """Write the table; items whose row cannot be changed are taken out of the corrections."""
    wanted = {
        original.rows[item_id]: {original.headings[each.column]: each.new for each in changes}
        for item_id, changes in corrections.changes.items()
    }
    edited = edit_cells(original.data, original.table, wanted)
    ids = {row: item_id for item_id, row in original.rows.items()}
    for row, reason in edited.refused.items():
        corrections.refuse(ids[row], reason)
    path = folder / "corrected" / original.name
    with write_whole(path) as temporary:
        temporary.write_bytes(edited.data)
    return path


def _write_changes(folder: Path, corrections: Corrections) -> Path:
    lines: list[Change] = [each for changes in corrections.changes.values() for each in changes]
    rows = ([getattr(each, name) for name in CHANGES] for each in lines)
    return _write_csv(folder / "label_changes.csv", CHANGES, rows)


def _write_not_applied(folder: Path, corrections: Corrections) -> Path:
    rows = (_tell_not_applied(each) for each in corrections.not_applied)
    return _write_csv(folder / "not_applied.csv", NOT_APPLIED, rows)


def _tell_not_applied(entry: NotApplied) -> list[str]:
    decision = entry.decision
    old, new = (" > ".join(values.values()) for values in (decision.old, decision.new))
    who = (decision.item_id, decision.code, decision.column, decision.action)
    return [*who, old, new, decision.reviewer, decision.time, entry.reason]


def _write_accepted(folder: Path, accepted: Accepted) -> Path:
    """Write what was accepted by proof; the next call holds on to it, and one without `auto` lets go of it."""
    rows = (
        [*each.identity, str(each.score), json.dumps(each.old), json.dumps(each.new)] for each in accepted.decisions
    )
    return _write_csv(folder / "accepted.csv", ACCEPTED, rows)


def _read_accepted(workspace: Workspace) -> list[Decision]:
    path = workspace.review / "accepted.csv"
    if not path.is_file():
        return []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            _, *lines = csv.reader(file)
        return [
            make_accepted((item_id, code, column), json.loads(old), json.loads(new), float(score))
            for item_id, code, column, score, old, new in (map(unguard_cell, line) for line in lines)
        ]
    except (ValueError, TypeError, AttributeError, RecursionError, csv.Error) as error:
        raise WorkspaceError(
            f"What was accepted by proof cannot be read: {error}.",
            received=str(path),
            hint="Run `hangtag apply` without --auto-accept to write it anew; people's decisions are not in it.",
        ) from error


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> Path:
    with write_whole(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        file.writelines(map(format_csv_row, (header, *rows)))
    return path


def _build_metrics(corrections: Corrections, standing: Sequence[Decision], accepted: Accepted) -> dict[str, Any]:
    people = [each for each in standing if each.reviewer]
    thresholds = {each.code: each.threshold for each in accepted.measured if each.threshold is not None}
    return {
        "decided": sum(each.action != "skip" for each in people),
        "skipped": sum(each.action == "skip" for each in people),
        "accepted_by_auto": len(accepted.decisions),
        **({"accepted_from_score": thresholds} if thresholds else {}),
        "items_changed": len(corrections.changes),
        "cells_changed": sum(map(len, corrections.changes.values())),
        "not_applied": len(corrections.not_applied),
    }
