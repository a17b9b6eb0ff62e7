"""A training reads its photographs from a memory map, batch by batch: a set larger than memory can be trained on."""

import dataclasses
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from hangtag.catalog.prepared_items import read_prepared
from hangtag.catalog.schema import CatalogSchema
from hangtag.io import write_parquet
from hangtag.manifest import StageRecord
from hangtag.models.layers import import_keras
from hangtag.stages.train import train
from hangtag.train_config import TrainConfig
from hangtag.workspace import Workspace

ITEMS, SIZE = 20_000, (160, 120)
PIXELS = ITEMS * SIZE[0] * SIZE[1] * 3
# Of all items of the sparse file these have a split, spread over the whole file.
LABELLED = np.arange(0, ITEMS, ITEMS // 40)
STATUS = Path("/proc/self/status")
CONFIG = dataclasses.replace(
    TrainConfig(),
    architecture="residual-tiny",
    weights="none",
    epochs=1,
    batch_size=8,
    initial_scale=0.1,
    final_scale=0.1,
    tta_flip=False,
)


def read_own_memory() -> int:
    """Return the bytes that belong to this process alone: pages of a mapped file are not among them."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith("RssAnon:"))
    return int(line.split()[1]) * 1024


@contextmanager
def watch_memory() -> Iterator[list[int]]:
    """Yield a list of the memory at the start and, every few milliseconds, in the block."""
    seen, is_over = [read_own_memory()], threading.Event()

    def watch() -> None:
        while not is_over.wait(0.005):
            seen.append(read_own_memory())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        is_over.set()
        thread.join()


def make_large_workspace(root: Path) -> Workspace:
    """Write a sparse file of a gigabyte of pixels, and the labels of a few items."""
    place = Workspace.at(root)
    numbers = np.arange(ITEMS)
    splits = np.full(ITEMS, None, object)
    splits[LABELLED] = [("train", "train", "val", "test")[number % 4] for number in range(len(LABELLED))]
    table = pl.DataFrame(
        {
            "item_id": numbers.astype(str),
            "image_index": numbers,
            "label": [("dark", "light")[number % 3 % 2] if splits[number] else "Unknown" for number in numbers],
            "split": pl.Series(splits.tolist(), dtype=pl.String),
            "group_id": numbers.astype(str),
        }
    )
    place.prepared.mkdir(parents=True)
    paths = [place.prepared / "items.parquet", place.prepared / "images.npy"]
    write_parquet(paths[0], table.select("item_id"))
    images = np.lib.format.open_memmap(paths[1], mode="w+", dtype=np.uint8, shape=(ITEMS, *SIZE, 3))
    for row in LABELLED:
        images[row] = np.random.default_rng(row).integers(0, 255, (*SIZE, 3))
    images.flush()
    del images
    record = StageRecord("prepare", place.prepared, {}, {})
    record.finish({}, paths, schema=CatalogSchema().to_json(), taxonomy_text="")
    write_parquet(place.labels / "labels.parquet", table)
    inputs = {"prepared": read_prepared(place).digest}
    StageRecord("clean", place.labels, inputs, {}).finish({}, [place.labels / "labels.parquet"])
    return place


@pytest.mark.skipif(not STATUS.is_file(), reason="the system does not tell a process's memory")
def test_a_training_takes_less_memory_than_its_pixels(tmp_path: Path) -> None:
    place = make_large_workspace(tmp_path)
    import_keras()
    with watch_memory() as seen:
        result = train(place, CONFIG)
    assert result.metrics["train"] == len(LABELLED) // 2
    assert len(seen) > 10
    assert max(seen) - seen[0] < PIXELS / 2
