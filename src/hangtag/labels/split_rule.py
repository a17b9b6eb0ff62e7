"""Find the items that a rule on a column puts into the test split, as `year=odd`."""

import re
from collections.abc import Collection

import polars as pl

from hangtag.catalog.missing_cells import find_missing
from hangtag.catalog.schema import CatalogSchema
from hangtag.config import SPLITS, TEST_RULE
from hangtag.errors import SettingsError

SHOWN_VALUES = 8
LAST_DIGITS = {"odd": "13579", "even": "02468"}


def find_test_items(rule: str, items: pl.DataFrame, schema: CatalogSchema) -> frozenset[str]:
    """Give the item_ids for which a rule holds.

    It never holds for a missing cell, nor, where it asks for numbers, for a cell that is none. Parity is asked of
    whole numbers alone (`2011`, `2011.0`). Values are compared as text, without the spaces around them.

    Args:
        rule: In a form that `CleanConfig.test_where` allows; an empty one holds for no item.
        items: `item_id`, `given_split` and the catalogue's own columns, as text.
        schema: What they mean; the rule names a column as hangtag does or as the table heads it.

    Raises:
        SettingsError: The catalogue came with splits or lacks the column, or the rule holds for no item or every one.
    """
    if not rule:
        return frozenset()
    if items["given_split"].is_not_null().any():
        raise SettingsError(
            "The catalogue came with splits of its own; these and a rule for the test split exclude each other.",
            received=rule,
            hint="Leave out --test-where, or prepare the catalogue without its splits.",
        )
    parts = TEST_RULE.fullmatch(rule)
    assert parts is not None  # CleanConfig lets no other rule through
    column = _find_column(parts["column"], schema)
    cell = pl.col(column).str.strip_chars()
    known = pl.lit(~find_missing(items[column], schema.missing))
    # Never null: a cell that cannot be asked does not fulfil the rule.
    holds = (known & _build_condition(parts, cell)).fill_null(value=False)
    found = frozenset(items.filter(holds)["item_id"])
    if not found:
        values = _list_common_values(items.filter(known)[column])
        allowed = f"The commonest values of {parts['column']}: {', '.join(values) or 'none'}."
        raise SettingsError("The rule for the test split holds for no item.", allowed=allowed, received=rule)
    if len(found) == len(items):
        what = "The rule for the test split holds for every item, so that none is left to learn from."
        raise SettingsError(what, received=rule)
    return found


def check_divided(splits: Collection[str | None], rule: str) -> None:
    """Make sure that the rule left items for every split.

    Raises:
        SettingsError: A split is empty, now that dropped and Unknown items and duplicates are out.
    """
    empty = [split for split in SPLITS if split not in splits]
    if empty:
        raise SettingsError(
            f"The rule for the test split leaves no item for {' and '.join(empty)}; dropped and Unknown items, and "
            "duplicates of test items, are in no split.",
            received=rule,
        )


def _find_column(name: str, schema: CatalogSchema) -> str:
    by_name = dict(zip(schema.headings, schema.columns, strict=True)) | {column: column for column in schema.columns}
    if name not in by_name:
        raise SettingsError(
            "The rule for the test split names a column that the catalogue lacks.",
            allowed=f"Its columns: {', '.join(schema.headings)}.",
            received=name,
        )
    return by_name[name]


def _build_condition(parts: re.Match[str], cell: pl.Expr) -> pl.Expr:
    if parts["parity"]:
        # By the last digit: a number of any length, and none that is not whole.
        return cell.str.contains(rf"^[-+]?[0-9]*[{LAST_DIGITS[parts['parity']]}](?:\.0*)?$")
    if parts["bound"]:
        number, bound = cell.cast(pl.Float64, strict=False), float(parts["number"])
        return number.is_finite() & (number >= bound if parts["bound"] == ">=" else number <= bound)
    is_listed = cell.is_in([value.strip() for value in parts["values"].split("|")])
    return is_listed if parts["sign"] == "=" else ~is_listed


def _list_common_values(values: pl.Series) -> list[str]:
    counts = values.alias("value").value_counts(name="count")
    return counts.sort(["count", "value"], descending=[True, False])["value"].head(SHOWN_VALUES).to_list()
