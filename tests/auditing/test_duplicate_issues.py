"""Duplicates: found to the pixel and to the eye, told once an item, and their conflicts settled by most voices."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from audited import SHIRTS, TEES, make_context, make_images, make_items, make_out_of_sample
from hypothesis import given
from hypothesis import strategies as st
from test_label_issues import predict_names

from hangtag.auditing import duplicate_issues
from hangtag.auditing.context import AuditContext
from hangtag.auditing.duplicate_issues import (
    find_duplicates,
    find_label_conflicts,
    find_same_products,
    join_items,
    name_others,
)
from hangtag.catalog.prepared_items import read_prepared
from hangtag.config import AuditConfig
from hangtag.demo_catalog.catalog import write_demo_catalog
from hangtag.labels import duplicates
from hangtag.stages.prepare import prepare
from hangtag.workspace import Workspace


def copy(images: Any, row: int, *others: int, brighter: int = 0) -> Any:
    for other in others:
        images[other] = np.clip(images[row].astype(int) + brighter, 0, 255)
    return images


def by_item(table: pl.DataFrame) -> dict[str, dict[str, Any]]:
    assert table["item_id"].is_unique().all()
    return {line["item_id"]: line for line in table.iter_rows(named=True)}


def test_an_item_is_told_once_by_the_nearest_kind_of_duplicate() -> None:
    images = copy(copy(make_images(make_items()), 2, 6), 2, 10, brighter=2)
    found = by_item(find_duplicates(make_context(make_items(), images=images)))
    assert {item_id: line["code"] for item_id, line in found.items()} == {
        "i2": "exact_duplicate",
        "i6": "exact_duplicate",
        "i10": "near_duplicate",
    }
    assert found["i2"]["reason"] == "The photograph is the same, pixel for pixel, as that of item i6."
    assert found["i10"]["reason"] == "The photograph is nearly the same as that of items i2 and i6."
    assert {line["group_id"] for line in found.values()} == {"duplicates-i10"}
    assert {line["changes"] for line in found.values()} == {"{}"}


def test_another_colour_is_no_duplicate_though_the_perceptual_hash_says_so() -> None:
    images = make_images(make_items())
    images[6] = images[2]
    # The shade alone differs: of the luminance hardly anything is left to see.
    images[6, 5:9, 4:8, 0] = np.clip(images[6, 5:9, 4:8, 0].astype(int) + 40, 0, 255)
    images[6, 5:9, 4:8, 2] = np.clip(images[6, 5:9, 4:8, 2].astype(int) - 100, 0, 255)
    assert find_duplicates(make_context(make_items(), images=images, max_hash_distance=6)).is_empty()
    assert (
        len(find_duplicates(make_context(make_items(), images=images, max_hash_distance=6, pixel_difference=200.0)))
        >= 2
    )


def test_one_name_photograph_and_category_is_one_product() -> None:
    items = make_items(title={2: "Oddmoor Shirt, blue", 6: "ODDMOOR shirt - Blue", 10: "Oddmoor Shirt, red"})
    context = make_context(items, images=copy(make_images(items), 2, 6, 10))
    same = by_item(find_same_products(context))
    assert set(same) == {"i2", "i6"}
    assert same["i2"]["reason"] == "The same photograph, name and category as item i6."
    assert set(by_item(find_duplicates(context))) == {"i10"}


def test_one_name_with_another_category_or_photograph_is_not() -> None:
    items = make_items(title=dict.fromkeys((2, 6, 10), "Oddmoor Shirt"), type={6: "Tees"})
    context = make_context(items, images=copy(make_images(items), 2, 6))
    assert find_same_products(context).is_empty()


def test_a_conflict_goes_with_most_voices_and_changes_all_levels() -> None:
    items = make_items(kind={10: "Footwear"}, type={10: "Shoes"})
    images = copy(make_images(items), 2, 10, 18)
    [line] = by_item(find_label_conflicts(make_context(items, images=images, image_probs=None))).values()
    assert (line["item_id"], line["severity"]) == ("i10", "error")
    assert (line["column"], line["given_label"], line["suggested_label"]) == ("type", "Shoes", "Shirts")
    assert json.loads(line["changes"]) == {"kind": "Wear", "type": "Shirts"}
    assert line["score"] == pytest.approx(2 / 3)
    assert line["reason"] == "The same photograph as items i2 and i18, where type is Shirts; given Shoes."


def test_a_tie_is_told_of_all_without_a_suggestion_unless_a_witness_decides() -> None:
    items = make_items(type={10: "Tees"})
    images = copy(make_images(items), 2, 10)
    tie = by_item(find_label_conflicts(make_context(items, images=images, image_probs=None)))
    assert set(tie) == {"i2", "i10"}
    assert {(line["suggested_label"], line["changes"], line["score"]) for line in tie.values()} == {("", "{}", 0.5)}
    seen = make_out_of_sample(items, sees={2: SHIRTS, 10: SHIRTS})
    assert set(by_item(find_label_conflicts(make_context(items, images=images, image_probs=seen)))) == {"i10"}
    seen = make_out_of_sample(items, sees={2: TEES, 10: TEES})
    assert set(by_item(find_label_conflicts(make_context(items, images=images, image_probs=seen)))) == {"i2"}


def test_a_name_that_holds_with_the_label_points_at_the_photograph() -> None:
    items = make_items()
    # The tee 3 has the photograph of the shirt 2.
    seen = make_out_of_sample(items, sees={3: SHIRTS})
    context = make_context(
        items, images=copy(make_images(items), 2, 3), name_probs=predict_names(items), image_probs=seen
    )
    found = by_item(find_label_conflicts(context))
    assert json.loads(found["i3"]["changes"]) == {}
    assert found["i3"]["reason"].endswith("given Tees, as its name says too, so the photograph may be the wrong one.")


def test_attributes_conflict_by_themselves_and_a_missing_value_with_nothing() -> None:
    items = make_items(gender={2: "Men", 6: "Women", 10: "Men", 14: "NA"})
    images = copy(make_images(items), 2, 6, 10, 14)
    [line] = by_item(find_label_conflicts(make_context(items, images=images, image_probs=None))).values()
    assert (line["item_id"], line["column"], line["suggested_label"]) == ("i6", "gender", "Men")
    assert line["severity"] == "warning"


def compare_all(own: dict[int, duplicate_issues.Values], row: int) -> list[int]:
    """Compare an item's value with that of every other of its group."""
    return [each for each, value in own.items() if duplicate_issues._values_disagree([value, own[row]])]


