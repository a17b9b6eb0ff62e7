"""Stage `audit`: wrong labels, duplicates, unlikely combinations, spellings and pictures, the surest first."""

import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from hangtag.auditing.catalog_scores import score_catalog
from hangtag.auditing.context import AuditContext
from hangtag.auditing.duplicate_issues import find_duplicates, find_label_conflicts, find_same_products
from hangtag.auditing.evidence import PHOTOGRAPHS_IN_PART, UNKNOWN, OutOfSampleProbs, find_products, predict_from_names
from hangtag.auditing.image_issues import find_bad_pictures
from hangtag.auditing.issues import (
    BAD_PICTURE,
    LABEL_CONFLICT,
    NAME_AGAINST_LABEL,
    PHOTOGRAPH_AND_NAME,
    SAME_PRODUCT,
    SPELLING_VARIANT,
    UNLIKELY_COMBINATION,
    WRONG_LABEL,
    NotApplicableError,
    count_codes,
    join_issues,
)
from hangtag.auditing.label_issues import find_label_issues
from hangtag.auditing.model_evidence import choose_folds, choose_run, predict_with_model, predict_with_run, read_folds
from hangtag.auditing.value_issues import find_spelling_variants, find_unlikely_combinations
from hangtag.catalog.reader import Prepared, read_prepared
from hangtag.config import AuditConfig
from hangtag.console import track
from hangtag.errors import ModelError, SettingsError, WorkspaceError
from hangtag.inference.classifier import Classifier
from hangtag.inference.runs import load_classifier
from hangtag.io import hash_file, hash_json, write_csv, write_json
from hangtag.labels.dataset import LabeledItems, apply_review_changes, read_labeled_items, read_reviewed
from hangtag.lock import hold, sweep
from hangtag.manifest import StageRecord
from hangtag.models.checkpoint import hash_run
from hangtag.models.label_space import NO_VALUE, Indices, LabelSpace
from hangtag.results import AuditResult, StageResult
from hangtag.training.targets import build_targets
from hangtag.workspace import Workspace

# Say what an audit found, looked at and could not look at: for `summary.json`, and in lines for people.

WIDTH = 80


def describe_audit(summary: Mapping[str, Any]) -> str:
    """Return the counts of every code, what the labels were held against, and the checks that did not apply.

    Args:
        summary: What `summary.json` holds.
    """
    lines = [f"{count:>8,}  {code.replace('_', ' ')}" for code, count in summary["issues"].items() if count]
    sources = [_describe_source(each) for each in summary["sources"].values()]
    reasons: dict[str, list[str]] = {}
    for check, reason in summary["not_applicable"].items():
        reasons.setdefault(reason, []).append(check.replace("_", " "))
    missing = [f"Not looked at: {', '.join(checks)}. {reason}" for reason, checks in reasons.items()]
    folded = [textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False) for text in sources + missing]
    return "\n".join([*(lines or ["No issue was found."]), *folded])


def _describe_source(found: Mapping[str, Any]) -> str:
    """Describe where probabilities come from, for how many items, and whether all of these are out-of-sample."""
    parts = [f"Held against: {found['source']}, {found['items']:,} items."]
    if count := found.get("items_learnt"):
        parts.append(f"Left out: {count:,} items whose photographs it learnt from.")
    known_by = found.get("learnt_items_known_by")
    if known_by == UNKNOWN:
        parts.append(
            "It does not say what it learnt from: what it learnt from here, if anything, is not out-of-sample."
        )
    if known_by == PHOTOGRAPHS_IN_PART:
        parts.append("What the weights that it began from learnt from is not known.")
    return " ".join(parts)


Check = Callable[[AuditContext], pl.DataFrame]
# What each check looks for, for the bar and for the summary where it does not apply.
CHECKS: dict[str, Check] = {
    "labels": find_label_issues,
    LABEL_CONFLICT: find_label_conflicts,
    SAME_PRODUCT: find_same_products,
    "duplicates": find_duplicates,
    UNLIKELY_COMBINATION: find_unlikely_combinations,
    SPELLING_VARIANT: find_spelling_variants,
    BAD_PICTURE: find_bad_pictures,
}


