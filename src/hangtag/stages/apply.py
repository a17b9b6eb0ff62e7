"""Stage `apply`: write the catalogue's table with only the decided cells changed, and a column of a taxonomy."""

import csv
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hangtag.catalog.schema import read_schema
from hangtag.catalog.source_tables import find_base
from hangtag.config import ApplyConfig
from hangtag.errors import SettingsError, WorkspaceError
from hangtag.io import expand_home, format_csv_row, hash_file, hash_json, unguard_cell, write_whole
from hangtag.lock import hold
from hangtag.manifest import StageRecord, compute_digest, require_manifest
from hangtag.results import StageResult
from hangtag.reviewing.auto_accept import Accepted, accept_open, make_accepted
from hangtag.reviewing.decision_store import read_decisions
from hangtag.reviewing.decisions import Change, Corrections, NotApplied, correct
from hangtag.reviewing.items import PREPARE_FIRST, SourceTable, read_items, read_source_table
from hangtag.reviewing.queue import read_issues
from hangtag.reviewing.store import Decision, digest_decisions, find_standing
from hangtag.reviewing.taxonomy_column import read_taxonomy_column
from hangtag.workspace import Workspace

CHANGES = ("item_id", "column", "old", "new", "rule", "product")
ACCEPTED = ("item_id", "code", "column", "evidence", "score", "old", "new", "product")
NOT_APPLIED = ("item_id", "code", "column", "action", "old", "new", "reviewer", "time", "reason")


def apply(
    workspace: str | Path | Workspace,
    config: ApplyConfig = ApplyConfig(),  # noqa: B008  (frozen)
    *,
    catalog: str | Path | None = None,
) -> StageResult:
    """Write the corrected catalogue, and the changes for the next `clean`.

    Writes `review/corrected/<the table's name>` (the table as it was delivered, but for the decided cells),
    `label_changes.csv`, `accepted.csv` (what `--auto-accept` accepted), and `not_applied.csv`, which lists each
    decision that was not applied, with the reason: the catalogue has changed since, or an earlier decision has. All
    files are written from the delivered catalogue each time, so that undoing a decision in `review` restores the
    delivered values. A catalogue that is a tree of photographs has no table; only the changes are written.

    With `taxonomy_mapping`, nothing needs to be decided. The table gets a column with the public category of each item,
    or the cells of that column change if it has one, and `taxonomy.csv` lists the category of every item: also those
    whose row, or the table as a whole, could not get it, with the reason.

    Args:
        workspace: A workspace that is prepared and reviewed.
        config: Settings.
        catalog: The catalogue's path, if it has moved since `prepare`.

    Raises:
        WorkspaceError: Nothing is prepared, or nothing is decided.
        CatalogError: The catalogue's table cannot be read.
        SettingsError: The precision of `auto_accept` is not proven for any kind of issue, or the mapping to a public
            taxonomy cannot be used.
    """
    workspace = Workspace.at(workspace)
    reads = [workspace.prepared, workspace.audit, workspace.taxonomy]
    with hold("apply", workspace, reads=reads, writes=[workspace.review]):
        return _apply_decisions(workspace, config, catalog)


