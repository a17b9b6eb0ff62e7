"""Plant the defects of a real catalogue in a drawn one, and remember which item has which."""

import dataclasses
import random
from collections.abc import Callable

from hangtag.catalog.demo_rows import DemoItem

# What becomes of a photograph, and of how many.
PHOTOGRAPH_DEFECTS = {
    "no photograph": 3,
    "grayscale": 8,
    "odd size": 6,
    "all white": 1,
    "truncated": 1,
    "empty file": 1,
    "not an image": 1,
    "too many pixels": 1,
}
MISSING_VALUES = (
    ("baseColour", "NA"),
    ("usage", "NA"),
    ("productDisplayName", "NA"),
    ("season", ""),
    ("usage", ""),
    ("year", ""),
)
COMMA_ENDINGS = (", Pack of 2", ", Gift Boxed", ", Limited", ", New", ", Sizes S, M")
OUTSIDE_ID = "../../outside"


class _Untouched:
    """The items that have no defect yet, in random order."""

    def __init__(self, items: list[DemoItem], seed: int) -> None:
        self.items = list(items)
        random.Random(f"{seed}/defects").shuffle(self.items)

    def take(self, defect: str, holds: Callable[[DemoItem], bool] = lambda _: True) -> DemoItem:
        """Take an item of a clear category and note what will be wrong with it."""
        for item in self.items:
            if item.row["masterCategory"] not in ("Free Items", "Home") and holds(item):
                self.items.remove(item)
                item.defects.append(defect)
                return item
        raise AssertionError(f"no item is left for the defect {defect!r}")


def plant_defects(items: list[DemoItem], seed: int) -> None:
    """Change rows, mark photographs and add duplicates, in place.

    Photographs that are marked are spoilt when they are drawn. In `defects` stand, in all: names with unquoted
    commas, bare quotes, two spellings of missing values, eight things that can be wrong with a photograph, identical
    and nearly identical photographs (some with other labels), a path that leaves the folder, and an id given twice.
    """
    untouched = _Untouched(items, seed)
    for number in range(3):
        _disagree(items, untouched, number)
    _spoil_rows(untouched)
    for defect, count in PHOTOGRAPH_DEFECTS.items():
        for _ in range(count):
            untouched.take(defect)
    for _ in range(5):
        _copy(items, untouched.take("identical photograph"), "identical photograph")
    for _ in range(6):
        _copy(items, untouched.take("nearly identical photograph"), "nearly identical photograph")
    _repeat_id(items, untouched)
    outside = _copy(items, untouched.items[0], "path leaves the folder")
    outside.row["id"], outside.photograph_of = OUTSIDE_ID, None


def _spoil_rows(untouched: _Untouched) -> None:
    for ending in COMMA_ENDINGS:
        untouched.take("comma in the name").row["productDisplayName"] += ending
    row = untouched.take("bare quote", lambda item: item.kind == "Backpacks").row
    row["productDisplayName"] += ' for 15" Laptops'
    row = untouched.take("bare quote", lambda item: item.kind == "Handbags").row
    row["productDisplayName"] = f'"{row["productDisplayName"]}'
    for column, value in MISSING_VALUES:
        untouched.take(f"{column} is {value or 'empty'}").row[column] = value


def _disagree(items: list[DemoItem], untouched: _Untouched, number: int) -> None:
    """Give one photograph to two items that are said to be different things."""
    kind, changes = (
        ("Tshirts", {"articleType": "Shirts"}),
        ("Casual Shoes", {"subCategory": "Sandal", "articleType": "Sandals"}),
        ("Watches", {"masterCategory": "Free Items", "subCategory": "Free Gifts", "articleType": "Free Gifts"}),
    )[number]
    original = untouched.take("identical photograph", lambda item: item.kind == kind)
    copy = _copy(items, original, "identical photograph")
    copy.row |= changes
    for item in (original, copy):
        item.defects.append("labels disagree")


def _copy(items: list[DemoItem], original: DemoItem, defect: str) -> DemoItem:
    """Add an item with an id of its own and another year that shows the photograph of `original`."""
    item_id = str(max(int(item.row["id"]) for item in items if item.row["id"].isdecimal()) + 3)
    year = str(2015 + (int(original.row["year"]) - 2014) % 10)
    row = original.row | {"id": item_id, "year": year}
    copy = dataclasses.replace(original, row=row, defects=[defect], photograph_of=original.row["id"])
    items.append(copy)
    return copy


def _repeat_id(items: list[DemoItem], untouched: _Untouched) -> None:
    original = untouched.take("id given twice")
    again = _copy(items, original, "id given twice")
    again.row["id"], again.photograph_of = original.row["id"], None
    again.row["productDisplayName"] += " Restocked"