def audit(
    workspace: str | Path | Workspace,
    config: AuditConfig = AuditConfig(),  # noqa: B008  (frozen)
    *,
    run_id: str | None = None,
    model: str | Path | None = None,
) -> AuditResult:
    """Find what is wrong in a cleaned catalogue.

    Labels are held against out-of-sample probabilities of the photographs: the out-of-fold ones of `cross-validate`
    where there are some, else those of a run on the splits that it did not learn from, else of the model that hangtag
    comes with; or of an exported model that is named. Runs and models carry hashes of the photographs that they learnt
    from: these are left out, whatever their labels and splits are by now.

    Writes `audit/issues.csv` (see `issues.COLUMNS`) and `summary.json`.

    Args:
        workspace: A workspace that has been cleaned.
        config: Settings.
        run_id: The run, or the training in folds, to hear; by default the latest folds, else the best run, else the
            model that hangtag comes with.
        model: The folder of an exported model to hear in its place.

    Raises:
        WorkspaceError: Nothing is cleaned in this workspace, or there is no such run.
        ModelError: The model cannot be loaded, or cannot take these photographs.
    """
    place = Workspace.at(workspace)
    sweep(place)
    trained = [*map(place.folds, place.fold_ids()), *map(place.run, place.run_ids())]
    reads = [place.prepared, place.labels, place.review, *trained]
    with hold("audit", place, reads=reads, writes=[place.audit]):
        return AuditResult.of(_audit(place, config, run_id, model))


def _audit(place: Workspace, config: AuditConfig, run_id: str | None, model: str | Path | None) -> StageResult:
    prepared, review = read_prepared(place), read_reviewed(place)
    # One memory map for all who look: pages that are mapped twice count twice.
    labelled = replace(read_labeled_items(place), images=prepared.images)
    source = _find_source(place, labelled, run_id, model)
    inputs = {"labels": labelled.digest, "prepared": prepared.digest, "source": source.digest}
    if review:
        inputs["review"] = hash_json(review)
    record = StageRecord("audit", place.audit, inputs, config)
    if current := record.load_if_unchanged():
        return current
    # What is settled is not found again.
    prepared, _ = apply_review_changes(prepared, review)
    context, absent = _collect_probs(_open(prepared, labelled, config), source, labelled)
    tables = []
    for name, check in track(CHECKS.items(), "Checking", len(CHECKS), "checks"):
        try:
            tables.append(check(context))
        except NotApplicableError as reason:
            absent[name] = str(reason)
    return _write(record, context, join_issues(tables), absent)


@dataclass(frozen=True)
class _Source:
    """Where the photographs' probabilities come from: a digest of it, and how to fetch them."""

    digest: str
    fetch: Callable[[AuditContext], OutOfSampleProbs]


def _find_source(place: Workspace, labelled: LabeledItems, run_id: str | None, model: str | Path | None) -> _Source:
    if model is not None:
        if run_id is not None:
            raise SettingsError("A run and --model cannot be used together.", hint="Leave out one of them.")
        classifier = Classifier.load(model)
        digest = hash_json(classifier.description)
        return _Source(digest, lambda context: predict_with_model(classifier, labelled, context.items, context.hashes))
    folds = choose_folds(place, labelled.digest, run_id)
    if folds is not None:
        path = place.folds(folds) / "out_of_fold.parquet"
        return _Source(hash_file(path), lambda context: read_folds(path.parent, context.items, context.schema.missing))
    if run_id is not None and run_id not in place.run_ids():
        allowed = f"There are: {', '.join([*place.fold_ids(), *place.run_ids()]) or 'none'}."
        raise WorkspaceError("There is no such finished run or training in folds.", allowed=allowed, received=run_id)
    try:
        chosen = choose_run(place, labelled.digest, run_id)
    except NotApplicableError as reason:
        return _take_shipped(labelled, str(reason))

    def ask(context: AuditContext) -> OutOfSampleProbs:
        return predict_with_run(
            load_classifier(place, chosen, labelled), chosen, labelled, context.items, context.hashes
        )

    return _Source(hash_run(place, chosen), ask)


