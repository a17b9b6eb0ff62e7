"""Exports of every layout go through prepare and clean, and come back with only the decided cells changed."""

from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from layout_exports import EXPORTS, OLD_SHOPIFY, Export, make_feed_row, make_shopify_rows, write_csv, write_feed
from shop_exports import PATHS, Product, draw_photographs, make_products

from hangtag.catalog.prepared_items import read_prepared
from hangtag.config import PrepareConfig
from hangtag.errors import CatalogError
from hangtag.io import read_csv
from hangtag.results import PrepareResult
from hangtag.reviewing.items import read_items
from hangtag.reviewing.store import NewDecision, Store
from hangtag.stages.apply import apply
from hangtag.stages.clean import clean
from hangtag.stages.prepare import prepare
from hangtag.workspace import Workspace

PRODUCTS = make_products()
WRONG = [product for product in PRODUCTS if product.given != product.true]
RIGHT = [Product(each.number, each.name, each.true, each.true) for each in PRODUCTS]
ALONE = PrepareConfig(workers=1, download=False)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a photograph for each product."""
    folder = tmp_path_factory.mktemp("photographs")
    draw_photographs(folder, [f"{product.number}.jpg" for product in PRODUCTS])
    return folder


def lay_photographs(export: Export, folder: Path, photographs: Path) -> None:
    """Put the photographs where the export names them."""
    for product in PRODUCTS:
        name = f"{product.number}.jpg"
        places = [export.find_id(product)] if export.layout.startswith("hugging-face") else [name, f"img/{name}"]
        for place in places[-1:] if export.layout in ("prestashop-import", "bigcommerce", "magento") else places[:1]:
            (folder / place).parent.mkdir(exist_ok=True)
            (folder / place).hardlink_to(photographs / name)


def decide(workspace: Workspace, export: Export) -> None:
    """Store a decision for each wrong product: the levels of one that is right."""
    items = read_items(workspace)
    levels = items.schema.levels
    store = Store(workspace.review / "review.sqlite")
    for product in WRONG:
        like = next(each for each in PRODUCTS if each.given == each.true == product.true)
        old, new = (items.read_values(export.find_id(each)) for each in (product, like))
        item_id = export.find_id(product)
        decision = NewDecision(item_id, "label_error", levels[-1], "accept", old, new, new, 0.9, 0, evidence="image")
        store.add([decision], "Ann")
    store.close()


@pytest.mark.parametrize("name", EXPORTS)
def test_an_export_comes_back_but_for_what_was_decided(name: str, tmp_path: Path, photographs: Path) -> None:
    export = EXPORTS[name]
    (tmp_path / "shop").mkdir()
    catalog = export.write(tmp_path / "shop", PRODUCTS)
    lay_photographs(export, tmp_path / "shop", photographs)
    result = prepare(catalog, tmp_path / "w", ALONE)
    workspace = Workspace.at(tmp_path / "w")
    assert (result.metrics["layout"], result.metrics["items"]) == (export.layout, len(PRODUCTS))
    assert result.metrics["categories_from"] == export.source
    clean(workspace)
    labels = dict(pl.read_parquet(workspace.labels / "labels.parquet").select("item_id", "label").iter_rows())
    assert labels == {export.find_id(product): product.given for product in PRODUCTS}
    decide(workspace, export)
    counts = apply(workspace).metrics
    assert (counts["items_changed"], counts["not_applied"]) == (len(WRONG), 0)
    (tmp_path / "right").mkdir()
    wanted = export.write(tmp_path / "right", RIGHT)
    tables = [wanted] if wanted.is_file() else [path for path in wanted.rglob("*.*") if path.is_file()]
    assert len(tables) == (1 if catalog.is_file() else 2)
    for table in tables:
        relative = table.relative_to(tmp_path / "right")
        corrected = workspace.review / "corrected" / relative
        if table.suffix == ".parquet":
            assert pl.read_parquet(corrected).equals(pl.read_parquet(table))
        else:
            assert corrected.read_bytes() == table.read_bytes()


@pytest.mark.parametrize("name", ["hugging-face-csv", "shopify-parts"])
def test_tables_in_parts_may_have_moved(name: str, tmp_path: Path, photographs: Path) -> None:
    export = EXPORTS[name]
    (tmp_path / "shop").mkdir()
    export.write(tmp_path / "shop", PRODUCTS)
    lay_photographs(export, tmp_path / "shop", photographs)
    prepare(tmp_path / "shop", tmp_path / "w", ALONE)
    workspace = Workspace.at(tmp_path / "w")
    decide(workspace, export)
    (tmp_path / "new").mkdir()
    (tmp_path / "shop").rename(tmp_path / "new" / "shop")
    apply(workspace, catalog=tmp_path / "new")
    (tmp_path / "right").mkdir()
    export.write(tmp_path / "right", RIGHT)
    tables = [path for path in (tmp_path / "right").rglob("*.csv") if path.is_file()]
    for table in tables:
        assert (
            workspace.review / "corrected" / table.relative_to(tmp_path / "right")
        ).read_bytes() == table.read_bytes()
    one = next((tmp_path / "new").rglob("*.csv"))
    with pytest.raises(CatalogError):
        apply(workspace, catalog=one)


def prepare_rows(folder: Path, columns: list[str], rows: list[dict[str, str]], photographs: Path) -> PrepareResult:
    folder.mkdir()
    path = write_csv(folder / "products_export.csv", columns, rows)
    for product in PRODUCTS[:12]:
        (folder / f"{product.number}.jpg").hardlink_to(photographs / f"{product.number}.jpg")
    return prepare(path, folder / "w", ALONE)


def test_one_of_two_vocabularies_counts_and_the_summary_says_which(tmp_path: Path, photographs: Path) -> None:
    def write(name: str, num_typed: int) -> PrepareResult:
        rows = []
        for product in PRODUCTS[:12]:
            places = (0,) if product.number < num_typed else ()
            taxonomy = " > ".join(PATHS[product.given]) if product.number else ""
            rows += make_shopify_rows(product, new=False, type_rows=places, taxonomy=taxonomy)
        return prepare_rows(tmp_path / name, OLD_SHOPIFY, rows, photographs)

    most = write("most", 8)
    assert most.metrics["categories_from"] == "Type"
    # They stay without a category: the other column has other words.
    assert most.metrics["categories_only_in"] == {"Product Category": 4}
    assert most.items["Type"].to_list()[:9] == [*(product.given for product in PRODUCTS[:8]), ""]
    few = write("few", 2)
    assert few.metrics["categories_from"] == "Product Category"
    assert few.metrics["categories_only_in"] == {"Type": 1}
    levels = few.items.select(pl.concat_list("level_1", "level_2", "level_3")).to_series().to_list()
    assert levels[:2] == [["", "", ""], [*PATHS[PRODUCTS[1].given]]]
    named = prepare(tmp_path / "few" / "products_export.csv", tmp_path / "w", ALONE, overrides={"levels": "Type"})
    assert named.metrics["categories_from"] == "Type"


def test_rows_of_a_product_that_disagree_are_counted(tmp_path: Path, photographs: Path) -> None:
    rows = [row for product in PRODUCTS[:12] for row in make_shopify_rows(product, new=False)]
    rows[1]["Type"], rows[4]["Type"] = "Something else", rows[3]["Type"]
    result = prepare_rows(tmp_path / "shop", OLD_SHOPIFY, rows, photographs)
    assert result.metrics["products_of_several_categories"] == 1
    assert result.items["Type"][0] == PRODUCTS[0].given


def test_categories_that_are_numbers_are_said(tmp_path: Path, photographs: Path) -> None:
    (tmp_path / "shop").mkdir()
    rows = [
        make_feed_row(product, "google_product_category", "1604" if product.number % 2 else "Apparel > Shoes")
        for product in PRODUCTS[:12]
    ]
    path = write_feed(tmp_path / "shop", rows, str)
    for product in PRODUCTS[:12]:
        (tmp_path / "shop" / f"{product.number}.jpg").hardlink_to(photographs / f"{product.number}.jpg")
    result = prepare(path, tmp_path / "w", ALONE)
    assert result.metrics["categories_that_are_numbers"] == 6
    assert set(result.items["level_2"]) == {"1604", "Shoes"}


def test_variations_have_a_row_and_grouped_products_are_products(tmp_path: Path, photographs: Path) -> None:
    export = EXPORTS["woocommerce-de"]
    (tmp_path / "shop").mkdir()
    catalog = export.write(tmp_path / "shop", PRODUCTS[:12])
    lay_photographs(export, tmp_path / "shop", photographs)
    result = prepare(catalog, tmp_path / "w", ALONE)
    assert result.metrics["items"] == 12
    rejected = read_csv(result.folder / "rejected.csv", infer_schema=False)
    skipped = rejected.filter(pl.col("code") == "skipped_row")
    assert skipped["reason"].to_list() == ["Typ is variation"] * 3
    # Each product has a second photograph that is not there.
    assert set(rejected["code"]) >= {"skipped_row", "missing_photograph"}


def write_two(folder: Path, first: str, second: str, names: tuple[str, str] = ("a.csv", "b.csv")) -> None:
    folder.mkdir()
    for name, text in zip(names, (first, second), strict=True):
        (folder / name).write_text(text)
    draw_photographs(folder, [f"{number}.jpg" for number in range(4)])


FLAGS = {"id": "sku", "levels": "kind", "image": "{sku}.jpg"}


def test_tables_of_the_same_columns_are_one(tmp_path: Path) -> None:
    # In another order of the columns; a row that is not read says in which file it stands.
    write_two(tmp_path / "shop", "sku,kind,x\n0,Hats,1\n1,Bags,2\n", "kind,sku,x\nHats,2,1\nBags,3,1,2,3\n")
    result = prepare(tmp_path / "shop", tmp_path / "w", ALONE, overrides=FLAGS)
    assert (result.metrics["tables"], result.metrics["items"]) == (2, 3)
    assert result.items["kind"].to_list() == ["Hats", "Bags", "Hats"]
    reasons = [reason for reason in result.rejected["reason"] if "(b.csv)" in reason]
    assert len(reasons) == 1


@pytest.mark.parametrize(
    ("first", "second", "names", "message"),
    [
        ("sku,kind\n0,Hats\n", "sku,size\n1,3\n", ("a.csv", "b.csv"), "Their columns differ"),
        (
            "sku,kind\n0,Hats\n1,Bags\n",
            "sku,kind\n1,Bags\n2,Bags\n",
            ("a.csv", "b.csv"),
            "1 items are in more than one",
        ),
        ("sku,kind\n0,Hats\n", "sku,kind\n1,Hats\n", ("a/x.csv", "b/x.csv"), "several tables"),
        ("sku,kind\n0,Hats\n", "", ("a.csv", "b.csv"), "The table b.csv is empty"),
    ],
)
def test_other_tables_are_not_joined(
    first: str, second: str, names: tuple[str, str], message: str, tmp_path: Path
) -> None:
    for name in names:
        (tmp_path / "shop" / name).parent.mkdir(exist_ok=True, parents=True)
    for name, text in zip(names, (first, second), strict=True):
        (tmp_path / "shop" / name).write_text(text)
    with pytest.raises(CatalogError, match=message) as error:
        prepare(tmp_path / "shop", tmp_path / "w", ALONE, overrides=FLAGS)
    assert "--table" in str(error.value)


def test_tables_named_like_splits_give_the_splits(tmp_path: Path) -> None:
    rows = "".join(f"{number},{'Hats' if number % 2 else 'Bags'}\n" for number in range(2))
    more = rows.replace("0,", "2,").replace("1,", "3,")
    write_two(tmp_path / "shop", f"sku,kind\n{rows}", f"sku,kind\n{more}", ("train.csv", "test.csv"))
    result = prepare(tmp_path / "shop", tmp_path / "w", ALONE, overrides=FLAGS)
    assert dict(result.items.select("item_id", "given_split").iter_rows()) == {
        "0": "train",
        "1": "train",
        "2": "test",
        "3": "test",
    }


def test_hugging_face_splits_are_those_of_the_folders(tmp_path: Path, photographs: Path) -> None:
    export = EXPORTS["hugging-face-csv"]
    (tmp_path / "shop").mkdir()
    export.write(tmp_path / "shop", PRODUCTS)
    lay_photographs(export, tmp_path / "shop", photographs)
    result = prepare(tmp_path / "shop", tmp_path / "w", ALONE)
    splits = [path.split("/")[0] for path in result.items["image_path"]]
    assert result.items["given_split"].to_list() == splits
    assert Counter(splits) == {"train": 150, "test": 50}


def test_deepfashions_lists_are_refused(tmp_path: Path) -> None:
    draw_photographs(tmp_path / "img" / "Sheer_Blouse", ["img_00000001.jpg"])
    (tmp_path / "Anno").mkdir()
    text = "1\nimage_name          category_label\nimg/Sheer_Blouse/img_00000001.jpg       3\n"
    (tmp_path / "Anno" / "list_category_img.txt").write_text(text)
    with pytest.raises(CatalogError, match="DeepFashion"):
        prepare(tmp_path, tmp_path / "w", ALONE)


def test_the_full_data_set_of_the_capstone_is_recognised(tmp_path: Path) -> None:
    folder = tmp_path / "fashion-dataset"
    draw_photographs(folder / "images", ["1163.jpg", "1164.jpg"])
    (folder / "styles").mkdir()
    columns = "id,gender,masterCategory,subCategory,articleType,baseColour,season,year,usage,productDisplayName"
    rows = "".join(f"{number},Men,Apparel,Topwear,Tshirts,Blue,Summer,2011,Sports,Tee\n" for number in (1163, 1164))
    (folder / "styles.csv").write_text(f"{columns}\n{rows}")
    (folder / "images.csv").write_text("filename,link\n1163.jpg,http://x.org/1.jpg\n")
    (folder / "styles" / "1163.json").write_text("{}")
    result = prepare(tmp_path, tmp_path / "w", ALONE)
    assert result.metrics["items"] == 2
    assert read_prepared(Workspace.at(tmp_path / "w")).schema.layout == "capstone"


def test_an_unknown_language_names_the_flags(tmp_path: Path) -> None:
    columns = ["ID", "Typ", "Artikelnr", "Namn", "Kategorier", "Etiketter", "Bild"]
    rows = [
        dict(zip(columns, [f"{n}", "simple", f"S{n}", f"Tröja {n}", "Kläder > Tröjor", "", f"{n}.jpg"], strict=True))
        for n in range(8)
    ]
    write_csv(tmp_path / "wc-product-export.csv", columns, rows)
    with pytest.raises(CatalogError) as error:
        prepare(tmp_path / "wc-product-export.csv", tmp_path / "w", ALONE)
    flags = "--levels 'Kategorier'", "--level-separator '>'", "--image-column 'Bild'"
    assert all(flag in str(error.value) for flag in flags)
