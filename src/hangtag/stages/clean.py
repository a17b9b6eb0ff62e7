"""Stage `clean`: assign one label to each item, group duplicates and assign splits; every change is listed."""

from collections.abc import Collection
from pathlib import Path

import polars as pl

from hangtag.catalog.prepared_items import Prepared, hide_missing, read_categories, read_prepared
from hangtag.config import CleanConfig
from hangtag.errors import CatalogError
from hangtag.io import JsonObject, hash_json, write_csv, write_json, write_parquet
from hangtag.labels.dataset import (
    CHANGES,
    REVIEW_RULES,
    UNKNOWN,
    WHITE_SPACE,
    apply_review_changes,
    describe_balance,
    is_of_other_product,
    read_reviewed,
    strip_categories,
)
from hangtag.labels.duplicates import Indices, group_duplicates, join_groups
from hangtag.labels.fingerprints import FILE as FINGERPRINTS
from hangtag.labels.fingerprints import Fingerprints, compute_all
from hangtag.labels.relabel import Match, match_by_votes, match_class_words
from hangtag.labels.splits import (
    assign_splits,
    check_divided,
    divide_by_rule,
    find_test_items,
    keep_given_splits,
    order_by_seed,
    read_splits,
    reuse_splits,
)
from hangtag.labels.taxonomy import Taxonomy, apply_rules, find_merged, load_taxonomy
from hangtag.lock import hold
from hangtag.manifest import StageRecord
from hangtag.results import CleanResult, StageResult
from hangtag.train_config import SPLITS
from hangtag.workspace import Workspace

# Below this a class of a sample could not be in every split.
MIN_SAMPLED_ITEMS = 6


def clean(
    workspace: str | Path | Workspace,
    config: CleanConfig = CleanConfig(),  # noqa: B008  (frozen)
) -> CleanResult:
    """Return every item one label, group the duplicates and draw the splits.

    Writes `labels/labels.parquet`, `label_changes.csv` (a line for every change, with the rule, what matched it
    and how sure it is), `styles_cleaned.csv`, `class_counts.csv` and `balance.json`, and the hashes of all photographs
    (`fingerprints.parquet`), which `audit` reads. The manifest holds the rules of the taxonomy as they were applied.

    What `hangtag apply` left in `review/label_changes.csv` is taken in first: the given columns have the reviewed
    values from then on, with a line for each by the rule `reviewed` or `auto`.

    White space at the ends of a level or an attribute is taken away then, with a line by the rule `white_space`.

    An item without a label, because the cell that it would come from is missing, is `Unknown`, with a line by the rule
    `missing`. A missing cell of any other level changes no label, and is no evidence for one.

    Raises:
        SettingsError: The rule for the test split does not fit the catalogue, or leaves a split without items; or
            the workspace that splits are to come from has none of its items.
        WorkspaceError: Nothing is prepared in this workspace, or cleaned in that one.
        CatalogError: The taxonomy does not fit the catalogue, or nothing is left to learn.
    """
    workspace = Workspace.at(workspace)
    with hold("clean", workspace, reads=[workspace.prepared, workspace.review], writes=[workspace.labels]):
        return CleanResult.of(_clean_labels(workspace, config))


