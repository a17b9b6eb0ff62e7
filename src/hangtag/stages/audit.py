"""Stage `audit`: find label errors, duplicates, unlikely combinations, spelling variants and bad pictures."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from hangtag.auditing.catalog_scores import score_catalog
from hangtag.auditing.category_mapping import hash_category_mapping
from hangtag.auditing.category_suggestions import FILE as SUGGESTED
from hangtag.auditing.category_suggestions import suggest_categories
from hangtag.auditing.context import AuditContext
from hangtag.auditing.duplicate_issues import find_duplicates, find_label_conflicts, find_same_products
from hangtag.auditing.evidence import (
    OutOfSampleProbs,
    find_category_paths,
    hash_named,
    predict_from_names,
)
from hangtag.auditing.expected_precision import expect_right
from hangtag.auditing.image_issues import find_bad_pictures
from hangtag.auditing.issues import (
    BAD_PICTURE,
    IMAGE,
    IMAGE_AND_NAME,
    LABEL_CONFLICT,
    LABEL_ERROR,
    NAME,
    SAME_PRODUCT,
    SPELLING_VARIANT,
    UNLIKELY_COMBINATION,
    NotApplicableError,
    count_codes,
    count_evidence,
    join_issues,
    mark_changed_items,
    use_headings,
)
from hangtag.auditing.label_issues import find_label_issues
from hangtag.auditing.model_evidence import choose_folds, choose_run, predict_with_model, predict_with_run, read_folds
from hangtag.auditing.value_issues import find_spelling_variants, find_unlikely_combinations
from hangtag.catalog.prepared_items import Prepared, read_changes, read_prepared
from hangtag.config import AuditConfig
from hangtag.console import track
from hangtag.errors import ModelError, SettingsError, WorkspaceError
from hangtag.inference.classifier import Classifier
from hangtag.inference.runs import KnownProbs, load_classifier
from hangtag.io import JsonObject, hash_file, hash_json, write_csv, write_json
from hangtag.labels.dataset import LabeledItems, apply_review_changes, read_labeled_items, read_reviewed
from hangtag.labels.fingerprints import Fingerprints, read_fingerprints
from hangtag.lock import hold, sweep
from hangtag.manifest import StageRecord, read_version, require_manifest
from hangtag.models.checkpoint import hash_run
from hangtag.models.label_space import NO_VALUE, Indices, LabelSpace
from hangtag.results import AuditResult, StageResult
from hangtag.training.targets import build_targets
from hangtag.workspace import Workspace

# The name of the model that hangtag comes with, for --model.
SHIPPED = "shipped"
# What an exported model predicted of every photograph, and the other products' names of every name, for the next audit.
KNOWN, KNOWN_NAMES = "photograph_probs.npz", "name_probs.npz"


def _name_label_error(evidence: str) -> str:
    return f"{LABEL_ERROR} ({evidence})"


Check = Callable[[AuditContext], pl.DataFrame]
# The checks by the name that the progress bar and the summary show.
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
    """Find label errors, duplicates and other issues of a cleaned catalogue.

    Labels are compared with out-of-sample probabilities: those of `cross-validate` if there are any, else those of a
    run on the splits that it was not trained on, else those of the model that hangtag comes with; or of the exported
    model that `model` names. Runs and models carry hashes of their training photographs; items with these are left
    out, whatever their labels and splits are by now.

    An item is judged by all its photographs: its probabilities are the means of theirs, and a bad picture or an exact
    duplicate may be any of them.

    Writes `audit/issues.csv` (see `issues.COLUMNS`) and `summary.json`; where items have no category, also
    `suggested_categories.csv` (see `suggest_categories`).

    Args:
        workspace: A workspace that has been cleaned.
        config: Settings.
        run_id: The cross-validation or run to take probabilities from; by default the latest cross-validation, else
            the best run, else the model that hangtag comes with.
        model: The folder of an exported model to use instead.

    Raises:
        WorkspaceError: Nothing is cleaned in this workspace, or there is no such run.
        ModelError: The model cannot be loaded, or the photographs have another size.
    """
    workspace = Workspace.at(workspace)
    sweep(workspace)
    trained = [*map(workspace.folds, workspace.fold_ids()), *map(workspace.run, workspace.run_ids())]
    reads = [workspace.prepared, workspace.labels, workspace.review, *trained]
    with hold("audit", workspace, reads=reads, writes=[workspace.audit]):
        return AuditResult.of(_audit(workspace, config, run_id, model))


def _audit(workspace: Workspace, config: AuditConfig, run_id: str | None, model: str | Path | None) -> StageResult:
    prepared, review = read_prepared(workspace), read_reviewed(workspace)
    # One memory map for all checks: pages that are mapped twice count twice.
    labelled = replace(read_labeled_items(workspace), images=prepared.images, others=prepared.others)
    source = _find_source(workspace, labelled, run_id, model)
    inputs = {"labels": labelled.digest, "prepared": prepared.digest, "source": source.digest}
    if review:
        inputs["review"] = hash_json(review)
    changes = read_changes(workspace)
    if changes is not None:
        inputs["changes"] = hash_json(changes.rows())
    if config.category_mapping:
        inputs["category_mapping"] = hash_category_mapping(Path(config.category_mapping))
    record = StageRecord("audit", workspace.audit, inputs, config)
    if current := record.load_if_unchanged():
        return current
    # Issues that were reviewed are not found again.
    prepared, _ = apply_review_changes(prepared, review)
    context = _build_context(prepared, labelled, config, read_fingerprints(workspace.labels, prepared))
    context, absent, written = _collect_probs(workspace, context, source, labelled)
    if config.category_mapping and not written:
        # The reason why there is no exported model, where one was asked: its photographs may have another size.
        reason = absent.get(_name_label_error(IMAGE), "The probabilities are those of a trained model.")
        hint = "Add --model shipped, or leave it out."
        raise SettingsError(f"--category-mapping is for the classes of an exported model. {reason}", hint=hint)
    tables = []
    for name, check in track(CHECKS.items(), "Checking", len(CHECKS), "checks"):
        try:
            tables.append(check(context))
        except NotApplicableError as reason:
            absent[name] = str(reason)
    if context.unlike_model:
        absent[f"{BAD_PICTURE} (no product)"] = context.unlike_model
    return _write_audit(record, context, join_issues(tables), absent, written, changes)


@dataclass(frozen=True)
class _Source:
    """The source of the image probabilities: its digest, and how to compute them."""

    digest: str
    fetch: Callable[[AuditContext], OutOfSampleProbs]


def _find_source(workspace: Workspace, labelled: LabeledItems, run_id: str | None, model: str | Path | None) -> _Source:
    if model is not None:
        if run_id is not None:
            raise SettingsError("A run and --model cannot be used together.", hint="Leave out one of them.")
        if str(model) == SHIPPED and not Path(SHIPPED).exists():
            return _take_shipped(workspace, labelled, "")
        classifier = Classifier.load(model)
        digest = hash_json(classifier.description)
        return _Source(digest, lambda context: _ask_model(workspace, classifier, labelled, context))
    folds = choose_folds(workspace, labelled.digest, run_id)
    if folds is not None:
        path = workspace.folds(folds) / "out_of_fold.parquet"
        return _check_levels(
            workspace,
            _Source(hash_file(path), lambda context: read_folds(path.parent, context.items, context.schema.missing)),
            labelled,
            is_named=run_id is not None,
        )
    if run_id is not None and run_id not in workspace.run_ids():
        allowed = f"There are: {', '.join([*workspace.fold_ids(), *workspace.run_ids()]) or 'none'}."
        raise WorkspaceError("There is no such finished run or cross-validation.", allowed=allowed, received=run_id)
    try:
        chosen = choose_run(workspace, labelled.digest, run_id)
    except NotApplicableError as reason:
        return _take_shipped(workspace, labelled, str(reason))

    def predict(context: AuditContext) -> OutOfSampleProbs:
        return predict_with_run(
            load_classifier(workspace, chosen, labelled), chosen, labelled, context.items, context.hashes
        )

    return _check_levels(
        workspace, _Source(hash_run(workspace, chosen), predict), labelled, is_named=run_id is not None
    )


def _check_levels(workspace: Workspace, source: _Source, labelled: LabeledItems, *, is_named: bool) -> _Source:
    """Return a source that takes the shipped model where a trained one predicts none of the catalogue's levels.

    A run that was named is not replaced; then its label errors are not applicable.
    """

    def fetch(context: AuditContext) -> OutOfSampleProbs:
        probs = source.fetch(context)
        if set(probs.label_space.levels) & set(context.levels):
            return probs
        source_name = f"{probs.source[:1].upper()}{probs.source[1:]}"
        reason = f"{source_name}: these are probabilities of the label alone, and none of the catalogue's levels."
        if is_named:
            raise NotApplicableError(reason)
        return _take_shipped(workspace, labelled, reason).fetch(context)

    return _Source(source.digest, fetch)


def _take_shipped(workspace: Workspace, labelled: LabeledItems, why_no_other: str) -> _Source:
    """Return the model that hangtag comes with as the source; it may have other categories or another size."""
    classifier = Classifier.load()

    def fetch(context: AuditContext) -> OutOfSampleProbs:
        try:
            return _ask_model(workspace, classifier, labelled, context)
        except (NotApplicableError, ModelError) as reason:
            raise NotApplicableError(
                f"{why_no_other} The model that hangtag comes with does not fit: {reason}".lstrip(),
                getattr(reason, "tables", None),
            ) from None

    return _Source(hash_json(classifier.description), fetch)


def _ask_model(
    workspace: Workspace, classifier: Classifier, labelled: LabeledItems, context: AuditContext
) -> OutOfSampleProbs:
    """Predict with an exported model; photographs that the last audit predicted with it are not predicted again."""
    known = _read_known(workspace, KNOWN, hash_json(classifier.description))
    return predict_with_model(
        classifier, labelled, context.items, context.hashes, context.config.category_mapping, known
    )


def _read_known(workspace: Workspace, name: str, source: str = "") -> KnownProbs | None:
    """Return what the last audit of this version predicted, with the source of this digest; None if there is none."""
    with suppress(WorkspaceError):
        manifest = require_manifest(workspace.audit, "", [name])
        if source in ("", manifest["inputs"].get("source")) and manifest["versions"]["hangtag"] == read_version(
            "hangtag"
        ):
            return KnownProbs.read(workspace.audit / name)
    return None


def _build_context(
    prepared: Prepared, labelled: LabeledItems, config: AuditConfig, fingerprints: Fingerprints | None = None
) -> AuditContext:
    """Return the context of the checks: all prepared items, null where a cell is missing, with their cleaned labels."""
    cleaned = labelled.table.select("item_id", "label", "split", "group_id")
    items = prepared.known.join(cleaned, on="item_id", how="left", maintain_order="left")
    return AuditContext(
        items,
        prepared.images,
        prepared.schema,
        config,
        delivered=prepared.items,
        others=prepared.others,
        known_fingerprints=fingerprints,
    )


def _collect_probs(
    workspace: Workspace, context: AuditContext, source: _Source, labelled: LabeledItems
) -> tuple[AuditContext, dict[str, str], dict[str, pl.DataFrame]]:
    """Return the context with its probabilities, the label errors that cannot be found, with the reason, and tables."""
    absent: dict[str, str] = {}
    tables: dict[str, pl.DataFrame] = {}
    try:
        image_probs = source.fetch(context)
        context, tables = context.with_probs(image_probs=image_probs), dict(image_probs.tables)
    except NotApplicableError as reason:
        tables = reason.tables
        absent |= dict.fromkeys(map(_name_label_error, (IMAGE, IMAGE_AND_NAME)), str(reason))
    try:
        context = context.with_probs(
            name_probs=_predict_from_names(context, labelled, _read_known(workspace, KNOWN_NAMES))
        )
    except NotApplicableError as reason:
        absent |= dict.fromkeys(map(_name_label_error, (NAME, IMAGE_AND_NAME)), str(reason))
    return context, absent, tables


def _predict_from_names(
    context: AuditContext, labelled: LabeledItems, known: KnownProbs | None = None
) -> OutOfSampleProbs:
    names = context.read_names()
    if names is None or not context.config.use_names:
        raise NotApplicableError(
            "The catalogue has no column of names." if names is None else "Names were left out (--no-use-names)."
        )
    label_space, given = _list_category_paths(context, labelled)
    labels = context.items["label"].fill_null("").to_list()
    groups = context.items["group_id"].fill_null(context.items["item_id"]).to_list()
    keys = hash_named(context.item_ids, names, given, label_space)
    return predict_from_names(
        names,
        given,
        label_space,
        labels,
        groups,
        with_others=bool(len(context.lacking)),
        keys=keys,
        known=known,
    )


def _list_category_paths(context: AuditContext, labelled: LabeledItems) -> tuple[LabelSpace, Indices]:
    """Return the category paths of the image probabilities, else those of the catalogue, and each item's own."""
    given = np.full(len(context.items), NO_VALUE, np.int64)
    if context.image_probs is not None:
        label_space = context.image_probs.label_space
        given = find_category_paths(context.items, label_space, context.schema.missing)
        given[context.image_probs.rows] = context.image_probs.given
        return label_space, given
    label_space = build_targets(labelled).label_space
    return label_space, find_category_paths(context.items, label_space, context.schema.missing)


