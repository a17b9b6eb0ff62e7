"""An item without a label is Unknown, however its table says so, and what is missing is evidence for nothing."""

import csv
import itertools
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from hangtag.auditing.context import AuditContext
from hangtag.auditing.duplicate_issues import find_label_conflicts
from hangtag.auditing.evidence import OutOfSampleProbs, find_category_paths
from hangtag.auditing.issues import join_issues
from hangtag.auditing.label_issues import find_label_issues
from hangtag.auditing.value_issues import find_spelling_variants, find_unlikely_combinations
from hangtag.catalog.missing_values import is_missing
from hangtag.catalog.prepared_items import read_prepared
from hangtag.catalog.schema import CatalogSchema
from hangtag.config import AuditConfig, CleanConfig, PredictConfig
from hangtag.errors import CatalogError
from hangtag.figures.counts import count_values, fill_missing
from hangtag.io import write_parquet, write_whole
from hangtag.labels.dataset import UNKNOWN, LabeledItems, read_labeled_items
from hangtag.manifest import StageRecord
from hangtag.stages.clean import clean
from hangtag.stages.predict import _choose_items
from hangtag.training.targets import build_targets
from hangtag.workspace import Workspace

LEVELS = ("dept", "group", "kind")
SPELLINGS = ("", "NA", "N/A", "  ", "Unknown", "unknown ", "null", "\ufeff")
KINDS = {"Tee": ("Wear", "Tops"), "Shirt": ("Wear", "Tops"), "Bag": ("Goods", "Bags")}
SCHEMA = CatalogSchema(
    table="t.csv",
    name="title",
    levels=LEVELS,
    attributes=("colour",),
    image="{id}.png",
    columns=("id", *LEVELS, "colour", "title"),
    headings=("id", *LEVELS, "colour", "title"),
)
PROMOTE = """
[[rules]]
rule = "start"
level = "dept"
[[rules]]
rule = "promote"
level = "group"
within = "dept"
min_count = 12
[[rules]]
rule = "promote"
level = "kind"
min_count = 9
[[rules]]
rule = "drop_rare"
max_count = 1
"""
Row = list[str]
Holes = Mapping[tuple[int, str], str]
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (200, 8, 6, 3), dtype=np.uint8)


def make_rows(each: int = 14) -> list[Row]:
    """Return rows (dept, group, kind, colour, title) of every kind by turns."""
    turns = itertools.product(range(each), KINDS.items())
    return [[*levels, kind, "red" if n % 2 else "blue", f"nice {kind.lower()} {n % 5}"] for n, (kind, levels) in turns]


def write(folder: Path, rows: Sequence[Row], rules: str = "", schema: CatalogSchema = SCHEMA) -> Workspace:
    """Write what `prepare` would."""
    place = Workspace.at(folder)
    ids = [str(number) for number in range(len(rows))]
    own = dict(zip(schema.columns[1:], zip(*rows, strict=True), strict=True))
    fixed = {"image_path": ids, "image_width": [6] * len(rows), "image_height": [8] * len(rows)}
    items = pl.DataFrame({"item_id": ids, **fixed, "image_mode": ["RGB"] * len(rows), "id": ids, **own})
    paths = [place.prepared / "items.parquet", place.prepared / "images.npy"]
    write_parquet(paths[0], items.with_columns(given_split=pl.lit(None, pl.String)))
    with write_whole(paths[1]) as target, target.open("wb") as file:
        np.save(file, PIXELS[: len(rows)])
    StageRecord("prepare", place.prepared, {}, {}).finish({}, paths, schema=schema.to_json(), taxonomy_text=rules)
    return place


def pierce(rows: Sequence[Row], holes: Holes) -> list[Row]:
    """Return the rows with missing cells, each spelt as it is told."""
    pierced = [list(row) for row in rows]
    for (row, column), spelling in holes.items():
        pierced[row][[*LEVELS, "colour", "title"].index(column)] = spelling
    return pierced


def read(place: Workspace) -> tuple[LabeledItems, pl.DataFrame]:
    return read_labeled_items(place), pl.read_csv(place.labels / "label_changes.csv", infer_schema=False)


def audit_labels(place: Workspace, labelled: LabeledItems) -> pl.DataFrame:
    """Return the issues of all checks of values, with a network that is sure of every third item, and wrong."""
    cleaned = labelled.table.select("item_id", "label", "split", "group_id")
    prepared = read_prepared(place)
    items = prepared.items.join(cleaned, on="item_id", how="left", maintain_order="left")
    label_space = build_targets(labelled).label_space
    given_products = find_category_paths(items, label_space, SCHEMA.missing)
    seen = np.where(np.arange(len(items)) % 3, given_products, (given_products + 1) % len(label_space.category_paths))
    probs = np.full((len(items), len(label_space.category_paths)), 0.02, np.float32)
    probs[np.arange(len(items)), seen] = 1
    probs /= probs.sum(axis=1, keepdims=True)
    out_of_sample = OutOfSampleProbs(np.arange(len(items)), label_space, given_products, probs, min_class_items=1)
    context = AuditContext(items, prepared.images, SCHEMA, AuditConfig(min_score=0.0), image_probs=out_of_sample)
    checks = (find_label_issues, find_label_conflicts, find_unlikely_combinations, find_spelling_variants)
    return join_issues([check(context) for check in checks])


holes = st.dictionaries(
    st.tuples(st.integers(0, 41), st.sampled_from([*LEVELS, "colour", "title"])),
    st.sampled_from(SPELLINGS),
    max_size=25,
)


