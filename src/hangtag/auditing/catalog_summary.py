"""Summarize an audited catalogue for people: what looks wrong, where most of it is, and how sure that is."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from hangtag.auditing.expected_precision import MOST_WRONG
from hangtag.auditing.expected_right import describe_weakness
from hangtag.auditing.issues import (
    IMAGE,
    IMAGE_AND_NAME,
    INFO,
    LABEL_CONFLICT,
    LABEL_ERROR,
    NAME,
    SPELLING_VARIANT,
)
from hangtag.catalog.schema import CatalogSchema

# The values, examples and spellings that the summary names.
MOST_VALUES, EXAMPLES, SPELLINGS = 5, 5, 5
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


def find_wrong_categories(issues: pl.DataFrame, levels: Sequence[str]) -> pl.DataFrame:
    """Return the issues that say that a category is wrong, one for an item, the highest score first.

    Args:
        issues: Issues, the highest score first.
        levels: The label columns, as the issues name them.
    """
    is_wrong = (pl.col("code") == LABEL_ERROR) & (pl.col("severity") != INFO) & pl.col("column").is_in(list(levels))
    return issues.filter(is_wrong).unique("item_id", keep="first", maintain_order=True)


def _count_less_sure(issues: pl.DataFrame, wrong: pl.DataFrame, levels: Sequence[str]) -> int:
    """Return the number of other items with a label error of a level, which confident learning does not flag."""
    is_other = (pl.col("code") == LABEL_ERROR) & pl.col("column").is_in(list(levels))
    return issues.filter(is_other & ~pl.col("item_id").is_in(wrong["item_id"].to_list()))["item_id"].n_unique()


def summarize_issues(items: pl.DataFrame, issues: pl.DataFrame, schema: CatalogSchema) -> dict[str, Any]:
    """Summarize the issues of a catalogue.

    Args:
        items: All items, with the columns that `schema` names, null where a cell is missing.
        issues: The issues that nobody has decided, the highest score first.
        schema: The meaning of the columns, under the names of `items` and `issues`.

    Returns:
        JSON values: `wrong_categories` (the number of items), `less_sure` (that of other items with a label error of
        severity `info`), `by_brand` and `by_category` (`column`, and `values` with
        `value`, `wrong` and `products`, the most first), `duplicates` (`groups` and `products` of equal photographs
        with different categories), `spellings` (`column`, `given`, `suggested`, `products`; the commonest first), and
        `examples` (`item_id`, `name`, `given`, `suggested`, `reason`).
    """
    wrong = find_wrong_categories(issues, schema.levels)
    categories = items.select(
        "item_id", category=pl.coalesce([pl.col(level) for level in reversed(schema.levels)]).cast(pl.String)
    )
    conflicts = issues.filter(pl.col("code") == LABEL_CONFLICT)
    spellings = issues.filter(pl.col("code") == SPELLING_VARIANT)
    counted = Counter(spellings.select("column", "given_label", "suggested_label").iter_rows())
    brand = schema.brand_column
    return {
        "wrong_categories": len(wrong),
        "less_sure": _count_less_sure(issues, wrong, schema.levels),
        "by_brand": _count_wrong(items.select("item_id", value=brand), wrong, brand) if brand else None,
        "by_category": _count_wrong(categories.rename({"category": "value"}), wrong, schema.levels[-1]),
        "duplicates": {"groups": conflicts["group_id"].n_unique(), "products": conflicts["item_id"].n_unique()},
        "spellings": [
            {"column": column, "given": given, "suggested": suggested, "products": count}
            for (column, given, suggested), count in counted.most_common()
        ],
        "examples": _choose_examples(items, wrong, schema),
    }


def _count_wrong(values: pl.DataFrame, wrong: pl.DataFrame, column: str) -> dict[str, Any]:
    counted = (
        values.drop_nulls("value")
        .with_columns(pl.col("value").cast(pl.String), is_wrong=pl.col("item_id").is_in(wrong["item_id"].to_list()))
        .group_by("value")
        .agg(wrong=pl.col("is_wrong").sum().cast(pl.Int64), products=pl.len().cast(pl.Int64))
        .filter(pl.col("wrong") > 0)
        .sort("wrong", "products", "value", descending=[True, False, False])
    )
    return {"column": column, "values": counted.head(MOST_VALUES).to_dicts()}


def _choose_examples(items: pl.DataFrame, wrong: pl.DataFrame, schema: CatalogSchema) -> list[dict[str, str]]:
    """Return the first issues, those of different pairs of categories before further ones of the same pair."""
    names = dict(items.select("item_id", schema.name).iter_rows()) if schema.name else {}
    pairs: Counter[tuple[str, str]] = Counter()
    ranked = []
    for position, line in enumerate(wrong.iter_rows(named=True)):
        pair = (line["given_label"], line["suggested_label"])
        ranked.append((pairs[pair], position, line))
        pairs[pair] += 1
    return [
        {
            "item_id": line["item_id"],
            "name": names.get(line["item_id"]) or "",
            "given": line["given_label"],
            "suggested": line["suggested_label"],
            "reason": REASONS[line["evidence"]].format(suggested=line["suggested_label"], given=line["given_label"]),
        }
        for _, _, line in sorted(ranked, key=lambda entry: entry[:2])[:EXAMPLES]
    ]


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
