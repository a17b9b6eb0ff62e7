"""Score a catalogue by brand or category: the expected share of correct labels among those that were judged."""

import polars as pl

from hangtag.auditing.context import AuditContext
from hangtag.auditing.issues import LABEL_CODES

SCORES = {
    "column": pl.String,
    "value": pl.String,
    "items": pl.Int64,
    "judged": pl.Int64,
    "issues": pl.Int64,
    "score": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
}
# The normal quantile of a 95 % interval.
QUANTILE = 1.959964


def choose_columns(context: AuditContext) -> list[str]:
    """Return the columns to score by: the brand, the levels, and those that the settings name; each once."""
    own = context.schema.by_heading
    brand = context.schema.brand_column
    wanted = [own.get(column, column) for column in context.config.score_by]
    columns = [*wanted, *([brand] if brand else []), *context.levels]
    return [column for column in dict.fromkeys(columns) if column in context.items.columns]


def score_catalog(context: AuditContext, issues: pl.DataFrame) -> pl.DataFrame:
    """Score every value of every column to score by: the whole catalogue first, then each column with the worst first.

    Only items that a label check could judge count (`AuditContext.judged`); values without any are left out. A judged
    item counts 1 less its highest issue score, over the issues of `LABEL_CODES` that are not for information. The score
    is the mean over the judged items, 0 to 1. `low` and `high` are Wilson's 95 % interval of this share, with the sum
    of the highest scores as the number of wrong ones: it covers the chance of few items, not the error of the scores.
    Source of the interval: Wilson, *Probable Inference, the Law of Succession*, JASA 22, 1927.

    Args:
        context: The catalogue.
        issues: All issues.

    Returns:
        column (empty for the whole catalogue), value, items, judged, issues (judged items with such an issue), score,
        low, high.
    """
    suspects = issues.filter(pl.col("code").is_in(LABEL_CODES) & (pl.col("severity") != "info"))
    highest = suspects.group_by("item_id").agg(max_score=pl.col("score").max())
    table = context.items.join(highest, on="item_id", how="left", maintain_order="left").select(
        "max_score", is_judged=pl.Series(context.judged)
    )
    parts = [_score_values(table.with_columns(column=pl.lit(""), value=pl.lit("")))]
    for column in choose_columns(context):
        values = context.read(column).alias("value")
        parts.append(_score_values(table.with_columns(column=pl.lit(column), value=values).drop_nulls("value")))
    return pl.concat([pl.DataFrame(schema=SCORES), *parts])


def _score_values(table: pl.DataFrame) -> pl.DataFrame:
    judged = pl.col("max_score").filter(pl.col("is_judged"))
    counted = table.group_by("column", "value").agg(
        items=pl.len().cast(pl.Int64),
        judged=pl.col("is_judged").sum().cast(pl.Int64),
        issues=judged.count().cast(pl.Int64),
        score=1 - judged.fill_null(0).mean(),
    )
    share, square = pl.col("score"), QUANTILE**2 / pl.col("judged")
    middle = (share + square / 2) / (1 + square)
    half = (share * (1 - share) * square + square**2 / 4).sqrt() / (1 + square)
    scored = counted.filter(pl.col("judged") > 0).with_columns(
        low=(middle - half).clip(0, 1).round(4), high=(middle + half).clip(0, 1).round(4), score=share.round(4)
    )
    return scored.sort("score", "value").select(list(SCORES))
