"""Catalogues of every layout, with every defect, prepared from small files on disk."""

import io
import shutil
import zipfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from hangtag.catalog.prepared_items import read_prepared
from hangtag.config import PrepareConfig
from hangtag.errors import CatalogError, WorkspaceError
from hangtag.stages.clean import clean
from hangtag.stages.init import init
from hangtag.stages.prepare import prepare
from hangtag.workspace import Workspace

CAPSTONE = "id,gender,masterCategory,subCategory,articleType,baseColour,season,year,usage,productDisplayName"


def draw(path: Path, shade: int = 100) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (60, 80), (shade, shade, shade)).save(path)


@pytest.fixture
def capstone(tmp_path: Path) -> Path:
    folder = tmp_path / "catalog"
    rows = [f"{number},Men,Apparel,Topwear,Shirts,Blue,Fall,2011,Casual,Shirt {number}" for number in range(1, 5)]
    rows.append("5,Men,Apparel,Topwear,Shirts,NA,,2011,Casual,Red, Blue Shirt")
    for number in range(1, 6):
        draw(folder / "images" / f"{number}.jpg", number * 10)
    (folder / "styles.csv").write_text("\n".join([CAPSTONE, *rows]) + "\n")
    return folder


def rejected(workspace: Path) -> dict[str, str]:
    table = pl.read_csv(workspace / "prepared" / "rejected.csv", infer_schema=False)
    return dict(table.select("item_id", "code").iter_rows())


def test_the_capstones_layout_is_recognised(capstone: Path, tmp_path: Path) -> None:
    result = prepare(capstone, tmp_path / "w")
    assert result.metrics == {"rows": 5, "items": 5, "rejected": 0, "repaired_rows": 1}
    prepared = read_prepared(Workspace.at(tmp_path / "w"))
    assert prepared.items["item_id"].to_list() == ["1", "2", "3", "4", "5"]
    assert prepared.items["productDisplayName"][4] == "Red, Blue Shirt"
    assert prepared.items["baseColour"][4] == "NA"
    assert prepared.items["season"][4] == ""
    assert prepared.schema.levels == ("masterCategory", "subCategory", "articleType")
    assert prepared.images.shape == (5, 80, 60, 3)
    assert [int(image[0, 0, 0]) for image in prepared.images] == pytest.approx([10, 20, 30, 40, 50], abs=2)


def test_a_zip_is_read_in_place_below_any_folder(capstone: Path, tmp_path: Path) -> None:
    archive = shutil.make_archive(str(tmp_path / "export"), "zip", tmp_path, "catalog")
    prepare(archive, tmp_path / "w")
    prepare(capstone, tmp_path / "v")
    one, other = (read_prepared(Workspace.at(tmp_path / name)) for name in "wv")
    assert (one.images == other.images).all()
    assert one.items.drop("image_path").equals(other.items.drop("image_path"))


def test_an_unchanged_catalogue_is_skipped_and_a_changed_one_is_not(capstone: Path, tmp_path: Path) -> None:
    assert not prepare(capstone, tmp_path / "w").skipped
    assert prepare(capstone, tmp_path / "w").skipped
    assert not prepare(capstone, tmp_path / "w", PrepareConfig(image_size=(40, 30))).skipped
    assert not prepare(capstone, tmp_path / "w", PrepareConfig(image_size=(40, 30), fit="stretch")).skipped
    assert not prepare(capstone, tmp_path / "w", PrepareConfig(image_size=(40, 30))).skipped
    draw(capstone / "images" / "1.jpg", 222)
    assert not prepare(capstone, tmp_path / "w", PrepareConfig(image_size=(40, 30))).skipped
    (tmp_path / "w" / "prepared" / "items.parquet").write_bytes(b"")
    assert not prepare(capstone, tmp_path / "w", PrepareConfig(image_size=(40, 30))).skipped


