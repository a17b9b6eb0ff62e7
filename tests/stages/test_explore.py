"""The stage on small workspaces of every shape."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from hangtag.catalog.schema import CatalogSchema
from hangtag.config import ExploreConfig
from hangtag.errors import WorkspaceError
from hangtag.io import write_json, write_parquet
from hangtag.manifest import StageRecord, compute_digest, read_manifest
from hangtag.stages.explore import explore
from hangtag.workspace import Workspace

ITEMS = 30
LEVELS = ("masterCategory", "articleType")


def make_items() -> pl.DataFrame:
    kinds = ["Shirts", "Kurtas", "Sports Shoes", "NA", ""]
    return pl.DataFrame(
        {
            "item_id": [str(1000 + number) for number in range(ITEMS)],
            "image_width": [60] * 29 + [53],
            "image_height": [80] * ITEMS,
            "image_mode": ["RGB"] * 28 + ["L"] * 2,
            "masterCategory": ["Apparel", "Apparel", "Footwear", "Apparel", "Footwear"] * 6,
            "articleType": kinds * 6,
            "name": ["Größe 5 Платье, blue & white", "Shirt", "", "Kurta", "靴"] * 6,
        }
    )


def write_prepared(place: Workspace, items: pl.DataFrame, schema: CatalogSchema) -> str:
    images = np.random.default_rng(0).integers(0, 256, (len(items), 8, 6, 3), dtype=np.uint8)
    write_parquet(place.prepared / "items.parquet", items)
    np.save(place.prepared / "images.npy", images)
    record = StageRecord("prepare", place.prepared, {}, {})
    paths = [place.prepared / "items.parquet", place.prepared / "images.npy"]
    record.finish({}, paths, schema=schema.to_json(), taxonomy_text="")
    return compute_digest(read_manifest(place.prepared) or {})


def write_labels(place: Workspace, items: pl.DataFrame, labels: list[str], schema: CatalogSchema, digest: str) -> None:
    splits = [(["train"] * 3 + ["val", "test"])[number % 5] for number in range(len(items))]
    table = items.select("item_id", *[name for name in items.columns if name in schema.columns])
    table = table.with_row_index("image_index").with_columns(
        label=pl.Series(labels),
        split=pl.Series([None if label == "Unknown" else split for label, split in zip(labels, splits, strict=True)]),
    )
    write_parquet(place.labels / "labels.parquet", table)
    column = {"num_values": 2, "balance": 0.75}
    balance: dict[str, Any] = {"raw": {"n": ITEMS, "columns": dict.fromkeys(schema.levels, column)}}
    balance["cleaned"] = {"n": ITEMS - 1, "columns": {schema.label_name: {"num_values": 3, "balance": 0.5}}}
    write_json(place.labels / "balance.json", balance)
    record = StageRecord("clean", place.labels, {"prepared": digest}, {})
    record.finish({}, [place.labels / "labels.parquet", place.labels / "balance.json"])


def make_workspace(root: Path, labels: list[str], schema: CatalogSchema | None = None) -> Workspace:
    schema = schema or CatalogSchema(levels=LEVELS, name="name", columns=(*LEVELS, "name"))
    place, items = Workspace.at(root), make_items()
    write_labels(place, items, labels, schema, write_prepared(place, items, schema))
    return place


def read(place: Workspace, name: str) -> pl.DataFrame:
    return pl.read_csv(place.exploration / name, infer_schema_length=None)


MIXED = (["Shirts", "Kurtas", "Flip Flops", "Shirts", "Unknown"] * 6)[:ITEMS]


@pytest.fixture(scope="module")
def explored(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    place = make_workspace(tmp_path_factory.mktemp("explored"), MIXED)
    explore(place)
    return place


def test_every_figure_has_its_table(explored: Workspace) -> None:
    place = explored
    names = {path.name for path in place.exploration.iterdir()}
    figures = {"counts_masterCategory.png", "counts_articleType.png", "counts_Class.png", "counts_split.png"}
    figures |= {"sunburst_given.html", "sunburst_Class.html", "image_sizes.png", "image_statistics.png"}
    tables = {Path(name).with_suffix(".csv").name for name in figures} | {"balance.csv", "contact_sheets.csv"}
    extra = {"mean_pictures.png", "contact_sheets", "plotly.min.js", "manifest.json"}
    assert names == figures | tables | extra
    assert (read_manifest(place.exploration) or {})["counts"] == {
        "items": 30,
        "labelled": 30,
        "labels": 4,
        "figures": 13,
    }
    assert {path.name for path in (place.exploration / "contact_sheets").iterdir()} == {
        "Shirts.png",
        "Kurtas.png",
        "Flip_Flops.png",
        "Unknown.png",
    }


def test_tables_hold_what_was_counted(explored: Workspace) -> None:
    place = explored
    assert read(place, "counts_articleType.csv").rows()[0] == ("(missing)", 12, 0.4)
    assert dict(read(place, "counts_Class.csv").select("value", "count").iter_rows()) == {
        "Shirts": 12,
        "Flip Flops": 6,
        "Kurtas": 6,
        "Unknown": 6,
    }
    given = read(place, "sunburst_given.csv")
    assert given.columns == [*LEVELS, "count"]
    assert given["count"].sum() == ITEMS
    assert read(place, "sunburst_Class.csv").columns == ["Class", "articleType", "count"]
    assert "Unknown" not in read(place, "counts_split.csv")["label"]
    assert read(place, "balance.csv").rows() == [
        ("raw", "masterCategory", 2, 30, 0.75),
        ("raw", "articleType", 2, 30, 0.75),
        ("cleaned", "Class", 3, 29, 0.5),
    ]
    assert read(place, "image_sizes.csv").rows() == [(60, 80, "RGB", 28), (53, 80, "L", 1), (60, 80, "L", 1)]
    assert read(place, "image_statistics.csv")["n"].sum() == ITEMS


def test_contact_sheets_list_what_they_show(tmp_path: Path) -> None:
    place = make_workspace(tmp_path, MIXED)
    explore(place, ExploreConfig(sheet_items=4))
    listed = read(place, "contact_sheets.csv")
    assert listed.columns == ["label", "position", "item_id"]
    assert listed["label"].value_counts()["count"].to_list() == [4] * 4
    labels = dict(zip(make_items()["item_id"].cast(pl.Int64), MIXED, strict=True))
    assert all(labels[item] == label for label, _, item in listed.iter_rows())


def test_unchanged_inputs_are_not_drawn_again_and_changed_ones_are(tmp_path: Path) -> None:
    place = make_workspace(tmp_path, MIXED)
    assert not explore(place).skipped
    assert explore(place).skipped
    assert not explore(place, ExploreConfig(sheet_seed=1)).skipped
    make_workspace(tmp_path, [*MIXED[:-1], "Shirts"])
    assert not explore(place, ExploreConfig(sheet_seed=1)).skipped


def test_the_sheet_of_a_class_that_is_no_more_goes_and_a_persons_own_file_stays(tmp_path: Path) -> None:
    place = make_workspace(tmp_path, MIXED)
    explore(place)
    own = place.exploration / "notes.txt"
    own.write_text("mine")
    make_workspace(tmp_path, ["Shirts" if label == "Kurtas" else label for label in MIXED])
    explore(place)
    assert not (place.exploration / "contact_sheets" / "Kurtas.png").exists()
    assert (place.exploration / "contact_sheets" / "Shirts.png").exists()
    assert own.exists()


def test_one_level_one_class_no_name_and_another_heading(tmp_path: Path) -> None:
    schema = CatalogSchema(levels=("articleType",), label_name="Kind / Art", columns=("articleType",))
    place = make_workspace(tmp_path, ["Schuhe/靴"] * ITEMS, schema)
    explore(place)
    assert read(place, "sunburst_given.csv").columns == ["articleType", "count"]
    (counts,) = place.exploration.glob("counts_Kind*.csv")
    assert pl.read_csv(counts).rows() == [("Schuhe/靴", 30, 1.0)]
    (sheet,) = (place.exploration / "contact_sheets").iterdir()
    with Image.open(sheet) as page:
        assert page.width > 600


def test_items_that_are_in_no_split(tmp_path: Path) -> None:
    place = make_workspace(tmp_path, ["Unknown"] * ITEMS)
    explore(place)
    assert read(place, "counts_split.csv").is_empty()


def test_an_unfinished_workspace_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="hangtag prepare"):
        explore(tmp_path)
    items, schema = make_items(), CatalogSchema(levels=LEVELS, columns=LEVELS)
    write_prepared(Workspace.at(tmp_path), items, schema)
    with pytest.raises(WorkspaceError, match="hangtag clean"):
        explore(tmp_path)
    place = make_workspace(tmp_path, MIXED)
    (place.labels / "balance.json").unlink()
    with pytest.raises(WorkspaceError, match=r"balance\.json.*hangtag clean"):
        explore(place)
