import polars as pl

from hangtag.figures.counts import count_paths, count_sizes, count_splits, count_values, fill_missing

ITEMS = pl.DataFrame(
    {
        "kind": ["Shoes", "NA", "Shoes", "", "Bags", None, "Ties"],
        "usage": ["Casual", "Casual", "NA", "Sports", "Casual", "Sports", "Sports"],
    }
)


def test_all_spellings_of_a_missing_value_are_counted_together() -> None:
    filled = fill_missing(ITEMS, ["kind"], ("", "NA"))
    expected = ["Shoes", "(missing)", "Shoes", "(missing)", "Bags", "(missing)", "Ties"]
    assert filled["kind"].to_list() == expected
    assert filled["usage"].to_list() == ITEMS["usage"].to_list()


def test_values_are_sorted_by_count_then_by_name() -> None:
    counts = count_values(fill_missing(ITEMS, ["kind"], ("", "NA")), "kind")
    assert counts.columns == ["value", "count", "share"]
    assert counts.rows() == [("(missing)", 3, 3 / 7), ("Shoes", 2, 2 / 7), ("Bags", 1, 1 / 7), ("Ties", 1, 1 / 7)]


def test_counts_do_not_depend_on_the_order_of_rows() -> None:
    filled = fill_missing(ITEMS, ["kind", "usage"], ("", "NA"))
    assert count_values(filled, "kind").equals(count_values(filled.reverse(), "kind"))
    assert count_paths(filled, ["kind", "usage"]).equals(count_paths(filled.reverse(), ["kind", "usage"]))


def test_items_without_a_split_are_not_counted_by_label_and_split() -> None:
    table = pl.DataFrame(
        {
            "label": ["Bags", "Bags", "Bags", "Ties", "Unknown"],
            "split": ["train", "train", "test", "val", None],
        }
    )
    counts = count_splits(table)
    assert counts.columns == ["label", "train", "val", "test", "total"]
    assert counts.rows() == [("Bags", 2, 0, 1, 3), ("Ties", 0, 1, 0, 1)]


def test_image_sizes_and_modes_are_counted() -> None:
    table = pl.DataFrame({"image_width": [60, 60, 53], "image_height": [80, 80, 80], "image_mode": ["L", "L", "RGB"]})
    assert count_sizes(table).rows() == [(60, 80, "L", 2), (53, 80, "RGB", 1)]
