"""Test that the demo catalogue is reproducible, has every planted defect, and that `prepare` reports each of them."""

import random
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from hangtag.catalog.prepared_items import Prepared, read_prepared
from hangtag.config import PrepareConfig
from hangtag.demo_catalog.catalog import OUTSIDE_ID, PHOTOGRAPH_DEFECTS, write_demo_catalog
from hangtag.demo_catalog.drawing import HEIGHT, WIDTH, Canvas, Look
from hangtag.demo_catalog.rows import CAPSTONE_COLUMNS, KINDS
from hangtag.demo_catalog.shapes import SILHOUETTES
from hangtag.errors import CatalogError, SettingsError
from hangtag.stages.prepare import prepare
from hangtag.workspace import Workspace

ITEMS_PER_KIND = 12


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_demo_catalog(tmp_path_factory.mktemp("demo") / "catalog", items_per_kind=ITEMS_PER_KIND)


@pytest.fixture(scope="module")
def workspace(catalog: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo-workspace")
    prepare(catalog, folder, PrepareConfig(workers=1))
    return folder


@pytest.fixture(scope="module")
def prepared(workspace: Path) -> Prepared:
    return read_prepared(Workspace.at(workspace))


def read_defects(catalog: Path) -> dict[str, list[str]]:
    """Return the ids of the items with each defect."""
    found: dict[str, list[str]] = {}
    for line in (catalog / "defects.csv").read_text().splitlines()[1:]:
        item_id, defect = line.split(",")
        found.setdefault(defect, []).append(item_id)
    return found


def read_pixels(catalog: Path, item_id: str) -> np.ndarray:
    with Image.open(catalog / "images" / f"{item_id}.jpg") as image:
        return np.asarray(image.convert("RGB"), dtype=int)


def test_the_demo_catalog_has_the_layout_of_the_real_catalog(catalog: Path) -> None:
    header, *lines = (catalog / "styles.csv").read_text().splitlines()
    assert header == ",".join(CAPSTONE_COLUMNS)
    photographs = {path.stem for path in (catalog / "images").iterdir()}
    assert photographs < {line.split(",")[0] for line in lines}
    assert not list(catalog.parent.parent.glob("outside*"))


def test_the_default_size_covers_every_kind_of_product(tmp_path: Path) -> None:
    lines = (write_demo_catalog(tmp_path / "catalog") / "styles.csv").read_text().splitlines()[1:]
    counts = Counter(line.split(",")[4] for line in lines)
    assert 700 <= len(lines) <= 1000
    assert set(SILHOUETTES) | {"Free Gifts"} == set(counts)
    assert all(counts[kind.article] >= 20 for kind in KINDS)
    assert counts["Cushion Covers"] == 1


def test_the_same_seed_writes_the_same_bytes(catalog: Path, tmp_path: Path) -> None:
    def read(folder: Path) -> dict[str, bytes]:
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    assert read(write_demo_catalog(tmp_path / "again", items_per_kind=ITEMS_PER_KIND)) == read(catalog)
    assert read(write_demo_catalog(tmp_path / "other", items_per_kind=ITEMS_PER_KIND, seed=1)) != read(catalog)


def test_a_second_call_rewrites_only_damaged_files(tmp_path: Path) -> None:
    folder = write_demo_catalog(tmp_path / "catalog", items_per_kind=ITEMS_PER_KIND)
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in paths}
    torn = sorted((folder / "images").iterdir())[0]
    torn.write_bytes(b"half")
    (folder / "images" / "999999.jpg").write_bytes(b"of an earlier, larger catalogue")
    write_demo_catalog(folder, items_per_kind=ITEMS_PER_KIND)
    assert sorted(path for path in folder.rglob("*") if path.is_file()) == paths
    assert {path.read_bytes() for path in [torn]} == {before[torn][1]}
    assert all(path.stat().st_mtime_ns == before[path][0] for path in paths if path != torn)


def test_a_folder_with_other_files_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "styles.csv").write_text("id\n1\n")
    with pytest.raises(CatalogError, match="contains other files"):
        write_demo_catalog(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["styles.csv"]


def test_too_few_items_for_the_defects_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="Received: 9"):
        write_demo_catalog(tmp_path / "catalog", items_per_kind=9)


def test_names_contain_unescaped_commas_and_quotes(catalog: Path) -> None:
    defects = read_defects(catalog)
    lines = {line.split(",")[0]: line for line in (catalog / "styles.csv").read_text().splitlines()}
    assert [lines[item_id].count(",") for item_id in defects["comma in the name"]].count(len(CAPSTONE_COLUMNS)) == 4
    assert [lines[item_id].count(",") for item_id in defects["comma in the name"]].count(len(CAPSTONE_COLUMNS) + 1) == 1
    assert [lines[item_id].count('"') for item_id in defects["bare quote"]] == [1, 1]
    assert sum(',"' in line for line in lines.values()) == 1