values = st.tuples(*[st.sampled_from([None, "a", "b", "c"])] * 3)


@given(st.lists(values, min_size=2, max_size=12))
def test_conflicts_are_those_that_a_comparison_of_all_with_all_finds(drawn: list[duplicate_issues.Values]) -> None:
    own, columns = dict(enumerate(drawn)), ("kind", "part", "type")
    ids = [f"i{row}" for row in own]
    group = duplicate_issues._Group(columns, own, ids)
    for row, found in own.items():
        contrary, told = compare_all(own, row), group.find_contradiction(found)
        if not contrary:
            assert told is None
            continue
        assert told is not None
        assert told.items == join_items([ids[each] for each in contrary[:3]], len(contrary))
        places = [
            place
            for place in range(3)
            if any(duplicate_issues._values_disagree([(found[place],), (value[place],)]) for value in drawn)
        ]
        assert told.column == columns[places[-1]]
        assert list(told.values) == [columns[place] for place in places]
        for place in places:
            theirs = {own[each][place] for each in contrary} - {None, found[place]}
            assert told.values[columns[place]] == " or ".join(sorted(map(str, theirs)))


def test_items_of_a_large_group_are_not_compared_each_with_each(monkeypatch: pytest.MonkeyPatch) -> None:
    compared, disagree = 0, duplicate_issues._values_disagree

    def count(found: Sequence[duplicate_issues.Values]) -> bool:
        nonlocal compared
        compared += 1
        return disagree(found)

    monkeypatch.setattr(duplicate_issues, "_values_disagree", count)
    items = make_items(gender={row: "Men" if row % 3 else "Women" for row in range(100)})
    images = np.repeat(make_images(items)[:1], len(items), axis=0)
    found = find_label_conflicts(make_context(items, images=images, image_probs=None))
    assert len(found) > 100
    assert compared < 80, compared


