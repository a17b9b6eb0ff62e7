"""The cleaned catalogue as an image folder of Hugging Face, and hangtag's own reading of it."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from exchanged import check_golden
from issue_queue import make_queue, write_issues
from PIL import Image
from test_label_studio import decide

from hangtag.catalog.parquet_table import read_arrow, read_parquet_table
from hangtag.catalog.prepared_items import read_prepared
from hangtag.config import PrepareConfig
from hangtag.errors import WorkspaceError
from hangtag.manifest import StageRecord
from hangtag.stages.apply import apply
from hangtag.stages.clean import clean
from hangtag.stages.exchange import exchange
from hangtag.stages.prepare import prepare
from hangtag.workspace import Workspace


def read_labels(workspace: Workspace) -> pl.DataFrame:
    return pl.read_parquet(workspace.labels / "labels.parquet").filter(pl.col("split").is_not_null())


def read_metadata(folder: Path) -> pl.DataFrame:
    """Read the tables of all splits as hangtag does, with the names of classes."""
    tables = []
    for path in sorted(folder.glob("*/metadata.parquet")):
        table = read_parquet_table(path.read_bytes(), path.name)
        tables.append(
            pl.DataFrame(dict(zip(table.columns, table.cells, strict=True))).with_columns(at=pl.lit(path.parent.name))
        )
    return pl.concat(tables)


@pytest.fixture
def cleaned(workspace: Workspace) -> Workspace:
    clean(workspace)
    return workspace


def test_hangtag_reads_the_same_catalogue_back(cleaned: Workspace, tmp_path: Path) -> None:
    result = exchange(cleaned, tool="hugging-face", output=tmp_path / "out")
    labels = read_labels(cleaned)
    assert result.metrics["items"] == result.metrics["photographs_original"] == len(labels)
    again = Workspace.at(tmp_path / "again")
    prepared = prepare(tmp_path / "out", again)
    assert (prepared.metrics["items"], prepared.metrics["rejected"]) == (len(labels), 0)
    assert "photographs_not_read_in" not in prepared.metrics
    # Missing cells are missing, however they were written.
    before, after = (read_prepared(place).known.with_row_index("row") for place in (cleaned, again))
    both = after.join(before, on="item_id", suffix="_before")
    assert len(both) == len(labels)
    for column in ("masterCategory", "subCategory", "articleType", "gender", "year", "productDisplayName"):
        assert both[column].to_list() == both[f"{column}_before"].to_list(), column
    splits = dict(labels.select("item_id", "split").iter_rows())
    assert both["given_split"].to_list() == [splits[item_id] for item_id in both["item_id"]]
    images = [np.load(place.prepared / "images.npy") for place in (again, cleaned)]
    assert np.array_equal(images[0][both["row"]], images[1][both["row_before"]])
    # Cleaned again, with the rules that came along, it has the same labels and splits; a class that lost items without
    # a split may be too rare now.
    clean(again)
    columns = ["item_id", "label", "split"]
    cleaned_again = read_labels(again).select(columns)
    assert cleaned_again.join(labels.select(columns), on=columns).height == cleaned_again.height > len(labels) - 3


def test_each_split_is_a_folder_with_its_photographs(cleaned: Workspace, tmp_path: Path, drawn: Path) -> None:
    exchange(cleaned, tool="hugging-face", output=tmp_path / "out")
    table = read_metadata(tmp_path / "out")
    folders = {"train": "train", "val": "validation", "test": "test"}
    assert table["at"].to_list() == [folders[split] for split in table["split"]]
    for row in table.to_dicts():
        copy = tmp_path / "out" / row["at"] / row["file_name"]
        assert copy.read_bytes() == (drawn / "catalog" / "images" / f"{row['id']}.jpg").read_bytes()
    files = {path.name for path in (tmp_path / "out" / "test").iterdir()} - {"metadata.parquet"}
    assert files == set(table.filter(pl.col("at") == "test")["file_name"])


def test_what_is_in_no_split_is_listed(cleaned: Workspace, tmp_path: Path) -> None:
    result = exchange(cleaned, tool="hugging-face", output=tmp_path / "out")
    listed = json.loads((tmp_path / "out" / "left_out.json").read_text(encoding="utf-8"))
    everything = set(pl.read_parquet(cleaned.prepared / "items.parquet")["item_id"])
    assert {line["item_id"] for line in listed} == everything - set(read_labels(cleaned)["item_id"])
    assert len(listed) == result.metrics["left_out"] > 0
    labels = dict(pl.read_parquet(cleaned.labels / "labels.parquet").select("item_id", "label").iter_rows())
    for line in listed:
        assert ("Unknown" in line["reason"]) == (labels.get(line["item_id"]) == "Unknown")


def test_decisions_are_in_it_only_after_apply_and_clean(cleaned: Workspace, tmp_path: Path) -> None:
    decide(cleaned, 0, "accept")
    with pytest.raises(WorkspaceError, match="hangtag apply` and `hangtag clean"):
        exchange(cleaned, tool="hugging-face", output=tmp_path / "out")
    apply(cleaned)
    with pytest.raises(WorkspaceError, match="Run `hangtag clean"):
        exchange(cleaned, tool="hugging-face", output=tmp_path / "out")
    clean(cleaned)
    exchange(cleaned, tool="hugging-face", output=tmp_path / "out")
    item_id = make_queue(cleaned)[0]["item_id"]
    [row] = read_metadata(tmp_path / "out").filter(pl.col("id") == item_id).to_dicts()
    assert (row["articleType"], row["label"]) == ("Tshirts", "Tshirts")


def test_prepared_pixels_stand_in_for_photographs_that_are_gone(cleaned: Workspace, tmp_path: Path) -> None:
    manifest = cleaned.prepared / "manifest.json"
    origin = json.loads(manifest.read_text(encoding="utf-8"))
    StageRecord("prepare", cleaned.prepared, {}, {}).update(origin=origin["origin"] | {"catalog": str(tmp_path / "no")})
    result = exchange(cleaned, tool="hugging-face", output=tmp_path / "out")
    assert result.metrics["photographs_prepared"] == result.metrics["items"]
    images = np.load(cleaned.prepared / "images.npy")
    places = dict(read_labels(cleaned).select("item_id", "image_index").iter_rows())
    for row in read_metadata(tmp_path / "out").to_dicts():
        assert row["photograph"] == "prepared"
        with Image.open(tmp_path / "out" / row["at"] / row["file_name"]) as picture:
            assert picture.format == "PNG"
            assert np.array_equal(np.asarray(picture), images[places[row["id"]]])
    # Of the same size, they are read as they were.
    again = Workspace.at(tmp_path / "again")
    prepare(tmp_path / "out", again, PrepareConfig(image_size=(80, 60)))
    ids = pl.read_parquet(again.prepared / "items.parquet")["item_id"]
    assert np.array_equal(np.load(again.prepared / "images.npy"), images[[places[item_id] for item_id in ids]])


def write_catalog(folder: Path, drawn: Path, headings: list[str], rows: list[list[str]]) -> Path:
    """Write a table of the photographs of the drawn catalogue, which are named in the first column."""
    folder.mkdir()
    for row in rows:
        shutil.copy(drawn / "catalog" / "images" / row[0], folder / row[0])
    lines = [",".join(each) for each in (headings, *rows)]
    (folder / "goods.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def test_headings_with_another_meaning_are_renamed_and_paths_left_out(tmp_path: Path, drawn: Path) -> None:
    names = sorted(path.name for path in (drawn / "catalog" / "images").iterdir())[:24]
    kinds = ["Shoes", "Shirts"] * 12
    rows = [[name, f"p{n}", kind, f"{n}", "a.jpg"] for n, (name, kind) in enumerate(zip(names, kinds, strict=True))]
    catalog = write_catalog(tmp_path / "c", drawn, ["pic", "code", "label", "split", "back_file_name"], rows)
    place = Workspace.at(tmp_path / "w")
    prepare(catalog, place, overrides={"id": "code", "levels": "label", "image_column": "pic"})
    clean(place)
    result = exchange(place, tool="hugging-face", output=tmp_path / "out")
    assert result.metrics["columns_left_out"] == ["pic"]
    assert result.metrics["columns_renamed"] == [
        "label to catalog_label",
        "split to catalog_split",
        "back_file_name to catalog_back",
    ]
    again = prepare(tmp_path / "out", tmp_path / "again")
    items = again.items
    assert set(items["catalog_label"]) == {"Shoes", "Shirts"}
    assert sorted(items["item_id"]) == sorted(read_labels(place)["item_id"])


def test_the_files_are_those_of_the_golden_ones(tmp_path: Path, drawn: Path) -> None:
    names = [f"{number}.jpg" for number in sorted(int(path.stem) for path in (drawn / "catalog" / "images").iterdir())]
    kinds, splits = ["Shoes", "Shirts"] * 7 + ["N/A"], ["train", "val", "train", "train", "test"] * 3
    named = zip(names[: 15 * 4 : 4], kinds, splits, strict=True)
    rows = [[name, f"p{n}", kind, f"Thing {n}", split] for n, (name, kind, split) in enumerate(named)]
    catalog = write_catalog(tmp_path / "c", drawn, ["pic", "code", "kind", "title", "part"], rows)
    place = Workspace.at(tmp_path / "w")
    described = {"id": "code", "levels": "kind", "image_column": "pic", "split": "part", "name": "title"}
    prepare(catalog, place, overrides=described)
    clean(place)
    exchange(place, tool="hugging-face", output=tmp_path / "out")
    for name in ("catalog.toml", "README.md", "left_out.json"):
        check_golden(f"image_folder_{name}", (tmp_path / "out" / name).read_text(encoding="utf-8"))
    metadata = (tmp_path / "out" / "train" / "metadata.parquet").read_bytes()
    features = json.loads(read_arrow(metadata, "").schema.metadata[b"huggingface"])
    written = {"features": features, "rows": read_metadata(tmp_path / "out").to_dicts()}
    check_golden("image_folder_metadata.json", json.dumps(written, indent=2) + "\n")


def test_a_single_split_is_read_back_too(tmp_path: Path, drawn: Path) -> None:
    names = sorted(path.name for path in (drawn / "catalog" / "images").iterdir())[:12]
    rows: list[Any] = [[name, f"p{n}", ["Shoes", "Shirts"][n % 2], "train"] for n, name in enumerate(names)]
    catalog = write_catalog(tmp_path / "c", drawn, ["pic", "code", "kind", "part"], rows)
    place = Workspace.at(tmp_path / "w")
    described = {"id": "code", "levels": "kind", "image_column": "pic", "split": "part"}
    prepare(catalog, place, overrides=described)
    clean(place)
    exchange(place, tool="hugging-face", output=tmp_path / "out")
    assert [path.name for path in sorted((tmp_path / "out").iterdir()) if path.is_dir()] == ["train"]
    again = prepare(tmp_path / "out", tmp_path / "again")
    assert dict(again.items.select("item_id", "kind").iter_rows()) == {row[1]: row[2] for row in rows}
    assert set(again.items["given_split"]) == {"train"}


def test_without_labels_there_is_nothing_to_write(workspace: Workspace, tmp_path: Path) -> None:
    write_issues(workspace, [])
    with pytest.raises(WorkspaceError, match="hangtag clean"):
        exchange(workspace, tool="hugging-face", output=tmp_path / "out")
