"""An undescribed table lists its columns, and `init` writes a description that `prepare` can use."""

import tomllib
from pathlib import Path

import pytest
from shop_exports import PATHS, draw_photographs, make_products

from hangtag.errors import CatalogError
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
    with pytest.raises(CatalogError, match="names no label level") as error:
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
    (tmp_path / "liste.csv").write_text("\n".join(["Artikel-Nr;Bezeichnung;Warengruppe;Bild", *rows]))
    text = init(tmp_path / "liste.csv").read_text()
    assert tomllib.loads(text)["image"] == "fotos/{Bild}"
    assert '# levels = ["Warengruppe"]' in text
    assert '# name = "Bezeichnung"' in text
