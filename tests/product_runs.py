"""A workspace with levels, an attribute and names, and a stub model that reads them, to work figures out by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest

from hangtag.artifacts import read_json, write_csv, write_json
from hangtag.labels.labelled import read_labelled
from hangtag.manifest import StageRecord
from hangtag.models.outputs import NO_VALUE, PRODUCT, Outputs
from hangtag.models.storage import SavedModel
from hangtag.models.words import Vocabulary
from hangtag.workspace import Workspace
from stub_runs import IMAGE_SIZE, SCHEMA, write_labels, write_workspace

SCHEMA_WITH_GENDER = SCHEMA.from_values(
    {**SCHEMA.to_json(), "attributes": ["gender"], "columns": [*SCHEMA.columns, "gender"]}
)
# Gifts have no kind.
OUTPUTS = Outputs(
    {"kind": ("Goods", "Wear"), "label": ("Bags", "Gifts", "Shoes", "Tshirts")},
    ((0, 0), (1, 2), (1, 3), (NO_VALUE, 1)),
    {"gender": ("Men", "Women")},
    "label",
)
BAGS, SHOES, TSHIRTS, GIFTS = range(4)
MEN, WOMEN = range(2)
# label, split, kind, gender, the product that is answered, its probability, the product without the name, the gender
ProductItem = tuple[str, str | None, str | None, str | None, int, float, int, int]


class ProductModel:
    """Reads its answers from the first two pixels: product, probability and nameless product, then the gender.

    The gender is always answered with 0.9.
    """

    input = ("pixels", "words")

    def predict_on_batch(self, inputs: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[np.float32]]:
        """Give the wanted product's probability, and to the others an equal part of what is left."""
        first, second = inputs["pixels"][:, 0, 0], inputs["pixels"][:, 0, 1]
        named = (inputs["words"] > 0).any(axis=1)
        confidence = first[:, 1].astype(np.float64) / 100
        product = np.where(named, first[:, 0], first[:, 2])
        return {
            PRODUCT: spread(product, confidence, 4),
            "attribute_0": spread(second[:, 0], np.full(len(first), 0.9), 2),
        }


def spread(classes: npt.NDArray[Any], confidence: npt.NDArray[np.float64], num_classes: int) -> npt.NDArray[np.float32]:
    """Give each row's class its probability, and to the others an equal part of what is left."""
    probs = np.repeat(((1 - confidence) / (num_classes - 1))[:, None], num_classes, axis=1)
    probs[np.arange(len(classes)), classes.astype(int) % num_classes] = confidence
    return probs.astype(np.float32)


def write_products(folder: Path, items: list[ProductItem]) -> Workspace:
    """Write a workspace as `write_workspace` does, with a kind and a gender, and pixels for `ProductModel`."""
    plain: list[Any] = [(label, split, "Bags", 0.5) for label, split, *_ in items]
    place = write_workspace(folder, plain, schema=SCHEMA_WITH_GENDER)
    pixels = np.load(place.prepared / "images.npy")
    for number, (*_, product, confidence, nameless, gender) in enumerate(items):
        row = len(items) - 1 - number
        pixels[row, 0, 0] = (product, round(confidence * 100), nameless)
        pixels[row, 0, 1] = gender
    np.save(place.prepared / "images.npy", pixels)
    StageRecord("prepare", place.prepared, {}, {}).finish(
        {},
        [place.prepared / "images.npy", place.prepared / "items.parquet"],
        schema=SCHEMA_WITH_GENDER.to_json(),
        taxonomy_text="",
    )
    table = pl.read_parquet(place.labels / "labels.parquet").with_columns(
        kind=pl.Series([item[2] for item in items], dtype=pl.String),
        gender=pl.Series([item[3] for item in items], dtype=pl.String),
    )
    write_labels(place, table)
    return place


def write_product_run(place: Workspace, run_id: str, outputs: Outputs = OUTPUTS, **more: Any) -> Path:
    """Write what `train` would, but for the weights; `more` are entries of `model.json`, as `words`."""
    folder = place.run(run_id)
    digest = read_labelled(place).digest
    description = {"outputs": outputs.to_json(), "words": None, "labels_digest": digest, "metrics": {"epoch": 1}}
    write_json(folder / "model.json", description | more)
    measures = dict.fromkeys(("loss", "accuracy", "val_loss", "val_accuracy"), 0.5)
    write_csv(folder / "history.csv", pl.DataFrame([{"epoch": 1, **measures}]))
    StageRecord("train", folder, {}, {}).finish({}, [folder / "model.json", folder / "history.csv"])
    return folder


class OneHeadModel:
    """Answers as `ProductModel` does for the gender, as the only head."""

    input = ("pixels",)

    def predict_on_batch(self, inputs: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[np.float32]]:
        """Give the gender of the second pixel with 0.9."""
        return {PRODUCT: spread(inputs["pixels"][:, 0, 1, 0], np.full(len(inputs["pixels"]), 0.9), 2)}


def patch_product_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Load these stub models from now on: `OneHeadModel` where the gender is all that is predicted."""

    def load(folder: Path) -> SavedModel:
        description = read_json(folder / "model.json")
        outputs = Outputs.from_json(description["outputs"])
        words = description["words"]
        model = OneHeadModel() if outputs.primary == "gender" else ProductModel()
        vocabulary = Vocabulary(tuple(words)) if words else None
        return SavedModel(model, outputs, vocabulary, IMAGE_SIZE, IMAGE_SIZE, description)

    monkeypatch.setattr("hangtag.inference.classifier.load_saved", load)
