"""Command `suggest-merges`: propose to merge labels that mean the same, as rules for `clean`."""

import tomllib
from dataclasses import replace
from pathlib import Path

import polars as pl

from hangtag.auditing.label_merges import MIN_MERGED_SCORE, LabelItems, Merge, find_merges, write_rules
from hangtag.catalog.missing_values import UNKNOWN
from hangtag.catalog.prepared_items import Prepared, read_prepared
from hangtag.config import SuggestMergesConfig
from hangtag.io import hash_json, write_csv, write_text
from hangtag.labels.dataset import apply_review_changes, read_reviewed
from hangtag.labels.taxonomy import Taxonomy, apply_rules, load_taxonomy, read_taxonomy_text
from hangtag.lock import hold
from hangtag.manifest import StageRecord
from hangtag.results import StageResult
from hangtag.workspace import Workspace

# Rules after which a label is not there any more.
LATER_RULES = ("drop_rare", "relabel")


def suggest_merges(
    workspace: str | Path | Workspace,
    config: SuggestMergesConfig = SuggestMergesConfig(),  # noqa: B008  (frozen)
) -> StageResult:
    """Propose to merge labels of a prepared catalogue that mean the same.

    The labels are those that `clean` gives by the same rules, before rare ones are dropped. Writes `merges/merges.csv`,
    the surest first, and `merges.toml`, the rules with these merges, for `clean --taxonomy`. Nothing is merged before.

    Args:
        workspace: A workspace that is prepared.
        config: Settings.

    Raises:
        WorkspaceError: Nothing is prepared.
        CatalogError: There is no such taxonomy, or it does not fit the catalogue.
    """
    workspace = Workspace.at(workspace)
    reads = [workspace.prepared, workspace.review]
    with hold("suggest-merges", workspace, reads=reads, writes=[workspace.merges]):
        return _suggest(workspace, config)


def _suggest(workspace: Workspace, config: SuggestMergesConfig) -> StageResult:
    prepared, review = read_prepared(workspace), read_reviewed(workspace)
    name = config.taxonomy or prepared.schema.taxonomy or "finest"
    text = ("" if config.taxonomy else prepared.taxonomy_text) or read_taxonomy_text(name)
    taxonomy = load_taxonomy(name, text, prepared.schema.levels, prepared.schema.by_heading)
    inputs = {"prepared": prepared.digest, "taxonomy": hash_json(text), "review": hash_json(review)}
    record = StageRecord("suggest-merges", workspace.merges, inputs, config)
    if current := record.load_if_unchanged():
        return current
    prepared, _ = apply_review_changes(prepared, review)
    labels = _list_labels(prepared, taxonomy)
    merges = find_merges(labels, config.min_similarity)
    folder = record.begin()
    paths = [folder / "merges.csv", folder / "merges.toml"]
    write_csv(paths[0], _tabulate(merges, labels))
    write_text(paths[1], write_rules(f"{taxonomy.name}, merged", tomllib.loads(text)["rules"], merges, labels))
    sure = [merge for merge in merges if merge.score >= MIN_MERGED_SCORE]
    counts = {
        "labels": len(labels),
        "merges": len(sure),
        "items": sum(labels[merge.label].count for merge in sure),
        "less_sure": len(merges) - len(sure),
    }
    return record.finish(counts, paths)


def _list_labels(prepared: Prepared, taxonomy: Taxonomy) -> dict[str, LabelItems]:
    """Return the products of each label by the rules that give labels."""
    rules = tuple(rule for rule in taxonomy.rules if rule["rule"] not in LATER_RULES)
    name, coarsest = prepared.schema.name, prepared.schema.levels[0]
    table = pl.DataFrame(
        {
            "label": apply_rules(prepared.known, replace(taxonomy, rules=rules)),
            "parent": prepared.known[coarsest],
            "name": prepared.known[name] if name else pl.Series([None] * len(prepared.known), dtype=pl.String),
        }
    )
    grouped = table.filter(pl.col("label") != UNKNOWN).group_by("label", maintain_order=True)
    found = grouped.agg(
        pl.len().alias("count"), pl.col("parent").drop_nulls().mode().sort().first(), pl.col("name").drop_nulls()
    )
    return {label: LabelItems(count, parent or "", names) for label, count, parent, names in found.iter_rows()}


def _describe(label: str, labels: dict[str, LabelItems]) -> tuple[str, int, str]:
    return label, labels[label].count, labels[label].parent


def _tabulate(merges: list[Merge], labels: dict[str, LabelItems]) -> pl.DataFrame:
    rows = [(*_describe(each.label, labels), *_describe(each.into, labels), each.score, each.reason) for each in merges]
    names = ("label", "items", "parent", "into", "into_items", "into_parent", "score", "reason")
    kinds = dict.fromkeys(names, pl.String) | {"items": pl.Int64, "into_items": pl.Int64, "score": pl.Float64}
    return pl.DataFrame(rows, schema=kinds, orient="row")
