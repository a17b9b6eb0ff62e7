"""Stage `map-taxonomy`: propose a category of a public taxonomy for every category of the catalogue."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from hangtag.auditing.category_words import CategoryWords
from hangtag.auditing.taxonomy_matching import CategoryMatch, TaxonomyIndex, TaxonomyMatch, match_categories
from hangtag.catalog.prepared_items import Prepared, read_prepared
from hangtag.config import MapTaxonomyConfig
from hangtag.errors import SettingsError
from hangtag.io import expand_home, hash_file, hash_json, write_csv
from hangtag.labels.dataset import apply_review_changes, read_reviewed
from hangtag.labels.public_taxonomy import (
    MAPPING_COLUMNS,
    PROPOSED_PATH,
    Category,
    PublicTaxonomy,
    TaxonomyMapping,
    head_levels,
    read_named_file,
    read_public_taxonomy,
    read_taxonomy_mapping,
)
from hangtag.lock import hold
from hangtag.manifest import StageRecord, read_manifest
from hangtag.results import StageResult
from hangtag.workspace import Workspace

MAPPING, CATEGORIES = "mapping.csv", "categories.csv"
KEEP_FLAG = "--keep"
CONFIRMED = "kept from the file of --keep"


def map_taxonomy(
    workspace: str | Path | Workspace,
    config: MapTaxonomyConfig = MapTaxonomyConfig(),  # noqa: B008  (frozen)
    *,
    taxonomy: str | Path,
) -> StageResult:
    """Propose a category of a public taxonomy for every category of a prepared catalogue.

    Writes `taxonomy/mapping.csv`, a row for each category for a person to confirm or correct, and `categories.csv`, the
    categories to choose from. A category whose match is not certain has no proposal, only candidates. Decisions of a
    review count.

    Args:
        workspace: A workspace that is prepared.
        config: Settings.
        taxonomy: The file of the taxonomy; see `read_public_taxonomy`.

    Raises:
        WorkspaceError: Nothing is prepared.
        CatalogError: The taxonomy cannot be read.
        SettingsError: The file of `keep` cannot be used, or `taxonomy/mapping.csv` was edited and is not that file.
    """
    workspace = Workspace.at(workspace)
    reads = [workspace.prepared, workspace.review]
    with hold("map-taxonomy", workspace, reads=reads, writes=[workspace.taxonomy]):
        return _map(workspace, config, expand_home(taxonomy))


def _map(workspace: Workspace, config: MapTaxonomyConfig, file: Path) -> StageResult:
    prepared, review = read_prepared(workspace), read_reviewed(workspace)
    public = read_public_taxonomy(file)
    inputs = {"prepared": prepared.digest, "taxonomy": hash_file(file), "review": hash_json(review)}
    keep = expand_home(config.keep) if config.keep else None
    if keep:
        inputs["keep"] = hash_json(read_named_file(keep, KEEP_FLAG).hex())
    record = StageRecord("map-taxonomy", workspace.taxonomy, inputs, config)
    if current := record.load_if_unchanged():
        return current
    _refuse_to_overwrite(workspace.taxonomy, keep)
    prepared, _ = apply_review_changes(prepared, review)
    schema = prepared.schema
    headings = head_levels([*map(schema.find_heading, schema.levels)])
    kept = read_taxonomy_mapping(keep, KEEP_FLAG, headings, public, schema.missing) if keep else TaxonomyMapping({})
    categories = _list_categories(prepared)
    names = {tuple(values): texts for *values, _, texts in categories.iter_rows()}
    language = config.language or public.language
    found = match_categories(names, TaxonomyIndex(public, CategoryWords(language)), config.min_confidence)
    table = _tabulate(categories, headings, found, kept)
    folder = record.begin()
    paths = [folder / MAPPING, folder / CATEGORIES]
    write_csv(paths[0], table)
    write_csv(paths[1], _tabulate_categories(public))
    counts = _count(table, public, kept)
    return record.finish(counts, paths, taxonomy={"version": public.version, "language": language})


def _refuse_to_overwrite(folder: Path, keep: Path | None) -> None:
    """Refuse to write over a mapping that a person has edited, unless its categories are kept.

    Raises:
        SettingsError: It was edited.
    """
    path, manifest = folder / MAPPING, read_manifest(folder)
    written = (manifest or {"outputs": {}})["outputs"].get(MAPPING, {}).get("sha256")
    if path.is_file() and hash_file(path) != written and not (keep and keep.exists() and keep.samefile(path)):
        raise SettingsError(
            "taxonomy/mapping.csv was edited and would be replaced.",
            received=str(path),
            hint=f"Keep its categories with {KEEP_FLAG} {path}, or move it to another folder.",
        )


def _list_categories(prepared: Prepared) -> pl.DataFrame:
    """Return the levels of each category, `items`, and `names`, those of its products, the largest category first."""
    levels, name = list(prepared.schema.levels), prepared.schema.name
    named = prepared.known.filter(pl.any_horizontal(pl.col(levels).is_not_null()))
    texts = (pl.col(name).drop_nulls() if name else pl.lit(None, pl.String).drop_nulls()).implode()
    # Not by the column itself: one of the levels may be the name.
    grouped = named.group_by(levels).agg(pl.len().alias("\0items"), texts.alias("\0names"))
    return grouped.sort("\0items", *levels, descending=[True, *[False] * len(levels)], nulls_last=True)


def _tabulate(
    categories: pl.DataFrame, headings: Sequence[str], found: Mapping[Category, CategoryMatch], kept: TaxonomyMapping
) -> pl.DataFrame:
    rows = []
    for *values, count, _ in categories.iter_rows():
        match, chosen = found[tuple(values)], kept.matches.get(tuple(values))
        best = TaxonomyMatch(chosen, 1.0, CONFIRMED) if chosen else match.proposed
        cells = (best.category.id or None, str(best.category), best.confidence, best.evidence) if best else (None,) * 4
        candidates = [] if best and best.evidence == CONFIRMED else match.candidates
        rows.append((*values, count, *cells, " | ".join(map(_describe, candidates))))
    kinds: dict[str, type[pl.DataType]] = dict.fromkeys([*headings, *MAPPING_COLUMNS], pl.String)
    return pl.DataFrame(rows, schema=kinds | {"items": pl.Int64, "confidence": pl.Float64}, orient="row")


def _describe(match: TaxonomyMatch) -> str:
    """Describe a candidate for people; what comes first, the id where there are ids, is to be copied."""
    names = " ".join(filter(None, [match.category.id, str(match.category)]))
    return f"{names} ({match.confidence:.2f}: {match.evidence})"


def _tabulate_categories(public: PublicTaxonomy) -> pl.DataFrame:
    rows = [(category.id or None, str(category)) for category in public.categories]
    return pl.DataFrame(rows, schema={"id": pl.String, "path": pl.String}, orient="row")


def _count(table: pl.DataFrame, public: PublicTaxonomy, kept: TaxonomyMapping) -> dict[str, int]:
    proposed = table.filter(pl.col(PROPOSED_PATH).is_not_null())
    confirmed = proposed.filter(pl.col("evidence") == CONFIRMED)
    counts = {
        "categories": len(table),
        "taxonomy_categories": len(public.categories),
        "proposed": len(proposed) - len(confirmed),
        "left_open": len(table) - len(proposed),
        "items": int(table["items"].sum()),
        "items_with_category": int(proposed["items"].sum()),
    }
    return counts | ({"kept": len(confirmed)} if kept.matches else {})
