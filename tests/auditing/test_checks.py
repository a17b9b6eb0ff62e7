"""Combinations, spellings, pictures and scores: what they find, and what they leave alone."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from audited import SCHEMA, make_context, make_images, make_items, make_out_of_sample
from hypothesis import assume, given
from hypothesis import strategies as st

from hangtag.auditing import value_issues
from hangtag.auditing.catalog_scores import choose_columns, score_catalog
from hangtag.auditing.catalog_summary import summarize_issues
from hangtag.auditing.context import AuditContext
from hangtag.auditing.image_issues import find_bad_pictures, measure_content
from hangtag.auditing.issues import (
    CODES,
    COLUMNS,
    LABEL_ERROR,
    SPELLING_VARIANT,
    build_issues,
    count_codes,
    format_probability,
    join_issues,
    mark_changed_items,
)
from hangtag.auditing.value_issues import (
    MIN_RATIO,
    TYPO_SCORE,
    find_spelling_variants,
    find_unlikely_combinations,
    fold,
    is_one_letter_apart,
)


def by_key(table: pl.DataFrame) -> dict[str, dict[str, Any]]:
    assert table.schema == COLUMNS
    return {f"{line['item_id']} {line['column']}": line for line in table.iter_rows(named=True)}


# Spellings of a few letters, so that many are near each other.
spellings = st.dictionaries(st.text("abc", min_size=5, max_size=8), st.sampled_from([1, 2, 60, 200]), max_size=30)


@given(spellings)
def test_typos_are_those_that_a_comparison_of_all_with_all_finds(counts: dict[str, int]) -> None:
    found = {(rare, usual) for rare, usual, score in value_issues.find_variants(counts) if score == TYPO_SCORE}
    keys = {fold(value): value for value in counts}
    assume(len(keys) == len(counts))
    wanted = set()
    for rare, value in keys.items():
        near = [
            key
            for key in keys
            if counts[keys[key]] >= MIN_RATIO * counts[value]
            and min(len(key), len(rare)) >= 6
            and key[0] == rare[0]
            and is_one_letter_apart(key, rare)
        ]
        if near:
            wanted.add((value, keys[max(near, key=lambda key: counts[keys[key]])]))
    assert found == wanted


def test_distinct_values_are_not_compared_each_with_each(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = 0

    def count(one: str, other: str) -> bool:
        nonlocal compared
        compared += 1
        return is_one_letter_apart(one, other)

    monkeypatch.setattr(value_issues, "is_one_letter_apart", count)
    counts = {f"value {number:05}": 1 + 99 * (number % 10 == 0) for number in range(3000)}
    assert list(value_issues.find_variants(counts))
    assert compared < 20 * len(counts)


# Combinations


def test_a_category_under_a_foreign_parent_is_unlikely() -> None:
    items = make_items(kind={2: "Footwear"})
    [(key, line)] = by_key(find_unlikely_combinations(make_context(items))).items()
    assert key == "i2 kind"
    assert json.loads(line["changes"]) == {"kind": "Wear"}
    assert line["reason"] == "Of 25 products with type Shirts, 24 have kind Wear and 1 Footwear."
    assert line["score"] == pytest.approx(24 / 26)


def test_a_value_that_hardly_any_item_of_a_category_has_is_unlikely() -> None:
    """A Saree for Men."""
    men = {row: "Men" for row in range(100) if row % 4 > 1} | {2: "Women"}
    found = by_key(find_unlikely_combinations(make_context(make_items(gender=men))))
    assert set(found) == {"i2 gender"}
    assert found["i2 gender"]["suggested_label"] == "Men"
    assert found["i2 gender"]["reason"] == "Of 50 products with kind Wear, 49 have gender Men and 1 Women."


def test_a_category_of_few_items_or_of_two_minds_says_nothing() -> None:
    # Of 25 shirts all but one are for men: too few to be sure of.
    men = dict.fromkeys(range(2, 100, 4), "Men") | {2: "Women"}
    assert find_unlikely_combinations(make_context(make_items(gender=men))).is_empty()


def test_the_only_item_of_its_kind_is_told_for_information() -> None:
    items = make_items(type={2: "Capes"})
    [line] = by_key(find_unlikely_combinations(make_context(items))).values()
    assert (line["severity"], line["changes"], line["suggested_label"]) == ("info", "{}", "")
    assert line["reason"] == "No other product is Wear / Capes."
    assert line["score"] < 0.5


def test_a_missing_parent_is_filled_in() -> None:
    [line] = by_key(find_unlikely_combinations(make_context(make_items(kind={2: "NA"})))).values()
    assert (line["given_label"], line["suggested_label"]) == ("", "Wear")
    # It is no mistake.
    assert line["severity"] == "info"


# Spellings


def test_capitals_signs_and_plurals_are_one_spelling_and_can_be_decided_together() -> None:
    items = make_items(type={2: "shirts", 6: "Shirt", 10: "SHIRTS "}, gender={2: "men"})
    found = by_key(find_spelling_variants(make_context(items)))
    assert set(found) == {"i2 type", "i6 type", "i10 type", "i2 gender"}
    assert {line["suggested_label"] for key, line in found.items() if key.endswith("type")} == {"Shirts"}
    assert len({line["group_id"] for line in found.values()}) == 4
    assert found["i6 type"]["reason"] == "type Shirt (1) looks like another spelling of Shirts (22)."
    # Spaces at an end would not be seen.
    assert found["i10 type"]["reason"] == 'type "SHIRTS " (1) looks like another spelling of Shirts (22).'


def test_a_letter_mistyped_counts_where_the_word_is_long_and_rare() -> None:
    types = dict.fromkeys(range(100), "Sandals")
    found = by_key(find_spelling_variants(make_context(make_items(type=types | {5: "Sandlas", 9: "Hats"}))))
    assert set(found) == {"i5 type"}
    assert found["i5 type"]["score"] < 0.9
    # Two spellings that many items have are two things, as Shirts and Skirts are.
    common = types | dict.fromkeys(range(5), "Sandlas")
    assert find_spelling_variants(make_context(make_items(type=common))).is_empty()


@pytest.mark.parametrize(
    ("one", "other"),
    [("Shirts", "Skirts"), ("Tops", "Tops and Tees"), ("Wallet", "Ballet"), ("Ties", "Tees"), ("7", "8"), ("M", "L")],
)
def test_two_words_are_two_words(one: str, other: str) -> None:
    items = make_items(type=dict.fromkeys(range(100), one) | dict.fromkeys(range(10), other))
    assert find_spelling_variants(make_context(items)).is_empty()


def test_values_of_signs_alone_stay_apart() -> None:
    assert fold("+") != fold("-")
    assert fold("T-Shirts") == fold("tshirt")


@given(text=st.text("abc", min_size=2, max_size=6), place=st.integers(0, 5), letter=st.sampled_from("abcd"))
def test_one_letter_apart(text: str, place: int, letter: str) -> None:
    place %= len(text)
    others = [text[:place] + letter + text[place:], text[:place] + text[place + 1 :]]
    others += [text[:place] + letter + text[place + 1 :]]
    swapped = text[:place] + text[place + 1 : place + 2] + text[place : place + 1] + text[place + 2 :]
    for other in (*others, swapped):
        assert is_one_letter_apart(text, other) == (text != other)
        assert is_one_letter_apart(other, text) == (text != other)
    assert not is_one_letter_apart(text, text + "xy")
    assert not is_one_letter_apart(text + "xy", text + "zw")


# Pictures


def test_pictures_that_cannot_be_right() -> None:
    items = make_items(image_width={3: 20})
    images = make_images(items)
    images[0], images[1] = 255, 90
    images[2] = 255
    images[2, 8, 6] = 0
    found = {
        line["item_id"]: line for line in find_bad_pictures(make_context(items, images=images)).iter_rows(named=True)
    }
    assert set(found) == {"i0", "i1", "i2", "i3"}
    assert found["i0"]["reason"] == found["i1"]["reason"] == "The picture is blank: all of it has one colour."
    assert found["i0"]["severity"] == "error"
    assert found["i2"]["reason"] == "The picture has nearly one colour: 0.5% of it differs."
    # A thin chain on white is no mistake.
    assert (found["i2"]["severity"], found["i2"]["score"] < 0.5) == ("info", True)
    assert found["i3"]["reason"] == "The photograph has 20 x 80 pixels; 32 a side are wanted."


def test_noise_of_compression_is_no_content() -> None:
    random = np.random.default_rng(0)
    noisy = random.integers(250, 256, (1, 16, 12, 3)).astype(np.uint8)
    assert measure_content(noisy).tolist() == [0]


def test_a_picture_that_the_model_finds_strange_is_no_product() -> None:
    items = make_items()
    ood_scores = np.full(100, 0.5, np.float32)
    ood_scores[[4, 7]] = 1.5, 30
    found = find_bad_pictures(
        make_context(items, image_probs=replace(make_out_of_sample(items), ood_scores=ood_scores))
    )
    scores = dict(found.select("item_id", "score").iter_rows())
    assert set(scores) == {"i4", "i7"}
    assert 0.3 < scores["i4"] < scores["i7"] < 0.9


def test_a_catalogue_that_is_unlike_the_model_is_one_sentence_and_no_issue_each() -> None:
    items = make_items()
    for strange, is_unlike in ((50, False), (51, True)):
        ood_scores = np.where(np.arange(100) < strange, 2, 0.5).astype(np.float32)
        context = make_context(items, image_probs=replace(make_out_of_sample(items), ood_scores=ood_scores))
        assert len(find_bad_pictures(context)) == (0 if is_unlike else strange)
        assert context.unlike_model.startswith("51 of 100 photographs are unlike") == is_unlike


# Scores and the table


def test_a_score_is_the_mean_of_what_the_surest_issues_leave() -> None:
    line = {"score": 0.5, "reason": "why"}
    lines = [{"item_id": "i0", **line}, {"item_id": "i0", **line, "score": 0.8}, {"item_id": "i2", **line}]
    other = build_issues([{"item_id": "i1", **line}], "same_product", "info")
    issues = pl.concat([build_issues(lines, LABEL_ERROR, "warning"), other])
    scores = score_catalog(make_context(make_items()), issues)
    whole = {"column": "", "value": "", "items": 100, "judged": 100, "issues": 2, "score": 0.987}
    assert scores.row(0, named=True) == whole | {"low": 0.9407, "high": 0.9973}
    kinds = {line["value"]: line for line in scores.filter(pl.col("column") == "kind").iter_rows(named=True)}
    assert [kinds["Footwear"][name] for name in ("items", "judged", "issues", "score")] == [50, 50, 1, 0.984]
    # The worst comes first.
    assert list(kinds) == ["Footwear", "Wear"]


def test_items_that_nobody_judged_count_neither_as_right_nor_as_wrong() -> None:
    items, line = make_items(), {"score": 0.5, "reason": "why"}
    probs = make_out_of_sample(items)
    # Only the items of the first half were judged, and no tee.
    kept = np.array([row for row in range(50) if row % 4 != 3])
    probs = replace(probs, rows=kept, given=probs.given[kept], pred_probs=probs.pred_probs[kept])
    issues = build_issues([{"item_id": "i0", **line}, {"item_id": "i60", **line}], LABEL_ERROR, "warning")
    scores = score_catalog(make_context(items, image_probs=probs), issues)
    types = {line["value"]: line for line in scores.filter(pl.col("column") == "type").iter_rows(named=True)}
    assert {value: line["judged"] for value, line in types.items()} == {"Shoes": 13, "Sandals": 13, "Shirts": 12}
    assert types["Shoes"]["issues"] == 1
    assert types["Shoes"]["score"] == pytest.approx(1 - 0.5 / 13, abs=1e-4)
    assert scores.row(0, named=True)["judged"] == 38
    assert score_catalog(make_context(items, image_probs=None), issues).is_empty()


def test_a_brand_column_is_scored_under_whatever_capitals_and_others_by_wish() -> None:
    schema = replace(SCHEMA, columns=(*SCHEMA.columns, "Brand"), headings=(*SCHEMA.headings, "Brand"))
    items = make_items().with_columns(Brand=pl.lit("Oddmoor"))
    context: AuditContext = replace(make_context(items, score_by=("gender", "nothing")), schema=schema)
    assert choose_columns(context) == ["gender", "Brand", "kind", "type"]


def test_the_surest_of_one_identity_is_kept_and_comes_first() -> None:
    line = {"item_id": "a", "reason": "r", "column": "type"}
    one = build_issues([line | {"score": 0.6}, line | {"score": 0.9}], LABEL_ERROR, "warning")
    two = build_issues([line | {"score": 1.7, "item_id": "b"}], SPELLING_VARIANT, "warning")
    found = join_issues([one, two])
    assert found.select("item_id", "score").rows() == [("b", 1.0), ("a", 0.9)]
    counts = count_codes(found)
    assert tuple(counts) == CODES
    assert counts[LABEL_ERROR] == counts[SPELLING_VARIANT] == 1
    assert count_codes(join_issues([]))[LABEL_ERROR] == 0


def test_nobody_is_certain() -> None:
    assert [format_probability(value) for value in (0.999, 0.5, 0.0)] == ["0.99", "0.50", "0.00"]


def test_issues_are_marked_where_their_item_is_new_or_changed() -> None:
    lines = [{"item_id": item_id, "score": 0.9, "reason": "."} for item_id in ("i1", "i2", "i3")]
    issues = build_issues(lines, "bad_picture", "info")
    assert mark_changed_items(issues, None)["item_change"].to_list() == ["", "", ""]
    changes = pl.DataFrame({"item_id": ["i3", "i1", "i9"], "change": ["new", "changed", "removed"]})
    assert mark_changed_items(issues, changes)["item_change"].to_list() == ["changed", "", "new"]


def test_the_first_examples_are_those_that_photograph_and_name_speak_for() -> None:
    told = [("i2", "Tees", "name"), ("i6", "Shoes", "image+name"), ("i10", "Tees", "name")]
    common = {"code": "label_error", "severity": "warning", "column": "type", "given_label": "Shirts"}
    lines = [
        common | {"item_id": item_id, "suggested_label": suggested, "evidence": evidence}
        for item_id, suggested, evidence in told
    ]
    summary = summarize_issues(make_items(), pl.DataFrame(lines, schema=COLUMNS), SCHEMA)
    assert [each["item_id"] for each in summary["examples"]] == ["i6", "i2", "i10"]
