"""Find out the health of a catalogue: which products look wrong, why, and how many more there are; no markup.

`build_health` takes its numbers from `auditing.catalog_summary`, as `check` does. Lists are cut to what a page can
show; each has the whole number.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from hangtag.auditing.catalog_summary import (
    COMBINATION,
    CONFLICT,
    LESS_SURE,
    PICTURE,
    REPEATED,
    REPEATED_CODES,
    SPELLING,
    VALUE,
    WRONG,
    choose_kind,
    count_wrong,
    explain,
    name_categories,
)
from hangtag.auditing.catalog_words import REJECTED
from hangtag.auditing.issues import LABEL_CONFLICT
from hangtag.io import JsonObject
from hangtag.reporting.audited_catalog import AuditedCatalog, summarize

# What a page shows of the bars, of the suspected products (and of these for each bar), of every other list, of groups,
# of the products of one group or spelling, and of the lines of a reason in rejected.csv.
MOST_BARS, MOST_SUSPECTED, MOST_OF_BAR, MOST_OTHERS = 12, 60, 12, 24
MOST_GROUPS, MOST_MEMBERS, MOST_LINES = 24, 8, 8
# The spellings that the page shows.
MOST_SPELLINGS = 24


@dataclass(frozen=True)
class Product:
    """A product as a page shows it.

    Attributes:
        item_id: Its id.
        row: Its row in the prepared pixels.
        name: Its name; empty where the catalogue has none.
        category, brand: Its most specific category and its brand; empty where it has none.
        column: The column in question; empty where there is none.
        given, suggested: The value there, and the suggested one; empty where there is none.
        reason: Why, in one plain sentence; empty in groups.
    """

    item_id: str
    row: int
    name: str
    category: str
    brand: str
    column: str = ""
    given: str = ""
    suggested: str = ""
    reason: str = ""


@dataclass(frozen=True)
class ProductList:
    """Some products of `total`."""

    products: tuple[Product, ...]
    total: int

    @property
    def left(self) -> int:
        """Return how many more there are."""
        return self.total - len(self.products)


@dataclass(frozen=True)
class HealthBar:
    """A category or brand: how many of its products look as if they were in a wrong category."""

    value: str
    wrong: int
    products: int


@dataclass(frozen=True)
class HealthBars:
    """The categories or brands with most wrong categories.

    Attributes:
        column: The column of the values, as the catalogue heads it.
        bars: The first of them, the most first.
        other_values: The number of further values.
        other_wrong: The number of products with them that look wrong.
    """

    column: str
    bars: tuple[HealthBar, ...]
    other_values: int
    other_wrong: int


@dataclass(frozen=True)
class Groups:
    """Some groups of products with one photograph, of `total` groups."""

    groups: tuple[ProductList, ...]
    total: int

    @property
    def left(self) -> int:
        """Return how many more groups there are."""
        return self.total - len(self.groups)


@dataclass(frozen=True)
class Spelling:
    """A rarer spelling of a value, and the products that have it."""

    column: str
    given: str
    suggested: str
    found: ProductList


@dataclass(frozen=True)
class RejectedLines:
    """The lines of `rejected.csv` with one code: what the code means, some of the lines, and how many there are."""

    meaning: str
    lines: tuple[Mapping[str, str], ...]
    total: int

    @property
    def left(self) -> int:
        """Return how many more there are."""
        return self.total - len(self.lines)


@dataclass(frozen=True)
class Health:
    """The health of a catalogue.

    Attributes:
        summary: What `summarize` returns: every number of the page.
        by_category: The categories with most wrong ones.
        by_brand: The brands, or None where the catalogue has no such column.
        suspected: Products in a category that looks wrong: the surest, and the surest of each bar.
        less_sure, values, combinations, pictures: Products with a less sure suspicion, with another value that looks
            wrong, with an unusual combination of values, and with a photograph that shows little.
        conflicts: Products with one photograph and different categories.
        repeated: Products with one photograph that do not contradict each other.
        spellings: Spellings of a value, the most frequent first.
        more_spellings: The number of further spellings.
        rejected: What could not be used, by its reason, the most frequent first.
    """

    summary: JsonObject
    by_category: HealthBars
    by_brand: HealthBars | None
    suspected: ProductList
    less_sure: ProductList
    values: ProductList
    combinations: ProductList
    pictures: ProductList
    conflicts: Groups
    repeated: Groups
    spellings: tuple[Spelling, ...]
    more_spellings: int
    rejected: tuple[RejectedLines, ...]


def build_health(catalog: AuditedCatalog) -> Health:
    """Find the products that look wrong in an audited catalogue, by kind; those that are decided are left out."""
    describe, issues = _Describer(catalog), catalog.open_issues
    summary, wrong = summarize(catalog), choose_kind(issues, WRONG)
    categories = name_categories(catalog.items, catalog.schema)
    bars = [_build_bars(categories, wrong, catalog.schema.levels[-1])]
    if describe.brand:
        bars.append(_build_bars(catalog.items.select("item_id", value=describe.brand), wrong, describe.brand))
    spellings = _list_spellings(summary, issues, describe)
    conflicts = issues.filter(pl.col("kind") == CONFLICT)
    repeated = issues.filter(
        (pl.col("kind") == REPEATED) & ~pl.col("group_id").is_in(conflicts["group_id"].unique().to_list())
    )
    return Health(
        summary,
        bars[0],
        bars[1] if describe.brand else None,
        _choose_suspected(wrong, bars, describe),
        _list_kind(issues, LESS_SURE, describe),
        _list_kind(issues, VALUE, describe),
        _list_kind(issues, COMBINATION, describe),
        _list_kind(issues, PICTURE, describe),
        _list_groups(conflicts, catalog.issues, describe),
        _list_groups(repeated, catalog.issues, describe),
        tuple(spellings[:MOST_SPELLINGS]),
        max(0, len(summary["spellings"]) - MOST_SPELLINGS),
        tuple(_list_rejected(catalog, summary["not_read"]["reasons"])),
    )


class _Describer:
    """Describe products by their ids and issues."""

    def __init__(self, catalog: AuditedCatalog) -> None:
        schema, items = catalog.schema, catalog.items
        self.brand = schema.brand_column

        def read(column: str | None) -> list[str]:
            return [""] * len(items) if column is None else items[column].cast(pl.String).fill_null("").to_list()

        self.levels = schema.levels
        self._rows = {item_id: row for row, item_id in enumerate(items["item_id"])}
        self._names, self._brands = read(schema.name), read(self.brand)
        self._categories = name_categories(items, schema)["value"].fill_null("").to_list()

    def describe(self, item_id: str) -> Product:
        row = self._rows[item_id]
        return Product(item_id, row, self._names[row], self._categories[row], self._brands[row])

    def describe_issue(self, line: Mapping[str, Any]) -> Product:
        product = self.describe(line["item_id"])
        values = (line["column"], line["given_label"], line["suggested_label"], explain(line))
        return Product(product.item_id, product.row, product.name, product.category, product.brand, *values)

    def list(self, lines: pl.DataFrame, most: int) -> ProductList:
        return ProductList(tuple(map(self.describe_issue, lines.head(most).iter_rows(named=True))), len(lines))


def _build_bars(values: pl.DataFrame, wrong: pl.DataFrame, column: str) -> HealthBars:
    counted = count_wrong(values, wrong)
    shown, rest = counted.head(MOST_BARS), counted.slice(MOST_BARS)
    bars = tuple(HealthBar(*line) for line in shown.select("value", "wrong", "products").iter_rows())
    return HealthBars(column, bars, len(rest), int(rest["wrong"].sum()))


def _choose_suspected(wrong: pl.DataFrame, bars: Sequence[HealthBars], describer: _Describer) -> ProductList:
    """Return the surest suspected products, and the surest of each bar, the surest first."""
    # How many products each bar still lacks.
    lacking = [dict.fromkeys((bar.value for bar in each.bars), MOST_OF_BAR) for each in bars]
    chosen = []
    for place, line in enumerate(wrong.iter_rows(named=True)):
        product = describer.describe(line["item_id"])
        is_wanted = place < MOST_SUSPECTED
        for counts, value in zip(lacking, (product.category, product.brand), strict=False):
            if counts.get(value, 0):
                counts[value] -= 1
                is_wanted = True
        if is_wanted:
            chosen.append(describer.describe_issue(line))
    return ProductList(tuple(chosen), len(wrong))


def _list_kind(issues: pl.DataFrame, kind: str, describer: _Describer) -> ProductList:
    return describer.list(choose_kind(issues, kind), MOST_OTHERS)


def _list_groups(open_issues: pl.DataFrame, issues: pl.DataFrame, describer: _Describer) -> Groups:
    """Return the groups of products with one photograph that open issues are about, with all of their products."""
    wanted = open_issues["group_id"].unique(maintain_order=True)
    shown = wanted.head(MOST_GROUPS).to_list()
    is_member = pl.col("code").is_in([LABEL_CONFLICT, *REPEATED_CODES]) & pl.col("group_id").is_in(shown)
    members: dict[str, dict[str, Product]] = defaultdict(dict)
    for line in issues.filter(is_member).sort("item_id").iter_rows(named=True):
        product = describer.describe(line["item_id"])
        # Where two values of a product are in question, that of the category is shown.
        if line["code"] == LABEL_CONFLICT and line["state"] == "open" and line["column"] in describer.levels:
            members[line["group_id"]][product.item_id] = describer.describe_issue(line)
        members[line["group_id"]].setdefault(product.item_id, product)
    groups = (list(members[name].values()) for name in shown)
    return Groups(tuple(ProductList(tuple(each[:MOST_MEMBERS]), len(each)) for each in groups), len(wanted))


def _list_spellings(summary: JsonObject, issues: pl.DataFrame, describer: _Describer) -> list[Spelling]:
    keys = ["column", "given_label", "suggested_label"]
    found = issues.filter(pl.col("kind") == SPELLING).partition_by(keys, as_dict=True)
    ordered: Iterable[tuple[str, str, str]] = (
        (each["column"], each["given"], each["suggested"]) for each in summary["spellings"][:MOST_SPELLINGS]
    )
    return [Spelling(*key, describer.list(found[key], MOST_MEMBERS)) for key in ordered]


def _list_rejected(catalog: AuditedCatalog, reasons: Sequence[Mapping[str, Any]]) -> list[RejectedLines]:
    return [
        RejectedLines(
            REJECTED.get(each["code"], each["code"].replace("_", " ")),
            tuple(catalog.rejected.filter(pl.col("code") == each["code"]).head(MOST_LINES).to_dicts()),
            each["count"],
        )
        for each in reasons
    ]
