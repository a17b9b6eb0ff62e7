"""Score a catalogue by brand or category: the expected share of correct labels."""

import polars as pl

from hangtag.auditing.context import AuditContext
from hangtag.auditing.issues import LABEL_CODES

# Names of brand columns; the first that a catalogue has is scored.
BRANDS = ("brand", "vendor", "manufacturer", "supplier", "seller")
SCORES = {"column": pl.String, "value": pl.String, "items": pl.Int64, "issues": pl.Int64, "score": pl.Float64}


def choose_columns(context: AuditContext) -> list[str]:
    """Return the columns to score by: the brand, the levels, and those that the settings name; each once."""
    own = context.schema.by_heading
    lower = {column.casefold(): column for column in context.schema.columns}
    brand = next((lower[name] for name in BRANDS if name in lower), None)
    wanted = [own.get(column, column) for column in context.config.score_by]
    columns = [*wanted, *([brand] if brand else []), *context.levels]
    return [column for column in dict.fromkeys(columns) if column in context.items.columns]


def score_catalog(context: AuditContext, issues: pl.DataFrame) -> pl.DataFrame:
    """Score every value of every column to score by: the whole catalogue first, then each column with the worst first.

    An item counts 1 less its highest issue score, over the issues of `LABEL_CODES` that are not for information. The
    score is the mean over the items, 0 to 1: the expected share of items without an error that the checks can find.

    Args:
        context: The catalogue.
        issues: All issues.

    Returns:
        column (empty for the whole catalogue), value, items, issues (items with such an issue), score.
    """
    suspects = issues.filter(pl.col("code").is_in(LABEL_CODES) & (pl.col("severity") != "info"))
    highest = suspects.group_by("item_id").agg(max_score=pl.col("score").max())
    table = context.items.join(highest, on="item_id", how="left", maintain_order="left")
    parts = [_score_values(table.select(column=pl.lit(""), value=pl.lit(""), max_score="max_score"))]
    for column in choose_columns(context):
        values = context.read(column).alias("value")
        parts.append(
            _score_values(
                table.select("max_score").with_columns(column=pl.lit(column), value=values).drop_nulls("value")
            )
        )
    return pl.concat([pl.DataFrame(schema=SCORES), *parts])


def _score_values(table: pl.DataFrame) -> pl.DataFrame:
    scored = table.group_by("column", "value").agg(
        items=pl.len().cast(pl.Int64),
        issues=pl.col("max_score").count().cast(pl.Int64),
        score=(1 - pl.col("max_score").fill_null(0)).mean().round(4),
    )
    return scored.sort("score", "value").select(list(SCORES))