def test_every_bad_photograph_has_a_line_and_none_stops_the_run(capstone: Path, tmp_path: Path) -> None:
    images = capstone / "images"
    rows = [
        f"{name},Men,A,B,C,Blue,Fall,2011,Casual,x of {name}"
        for name in ("6", "7", "8", "9", "../../secret", "1", "", "10")
    ]
    with (capstone / "styles.csv").open("a") as file:
        file.write("\n".join(rows) + "\n11,too short\n")
    (images / "6.jpg").write_bytes(b"")
    (images / "7.jpg").write_text("text")
    (images / "8.jpg").write_bytes((images / "1.jpg").read_bytes()[:400])
    Image.new("RGB", (300, 300)).save(images / "10.jpg")
    draw(tmp_path / "secret.jpg")
    result = prepare(capstone, tmp_path / "w", PrepareConfig(max_pixels=50_000))
    assert rejected(tmp_path / "w") == {
        "line 15": "bad_row",
        "line 13": "missing_id",
        "6": "empty_file",
        "7": "not_an_image",
        "8": "truncated",
        "9": "missing_photograph",
        "10": "too_many_pixels",
        "../../secret": "outside_catalog",
        "1": "duplicate_id",
    }
    assert result.metrics["rows"] == result.metrics["items"] + result.metrics["rejected"] == 14


def test_counts_are_of_rows_of_the_table_and_of_those_that_were_repaired(capstone: Path, tmp_path: Path) -> None:
    table = capstone / "styles.csv"
    head, *rows = table.read_text().splitlines()
    table.write_text(
        "\n".join(["Products of spring", f"{head},,", *rows[:4], f"{rows[4]},,", ",Men" + rows[3][5:], rows[3]])
    )
    result = prepare(capstone, tmp_path / "w")
    assert {"rows": 7, "items": 5, "rejected": 2, "repaired_rows": 1}.items() <= result.metrics.items()
    lines = pl.read_csv(tmp_path / "w" / "prepared" / "rejected.csv", infer_schema=False)
    # Above the rows are a title and the header.
    assert lines.select("item_id", "code", "reason").rows() == [
        ("line 8", "missing_id", "the row has no id"),
        ("4", "duplicate_id", "line 9: an earlier row has the same id, line 6"),
    ]


def test_files_that_are_no_photographs_are_no_rows(tmp_path: Path) -> None:
    for index, name in enumerate(("bags/1.jpg", "hats/2.jpg")):
        draw(tmp_path / "tree" / name, 50 + index)
    (tmp_path / "tree" / "bags" / "notes.pdf").write_bytes(b"")
    metrics = prepare(tmp_path / "tree", tmp_path / "w").metrics
    assert metrics == {"rows": 2, "items": 2, "rejected": 0, "repaired_rows": 0, "not_used": 1}


def test_an_inferred_encoding_is_counted_and_kept_by_init(tmp_path: Path) -> None:
    rows = [f"A{number};{kind}" for number, kind in enumerate(["Spódnica różowa", "Płaszcz męski", "Żółty kapelusz"])]
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "t.csv").write_bytes("\n".join(["sku;kind", *rows]).encode("cp1250"))
    for number in range(3):
        draw(tmp_path / "shop" / f"A{number}.jpg")
    described = {"id": "sku", "levels": ["kind"], "image": "{sku}.jpg"}
    assert prepare(tmp_path / "shop", tmp_path / "w", overrides=described).metrics["encoding"] == "cp1250"
    [line] = pl.read_csv(tmp_path / "w" / "prepared" / "repaired.csv").iter_rows(named=True)
    assert "cp1250" in line["reason"]
    assert 'encoding = "cp1250"' in init(tmp_path / "shop").read_text()


@pytest.mark.parametrize(
    ("heading", "cleaned"), [("Class", "Cleaned class"), ("class", "Cleaned class"), ("kind", "Class")]
)
def test_a_level_may_be_called_as_the_cleaned_label(heading: str, cleaned: str, tmp_path: Path) -> None:
    kinds = ["Shirts", "Shoes", "Bags"] * 8
    rows = [f"A{number},{kind}" for number, kind in enumerate(kinds)]
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "t.csv").write_text("\n".join([f"sku,{heading}", *rows]))
    for number in range(len(rows)):
        draw(tmp_path / "shop" / f"A{number}.jpg", 5 + 8 * number)
    described = {"id": "sku", "levels": [heading], "image": "{sku}.jpg"}
    workspace = Workspace.at(tmp_path / "w")
    prepare(tmp_path / "shop", workspace, overrides=described)
    clean(workspace)
    table = pl.read_csv(workspace.labels / "styles_cleaned.csv", infer_schema=False)
    assert table.columns == ["sku", heading, cleaned]
    assert table[heading].to_list() == table[cleaned].to_list()


