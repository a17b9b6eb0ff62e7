from collections import Counter
from typing import Any

import polars as pl

from hangtag.figures.counts import plot_sunburst
from hangtag.figures.style import MUTED

LEVELS = ("master", "sub", "type")
TABLE = pl.DataFrame(
    {
        "master": ["Apparel", "Apparel", "Apparel", "Footwear", None],
        "sub": ["Top", "Top", "Gifts", "Gifts", "Top"],
        "type": ["Shirts", "Kurtas", "Caps & <b>Hats</b>", "Shoes", "Shirts"],
        "count": [1000, 500, 3, 4, 1],
    }
)


def draw(table: pl.DataFrame = TABLE, levels: tuple[str, ...] = LEVELS) -> dict[str, dict[str, Any]]:
    """Draw and give the sectors by id."""
    (trace,) = plot_sunburst(table, levels, "Labels").data
    assert trace.branchvalues == "total"
    keys = ("ids", "parents", "labels", "values", "hovertext")
    rows = zip(*(trace[key] for key in keys), trace.marker.colors, strict=True)
    return {row[0]: dict(zip((*keys, "color"), row, strict=True)) for row in rows}


def test_counts_of_children_add_up_to_the_parent() -> None:
    sectors = draw()
    sums: Counter[str] = Counter()
    for sector in sectors.values():
        sums[sector["parents"]] += sector["values"]
    assert sums.pop("") == TABLE["count"].sum() == 1508
    assert all(sectors[parent]["values"] == total for parent, total in sums.items())


def test_a_name_under_two_parents_has_two_sectors() -> None:
    gifts = [sector for sector in draw().values() if sector["labels"] == "Gifts"]
    assert [sector["values"] for sector in gifts] == [4, 3]
    assert len({sector["parents"] for sector in gifts}) == 2


def test_the_tooltip_shows_count_and_shares() -> None:
    (kurtas,) = [sector for sector in draw().values() if sector["labels"] == "Kurtas"]
    assert kurtas["hovertext"] == "<b>Kurtas</b><br>500 items<br>33.16% of all<br>33.33% of Top"


def test_names_are_escaped() -> None:
    labels = {sector["labels"] for sector in draw().values()}
    assert "Caps &amp; &lt;b&gt;Hats&lt;/b&gt;" in labels


def test_missing_labels_are_gray_sectors() -> None:
    missing = next(sector for sector in draw().values() if sector["labels"] == "(missing)")
    assert missing["values"] == 1
    assert missing["color"] == MUTED


def test_a_single_level_has_one_ring() -> None:
    sectors = draw(levels=("master",))
    assert [sector["labels"] for sector in sectors.values()] == ["1,508 items", "Apparel", "Footwear", "(missing)"]
    assert {sector["parents"] for sector in sectors.values()} == {"", "/"}
