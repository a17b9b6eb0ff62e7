"""A catalogue to audit, in which single items can be told to be wrong."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from hangtag.artifacts import write_json, write_parquet, write_whole
from hangtag.auditing.subject import Subject
from hangtag.auditing.witness import Witness, find_products
from hangtag.catalog.prepared import read_prepared
from hangtag.catalog.schema import CatalogSchema
from hangtag.config import AuditConfig
from hangtag.labels.labelled import read_labelled
from hangtag.manifest import StageRecord
from hangtag.models.outputs import Outputs
from hangtag.workspace import Workspace

SCHEMA = CatalogSchema(
    table="styles.csv",
    id="id",
    name="title",
    levels=("kind", "type"),
    attributes=("gender", "year"),
    image="{id}.jpg",
    columns=("id", "kind", "type", "gender", "year", "title"),
    headings=("id", "kind", "type", "gender", "year", "title"),
)
TYPES = {"Shoes": "Footwear", "Sandals": "Footwear", "Shirts": "Wear", "Tees": "Wear"}
OUTPUTS = Outputs(
    {"kind": ("Footwear", "Wear"), "type": ("Sandals", "Shirts", "Shoes", "Tees")},
    ((0, 0), (0, 2), (1, 1), (1, 3)),
    {"gender": ("Men", "Women")},
    "type",
)
SANDALS, SHOES, SHIRTS, TEES = range(4)
PLACES = {"Sandals": SANDALS, "Shoes": SHOES, "Shirts": SHIRTS, "Tees": TEES}
SHADES = {"Shoes": (200, 30, 30), "Sandals": (30, 200, 30), "Shirts": (30, 30, 200), "Tees": (120, 120, 10)}
EACH = 25
IMAGE_SIZE = (16, 12)


def make_items(**changed: Any) -> pl.DataFrame:
    """Give 25 items of each type in turn, `i0` on; `changed` are values by row, as `type={3: "Tees"}`."""
    types = list(TYPES) * EACH
    columns: dict[str, list[Any]] = {
        "item_id": [f"i{row}" for row in range(len(types))],
        "image_path": [f"{row}.jpg" for row in range(len(types))],
        "image_width": [60] * len(types),
        "image_height": [80] * len(types),
        "kind": [TYPES[each] for each in types],
        "type": list(types),
        "gender": ["Women" if row // 4 % 2 else "Men" for row in range(len(types))],
        "year": [str(2010 + row % 5) for row in range(len(types))],
        "title": [f"Brand{row % 7} {each} {'ABCDEFGHIJK'[row % 11]}{row}" for row, each in enumerate(types)],
        "split": [("train", "train", "val", "test")[row // 4 % 4] for row in range(len(types))],
        "group_id": [f"i{row}" for row in range(len(types))],
    }
    for column, values in changed.items():
        for row, value in values.items():
            columns[column][row] = value
    columns["label"] = columns["type"]
    columns["id"] = columns["item_id"]
    return pl.DataFrame(columns, schema_overrides={"split": pl.String})


def make_images(items: pl.DataFrame, seed: int = 0) -> Any:
    """Draw each item as a textured patch in its true type's shade; no two are alike."""
    random = np.random.default_rng(seed)
    images = np.full((len(items), *IMAGE_SIZE, 3), 255, np.uint8)
    for row, type_ in enumerate(list(TYPES) * EACH):
        patch = SHADES[type_] + random.normal(0, 25, (10, 8, 3))
        images[row, 3:13, 2:10] = np.clip(patch, 0, 255)
    return images


def make_probs(num_classes: int, true: Any, confidence: float = 0.9) -> Any:
    """Give each item's true class a probability, and an equal part of what is left to the others."""
    probs = np.full((len(true), num_classes), (1 - confidence) / (num_classes - 1), np.float32)
    probs[np.arange(len(true)), true] = confidence
    return probs


def make_witness(items: pl.DataFrame, sees: dict[int, int] | None = None, confidence: float = 0.9) -> Witness:
    """Give a network that sees what each item truly is; `sees` has products by row where it sees another."""
    true = np.array([PLACES[each] for each in list(TYPES) * EACH])
    for row, product in (sees or {}).items():
        true[row] = product
    genders = np.arange(len(items)) // 4 % 2
    return Witness(
        np.arange(len(items)),
        OUTPUTS,
        find_products(items, OUTPUTS, SCHEMA.missing),
        make_probs(4, true, confidence),
        {"gender": make_probs(2, genders)},
        source="a test",
    )


def make_subject(items: pl.DataFrame, **more: Any) -> Subject:
    """Give a subject; `more` are its fields, or settings."""
    fields = {"images": make_images(items), "schema": SCHEMA, "photographs": make_witness(items), "names": None}
    own = {key: more.pop(key) for key in fields if key in more}
    return Subject(items=items, config=replace(AuditConfig(), **more), **{**fields, **own})


def write_audited(folder: Path, items: pl.DataFrame, images: Any = None, schema: CatalogSchema = SCHEMA) -> Workspace:
    """Write what `prepare` and `clean` would."""
    place = Workspace.at(folder)
    cleaned = ("label", "split", "group_id")
    paths = [place.prepared / "images.npy", place.prepared / "items.parquet"]
    with write_whole(paths[0]) as temporary:
        np.save(temporary, make_images(items) if images is None else images)
    write_parquet(paths[1], items.drop(cleaned))
    StageRecord("prepare", place.prepared, {}, {}).finish({}, paths, schema=schema.to_json(), taxonomy_text="")
    labels = items.with_row_index("image_index").with_columns(pixel_hash=pl.col("item_id"))
    write_parquet(place.labels / "labels.parquet", labels)
    StageRecord("clean", place.labels, {"prepared": read_prepared(place).digest}, {}).finish(
        {}, [place.labels / "labels.parquet"]
    )
    return place


def write_folds(place: Workspace, witness: Witness, name: str = "folded") -> Path:
    """Write what `train --folds` would."""

    def store(values: Any) -> pl.Series:
        return pl.Series(values, dtype=pl.Array(pl.Float32, values.shape[1])).cast(pl.List(pl.Float32))

    folder = place.folds(name)
    labelled = read_labelled(place)
    # In another order than the items have.
    order = np.argsort(-witness.rows)
    table = pl.DataFrame(
        {
            "item_id": labelled.table["item_id"].gather(witness.rows[order]),
            "product_probs": store(witness.products[order]),
            "attribute_0": store(witness.attributes["gender"][order]),
        }
    )
    write_parquet(folder / "out_of_fold.parquet", table)
    write_json(folder / "outputs.json", witness.outputs.to_json())
    finish_folds(place, folder)
    return folder


def finish_folds(place: Workspace, folder: Path) -> None:
    """Write the manifest of `train --folds` about the files that are there."""
    inputs, settings = {"labels": read_labelled(place).digest}, {"folds": 5, "with_names": False}
    outputs = [folder / "out_of_fold.parquet", folder / "outputs.json"]
    StageRecord("folds", folder, inputs, settings).finish({}, outputs)