def _clean_labels(workspace: Workspace, config: CleanConfig) -> StageResult:
    prepared = read_prepared(workspace)
    taxonomy = _load_taxonomy(prepared, config)
    review = read_reviewed(workspace)
    elsewhere = read_splits(config.splits_from)
    inputs = {"prepared": prepared.digest, "taxonomy": hash_json(taxonomy.rules)}
    if review:
        # Left out where there is none, so that workspaces without a review stay as they are.
        inputs["review"] = hash_json(review)
    if elsewhere:
        inputs["splits_from"] = elsewhere[1]
    record = StageRecord("clean", workspace.labels, inputs, config)
    if current := record.load_if_unchanged():
        return current
    others = sum(is_of_other_product(prepared, review))
    prepared, reviewed = apply_review_changes(prepared, review)
    prepared, stripped = strip_categories(prepared)
    test_items = find_test_items(config.test_where, prepared.items, prepared.schema)
    fingerprints = compute_all(prepared.images, prepared.others, workspace.labels)
    groups = _group_items(prepared, fingerprints, config.max_hash_distance)
    items = prepared.items.with_row_index("image_index").with_columns(
        label=apply_rules(prepared.known, taxonomy),
        pixel_hash=pl.Series(fingerprints.pixels[: len(prepared.items)]),
        group_id=_name_groups(prepared.items["item_id"], pl.Series(groups)),
    )
    if elsewhere:
        items = reuse_splits(items, elsewhere[0])
    kept = items.filter(pl.col("label").is_not_null())
    if kept.is_empty() or (len(kept) < len(items) and (kept["label"] == UNKNOWN).all()):
        raise CatalogError(
            "The taxonomy's rules drop every item that has a category.",
            received=taxonomy.name,
            hint="The usual ones drop categories of five items or fewer; --taxonomy every keeps them.",
        )
    matches, figures = _match_ambiguous_items(kept, prepared, taxonomy, config)
    labelled = kept.with_columns(label=_relabel_items(kept, matches))
    if (labelled["label"] == UNKNOWN).all():
        raise CatalogError(
            "No item has a label to learn: the cells that it would come from are all missing.",
            allowed="Allowed: levels with values; see docs/data.md for what counts as missing.",
            received=", ".join(map(prepared.schema.find_heading, prepared.schema.levels)),
        )
    labelled = labelled.with_columns(split=_draw_splits(labelled, test_items, config))
    start = taxonomy.rules[0]["level"]
    merged = _list_merged(prepared, items, labelled, taxonomy)
    changes = pl.concat([reviewed, stripped, merged, _list_changes(prepared, items, labelled, matches, start)])
    told: JsonObject = {"names_matcher": figures, "taxonomy": {"name": taxonomy.name, "rules": list(taxonomy.rules)}}
    told["counts"] = {"review_changes_of_other_products": others} if others else {}
    return _write_labels(record, prepared, kept, labelled, changes, _sample_items(labelled, config), fingerprints, told)


def _load_taxonomy(prepared: Prepared, config: CleanConfig) -> Taxonomy:
    name = config.taxonomy or prepared.schema.taxonomy or "finest"
    text = "" if config.taxonomy else prepared.taxonomy_text
    return load_taxonomy(name, text, prepared.schema.levels, prepared.schema.by_heading)


def _group_items(prepared: Prepared, fingerprints: Fingerprints, max_distance: int) -> Indices:
    """Return the group of each item, int64 (n,).

    Items with duplicates among any of their photographs are in one group, so that no photograph of an item in test is
    that of an item in train.
    """
    groups = group_duplicates(fingerprints.pixels, fingerprints.perceptual, max_distance)
    if len(prepared.others):
        item_ids = pl.concat([prepared.items["item_id"], prepared.others.table["item_id"]])
        groups = join_groups(groups, item_ids.to_list())[: len(prepared.items)]
    if prepared.schema.group:
        products = read_categories(prepared.items[prepared.schema.group], prepared.schema.missing)
        groups = join_groups(groups, products.to_list())
    return groups


def _name_groups(item_ids: pl.Series, groups: pl.Series) -> pl.Series:
    """Name each group after its first item in alphabetical order, so that its name does not hang on the row order."""
    return pl.select(item_id=item_ids, group=groups).select(pl.col("item_id").min().over("group")).to_series()


def _match_ambiguous_items(
    kept: pl.DataFrame, prepared: Prepared, taxonomy: Taxonomy, config: CleanConfig
) -> tuple[dict[str, Match], dict[str, float]]:
    """Match the items with an ambiguous label; return a match by item_id."""
    # A rule that relabels a spelling of a missing cell is about the items that have no label.
    ambiguous = [UNKNOWN if prepared.schema.is_missing(label) else label for label in taxonomy.ambiguous_labels]
    if not ambiguous:
        # Without such a rule no matcher is needed, and its training takes long.
        return {}, {}
    known = hide_missing(kept, prepared.schema)
    unclear = known.filter(pl.col("label").is_in(ambiguous))
    clear = known.filter(~pl.col("label").is_in([*ambiguous, UNKNOWN]))
    name = prepared.schema.name
    figures: dict[str, float] = {}
    if config.matcher == "class-words":
        class_names = kept.filter(pl.col("label") != UNKNOWN)["label"].unique().sort().to_list()
        candidates = [label for label in class_names if label not in ambiguous]
        names = unclear[name].fill_null("").to_list() if name else [""] * len(unclear)
        matches = match_class_words(names, class_names, candidates)
    else:
        level = prepared.schema.levels[-1]
        matches, figures = match_by_votes(unclear, clear, name, level, config.min_match_confidence)
    return dict(zip(unclear["item_id"], matches, strict=True)), figures


def _relabel_items(kept: pl.DataFrame, matches: dict[str, Match]) -> pl.Series:
    labels = [
        (matches[item_id].label or UNKNOWN) if item_id in matches else label
        for item_id, label in zip(kept["item_id"], kept["label"], strict=True)
    ]
    return pl.Series("label", labels, dtype=pl.String)


