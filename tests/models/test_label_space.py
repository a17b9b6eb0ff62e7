"""Test that level probabilities are sums over category paths, and that damaged label spaces are refused."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hangtag.models.label_space import NO_VALUE, LabelSpace, Probs

LABEL_SPACE = LabelSpace(
    {"kind": ("Goods", "Wear"), "type": ("Bag", "Shirt", "Shoe"), "label": ("Bags", "Shoes", "Tops")},
    ((0, 0, 0), (1, 1, 2), (1, 2, 1), (NO_VALUE, 2, 1), (1, NO_VALUE, 2)),
    {"season": ("Summer", "Winter"), "base colour": ("Blue", "Red", "White")},
    "label",
)


@st.composite
def draw_outputs(draw: st.DrawFn) -> LabelSpace:
    """Two or three levels of one to four classes, some products, any of the levels primary and complete."""
    sizes = draw(st.lists(st.integers(1, 4), min_size=2, max_size=3))
    primary = draw(st.integers(0, len(sizes) - 1))
    places = [st.integers(0 if level == primary else NO_VALUE, size - 1) for level, size in enumerate(sizes)]
    products = draw(st.lists(st.tuples(*places), min_size=1, max_size=12, unique=True))
    levels = {f"level{level}": tuple(f"{level}-{place}" for place in range(size)) for level, size in enumerate(sizes)}
    return LabelSpace(levels, tuple(products), {}, f"level{primary}")


@st.composite
def draw_outputs_and_probs(draw: st.DrawFn) -> tuple[LabelSpace, Probs]:
    label_space = draw(draw_outputs())
    count, seed = draw(st.integers(0, 5)), draw(st.integers(0, 999))
    random = np.random.default_rng(seed)
    sharpness = draw(st.sampled_from([0.1, 1.0, 10.0]))
    return label_space, random.dirichlet([sharpness] * len(label_space.category_paths), count).astype(np.float32)


def test_the_heads_are_category_path_and_numbered_attributes() -> None:
    assert LABEL_SPACE.heads == {"category_path": 5, "attribute_0": 2, "attribute_1": 3}
    assert next(iter(LABEL_SPACE.heads)) == "category_path"
    assert LABEL_SPACE.class_names == ("Bags", "Shoes", "Tops")


def test_the_label_space_of_one_level_has_its_classes() -> None:
    label_space = LabelSpace.of_classes(("a", "b", "c"), "kind")
    assert (label_space.heads, label_space.class_names, label_space.primary) == (
        {"category_path": 3},
        ("a", "b", "c"),
        "kind",
    )
    probs = np.array([[0.5, 0.2, 0.3]], np.float32)
    np.testing.assert_array_equal(label_space.sum_level(probs, "kind"), probs)
    assert label_space.choose_category_paths(probs).tolist() == [0]


def test_level_probabilities_are_sums_over_category_paths() -> None:
    probs = np.array([[0.1, 0.2, 0.3, 0.15, 0.25]], np.float32)
    np.testing.assert_allclose(LABEL_SPACE.sum_level(probs, "kind"), [[0.1, 0.75]], rtol=1e-6)
    np.testing.assert_allclose(LABEL_SPACE.sum_level(probs, "type"), [[0.1, 0.2, 0.45]], rtol=1e-6)
    np.testing.assert_allclose(LABEL_SPACE.sum_level(probs, "label"), [[0.1, 0.45, 0.45]], rtol=1e-6)
    assert LABEL_SPACE.list_classes("kind").tolist() == [0, 1, 1, NO_VALUE, 1]


@given(draw_outputs_and_probs())
def test_level_probabilities_add_up_to_one_or_less(drawn: tuple[LabelSpace, Probs]) -> None:
    label_space, probs = drawn
    for level, names in label_space.levels.items():
        sums = label_space.sum_level(probs, level)
        assert (sums.shape, str(sums.dtype)) == ((len(probs), len(names)), "float32")
        has_value = label_space.list_classes(level) != NO_VALUE
        np.testing.assert_allclose(sums.sum(axis=1), probs[:, has_value].sum(axis=1), atol=1e-6)
    np.testing.assert_allclose(label_space.sum_level(probs, label_space.primary).sum(axis=1), 1, atol=1e-6)


@given(draw_outputs_and_probs())
def test_the_chosen_category_path_has_the_most_likely_primary_class(drawn: tuple[LabelSpace, Probs]) -> None:
    label_space, probs = drawn
    products = label_space.choose_category_paths(probs)
    assert (products.shape, str(products.dtype)) == ((len(probs),), "int64")
    chosen = label_space.list_classes(label_space.primary)[products]
    np.testing.assert_array_equal(chosen, label_space.sum_level(probs, label_space.primary).argmax(axis=1))


@given(draw_outputs_and_probs())
def test_no_other_category_path_of_the_class_has_more_expected_correct_levels(drawn: tuple[LabelSpace, Probs]) -> None:
    label_space, probs = drawn
    primary = label_space.list_classes(label_space.primary)

    def expect(row: int, product: int) -> float:
        places = {level: label_space.list_classes(level)[product] for level in label_space.levels}
        sums = {level: label_space.sum_level(probs, level)[row] for level in label_space.levels}
        return float(sum(sums[level][place] for level, place in places.items() if place != NO_VALUE))

    for row, product in enumerate(label_space.choose_category_paths(probs)):
        rivals = np.flatnonzero(primary == primary[product])
        assert expect(row, int(product)) >= max(expect(row, int(rival)) for rival in rivals) - 1e-5


def test_the_path_with_the_most_expected_correct_levels_is_chosen_over_the_most_likely_one() -> None:
    # The likeliest product is the Goods one, but kind is rather Wear.
    label_space = LabelSpace(
        {"kind": ("Goods", "Wear"), "type": ("p", "q", "r"), "label": ("x", "y")},
        ((0, 0, 0), (1, 1, 0), (1, 2, 0), (1, 1, 1)),
        {},
        "label",
    )
    probs = np.array([[0.35, 0.25, 0.2, 0.2]], np.float32)
    assert label_space.choose_category_paths(probs).tolist() == [1]


def test_a_level_without_values_is_accepted() -> None:
    label_space = LabelSpace({"kind": (), "label": ("x", "y")}, ((NO_VALUE, 0), (NO_VALUE, 1)), {}, "label")
    probs = np.array([[0.3, 0.7]], np.float32)
    assert label_space.choose_category_paths(probs).tolist() == [1]
    assert label_space.sum_level(probs, "kind").shape == (1, 0)


def test_the_order_of_levels_is_kept_in_json() -> None:
    again = LabelSpace.from_json(json.loads(json.dumps(LABEL_SPACE.to_json())))
    assert again == LABEL_SPACE
    assert list(again.levels) == list(LABEL_SPACE.levels)
    assert list(again.attributes) == list(LABEL_SPACE.attributes)


@given(draw_outputs())
def test_every_label_space_is_restored_from_json(label_space: LabelSpace) -> None:
    assert LabelSpace.from_json(json.loads(json.dumps(label_space.to_json()))) == label_space


@pytest.mark.parametrize(
    "change",
    [
        {"levels": None},
        {"levels": []},
        {"levels": {}},
        {"levels": {"kind": "ab", "type": ["Bag", "Shirt", "Shoe"], "label": ["Bags", "Shoes", "Tops"]}},
        {"levels": {"kind": [1, 2], "type": ["Bag", "Shirt", "Shoe"], "label": ["Bags", "Shoes", "Tops"]}},
        {"levels": {"label": ["Bags", "Shoes", "Tops"]}},
        {"category_paths": None},
        {"category_paths": []},
        {"category_paths": {}},
        {"category_paths": "abc"},
        {"category_paths": [0, 1]},
        {"category_paths": [[0, 0]]},
        {"category_paths": [[0, 0, 0, 0]]},
        {"category_paths": [[0, 0, 3]]},
        {"category_paths": [[0, 0, -2]]},
        {"category_paths": [[0, 0, 0.0]]},
        {"category_paths": [[0, 0, True]]},
        {"category_paths": [[0, 0, "0"]]},
        {"category_paths": [[0, 0, None]]},
        {"attributes": None},
        {"attributes": ["season"]},
        {"attributes": {"season": "Summer"}},
        {"attributes": {"season": [None]}},
        {"primary": "colour"},
        {"primary": None},
        {"primary": ["label"]},
        {"primary": "season"},
    ],
    ids=str,
)
def test_damaged_label_spaces_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError, AttributeError)):
        LabelSpace.from_json(LABEL_SPACE.to_json() | change)


@pytest.mark.parametrize("key", ["levels", "category_paths", "attributes", "primary"])
def test_label_spaces_without_an_entry_are_refused(key: str) -> None:
    described = LABEL_SPACE.to_json()
    del described[key]
    with pytest.raises(KeyError, match=key):
        LabelSpace.from_json(described)