def _take_shipped(labelled: LabeledItems, why_no_other: str) -> _Source:
    """Combine the model that hangtag comes with, where it knows such categories and photographs of such a size."""
    classifier = Classifier.load()

    def fetch(context: AuditContext) -> OutOfSampleProbs:
        try:
            return predict_with_model(classifier, labelled, context.items, context.hashes)
        except (NotApplicableError, ModelError) as reason:
            raise NotApplicableError(f"{why_no_other} The one that hangtag comes with does not fit: {reason}") from None

    return _Source(hash_json(classifier.description), fetch)


def _open(prepared: Prepared, labelled: LabeledItems, config: AuditConfig) -> AuditContext:
    """Return all prepared items, null where a cell is missing, with what the cleaned labels say of them."""
    cleaned = labelled.table.select("item_id", "label", "split", "group_id")
    items = prepared.known.join(cleaned, on="item_id", how="left", maintain_order="left")
    return AuditContext(items, prepared.images, prepared.schema, config)


def _collect_probs(
    context: AuditContext, source: _Source, labelled: LabeledItems
) -> tuple[AuditContext, dict[str, str]]:
    """Return the context with its sources, and the codes that lack one with the reason."""
    absent: dict[str, str] = {}
    try:
        context = context.with_probs(photographs=source.fetch(context))
    except NotApplicableError as reason:
        absent |= dict.fromkeys((WRONG_LABEL, PHOTOGRAPH_AND_NAME), str(reason))
    try:
        context = context.with_probs(names=_predict_from_names(context, labelled))
    except NotApplicableError as reason:
        absent |= dict.fromkeys((NAME_AGAINST_LABEL, PHOTOGRAPH_AND_NAME), str(reason))
    return context, absent


def _predict_from_names(context: AuditContext, labelled: LabeledItems) -> OutOfSampleProbs:
    names = context.read_names()
    if names is None or not context.config.use_names:
        raise NotApplicableError(
            "The catalogue has no column of names." if names is None else "Names were left out (--no-use-names)."
        )
    outputs, given = _list_products(context, labelled)
    labels = context.items["label"].fill_null("").to_list()
    groups = context.items["group_id"].fill_null(context.items["item_id"]).to_list()
    return predict_from_names(names, given, outputs, labels, groups)


def _list_products(context: AuditContext, labelled: LabeledItems) -> tuple[LabelSpace, Indices]:
    """Return the products that the photographs are asked about, else those of the catalogue, and each item's."""
    given = np.full(len(context.items), NO_VALUE, np.int64)
    if context.photographs is not None:
        outputs = context.photographs.outputs
        given = find_products(context.items, outputs, context.schema.missing)
        given[context.photographs.rows] = context.photographs.given
        return outputs, given
    outputs = build_targets(labelled).outputs
    return outputs, find_products(context.items, outputs, context.schema.missing)


def _write(record: StageRecord, context: AuditContext, issues: pl.DataFrame, absent: Mapping[str, str]) -> StageResult:
    folder = record.begin()
    paths = [folder / name for name in ("issues.csv", "catalog_scores.csv", "summary.json")]
    scores = score_catalog(context, issues)
    counts = count_codes(issues)
    summary: dict[str, Any] = {
        "items": len(context.items),
        "items_with_issues": issues["item_id"].n_unique(),
        "issues": counts,
        "sources": _describe_sources(context),
        "not_applicable": dict(absent),
        "catalog_score": scores["score"][0],
        "catalog_scores": [line for line in scores.to_dicts() if line["column"]],
    }
    tables = context.photographs.tables if context.photographs else {}
    for name, table in tables.items():
        paths.append(folder / name)
        write_csv(paths[-1], table)
    write_csv(paths[0], issues)
    write_csv(paths[1], scores)
    write_json(paths[2], summary)
    severities = dict(issues["severity"].value_counts().iter_rows())
    told = {f"{each}s": int(severities.get(each, 0)) for each in ("error", "warning")}
    told |= {"for_information": int(severities.get("info", 0)), "items_with_issues": summary["items_with_issues"]}
    return record.finish({"items": len(context.items), "issues": len(issues), **told}, paths)


def _describe_sources(context: AuditContext) -> dict[str, Any]:
    found = {"photographs": context.photographs, "names": context.names}
    return {
        name: {"source": each.source, "items": len(each.rows), **each.told}
        for name, each in found.items()
        if each is not None
    }
