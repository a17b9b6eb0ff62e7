"""Trees of photographs as people have them: uneven, with strays, and with files that are none."""

import unicodedata
from pathlib import Path

import polars as pl
import pytest
from PIL import Image

from hangtag.catalog.image_tree import ImageTree, read_tree
from hangtag.catalog.source import FolderSource
from hangtag.config import PrepareConfig
from hangtag.errors import CatalogError
from hangtag.stages.audit import audit
from hangtag.stages.clean import clean
from hangtag.stages.explore import explore
from hangtag.stages.prepare import prepare

SMALL = PrepareConfig(image_size=(8, 8), workers=1)


def read(folder: Path, *names: str) -> ImageTree:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return read_tree(FolderSource(folder), {})


def list_labels(tree: ImageTree) -> dict[str, tuple[str, ...]]:
    return {row["path"]: tuple(row[level] for level in tree.schema.levels) for row in tree.rows}


def number(folder: str, count: int) -> list[str]:
    return [f"{folder}/{index:02}.jpg" for index in range(count)]


def test_branches_of_several_depths_keep_all_their_folders(tmp_path: Path) -> None:
    tree = read(
        tmp_path,
        "wear/top/shirt/1.jpg",
        "wear/top/tee/2.jpg",
        "feet/shoe/3.jpg",
        "hats/4.jpg",
        "stray.jpg",
        "wear/5.jpg",
    )
    assert list_labels(tree) == {
        "wear/top/shirt/1.jpg": ("wear", "top", "shirt"),
        "wear/top/tee/2.jpg": ("wear", "top", "tee"),
        # What has no folders in it is a class at the levels below it too.
        "feet/shoe/3.jpg": ("feet", "shoe", "shoe"),
        "hats/4.jpg": ("hats", "hats", "hats"),
        "stray.jpg": ("", "", ""),
        "wear/5.jpg": ("wear", "", ""),
    }
    assert tree.schema.taxonomy == "folders"
    assert tree.skipped_folders == []


def test_an_even_tree_has_the_usual_rules(tmp_path: Path) -> None:
    assert read(tmp_path, "a/b/1.jpg", "c/d/2.jpg").schema.taxonomy == ""


@pytest.mark.parametrize(
    ("names", "levels"),
    [
        # A folder above everything is passed over, with a stray photograph in it too.
        ([*number("shop/bags", 10), *number("shop/hats", 10), "shop/banner.jpg"], {"bags", "hats", ""}),
        # Where most photographs lie in it, it is a category.
        ([*number("bags", 10), "bags/detail/1.jpg"], {"bags"}),
        (number("bags", 3), {"bags"}),
    ],
)
def test_a_common_folder_is_a_category_where_it_holds_photographs(
    names: list[str], levels: set[str], tmp_path: Path
) -> None:
    assert {found[0] for found in list_labels(read(tmp_path, *names)).values()} == levels


@pytest.mark.parametrize("test", ["test", "Test1", "test_set", "test_images/test_images"])
def test_a_test_split_without_categories_is_no_split(test: str, tmp_path: Path) -> None:
    tree = read(tmp_path, *number("train/bags", 2), *number("train/hats", 2), *number(test, 3))
    found = list_labels(tree)
    assert [found[f"{test}/{index:02}.jpg"] for index in range(3)] == [("",)] * 3
    assert {label for (label,) in found.values()} == {"bags", "hats", ""}
    assert tree.schema.split is None


def test_splits_with_categories_are_kept_beside_strays(tmp_path: Path) -> None:
    tree = read(tmp_path, "train/bags/1.jpg", "validation-set/hats/2.jpg", "testing/3.jpg", "logo.jpg")
    assert tree.schema.split == "given"
    assert [(row["path"], row["category"], row["given"]) for row in tree.rows] == [
        ("logo.jpg", "", ""),
        ("testing/3.jpg", "", "test"),
        ("train/bags/1.jpg", "bags", "train"),
        ("validation-set/hats/2.jpg", "hats", "val"),
    ]


