"""Category paths become levels of one length, and a changed path goes back into its cell."""

import pytest

from hangtag.catalog.category_paths import change_path, fill_levels, split_path
from hangtag.catalog.schema import CatalogSchema

SCHEMA = CatalogSchema(level_separator=">")
SEVERAL = CatalogSchema(level_separator=">", category_separator=",", category="deepest")


def test_a_category_without_subcategories_is_a_class_at_every_level() -> None:
    paths = [("Wear", "Tops", "Tees"), ("Wear", "Tops"), ("Hats",), ()]
    assert fill_levels(paths, 3) == [
        ("Wear", "Tops", "Tees"),
        # One of its subcategories, which is missing.
        ("Wear", "Tops", ""),
        ("Hats", "Hats", "Hats"),
        ("", "", ""),
    ]


@pytest.mark.parametrize(
    ("cell", "schema", "path"),
    [
        ("Wear > Tops", SCHEMA, ("Wear", "Tops")),
        (" Wear>Tops > ", SCHEMA, ("Wear", "Tops")),
        ("", SCHEMA, ()),
        ("Sale, Wear, Wear > Tops", SEVERAL, ("Wear", "Tops")),
        ("Sale, Wear > Tops", CatalogSchema(level_separator=">", category_separator=","), ("Sale",)),
    ],
)
def test_the_path_that_counts(cell: str, schema: CatalogSchema, path: tuple[str, ...]) -> None:
    assert split_path(cell, schema) == path


@pytest.mark.parametrize(
    ("cell", "schema", "after"),
    [
        ("Wear > Tops > Tees", SCHEMA, "Bags > Totes"),
        ("Wear>Tops", SCHEMA, "Bags>Totes"),
        (" Hats ", SCHEMA, " Bags > Totes "),
        ("", SCHEMA, "Bags > Totes"),
        ("Sale, Wear, Wear > Tops , New", SEVERAL, "Sale, Bags, Bags > Totes , New"),
        ("Wear > Old, Wear > Tops > Tees", SEVERAL, "Wear > Old, Bags > Totes"),
        # The other path needs its parent, and what only looks alike is none.
        ("Wear, Wear > Old, Wear > Tops > Tees", SEVERAL, "Wear, Wear > Old, Bags > Totes"),
        ("Wear Sale, Wear > Tops", SEVERAL, "Wear Sale, Bags > Totes"),
        # Separators at the ends and doubled ones stay, with their white space.
        ("> Wear > Tops >", SCHEMA, "> Bags > Totes >"),
        (" >Wear >>  Tops> ", SCHEMA, " >Bags >>  Totes> "),
        ("> Wear > Tops > Tees >", SCHEMA, "> Bags > Totes >"),
        ("> Wear >", SCHEMA, "> Bags > Totes >"),
        ("Hats >", SCHEMA, "Bags > Totes >"),
        (">", SCHEMA, "Bags > Totes"),
        # The part that stays is kept as it is written.
        ("Bags  >Tops", SCHEMA, "Bags  >Totes"),
    ],
)
def test_a_changed_path_leaves_the_rest_of_its_cell(cell: str, schema: CatalogSchema, after: str) -> None:
    assert change_path(cell, schema, ("Bags", "Totes"), "A > B") == after


@pytest.mark.parametrize(
    "text", ["Wear > Tops", "> Wear > Tops >", "Wear >> Tops", " Wear>Tops ", "", " ", "> >", "Hats"]
)
@pytest.mark.parametrize("path", [("A",), ("Wear",), ("Wear", "B"), ("A > B", "C, D"), ("A", "B", "C", "D")])
@pytest.mark.parametrize("schema", [SCHEMA, SEVERAL])
def test_a_changed_path_is_read_again(text: str, path: tuple[str, ...], schema: CatalogSchema) -> None:
    assert split_path(change_path(text, schema, path), schema) == path