# Not shrunk: an example takes a second.
@settings(max_examples=6, phases=(Phase.explicit, Phase.generate))
@given(holes, st.sampled_from(["", PROMOTE]), st.sampled_from(SPELLINGS))
def test_no_class_no_figure_and_no_suggestion_is_a_missing_one_and_its_spelling_changes_nothing(
    drawn: Holes, rules: str, other: str
) -> None:
    states = []
    for spelt in (drawn, dict.fromkeys(drawn, other)):
        with tempfile.TemporaryDirectory() as folder:
            rows = pierce(make_rows(), spelt)
            place = write(Path(folder), rows, rules)
            result = clean(place)
            labelled, changes = read(place)
            label_space = build_targets(labelled).label_space
            for names in (labelled.class_names, *label_space.levels.values(), *label_space.attributes.values()):
                assert not any(map(is_missing, names))
            counts = [
                count_values(fill_missing(read_prepared(place).items, LEVELS, SCHEMA.missing), level)
                for level in LEVELS
            ]
            assert not any(is_missing(value) for table in counts for value in table["value"])
            issues = audit_labels(place, labelled)
            told = issues.filter(pl.col("severity") != "info").rows(named=True)
            assert not any(is_missing(line["given_label"]) for line in told)
            assert not any(is_missing(value) for line in told for value in json.loads(line["changes"]).values())
            for line in told:
                own = dict(zip([*LEVELS, "colour"], rows[int(line["item_id"])], strict=False))
                assert not any(is_missing(own[column]) for column in json.loads(line["changes"]))
            unknown = labelled.table.filter(pl.col("label") == UNKNOWN)
            assert unknown["split"].null_count() == len(unknown) == result.metrics.get("missing_labels", 0)
            assert set(unknown["item_id"]) <= set(_choose_items(labelled, PredictConfig())["item_id"])
            table = labelled.table.select("item_id", "label", "split", "group_id").rows()
            states.append(
                (table, changes.drop("old").rows(), label_space, [each.rows() for each in counts], issues.rows())
            )
            # On disk every cell is as it was delivered.
            with (place.labels / "styles_cleaned.csv").open(encoding="utf-8", newline="") as file:
                assert all(list(line.values())[1:6] == rows[int(line["id"])] for line in csv.DictReader(file))
    assert states[0] == states[1]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_an_item_keeps_the_label_of_the_level_that_it_has(tmp_path: Path, spelling: str) -> None:
    """By the rules Tee and Shirt are labels of their own, and Tops that of what is neither."""
    here = {(0, "kind"): spelling, (3, "dept"): spelling, (6, "dept"): spelling, (6, "group"): spelling}
    gone: dict[tuple[int, str], str] = {(9, level): spelling for level in LEVELS}
    rows = pierce(make_rows(), here | gone | {(12, "kind"): spelling, (15, "kind"): spelling})
    place = write(tmp_path, rows, PROMOTE)
    counts = clean(place).metrics
    labelled, changes = read(place)
    labels = dict(labelled.table.select("item_id", "label").iter_rows())
    assert [labels[str(row)] for row in (0, 3, 6, 9, 12, 1)] == ["Tops", "Tee", "Tee", UNKNOWN, "Tops", "Shirt"]
    assert labelled.class_names == ("Bag", "Shirt", "Tee", "Tops")
    [line] = changes.rows(named=True)
    assert (line["item_id"], line["column"], line["new"], line["rule"]) == ("9", "Class", UNKNOWN, "missing")
    assert (line["old"] or "") == spelling
    assert (counts["unknown"], counts["missing_labels"]) == (1, 1)
    # The items that lack a level are predicted beside those without a label.
    assert _choose_items(labelled, PredictConfig())["item_id"].to_list() == ["0", "3", "6", "9", "12", "15"]


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("matcher", ["names", "class-words"])
def test_that_bags_lack_a_level_makes_nothing_a_bag(tmp_path: Path, spelling: str, matcher: Any) -> None:
    rules = '[[rules]]\nrule = "start"\nlevel = "dept"\n[[rules]]\nrule = "relabel"\nlabels = ["Free"]\n'
    rows = [*make_rows(), *[["Goods", "Bags", spelling, "red", "nice bag"] for _ in range(40)]]
    rows += [["Free", "Free", spelling, "red", title] for title in (spelling, "mystery unknown", "")]
    place = write(tmp_path, rows, rules)
    clean(place, CleanConfig(matcher=matcher))
    labelled, changes = read(place)
    assert labelled.table.tail(3)["label"].to_list() == [UNKNOWN] * 3
    assert set(changes["new"]) == {UNKNOWN}
    assert labelled.class_names == ("Goods", "Wear")


def test_items_without_a_label_can_be_matched_by_their_names(tmp_path: Path) -> None:
    rules = '[[rules]]\nrule = "start"\nlevel = "kind"\n[[rules]]\nrule = "relabel"\nlabels = ["Unknown"]\n'
    rows = pierce(make_rows(20), {(0, "kind"): "NA", (1, "kind"): "", (2, "kind"): "n/a", (2, "title"): "NA"})
    place = write(tmp_path, rows, rules)
    counts = clean(place).metrics
    assert read(place)[0].table.head(3)["label"].to_list() == ["Tee", "Shirt", UNKNOWN]
    assert (counts["relabelled"], counts["unknown"]) == (2, 1)


def test_a_catalogue_without_any_label_is_told(tmp_path: Path) -> None:
    rows = [[*row[:2], "N/A", *row[3:]] for row in make_rows(4)]
    with pytest.raises(CatalogError, match="No item has a label to learn"):
        clean(write(tmp_path, rows))


def test_rare_labels_go_and_missing_ones_stay(tmp_path: Path) -> None:
    rows = pierce(make_rows(), {(0, "kind"): "Cape", (1, "kind"): "", (2, "kind"): "NA"})
    counts = clean(write(tmp_path, rows)).metrics
    assert (counts["dropped"], counts["unknown"], counts["items"]) == (1, 2, 41)
