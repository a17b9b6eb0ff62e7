"""Score a catalogue by brand or category: the share of its labels that can be relied on."""

import polars as pl

from hangtag.auditing.context import AuditContext
from hangtag.auditing.issues import LABEL_CODES

# Columns that say whose product it is; the first that a catalogue has is scored.
BRANDS = ("brand", "vendor", "manufacturer", "supplier", "seller")
SCORES = {"column": pl.String, "value": pl.String, "items": pl.Int64, "issues": pl.Int64, "score": pl.Float64}


def choose_columns(context: AuditContext) -> list[str]:
    """Return the columns to score by: the brand, the levels, and those that the settings name; each once."""
    own = dict(zip(context.schema.headings, context.schema.columns, strict=False))
    lower = {column.casefold(): column for column in context.schema.columns}
    brand = next((lower[name] for name in BRANDS if name in lower), None)
    wanted = [own.get(column, column) for column in context.config.score_by]
    columns = [*wanted, *([brand] if brand else []), *context.levels]
    return [column for column in dict.fromkeys(columns) if column in context.items.columns]


def score_catalog(context: AuditContext, issues: pl.DataFrame) -> pl.DataFrame:
    """Return a line for every value of every column to score by, the whole catalogue first, then the worst first.

    An item counts 1 less the score of its surest issue that says that a label is wrong; the score is the mean over
    the items, 0 to 1. It is the expected share of items without a wrong label, as far as the checks could look.

    Args:
        context: The catalogue.
        issues: All issues.

    Returns:
        column (empty for the whole catalogue), value, items, issues (items with such an issue), score.
    """
    doubted = issues.filter(pl.col("code").is_in(LABEL_CODES) & (pl.col("severity") != "info"))
    worst = doubted.group_by("item_id").agg(doubt=pl.col("score").max())
    table = context.items.join(worst, on="item_id", how="left", maintain_order="left")
    parts = [_score_values(table.select(column=pl.lit(""), value=pl.lit(""), doubt="doubt"))]
    for column in choose_columns(context):
        values = context.read(column).alias("value")
        parts.append(
            _score_values(table.select("doubt").with_columns(column=pl.lit(column), value=values).drop_nulls("value"))
        )
    return pl.concat([pl.DataFrame(schema=SCORES), *parts])


def _score_values(table: pl.DataFrame) -> pl.DataFrame:
    scored = table.group_by("column", "value").agg(
        items=pl.len().cast(pl.Int64),
        issues=pl.col("doubt").count().cast(pl.Int64),
        score=(1 - pl.col("doubt").fill_null(0)).mean().round(4),
    )
    return scored.sort("score", "value").select(list(SCORES))
