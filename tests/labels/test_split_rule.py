"""Rules for the test split: which cells fulfil them, and what is told where one cannot be used."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hangtag.catalog.schema import CatalogSchema
from hangtag.config import CleanConfig
from hangtag.errors import SettingsError
from hangtag.labels.splits import check_divided, find_test_items
from hangtag.train_config import SPLITS

SCHEMA = CatalogSchema(columns=("id", "year", "catalog_label"), headings=("id", "year", "label"))
YEARS = ["2011", " 2012 ", "2013.0", "2014.5", "", "NA", "soon", "-7", "1e3", "inf", None]
BRANDS = ["Nike", "Puma ", "Nike Pro", "nike", "", "NA", None]


def find(rule: str, cells: list[str | None], column: str = "year", schema: CatalogSchema = SCHEMA) -> list[str | None]:
    """Return the cells for which a rule holds, in their order."""
    ids = [str(number) for number in range(len(cells))]
    items = pl.DataFrame({"item_id": ids, column: pl.Series(cells, dtype=pl.String)})
    found = find_test_items(
        CleanConfig(test_where=rule).test_where, items.with_columns(given_split=pl.lit(None, pl.String)), schema
    )
    return [cell for number, cell in zip(ids, cells, strict=True) if number in found]


@pytest.mark.parametrize(
    ("rule", "held"),
    [
        ("year=odd", ["2011", "2013.0", "-7"]),
        ("year = even", [" 2012 "]),
        ("year>=2012", [" 2012 ", "2013.0", "2014.5"]),
        ("year <= 2012.0", ["2011", " 2012 ", "-7", "1e3"]),
        ("year<=-6.5", ["-7"]),
        ("year=2011|2012", ["2011", " 2012 "]),
        ("year=2013", []),
        ("year!=2011 | soon", [" 2012 ", "2013.0", "2014.5", "-7", "1e3", "inf"]),
    ],
)
def test_numbers(rule: str, held: list[str]) -> None:
    if held:
        assert find(rule, YEARS) == held
    else:
        with pytest.raises(SettingsError, match="holds for no item"):
            find(rule, YEARS)


@pytest.mark.parametrize(
    ("rule", "held"),
    [
        ("label=Nike", ["Nike"]),
        ("label= Nike Pro |Puma", ["Puma ", "Nike Pro"]),
        ("catalog_label!=Nike", ["Puma ", "Nike Pro", "nike"]),
    ],
)
def test_texts_and_columns_by_either_name(rule: str, held: list[str]) -> None:
    assert find(rule, BRANDS, "catalog_label") == held


def test_the_spellings_of_the_catalogue_count_as_missing_beside_empty_cells_and_unknown() -> None:
    schema = CatalogSchema(columns=("year",), headings=("year",), missing=("-",))
    assert find("year!=2011", ["2011", "NA", "", None, " - ", "unknown"], schema=schema) == ["NA"]


@given(st.lists(st.integers() | st.text(alphabet="0123456789.-+ x", max_size=6), min_size=1))
def test_odd_and_even_are_those_of_python_and_never_both(drawn: list[int | str]) -> None:
    # Far apart from each other and from the bounds of any machine's numbers, so that the rules never fail.
    cells = ["1", f"{10**30}", "x", *map(str, drawn)]
    odd, even = find("year=odd", list(cells)), find("year=even", list(cells))
    assert len(odd) + len(even) == sum(is_whole(cell) for cell in cells)
    assert all(round_to_int(str(cell)) % 2 == 1 for cell in odd)
    assert all(round_to_int(str(cell)) % 2 == 0 for cell in even)


def is_whole(cell: str) -> bool:
    whole, _, fraction = cell.strip(" ").partition(".")
    return whole.lstrip("+-").isdigit() and len(whole) - len(whole.lstrip("+-")) <= 1 and not fraction.strip("0")


def round_to_int(cell: str) -> int:
    return int(cell.strip(" ").partition(".")[0])


@pytest.mark.parametrize(
    "rule",
    [
        *("year", "year=", "=odd", " ", "year>2016", "year<2016", "year==odd", "year=>2016", "year>=", "year>=soon"),
        *("year<=1e3", "year=2011|", "year=|2011", "year=2011||2012", "year!=odd", "year != even ", "year>=2011|2012"),
    ],
)
def test_what_cannot_be_read_is_told_with_the_forms(rule: str) -> None:
    with pytest.raises(SettingsError, match=r"test_where must be a rule in quotes: 'COLUMN=odd'"):
        CleanConfig(test_where=rule)


def test_what_cannot_be_used_is_told() -> None:
    with pytest.raises(SettingsError, match=r"Its columns: id, year, label\. Received: 'yaer'"):
        find("yaer=odd", YEARS)
    with pytest.raises(SettingsError, match=r"for no item\. The commonest values of year: 2, 10, 4\. .*'year=odd'"):
        find("year=odd", ["2", "4", "2", "10", "NA"])
    with pytest.raises(SettingsError, match="The commonest values of year: none"):
        find("year=odd", ["", None])
    with pytest.raises(SettingsError, match="for every item"):
        find("year<=2019", ["2011", "2012"])
    items = pl.DataFrame({"item_id": ["1"], "year": ["2011"], "given_split": ["val"]})
    with pytest.raises(SettingsError, match="exclude each other"):
        find_test_items("year=odd", items, SCHEMA)
    assert find_test_items("", items, SCHEMA) == frozenset()


def test_every_split_needs_an_item() -> None:
    check_divided([*SPLITS, None], "year=odd")
    with pytest.raises(SettingsError, match="leaves no item for val and test; "):
        check_divided(["train", None], "year=odd")
