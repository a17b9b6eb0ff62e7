"""A workspace whose photographs say what a stub model answers, so that every figure can be worked out by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest

from hangtag.artifacts import read_json, write_csv, write_json, write_parquet
from hangtag.catalog.schema import CatalogSchema
from hangtag.inference.classifier import Classifier
from hangtag.labels.labelled import UNKNOWN, read_labelled
from hangtag.manifest import StageRecord, compute_digest, read_manifest
from hangtag.models.outputs import PRODUCT, Outputs
from hangtag.models.storage import SavedModel
from hangtag.workspace import Workspace

CLASS_NAMES = ("Bags", "Shoes", "Tshirts")
IMAGE_SIZE = (8, 6)
SCHEMA = CatalogSchema(
    table="styles.csv",
    name="title",
    levels=("kind", "type"),
    image="{id}.jpg",
    columns=("id", "kind", "type", "title"),
)
# label, split, class that the stub model answers, its probability
Item = tuple[str, str | None, str, float]


class StubModel:
    """Reads its answer from the first pixel: the class from red, the probability in percent from green.

    Args:
        shift: Answer the class this many places further.
    """

    input = ("pixels",)

    def __init__(self, shift: int = 0, num_classes: int = len(CLASS_NAMES)) -> None:
        self.shift, self.num_classes = shift, num_classes
        self.batch_sizes: list[int] = []

    def predict_on_batch(self, inputs: dict[str, npt.NDArray[np.uint8]]) -> dict[str, npt.NDArray[np.float32]]:
        """Give the class's probability, and to the others an equal part of what is left."""
        images = inputs["pixels"]
        self.batch_sizes.append(len(images))
        answers = (images[:, 0, 0, 0].astype(int) + self.shift) % self.num_classes
        confidence = images[:, 0, 0, 1].astype(np.float64) / 100
        probs = np.repeat(((1 - confidence) / (self.num_classes - 1))[:, None], self.num_classes, axis=1)
        probs[np.arange(len(images)), answers] = confidence
        return {PRODUCT: probs.astype(np.float32)}


def draw_image(answer: int, confidence: float) -> npt.NDArray[np.uint8]:
    """Draw a photograph to which the stub model gives this answer."""
    image = np.full((*IMAGE_SIZE, 3), 200, np.uint8)
    image[0, 0] = (answer, round(confidence * 100), 0)
    return image


def make_classifier(model: Any) -> Classifier:
    return Classifier(model, Outputs.of_classes(CLASS_NAMES), IMAGE_SIZE)


def write_workspace(
    folder: Path,
    items: list[Item],
    *,
    schema: CatalogSchema = SCHEMA,
    group_ids: list[str] | None = None,
    pixel_hashes: list[str] | None = None,
) -> Workspace:
    """Write what `prepare` and `clean` would, with item ids `i0`, `i1`, …, pixels stored in reverse order."""
    place = Workspace.at(folder)
    ids = [f"i{number}" for number in range(len(items))]
    own = {
        "id": ids,
        "kind": ["Goods"] * len(items),
        "type": ["Free Gifts" if label == UNKNOWN else label for label, *_ in items],
        "title": [f"Nice thing, {number}" for number in range(len(items))],
    }
    pixels = np.stack([draw_image(CLASS_NAMES.index(answer), confidence) for _, _, answer, confidence in items])
    place.prepared.mkdir(parents=True)
    np.save(place.prepared / "images.npy", pixels[::-1])
    write_parquet(place.prepared / "items.parquet", pl.DataFrame({"item_id": ids[::-1]}))
    StageRecord("prepare", place.prepared, {}, {}).finish(
        {}, sorted(place.prepared.iterdir()), schema=schema.to_json(), taxonomy_text=""
    )
    table = pl.DataFrame(
        {
            "item_id": ids,
            "image_index": list(range(len(items)))[::-1],
            **own,
            "label": [label for label, *_ in items],
            "split": [split for _, split, *_ in items],
            "group_id": group_ids or ids,
            "pixel_hash": pixel_hashes or ids,
        },
        schema_overrides={"split": pl.String, "image_index": pl.UInt32},
    )
    write_labels(place, table)
    return place


def write_labels(place: Workspace, table: pl.DataFrame) -> None:
    """Write what `clean` would, for a workspace that is prepared."""
    write_parquet(place.labels / "labels.parquet", table)
    digest = compute_digest(read_manifest(place.prepared) or {})
    StageRecord("clean", place.labels, {"prepared": digest}, {}).finish({}, [place.labels / "labels.parquet"])


def write_run(place: Workspace, run_id: str, *, shift: int = 0, epochs: int = 3) -> Path:
    """Write what `train` would, but for the weights; `patch_models` makes the model from `shift`."""
    folder = place.run(run_id)
    labelled = read_labelled(place)
    description = {
        "shift": shift,
        "class_names": list(labelled.class_names),
        "metrics": {"epoch": 2},
        "labels_digest": labelled.digest,
    }
    write_json(folder / "model.json", description)
    figures = [1 / epoch for epoch in range(1, epochs + 1)]
    measures = ("loss", "accuracy", "val_loss", "val_accuracy")
    write_csv(
        folder / "history.csv",
        pl.DataFrame({"epoch": range(1, epochs + 1), **dict.fromkeys(measures, figures)}),
    )
    StageRecord("train", folder, {}, {}).finish({}, [folder / "model.json", folder / "history.csv"])
    return folder


def finish_again(folder: Path) -> None:
    """Write a folder's manifest anew once a test has changed its files: else they count as damaged."""
    manifest = read_manifest(folder)
    assert manifest is not None
    record = StageRecord(manifest["stage"], folder, manifest["inputs"], manifest["settings"])
    own = ("stage", "finished", "seconds", "counts", "settings", "inputs", "outputs", "versions", "digest")
    more = {name: value for name, value in manifest.items() if name not in own}
    record.finish(manifest["counts"], [folder / name for name in manifest["outputs"]], **more)


def patch_models(monkeypatch: pytest.MonkeyPatch) -> list[StubModel]:
    """Load stub models from now on, and give the list that they are noted in as they are loaded."""
    loaded: list[StubModel] = []

    def load(folder: Path) -> SavedModel:
        description = read_json(folder / "model.json")
        class_names = tuple(description["class_names"])
        loaded.append(StubModel(description["shift"], len(class_names)))
        return SavedModel(loaded[-1], Outputs.of_classes(class_names), None, IMAGE_SIZE, IMAGE_SIZE, description)

    monkeypatch.setattr("hangtag.inference.classifier.load_saved", load)
    return loaded
