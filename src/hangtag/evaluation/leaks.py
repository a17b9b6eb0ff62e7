"""Refuse splits that share items, pixels or duplicates."""

import polars as pl

from hangtag.errors import LeakError

KEYS = {
    "item_id": "the same item",
    "pixel_hash": "photographs with the same pixels",
    "group_id": "duplicates of one photograph",
}


def check_splits(table: pl.DataFrame) -> None:
    """Make sure that what a model is judged on was not learnt.

    Args:
        table: `item_id`, `pixel_hash`, `group_id` and `split`; rows without a split do not count.

    Raises:
        LeakError: An item, its pixels or its group of duplicates is on two sides.
    """
    used = table.filter(pl.col("split").is_not_null())
    for key, what in KEYS.items():
        sides = used.group_by(key).agg(pl.col("split").n_unique().alias("sides"))
        leaking = sides.filter(pl.col("sides") > 1)[key].sort()
        if len(leaking):
            raise LeakError(
                f"The splits leak: {what} on two sides of them, in {len(leaking):,} cases, "
                "so no figure of this evaluation could be trusted.",
                hint="Run `hangtag clean` again, which keeps duplicates on one side, then `hangtag train`.",
                received={key: leaking.head(5).to_list()},
            )
