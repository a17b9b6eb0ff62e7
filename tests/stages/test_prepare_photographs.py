"""Of a product, all photographs are read: those that can be used are kept, the first of them as the item's own."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image
from shop_exports import draw_photographs

from hangtag.catalog.prepared_items import Prepared, read_prepared
from hangtag.config import CleanConfig, PrepareConfig
from hangtag.io import read_csv
from hangtag.stages.clean import clean
from hangtag.stages.prepare import prepare
from hangtag.workspace import Workspace

KINDS = ("Bags", "Hats", "Shoes")
LISTED = {"id": "sku", "levels": "kind", "image_column": "images", "image_separator": "|"}
OFFLINE = PrepareConfig(download=False)
# Without a least number of items a label.
RULES = 'name = "all"\n[[rules]]\nrule = "start"\nlevel = "finest"\n'


def write_table(folder: Path, rows: Sequence[Sequence[str]], columns: str = "sku,kind,images") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "products.csv"
    path.write_text("\n".join([columns, *(",".join(row) for row in rows)]))
    return path


def list_rows(*cells: str) -> list[tuple[str, str, str]]:
    return [(f"p{number}", KINDS[number % 3], cell) for number, cell in enumerate(cells)]


def read(workspace: Path) -> Prepared:
    return read_prepared(Workspace.at(workspace))


def list_others(prepared: Prepared) -> list[tuple[Any, ...]]:
    return prepared.others.table.select("item_id", "image_path", "order").rows()


def read_lines(workspace: Path) -> list[tuple[Any, ...]]:
    table = read_csv(workspace / "prepared" / "rejected.csv", infer_schema=False)
    # Some tests draw more photographs than their rows name.
    named = table.filter(pl.col("code") != "unused_photograph")
    return named.select("item_id", "image_path", "code").rows()


def find_groups(workspace: Path) -> dict[str, str]:
    """Clean the catalogue, and return the group of each item."""
    rules = workspace / "rules.toml"
    rules.write_text(RULES)
    clean(workspace, CleanConfig(taxonomy=str(rules)))
    labels = pl.read_parquet(workspace / "labels" / "labels.parquet")
    return dict(labels.select("item_id", "group_id").iter_rows())


def draw(folder: Path, *names: str) -> None:
    draw_photographs(folder, names)


def test_all_photographs_of_a_cell_are_read_in_their_order(tmp_path: Path) -> None:
    draw(tmp_path, "a.png", "b.png", "c.png", "d.png")
    Image.new("L", (30, 50), 90).save(tmp_path / "e.png")
    # A photograph that is named twice is read once.
    path = write_table(tmp_path, list_rows("a.png|b.png|a.png", "c.png", "d.png| e.png |"))
    result = prepare(path, tmp_path / "w", overrides=LISTED)
    assert (result.metrics["items"], result.metrics["other_photographs"], result.metrics["rejected"]) == (3, 2, 0)
    prepared = read(tmp_path / "w")
    assert prepared.items["image_path"].to_list() == ["a.png", "c.png", "d.png"]
    assert list_others(prepared) == [("p0", "b.png", 2), ("p2", "e.png", 2)]
    assert prepared.others.table.select("width", "height", "mode").rows() == [(60, 80, "RGB"), (30, 50, "L")]
    assert prepared.others.images.dtype == np.uint8
    np.testing.assert_array_equal(prepared.others.images[0], np.asarray(Image.open(tmp_path / "b.png")))
    np.testing.assert_array_equal(prepared.images[0], np.asarray(Image.open(tmp_path / "a.png")))
    rows, items = prepared.others.find(pl.Series(["p2", "p1"]))
    assert (rows.tolist(), items.tolist()) == ([1], [0])


def test_a_catalogue_with_a_photograph_a_product_has_no_further_files(tmp_path: Path) -> None:
    draw(tmp_path, "a.png", "b.png", "c.png")
    path = write_table(tmp_path, list_rows("a.png", "b.png", "c.png"))
    plain = {"id": "sku", "levels": "kind", "image_column": "images"}
    prepare(path, tmp_path / "w", overrides=plain)
    names = {each.name for each in (tmp_path / "w" / "prepared").iterdir()}
    files = {"items.parquet", "images.npy", "rejected.csv", "repaired.csv", "photographs.parquet", "manifest.json"}
    assert names == files
    # Files of an earlier state of the catalogue are removed.
    write_table(tmp_path, list_rows("a.png|b.png", "c.png"))
    prepare(path, tmp_path / "v", overrides=LISTED)
    write_table(tmp_path, list_rows("a.png", "c.png"))
    prepare(path, tmp_path / "v", overrides=LISTED)
    assert {each.name for each in (tmp_path / "v" / "prepared").iterdir()} == files | {"changes.csv"}
    assert len(read(tmp_path / "v").others) == 0


def test_a_product_is_kept_by_the_photographs_that_can_be_used(tmp_path: Path) -> None:
    draw(tmp_path, "a.png", "b.png", "c.png")
    (tmp_path / "bad.png").write_text("no picture")
    cells = ("gone.png|bad.png|a.png|b.png", "c.png|gone.png", "gone.png|bad.png", "")
    path = write_table(tmp_path, list_rows(*cells))
    result = prepare(path, tmp_path / "w", overrides=LISTED)
    prepared = read(tmp_path / "w")
    assert prepared.items.select("item_id", "image_path").rows() == [("p0", "a.png"), ("p1", "c.png")]
    np.testing.assert_array_equal(prepared.images[0], np.asarray(Image.open(tmp_path / "a.png")))
    assert list_others(prepared) == [("p0", "b.png", 4)]
    assert read_lines(tmp_path / "w") == [
        ("p0", "gone.png", "missing_photograph"),
        ("p0", "bad.png", "not_an_image"),
        ("p1", "gone.png", "missing_photograph"),
        ("p2", "gone.png", "missing_photograph"),
        ("p2", "bad.png", "not_an_image"),
        ("p3", "", "missing_photograph"),
    ]
    reasons = read_csv(tmp_path / "w" / "prepared" / "rejected.csv")["reason"].to_list()
    assert [reason.endswith("; the product is kept with its other photographs") for reason in reasons] == (
        [True] * 3 + [False] * 3
    )
    # Two rows are left out; three lines are about products that are kept, one more about a product that is not.
    assert (result.metrics["rejected"], result.metrics["rejected_photographs"]) == (2, 4)


def test_a_size_chart_is_no_photograph_of_its_products(tmp_path: Path) -> None:
    draw(tmp_path, "chart.png", *(f"{number}.png" for number in range(12)), "pair.png")
    cells = []
    for number in range(8):
        # Six products have copies of it under names of their own.
        name = f"chart-{number}.png" if number < 6 else f"back-{number}.png"
        (tmp_path / name).write_bytes((tmp_path / ("chart.png" if number < 6 else f"{number + 2}.png")).read_bytes())
        cells.append(f"{number}.png|{name}" + ("|pair.png" if number < 5 else ""))
    path = write_table(tmp_path, list_rows(*cells))
    result = prepare(path, tmp_path / "w", overrides=LISTED)
    others = [("p6", "back-6.png", 2), ("p7", "back-7.png", 2), *((f"p{number}", "pair.png", 3) for number in range(5))]
    assert sorted(list_others(read(tmp_path / "w"))) == sorted(others)
    for item_id, path_, _ in list_others(read(tmp_path / "w")):
        row = list_others(read(tmp_path / "w")).index((item_id, path_, 2 if "back" in path_ else 3))
        wanted = np.asarray(Image.open(tmp_path / path_))
        np.testing.assert_array_equal(read(tmp_path / "w").others.images[row], wanted)
    assert read_lines(tmp_path / "w") == [
        (f"p{number}", f"chart-{number}.png", "shared_photograph") for number in range(6)
    ]
    assert (result.metrics["rejected"], result.metrics["rejected_photographs"]) == (0, 6)
    # It joins no products; what five of them share does.
    apart = {f"p{number}": f"p{number}" for number in (5, 6, 7)}
    assert find_groups(tmp_path / "w") == {f"p{number}": "p0" for number in range(5)} | apart


def test_the_sizes_of_a_product_may_share_all_photographs(tmp_path: Path) -> None:
    draw(tmp_path, "front.png", "back.png", *(f"{number}.png" for number in range(8)))
    # Sizes with the same first photograph, and colours that the catalogue groups.
    rows = [(f"s{number}", "Hats", "front.png|back.png", "") for number in range(8)]
    (tmp_path / "label.png").write_bytes((tmp_path / "7.png").read_bytes())
    rows += [(f"c{number}", "Bags", f"{number}.png|label.png", "bag") for number in range(7)]
    path = write_table(tmp_path, rows, "sku,kind,images,model")
    prepare(path, tmp_path / "w", overrides={**LISTED, "group": "model"})
    assert len(read(tmp_path / "w").others) == 15
    prepare(path, tmp_path / "v", overrides=LISTED)
    assert {code for _, _, code in read_lines(tmp_path / "v")} == {"shared_photograph"}
    assert len(read(tmp_path / "v").others) == 8


HEADINGS = {
    "amazon": "item_sku,item_name,feed_product_type,main_image_url,other_image_url1,other_image_url2",
    "google-merchant": "id,title,product_type,image_link,additional_image_link",
    "magento": "sku,name,categories,base_image,additional_images,product_type",
}


@pytest.mark.parametrize("layout", HEADINGS)
def test_shops_name_further_photographs_in_columns_of_their_own(layout: str, tmp_path: Path) -> None:
    draw(tmp_path, "a.png", "b.png", "c.png", "d.png")
    web = "" if layout == "magento" else "https://shop.example.com/img/"
    both = f"{web}b.png", f"{web}c.png"
    more = both if layout == "amazon" else (f'"{",".join(both)}"', "simple")
    length = len(HEADINGS[layout].split(",")) - 4
    first = ("1", "Bag", "Bags", f"{web}a.png", *more[:length])
    rows = [first, ("2", "Hat", "Hats", f"{web}d.png", *[""] * length)]
    result = prepare(write_table(tmp_path, rows, HEADINGS[layout]), tmp_path / "w", OFFLINE)
    assert result.metrics["layout"] == layout
    prepared = read(tmp_path / "w")
    assert prepared.items["image_path"].to_list() == ["a.png", "d.png"]
    assert list_others(prepared) == [("1", "b.png", 2), ("1", "c.png", 3)]


def test_columns_of_any_table_can_name_further_photographs(tmp_path: Path) -> None:
    draw(tmp_path, "p0.png", "b.png", "c.png")
    rows = [("p0", "Bags", "b.png", "NA"), ("p1", "Hats", "", "c.png")]
    path = write_table(tmp_path, rows, "sku,kind,side,back")
    more = {"id": "sku", "levels": "kind", "image": "{sku}.png", "other_image_columns": "side,back"}
    prepare(path, tmp_path / "w", overrides=more)
    prepared = read(tmp_path / "w")
    # The second has no photograph of the pattern's name.
    assert prepared.items.select("item_id", "image_path").rows() == [("p0", "p0.png"), ("p1", "c.png")]
    assert list_others(prepared) == [("p0", "b.png", 2)]


def test_the_rows_of_a_product_name_its_photographs(tmp_path: Path) -> None:
    draw(tmp_path / "files", "1_1.jpg", "1_2.jpg", "1_3.jpg", "2_1.jpg")
    rows = [
        ("bag", "Nice bag", "Bags", "1_1.jpg", "S"),
        ("bag", "", "", "1_2.jpg", "M"),
        ("hat", "Nice hat", "Hats", "2_1.jpg", "S"),
        ("bag", "", "", "1_3.jpg", ""),
        ("hat", "", "", "", "L"),
        ("bag", "", "", "1_2.jpg", "XL"),
    ]
    cdn = "https://cdn.shopify.com/s/files/1/0001/"
    rows = [(*row[:3], row[3] and f"{cdn}{row[3]}?v=17", row[4]) for row in rows]
    path = write_table(tmp_path, rows, "Handle,Title,Type,Image Src,Option1 Value")
    result = prepare(path, tmp_path / "w", OFFLINE)
    assert (result.metrics["layout"], result.metrics["other_photographs"]) == ("shopify", 2)
    prepared = read(tmp_path / "w")
    assert prepared.items["image_path"].to_list() == ["files/1_1.jpg", "files/2_1.jpg"]
    assert list_others(prepared) == [("bag", "files/1_2.jpg", 2), ("bag", "files/1_3.jpg", 3)]
    # The table's own cells are as delivered.
    assert prepared.items["Image Src"].to_list() == [f"{cdn}1_1.jpg?v=17", f"{cdn}2_1.jpg?v=17"]


def test_duplicates_among_all_photographs_join_products(tmp_path: Path) -> None:
    draw(tmp_path, *(f"{number}.png" for number in range(12)))
    (tmp_path / "copy.png").write_bytes((tmp_path / "0.png").read_bytes())
    # Another compression of a photograph of another product.
    Image.open(tmp_path / "10.png").save(tmp_path / "again.jpg", quality=95)
    cells = [f"{number}.png" for number in range(8)]
    cells[3] = "3.png|8.png|copy.png"
    cells[5] = "5.png|10.png"
    cells[6] = "6.png|again.jpg"
    path = write_table(tmp_path, list_rows(*cells))
    prepare(path, tmp_path / "w", overrides=LISTED)
    assert find_groups(tmp_path / "w") == {f"p{number}": f"p{number}" for number in range(8)} | {"p3": "p0", "p6": "p5"}
