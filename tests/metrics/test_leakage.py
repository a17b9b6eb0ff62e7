"""Test that splits that share an item, pixels or a group of duplicates are refused."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hangtag.errors import LeakError
from hangtag.metrics.leakage import check_splits
from hangtag.train_config import SPLITS

CODES = {"item_id": "leak-item", "pixel_hash": "leak-pixels", "group_id": "leak-group"}


def make_table(n: int = 30) -> pl.DataFrame:
    """Make clean splits: of three items in a row, each is in another split and alone."""
    return pl.DataFrame(
        {
            "item_id": [f"i{number}" for number in range(n)],
            "pixel_hash": [f"p{number}" for number in range(n)],
            "group_id": [f"g{number}" for number in range(n)],
            "split": [SPLITS[number % 3] for number in range(n)],
        }
    )


def share(table: pl.DataFrame, key: str, pairs: list[tuple[int, int]]) -> pl.DataFrame:
    """Return the second item of each pair the first one's value of `key`."""
    values = table[key].to_list()
    for first, second in pairs:
        values[second] = values[first]
    return table.with_columns(pl.Series(key, values))


def test_splits_without_leaks_pass() -> None:
    check_splits(make_table())


@pytest.mark.parametrize("key", CODES)
def test_duplicates_within_a_split_pass(key: str) -> None:
    check_splits(share(make_table(), key, [(0, 3), (0, 6), (1, 4)]))


@pytest.mark.parametrize("key", CODES)
@pytest.mark.parametrize("pair", [(0, 1), (1, 2), (0, 2)], ids=["train-val", "val-test", "train-test"])
def test_duplicates_in_two_splits_are_refused(key: str, pair: tuple[int, int]) -> None:
    with pytest.raises(LeakError) as caught:
        check_splits(share(make_table(), key, [pair]))
    message = str(caught.value)
    assert f"({CODES[key]})" in message
    assert "in 1 case," in message
    assert f"Received: {{'{key}': ['{key[0]}{pair[0]}']}}" in message
    assert message.endswith("then `hangtag train`.")


def test_all_leaks_are_counted_and_five_are_shown() -> None:
    pairs = [(first, first + 1) for first in range(0, 24, 3)]
    with pytest.raises(LeakError, match="in 8 cases") as caught:
        check_splits(share(make_table(), "group_id", pairs))
    assert str(caught.value).count("'g") == 1 + 5


@pytest.mark.parametrize("key", CODES)
def test_items_without_a_split_cannot_leak(key: str) -> None:
    table = share(make_table(), key, [(0, 1)])
    check_splits(table.with_columns(split=pl.when(pl.col("item_id") == "i0").then(None).otherwise("split")))


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 8), st.sampled_from([*SPLITS, None])), max_size=20))
def test_splits_are_refused_if_and_only_if_a_group_is_in_two_splits(rows: list[tuple[int, str | None]]) -> None:
    table = pl.DataFrame(
        {
            "item_id": [f"i{number}" for number in range(len(rows))],
            "pixel_hash": [f"p{number}" for number in range(len(rows))],
            "group_id": [f"g{group}" for group, _ in rows],
            "split": [split for _, split in rows],
        },
        schema=dict.fromkeys(("item_id", "pixel_hash", "group_id", "split"), pl.String),
    )
    sides = {(group, split) for group, split in rows if split}
    if len(sides) == len({group for group, _ in sides}):
        check_splits(table)
    else:
        with pytest.raises(LeakError, match="leak-group"):
            check_splits(table)