def test_every_row_is_read_and_repaired_rows_are_counted(catalog: Path, prepared: Prepared) -> None:
    items = {row["item_id"]: row for row in prepared.items.iter_rows(named=True)}
    defects = read_defects(catalog)
    for item_id in defects["comma in the name"]:
        assert "," in items[item_id]["productDisplayName"]
    for item_id in defects["bare quote"]:
        assert '"' in items[item_id]["productDisplayName"]
    for column, value, spelling in [("usage", "NA", "NA"), ("baseColour", "NA", "NA"), ("year", "", "empty")]:
        assert [items[item_id][column] for item_id in defects[f"{column} is {spelling}"]] == [value]


def test_unusable_items_are_rejected_with_the_right_code(catalog: Path, workspace: Path) -> None:
    rejected = pl.read_csv(workspace / "prepared" / "rejected.csv", infer_schema=False)
    codes = {
        "no photograph": "missing_photograph",
        "truncated": "truncated",
        "empty file": "empty_file",
        "not an image": "not_an_image",
        "too many pixels": "too_many_pixels",
        "path leaves the folder": "outside_catalog",
    }
    defects = read_defects(catalog)
    expected = {(item_id, code) for defect, code in codes.items() for item_id in defects[defect]}
    expected |= {(item_id, "duplicate_id") for item_id in defects["id given twice"]}
    assert set(rejected.select("item_id", "code").iter_rows()) == expected
    assert (OUTSIDE_ID, "outside_catalog") in expected
    assert len(rejected) == len(expected) == 3 + 6


def test_unusual_photographs_are_kept(catalog: Path, prepared: Prepared) -> None:
    defects = read_defects(catalog)
    rows = {row["item_id"]: row for row in prepared.items.iter_rows(named=True)}
    assert {item_id for item_id, row in rows.items() if row["image_mode"] == "L"} == set(defects["grayscale"])
    sizes = {item_id for item_id, row in rows.items() if (row["image_width"], row["image_height"]) != (60, 80)}
    assert sizes == set(defects["odd size"])
    assert [read_pixels(catalog, item_id).min() for item_id in defects["all white"]] == [255]
    assert {defect: len(defects[defect]) for defect in PHOTOGRAPH_DEFECTS} == PHOTOGRAPH_DEFECTS


def test_identical_photographs_are_equal_and_some_labels_conflict(catalog: Path, prepared: Prepared) -> None:
    defects = read_defects(catalog)
    rows = {row["item_id"]: row for row in prepared.items.iter_rows(named=True)}
    groups: dict[bytes, list[str]] = {}
    for item_id in defects["identical photograph"]:
        groups.setdefault((catalog / "images" / f"{item_id}.jpg").read_bytes(), []).append(item_id)
    assert sorted(map(len, groups.values())) == [2] * 8
    apart = [pair for pair in groups.values() if len({rows[item_id]["articleType"] for item_id in pair}) == 2]
    assert sorted(item_id for pair in apart for item_id in pair) == sorted(defects["labels disagree"])
    assert len(apart) == 3


def test_nearly_identical_photographs_differ_by_about_one(catalog: Path) -> None:
    defects = read_defects(catalog)["nearly identical photograph"]
    originals, copies = defects[: len(defects) // 2], defects[len(defects) // 2 :]
    distances = [
        min(np.abs(read_pixels(catalog, copy) - read_pixels(catalog, original)).mean() for original in originals)
        for copy in copies
    ]
    assert len(copies) == 6
    assert all(0 < distance < 4 for distance in distances)


def test_some_free_items_have_a_name_without_the_kind(catalog: Path, prepared: Prepared) -> None:
    free = prepared.items.filter(pl.col("masterCategory") == "Free Items")
    blank = set(read_defects(catalog)["name tells no kind"])
    words = {word.split()[-1] for kind in KINDS for word in kind.words}
    tells = {row["item_id"]: bool(words & set(row["productDisplayName"].split())) for row in free.iter_rows(named=True)}
    assert {item_id for item_id, tell in tells.items() if not tell} == blank
    assert 0 < len(blank) < len(free) / 2


@pytest.mark.parametrize("kind", sorted(SILHOUETTES))
def test_a_product_is_drawn_in_its_colour_on_a_light_background(kind: str) -> None:
    rng = random.Random(0)
    canvas = Canvas(Look(color=(190, 40, 40), accent=(190, 40, 40)))
    SILHOUETTES[kind](canvas, rng)
    pixels = np.asarray(canvas.finish(rng), dtype=int)
    red = pixels[..., 0] - pixels[..., 1:].max(axis=2) > 40
    border = np.concatenate([pixels[0], pixels[-1]])
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    assert 0.03 < red.mean() < 0.6
    assert border.mean() > 220