def _apply_decisions(workspace: Workspace, config: ApplyConfig, catalog: str | Path | None) -> StageResult:
    manifest = require_manifest(workspace.prepared, PREPARE_FIRST)
    schema = read_schema(manifest).with_headings()
    column = read_taxonomy_column(workspace, schema, config)
    decisions = _read_decisions(workspace, is_needed=column is None)
    source = read_source_table(manifest, schema, expand_home(catalog) if catalog else None) if schema.table else None
    values = source.values if source else _read_prepared_values(workspace)
    accepted = _accept_automatically(workspace, decisions, values, config)
    inputs = _hash_inputs(workspace, decisions, source, accepted, config)
    if column:
        inputs["taxonomy"] = column.digest
    record = StageRecord("apply", workspace.review, inputs, config)
    if current := record.load_if_unchanged():
        return current
    standing = [*find_standing(decisions), *accepted.decisions]
    products = {item_id: item[schema.name] if schema.name else None for item_id, item in values.items()}
    corrections = correct(values, standing, products)
    folder = record.begin()
    edited = _edit_catalog(source, corrections, is_needed=column is None)
    paths: list[Path] = []
    more: dict[str, object] = {}
    if column:
        edited, assigned = column.write(values, corrections.changes, source, edited)
        paths.append(_write_csv_rows(folder / "taxonomy.csv", column.headings, assigned.rows))
        more = assigned.counts
        # The table may have products that `prepare` could not use; they get a category too.
        if source and (unused := len(values.keys() - set(read_items(workspace).ids))):
            more = more | {"of_these_not_prepared": unused}
    paths += _write_corrected_table(folder, edited)
    paths += [_write_label_changes(folder, corrections, products), _write_not_applied(folder, corrections)]
    paths.append(_write_accepted(folder, accepted))
    # A catalogue without a table has the list of changes only.
    written = [str(path.relative_to(folder)) for path in paths if path.parent != folder] or ["label_changes.csv"]
    counts = _count_decisions(corrections, standing, accepted) | more | {"written": written}
    return record.finish(counts, paths, automatic=[vars(each) for each in accepted.measured])


def _read_decisions(workspace: Workspace, *, is_needed: bool) -> list[Decision]:
    decisions = read_decisions(workspace)
    if not decisions and is_needed:
        raise WorkspaceError("Nothing is decided yet.", hint="Run `hangtag review` with this workspace first.")
    return decisions


def _read_prepared_values(workspace: Workspace) -> dict[str, dict[str, str]]:
    items = read_items(workspace)
    name = items.schema.name
    return {each: items.read_values(each) | ({name: items.read_name(each)} if name else {}) for each in items.ids}


def _accept_automatically(
    workspace: Workspace, decisions: Sequence[Decision], values: dict[str, dict[str, str]], config: ApplyConfig
) -> Accepted:
    """Accept open issues, if `--auto-accept` asks for it.

    Raises:
        SettingsError: The precision is not proven for any kind of issue.
    """
    if not config.auto_accept:
        return Accepted([], [])
    items, issues = read_items(workspace), read_issues(workspace.issues)
    products = {issue.item_id: items.read_name(issue.item_id) for issue in issues if issue.item_id in items.positions}
    accepted = accept_open(issues, decisions, values, config.auto_accept, _read_accepted(workspace), products)
    if all(each.threshold is None for each in accepted.measured):
        reasons = "; ".join(f"{each.kind}: {each.reason}" for each in accepted.measured) or "no issue is open"
        raise SettingsError(
            f"--auto-accept: no kind of issue is proven to have this precision ({reasons}).",
            allowed="Allowed: a precision that the reviewers' decisions prove.",
            received=config.auto_accept,
            hint="Decide more issues in `hangtag review`, in the order `random sample`.",
        )
    return accepted


def _hash_inputs(
    workspace: Workspace,
    decisions: Sequence[Decision],
    source: SourceTable | None,
    accepted: Accepted,
    config: ApplyConfig,
) -> dict[str, str]:
    inputs = {"decisions": digest_decisions(decisions)}
    inputs["catalog"] = (
        hashlib.sha256(b"".join(source.data.values())).hexdigest()
        if source
        else compute_digest(require_manifest(workspace.prepared, PREPARE_FIRST))
    )
    if config.auto_accept:
        inputs["issues"] = hash_file(workspace.issues)
        inputs["accepted"] = hash_json([[*each.identity, each.new] for each in accepted.decisions])
    return inputs


def _edit_catalog(source: SourceTable | None, corrections: Corrections, *, is_needed: bool) -> dict[str, bytes]:
    """Return the corrected files by path, as delivered where there is no correction and none is needed."""
    if source is None:
        return {}
    return _edit_table(source, corrections) if corrections.changes or is_needed else dict(source.data)


