"""From a taxonomy's file to the catalogue's table with a column more: proposed, corrected by hand, written."""

import csv
import dataclasses
import re
from pathlib import Path

import openpyxl
import polars as pl
import pytest
from PIL import Image

import hangtag
from hangtag.config import ApplyConfig, MapTaxonomyConfig
from hangtag.errors import CatalogError, SettingsError, WorkspaceError
from hangtag.stages.apply import apply
from hangtag.stages.map_taxonomy import map_taxonomy
from hangtag.stages.prepare import prepare

TAXONOMY = """# Google_Product_Taxonomy_Version: 2021-09-21
166 - Apparel & Accessories
212 - Apparel & Accessories > Clothing > Shirts & Tops
204 - Apparel & Accessories > Clothing > Pants
187 - Apparel & Accessories > Shoes
"""
ROWS = (
    "id,kind,sort,title",
    "1,Apparel,Shirts,Blue shirt",
    '2,Apparel,Shirts,"Red shirt, long"',
    "3,Apparel,Trousers,Grey trousers",
    "4,Shoes,Shoes,Black shoe",
    "5,Apparel,Kurta,Green kurta",
    "6,NA,NA,Something",
)
DESCRIBED = {"id": "id", "name": "title", "levels": ["kind", "sort"], "image": "images/{id}.png"}
SHIRTS, PANTS = "Apparel & Accessories > Clothing > Shirts & Tops", "Apparel & Accessories > Clothing > Pants"


def draw(folder: Path) -> None:
    (folder / "images").mkdir(parents=True)
    for number in range(1, 7):
        Image.new("RGB", (30, 40), (number * 40, 0, 99)).save(folder / "images" / f"{number}.png")


@pytest.fixture
def taxonomy(tmp_path: Path) -> Path:
    path = tmp_path / "taxonomy.txt"
    path.write_text(TAXONOMY, encoding="utf-8")
    return path


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    draw(tmp_path / "shop")
    (tmp_path / "shop" / "t.csv").write_bytes("\r\n".join([*ROWS, ""]).encode("utf-8-sig"))
    return tmp_path / "shop"


@pytest.fixture
def workspace(shop: Path, tmp_path: Path) -> Path:
    prepare(shop, tmp_path / "w", overrides=DESCRIBED)
    return tmp_path / "w"


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def confirm(workspace: Path, *replaced: tuple[str, str]) -> ApplyConfig:
    """Return the settings of `apply` with a copy of the mapping that a person has edited."""
    text = (workspace / "taxonomy" / "mapping.csv").read_text(encoding="utf-8")
    for pattern, new in replaced:
        text, count = re.subn(pattern, new, text)
        assert count == 1
    path = workspace.parent / "confirmed.csv"
    path.write_text(text, encoding="utf-8")
    return ApplyConfig(taxonomy_mapping=str(path))


def test_every_category_has_a_row_and_what_is_not_certain_is_open(workspace: Path, taxonomy: Path) -> None:
    result = hangtag.map_taxonomy(workspace, taxonomy=taxonomy)
    rows = {row["sort"]: row for row in read(result.folder / "mapping.csv")}
    assert {sort: (row["items"], row["proposed_id"]) for sort, row in rows.items()} == {
        "Shirts": ("2", "212"),
        "Kurta": ("1", ""),
        "Trousers": ("1", "204"),
        "Shoes": ("1", "187"),
    }
    assert rows["Trousers"]["proposed_path"] == PANTS
    assert "synonym; parents agree (Apparel)" in rows["Trousers"]["evidence"]
    assert rows["Kurta"]["confidence"] == ""
    assert result.metrics == {
        "categories": 4,
        "taxonomy_categories": 4,
        "proposed": 3,
        "left_open": 1,
        "items": 5,
        "items_with_category": 4,
    }
    assert read(result.folder / "categories.csv")[1] == {"id": "212", "path": SHIRTS}
    assert map_taxonomy(workspace, taxonomy=taxonomy).skipped


def test_the_corrected_table_has_one_more_column_and_no_other_change(
    workspace: Path, taxonomy: Path, shop: Path
) -> None:
    map_taxonomy(workspace, taxonomy=taxonomy)
    result = apply(workspace, confirm(workspace, ("Apparel,Kurta,1,,", "Apparel,Kurta,1,166,")))
    added = ("google_product_category", "212", "212", "204", "187", "166", "")
    wanted = [f"{row},{cell}" for row, cell in zip(ROWS, added, strict=True)]
    corrected = workspace / "review" / "corrected" / "t.csv"
    assert corrected.read_bytes() == "\r\n".join([*wanted, ""]).encode("utf-8-sig")
    assert (shop / "t.csv").read_bytes() == "\r\n".join([*ROWS, ""]).encode("utf-8-sig")
    assert (result.metrics["items_with_taxonomy"], result.metrics["items_without_taxonomy"]) == (5, 1)
    listed = {row["item_id"]: row for row in read(workspace / "review" / "taxonomy.csv")}
    assert listed["3"]["taxonomy_path"] == PANTS
    assert listed["6"]["not_written"] == "the item has no category"


