"""A missing cell is no suspected mistake, is not suggested, and is not filled in beside another change."""

import json
from typing import Any

import numpy as np
import polars as pl
import pytest
from audited import EACH, SCHEMA, TYPES, make_context, make_items, make_probs

from hangtag.auditing.catalog_scores import score_catalog
from hangtag.auditing.category_mapping import map_categories
from hangtag.auditing.duplicate_issues import find_label_conflicts
from hangtag.auditing.evidence import OutOfSampleProbs, find_category_paths
from hangtag.auditing.label_issues import find_label_issues
from hangtag.auditing.value_issues import find_unlikely_combinations
from hangtag.models.label_space import NO_VALUE, LabelSpace

# Some items of every kind lack a type; their label is the kind.
LABEL_SPACE = LabelSpace(
    {
        "kind": ("Footwear", "Wear"),
        "type": ("Sandals", "Shirts", "Shoes", "Tees"),
        "label": ("Footwear", "Sandals", "Shirts", "Shoes", "Tees", "Wear"),
    },
    ((0, 0, 1), (0, 2, 3), (1, 1, 2), (1, 3, 4), (0, NO_VALUE, 0), (1, NO_VALUE, 5)),
    {"gender": ("Men", "Women")},
    "label",
)
SANDALS, SHOES, SHIRTS, TEES, FOOTWEAR, WEAR = range(6)
PLACES = {"Sandals": SANDALS, "Shoes": SHOES, "Shirts": SHIRTS, "Tees": TEES}
SPELLINGS = ("", "NA", "n/a", "  ", "Unknown")


def find(seen: dict[int, int], **changed: Any) -> list[dict[str, Any]]:
    """Return the label issues where a network sees another product in some rows than the one that was drawn."""
    items = make_items(**changed)
    items = items.with_columns(
        label=pl.when(pl.col("type").is_in(list(TYPES))).then(pl.col("type")).otherwise(pl.col("kind"))
    )
    given = find_category_paths(items, LABEL_SPACE, SCHEMA.missing)
    true = np.array([PLACES[each] for each in list(TYPES) * EACH])
    for row, product in seen.items():
        true[row] = product
    out_of_sample = OutOfSampleProbs(np.arange(len(items)), LABEL_SPACE, given, make_probs(6, true), min_class_items=1)
    return find_label_issues(make_context(items, image_probs=out_of_sample)).rows(named=True)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_missing_level_is_not_suspected(spelling: str) -> None:
    lacking = dict.fromkeys(range(2, 42, 4), spelling)
    assert find(dict.fromkeys(lacking, WEAR), type=lacking) == []
    # And where the network sees what it would be.
    assert all(line["column"] != "type" for line in find({}, type=lacking))


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_change_of_another_level_leaves_it_as_it_is(spelling: str) -> None:
    """Item 2 is a shirt that is given as footwear of no type."""
    [line] = find({2: SHIRTS}, kind={2: "Footwear"}, type={2: spelling} | dict.fromkeys(range(6, 40, 4), spelling))[:1]
    assert (line["item_id"], line["column"], line["given_label"]) == ("i2", "kind", "Footwear")
    assert json.loads(line["changes"]) == {"kind": "Wear"}


def test_a_product_without_a_type_is_not_suggested_to_an_item_with_one() -> None:
    lacking = dict.fromkeys(range(6, 46, 4), "")
    # An item of the same kind has all that is suggested; one of another gets the likeliest product with a type.
    assert find({2: WEAR} | dict.fromkeys(lacking, WEAR), type=lacking) == []
    [line] = find({2: FOOTWEAR} | dict.fromkeys(lacking, WEAR), type=lacking)
    assert line["item_id"] == "i2"
    assert set(json.loads(line["changes"])) == {"kind", "type"}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_duplicates_that_lack_a_level_outvote_nobody_s(spelling: str) -> None:
    items = make_items(kind={1: "Footwear"}, type=dict.fromkeys((0, 4), spelling), gender={4: "Men"})
    images = make_context(items).images
    images[[1, 4]] = images[0]
    found = find_label_conflicts(make_context(items, images=images, image_probs=None))
    # Items 0, 1 and 4 agree on what they say.
    assert found.is_empty()
    items = make_items(type=dict.fromkeys((0, 4), spelling), gender={4: "Men"})
    images = make_context(items).images
    images[[2, 4]] = images[0]
    lines = find_label_conflicts(make_context(items, images=images, image_probs=None)).rows(named=True)
    # Item 2 is a Shirt for Wear: as Footwear it would be a Shirt still.
    assert [(line["item_id"], line["column"], line["suggested_label"]) for line in lines] == [("i2", "kind", "")]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_combinations_and_scores_are_of_values(spelling: str) -> None:
    context = make_context(make_items(type={2: spelling}, kind={3: spelling, 7: spelling}, gender={1: spelling}))
    issues = find_unlikely_combinations(context)
    # A kind can be filled in by the type; that a type is missing makes no combination.
    told = [(line["item_id"], line["column"], line["severity"]) for line in issues.rows(named=True)]
    assert sorted(told) in ([("i3", "kind", "info"), ("i7", "kind", "info")], [])
    scores = score_catalog(context, issues).filter(pl.col("column") != "")
    assert set(scores["value"]) == {"Footwear", "Wear", *TYPES}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_an_item_without_any_level_has_no_category_to_map(spelling: str) -> None:
    values = [("Wear", spelling), ("Wear", spelling), ("Wear", "Shirt"), (spelling, spelling)]
    items = pl.DataFrame(values, schema={"kind": pl.String, "type": pl.String}, orient="row")
    model = LabelSpace({"label": ("Wear",)}, ((0,),), {}, "label")
    mapping = map_categories(items, ("kind", "type"), SCHEMA.missing, model)
    assert mapping.given.tolist() == [0, 0, 0, NO_VALUE]
    assert mapping.table.select("kind", "type").rows() == [("Wear", None), ("Wear", "Shirt")]
    # The category is called by a name that lacks nothing.
    assert mapping.label_space.levels == {"kind": ("Wear",), "type": ("Shirt",)}