def _draw_splits(labelled: pl.DataFrame, test_items: Collection[str], config: CleanConfig) -> pl.Series:
    """Return each item's split; Unknown items are in none."""
    known = labelled.filter(pl.col("label") != UNKNOWN)
    labels, group_ids = known["label"].to_list(), known["group_id"].to_list()
    splits: list[str | None]
    if config.test_where:
        in_test = [item_id in test_items for item_id in known["item_id"]]
        splits = divide_by_rule(in_test, labels, group_ids, config.split_fractions[:2], config.split_seed)
        check_divided(splits, config.test_where)
    elif known["given_split"].is_not_null().any():
        splits = keep_given_splits(known["given_split"].to_list(), group_ids)
    else:
        by_group = assign_splits(labels, group_ids, config.split_fractions, config.split_seed)
        splits = [by_group[group_id] for group_id in group_ids]
    by_item = dict(zip(known["item_id"], splits, strict=True))
    return pl.Series("split", [by_item.get(item_id) for item_id in labelled["item_id"]], dtype=pl.String)


def _sample_items(labelled: pl.DataFrame, config: CleanConfig) -> pl.DataFrame:
    """Keep about `config.sample` items, alike from each label, and all Unknown ones."""
    if not 0 < config.sample < len(labelled):
        return labelled
    order = {item_id: rank for rank, item_id in enumerate(order_by_seed(labelled["item_id"], config.split_seed))}
    share = config.sample / len(labelled)
    ranks = pl.Series([order[item_id] for item_id in labelled["item_id"]])
    # Ranked inside label and split, so that the sample keeps the shares of the splits.
    rank = pl.col("order").rank("ordinal").over("label", "split")
    wanted = pl.max_horizontal((pl.len().over("label", "split") * share).round(), MIN_SAMPLED_ITEMS / 3)
    # Apart from the catalogue's own columns, one of which may be called "order".
    apart = labelled.select("label", "split", order=ranks)
    return labelled.filter(apart.select((rank <= wanted) | (pl.col("label") == UNKNOWN)).to_series())


def _list_merged(prepared: Prepared, items: pl.DataFrame, labelled: pl.DataFrame, taxonomy: Taxonomy) -> pl.DataFrame:
    """List the labels that rules merged into others, of the items that are not dropped for a rare label."""
    kept = set(labelled["item_id"])
    old = find_merged(prepared.known, taxonomy)
    lines = [
        {"item_id": item_id, "column": prepared.schema.label_name, "old": before, "new": after, "rule": "merge"}
        for item_id, before, after in zip(items["item_id"], old, items["label"], strict=True)
        if before is not None and item_id in kept
    ]
    return pl.DataFrame(lines, schema=CHANGES)


def _list_changes(
    prepared: Prepared, items: pl.DataFrame, labelled: pl.DataFrame, matches: dict[str, Match], level: str
) -> pl.DataFrame:
    """List what the rules changed.

    These are items dropped for a rare label, items whose label is missing, ambiguous labels matched or not, and items
    taken out of the splits because a duplicate of theirs lies on another side; `old` is their split where one came with
    the catalogue.
    """
    coarsest, label_name = prepared.schema.levels[0], prepared.schema.label_name
    dropped = items.filter(pl.col("label").is_null())
    lines: list[dict[str, object]] = [
        {
            "item_id": item_id,
            "column": prepared.schema.find_heading(coarsest),
            "old": old,
            "new": None,
            "rule": "drop_rare",
        }
        for item_id, old in zip(dropped["item_id"], dropped[coarsest], strict=True)
    ]
    given = dict(zip(items["item_id"], items["label"], strict=True))
    delivered = dict(zip(items["item_id"], items[level], strict=True))
    for item_id, new in zip(labelled["item_id"], labelled["label"], strict=True):
        if match := matches.get(item_id):
            line = {"item_id": item_id, "column": label_name, "old": given[item_id], "new": new, "rule": "relabel"}
            lines.append(line | {"matched_by": match.matched_by, "score": match.score})
        elif new == UNKNOWN:
            lines.append(
                {"item_id": item_id, "column": label_name, "old": delivered[item_id], "new": new, "rule": "missing"}
            )
    known = labelled.filter(pl.col("label") != UNKNOWN)
    # Where splits came with the catalogue, an item without one was in none to be taken out of.
    had_split = pl.col("given_split").is_not_null() | pl.col("given_split").is_null().all()
    taken = known.filter(had_split & pl.col("split").is_null())
    lines += [
        {"item_id": item_id, "column": "split", "old": old, "new": None, "rule": "duplicate_across_splits"}
        for item_id, old in zip(taken["item_id"], taken["given_split"], strict=True)
    ]
    return pl.DataFrame(lines, schema=CHANGES)