def test_heading_and_value_are_the_user_s(workspace: Path, taxonomy: Path) -> None:
    map_taxonomy(workspace, taxonomy=taxonomy)
    path = confirm(workspace).taxonomy_mapping
    apply(workspace, ApplyConfig(taxonomy_mapping=path, taxonomy_column="Google path", taxonomy_value="path"))
    lines = (workspace / "review" / "corrected" / "t.csv").read_text(encoding="utf-8-sig").splitlines()
    assert (lines[0], lines[1]) == (f"{ROWS[0]},Google path", f"{ROWS[1]},{SHIRTS}")


def test_a_taxonomy_without_ids_has_none_in_any_column(workspace: Path, tmp_path: Path) -> None:
    parents = ["Apparel & Accessories", "Apparel & Accessories > Clothing"]
    paths = [*parents, SHIRTS, PANTS, "Apparel & Accessories > Shoes"]
    (tmp_path / "paths.txt").write_text("\n".join(paths), encoding="utf-8")
    result = map_taxonomy(workspace, taxonomy=tmp_path / "paths.txt")
    assert result.metrics["proposed"] == 3
    rows = {row["sort"]: row for row in read(workspace / "taxonomy" / "mapping.csv")}
    assert (rows["Shirts"]["proposed_id"], rows["Shirts"]["proposed_path"]) == ("", SHIRTS)
    assert rows["Shirts"]["candidates"].startswith(f"{SHIRTS} (")
    config = confirm(workspace, ("Apparel,Kurta,1,,,", "Apparel,Kurta,1,,Apparel & Accessories,"))
    apply(workspace, config)
    lines = (workspace / "review" / "corrected" / "t.csv").read_text(encoding="utf-8-sig").splitlines()
    assert (lines[1], lines[5]) == (f"{ROWS[1]},{SHIRTS}", f"{ROWS[5]},Apparel & Accessories")
    listed = read(workspace / "review" / "taxonomy.csv")
    assert (listed[0]["taxonomy_id"], listed[0]["taxonomy_path"]) == ("", SHIRTS)
    with pytest.raises(SettingsError, match="--taxonomy-value id: the file that `map-taxonomy` read has no ids"):
        apply(workspace, dataclasses.replace(config, taxonomy_value="id"))


@pytest.mark.parametrize(
    ("more", "first", "heading"),
    [
        ("", "166 - Apparel", "Google Shopping / Google Product Category"),
        (",Google shopping / Google product category", "166 - Apparel", "Google shopping / Google product category"),
        (",google_product_category", "166 - Apparel", "google_product_category"),
        (",Product category", "gid://shopify/TaxonomyCategory/aa : Apparel", "Product category"),
    ],
)
def test_a_shop_s_export_gets_the_column_that_the_shop_reads(
    tmp_path: Path, more: str, first: str, heading: str
) -> None:
    draw(tmp_path / "shop")
    header = f"Handle,Title,Type,Image Src{more}"
    rows = [
        f"p{number},Shirt {number},Shirts,https://example.com/{number}.png{',' if more else ''}" for number in (1, 2)
    ]
    table = tmp_path / "shop" / "products_export.csv"
    table.write_text("\n".join([header, *rows, ""]), encoding="utf-8")
    prepare(table, tmp_path / "w")
    name, path = first.split(" ", 1)[0], tmp_path / "taxonomy.txt"
    lines = [first, *([f"{name[:-1]}7 - Apparel > Shirts"] if name == "166" else [f"{name}-1 : Apparel > Shirts"])]
    path.write_text("\n".join(lines), encoding="utf-8")
    map_taxonomy(tmp_path / "w", taxonomy=path)
    result = apply(tmp_path / "w", ApplyConfig(taxonomy_mapping=str(tmp_path / "w" / "taxonomy" / "mapping.csv")))
    assert result.metrics["taxonomy_column"] == heading
    [written] = (tmp_path / "w" / "review" / "corrected").iterdir()
    found = read(written)
    assert [row[heading] for row in found] == ["167" if name == "166" else f"{name}-1"] * 2
    assert list(found[0]) == (header.split(",") if more else [*header.split(","), heading])


