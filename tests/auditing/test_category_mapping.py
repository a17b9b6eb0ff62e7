"""A catalogue's categories in the words of a model that another catalogue made."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from hangtag.auditing.category_mapping import CategoryMapping, map_categories, read_category_mapping
from hangtag.errors import SettingsError
from hangtag.models.label_space import NO_VALUE, LabelSpace

# Shoes is a level's class with two products; Accessories stands on two levels, once wider.
MODEL = LabelSpace(
    {
        "master": ("Accessories", "Apparel", "Footwear"),
        "sub": ("Accessories", "Bags", "Shoes", "Topwear"),
        "article": ("Caps", "Casual Shoes", "Handbags", "Shirts", "Sports Shoes"),
        "label": ("Accessories", "Bags", "Shirts", "Shoes"),
    },
    ((0, 0, 0, 0), (0, 1, 2, 1), (1, 3, 3, 2), (2, 2, 1, 3), (2, 2, 4, 3)),
    {},
    "label",
)
CAPS, HANDBAGS, SHIRTS, CASUAL, SPORTS = range(5)


def map_values(values: list[tuple[str | None, str | None]]) -> CategoryMapping:
    items = pl.DataFrame(values, schema={"group": pl.String, "kind": pl.String}, orient="row")
    return map_categories(items, ("group", "kind"), ("", "NA"), MODEL)


def find_matches(mapping: CategoryMapping) -> dict[Any, Any]:
    return {row[:2]: row[3:] for row in mapping.table.iter_rows()}


def test_names_are_matched_by_what_they_mean_the_finest_first_and_else_the_parent() -> None:
    mapping = map_values(
        [("Wear", "T-Shirts"), ("Wear", "shirt"), ("Bag", "Satchels"), ("Feet", "sports-shoe"), ("X", "Y")]
    )
    assert find_matches(mapping) == {
        ("Wear", "T-Shirts"): (None, None),
        ("Wear", "shirt"): ("article", "Shirts"),
        ("Bag", "Satchels"): ("sub", "Bags"),
        ("Feet", "sports-shoe"): ("article", "Sports Shoes"),
        ("X", "Y"): (None, None),
    }
    assert (mapping.given == NO_VALUE).tolist() == [True, False, False, False, True]


def write_mapping(path: Path, *lines: str, header: str = "group,kind,items,model_level,model_class") -> Path:
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def read_mapping(path: Path) -> dict[Any, Any]:
    return read_category_mapping(path, ("group", "kind"), {"group": "group", "kind": "kind"}, MODEL)


def test_matches_by_hand_replace_those_by_names(tmp_path: Path) -> None:
    path = write_mapping(tmp_path / "m.csv", "Wear,T-Shirts,5,,topwear", "Feet,,1,label,Shoes", "Bag,Satchels,1,,")
    by_hand = read_mapping(path)
    assert by_hand == {
        ("Wear", "T-Shirts"): ("sub", "Topwear"),
        ("Feet", None): ("label", "Shoes"),
        ("Bag", "Satchels"): None,
    }
    items = pl.DataFrame(
        [("Wear", "T-Shirts"), ("Wear", "shirt"), ("Bag", "Satchels"), ("Feet", "")],
        schema=["group", "kind"],
        orient="row",
    )
    mapping = map_categories(items, ("group", "kind"), ("",), MODEL, by_hand)
    assert find_matches(mapping) == {
        ("Wear", "T-Shirts"): ("sub", "Topwear"),
        # Not in the file: by its name.
        ("Wear", "shirt"): ("article", "Shirts"),
        # By its name it would be Bags.
        ("Bag", "Satchels"): (None, None),
        ("Feet", None): ("label", "Shoes"),
    }


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "Wear,shirt,1,,Trousers",
            r"Line 2 .* model_class that the model does not have.*model_classes.csv.*'Trousers'",
        ),
        ("Wear,shirt,1,article,Topwear", r"model_class that the model does not have.*'article > Topwear'"),
        ("Wear,shirt,1,colour,Red", r"model_level that the model does not have. Allowed: master, sub, article, label"),
        ("Wear,shirt,1,,Shirts\nWear,shirt,1,,Bags", r"Line 3 .* stands above.*'Wear > shirt'"),
    ],
)
def test_matches_by_hand_that_cannot_be_used_are_refused(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        read_mapping(write_mapping(tmp_path / "m.csv", line))


def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"no column model_level.*Received: 'group, kind, class'"):
        read_mapping(write_mapping(tmp_path / "m.csv", "Wear,shirt,x", header="group,kind,class"))
    with pytest.raises(SettingsError, match="cannot be read"):
        read_mapping(tmp_path / "gone.csv")
    with pytest.raises(SettingsError, match=r"Line 3 of .* cannot be read: .*Mend or remove the line"):
        read_mapping(
            write_mapping(tmp_path / "m.csv", "Wear,shirt,1,,Shirts", "Wear,cap,1,x,y,z,Caps", "Bag,bag,1,,Bags")
        )
    items = pl.DataFrame([("Wear", "shirt")], schema=["group", "kind"], orient="row")
    with pytest.raises(SettingsError, match=r"does not have.*Received: 'Men > Hats'"):
        map_categories(items, ("group", "kind"), ("",), MODEL, {("Men", "Hats"): None})


def test_the_widest_class_of_a_name_is_taken() -> None:
    mapping = map_values([("All", "Accessories")])
    assert find_matches(mapping)[("All", "Accessories")] == ("master", "Accessories")
    assert np.flatnonzero(mapping.members[:, 0]).tolist() == [CAPS, HANDBAGS]


def test_categories_of_one_class_are_one_under_the_commonest_s_name() -> None:
    mapping = map_values([("Men", "Shirts"), ("Women", "Shirts"), ("Women", "Shirts")])
    assert len(mapping.label_space.category_paths) == 1
    assert set(mapping.given.tolist()) == {0}
    assert mapping.label_space.levels == {"group": ("Women",), "kind": ("Shirts",)}


def test_a_missing_value_is_none_of_the_product_s() -> None:
    mapping = map_values([("Shoes", "NA")])
    assert mapping.label_space.category_paths == ((0, NO_VALUE),)
    assert mapping.label_space.levels["kind"] == ()


def test_a_product_counts_for_the_narrowest_category_and_speaks_for_the_wider_one_that_is_given() -> None:
    mapping = map_values([("Feet", "Shoes"), ("Feet", "Sports Shoes"), ("Wear", "Shirts")])
    shoes, sports, shirts = mapping.given.tolist()
    said = np.zeros((3, 5), np.float32)
    said[:, [SPORTS, CASUAL, CAPS]] = 0.6, 0.3, 0.1
    probs = mapping.convert(said, mapping.given)
    # Given Shoes: sports shoes are shoes.
    np.testing.assert_allclose(probs[0, [shoes, sports, shirts]], [0.9, 0, 0], atol=1e-6)
    # Given Sports Shoes or Shirts: they are told apart. Caps are no category of this catalogue.
    for row in (1, 2):
        np.testing.assert_allclose(probs[row, [shoes, sports, shirts]], [0.3, 0.6, 0], atol=1e-6)
