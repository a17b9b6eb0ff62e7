"""Test shares of the training items: nested, alike in every label, and with duplicates together."""

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from hangtag.labels.splits import take_share

catalogs = st.lists(st.tuples(st.sampled_from("ABC"), st.integers(0, 60), st.booleans()), min_size=1, max_size=200)


@given(catalogs, st.floats(0.01, 1), st.floats(0.01, 1), st.integers(0, 3))
def test_a_smaller_share_is_part_of_a_larger_one_and_groups_stay_together(
    drawn: list[tuple[str, int, bool]], one: float, other: float, seed: int
) -> None:
    table = pl.DataFrame({"label": [each[0] for each in drawn], "group_id": [str(each[1]) for each in drawn]})
    is_chosen = np.array([each[2] for each in drawn])
    small, large = (take_share(table, is_chosen, fraction, seed) for fraction in sorted((one, other)))
    assert not (small & ~large).any()
    assert not (large & ~is_chosen).any()
    whole_groups = table.with_columns(pl.Series("taken", large)).filter(pl.Series(is_chosen))
    assert set(whole_groups.group_by("group_id").agg(pl.col("taken").n_unique())["taken"]) <= {1}
    backwards = take_share(table.reverse(), is_chosen[::-1], one, seed)
    np.testing.assert_array_equal(backwards[::-1], take_share(table, is_chosen, one, seed))


def test_a_share_has_the_same_fraction_of_every_label() -> None:
    labels = ["A"] * 1000 + ["B"] * 100 + ["C"] * 10
    groups = [str(number // 2) for number in range(len(labels))]
    table = pl.DataFrame({"label": labels, "group_id": groups})
    taken = take_share(table, np.ones(len(labels), bool), 0.1, 0)
    counts = dict(table.filter(pl.Series(taken)).group_by("label").len().iter_rows())
    assert abs(counts["A"] - 100) <= 2
    assert abs(counts["B"] - 10) <= 2
    assert counts.get("C", 0) <= 2


def test_many_rare_labels_together_have_the_fraction_too() -> None:
    # Three items a label: with the counts rounded, a tenth would have none of them, or one of each.
    table = pl.DataFrame({"label": [str(number // 3) for number in range(3000)], "group_id": [*map(str, range(3000))]})
    shares = [take_share(table, np.ones(3000, bool), 0.1, seed) for seed in (0, 1)]
    assert all(abs(taken.sum() - 300) < 60 for taken in shares)
    assert (shares[0] != shares[1]).any()


def test_the_whole_share_takes_everything() -> None:
    table = pl.DataFrame({"label": ["A", "B"], "group_id": ["1", "2"]})
    assert take_share(table, np.array([True, False]), 1, 0).tolist() == [True, False]