def _write_labels(
    record: StageRecord,
    prepared: Prepared,
    kept: pl.DataFrame,
    labelled: pl.DataFrame,
    changes: pl.DataFrame,
    sample: pl.DataFrame,
    fingerprints: Fingerprints,
    told: JsonObject,
) -> StageResult:
    schema, folder = prepared.schema, record.begin()
    names = (
        "labels.parquet",
        "label_changes.csv",
        "styles_cleaned.csv",
        "class_counts.csv",
        "balance.json",
        FINGERPRINTS,
    )
    paths = [folder / name for name in names]
    own = list(schema.columns)
    columns = ["item_id", "image_index", *own, "label", "split", "group_id", "pixel_hash"]
    write_parquet(paths[0], sample.select(columns))
    write_csv(paths[1], changes)
    headed = [pl.col(column).alias(heading) for column, heading in zip(own, schema.headings, strict=True)]
    write_csv(paths[2], labelled.select(*headed, pl.col("label").alias(schema.label_name)))
    write_csv(paths[3], _count_classes(kept, labelled))
    write_json(paths[4], _describe_balance(prepared, kept, labelled))
    fingerprints.write(paths[5])
    counts = _count_labels(labelled, sample, changes) | told.pop("counts")
    return record.finish(counts, paths, **told)


def _count_labels(labelled: pl.DataFrame, sample: pl.DataFrame, changes: pl.DataFrame) -> dict[str, object]:
    relabelled = changes.filter(pl.col("rule") == "relabel")
    sizes = labelled.group_by("group_id").len().filter(pl.col("len") > 1)
    splits = sample["split"].drop_nulls().value_counts()
    used = sample.filter(pl.col("split").is_not_null())
    not_in_train = used["label"].n_unique() - used.filter(pl.col("split") == "train")["label"].n_unique()
    return {
        "items": len(labelled),
        **_count_cells(changes),
        "dropped": int((changes["rule"] == "drop_rare").sum()),
        "labels": labelled.filter(pl.col("label") != UNKNOWN)["label"].n_unique(),
        **({"merged": merged} if (merged := int((changes["rule"] == "merge").sum())) else {}),
        "relabelled": int((relabelled["new"] != UNKNOWN).sum()),
        "unknown": int((labelled["label"] == UNKNOWN).sum()),
        # Of these the ones that nothing was known of from the start.
        **({"missing_labels": missing} if (missing := int((changes["rule"] == "missing").sum())) else {}),
        "duplicate_groups": len(sizes),
        "items_in_duplicate_groups": int(sizes["len"].sum()),
        "taken_out_of_splits": int((changes["rule"] == "duplicate_across_splits").sum()),
        "sampled": len(sample),
        **{split: dict(splits.iter_rows()).get(split, 0) for split in SPLITS},
        # Told where it happens: no model can get these labels right, so they lower every figure.
        **({"labels_not_in_train": not_in_train} if not_in_train else {}),
    }


def _count_cells(changes: pl.DataFrame) -> dict[str, int]:
    """Count the cells that a review has changed, and white space at their ends, by the rule; nothing for none."""
    counts = {f"{rule}_cells": int((changes["rule"] == rule).sum()) for rule in (*REVIEW_RULES, WHITE_SPACE)}
    return {name: count for name, count in counts.items() if count}


def _count_classes(kept: pl.DataFrame, labelled: pl.DataFrame) -> pl.DataFrame:
    before = kept["label"].value_counts(name="before_relabeling")
    after = labelled["label"].value_counts(name="after_relabeling")
    counts = before.join(after, on="label", how="full", coalesce=True).fill_null(0)
    return counts.sort(["before_relabeling", "label"], descending=[True, False])


def _describe_balance(prepared: Prepared, kept: pl.DataFrame, labelled: pl.DataFrame) -> dict[str, dict[str, object]]:
    levels = prepared.schema.levels

    def read(table: pl.DataFrame) -> dict[str, pl.Series]:
        find, missing = prepared.schema.find_heading, prepared.schema.missing
        return {find(level): read_categories(table[level], missing) for level in levels}

    label = {prepared.schema.label_name: labelled.filter(pl.col("label") != UNKNOWN)["label"]}
    return {
        "raw": {"n": len(prepared.items), "columns": describe_balance(read(prepared.items))},
        "cleaned": {"n": len(kept), "columns": describe_balance(read(kept) | label)},
    }
