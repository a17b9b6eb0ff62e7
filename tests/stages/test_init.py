"""An undescribed table lists its columns, and `init` writes a description that `prepare` can use."""

import re
import tomllib
from pathlib import Path

import openpyxl
import pytest
from shop_exports import PATHS, draw_photographs, make_products

from hangtag.errors import CatalogError
from hangtag.io import read_csv
from hangtag.stages.check import check
from hangtag.stages.clean import clean
from hangtag.stages.init import init
from hangtag.stages.prepare import prepare


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A table with headings of its own, and photographs named by one of its columns."""
    folder = tmp_path / "shop"
    products = make_products(30, wrong=[])
    draw_photographs(folder / "pictures", [f"A{product.number}.png" for product in products])
    lines = ["Row;Article;Designation;Main group;Product type;Price;Remarks"]
    for product in products:
        path = PATHS[product.given]
        lines.append(f"{product.number};A{product.number};{product.name} {product.number};{path[0]};{path[-1]};19,90;")
    (folder / "stock.csv").write_text("\n".join(lines))
    return folder


def test_a_proposed_description_is_enough(shop: Path, tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="does not say which columns hold the categories") as error:
        prepare(shop, tmp_path / "w")
    assert "Product type (6 categories" in str(error.value)
    flags = "--id-column 'Article' --levels 'Main group,Product type' --image 'pictures/{Article}.png'"
    assert flags in str(error.value)
    written = init(shop)
    assert written == shop / "catalog.toml"
    description = tomllib.loads(written.read_text())
    assert description == {
        "table": "stock.csv",
        "id": "Article",
        "levels": ["Main group", "Product type"],
        "image": "pictures/{Article}.png",
    }
    assert "#   Price: numbers: 19,90" in written.read_text()
    assert "#   Remarks: no values" in written.read_text()
    assert prepare(shop, tmp_path / "w").metrics["items"] == 30


def test_a_description_is_not_overwritten(shop: Path, tmp_path: Path) -> None:
    (shop / "catalog.toml").write_text("# mine")
    with pytest.raises(CatalogError, match="already"):
        init(shop)
    assert init(shop / "stock.csv", tmp_path / "other.toml").is_file()
    assert (shop / "catalog.toml").read_text() == "# mine"


def test_addresses_and_paths_are_seen(tmp_path: Path) -> None:
    rows = [f"{n},Shirt no {n},Wear > {'Tops' if n % 2 else 'Shoes'},https://x.org/{n}.jpg?v=1" for n in range(10)]
    (tmp_path / "feed.csv").write_text("\n".join(["sku,title,where,picture", *rows]))
    assert tomllib.loads(init(tmp_path / "feed.csv").read_text()) == {
        "table": "feed.csv",
        "id": "sku",
        "name": "title",
        "levels": ["where"],
        "level_separator": ">",
        "image_column": "picture",
    }


def test_a_tree_has_no_table_to_describe(tmp_path: Path) -> None:
    draw_photographs(tmp_path / "bags", ["1.jpg"])
    with pytest.raises(CatalogError, match="no table to describe"):
        init(tmp_path)


def test_where_no_photograph_is_found_the_right_pattern_is_named(shop: Path, tmp_path: Path) -> None:
    described = {"id": "Article", "levels": ["Product type"], "image": "images/{Row}.jpg"}
    with pytest.raises(CatalogError, match="Not one photograph") as error:
        prepare(shop, tmp_path / "w", overrides=described)
    message = str(error.value)
    assert "The first path tried: images/0.jpg. The catalogue has pictures/A0.png." in message
    assert "Try --image 'pictures/{Article}.png'" in message
    lines = (tmp_path / "w" / "prepared" / "rejected.csv").read_text().splitlines()
    assert len(lines) == 31


def test_names_of_files_in_a_folder_and_unknown_headings_are_proposed(tmp_path: Path) -> None:
    draw_photographs(tmp_path / "fotos", [f"pic_{number}.jpg" for number in range(12)])
    rows = [f"{n};Rotes Kleid {n};{'Kleider' if n % 2 else 'Schuhe'};pic_{n}.jpg" for n in range(12)]
    (tmp_path / "liste.csv").write_text("\n".join(["Numero;Nimike;Tavararyhmä;Kuva", *rows]))
    text = init(tmp_path / "liste.csv").read_text()
    assert tomllib.loads(text)["image"] == "fotos/{Kuva}"
    assert '# levels = ["Tavararyhmä"]' in text
    assert '# name = "Nimike"' in text


def test_other_sheets_and_columns_of_photographs_are_proposed(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    for kind in ("Kategorie", "Hüte", "Taschen"):
        book.active.append([kind, f"{kind}: Text"])
    sheet = book.create_sheet("Artikel")
    sheet.append(["Artikelnummer", "Bezeichnung", "Warengruppe", "Bild 1", "Bild 2"])
    for number in range(12):
        pictures = [f"{number}{letter}.jpg" for letter in "ab"]
        sheet.append([f"A{number}", f"Stück {number}", ("Hüte", "Taschen")[number % 2], *pictures])
    book.save(tmp_path / "artikel.xlsx")
    draw_photographs(tmp_path, [f"{number}{letter}.jpg" for number in range(12) for letter in "ab"])
    with pytest.raises(CatalogError, match=r"sheet 'Sheet' of artikel\.xlsx.* Other sheets, for --sheet: 'Artikel'"):
        prepare(tmp_path / "artikel.xlsx", tmp_path / "w")
    assert tomllib.loads(init(tmp_path / "artikel.xlsx", sheet="Artikel").read_text()) == {
        "table": "artikel.xlsx",
        "sheet": "Artikel",
        "id": "Artikelnummer",
        "name": "Bezeichnung",
        "levels": ["Warengruppe"],
        "image_column": "Bild 1",
        "other_image_columns": ["Bild 2"],
    }
    counts = prepare(tmp_path / "artikel.xlsx", tmp_path / "w").metrics
    assert (counts["items"], counts["other_photographs"]) == (12, 12)


@pytest.mark.parametrize("mark", ["|", "; ", ",", "\n"])
def test_lists_of_photographs_in_a_cell_are_seen(mark: str, tmp_path: Path) -> None:
    draw_photographs(tmp_path, [f"my {number}{letter}.jpg" for number in range(6) for letter in "ab"])
    lists = [mark.join(f"my {number}{letter}.jpg" for letter in "ab") for number in range(6)]
    rows = [f'{number},{"Hats" if number % 2 else "Bags"},"{each}"\n' for number, each in enumerate(lists)]
    (tmp_path / "t.csv").write_text("".join(["sku,kind,photos\n", *rows]))
    described = {"id": "sku", "levels": ["kind"], "image_column": "photos"}
    with pytest.raises(CatalogError, match=re.escape(f"Try --image-separator '{mark.strip(' ')}', if it is several")):
        prepare(tmp_path, tmp_path / "w", overrides=described)
    rejected = read_csv(tmp_path / "w" / "prepared" / "rejected.csv")
    assert "name what stands between them with --image-separator" in rejected["reason"][0]
    init(tmp_path / "t.csv")
    assert prepare(tmp_path, tmp_path / "w").metrics["other_photographs"] == 6


def test_a_description_that_lacks_an_entry_is_to_be_completed(shop: Path, tmp_path: Path) -> None:
    (shop / "catalog.toml").write_text('id = "Article"\n# levels = ["Product type"]\n')
    with pytest.raises(CatalogError, match=r"Complete catalog\.toml, where a # before a line makes it a note"):
        prepare(shop, tmp_path / "w")


def test_the_summary_names_what_a_description_leaves_out(tmp_path: Path) -> None:
    draw_photographs(tmp_path, [f"{number}.jpg" for number in range(4)])
    rows = [f"{number},{number % 2},{number}.jpg,{number + 1}.jpg" for number in range(3)]
    (tmp_path / "t.csv").write_text("\n".join(["sku,kind,front,back", *rows, "2,1,2.jpg,3.jpg", "2,0,3.jpg,"]))
    described = {"id": "sku", "levels": ["kind"], "image_column": "front", "merge_rows": "yes"}
    counts = prepare(tmp_path, tmp_path / "w", overrides=described).metrics
    assert counts["photographs_not_read_in"] == "back"
    assert counts["products_of_several_categories"] == 1
    assert counts["categories_that_are_numbers"] == 3


def test_rows_that_are_all_wider_than_the_header_are_named(tmp_path: Path) -> None:
    draw_photographs(tmp_path, ["0.jpg"])
    (tmp_path / "t.csv").write_text("sku,kind\n" + "".join(f"row{number},{number},Hats\n" for number in range(5)))
    described = {"id": "sku", "levels": ["kind"], "image": "{sku}.jpg"}
    with pytest.raises(CatalogError, match=r"Not one row of the table can be read \(3 cells where the header has 2\)"):
        prepare(tmp_path, tmp_path / "w", overrides=described)


def test_a_catalogue_of_rare_categories_alone_says_what_the_rules_drop(tmp_path: Path) -> None:
    draw_photographs(tmp_path / "bags", ["1.jpg", "2.jpg"])
    draw_photographs(tmp_path / "hats", ["3.jpg"])
    prepare(tmp_path, tmp_path / "w")
    usual = "The usual ones drop categories of five items or fewer; --taxonomy every keeps them"
    with pytest.raises(CatalogError, match=usual):
        clean(tmp_path / "w")


@pytest.mark.parametrize("header", ["id,title,category,image", "Handle,Title,Type,Image Src"])
def test_a_table_of_headings_alone_is_named_as_such(tmp_path: Path, header: str) -> None:
    table = tmp_path / "t.csv"
    table.write_text(f"{header}\n", encoding="utf-8")
    for call in (lambda: init(table), lambda: prepare(table, tmp_path / "w"), lambda: check(table, tmp_path / "w")):
        with pytest.raises(CatalogError, match=r"no rows below its headings. Received: 't\.csv'"):
            call()
    assert not (tmp_path / "catalog.toml").exists()
