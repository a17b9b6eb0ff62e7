"""Summarize an audited catalogue for people: what looks wrong, where most of it is, and how sure that is.

The command `check`, the report and every page take their numbers from here, so that these add up: each product counts
under the first of `KINDS` that it has an issue of.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from hangtag.auditing.expected_precision import MOST_WRONG
from hangtag.auditing.expected_right import describe_weakness
from hangtag.auditing.issues import (
    BAD_PICTURE,
    EXACT_DUPLICATE,
    IMAGE,
    IMAGE_AND_NAME,
    INFO,
    LABEL_CONFLICT,
    LABEL_ERROR,
    NAME,
    NEAR_DUPLICATE,
    SAME_PRODUCT,
    SPELLING_VARIANT,
    UNLIKELY_COMBINATION,
)
from hangtag.catalog.schema import CatalogSchema

# The values and examples that the summary names.
MOST_VALUES, EXAMPLES = 5, 5
# With fewer labels the share of wrong ones is not estimated.
MIN_LABELS = 50
# A lower limit below this says nothing by itself.
LEAST_SHOWN = 0.005
NOTHING_WRONG = "no category looks wrong"
# Why a category looks wrong, by the evidence.
REASONS = {
    IMAGE_AND_NAME: "Its photograph and its name both fit {suggested}, and not {given}.",
    IMAGE: "Its photograph looks like {suggested}, and not like {given}.",
    # Words say less than a photograph: a name of few known words is close to both.
    NAME: "Its name reads more like those of {suggested} than like those of {given}.",
}
# The same where the evidence is weaker.
DOUBTS = {
    IMAGE_AND_NAME: "Its photograph and its name may fit {suggested} better than {given}.",
    IMAGE: "Its photograph may show {suggested} rather than {given}.",
    NAME: "Its name may be one of {suggested} rather than of {given}.",
}
# The kinds of issues for people, the most serious first.
WRONG, LESS_SURE, VALUE, CONFLICT, COMBINATION, SPELLING, PICTURE, REPEATED = KINDS = (
    "wrong_category",
    "less_sure",
    "other_value",
    "conflict",
    "combination",
    "spelling",
    "picture",
    "repeated",
)
# The codes of duplicates that do not contradict each other.
REPEATED_CODES = (SAME_PRODUCT, EXACT_DUPLICATE, NEAR_DUPLICATE)
# A product without a brand.
NO_VALUE = ""


def sort_into_kinds(issues: pl.DataFrame, levels: Sequence[str]) -> pl.DataFrame:
    """Return the issues with the column `kind`, of `KINDS`.

    Args:
        issues: Issues, as `audit/issues.csv` has them.
        levels: The label columns, as the issues name them.
    """
    code, of_level = pl.col("code"), pl.col("column").is_in(list(levels))
    is_wrong = (code == LABEL_ERROR) & of_level
    kind = (
        pl.when(is_wrong & (pl.col("severity") != INFO))
        .then(pl.lit(WRONG))
        .when(is_wrong)
        .then(pl.lit(LESS_SURE))
        # One photograph with different values of an attribute is no question of the category.
        .when((code == LABEL_CONFLICT) & of_level)
        .then(pl.lit(CONFLICT))
        .when(code.is_in([LABEL_ERROR, LABEL_CONFLICT]))
        .then(pl.lit(VALUE))
        .when(code == UNLIKELY_COMBINATION)
        .then(pl.lit(COMBINATION))
        .when(code == SPELLING_VARIANT)
        .then(pl.lit(SPELLING))
        .when(code == BAD_PICTURE)
        .then(pl.lit(PICTURE))
        .otherwise(pl.lit(REPEATED))
    )
    return issues.with_columns(kind=kind)


def find_wrong_categories(issues: pl.DataFrame, levels: Sequence[str]) -> pl.DataFrame:
    """Return the issues that say that a category is wrong, one for an item, the highest score first.

    Args:
        issues: Issues, the highest score first.
        levels: The label columns, as the issues name them.
    """
    return choose_kind(sort_into_kinds(issues, levels), WRONG)


def choose_kind(issues: pl.DataFrame, kind: str) -> pl.DataFrame:
    """Return the issues of a kind, one for an item, the highest score first; without items of a surer label error.

    Args:
        issues: What `sort_into_kinds` returned.
        kind: Of `KINDS`.
    """
    found = issues.filter(pl.col("kind") == kind).unique("item_id", keep="first", maintain_order=True)
    if kind != LESS_SURE:
        return found
    wrong = issues.filter(pl.col("kind") == WRONG)["item_id"].unique()
    return found.filter(~pl.col("item_id").is_in(wrong.to_list()))


def summarize_issues(items: pl.DataFrame, issues: pl.DataFrame, schema: CatalogSchema) -> dict[str, Any]:
    """Summarize the issues of a catalogue.

    Args:
        items: All items, with the columns that `schema` names, null where a cell is missing.
        issues: The issues that nobody has decided, the highest score first.
        schema: The meaning of the columns, under the names of `items` and `issues`.

    Returns:
        JSON values: `wrong_categories` (the number of items), `less_sure` (that of other items with a label error of
        severity `info`), `to_look_at` (`products`, the number of items with an issue; `questions`, that of issues; and
        `kinds`, a row for each of `KINDS` with `kind`, `products`, where each item counts once, and `all` with an issue
        of this kind), `by_brand` and
        `by_category` (`column`, `values` with `value`, `wrong` and `products`, the most first, and `others`, the number
        of further values and of wrong items there), `duplicates` (`groups` and `products` of equal photographs
        with different categories), `spellings` (`column`, `given`, `suggested`, `products`; the commonest first), and
        `examples` (`item_id`, `name`, `given`, `suggested`, `reason`).
    """
    sorted_issues = sort_into_kinds(issues, schema.levels)
    wrong = choose_kind(sorted_issues, WRONG)
    conflicts = sorted_issues.filter(pl.col("kind") == CONFLICT)
    spellings = issues.filter(pl.col("code") == SPELLING_VARIANT)
    counted = Counter(spellings.select("column", "given_label", "suggested_label").iter_rows())
    brand = schema.brand_column
    return {
        "wrong_categories": len(wrong),
        "less_sure": len(choose_kind(sorted_issues, LESS_SURE)),
        "to_look_at": _count_kinds(sorted_issues),
        "by_brand": _cut(count_wrong(items.select("item_id", value=brand), wrong), brand) if brand else None,
        "by_category": _cut(count_wrong(name_categories(items, schema), wrong), schema.levels[-1]),
        "duplicates": {"groups": conflicts["group_id"].n_unique(), "products": conflicts["item_id"].n_unique()},
        "spellings": [
            {"column": column, "given": given, "suggested": suggested, "products": count}
            for (column, given, suggested), count in counted.most_common()
        ],
        "examples": _choose_examples(items, wrong, schema),
    }


def _count_kinds(sorted_issues: pl.DataFrame) -> dict[str, Any]:
    ranks = sorted_issues.with_columns(rank=pl.col("kind").replace_strict({kind: i for i, kind in enumerate(KINDS)}))
    first = Counter(ranks.group_by("item_id").agg(pl.col("rank").min())["rank"].to_list())
    return {
        "products": sum(first.values()),
        "questions": len(sorted_issues),
        "kinds": [
            {"kind": kind, "products": first[rank], "all": len(choose_kind(sorted_issues, kind))}
            for rank, kind in enumerate(KINDS)
        ],
    }


def name_categories(items: pl.DataFrame, schema: CatalogSchema) -> pl.DataFrame:
    """Return `item_id` and `value`, the most specific category of each item, null where it has none."""
    return items.select(
        "item_id", value=pl.coalesce([pl.col(level) for level in reversed(schema.levels)]).cast(pl.String)
    )


def count_wrong(values: pl.DataFrame, wrong: pl.DataFrame) -> pl.DataFrame:
    """Count the items that look as if they were in a wrong category, by brand or category.

    Args:
        values: `item_id` and `value` of all items.
        wrong: The issues of these items, one for each.

    Returns:
        `value` (`NO_VALUE` for items without one), `wrong` and `products`, the most first; only values with any.
    """
    return (
        values.with_columns(
            pl.col("value").cast(pl.String).fill_null(NO_VALUE),
            is_wrong=pl.col("item_id").is_in(wrong["item_id"].to_list()),
        )
        .group_by("value")
        .agg(wrong=pl.col("is_wrong").sum().cast(pl.Int64), products=pl.len().cast(pl.Int64))
        .filter(pl.col("wrong") > 0)
        .sort("wrong", "products", "value", descending=[True, False, False])
    )


def _cut(counted: pl.DataFrame, column: str) -> dict[str, Any]:
    """Return the first named values, and how many there are beside them."""
    named = counted.filter(pl.col("value") != NO_VALUE).head(MOST_VALUES)
    others = {"values": len(counted) - len(named), "wrong": int(counted["wrong"].sum()) - int(named["wrong"].sum())}
    return {"column": column, "values": named.to_dicts(), "others": others}


def _choose_examples(items: pl.DataFrame, wrong: pl.DataFrame, schema: CatalogSchema) -> list[dict[str, str]]:
    """Return the first issues, those of different pairs of categories before further ones of the same pair.

    Of different pairs those come first that photograph and name speak for: what readers see first should be right.
    """
    names = dict(items.select("item_id", schema.name).iter_rows()) if schema.name else {}
    pairs: Counter[tuple[str, str]] = Counter()
    ranked = []
    for position, line in enumerate(wrong.iter_rows(named=True)):
        pair = (line["given_label"], line["suggested_label"])
        ranked.append((pairs[pair], line["evidence"] != IMAGE_AND_NAME, position, line))
        pairs[pair] += 1
    return [
        {
            "item_id": line["item_id"],
            "name": names.get(line["item_id"]) or "",
            "given": line["given_label"],
            "suggested": line["suggested_label"],
            "reason": explain(line),
        }
        for *_, line in sorted(ranked, key=lambda entry: entry[:3])[:EXAMPLES]
    ]


def explain(line: Mapping[str, Any]) -> str:
    """Return the reason of an issue in one plain sentence.

    Args:
        line: A row of `audit/issues.csv`.
    """
    given, suggested = line["given_label"], line["suggested_label"]
    if line["code"] == LABEL_ERROR and suggested:
        sentences = DOUBTS if line["severity"] == INFO else REASONS
        return sentences[line["evidence"]].format(suggested=suggested, given=given or "its present value")
    return str(line["reason"])


def summarize_share(audit_summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return the estimated share of wrong categories, or why there is no honest estimate.

    Args:
        audit_summary: The content of `audit/summary.json`.

    Returns:
        `expected`, `low` and `high` (95 %), 0 to 1, and `labels`, the number that it was estimated from; `high` and
        `expected` are None where the data sets no upper limit. Else `unknown`, the reason.
    """
    share = audit_summary.get("expected_right", {}).get("wrong_share")
    if share is None:
        # An audit without label errors estimates none.
        judged = audit_summary["judged"]
        return {"unknown": NOTHING_WRONG if judged else "no category could be compared with a photograph or a name"}
    labels, is_limited = share["labels"], share["high"] < MOST_WRONG
    reasons = {
        f"only {labels} products could be compared, and {MIN_LABELS} are needed": labels < MIN_LABELS,
        "the comparison contradicts too many categories that are probably right": bool(
            describe_weakness(audit_summary)
        ),
        "the comparison is too uncertain for this catalogue": not is_limited and share["low"] < LEAST_SHOWN,
    }
    if unknown := next((reason for reason, holds in reasons.items() if holds), ""):
        return {"unknown": unknown}
    return dict(share) if is_limited else {"labels": labels, "expected": None, "low": share["low"], "high": None}
