"""Refuse splits that share items, pixels or duplicates."""

import polars as pl

from hangtag.errors import LeakError

# From the column to the leak's code and what it is.
KEYS = {
    "item_id": ("leak-item", "the same item"),
    "pixel_hash": ("leak-pixels", "photographs with the same pixels"),
    "group_id": ("leak-group", "duplicates of one photograph"),
}
SHOWN = 5


def check_splits(table: pl.DataFrame) -> None:
    """Make sure that what a model is judged on was not learnt.

    All splits are looked at, those that are not judged too.

    Args:
        table: `item_id`, `pixel_hash`, `group_id` and `split`; rows without a split do not count.

    Raises:
        LeakError: An item, its pixels or its group of duplicates is on two sides.
    """
    used = table.filter(pl.col("split").is_not_null())
    for key, (code, what) in KEYS.items():
        sides = used.group_by(key).agg(pl.col("split").n_unique().alias("sides"))
        leaking = sides.filter(pl.col("sides") > 1)[key].sort()
        if len(leaking):
            raise LeakError(
                f"The splits leak ({code}): {what} on two sides of them, in {len(leaking):,} "
                f"{'case' if len(leaking) == 1 else 'cases'}, so no figure of this evaluation could be trusted.",
                received={key: leaking.head(SHOWN).to_list()},
                hint="Run `hangtag clean` again, which keeps duplicates on one side, then `hangtag train`.",
            )
