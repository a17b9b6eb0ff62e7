"""Draw the items that stand for their class, by a seed and whatever the order of the rows."""

import hashlib

import polars as pl


def draw_items(table: pl.DataFrame, items: int, seed: int) -> pl.DataFrame:
    """Draw up to `items` items of each label at random.

    An item's place in the draw comes from the seed and its id alone: neither the order of the rows nor the
    other items change it.

    Args:
        table: Columns label and item_id, and any others.
        items: How many of each label; a label that has fewer gives them all.
        seed: Another seed gives another draw.

    Returns:
        The rows drawn with `position` (from 1 in each label), ordered by label and position.
    """
    keys = [hashlib.sha256(f"{seed}:{item_id}".encode()).hexdigest() for item_id in table["item_id"]]
    ordered = table.with_columns(pl.Series("key", keys, dtype=pl.String)).sort("label", "key", "item_id")
    position = pl.int_range(1, pl.len() + 1).over("label").alias("position")
    return ordered.with_columns(position).filter(pl.col("position") <= items).drop("key")