def test_a_link_out_of_the_folder_is_outside(capstone: Path, tmp_path: Path) -> None:
    draw(tmp_path / "secret.jpg")
    (capstone / "images" / "1.jpg").unlink()
    (capstone / "images" / "1.jpg").symlink_to(tmp_path / "secret.jpg")
    prepare(capstone, tmp_path / "w")
    assert rejected(tmp_path / "w") == {"1": "outside_catalog"}


def test_a_large_file_is_not_read(capstone: Path, tmp_path: Path) -> None:
    with (capstone / "images" / "1.jpg").open("ab") as file:
        file.write(b"\0" * 5000)
    prepare(capstone, tmp_path / "w", PrepareConfig(max_bytes=4000))
    assert rejected(tmp_path / "w") == {"1": "too_many_bytes"}


def test_a_damaged_archive_entry_is_one_line(capstone: Path, tmp_path: Path) -> None:
    archive = tmp_path / "export.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(capstone.rglob("*.*")):
            file.write(path, path.relative_to(capstone))
    data = bytearray(archive.read_bytes())
    position = data.find((capstone / "images" / "1.jpg").read_bytes()) + 200
    data[position] ^= 255
    archive.write_bytes(data)
    prepare(archive, tmp_path / "w")
    assert rejected(tmp_path / "w") == {"1": "unreadable_file"}


def test_a_described_catalogue(tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "products.csv").write_text("sku;title;dept;kind;file\nA1;Red shoe;Foot;Shoe;p/1.png\n")
    draw(folder / "data" / "p" / "1.png")
    description = 'id = "sku"\nname = "title"\nlevels = ["dept", "kind"]\nimage_column = "file"\n'
    (folder / "data" / "catalog.toml").write_text(f'table = "products.csv"\n{description}')
    prepare(folder, tmp_path / "w")
    prepared = read_prepared(Workspace.at(tmp_path / "w"))
    assert prepared.schema.levels == ("dept", "kind")
    assert prepared.items.select("item_id", "image_path").row(0) == ("A1", "data/p/1.png")


def test_a_csv_described_by_flags_or_by_a_file(tmp_path: Path) -> None:
    table = tmp_path / "products.csv"
    table.write_text("sku,kind\nA1,Shoe\n")
    draw(tmp_path / "photos" / "A1.jpg")
    flags = {"id": "sku", "levels": "kind", "image": "photos/{sku}.jpg"}
    assert prepare(table, tmp_path / "w", overrides=flags).metrics["items"] == 1
    file = tmp_path / "description.toml"
    file.write_text('id = "sku"\nlevels = ["kind"]\nimage = "photos/{sku}.jpg"\n')
    assert prepare(table, tmp_path / "v", schema=file).metrics["items"] == 1


def test_columns_may_be_called_like_hangtags_own(tmp_path: Path) -> None:
    rows = [f"{number},{'Shoe' if number % 2 else 'Bag'},{number * 7}" for number in range(1, 31)]
    (tmp_path / "t.csv").write_text("\n".join(["item_id,label,count", *rows]))
    for number in range(1, 31):
        draw(tmp_path / "images" / f"{number}.png", number * 8)
    flags = {"id": "item_id", "levels": "label", "attributes": "count", "image": "images/{item_id}.png"}
    prepare(tmp_path / "t.csv", tmp_path / "w", overrides=flags)
    prepared = read_prepared(Workspace.at(tmp_path / "w"))
    assert prepared.schema.levels == ("catalog_label",)
    assert prepared.items.row(0, named=True)["catalog_label"] == "Shoe"
    clean(tmp_path / "w")
    table = pl.read_csv(tmp_path / "w" / "labels" / "styles_cleaned.csv")
    assert table.columns == ["item_id", "label", "count", "Class"]
    assert table.row(0) == (1, "Shoe", 7, "Shoe")


