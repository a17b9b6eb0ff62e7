"""Splits that are taken over from another workspace: the same items on the same sides at every size."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from drawn import COLORS, draw
from serving_fixtures import write_prepared

from hangtag.config import CleanConfig
from hangtag.errors import SettingsError, WorkspaceError
from hangtag.labels.splits import reuse_splits
from hangtag.metrics.leakage import check_splits
from hangtag.stages.clean import clean
from hangtag.workspace import Workspace

COUNT = 90
PLAIN = CleanConfig(taxonomy="finest")


def prepare(folder: Path, scale: int, count: int = COUNT, first: int = 0) -> Workspace:
    """Write a prepared workspace of drawn products, `scale` times as large."""
    place = Workspace.at(folder)
    kinds = [list(COLORS)[number % 3] for number in range(first, first + count)]
    ids = [str(number) for number in range(first, first + count)]
    items = pl.DataFrame(
        {
            "item_id": ids,
            "given_split": pl.Series([None] * count, dtype=pl.String),
            "id": ids,
            "kind": ["Footwear" if kind == "Shoe" else "Wear" for kind in kinds],
            "type": kinds,
            "season": ["Summer"] * count,
        }
    )
    images = np.stack([draw(kind, first + number) for number, kind in enumerate(kinds)])
    write_prepared(place, items, images.repeat(scale, axis=1).repeat(scale, axis=2))
    return place


def read(place: Workspace) -> pl.DataFrame:
    return pl.read_parquet(place.labels / "labels.parquet").select("item_id", "split", "group_id").sort("item_id")


def test_every_item_is_on_the_side_that_it_is_on_elsewhere(tmp_path: Path) -> None:
    small, large = prepare(tmp_path / "small", 1), prepare(tmp_path / "large", 3)
    clean(small, CleanConfig(taxonomy="finest", split_seed=7))
    clean(large, PLAIN)
    assert not read(large).equals(read(small))
    clean(large, CleanConfig(taxonomy="finest", splits_from=str(tmp_path / "small")))
    assert read(large).equals(read(small))
    check_splits(pl.read_parquet(large.labels / "labels.parquet"))


def test_splits_that_changed_elsewhere_are_taken_over_anew(tmp_path: Path) -> None:
    small, large = prepare(tmp_path / "small", 1), prepare(tmp_path / "large", 2)
    config = CleanConfig(taxonomy="finest", splits_from=str(tmp_path / "small"))
    clean(small, PLAIN)
    assert not clean(large, config).skipped
    assert clean(large, config).skipped
    clean(small, CleanConfig(taxonomy="finest", split_seed=7))
    assert not clean(large, config).skipped
    assert read(large).equals(read(small))


def test_an_item_that_is_not_there_is_in_no_split(tmp_path: Path) -> None:
    small, large = prepare(tmp_path / "small", 1, 60), prepare(tmp_path / "large", 2, 90)
    clean(small, PLAIN)
    result = clean(large, CleanConfig(taxonomy="finest", splits_from=str(tmp_path / "small")))
    table = read(large)
    without = table.filter(pl.col("split").is_null())["item_id"].to_list()
    assert sorted(map(int, without)) == list(range(60, 90))
    assert result.metrics["items"] == 90
    assert result.metrics["taken_out_of_splits"] == 0


def test_photographs_that_are_equal_here_alone_stay_on_one_side() -> None:
    items = pl.DataFrame(
        {
            "item_id": ["a", "b", "c"],
            "given_split": pl.Series([None] * 3, dtype=pl.String),
            "group_id": ["a", "a", "c"],
            "pixel_hash": ["1", "1", "2"],
        }
    )
    splits = pl.DataFrame({"item_id": ["c", "b", "a"], "split": ["val", "test", "train"], "group_id": ["c", "b", "a"]})
    taken = reuse_splits(items, splits)
    assert taken["given_split"].to_list() == [None, "test", "val"]
    assert taken["group_id"].to_list() == ["a", "b", "c"]
    assert taken.columns == items.columns


def test_another_catalogue_or_no_workspace_is_refused(tmp_path: Path) -> None:
    small, large = prepare(tmp_path / "small", 1), prepare(tmp_path / "large", 2, first=1000)
    with pytest.raises(WorkspaceError, match="hangtag"):
        clean(large, CleanConfig(taxonomy="finest", splits_from=str(tmp_path / "nowhere")))
    clean(small, PLAIN)
    with pytest.raises(SettingsError, match="No item of the catalogue is in a split of the other workspace"):
        clean(large, CleanConfig(taxonomy="finest", splits_from=str(tmp_path / "small")))


def test_a_rule_and_another_workspace_exclude_each_other() -> None:
    with pytest.raises(SettingsError, match="test_where and splits_from cannot be used together"):
        CleanConfig(test_where="year=odd", splits_from="elsewhere")