def _edit_table(source: SourceTable, corrections: Corrections) -> dict[str, bytes]:
    """Return the corrected files by path; items that have a row which cannot be edited lose their corrections."""
    wanted = {
        item_id: source.locate_changes(item_id, {each.column: each.new for each in changes})
        for item_id, changes in corrections.changes.items()
    }
    ids = {row: item_id for item_id, rows in wanted.items() for row in rows}
    while True:
        edited, refused = source.edit({row: cells for rows in wanted.values() for row, cells in rows.items()})
        for item_id, reason in {ids[row]: reason for row, reason in refused.items()}.items():
            corrections.refuse(item_id, reason)
            del wanted[item_id]
        # Of a product of several rows, all are changed or none.
        if not refused:
            return edited


def _write_corrected_table(folder: Path, edited: Mapping[str, bytes]) -> list[Path]:
    if not edited:
        return []
    base = find_base([*edited])
    paths = [folder / "corrected" / name.removeprefix(base) for name in edited]
    for path, data in zip(paths, edited.values(), strict=True):
        with write_whole(path) as temporary:
            temporary.write_bytes(data)
    return paths


def _write_label_changes(folder: Path, corrections: Corrections, products: Mapping[str, str | None]) -> Path:
    lines: list[Change] = [each for changes in corrections.changes.values() for each in changes]
    rows = ([each.item_id, each.column, each.old, each.new, each.rule, products[each.item_id] or ""] for each in lines)
    return _write_csv_rows(folder / "label_changes.csv", CHANGES, rows)


def _write_not_applied(folder: Path, corrections: Corrections) -> Path:
    rows = (_format_not_applied(each) for each in corrections.not_applied)
    return _write_csv_rows(folder / "not_applied.csv", NOT_APPLIED, rows)


def _format_not_applied(entry: NotApplied) -> list[str]:
    decision = entry.decision
    old, new = (" > ".join(values.values()) for values in (decision.old, decision.new))
    return [*decision.identity, decision.action, old, new, decision.reviewer, decision.time, entry.reason]


def _write_accepted(folder: Path, accepted: Accepted) -> Path:
    """Write the automatic decisions, which the next call with `--auto-accept` keeps; one without it drops them."""
    rows = (
        [*each.identity, each.evidence, str(each.score), json.dumps(each.old), json.dumps(each.new), each.product]
        for each in accepted.decisions
    )
    return _write_csv_rows(folder / "accepted.csv", ACCEPTED, rows)


def _read_accepted(workspace: Workspace) -> list[Decision]:
    path = workspace.review / "accepted.csv"
    if not path.is_file():
        return []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            _, *lines = csv.reader(file)
        # Files of earlier versions have no product.
        return [
            make_accepted((item_id, code, column), json.loads(old), json.loads(new), float(score), evidence, *more)
            for item_id, code, column, evidence, score, old, new, *more in (map(unguard_cell, line) for line in lines)
        ]
    except (ValueError, TypeError, AttributeError, RecursionError, csv.Error) as error:
        raise WorkspaceError(
            f"The automatic decisions cannot be read: {error}.",
            received=str(path),
            hint="Run `hangtag apply` without --auto-accept to rewrite them; reviewers' decisions are in another file.",
        ) from error


def _write_csv_rows(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> Path:
    # Not `io.write_csv`: this stage does without polars.
    with write_whole(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        file.writelines(map(format_csv_row, (header, *rows)))
    return path


def _count_decisions(corrections: Corrections, standing: Sequence[Decision], accepted: Accepted) -> dict[str, Any]:
    people = [each for each in standing if each.reviewer]
    thresholds = {each.kind: each.threshold for each in accepted.measured if each.threshold is not None}
    return {
        "decided": sum(each.action != "skip" for each in people),
        "skipped": sum(each.action == "skip" for each in people),
        "accepted_by_auto": len(accepted.decisions),
        **({"accepted_from_score": thresholds} if thresholds else {}),
        "items_changed": len(corrections.changes),
        "cells_changed": sum(map(len, corrections.changes.values())),
        "not_applied": len(corrections.not_applied),
    }