def test_products_that_prepare_could_not_use_are_told_apart(shop: Path, tmp_path: Path, taxonomy: Path) -> None:
    (shop / "images" / "2.png").unlink()
    prepare(shop, tmp_path / "w", overrides=DESCRIBED)
    map_taxonomy(tmp_path / "w", taxonomy=taxonomy)
    counts = apply(tmp_path / "w", confirm(tmp_path / "w")).metrics
    assert (counts["items_with_taxonomy"], counts["items_without_taxonomy"]) == (4, 2)
    assert counts["of_these_not_prepared"] == 1


def test_cells_of_a_column_that_is_there_change_only_where_a_category_is_confirmed(
    workspace: Path, taxonomy: Path
) -> None:
    map_taxonomy(workspace, taxonomy=taxonomy)
    path = confirm(workspace).taxonomy_mapping
    apply(workspace, ApplyConfig(taxonomy_mapping=path, taxonomy_column="title"))
    lines = (workspace / "review" / "corrected" / "t.csv").read_text(encoding="utf-8-sig").splitlines()
    assert lines == [
        ROWS[0],
        "1,Apparel,Shirts,212",
        '2,Apparel,Shirts,"212"',
        "3,Apparel,Trousers,204",
        "4,Shoes,Shoes,187",
        *ROWS[5:],
    ]
    with pytest.raises(SettingsError, match=r"own categories or ids are in the column.*--taxonomy-column"):
        apply(workspace, ApplyConfig(taxonomy_mapping=path, taxonomy_column="sort"))


def test_an_unknown_id_is_an_error_with_its_line(workspace: Path, taxonomy: Path) -> None:
    map_taxonomy(workspace, taxonomy=taxonomy)
    with pytest.raises(SettingsError, match=r"Line \d of .*confirmed\.csv has a proposed_id .* Received: '2040'"):
        apply(workspace, confirm(workspace, (",204,", ",2040,")))
    assert not (workspace / "review" / "corrected").exists()


def test_a_category_that_is_not_in_the_mapping_is_listed(workspace: Path, taxonomy: Path) -> None:
    map_taxonomy(workspace, taxonomy=taxonomy)
    apply(workspace, confirm(workspace, ("(?m)^Shoes,.*\n", "")))
    listed = {row["item_id"]: row["not_written"] for row in read(workspace / "review" / "taxonomy.csv")}
    assert listed["4"] == "the mapping has no such category"
    assert listed["5"] == "the mapping has no public category for it"


def test_without_a_mapping_there_is_nothing_to_apply(workspace: Path, taxonomy: Path, tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="Nothing is decided yet"):
        apply(workspace)
    with pytest.raises(WorkspaceError, match="hangtag map-taxonomy FILE"):
        apply(workspace, ApplyConfig(taxonomy_mapping=str(tmp_path / "m.csv")))
    map_taxonomy(workspace, taxonomy=taxonomy)
    with pytest.raises(SettingsError, match=r"The file of --taxonomy-mapping cannot be read.*m\.csv"):
        apply(workspace, ApplyConfig(taxonomy_mapping=str(tmp_path / "m.csv")))
    with pytest.raises(SettingsError, match="need --taxonomy-mapping"):
        apply(workspace, ApplyConfig(taxonomy_column="x"))


def test_an_edited_mapping_is_not_replaced_but_kept_on_request(workspace: Path, taxonomy: Path) -> None:
    path = workspace / "taxonomy" / "mapping.csv"
    map_taxonomy(workspace, taxonomy=taxonomy)
    edited = path.read_text(encoding="utf-8").replace("Kurta,1,,", "Kurta,1,212,")
    path.write_text(edited, encoding="utf-8")
    taxonomy.write_text(TAXONOMY + "8 - Home\n", encoding="utf-8")
    with pytest.raises(SettingsError, match="was edited and would be replaced"):
        map_taxonomy(workspace, taxonomy=taxonomy)
    assert path.read_text(encoding="utf-8") == edited
    result = map_taxonomy(workspace, MapTaxonomyConfig(keep=str(path)), taxonomy=taxonomy)
    rows = {row["sort"]: row for row in read(path)}
    assert (rows["Kurta"]["proposed_path"], rows["Kurta"]["confidence"]) == (SHIRTS, "1.0")
    assert (result.metrics["kept"], result.metrics["proposed"], result.metrics["left_open"]) == (4, 0, 0)


def test_a_taxonomy_that_is_none_is_an_error(workspace: Path, shop: Path) -> None:
    with pytest.raises(CatalogError, match="no category paths"):
        map_taxonomy(workspace, taxonomy=shop / "t.csv")


