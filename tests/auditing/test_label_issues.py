"""Wrong labels: what photographs and names speak against, on every level, told once an item."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from audited import LABEL_SPACE, SANDALS, SHIRTS, SHOES, make_context, make_items, make_out_of_sample, make_probs

from hangtag.auditing import evidence
from hangtag.auditing.context import AuditContext
from hangtag.auditing.evidence import MOST_LATE, OutOfSampleProbs, find_category_paths, hash_named, predict_from_names
from hangtag.auditing.issues import COLUMNS, NotApplicableError
from hangtag.auditing.label_issues import UNSUPPORTED, find_label_issues
from hangtag.models.label_space import NO_VALUE, LabelSpace


def find(context: AuditContext) -> dict[str, dict[str, Any]]:
    """Return the issues by item, which has one at most for each column."""
    table = find_label_issues(context)
    assert table.schema == COLUMNS
    return {f"{line['item_id']} {line['column']}": line for line in table.iter_rows(named=True)}


def predict_names(items: pl.DataFrame) -> OutOfSampleProbs:
    given = find_category_paths(items, LABEL_SPACE, ("", "NA"))
    return predict_from_names(items["title"], given, LABEL_SPACE, items["label"].to_list(), items["group_id"].to_list())


def test_a_clean_catalogue_has_no_wrong_label() -> None:
    items = make_items()
    assert find(make_context(items, name_probs=predict_names(items))) == {}


def test_a_label_of_another_branch_is_one_issue_that_changes_every_level() -> None:
    # Item 2 is a shirt.
    items = make_items(kind={2: "Footwear"}, type={2: "Shoes"})
    [(key, line)] = find(make_context(items)).items()
    assert key == "i2 type"
    assert (line["code"], line["evidence"], line["severity"]) == ("label_error", "image", "warning")
    assert (line["given_label"], line["suggested_label"]) == ("Shoes", "Shirts")
    assert json.loads(line["changes"]) == {"kind": "Wear", "type": "Shirts"}
    assert line["reason"].startswith("The photograph looks like Shirts (0.90), 5 of 5 look-alikes are Shirts; given")
    assert 0.8 < line["score"] < 1


def test_a_label_of_the_same_branch_changes_the_finer_level_alone() -> None:
    items = make_items(type={2: "Tees"})
    [line] = find(make_context(items)).values()
    assert json.loads(line["changes"]) == {"type": "Shirts"}
    assert (line["column"], line["given_label"]) == ("type", "Tees")


def test_the_coarser_level_is_asked_about_where_the_finer_one_is_open() -> None:
    items = make_items(kind={2: "Footwear"}, type={2: "Shoes"})
    out_of_sample = make_out_of_sample(items)
    out_of_sample.pred_probs[2] = (0.02, 0.02, 0.49, 0.47)
    [line] = find(make_context(items, image_probs=out_of_sample)).values()
    assert (line["column"], line["given_label"], line["suggested_label"]) == ("kind", "Footwear", "Wear")
    assert json.loads(line["changes"]) == {"kind": "Wear", "type": "Shirts"}


def test_photograph_and_name_together_are_the_strongest_sign() -> None:
    items = make_items(type={2: "Tees", 6: "Tees"}, title={6: None})
    names = predict_names(items)
    found = find(make_context(items, name_probs=names))
    both, alone = found["i2 type"], found["i6 type"]
    assert (both["code"], both["evidence"], both["severity"]) == ("label_error", "image+name", "error")
    assert "the name says Shirts (0.9" in both["reason"]
    assert (alone["code"], alone["evidence"]) == ("label_error", "image")
    assert both["score"] > alone["score"]


def test_a_name_that_holds_with_the_label_dispels_the_photograph_s_doubt() -> None:
    items = make_items()
    out_of_sample = make_out_of_sample(items, sees={2: SHOES}, confidence=0.8)
    assert set(find(make_context(items, image_probs=out_of_sample))) == {"i2 type"}
    assert find(make_context(items, image_probs=out_of_sample, name_probs=predict_names(items))) == {}


def test_names_speak_alone_where_no_photograph_was_asked() -> None:
    items = make_items(type={2: "Tees"})
    [line] = find(make_context(items, image_probs=None, name_probs=predict_names(items))).values()
    assert (line["code"], line["evidence"], line["suggested_label"]) == ("label_error", "name", "Shirts")
    assert line["reason"].startswith("The name says Shirts (0.")
    assert "look-alikes" not in line["reason"]


def test_names_that_the_network_read_do_not_count_twice() -> None:
    items = make_items(type={2: "Tees"})
    names = predict_names(items)
    once = find(make_context(items, image_probs=replace(make_out_of_sample(items), reads_names=True), name_probs=names))
    twice = find(make_context(items, name_probs=names))
    assert once["i2 type"]["score"] < twice["i2 type"]["score"]
    assert once["i2 type"]["reason"].startswith("Photograph and name look like Shirts (0.90)")


def test_an_attribute_is_judged_where_photographs_tell_it() -> None:
    items = make_items(gender={2: "Women"})
    [line] = find(make_context(items)).values()
    assert (line["column"], line["given_label"], line["suggested_label"]) == ("gender", "Women", "Men")
    assert json.loads(line["changes"]) == {"gender": "Men"}
    assert find(make_context(items, min_attribute_accuracy=1.0)) == {}


def test_a_class_that_hardly_any_item_has_is_not_judged() -> None:
    # Nine sandals are left, and all of them look like shirts: no network learns nine.
    sandals = [row for row in range(100) if row % 4 == 1]
    lost = dict.fromkeys(sandals[9:], "Shoes")
    items = make_items(type=lost)
    out_of_sample = make_out_of_sample(
        items, sees=dict.fromkeys(sandals[9:], SHOES) | dict.fromkeys(sandals[:9], SHIRTS)
    )
    found = find(make_context(items, image_probs=out_of_sample))
    # The coarser level, which more items have, is evaluated.
    assert {json.loads(line["changes"])["kind"] for line in found.values()} == {"Wear"}
    out_of_sample = make_out_of_sample(items, sees=dict.fromkeys(sandals, SHOES))
    assert find(make_context(items, image_probs=out_of_sample)) == {}


def test_items_without_a_known_product_are_passed_over() -> None:
    items = make_items(kind={2: "NA"}, type={2: ""})
    out_of_sample = make_out_of_sample(items)
    assert out_of_sample.given[2] == NO_VALUE
    assert find(make_context(items, image_probs=out_of_sample)) == {}


def test_less_sure_issues_are_left_out() -> None:
    items = make_items(type={2: "Tees", 6: "Tees"})
    out_of_sample = make_out_of_sample(items)
    out_of_sample.pred_probs[6] = (0.0, 0.0, 0.88, 0.12)
    # Shirts that are not sure either, so that this one is sure enough to count.
    out_of_sample.pred_probs[[10, 14, 18]] = (0.0, 0.0, 0.7, 0.3)
    assert set(find(make_context(items, image_probs=out_of_sample, min_score=0.3))) == {"i2 type", "i6 type"}
    assert set(find(make_context(items, image_probs=out_of_sample, min_score=0.9))) == {"i2 type"}


def test_a_label_that_is_merely_not_the_likeliest_is_told_for_information_at_the_end() -> None:
    items = make_items(type={2: "Tees"})
    out_of_sample = make_out_of_sample(items)
    # Above half, but below what shirts come to: confident learning counts it as nothing.
    out_of_sample.pred_probs[7] = (0.0, 0.0, 0.8, 0.2)
    found = find(make_context(items, image_probs=out_of_sample))
    assert {key: line["severity"] for key, line in found.items()} == {"i2 type": "warning", "i7 type": "info"}
    assert found["i7 type"]["score"] < found["i2 type"]["score"]


def test_on_other_levels_a_doubt_counts_as_much_as_the_witness_is_right_there() -> None:
    """The finest level is the primary one here; the coarser decides where that is not evaluated."""
    sandals = [row for row in range(100) if row % 4 == 1]
    lost = dict.fromkeys(sandals[9:], "Shoes")
    items = make_items(type=lost)
    sees = dict.fromkeys(sandals[9:], SHOES) | {sandals[0]: SHIRTS}
    [line] = find(make_context(items, image_probs=make_out_of_sample(items, sees=sees))).values()
    # p(Footwear) is 2/30; 99 of 100 items are seen as they are given.
    assert line["score"] == pytest.approx((1 - 2 / 30) * 0.99**3, abs=1e-4)


def test_where_both_are_heard_a_part_of_the_score_hangs_on_what_speaks_for_the_suggestion(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    items = make_items(type={2: "Tees"})
    names = predict_names(items)
    out_of_sample = make_out_of_sample(items)
    contexts = [make_context(items, image_probs=out_of_sample, name_probs=each) for each in (names, None)]
    both, alone = (find(context)["i2 type"]["score"] for context in contexts)
    monkeypatch.setattr("hangtag.auditing.label_issues.UNSUPPORTED", 0.0)
    both_before, alone_before = (find(context)["i2 type"]["score"] for context in contexts)
    assert alone == alone_before
    row = names.rows.tolist().index(2)
    support = (0.9 * names.pred_probs[row, SHIRTS]) ** 0.5
    assert both / both_before == pytest.approx(1 - UNSUPPORTED * (1 - support), abs=1e-4)


def test_names_alone_rank_a_suggestion_by_how_far_they_say_it_and_by_look_alikes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    items = make_items(type={2: "Tees", 6: "Tees", 10: "Tees"})
    names = predict_names(items)
    place = {row: names.rows.tolist().index(row) for row in (2, 6, 10)}
    for row, says in ((2, 0.98), (6, 0.4), (10, 0.98)):
        rest = (1 - says) / 2
        names.pred_probs[place[row]] = (rest, rest, says, 0.0)
    # The photograph of item 10 looks like tees, those of the others like shirts.
    looks = dict(enumerate(items["type"])) | {2: "Shirts", 6: "Shirts", 10: "Tees"}
    monkeypatch.setattr(
        "hangtag.auditing.label_issues.find_neighbors",
        lambda _features, rows: np.array(
            [[at for at, kind in enumerate(items["type"]) if kind == looks[row] and at != row][:5] for row in rows]
        ),
    )
    context = make_context(items, image_probs=None, name_probs=names, min_score=0.0)
    found = {key: line["score"] for key, line in find(context).items()}
    assert found["i2 type"] > max(found["i6 type"], found["i10 type"])
    assert found["i6 type"] <= 1 - UNSUPPORTED * 0.6


def test_without_probabilities_the_check_is_not_applicable() -> None:
    with pytest.raises(NotApplicableError, match="neither of photographs nor of names"):
        find_label_issues(make_context(make_items(), image_probs=None))


def test_a_name_of_unknown_words_or_none_is_no_testimony() -> None:
    items = make_items(title={2: "Qwertz", 6: None, 10: "Shirts"})
    name_probs = predict_names(items)
    assert {2, 6} & set(name_probs.rows.tolist()) == set()
    place = name_probs.rows.tolist().index(10)
    assert name_probs.pred_probs[place].argmax() == SHIRTS
    np.testing.assert_allclose(name_probs.pred_probs.sum(axis=1), 1, atol=1e-5)


def test_no_name_is_read_by_a_classifier_that_learnt_it_or_its_duplicates() -> None:
    # A word that stands on one group of duplicates alone is known to none of its readers.
    items = make_items(
        title={2: "Zzz", 6: "Zzz"},
        group_id={2: "g", 6: "g"},
        kind={2: "Footwear", 6: "Footwear"},
        type={2: "Shoes", 6: "Shoes"},
    )
    assert {2, 6} & set(predict_names(items).rows.tolist()) == set()


def test_too_few_names_are_refused() -> None:
    items = make_items(title=dict.fromkeys(range(99)))
    with pytest.raises(NotApplicableError, match="Too few items have a name"):
        predict_names(items)


def test_a_suggestion_that_changes_no_column_is_none() -> None:
    """Two products may differ in the cleaned label alone, which is no column of the catalogue."""
    label_space = replace(
        LABEL_SPACE,
        levels={**LABEL_SPACE.levels, "label": ("Bags", "Shoes", "Wear")},
        category_paths=((0, 0, 0), (0, 0, 1), (1, 1, 2), (1, 3, 2)),
    )
    items = make_items()
    given = np.array([SANDALS] * 50 + [2] * 50)
    probs = make_probs(4, given)
    probs[3] = (0.05, 0.95, 0, 0)
    given[10:25] = 1
    probs[10:25] = (0.05, 0.95, 0, 0)
    out_of_sample = OutOfSampleProbs(np.arange(100), label_space, given, probs)
    assert find(make_context(items, image_probs=out_of_sample)) == {}


def predict_again(
    items: pl.DataFrame, earlier: OutOfSampleProbs | None, space: LabelSpace = LABEL_SPACE
) -> OutOfSampleProbs:
    given = find_category_paths(items, space, ("", "NA"))
    keys = hash_named(items["item_id"].to_list(), items["title"], given, space)
    groups, known = items["group_id"].to_list(), None if earlier is None else earlier.known_probs
    labels = items["label"].to_list()
    return predict_from_names(items["title"], given, space, labels, groups, keys=keys, known=known)


def read_unscaled(predicted: OutOfSampleProbs) -> Any:
    """Return the probabilities without the temperature, which follows all names."""
    assert predicted.known_probs is not None
    return predicted.known_probs.probs


def test_only_names_that_an_earlier_audit_did_not_predict_are_predicted(monkeypatch: pytest.MonkeyPatch) -> None:
    items = make_items()
    first = predict_again(items, None)
    fitted: list[int] = []
    fit = evidence._predict_fold

    def count(texts: list[str], classes: Any, left_out: Any, num_paths: int) -> Any:
        fitted.append(int(left_out.sum()))
        return fit(texts, classes, left_out, num_paths)

    monkeypatch.setattr(evidence, "_predict_fold", count)
    # Nothing is new, then two products are: another name, and another label. A removed one is not missed.
    again = predict_again(items, first)
    assert fitted == []
    np.testing.assert_array_equal(again.pred_probs, first.pred_probs)
    changed = make_items(title={5: "Fine Tees"}, type={2: "Shoes"}, kind={2: "Footwear"})[:-1]
    second = predict_again(changed, again)
    assert fitted == [2]
    kept = [row for row in range(len(changed)) if row not in (2, 5)]
    # The classes may stand in another order the next time.
    order = [2, 0, 3, 1]
    space = replace(LABEL_SPACE, category_paths=tuple(LABEL_SPACE.category_paths[path] for path in order))
    turned = predict_again(changed, again, space)
    np.testing.assert_array_equal(read_unscaled(turned)[kept], read_unscaled(first)[kept][:, order])
    assert fitted == [2, 2]
    np.testing.assert_array_equal(read_unscaled(second)[kept], read_unscaled(first)[kept])
    assert second.pred_probs[2].argmax() == SHIRTS
    # After more of them than the limit, all are cross-validated again.
    many = int(MOST_LATE * len(items)) + 1
    third = predict_again(make_items(title=dict.fromkeys(range(3, 4 * many, 4), "Fine Tees")), second)
    assert len(fitted) > 3
    assert third.known_probs is not None
    assert not third.known_probs.scores.any()


def test_a_new_name_is_not_predicted_by_its_duplicates(monkeypatch: pytest.MonkeyPatch) -> None:
    items = make_items(group_id={2: "g", 6: "g"})
    first = predict_again(items, None)
    trained: list[int] = []

    def fit(texts: list[str], _classes: Any, left_out: Any, num_paths: int) -> Any:
        trained.append(len(texts) - int(left_out.sum()))
        return np.ones((int(left_out.sum()), num_paths), np.float32)

    monkeypatch.setattr(evidence, "_predict_fold", fit)
    predict_again(make_items(group_id={2: "g", 6: "g"}, title={2: "Fine Shirts"}), first)
    assert trained == [len(items) - 2]
