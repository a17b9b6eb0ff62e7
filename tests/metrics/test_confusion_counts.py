"""Test the table of the confusion matrix and the list of most confused classes."""

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from hangtag.metrics.confusion import build_matrix, compute_row_shares, find_most_confused, tabulate_confusion
from hangtag.train_config import SPLITS

NAMES = ("a", "b", "c")
rows = st.lists(st.tuples(st.sampled_from(SPLITS), st.sampled_from(NAMES), st.sampled_from(NAMES)), max_size=60)


def tabulate(predictions: list[tuple[str, str, str]]) -> pl.DataFrame:
    schema = dict.fromkeys(("split", "label", "predicted_label"), pl.String)
    return tabulate_confusion(pl.DataFrame(predictions, schema=schema, orient="row"))


@settings(deadline=None)
@given(rows)
def test_counts_add_up_to_the_items_of_each_split(predictions: list[tuple[str, str, str]]) -> None:
    table = tabulate(predictions)
    assert table.columns == ["label", "predicted_label", "count", "split"]
    for split in SPLITS:
        expected = [(label, predicted) for each, label, predicted in predictions if each == split]
        part = table.filter(pl.col("split") == split)
        assert part["count"].sum() == len(expected)
        matrix = build_matrix(part, NAMES)
        for row, label in enumerate(NAMES):
            for column, predicted in enumerate(NAMES):
                assert matrix[row, column] == expected.count((label, predicted))


@settings(deadline=None)
@given(rows)
def test_each_pair_is_listed_once_in_any_order_of_rows(predictions: list[tuple[str, str, str]]) -> None:
    table = tabulate(predictions)
    assert table.equals(tabulate(predictions[::-1]))
    assert not table.select("split", "label", "predicted_label").is_duplicated().any()
    assert table.filter(pl.col("count") < 1).is_empty()


def test_the_most_confused_pairs_are_sorted_within_each_split() -> None:
    predictions = (
        [("test", "a", "b")] * 9
        + [("val", "c", "b")] * 2
        + [("val", "a", "a")] * 7
        + [("val", "a", "c")] * 2
        + [("val", "b", "a")] * 3
        + [("val", "a", "b")] * 2
        + [("train", "b", "b")]
    )
    assert find_most_confused(tabulate(predictions)).rows() == [
        ("val", "b", "a", 3, 1.0),
        # Ties by label, then by predicted label.
        ("val", "a", "b", 2, 0.1818),
        ("val", "a", "c", 2, 0.1818),
        ("val", "c", "b", 2, 1.0),
        ("test", "a", "b", 9, 1.0),
    ]
    assert find_most_confused(tabulate([])).columns == ["split", "label", "predicted_label", "count", "share"]


def test_shares_of_a_row_without_items_are_zero() -> None:
    # Each row by its own sum, also one of a single item.
    matrix = build_matrix(tabulate([("val", "a", "a"), ("val", "a", "c"), ("val", "c", "b")]), NAMES)
    assert matrix.dtype == np.int64
    assert compute_row_shares(matrix).tolist() == [[0.5, 0, 0.5], [0, 0, 0], [0, 1, 0]]
