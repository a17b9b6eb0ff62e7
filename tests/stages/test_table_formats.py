"""Workbooks, Parquet tables and JSON lines come back with only the decided cell changed."""

import json
from pathlib import Path

import openpyxl
import polars as pl
import pytest
from issue_queue import make_line, write_issues
from openpyxl.styles import Font
from shop_exports import PATHS, draw_photographs, make_products

from hangtag.catalog.prepared_items import read_prepared
from hangtag.errors import CatalogError
from hangtag.reviewing.decisions import DecisionRequest, LabelOptions, build_decisions
from hangtag.reviewing.items import read_items
from hangtag.reviewing.queue import Queue, read_issues
from hangtag.reviewing.store import Store
from hangtag.stages.apply import apply
from hangtag.stages.prepare import prepare
from hangtag.workspace import Workspace

DESCRIBED = {"id": "Article no.", "name": "Name", "levels": ["Group", "Kind"], "image": "photos/{Article no.}.jpg"}


@pytest.fixture
def workbook(tmp_path: Path) -> Path:
    products = make_products(20, wrong=[])
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.title = "Products"
    sheet.append(["Our products in spring"])
    sheet.append([])
    sheet.append(["Article no.", "Name", "Group", "Kind", None, "Price"])
    for product in products:
        path = PATHS[product.given]
        sheet.append([1000 + product.number, product.name, path[0], path[-1], None, 19.9])
    sheet["D4"].font = Font(bold=True)
    sheet["H1"] = "=SUM(F4:F23)"
    book.create_sheet("Notes").append(["Not for the shop"])
    (tmp_path / "shop").mkdir()
    book.save(tmp_path / "shop" / "products.xlsx")
    draw_photographs(tmp_path / "shop" / "photos", [f"{1000 + product.number}.jpg" for product in products])
    return tmp_path / "shop" / "products.xlsx"


def accept_first(workspace: Workspace, item_id: str) -> None:
    """Accept the first issue, which is about an item."""
    store = Store(workspace.review / "review.sqlite")
    queue = Queue(read_issues(workspace.issues), read_items(workspace), store)
    request = DecisionRequest(0, "accept", {item_id: queue.read_version(item_id)})
    store.add(build_decisions(request, queue, LabelOptions(queue.items)), "Ann")
    store.close()


def test_a_workbook_comes_back_with_only_the_decided_cell_changed(workbook: Path, tmp_path: Path) -> None:
    assert prepare(workbook, tmp_path / "w", overrides=DESCRIBED).metrics["items"] == 20
    workspace = Workspace.at(tmp_path / "w")
    items = read_prepared(workspace).items
    assert items["item_id"].to_list() == [str(1000 + number) for number in range(20)]
    repaired = pl.read_csv(workspace.prepared / "repaired.csv")
    assert (1, "Our products in spring") in repaired.select("line", "before").rows()
    write_issues(workspace, [make_line("1000", "Shirts", "Tshirts", 0.9, column="Kind", changes={"Kind": "Tshirts"})])
    accept_first(workspace, "1000")
    assert apply(workspace).metrics["cells_changed"] == 1
    before, after = (openpyxl.load_workbook(path) for path in (workbook, workspace.review / "corrected/products.xlsx"))
    assert after.sheetnames == before.sheetnames
    for old, new in zip(before["Products"].iter_rows(), after["Products"].iter_rows(), strict=True):
        for cell, changed in zip(old, new, strict=True):
            assert changed.value == ("Tshirts" if cell.coordinate == "D4" else cell.value)
            assert changed.font.b == cell.font.b


def test_a_sheet_is_named(workbook: Path, tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="'Products', 'Notes'"):
        prepare(workbook, tmp_path / "w", overrides={**DESCRIBED, "sheet": "Stock"})


def test_lists_of_json_lines_are_category_paths_and_come_back(tmp_path: Path) -> None:
    products = make_products(20, wrong=[])
    (tmp_path / "shop").mkdir()
    path = tmp_path / "shop" / "products.jsonl"
    rows = [
        {"sku": 1000 + each.number, "where": list(PATHS[each.given]), "tags": ["a", 1], "title": each.name}
        for each in products
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    draw_photographs(tmp_path / "shop" / "photos", [f"{row['sku']}.jpg" for row in rows])
    described = {"id": "sku", "name": "title", "levels": ["where"], "image": "photos/{sku}.jpg"}
    assert prepare(tmp_path / "shop", tmp_path / "w", overrides=described).metrics["items"] == 20
    workspace = Workspace.at(tmp_path / "w")
    prepared = read_prepared(workspace)
    levels = prepared.schema.levels
    assert [
        row[: len(PATHS[each.given])] for row, each in zip(prepared.items.select(levels).rows(), products, strict=True)
    ] == [PATHS[each.given] for each in products]
    repaired = pl.read_csv(workspace.prepared / "repaired.csv")
    assert repaired.select("line", "column").rows() == [(1, "where"), (1, "tags")]
    old, new = prepared.items.select(levels).rows()[0], prepared.items.select(levels).rows()[1]
    assert old != new
    changes = {level: value for level, before, value in zip(levels, old, new, strict=True) if before != value}
    write_issues(workspace, [make_line("1000", old[-1], new[-1], 0.9, column=levels[-1], changes=changes)])
    accept_first(workspace, "1000")
    apply(workspace)
    lines = path.read_text().splitlines()
    lines[0] = lines[0].replace(json.dumps(rows[0]["where"]), json.dumps(rows[1]["where"]))
    assert (workspace.review / "corrected" / path.name).read_text().splitlines() == lines


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
def test_other_tables_come_back_with_only_the_decided_cell_changed(suffix: str, tmp_path: Path) -> None:
    products = make_products(20, wrong=[])
    (tmp_path / "shop").mkdir()
    path = tmp_path / "shop" / f"products{suffix}"
    rows = [
        {"sku": 1000 + product.number, "title": product.name, "kind": product.given, "price": 19.9}
        for product in products
    ]
    table = pl.DataFrame(rows)
    if suffix == ".parquet":
        table.write_parquet(path)
    else:
        table.write_ndjson(path)
    draw_photographs(tmp_path / "shop" / "photos", [f"{row['sku']}.jpg" for row in rows])
    described = {"id": "sku", "name": "title", "levels": ["kind"], "image": "photos/{sku}.jpg"}
    assert prepare(tmp_path / "shop", tmp_path / "w", overrides=described).metrics["items"] == 20
    workspace = Workspace.at(tmp_path / "w")
    write_issues(workspace, [make_line("1000", "Shirts", "Tshirts", 0.9, column="kind", changes={"kind": "Tshirts"})])
    accept_first(workspace, "1000")
    assert apply(workspace).metrics["cells_changed"] == 1
    corrected = workspace.review / "corrected" / path.name
    after = pl.read_parquet(corrected) if suffix == ".parquet" else pl.read_ndjson(corrected)
    assert after.equals(pl.DataFrame([{**rows[0], "kind": "Tshirts"}, *rows[1:]]))
    assert after.schema == table.schema
    if suffix == ".jsonl":
        assert corrected.read_bytes() == path.read_bytes().replace(b'"Shirts"', b'"Tshirts"', 1)