@pytest.mark.parametrize(
    ("names", "splits", "labels"),
    [
        (["bags/train/1.jpg", "bags/Test/2.jpg", "hats/train/3.jpg"], ["test", "train", "train"], {"bags", "hats"}),
        (["wear/tops/train/1.jpg", "hats/val/2.jpg"], ["val", "train"], {"wear", "hats"}),
        (["bags/train/red/1.jpg", "bags/test/red/x/2.jpg"], ["test", "train"], {"red"}),
    ],
)
def test_splits_inside_categories(names: list[str], splits: list[str], labels: set[str], tmp_path: Path) -> None:
    tree = read(tmp_path, *names)
    assert [row["given"] for row in tree.rows] == splits
    assert {found[0] for found in list_labels(tree).values()} == labels


@pytest.mark.parametrize(
    "names",
    [
        # A category may be called so, and one split alone is none.
        ["shoes/training/1.jpg", "shoes/running/2.jpg"],
        ["shoes/training/1.jpg", "shirts/training/2.jpg"],
        ["bags/train/1.jpg", "bags/test/2.jpg", "hats/3.jpg"],
    ],
)
def test_a_word_for_a_split_in_some_categories_is_a_category(names: list[str], tmp_path: Path) -> None:
    tree = read(tmp_path, *names)
    assert tree.schema.split is None
    assert any("train" in value for found in list_labels(tree).values() for value in found)


def test_what_is_no_photograph_is_said_once_a_kind(tmp_path: Path) -> None:
    thumbnails = [f"bags/@eaDir/{index}.jpg/SYNOPHOTO_THUMB_M.jpg" for index in range(3)]
    tree = read(tmp_path, "bags/1.jpg", "hats/2.jpg", "notes.txt", "bags/more.TXT", "hats/film.mp4", "x", *thumbnails)
    assert list(list_labels(tree)) == ["bags/1.jpg", "hats/2.jpg"]
    assert {code for _, code, _ in tree.skipped_folders} == {"not_used"}
    told = {path: reason for path, _, reason in tree.skipped_folders}
    assert set(told) == {thumbnails[0], "bags/more.TXT", "hats/film.mp4", "x"}
    assert "@eaDir" in told[thumbnails[0]]
    assert "3 files" in told[thumbnails[0]]
    assert "2 files, of which this is the first, of the kind .txt" in told["bags/more.TXT"]


def test_a_photograph_in_too_many_folders_does_not_refuse_the_others(tmp_path: Path) -> None:
    deep = "/".join(["d"] * 60)
    tree = read(tmp_path, "bags/1.jpg", f"{deep}/2.jpg")
    assert list(list_labels(tree)) == ["bags/1.jpg"]
    assert [(path, code) for path, code, _ in tree.skipped_folders] == [(f"{deep}/2.jpg", "too_many_folders")]


def test_photographs_without_any_folder_are_no_tree(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="not sorted into folders"):
        read(tmp_path, "1.jpg", "2.jpg")
    with pytest.raises(CatalogError, match="not sorted into folders"):
        read(tmp_path, "notes.txt")


def test_a_category_is_one_however_its_accents_are_written(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "Schürzen") for form in ("NFC", "NFD"))
    tree = read(tmp_path, f"{composed}/1.jpg", f"{decomposed}/2.jpg")
    assert set(list_labels(tree).values()) == {(composed,)}


def test_the_photograph_that_is_read_keeps_its_id_beside_one_that_is_not(tmp_path: Path) -> None:
    tree = read(tmp_path, "bags/1.heic", "bags/1.jpg", "hats/1.jpg")
    assert {row["path"]: row["id"] for row in tree.rows} == {
        "bags/1.heic": "bags/1.heic",
        "bags/1.jpg": "bags/1",
        "hats/1.jpg": "hats/1",
    }