def _write_audit(
    record: StageRecord,
    context: AuditContext,
    issues: pl.DataFrame,
    absent: Mapping[str, str],
    tables: Mapping[str, pl.DataFrame],
    changes: pl.DataFrame | None,
) -> StageResult:
    folder = record.begin()
    paths = [folder / name for name in ("issues.csv", "catalog_scores.csv", "summary.json")]
    headings = context.schema.by_column
    scores = score_catalog(context, issues).with_columns(pl.col("column").replace(headings))
    expected = expect_right(context, issues)
    issues = mark_changed_items(use_headings(issues, headings), changes)
    counts = count_codes(issues)
    summary: JsonObject = {
        "items": len(context.items),
        "judged": int(context.judged.sum()),
        "not_judged": context.count_not_judged(),
        "items_with_issues": issues["item_id"].n_unique(),
        "issues": counts,
        "evidence": count_evidence(issues),
        "expected_right": expected,
        "sources": _describe_sources(context),
        "not_applicable": dict(absent),
        # Null where no item was judged.
        "catalog_score": next(iter(scores.filter(pl.col("column") == "")["score"]), None),
        "catalog_scores": [line for line in scores.to_dicts() if line["column"]],
    }
    if len(context.lacking):
        tables = {**tables, SUGGESTED: mark_changed_items(suggest_categories(context), changes)}
        summary["without_category"] = len(context.lacking)
    for name, table in tables.items():
        paths.append(folder / name)
        write_csv(paths[-1], table)
    for name, probs in ((KNOWN, context.image_probs), (KNOWN_NAMES, context.name_probs)):
        if probs is not None and probs.known_probs is not None:
            paths.append(folder / name)
            probs.known_probs.write(paths[-1])
    write_csv(paths[0], issues)
    write_csv(paths[1], scores)
    write_json(paths[2], summary)
    severities = dict(issues["severity"].value_counts().iter_rows())
    told = {f"{each}s": int(severities.get(each, 0)) for each in ("error", "warning")}
    told |= {"for_information": int(severities.get("info", 0)), "items_with_issues": summary["items_with_issues"]}
    return record.finish({"items": len(context.items), "issues": len(issues), **told}, paths)


def _describe_sources(context: AuditContext) -> JsonObject:
    found = {"photographs": context.image_probs, "names": context.name_probs}
    return {
        name: {"source": each.source, "items": len(each.rows), **each.summary}
        for name, each in found.items()
        if each is not None
    }
