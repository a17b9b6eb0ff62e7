"""White space at the ends of a category is no other category: it is taken away with a line, and never suggested."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from hangtag.auditing.context import AuditContext
from hangtag.auditing.value_issues import find_spelling_variants, find_unlikely_combinations
from hangtag.catalog.images import Pixels
from hangtag.catalog.prepared_items import Prepared, hide_missing
from hangtag.catalog.schema import CatalogSchema
from hangtag.config import AuditConfig
from hangtag.figures.counts import fill_missing
from hangtag.labels.dataset import strip_categories
from hangtag.reviewing.decisions import LabelOptions
from hangtag.reviewing.items import Items
from hangtag.stages.audit import audit
from hangtag.stages.clean import clean
from hangtag.stages.prepare import prepare

NO_PIXELS: Pixels = np.empty((0, 8, 8, 3), np.uint8)
TABLE = CatalogSchema(
    id="id", name="name", levels=("dept", "kind"), attributes=("colour",), image="{id}.png"
).with_columns(["id", "name", "dept", "kind", "colour", "note"])


def make_prepared(*rows: tuple[str, str, str, str]) -> Prepared:
    cells = [
        {
            "item_id": str(number),
            "id": str(number),
            "name": name,
            "dept": dept,
            "kind": kind,
            "colour": colour,
            "note": " n ",
        }
        for number, (name, dept, kind, colour) in enumerate(rows)
    ]
    return Prepared(pl.DataFrame(cells), NO_PIXELS, TABLE, "", "")


def test_levels_and_attributes_are_stripped_with_a_line_and_all_else_stays() -> None:
    prepared = make_prepared(
        (" Shirt ", "Wear", "Shirts ", "red"),
        ("Shirt", "Wear\u00a0", "Shirts", "\u200bred\t"),
        ("Bag", " NA ", "  ", ""),
    )
    stripped, changes = strip_categories(prepared)
    assert changes.select("item_id", "column", "old", "new", "rule").rows() == [
        ("1", "dept", "Wear\u00a0", "Wear", "white_space"),
        ("0", "kind", "Shirts ", "Shirts", "white_space"),
        ("1", "colour", "\u200bred\t", "red", "white_space"),
    ]
    # Missing cells are as they were delivered, and so are names and columns without a meaning.
    assert stripped.items["dept"].to_list() == ["Wear", "Wear", " NA "]
    assert stripped.items["kind"].to_list() == ["Shirts", "Shirts", "  "]
    assert stripped.items["name"].to_list() == [" Shirt ", "Shirt", "Bag"]
    assert stripped.items["note"].to_list() == [" n "] * 3
    assert strip_categories(stripped)[1].is_empty()


def test_values_are_compared_without_it_everywhere() -> None:
    items = make_prepared(("a ", "Wear", "Shirts ", "red"), ("b", "Wear ", "Shirts", " red")).items
    known = hide_missing(items, TABLE)
    assert [known[column].n_unique() for column in ("dept", "kind", "colour")] == [1, 1, 1]
    assert known["name"].to_list() == ["a ", "b"]
    assert fill_missing(items, ["kind"], TABLE.missing)["kind"].to_list() == ["Shirts", "Shirts"]


def make_white_context(known: pl.DataFrame, delivered: pl.DataFrame) -> AuditContext:
    return AuditContext(known, NO_PIXELS, TABLE, AuditConfig(), delivered=delivered)


@pytest.mark.parametrize(
    ("counts", "suggested"),
    [
        ({"Shirts": 5, "Shirts ": 5}, {"Shirts ": "Shirts"}),
        # A majority, and both ends.
        ({"Shirts": 1, "Shirts ": 9, "\u00a0Shirts": 2}, {"Shirts ": "Shirts", "\u00a0Shirts": "Shirts"}),
        # Nobody has the right one.
        ({"Shirts ": 3, " Shirts": 3}, {"Shirts ": "Shirts", " Shirts": "Shirts"}),
        # Two that are delivered with the space together outnumber another spelling.
        ({"T-Shirts ": 3, "T-Shirts": 1, "TShirts": 3}, {"T-Shirts ": "T-Shirts", "TShirts": "T-Shirts"}),
        # A whole column of one width is no variant of anything.
        ({"Shirts ": 5, "Shoes  ": 5}, {}),
    ],
)
def test_no_value_with_white_space_at_its_ends_is_suggested(counts: dict[str, int], suggested: dict[str, str]) -> None:
    values = [kind for kind, number in counts.items() for _ in range(number)]
    prepared = make_prepared(*(("x", "Wear", kind, "red") for kind in values))
    known = hide_missing(prepared.items, TABLE)
    context = make_white_context(known, prepared.items)
    found = find_spelling_variants(context)
    assert dict(zip(found["given_label"], found["suggested_label"], strict=True)) == suggested
    assert len(found) == sum(counts[kind] for kind in suggested)
    assert all(
        json.loads(line) == {"kind": new} for line, new in found.select("changes", "suggested_label").iter_rows()
    )


def test_a_parent_with_a_space_is_no_unlikely_one() -> None:
    prepared = make_prepared(*[("x", "Wear", "Shirts", "red")] * 50, ("x", "Wear ", "Shirts", "red"))
    assert find_unlikely_combinations(make_white_context(prepared.known, prepared.items)).is_empty()


def test_a_reviewer_is_offered_no_value_with_white_space() -> None:
    columns = {"dept": ["Wear", "Wear "], "kind": ["Shirts ", "Shirts"], "colour": ["red", " red"]}
    options = LabelOptions(Items(["0", "1"], {"0": 0, "1": 1}, columns, NO_PIXELS, TABLE, "", None))
    assert [(each.values, each.count) for each in options.list("kind")] == [({"dept": "Wear", "kind": "Shirts"}, 2)]
    assert options.has("colour", {"colour": "red"})
    assert not options.has("colour", {"colour": " red"})


def test_a_catalogue_has_one_class_and_a_line_for_each_cell(tmp_path: Path) -> None:
    lines = ["id,name,kind"]
    for number in range(24):
        Image.effect_noise((8, 8), 20 + number).convert("RGB").save(tmp_path / f"{number}.png")
        lines.append(f"{number},n{number},{('Shirts', 'Shirts ', 'Bags')[number % 3]}")
    (tmp_path / "t.csv").write_text("\n".join(lines))
    flags = {"name": "name", "levels": "kind", "image": "{id}.png"}
    workspace = tmp_path / "w"
    prepare(tmp_path / "t.csv", workspace, overrides=flags)
    counts = clean(workspace).metrics
    assert (counts["labels"], counts["white_space_cells"]) == (2, 8)
    changes = pl.read_csv(workspace / "labels" / "label_changes.csv", infer_schema=False)
    assert changes.filter(pl.col("rule") == "white_space")["item_id"].to_list() == [
        str(each) for each in range(1, 24, 3)
    ]
    cleaned = pl.read_csv(workspace / "labels" / "styles_cleaned.csv", infer_schema=False)
    assert set(cleaned["kind"]) == {"Shirts", "Bags"}
    # What was delivered is kept, for `apply` to give back.
    assert "Shirts " in pl.read_parquet(workspace / "prepared" / "items.parquet")["kind"].to_list()
    audit(workspace)
    issues = pl.read_csv(workspace / "audit" / "issues.csv", infer_schema=False).filter(
        pl.col("code") == "spelling_variant"
    )
    assert set(issues.select("given_label", "suggested_label").iter_rows()) == {("Shirts ", "Shirts")}
    assert len(issues) == 8