def draw(path: Path, shade: int, kind: str = "JPEG") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.effect_noise((8, 8), shade).convert("RGB").save(path, kind)


def test_every_picture_is_an_item_or_has_a_line(tmp_path: Path) -> None:
    for index, suffix in enumerate((".jpg", ".jfif", ".JPE", ".heic")):
        draw(tmp_path / "tree" / "bags" / f"{index}{suffix}", 40 + index)
    (tmp_path / "tree" / "bags" / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200))
    draw(tmp_path / "tree" / "bags" / "camera.NEF", 50, "TIFF")
    (tmp_path / "tree" / "bags" / "web.avif").write_bytes(b"\0\0\0\x18ftypavif\0\0\0\0mif1miaf" + bytes(200))
    counts = prepare(tmp_path / "tree", tmp_path / "w", SMALL).metrics
    # What is called .heic here is a JPEG, which is read.
    assert (counts["rows"], counts["items"], counts["rejected"]) == (7, 4, 3)
    table = pl.read_csv(tmp_path / "w" / "prepared" / "rejected.csv", infer_schema=False)
    assert sorted(table.select("image_path", "code", "reason").iter_rows()) == [
        ("bags/camera.NEF", "not_an_image", "a camera's raw file (.nef) is not read; save it as JPEG"),
        ("bags/phone.heic", "not_an_image", "HEIC pictures are not read; save it as JPEG, PNG or WebP"),
        ("bags/web.avif", "not_an_image", "AVIF pictures are not read; save it as JPEG, PNG or WebP"),
    ]


def test_an_uneven_tree_is_cleaned_explored_and_audited(tmp_path: Path) -> None:
    for folder in ("wear/top/shirt", "wear/top/tee", "feet/shoe"):
        for index in range(8):
            draw(tmp_path / "tree" / folder / f"{index}.png", 20 + index, "PNG")
    draw(tmp_path / "tree" / "logo.png", 99, "PNG")
    workspace = tmp_path / "w"
    assert prepare(tmp_path / "tree", workspace, SMALL).metrics["missing"] == {"level_1": 1, "level_2": 1, "level_3": 1}
    clean(workspace)
    labels = pl.read_parquet(workspace / "labels" / "labels.parquet")
    assert dict(labels["label"].value_counts().iter_rows()) == {"shirt": 8, "tee": 8, "shoe": 8, "Unknown": 1}
    explore(workspace)
    audit(workspace)


def draw_tree(folder: Path) -> None:
    for number in range(12):
        draw(folder / ("bags", "hats")[number % 2] / f"{number:03}.png", 20 + 7 * number)


@pytest.mark.parametrize(
    "text", ["class,count\nbags,6\nhats,6\n", "note\nmade in spring\n", "name;date\ncache;2024\nindex;2023\n"]
)
def test_a_table_that_lists_no_photographs_does_not_hide_a_tree(text: str, tmp_path: Path) -> None:
    draw_tree(tmp_path / "tree")
    (tmp_path / "tree" / "class_counts.csv").write_text(text)
    assert prepare(tmp_path / "tree", tmp_path / "w", SMALL).metrics["items"] == 12
    rejected = pl.read_csv(tmp_path / "w" / "prepared" / "rejected.csv")
    assert rejected.select("image_path", "code").rows() == [("class_counts.csv", "not_used")]


@pytest.mark.parametrize(
    "text",
    [
        "file,price\n" + "".join(f"{number:03}.png,5\n" for number in range(4)),
        "file,price\nbags/000.png,5\nbags/002.png,6\n",
        "number,price\n" + "".join(f"N{number},5\n" for number in range(9)),
    ],
)
def test_a_table_that_may_list_the_photographs_has_to_be_described(text: str, tmp_path: Path) -> None:
    draw_tree(tmp_path / "tree")
    (tmp_path / "tree" / "products.csv").write_text(text)
    with pytest.raises(CatalogError, match=r"products\.csv"):
        prepare(tmp_path / "tree", tmp_path / "w", SMALL)
