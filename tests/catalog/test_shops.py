"""Rows of a shop's table become products, and a value's own rows are found again."""

from array import array
from collections.abc import Sequence

import pytest

from hangtag.catalog.schema import CatalogSchema
from hangtag.catalog.shop_layouts import find_layout, list_layouts
from hangtag.catalog.shops import Arranged, arrange_products
from hangtag.catalog.table import Table
from hangtag.errors import CatalogError


def arrange(rows: Sequence[str], **entries: str) -> Arranged:
    """Arrange rows of the columns id, kind and sort, written with bars."""
    cells = [list(column) for column in zip(*(row.split("|") for row in rows), strict=True)]
    table = Table(("id", "kind", "sort"), cells, array("q", range(2, len(rows) + 2)))
    schema = CatalogSchema.from_values({"levels": ["kind"], "image": "{id}.jpg", **entries})
    return arrange_products(table, schema.with_columns(table.columns))


def list_members(found: Arranged) -> list[list[int]]:
    return [found.list_rows(position) for position in range(len(found.rows))]


def test_rows_of_a_product_are_those_of_its_id() -> None:
    rows = ["a||x", "b|Hats|y", "a|Bags|z", "|Shoes|w", "a| Bags |z", "a|Hats|z"]
    found = arrange(rows, merge_rows="yes")
    assert list_members(found) == [[0, 2, 4, 5], [1], [3]]
    assert found.cells[1] == ["Bags", "Hats", "Shoes"]
    assert (found.num_merged, found.num_conflicting) == (3, 1)
    # Those with the value that counts, not the one with another.
    kinds = [row.split("|")[1] for row in rows]
    assert [found.list_rows_with(position, kinds) for position in range(3)] == [[2, 4], [1], [3]]
    assert found.list_rows_with(0, ["", "Hats", " ", "Shoes", "NA", ""]) == [0]


def test_rows_without_an_id_may_continue_the_product_above() -> None:
    rows = ["|Shoes|w", "a|Hats|x", "||y", "|Caps|z", "b|Bags|x", "||y"]
    assert list_members(arrange(rows, merge_rows="continued")) == [[0], [1, 2, 3], [4, 5]]
    assert list_members(arrange(rows, merge_rows="yes")) == [[0], [1], [2], [3], [4], [5]]


def test_rows_of_several_kinds_are_skipped() -> None:
    found = arrange(["a|Hats|Product", "b|Hats| sku", "c|Hats|rule, virtual"], skip_rows="sort=SKU|Rule")
    assert list_members(found) == [[0]]
    assert found.skipped == [(1, "sort is SKU"), (2, "sort is Rule")]
    with pytest.raises(CatalogError, match="skip_rows"):
        arrange(["a|Hats|x"], skip_rows="size=1")


def test_no_layout_hides_another() -> None:
    for layout in list_layouts():
        for headings in layout.list_headings():
            found = find_layout(sorted(headings))
            assert found is not None
            assert layout.name in (found.name, "google-merchant-taxonomy")


def test_a_named_layout_says_what_is_missing() -> None:
    with pytest.raises(CatalogError, match="without Image Src"):
        find_layout(["Handle", "Title", "Type"], "shopify")
    with pytest.raises(CatalogError, match="woocommerce"):
        find_layout(["a"], "woo")
    assert find_layout(["id", "type", "name", "categories", "images"]) is None