def test_of_thousands_of_categories_a_conflict_names_the_first() -> None:
    own: dict[int, duplicate_issues.Values] = {row: ("Shoes", f"type {row:02}") for row in range(20)}
    group = duplicate_issues._Group(("kind", "type"), own, [f"i{row}" for row in own])
    told = group.find_contradiction(("Shoes", "type 03"))
    assert told is not None
    assert told.items == "items i0, i1, i2 and 16 more"
    assert told.values == {"type": "type 00 or type 01 or type 02 or type 04 or type 05 or 14 others"}


def test_a_crowd_of_one_hash_is_compared_by_brightness(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blank pictures have no hash to speak of; a catalogue with thousands of them must not compare all with all."""
    monkeypatch.setattr(duplicates, "WINDOW", 3)
    images = np.full((12, 16, 12, 3), 0, np.uint8)
    # Two shades, by turns: equal neighbours once they are in the order of their brightness.
    images[::2], images[1::2] = 250, 200
    images[:, 0, 0, 0] = np.arange(12)
    found = duplicates.group_photographs([str(row) for row in range(12)], np.zeros(12, np.uint64), images, 4, 12.0)
    assert len(set(found.groups[::2])) == len(set(found.groups[1::2])) == 1
    assert found.groups[0] != found.groups[1]


def test_items_are_named_up_to_three() -> None:
    assert name_others(["a", "z"], "z") == "item a"
    assert name_others(["z", "a", "b", "c"], "z") == "items a, b and c"
    for own in "abcde":
        ids = [each for each in "abcde" if each != own]
        assert name_others(list("abcde"), own) == f"items {', '.join(ids[:3])} and 1 more"
    assert name_others(list("abcdefz"), "z") == "items a, b, c and 3 more"


def test_every_planted_conflict_of_the_drawn_catalogue_is_found(drawn: tuple[AuditContext, dict[str, str]]) -> None:
    context, defects = drawn
    planted = {item_id for item_id, text in defects.items() if "labels disagree" in text}
    found = find_label_conflicts(context)
    levels = found.filter(pl.col("severity") == "error")
    groups = dict(zip(context.item_ids, context.duplicates.groups.tolist(), strict=True))
    assert planted
    assert {groups[item_id] for item_id in planted} == {groups[item_id] for item_id in levels["item_id"]}


def test_every_planted_duplicate_of_the_drawn_catalogue_is_found(drawn: tuple[AuditContext, dict[str, str]]) -> None:
    context, defects = drawn
    told = set(find_duplicates(context)["item_id"]) | set(find_same_products(context)["item_id"])
    planted = {item_id for item_id, text in defects.items() if "identical photograph" in text}
    assert planted & set(context.item_ids) <= told
    # And hardly anything else: drawn products are alike by chance at times.
    assert len(told - planted) <= 0.05 * len(context.item_ids)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[AuditContext, dict[str, str]]:
    """The drawn catalogue, and what was planted in which item."""
    folder: Path = tmp_path_factory.mktemp("drawn")
    catalog = write_demo_catalog(folder / "catalog", items_per_kind=20)
    prepare(catalog, folder / "w")
    found = read_prepared(Workspace.at(folder / "w"))
    items = found.items.with_columns(label=pl.lit(None), split=pl.lit(None), group_id=pl.lit(None))
    context = AuditContext(items, found.images, found.schema, AuditConfig())
    return context, read_defects(catalog)


def read_defects(catalog: Path) -> dict[str, str]:
    lines = pl.read_csv(catalog / "defects.csv", infer_schema=False)
    return dict(lines.group_by("item_id").agg(pl.col("defect").str.join(", ")).iter_rows())
