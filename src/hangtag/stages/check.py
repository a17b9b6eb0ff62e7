"""Command `check`: read a catalogue, find what looks wrong in it, and summarize it for people, without training."""

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from hangtag.auditing.catalog_summary import find_wrong_categories
from hangtag.catalog.column_kinds import find_certain_description, find_kinds, format_toml
from hangtag.catalog.prepared_items import read_changes
from hangtag.catalog.reader import DESCRIPTION, find_table_file
from hangtag.catalog.schema import CatalogSchema, UndescribedError
from hangtag.config import AuditConfig, CleanConfig, PrepareConfig
from hangtag.console import StageList, print_line
from hangtag.errors import CatalogError, HangtagError, describe_mistake
from hangtag.io import JsonObject, expand_home, read_json, write_json, write_text
from hangtag.labels.dataset import read_labeled_items
from hangtag.lock import hold
from hangtag.manifest import read_manifest
from hangtag.presets import read_preset
from hangtag.reporting.audited_catalog import MAPPING, AuditedCatalog, read_audited, summarize
from hangtag.results import StageResult, count_of, format_seconds
from hangtag.reviewing.decision_store import read_decisions
from hangtag.reviewing.decisions import correct
from hangtag.reviewing.items import read_items
from hangtag.reviewing.store import find_standing
from hangtag.settings import resolve
from hangtag.stages.audit import SHIPPED, audit
from hangtag.stages.clean import clean
from hangtag.stages.prepare import prepare
from hangtag.stages.report import report
from hangtag.train_config import TrainConfig
from hangtag.workspace import Workspace

READ, SORT, LEARN, COMPARE = (
    "Read the products and their photographs",
    "Put the categories in order",
    "Learn from your own products",
    "Compare every category with photograph and name",
)
PAGE = "Write the page with what was found"


def check(
    catalog: str | Path,
    workspace: str | Path | Workspace,
    *,
    preset: str = "quick",
    settings: Mapping[str, Any] | None = None,
    schema: str | Path | None = None,
    overrides: Mapping[str, object] | None = None,
    train: bool = False,
    reports_new: bool = False,
) -> JsonObject:
    """Prepare, clean and audit a catalogue, and summarize what looks wrong for people.

    The categories are compared with the predictions of the model that hangtag comes with, and with the names of other
    products; with those of a cross-validation of the same labels if the workspace has one. A table that is not
    described and not recognised is described by its values where these leave no doubt; that description is written to
    `catalog.toml` in the workspace and used from then on. A `category_mapping.csv` in the workspace matches categories
    by hand to those of the model that hangtag comes with, as `AuditConfig.category_mapping` does. Stages whose inputs
    have not changed are skipped.

    Writes `check.json`, the summary, and `report.html`, whose first chapter shows it.

    Args:
        catalog: A folder, a `.zip`, or a table with photographs.
        workspace: The folder to write to.
        preset: The preset of the stages' settings; the training of `train` takes minutes with `quick`.
        settings: Settings of any stage, which override the preset's; `{"audit": {...}}` is for one stage only.
        schema: A TOML file that describes the catalogue.
        overrides: Entries that override that description.
        train: Whether to train on the catalogue first (`cross_validate`), which finds more; needs Keras.
        reports_new: Whether somebody is told by this check what of the new and changed products looks wrong
            (`--fail-on new`). What other checks find stays to be told.

    Returns:
        The summary, JSON values; docs/audit.md describes them.

    Raises:
        HangtagError: The catalogue cannot be read, a setting is wrong, or a stage fails.
    """
    workspace, layers = Workspace.at(workspace), (read_preset(preset), dict(settings or {}))
    preparing, cleaning = resolve(PrepareConfig, *layers), resolve(CleanConfig, *layers)
    auditing, training = resolve(AuditConfig, *layers), resolve(TrainConfig, *layers)
    with StageList([READ, SORT, *([LEARN] if train else []), COMPARE, PAGE]) as stages:
        prepared, described = _prepare(catalog, workspace, preparing, schema, overrides)
        stages.finish(count_of(prepared.metrics["items"], "product"))
        cleaned = _clean(workspace, cleaning, train=train)
        stages.finish(count_of(cleaned.metrics["labels"], "category", "categories"))
        if train:
            stages.finish(_train(workspace, training))
        model = None if train or _has_folds(workspace) else SHIPPED
        mapping = workspace.root / MAPPING
        if model == SHIPPED and mapping.is_file() and not auditing.category_mapping:
            auditing = replace(auditing, category_mapping=str(mapping))
        audit(workspace, auditing, model=model)
        reads = [workspace.prepared, workspace.audit, workspace.review]
        with hold("check", workspace, reads=reads, writes=[]):
            summary = _summarize(workspace, described, reports_new=reports_new)
        stages.finish(f"{count_of(summary['to_look_at']['products'], 'product')} to look at")
        summary["report"] = _write_page(workspace)
        write_json(workspace.check_summary, summary)
        stages.finish("report.html" if summary["report"]["file"] else "left out")
    return summary


def _write_page(workspace: Workspace) -> JsonObject:
    """Write `report.html`; a page that cannot be written is no failure of the check."""
    try:
        report(workspace)
    except (HangtagError, ModuleNotFoundError) as error:
        return {"file": None, "missing": describe_mistake(error) or str(error)}
    return {"file": str(workspace.report), "missing": ""}


