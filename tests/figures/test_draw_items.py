import polars as pl

from hangtag.figures.contact_sheet import draw_items

TABLE = pl.DataFrame(
    {"item_id": [str(number) for number in range(100)], "label": ["Bags"] * 60 + ["Ties"] * 37 + ["Home"] * 3}
)


def drawn(table: pl.DataFrame, seed: int = 0) -> dict[str, list[str]]:
    groups = draw_items(table, 20, seed).group_by("label").agg("item_id")
    return dict(groups.iter_rows())


def test_every_label_yields_the_requested_number_or_all_items() -> None:
    picked = draw_items(TABLE, 20, 0)
    counts = dict(picked["label"].value_counts().iter_rows())
    assert counts == {"Bags": 20, "Ties": 20, "Home": 3}
    assert picked["item_id"].is_unique().all()
    assert picked.filter(pl.col("label") == "Home")["position"].to_list() == [1, 2, 3]
    assert picked.join(TABLE, on=["item_id", "label"]).height == 43


def test_the_drawn_items_do_not_depend_on_the_order_of_rows() -> None:
    assert draw_items(TABLE, 20, 0).equals(draw_items(TABLE.sample(fraction=1, shuffle=True, seed=1), 20, 0))


def test_removing_an_item_does_not_change_the_order_of_the_others() -> None:
    fewer = TABLE.filter(pl.col("item_id") != drawn(TABLE)["Bags"][4])
    before, after = drawn(TABLE)["Bags"], drawn(fewer)["Bags"]
    assert after[:19] == [item for item in before if item in after]


def test_another_seed_draws_other_items() -> None:
    assert drawn(TABLE, 0)["Bags"] != drawn(TABLE, 1)["Bags"]
    assert set(drawn(TABLE, 0)["Bags"]) != {str(number) for number in range(20)}