def test_a_workbook_and_parquet_get_the_column(tmp_path: Path, taxonomy: Path) -> None:
    cells = [[cell.strip('"') for cell in next(csv.reader([row]))] for row in ROWS]
    draw(tmp_path / "excel")
    book = openpyxl.Workbook()
    for row in cells:
        book.active.append(row)
    book.save(tmp_path / "excel" / "t.xlsx")
    draw(tmp_path / "parquet")
    pl.DataFrame(cells[1:], schema=cells[0], orient="row").write_parquet(tmp_path / "parquet" / "t.parquet")
    found = {}
    for kind in ("excel", "parquet"):
        workspace = tmp_path / f"w-{kind}"
        prepare(tmp_path / kind, workspace, overrides=DESCRIBED)
        map_taxonomy(workspace, taxonomy=taxonomy)
        apply(workspace, confirm(workspace))
        [path] = (workspace / "review" / "corrected").iterdir()
        if kind == "parquet":
            found[kind] = pl.read_parquet(path)["google_product_category"].to_list()
        else:
            written = [cell.value for cell in openpyxl.load_workbook(path).worksheets[0]["E"]]
            assert written.pop(0) == "google_product_category"
            found[kind] = written
    assert found["parquet"] == found["excel"] == ["212", "212", "204", "187", None, None]


def test_folders_and_tables_that_cannot_be_written_get_a_list(tmp_path: Path, taxonomy: Path) -> None:
    for name in ("Shirts", "Trousers"):
        (tmp_path / "tree" / name).mkdir(parents=True)
        Image.new("RGB", (30, 40), (len(name) * 20, 0, 0)).save(tmp_path / "tree" / name / "1.png")
    workspace = tmp_path / "w"
    prepare(tmp_path / "tree", workspace)
    map_taxonomy(workspace, taxonomy=taxonomy)
    result = apply(workspace, confirm(workspace))
    listed = read(workspace / "review" / "taxonomy.csv")
    assert [row["taxonomy_id"] for row in listed] == ["212", "204"]
    assert {row["not_written"] for row in listed} == {"a catalogue of folders has no table"}
    assert result.metrics["taxonomy_not_written"] == 2
    assert not (workspace / "review" / "corrected").exists()


def test_a_table_that_cannot_be_written_stays_away_and_the_list_says_why(
    workspace: Path, taxonomy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise CatalogError("The workbook t.xls cannot be written.")

    map_taxonomy(workspace, taxonomy=taxonomy)
    monkeypatch.setattr("hangtag.reviewing.items.add_column", refuse)
    result = apply(workspace, confirm(workspace))
    assert not (workspace / "review" / "corrected").exists()
    assert (result.metrics["taxonomy_not_written"], result.metrics["items_with_taxonomy"]) == (4, 4)
    [first, *_] = read(workspace / "review" / "taxonomy.csv")
    assert (first["taxonomy_id"], first["not_written"]) == ("212", "The workbook t.xls cannot be written.")


def test_of_a_product_of_several_rows_those_with_its_category_get_it(tmp_path: Path, taxonomy: Path) -> None:
    draw(tmp_path / "shop")
    rows = ["id,kind,image", "1,Shirts,images/1.png", ",,images/2.png", "3,Trousers,images/3.png", "3,Trousers,"]
    (tmp_path / "shop" / "t.csv").write_text("\n".join(rows), encoding="utf-8")
    described = {"id": "id", "levels": ["kind"], "image_column": "image", "merge_rows": "continued"}
    prepare(tmp_path / "shop", tmp_path / "w", overrides=described)
    map_taxonomy(tmp_path / "w", taxonomy=taxonomy)
    apply(tmp_path / "w", confirm(tmp_path / "w"))
    lines = (tmp_path / "w" / "review" / "corrected" / "t.csv").read_text(encoding="utf-8").splitlines()
    assert [line.rpartition(",")[2] for line in lines[1:]] == ["212", "", "204", "204"]


def test_the_command_line_maps_and_applies(workspace: Path, taxonomy: Path) -> None:
    from typer.testing import CliRunner

    from hangtag.cli import app

    place = ["--workspace", str(workspace)]
    done = CliRunner().invoke(app, ["map-taxonomy", str(taxonomy), *place], catch_exceptions=False)
    assert "proposed 3 · left open 1" in done.output
    mapping = str(workspace / "taxonomy" / "mapping.csv")
    done = CliRunner().invoke(app, ["apply", "--taxonomy-mapping", mapping, *place], catch_exceptions=False)
    assert "items with taxonomy 4" in done.output
    done = CliRunner().invoke(app, ["suggest-merges", *place], catch_exceptions=False)
    assert "labels 4" in done.output
