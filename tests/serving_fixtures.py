"""A catalogue that a small network learns in seconds, its export, and photographs as files."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import uvicorn

from drawn import COLORS, KEY, SIZE, draw, encode
from hangtag.artifacts import read_json, write_json, write_parquet, write_whole
from hangtag.catalog.prepared import read_prepared
from hangtag.catalog.schema import CatalogSchema
from hangtag.config import ServeConfig, TrainConfig
from hangtag.evaluation.evaluate import evaluate
from hangtag.inference.classifier import Classifier
from hangtag.manifest import StageRecord
from hangtag.serving.api import build_app
from hangtag.serving.export import export
from hangtag.training.train import train
from hangtag.workspace import Workspace

CONFIG = TrainConfig(
    architecture="residual-tiny", epochs=10, batch_size=16, start_scale=1.0, shift=1, average=0.8, precision="float32"
)
SCHEMA = CatalogSchema(
    table="styles.csv",
    levels=("kind", "type"),
    attributes=("season",),
    image="{id}.jpg",
    columns=("id", "kind", "type", "season"),
    headings=("id", "kind", "type", "season"),
)


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with the run `small`, trained on drawn products, and judged; tests read it only."""
    place = Workspace.at(tmp_path_factory.mktemp("shop"))
    kinds = [list(COLORS)[number % 3] for number in range(240)]
    items = pl.DataFrame(
        {
            "item_id": [str(number) for number in range(240)],
            "image_index": list(range(240)),
            "id": [str(number) for number in range(240)],
            "kind": ["Footwear" if kind == "Shoe" else "Wear" for kind in kinds],
            "type": kinds,
            "season": ["Summer" if number % 2 else "Winter" for number in range(240)],
            "pixel_hash": [str(number) for number in range(240)],
            "perceptual_hash": pl.Series([number << 20 for number in range(240)], dtype=pl.UInt64),
        }
    )
    write_prepared(place, items, np.stack([draw(kind, number) for number, kind in enumerate(kinds)]))
    write_parquet(
        place.labels / "labels.parquet",
        items.with_columns(
            label=pl.col("type"),
            split=pl.Series([("train", "train", "train", "val", "test")[number // 3 % 5] for number in range(240)]),
            group_id=pl.col("item_id"),
        ),
    )
    StageRecord("clean", place.labels, {"prepared": read_prepared(place).digest}, {}).finish(
        {}, [place.labels / "labels.parquet"]
    )
    train(place, CONFIG, run_id="small")
    evaluate(place, run_ids=["small"])
    return place


def write_prepared(place: Workspace, items: pl.DataFrame, images: Any) -> None:
    paths = [place.prepared / "items.parquet", place.prepared / "images.npy"]
    write_parquet(paths[0], items)
    with write_whole(paths[1]) as temporary:
        np.save(temporary, images)
    StageRecord("prepare", place.prepared, {}, {}).finish({}, paths, schema=SCHEMA.to_json(), taxonomy_text="")


@pytest.fixture(scope="session")
def model(workspace: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `export` writes of it; tests read it only."""
    folder = tmp_path_factory.mktemp("model")
    export(workspace, "small", folder)
    description = read_json(folder / "model.json")
    # 48 photographs are too few to find a limit on: this one is far from those of the tests, and far from noise.
    description["novelty"]["limit"] = 8000.0
    write_json(folder / "model.json", description)
    return folder


@pytest.fixture(scope="session")
def classifier(model: Path) -> Classifier:
    return Classifier.load(model, streams=2)


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of photographs, one of them in a subfolder, and what is none."""
    folder = tmp_path_factory.mktemp("photographs")
    (folder / "more").mkdir()
    for number, kind in enumerate(COLORS):
        (folder / f"{kind}.png").write_bytes(encode(draw(kind, 1000 + number)))
    (folder / "more" / "Shoe.jpg").write_bytes(encode(draw("Shoe", 2000), "JPEG"))
    (folder / "broken.jpg").write_bytes(encode(draw("Hat", 5), "JPEG")[:200])
    (folder / "empty.png").write_bytes(b"")
    (folder / "noise.png").write_bytes(encode(np.random.default_rng(1).integers(0, 256, (*SIZE, 3), dtype=np.uint8)))
    (folder / "notes.txt").write_text("no photograph")
    (folder / ".hidden.png").write_bytes(b"")
    return folder


class Server(uvicorn.Server):
    """A service in a thread."""

    def install_signal_handlers(self) -> None:
        """Leave the tests' own alone."""


def run_in_thread(app: Any) -> Iterator[str]:
    """Serve an application until the caller goes on; gives its address."""
    server = Server(uvicorn.Config(app, port=0, log_level="warning", ws="none"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    server.should_exit = True
    thread.join(20)


def serve(classifier: Classifier, api_key: str | None = None) -> Iterator[str]:
    yield from run_in_thread(build_app(classifier, ServeConfig(wanted_precision=0.9), api_key=api_key))


@pytest.fixture(scope="session")
def address(classifier: Classifier) -> Iterator[str]:
    """The address of a running service."""
    yield from serve(classifier)


@pytest.fixture(scope="session")
def guarded(classifier: Classifier) -> Iterator[str]:
    """The address of one that wants a key."""
    yield from serve(classifier, KEY)
