"""Take splits and groups of duplicates over from another workspace, so that two sizes are judged on the same items."""

from pathlib import Path

import polars as pl

from hangtag.errors import SettingsError
from hangtag.labels.labelled import read_labelled
from hangtag.labels.split import keep_given_splits
from hangtag.workspace import Workspace

KEPT = ("item_id", "split", "group_id")


def read_splits(folder: str) -> tuple[pl.DataFrame, str] | None:
    """Give another workspace's `item_id`, `split` and `group_id` and their digest; None where none is named.

    Raises:
        WorkspaceError: Nothing is cleaned there.
    """
    if not folder:
        return None
    labelled = read_labelled(Workspace.at(Path(folder).expanduser()))
    return labelled.table.select(KEPT), labelled.digest


def take_over(items: pl.DataFrame, splits: pl.DataFrame) -> pl.DataFrame:
    """Give items the splits and groups that they have elsewhere, as `given_split` and `group_id`.

    An item that is not there is in no split, and keeps its own group. Groups of duplicates depend on the size that
    photographs are fitted to; those taken over hold, but photographs that are equal here to the pixel are kept on
    one side all the same.

    Args:
        items: `item_id`, `given_split`, `group_id` and `pixel_hash`.
        splits: What `read_splits` gave.

    Raises:
        SettingsError: No item is in a split there.
    """
    named = splits.rename({"split": "given_split"})
    joined = items.drop("given_split").join(named, on="item_id", how="left", maintain_order="left", suffix="_there")
    sides = keep_given_splits(joined["given_split"].to_list(), joined["pixel_hash"].to_list())
    if not any(sides):
        raise SettingsError(
            "No item of the catalogue is in a split of the other workspace.",
            hint="Name a workspace of the same catalogue.",
        )
    return joined.with_columns(
        given_split=pl.Series(sides, dtype=pl.String), group_id=pl.coalesce("group_id_there", "group_id")
    ).select(items.columns)