def _prepare(
    catalog: str | Path,
    workspace: Workspace,
    config: PrepareConfig,
    schema: str | Path | None,
    overrides: Mapping[str, object] | None,
) -> tuple[StageResult, Path | None]:
    """Prepare the catalogue, if need be with a description that is certain; return the description's path too.

    Raises:
        CatalogError: The catalogue cannot be read, or its table is not described and its values leave doubt.
    """
    try:
        return prepare(catalog, workspace, config, schema=schema, overrides=overrides), None
    except CatalogError as error:
        if schema or overrides or not isinstance(error.__cause__, UndescribedError):
            raise
        path = workspace.root / DESCRIPTION
        if not path.is_file():
            found = find_table_file(expand_home(catalog))
            certain = find_certain_description(found.table, list(found.list_files()))
            if certain is None:
                raise
            # Without the table's name: tomorrow's export may have another one.
            write_text(path, format_toml("", certain, find_kinds(found.table), found.table.sheets))
        return prepare(catalog, workspace, config, schema=path), path


def _clean(workspace: Workspace, config: CleanConfig, *, train: bool) -> StageResult:
    """Clean the catalogue; where nothing is trained, with all of its categories, however small or ambiguous."""
    is_trained = train or workspace.run_ids() or workspace.fold_ids()
    if not (is_trained or config.taxonomy):
        config = replace(config, taxonomy="every")
    return clean(workspace, config)


def _has_folds(workspace: Workspace) -> bool:
    """Return whether a cross-validation of the labels that the workspace has now is there."""
    digest = read_labeled_items(workspace).digest
    manifests = [read_manifest(workspace.folds(name)) for name in workspace.fold_ids()]
    return any(manifest["inputs"].get("labels") == digest for manifest in manifests if manifest)


def _train(workspace: Workspace, config: TrainConfig) -> str:
    """Cross-validate, after a line that says how long it will take; return a few words about the result."""
    from hangtag.stages.cross_validate import cross_validate, estimate_seconds  # noqa: PLC0415  (needs Keras)

    seconds = estimate_seconds(workspace, config)
    if seconds:
        print_line(f"Learning from your own products takes about {format_seconds(seconds)}. Ctrl-C stops it.")
    result = cross_validate(workspace, config, replace=True)
    return f"agrees with {result.metrics['accuracy']:.0%} of your categories"


def _summarize(workspace: Workspace, described: Path | None, *, reports_new: bool) -> JsonObject:
    """Return the summary, without the page; see docs/audit.md."""
    catalog = read_audited(workspace)
    return {
        "catalog": catalog.manifest["origin"]["catalog"],
        "workspace": str(workspace.root),
        "prepared": catalog.manifest["finished"],
        "columns": _describe_columns(catalog.schema, described),
        **summarize(catalog),
        "changes": _count_changes(catalog),
        "since_fail_on": _count_unreported(catalog, reports_new=reports_new),
        "not_in_file": _count_not_in_file(workspace),
    }


def _describe_columns(schema: CatalogSchema, described: Path | None) -> JsonObject:
    """Return what the columns were taken for, and the file that says so where hangtag wrote it."""
    return {
        "id": schema.id,
        "name": schema.name,
        "categories": list(schema.levels) if not schema.path_column else [schema.path_column],
        "photographs": schema.image or schema.image_column,
        "file": str(described) if described else None,
    }


def _count_not_in_file(workspace: Workspace) -> int:
    """Return the number of products whose decided values the catalogue does not have yet."""
    decisions = find_standing(read_decisions(workspace))
    if not decisions:
        return 0
    items = read_items(workspace)
    decided = {decision.item_id for decision in decisions} & items.positions.keys()
    products = {item_id: items.read_product(item_id) for item_id in decided}
    return len(correct({item_id: items.read_values(item_id) for item_id in decided}, decisions, products).changes)


def _count_changes(catalog: AuditedCatalog) -> JsonObject | None:
    """Return how many items are new, changed and removed since the last check, and how many of these look wrong.

    None where there was no catalogue before. All are 0 where the last check has told them already.
    """
    workspace, issues = catalog.workspace, catalog.open_issues
    changes, told = read_changes(workspace), None
    with suppress(OSError, ValueError, TypeError, KeyError):
        told = read_json(workspace.check_summary)["prepared"]
    if changes is None and told is None:
        return None
    if changes is None or told == catalog.manifest["finished"]:
        changes, issues = pl.DataFrame(schema={"item_id": pl.String, "change": pl.String}), issues.clear()
    counts = Counter(changes["change"].to_list())
    wrong = Counter(find_wrong_categories(issues, catalog.schema.levels)["item_change"].to_list())
    found: JsonObject = {
        change: {"products": counts[change], "look_wrong": wrong[change]} for change in ("new", "changed")
    }
    return {**found, "removed": {"products": counts["removed"]}}


def _count_unreported(catalog: AuditedCatalog, *, reports_new: bool) -> JsonObject:
    """Return how many new and changed products look wrong that no check with `--fail-on new` has reported yet.

    Checks in between, such as one by hand in the morning, keep them for it: their ids are in the summary.
    """
    workspace = catalog.workspace
    earlier: dict[str, Any] = {}
    with suppress(OSError, ValueError, TypeError):
        earlier = dict(read_json(workspace.check_summary))
    waiting = set(earlier.get("since_fail_on", {}).get("item_ids", ()))
    changes = read_changes(workspace)
    if changes is not None and earlier.get("prepared") != catalog.manifest["finished"]:
        waiting |= set(changes.filter(pl.col("change") != "removed")["item_id"])
    wrong = set(find_wrong_categories(catalog.open_issues, catalog.schema.levels)["item_id"])
    return {
        "reported": reports_new,
        "products": len(waiting),
        "look_wrong": len(waiting & wrong),
        "item_ids": [] if reports_new else sorted(waiting),
    }


def count_failing(summary: Mapping[str, Any], which: str) -> int:
    """Return how many categories look wrong: of `any` product, or of `new` and changed ones not reported before."""
    if which == "any":
        return int(summary["wrong_categories"])
    return int(summary["since_fail_on"]["look_wrong"])