def test_folders_as_categories_with_their_splits(tmp_path: Path) -> None:
    for split, kind, number in [("train", "bags", 1), ("validation", "bags", 2), ("test", "shoes", 3)]:
        draw(tmp_path / "tree" / split / kind / f"{number}.png", number)
    prepare(tmp_path / "tree", tmp_path / "w")
    items = read_prepared(Workspace.at(tmp_path / "w")).items
    assert sorted(items.select("item_id", "category", "given_split").rows()) == [
        ("test/shoes/3", "shoes", "test"),
        ("train/bags/1", "bags", "train"),
        ("validation/bags/2", "bags", "val"),
    ]


def test_deep_folders_are_levels(tmp_path: Path) -> None:
    draw(tmp_path / "tree" / "apparel" / "shirts" / "1.png")
    draw(tmp_path / "tree" / "footwear" / "shoes" / "2.png")
    prepare(tmp_path / "tree", tmp_path / "w")
    prepared = read_prepared(Workspace.at(tmp_path / "w"))
    assert prepared.schema.levels == ("level_1", "level_2")
    assert prepared.items["level_2"].to_list() == ["shirts", "shoes"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"levels": "nothing"}, "no such column"),
        ({"image": "x/{nothing}.jpg"}, "no such column"),
        ({"table": "nothing.csv"}, "no such table"),
        ({"shape": "round"}, "unknown key"),
        ({"label_name": "gender"}, "heading of the cleaned label"),
        ({"encoding": "nonesuch"}, "no such encoding"),
    ],
)
def test_wrong_descriptions_say_what_is_wrong(
    capstone: Path, tmp_path: Path, flags: dict[str, object], message: str
) -> None:
    with pytest.raises(CatalogError, match=message):
        prepare(capstone, tmp_path / "w", overrides=flags)


def test_no_catalogue_and_no_photograph(capstone: Path, tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="no such catalogue"):
        prepare(tmp_path / "nowhere", tmp_path / "w")
    shutil.rmtree(capstone / "images")
    with pytest.raises(CatalogError, match="Not one photograph"):
        prepare(capstone, tmp_path / "w")
    with pytest.raises(WorkspaceError, match="hangtag prepare"):
        read_prepared(Workspace.at(tmp_path / "w"))


def test_processes_give_what_one_gives(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    lines = ["id,kind"]
    (tmp_path / "images").mkdir()
    for number in range(600):
        data = io.BytesIO()
        Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(data, "PNG")
        (tmp_path / "images" / f"{number}.png").write_bytes(data.getvalue() if number % 97 else b"")
        lines.append(f"{number},k")
    (tmp_path / "t.csv").write_text("\n".join(lines))
    flags = {"levels": "kind", "image": "images/{id}.png"}
    for name, workers in (("one", 1), ("two", 2)):
        config = PrepareConfig(image_size=(8, 8), workers=workers)
        prepare(tmp_path / "t.csv", tmp_path / name, config, overrides=flags)
    one, two = (read_prepared(Workspace.at(tmp_path / name)) for name in ("one", "two"))
    assert one.images.shape == (593, 8, 8, 3)
    assert (one.images == two.images).all()
    assert one.items.equals(two.items)


def test_photographs_that_no_row_names_are_listed(
    capstone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("spare/1.jpg", "images/06.jpg", "images/7.heic", "spare/notes.md", "images/x/8.png"):
        (capstone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(capstone / "images" / "5.jpg", capstone / name)
    # A photograph that is found under another spelling is used.
    (capstone / "images" / "2.jpg").rename(capstone / "images" / "2.JPG")
    unused = ["images/06.jpg", "images/7.heic", "images/x/8.png", "spare/1.jpg"]
    result = prepare(capstone, tmp_path / "w")
    assert result.metrics == {"rows": 5, "items": 5, "rejected": 0, "repaired_rows": 1, "unused_photographs": 4}
    table = pl.read_csv(tmp_path / "w" / "prepared" / "rejected.csv")
    assert table.select("image_path", "code").rows() == [(path, "unused_photograph") for path in unused]
    monkeypatch.setattr("hangtag.catalog.rejections.MAX_UNUSED_LINES", 2)
    prepare(capstone, tmp_path / "v")
    table = pl.read_csv(tmp_path / "v" / "prepared" / "rejected.csv")
    assert table["image_path"].to_list() == [*unused[:2], unused[-1]]
    assert table["reason"][-1] == "no row that was read names this one and 1 others"
